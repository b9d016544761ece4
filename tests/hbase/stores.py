"""Files in a real table, as tests write, read and verify them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlml.errors import ArtifactError
from sqlml.hbase import checking, collecting, files, layout, reading, writing
from sqlml.hbase.layout import CHUNK_COLUMN, MANIFEST_COLUMN
from sqlml.hbase.settings import Settings
from sqlml.hbase.store import Store, open_store
from tests.hbase.server.cluster import HBaseServer


@contextmanager
def opened(server: HBaseServer, table: str, *, port: int | None = None, **settings: Any) -> Iterator[Store]:
    """A store for all of a table, straight or by a proxy's port; the settings are the defaults except for these."""
    store = open_store(f"hbase://{server.host}:{port or server.port}/{table}", Settings(**settings))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def created(server: HBaseServer, table: str, **settings: Any) -> Iterator[Store]:
    """The same, with the table made first."""
    with opened(server, table, **settings) as store:
        store.gateway.create_table()
        yield store


def write(store: Store, path: str, content: bytes) -> layout.Manifest:
    return writing.write(store.gateway, store.transfers, path, io.BytesIO(content))


def read(store: Store, path: str) -> bytes:
    stream = io.BytesIO()
    reading.copy(store.gateway, store.transfers, path, stream)
    return stream.getvalue()


def found(store: Store, path: str) -> bytes | None:
    """What is at a path; None for nothing."""
    try:
        return read(store, path)
    except ArtifactError as error:
        if "There is no file" not in str(error):
            raise
        return None


def remove(store: Store, path: str) -> int:
    return writing.remove(store.gateway, path)


def collect(store: Store, **options: Any) -> collecting.Collected:
    return collecting.collect(store.gateway, **{"age_s": 0, "apply": True, **options})


def fsck(store: Store) -> checking.Checked:
    return checking.check(store.gateway, store.transfers, "")


def rows(store: Store, prefix: bytes, column: bytes = MANIFEST_COLUMN) -> list[bytes]:
    """All rows that begin with a prefix; values stay where they are."""
    stop = layout.after_prefix(prefix)
    names: list[bytes] = []
    start = prefix
    while page := store.gateway.page(start, stop, column, limit=1000, keys_only=True, doing="looking"):
        names += [row for row, _ in page]
        start = names[-1] + b"\0"
    return names


def require_clean(store: Store, expected: Mapping[str, bytes] | None = None) -> None:
    """After gc all files verify and nothing else is left, except tombstones that are too young to go.

    With `expected`, the table holds just these files.
    """
    assert collect(store).problems == []
    checked = fsck(store)
    assert checked.clean, checked
    live = list(files.below(store.gateway, ""))
    assert rows(store, layout.INTENT_ROWS) == []
    assert rows(store, layout.CHUNK_ROWS, CHUNK_COLUMN) == sorted(
        layout.chunk_row(file.manifest.object, number) for file in live for number in range(file.manifest.chunks)
    )
    again = collect(store, apply=False)
    assert (again.crashed, again.orphans, again.chunks, again.problems) == (0, 0, 0, [])
    if expected is not None:
        assert sorted(file.path for file in live) == sorted(expected)
        assert [path for path, content in expected.items() if read(store, path) != content] == []
