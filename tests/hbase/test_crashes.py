"""Killed at every call, answers lost at every call, somebody else in between at every call: old or new, never a part.

These run on the table in memory, where each of them is a case of its own; test_killed_writer and test_faults do it to a real HBase.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from sqlml.errors import ArtifactError, StoreConflict, StoreError
from sqlml.hbase import checking, collecting, files, layout, reading, writing
from sqlml.hbase.layout import CHUNK_BYTES
from sqlml.hbase.transfers import Transfers
from tests.hbase.memory import Killed, MemoryGateway

OLD, NEW, OTHER = b"old", bytes(CHUNK_BYTES) + b"new", b"somebody else's"


class Table:
    """A table in memory with one worker, so that calls come in one order."""

    def __init__(self) -> None:
        self.gateway = MemoryGateway()
        self.transfers = Transfers(self.gateway, 1)  # type: ignore[arg-type]

    def write(self, content: bytes, path: str = "m/f") -> None:
        writing.write(self.gateway, self.transfers, path, io.BytesIO(content))  # type: ignore[arg-type]

    def remove(self) -> None:
        writing.remove(self.gateway, "m/f")  # type: ignore[arg-type]

    def read(self) -> bytes | None:
        stream = io.BytesIO()
        try:
            reading.copy(self.gateway, self.transfers, "m/f", stream)  # type: ignore[arg-type]
        except ArtifactError as error:
            if "There is no file" not in str(error):
                raise
            return None
        return stream.getvalue()

    def collect(self, orphans: bool = False) -> collecting.Collected:
        return collecting.collect(self.gateway, age_s=0, apply=True, orphans=orphans)  # type: ignore[arg-type]

    def quietly(self, action: Callable[[], object]) -> None:
        """Do it as somebody else, with workers of their own, for whom nothing happens in between."""
        before, after, transfers = self.gateway.before, self.gateway.after, self.transfers
        self.gateway.before = self.gateway.after = lambda call, row: None
        self.transfers = Transfers(self.gateway, 1)  # type: ignore[arg-type]
        try:
            action()
        finally:
            self.transfers.close()
            self.gateway.before, self.gateway.after, self.transfers = before, after, transfers

    def require_clean(self, content: bytes | None, orphans: bool = False) -> None:
        """After gc the table holds the file and nothing else, and once tombstones are old, not even those."""
        self.gateway.before = self.gateway.after = lambda call, row: None
        assert self.read() == content
        assert self.collect(orphans).problems == []
        self.gateway.now += collecting.TOMBSTONE_AGE_MS + 1000
        assert self.collect().problems == []
        assert self.read() == content
        checked = checking.check(self.gateway, self.transfers, "")  # type: ignore[arg-type]
        assert checked.clean, checked
        assert self.gateway.rows(b"i/") == self.gateway.rows(b"g/") == []
        live = [] if content is None else [files.require(self.gateway, "m/f").manifest]  # type: ignore[arg-type]
        assert self.gateway.rows(b"m/") == [layout.manifest_row("m/f") for _ in live]
        assert self.gateway.rows(b"d/") == [layout.chunk_row(m.object, n) for m in live for n in range(m.chunks)]


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    yield made
    made.transfers.close()


# What is there before, what is done, and what is there after.
OPERATIONS: dict[str, tuple[Callable[[Table], None], Callable[[Table], None], bytes | None, bytes | None]] = {
    "write": (lambda table: None, lambda table: table.write(NEW), None, NEW),
    "overwrite": (lambda table: table.write(OLD), lambda table: table.write(NEW), OLD, NEW),
    "empty": (lambda table: table.write(OLD), lambda table: table.write(b""), OLD, b""),
    "remove": (lambda table: table.write(OLD), Table.remove, OLD, None),
    "write over a tombstone": (
        lambda table: (table.write(OLD), table.remove()),
        lambda table: table.write(NEW),
        None,
        NEW,
    ),  # type: ignore[dict-item,return-value]
}


def at_call(number: int, action: Callable[[str], object]) -> Callable[[str, bytes], None]:
    """A hook that does something at the `number`th call from now."""
    left = iter(range(number))

    def hook(call: str, row: bytes) -> None:
        if next(left, None) is None and not hook.done:  # type: ignore[attr-defined]
            hook.done = True  # type: ignore[attr-defined]
            action(call)

    hook.done = False  # type: ignore[attr-defined]
    return hook


def calls_of(operation: str) -> int:
    table = Table()
    prepare, act, _, _ = OPERATIONS[operation]
    prepare(table)
    table.gateway.calls.clear()
    act(table)
    table.transfers.close()
    return len(table.gateway.calls)


EVERY_CALL = [(operation, number) for operation in OPERATIONS for number in range(calls_of(operation))]


def killed(call: str) -> None:
    raise Killed(call)


def lost(call: str) -> None:
    raise StoreError(f"{call}: the connection broke")


@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_call_the_file_is_the_old_one_or_the_new_one(
    table: Table, operation: str, number: int, when: str
) -> None:
    prepare, act, old, new = OPERATIONS[operation]
    prepare(table)
    setattr(table.gateway, when, at_call(number, killed))
    try:
        act(table)
        ended = True
    except Killed:
        ended = False
    table.gateway.before = table.gateway.after = lambda call, row: None
    found = table.read()
    assert found in ((new,) if ended else (old, new))
    table.require_clean(found)


@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_ends_in_an_error_or_in_success(table: Table, operation: str, number: int, when: str) -> None:
    """The gateway has retried what may be retried; what is left is an error, except for a switch, which is looked at."""
    prepare, act, old, new = OPERATIONS[operation]
    prepare(table)
    setattr(table.gateway, when, at_call(number, lost))
    try:
        act(table)
        allowed = {new}
    except StoreError:
        allowed = {old, new}
    table.gateway.before = table.gateway.after = lambda call, row: None
    found = table.read()
    assert found in allowed
    table.require_clean(found)


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_lost_answer_of_a_switch_fails_a_write(table: Table, when: str) -> None:
    table.write(OLD)
    broken = 0

    def hook(call: str, row: bytes) -> None:
        nonlocal broken
        if call == "switch" and broken < 5:
            broken += 1
            raise StoreError("the connection broke")

    setattr(table.gateway, when, hook)
    table.write(NEW)
    assert broken == (5 if when == "before" else 1)
    table.require_clean(NEW)


SOMEBODY: dict[str, Callable[[Table], object]] = {
    "writes": lambda table: table.write(OTHER),
    "removes": Table.remove,
    "collects": Table.collect,
    "writes and collects": lambda table: (table.write(OTHER), table.collect()),
    "collects and writes": lambda table: (table.collect(), table.write(OTHER)),
    "removes and collects": lambda table: (table.remove(), table.collect()),
}


@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
@pytest.mark.parametrize("somebody", SOMEBODY)
def test_somebody_else_at_any_call_leaves_one_whole_file(
    table: Table, operation: str, number: int, somebody: str
) -> None:
    """gc runs here without any age limit, in the middle of a write: the write may lose, and says so."""
    prepare, act, old, new = OPERATIONS[operation]
    prepare(table)
    table.gateway.before = at_call(number, lambda call: table.quietly(lambda: SOMEBODY[somebody](table)))
    theirs = {OTHER} if "writes" in somebody else {None} if "removes" in somebody else set()
    try:
        act(table)
        allowed = {new} | theirs
    except StoreConflict:
        if "collects" not in somebody:
            raise
        allowed = {old} | theirs
    table.gateway.before = lambda call, row: None
    found = table.read()
    assert found in allowed
    table.require_clean(found)


@pytest.mark.parametrize(("operation", "number"), EVERY_CALL)
@pytest.mark.parametrize("then", ["killed", "lost"])
def test_killed_while_somebody_else_writes_and_collects(table: Table, operation: str, number: int, then: str) -> None:
    prepare, act, _, new = OPERATIONS[operation]
    prepare(table)

    def interrupted(call: str) -> None:
        table.quietly(lambda: (table.write(OTHER), table.collect()))
        (killed if then == "killed" else lost)(call)

    table.gateway.before = at_call(number, interrupted)
    try:
        act(table)
        allowed = {new, OTHER}
    except (Killed, StoreError):
        allowed = {new, OTHER} if then == "lost" else {OTHER}
    table.gateway.before = lambda call, row: None
    found = table.read()
    assert found in allowed
    # The one way to make orphans: gc takes a write over that still goes on, and then that write is killed.
    table.require_clean(found, orphans=True)


def test_a_long_upload_during_which_others_write_often_is_no_conflict(table: Table) -> None:
    def overwritten(call: str) -> None:
        for _ in range(layout.REMEMBERED + 8):
            table.quietly(lambda: table.write(OTHER))

    table.write(OLD)
    table.gateway.before = at_call(3, overwritten)  # at a chunk
    table.write(NEW)
    table.require_clean(NEW)


def collecting_calls() -> int:
    table = Table()
    leave_everything_behind(table)
    table.gateway.calls.clear()
    table.collect()
    table.transfers.close()
    return len(table.gateway.calls)


def leave_everything_behind(table: Table) -> None:
    """A crashed write of a new file, a crashed overwrite before and after its switch, a replaced and a removed file."""
    for path, number in (("m/f", 0), ("m/new", 4), ("m/f", 4), ("m/f", 5), ("m/f", 6)):
        if number == 0:
            table.write(OLD)
            continue
        table.gateway.before = at_call(number, killed)
        with pytest.raises(Killed):
            table.write(NEW, path)
        table.gateway.before = lambda call, row: None
    table.write(b"gone", "m/gone")
    writing.remove(table.gateway, "m/gone")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", range(collecting_calls()))
@pytest.mark.parametrize("when", ["before", "after"])
def test_gc_killed_at_any_call_ends_with_the_next(table: Table, number: int, when: str) -> None:
    leave_everything_behind(table)
    content = table.read()
    setattr(table.gateway, when, at_call(number, killed))
    with suppress(Killed):
        table.collect()
    table.gateway.before = table.gateway.after = lambda call, row: None
    table.require_clean(content)


@pytest.mark.parametrize("number", range(collecting_calls()))
@pytest.mark.parametrize("somebody", ["writes", "removes", "collects", "writes and collects"])
def test_gc_while_somebody_else_changes_the_same_file(table: Table, number: int, somebody: str) -> None:
    leave_everything_behind(table)
    content = table.read()
    table.gateway.before = at_call(number, lambda call: table.quietly(lambda: SOMEBODY[somebody](table)))
    table.collect()
    table.require_clean(OTHER if "writes" in somebody else None if "removes" in somebody else content)


def reading_calls() -> int:
    table = Table()
    table.write(NEW)
    table.gateway.calls.clear()
    table.read()
    table.transfers.close()
    return len(table.gateway.calls)


@pytest.mark.parametrize("number", range(reading_calls()))
@pytest.mark.parametrize("somebody", ["writes", "removes", "writes and collects", "removes and collects"])
def test_a_reader_sees_the_old_file_or_the_new_one(table: Table, number: int, somebody: str) -> None:
    table.write(NEW)
    table.gateway.before = at_call(number, lambda call: table.quietly(lambda: SOMEBODY[somebody](table)))
    assert table.read() in {NEW, OTHER if "writes" in somebody else None}


def test_a_slow_writer_that_gc_took_for_crashed_says_so_and_loses_nothing(table: Table) -> None:
    table.write(OLD)
    done = False

    def hook(call: str, row: bytes) -> None:
        nonlocal done
        if call == "switch" and not done:
            done = True
            table.quietly(table.collect)

    table.gateway.before = hook
    with pytest.raises(StoreConflict, match=r"took so long that sqlml hbase gc took it for crashed"):
        table.write(NEW)
    table.require_clean(OLD)
