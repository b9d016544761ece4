"""The bytes of files, in chunks over a few connections at once, with bounded memory."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from sqlml.errors import ArtifactError
from sqlml.hbase import layout
from sqlml.hbase.layout import CHUNK_BYTES, CHUNK_COLUMN, Manifest

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway

Result = TypeVar("Result")

AHEAD = 2
"""Chunks of a file under way for each connection, so that none waits for the disk or the hash."""
IN_ALL = 3
"""Chunks of all files under way for each connection: one large file cannot keep the others from moving."""
LOG_AGAIN = "Run sqlml hbase fsck to see what else is damaged, and log the file again."


class ChunkMissing(Exception):
    """A chunk is not there: its file was replaced or removed, and collected, while it was read; or it is damaged."""


@dataclass(frozen=True)
class Uploaded:
    size: int
    chunks: int
    sha256: str


class Transfers:
    """Worker threads, each with a connection of its own, shared by everything that one repository moves.

    Any number of files may move at once; together they hold at most `IN_ALL * connections` chunks in memory.
    """

    def __init__(self, gateway: Gateway, connections: int) -> None:
        self.gateway = gateway
        self._ahead = AHEAD * connections
        self._slots = BoundedSemaphore(IN_ALL * connections)
        self._workers = ThreadPoolExecutor(connections, thread_name_prefix="sqlml-hbase")

    def close(self) -> None:
        self._workers.shutdown(wait=True, cancel_futures=True)

    def upload(self, stream: BinaryIO, object_: str, path: str) -> Uploaded:
        """Write all that `stream` holds as chunks of `object_`.

        Raises:
            StoreError: the store did not take them; some may be there.
        """
        digest = hashlib.sha256()
        size = chunks = 0

        def puts() -> Iterator[Callable[[], None]]:
            nonlocal size, chunks
            while chunk := _filled(stream, CHUNK_BYTES):
                digest.update(chunk)
                yield partial(self._put, layout.chunk_row(object_, chunks), chunk, f"writing chunk {chunks} of {path}")
                size, chunks = size + len(chunk), chunks + 1

        for _ in self._in_order(puts()):
            pass
        return Uploaded(size, chunks, digest.hexdigest())

    def download(self, manifest: Manifest, path: str) -> Iterator[memoryview]:
        """The bytes of a file, in order. The last part is given out only when the whole has its sha256.

        Raises:
            ChunkMissing: a chunk is not there.
            ArtifactError: a chunk, or the whole, is not what was written.
            StoreError: the store does not answer.
        """
        digest = hashlib.sha256()
        gets = (partial(self._get, manifest, number, path) for number in range(manifest.chunks))
        for number, part in enumerate(self._in_order(gets), start=1):
            digest.update(part)
            if number == manifest.chunks:
                self._require(digest.hexdigest(), manifest, path)
            yield part
        if manifest.chunks == 0:
            self._require(digest.hexdigest(), manifest, path)

    def _put(self, row: bytes, chunk: bytes, doing: str) -> None:
        self.gateway.put(row, CHUNK_COLUMN, layout.with_checksum(row, chunk), doing=doing)

    def _get(self, manifest: Manifest, number: int, path: str) -> memoryview:
        row = layout.chunk_row(manifest.object, number)
        cell = self.gateway.get(row, CHUNK_COLUMN, doing=f"reading chunk {number} of {path}")
        if cell is None:
            raise ChunkMissing(f"chunk {number} of {manifest.chunks}")
        found = layout.payload(row, cell.value)
        if found is None or len(found) != manifest.chunk_size(number):
            raise ArtifactError(
                f"Chunk {number} of {path} (object {manifest.object}) is damaged: its {len(cell.value):,} bytes are not"
                f" what was written ({self.gateway.location.described}).",
                hint=LOG_AGAIN,
                path=path,
                object=manifest.object,
                chunk=number,
            )
        return found

    def _require(self, found: str, manifest: Manifest, path: str) -> None:
        if found != manifest.sha256:
            raise ArtifactError(
                f"{path} (object {manifest.object}) is damaged: its sha256 is {found}, and its manifest says"
                f" {manifest.sha256} ({self.gateway.location.described}).",
                hint=LOG_AGAIN,
                path=path,
                object=manifest.object,
            )

    def _in_order(self, calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """Results in the order of `calls`, which are made by the workers, a few ahead of what is consumed."""
        waiting: deque[Future[Result]] = deque()
        failures: list[BaseException] = []

        def unless_failed(call: Callable[[], Result]) -> Result:
            # Else a worker whose call has just failed would begin the next one before that is cancelled, and wait for
            # another deadline. What comes first in order may not be what failed first.
            if failures:
                raise failures[0]
            try:
                return call()
            except BaseException as error:
                failures.append(error)
                raise

        try:
            for call in calls:
                # Whoever holds no slot waits for one; whoever holds some gives one back first: nobody waits for ever.
                while len(waiting) >= self._ahead or not self._slots.acquire(blocking=not waiting):
                    yield self._next(waiting)
                waiting.append(self._workers.submit(unless_failed, call))
            while waiting:
                yield self._next(waiting)
        except KeyboardInterrupt as error:
            failures.append(error)
            self.gateway.give_up()  # else the workers, and so the process, would wait for their answers
            raise
        finally:
            for future in waiting:
                future.cancel()
            wait(waiting)
            for _ in waiting:
                self._slots.release()

    def _next(self, waiting: deque[Future[Result]]) -> Result:
        try:
            return waiting[0].result()
        finally:
            # An interrupted wait leaves the future where the caller's cleaning up finds it.
            if waiting[0].done():
                waiting.popleft()
                self._slots.release()


def _filled(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, less only at the end: a socket's stream gives what it has."""
    first = stream.read(size)
    if not first or len(first) == size:
        return first
    parts, missing = [first], size - len(first)
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
