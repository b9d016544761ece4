"""HBase's Thrift gateway, as far as the store needs it: cells by row, one table. Nothing else speaks Thrift.

Each operation has a deadline, in which it is tried again as often as it helps, where trying again is harmless.
Every failure is a StoreError that names the gateway, the table and what was being done (`doing`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlml.errors import StoreError
from sqlml.hbase import tables
from sqlml.hbase.connections import Connections
from sqlml.hbase.location import Location
from sqlml.hbase.messages import Garbage, names_codec, understood
from sqlml.hbase.opening import open_channel, tls_context
from sqlml.hbase.retrying import Tries
from sqlml.hbase.settings import Resolver, Settings, check_allowed, pinned
from sqlml.hbase.tables import FamilyFacts
from sqlml.hbase.transport import Channel, Deadline, thrift

T = TypeVar("T")

# A gateway with frames drops the connection at one of 2 MiB (measured: 2 MiB - 2 KiB passes).
FRAME_LIMIT = (2 << 20) - (64 << 10)
DELETES = 256


class Cell(NamedTuple):
    value: bytes
    timestamp: int
    """In milliseconds, by the clock of the region server that took the write."""


class Gateway:
    """One table behind one gateway. Threads share it: each has a connection of its own, opened when it is needed."""

    def __init__(
        self,
        location: Location,
        settings: Settings,
        *,
        resolve: Resolver | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check that the gateway may be connected to, and resolve its name once; nothing is connected yet.

        Raises:
            LocationRefused: the configuration does not allow it.
            StoreError: its name does not resolve.
        """
        check_allowed(location, settings)
        self.location = location
        self.settings = settings
        self._addresses = pinned(location, resolve=resolve)
        self._table = location.table.encode()
        self._pause = pause
        self._connections = Connections()
        self._answered = False
        self._times_given_up = 0

    def __repr__(self) -> str:
        return f"Gateway({self.location.uri})"

    def get(self, row: bytes, column: bytes, *, doing: str) -> Cell | None:
        return self.get_many([row], column, doing=doing).get(row)

    def get_many(self, rows: Sequence[bytes], column: bytes, *, doing: str) -> dict[bytes, Cell]:
        """The cells of those `rows` that have one, in one round trip."""
        if not rows:
            return {}

        return self._repeated(doing, functools.partial(self._read, rows, column))

    def page(
        self, start: bytes, stop: bytes, column: bytes, *, limit: int, doing: str, keys_only: bool = False
    ) -> list[tuple[bytes, Cell]]:
        """Up to `limit` cells of the rows from `start` to before `stop`, in order; fewer mean that there are no more.

        With `keys_only` their values are empty.
        """

        def read(client: Any) -> list[tuple[bytes, Cell]]:  # Any here and below: methods made at run time
            scan = thrift().TScan(
                startRow=start,
                stopRow=stop,
                columns=[column],
                caching=limit,
                filterString=b"KeyOnlyFilter()" if keys_only else None,
            )
            scanner = client.scannerOpenWithScan(self._table, scan, {})
            try:
                found = list(_cells(client.scannerGetList(scanner, limit), column))
            except (thrift().IOError, thrift().IllegalArgument):
                client.scannerClose(scanner)
                raise
            client.scannerClose(scanner)
            keys = [row for row, _ in found]
            inside = not keys or (start <= keys[0] and (not stop or keys[-1] < stop))
            if len(keys) > limit or not inside or any(a >= b for a, b in itertools.pairwise(keys)):
                raise Garbage("it has rows that were not asked for")
            return found

        return self._repeated(doing, read)

    def put(self, row: bytes, column: bytes, value: bytes, *, doing: str) -> None:
        """Write one cell; tried again after a failure, so the same row must never be meant to hold something else."""
        self.put_many({row: value}, column, doing=doing)

    def put_many(self, cells: Mapping[bytes, bytes], column: bytes, *, doing: str) -> None:
        """Write cells, a round trip for as many as the gateway takes; after an error any part may be written."""
        parts = list(self._parts(cells))

        def write(client: Any) -> None:
            while parts:  # another try goes on where the last one stopped
                self._write(parts[0], column, client)
                del parts[0]

        if parts:
            self._repeated(doing, write)

    def switch(self, row: bytes, column: bytes, expected: bytes | None, value: bytes, *, doing: str) -> bool | None:
        """Write `value`, which nobody else writes, where the cell holds `expected` (None: where there is none).

        It is sent once at most. None means that the connection broke and nobody knows whether it was written.
        `expected` is never empty: HBase takes that for none.
        """

        def send(client: Any) -> bool:
            mutation = thrift().Mutation(column=column, value=value)
            return bool(client.checkAndPut(self._table, row, column, expected, mutation, {}))

        tries = self._tries(doing)
        done = self._once(tries, send)
        if done is False:
            # The gateway itself tries again when a region server dies, and may meet what its own first try wrote.
            cell = self._repeated(doing, functools.partial(self._read, [row], column), tries).get(row)
            return cell is not None and cell.value == value
        return done

    def delete(self, row: bytes, column: bytes, *, doing: str, until: int | None = None) -> None:
        """Remove the cells that are not newer than `until` (milliseconds). A row must never be written again after it:
        HBase may hide a write of the same millisecond."""
        if until is None:
            self._repeated(doing, lambda client: client.deleteAll(self._table, row, column, {}))
        else:
            self._repeated(doing, lambda client: client.deleteAllTs(self._table, row, column, until, {}))

    def delete_many(self, rows: Sequence[bytes], column: bytes, *, doing: str) -> None:
        """Remove the cells of many rows, a round trip for every few hundred of them; as for `delete`."""
        mutation, batch = thrift().Mutation, thrift().BatchMutation
        for first in range(0, len(rows), DELETES):
            part = [batch(row, [mutation(isDelete=True, column=column)]) for row in rows[first : first + DELETES]]
            self._repeated(doing, functools.partial(self._change, part))

    def _change(self, changes: list[Any], client: Any) -> None:  # Any: as above
        with self._missing_table_said(client):
            client.mutateRows(self._table, changes, {})

    @contextlib.contextmanager
    def _missing_table_said(self, client: Any) -> Iterator[None]:  # Any: as above
        """All that HBase says of many rows, or a write, of a missing table is its name, among servers that gave up.

        Asking for the families says it (by an exception of its own) or shows that it is something else.
        """
        try:
            yield
        except thrift().IOError as error:
            if re.search(rb"Failed \d+ actions?: " + re.escape(self._table) + b": ", _raw(error.message)):
                client.getColumnDescriptors(self._table)
            raise

    def families(self, *, doing: str) -> dict[bytes, FamilyFacts]:
        """The table's column families, names without the colon."""
        return self._repeated(doing, functools.partial(tables.families, self._table))

    def table_exists(self, *, doing: str = "looking for the table") -> bool:
        try:
            return bool(self.families(doing=doing))
        except StoreError as error:
            if error.__cause__ is not None and understood(error.__cause__, 0).missing_table:
                return False
            raise

    def create_table(self, compression: str = "GZ", *, doing: str = "creating the table") -> None:
        """Create the table with the families `m` (manifests) and `d` (chunks).

        Raises:
            StoreConflict: there is one already.
            StoreError: the servers lack the codec, or refuse for another reason.
            UsageError: there is no such codec.
        """
        codec = tables.known_codec(compression)
        try:
            self._repeated(doing, tables.Creation(self.location, codec))
        except StoreError as error:
            if error.__cause__ is not None and names_codec(error.__cause__, codec):
                raise StoreError(
                    f"The region servers of HBase at {self.location.place} do not have the compression {codec}.",
                    hint=f"Choose another (GZ is always there). HBase says: {error.message}",
                    compression=codec,
                ) from error
            raise

    def close(self) -> None:
        """Close this thread's connection; the next operation opens another."""
        self._connections.close()

    def close_all(self) -> None:
        """Close the connections of all threads; an operation under way in another thread is tried again or fails."""
        self._connections.close_all()

    def give_up(self) -> None:
        """End what is under way in all threads with a StoreError: nobody waits for it any more. What begins later works."""
        self._times_given_up += 1
        self.close_all()

    def _repeated(self, doing: str, work: Callable[[Any], T], tries: Tries | None = None) -> T:
        """`work`, again after failures that pass: it must be harmless to do it twice."""
        tries = tries or self._tries(doing)
        while True:
            try:
                channel = self._channel(tries.deadline)
                with channel.calling(tries.deadline) as client:
                    result = work(client)
            except Exception as error:  # all kinds are told apart in `again`, which raises unless another try helps
                self._answered = self._answered or type(error).__module__ == "Hbase_thrift"
                tries.again(error, known=self._answered)
            else:
                self._answered = True
                return result

    def _once(self, tries: Tries, work: Callable[[Any], T]) -> T | None:
        """`work`, at most once; None when nobody knows whether it was done. Connecting is tried again like anything."""
        while True:
            try:
                channel = self._channel(tries.deadline)
                break
            except Exception as error:  # as above
                tries.again(error, known=self._answered)
        try:
            with channel.calling(tries.deadline) as client:
                result = work(client)
        except Exception as error:  # what HBase certainly refused is raised, all else is unknown
            tries.unknown(error)
            return None
        self._answered = True
        return result

    def _tries(self, doing: str) -> Tries:
        began = self._times_given_up
        return Tries(self.location, self.settings, doing, self._pause, given_up=lambda: self._times_given_up != began)

    def _read(self, rows: Sequence[bytes], column: bytes, client: Any) -> dict[bytes, Cell]:
        with self._missing_table_said(client):
            results = client.getRowsWithColumns(self._table, list(rows), [column], {})
        found = dict(_cells(results, column))
        if not found.keys() <= set(rows):
            raise Garbage("it has rows that were not asked for")
        return found

    def _channel(self, deadline: Deadline) -> Channel:
        """This thread's connection, fit for use."""
        channel = self._connections.mine()
        if channel is not None and channel.is_fit(self.settings.idle_s):
            return channel
        self._connections.close()
        channel = open_channel(self.location, self._addresses, self.settings, deadline, self._tls)
        self._connections.keep(channel)
        return channel

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return tls_context(self.settings.tls)

    def _write(self, cells: list[tuple[bytes, bytes]], column: bytes, client: Any) -> None:
        mutation, batch = thrift().Mutation, thrift().BatchMutation
        self._change([batch(row=row, mutations=[mutation(column=column, value=value)]) for row, value in cells], client)

    def _parts(self, cells: Mapping[bytes, bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        if self.settings.transport != "framed":
            if cells:
                yield list(cells.items())
            return
        part: list[tuple[bytes, bytes]] = []
        size = 0
        for row, value in cells.items():
            if part and size + len(row) + len(value) + 100 > FRAME_LIMIT:
                yield part
                part, size = [], 0
            part.append((row, value))
            size += len(row) + len(value) + 100
        if part:
            yield part


def _cells(results: Any, column: bytes) -> Iterator[tuple[bytes, Cell]]:
    """Rows and cells out of HBase's results, each checked to be what it should be."""
    for result in results:
        cell = (result.columns or {}).get(column)
        if cell is None:
            continue
        if (
            not isinstance(result.row, bytes)
            or not isinstance(cell.value, bytes)
            or not isinstance(cell.timestamp, int)
        ):
            raise Garbage("it has a row without a cell")
        yield result.row, Cell(cell.value, cell.timestamp)


def _raw(message: bytes | str) -> bytes:
    return message.encode() if isinstance(message, str) else message
