"""A table in memory with the gateway's interface, for what must be tried at every step: crashes, lost answers, clocks.

It behaves as HBase was measured to: a delete hides every put up to its own timestamp, also one that comes after it in
the same millisecond. That the real one behaves so too is shown by test_like_memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import RLock

from sqlml.errors import StoreError
from sqlml.hbase.gateway import Cell
from sqlml.hbase.location import Location


class Killed(BaseException):
    """The process died here."""


class MemoryGateway:
    def __init__(self) -> None:
        self.location = Location("127.0.0.1", 9090, "models", "")
        self.cells: dict[tuple[bytes, bytes], Cell] = {}
        self.deleted: dict[tuple[bytes, bytes], int] = {}
        self.now = 1_000_000
        self.tick = 1
        self.calls: list[str] = []
        self.before: Callable[[str, bytes], None] = lambda call, row: None
        self.after: Callable[[str, bytes], None] = lambda call, row: None
        self._lock = RLock()

    def _made(self, call: str, row: bytes) -> None:
        with self._lock:
            self.calls.append(call)
            self.now += self.tick
        self.before(call, row)

    def get(self, row: bytes, column: bytes, *, doing: str) -> Cell | None:
        self._made("get", row)
        return self.cells.get((row, column))

    def get_many(self, rows: Sequence[bytes], column: bytes, *, doing: str) -> dict[bytes, Cell]:
        self._made("get_many", rows[0])
        return {row: self.cells[row, column] for row in rows if (row, column) in self.cells}

    def page(
        self, start: bytes, stop: bytes, column: bytes, *, limit: int, doing: str, keys_only: bool = False
    ) -> list[tuple[bytes, Cell]]:
        self._made("page", start)
        with self._lock:
            found = sorted((row, cell) for (row, name), cell in self.cells.items() if name == column)
        inside = [(row, cell) for row, cell in found if start <= row < stop][:limit]
        return [(row, Cell(b"", cell.timestamp)) for row, cell in inside] if keys_only else inside

    def put(self, row: bytes, column: bytes, value: bytes, *, doing: str) -> None:
        self._made("put", row)
        self._put(row, column, value)
        self.after("put", row)

    def _put(self, row: bytes, column: bytes, value: bytes) -> None:
        with self._lock:
            if self.now > self.deleted.get((row, column), -1):
                self.cells[row, column] = Cell(value, self.now)

    def put_many(self, cells: Mapping[bytes, bytes], column: bytes, *, doing: str) -> None:
        for row, value in cells.items():
            self.put(row, column, value, doing=doing)

    def switch(self, row: bytes, column: bytes, expected: bytes | None, value: bytes, *, doing: str) -> bool | None:
        try:
            self._made("switch", row)
            with self._lock:
                found = self.cells.get((row, column))
                same = (found and found.value) == expected
                if same:
                    self._put(row, column, value)
            self.after("switch", row)
        except StoreError:
            return None  # it was lost on the way there (before), or its answer was (after)
        return same

    def delete(self, row: bytes, column: bytes, *, doing: str, until: int | None = None) -> None:
        self._made("delete", row)
        with self._lock:
            self.deleted[row, column] = max(self.deleted.get((row, column), -1), self.now if until is None else until)
            found = self.cells.get((row, column))
            if found is not None and found.timestamp <= self.deleted[row, column]:
                del self.cells[row, column]
        self.after("delete", row)

    def delete_many(self, rows: Sequence[bytes], column: bytes, *, doing: str) -> None:
        for row in rows:
            self.delete(row, column, doing=doing)

    def rows(self, prefix: bytes) -> list[bytes]:
        return sorted(row for row, _ in self.cells if row.startswith(prefix))

    def give_up(self) -> None:
        pass

    def close_all(self) -> None:
        pass
