"""What is at a path: a file, nothing, or a folder; and what lies below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlml.errors import ArtifactError, LocationRefused
from sqlml.hbase import layout
from sqlml.hbase.layout import MANIFEST_COLUMN, Manifest, Tombstone
from sqlml.hbase.location import check_path
from sqlml.hbase.scanning import PAGE, pages

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway

Damaged = Callable[[ArtifactError], object]


@dataclass(frozen=True)
class StoredFile:
    """A file's whole path in the table, and its manifest."""

    path: str
    manifest: Manifest


@dataclass(frozen=True)
class Entry:
    """What is directly in a folder: a file with its size in bytes, or a folder, which has none."""

    name: str
    size: int | None

    @property
    def is_folder(self) -> bool:
        return self.size is None


def find(gateway: Gateway, path: str) -> StoredFile | None:
    """The file at `path`. Raises ArtifactError where its manifest is damaged or of an unknown format."""
    cell = gateway.get(layout.manifest_row(path), MANIFEST_COLUMN, doing=f"reading the manifest of {path}")
    return None if cell is None else stored(path, cell.value)


def stored(path: str, cell: bytes) -> StoredFile | None:
    """The file that a manifest's cell tells of; None for a tombstone."""
    record = decoded(path, cell)
    return None if isinstance(record, Tombstone) else StoredFile(path, record)


def decoded(path: str, cell: bytes) -> Manifest | Tombstone:
    return layout.decoded_file(cell, f"The manifest of {path}")


def object_of(path: str, cell: bytes) -> str | None:
    """The id of the file that a manifest's cell tells of: None for a tombstone, "" where the manifest is damaged.

    A damaged manifest must not keep anybody from replacing or removing the file; its chunks are orphans then. One of a
    newer format does: what it refers to is not known.
    """
    try:
        record = decoded(path, cell)
    except ArtifactError as error:
        if "format" in error.details:
            raise
        return ""
    return record.object if isinstance(record, Manifest) else None


def require(gateway: Gateway, path: str) -> StoredFile:
    """The file at `path`. Raises ArtifactError where there is none, or a folder."""
    found = find(gateway, path) if path else None
    if found is not None:
        return found
    where = replace(gateway.location, path=path)
    if not path or next(below(gateway, path), None) is not None:
        raise ArtifactError(
            f"{where.uri} is a {'folder' if path else 'whole table'}, not a file.",
            hint=f"See what is in it: sqlml hbase ls {where.uri}",
            missing=(path,),
        )
    raise ArtifactError(
        f"There is no file {path} in the {gateway.location.described}.",
        hint=f"See what there is: sqlml hbase ls {replace(where, path='').uri}",
        missing=(path,),
    )


def path_of(row: bytes) -> str:
    """The path of a manifest's row. Raises ArtifactError where the row is none that sqlml writes."""
    try:
        return check_path(row.removeprefix(layout.MANIFEST_ROWS).decode())
    except (UnicodeDecodeError, LocationRefused) as error:
        raise ArtifactError(
            f"The row {row!r} is not one that sqlml writes: {error}",
            hint="Somebody else writes to this table: look who.",
            damaged=True,
        ) from error


def cells_below(gateway: Gateway, path: str) -> Iterator[tuple[bytes, bytes]]:
    """Rows and cells of all manifests and tombstones below a folder, in order of their paths: one bounded scan."""
    start, stop = layout.below(path)
    for page in pages(gateway, start, stop, MANIFEST_COLUMN, doing=f"listing {path or 'the table'}"):
        yield from ((row, cell.value) for row, cell in page)


def below(gateway: Gateway, path: str, damaged: Damaged | None = None) -> Iterator[StoredFile]:
    """All files below a folder, in order of their paths. One whose manifest is damaged raises, or is told to `damaged`."""
    for row, cell in cells_below(gateway, path):
        found = _stored(row, cell, damaged)
        if found is not None:
            yield found


def entries(gateway: Gateway, path: str, damaged: Damaged | None = None) -> list[Entry]:
    """What is directly in the folder `path`, by name; empty for a file and for nothing. `damaged` is as for `below`.

    Reads what lies deeper only until a subfolder has shown one file, so that a folder of a thousand models costs a
    thousand pages at most, however many files they have.
    """
    first, stop = layout.below(path)
    folder_part = f"{path}/" if path else ""
    found: dict[str, Entry] = {}
    start = first
    while True:
        page = gateway.page(start, stop, MANIFEST_COLUMN, limit=PAGE, doing=f"listing {path or 'the table'}")
        folder = ""
        for row, cell in page:
            whole = row.removeprefix(layout.MANIFEST_ROWS).decode(errors="replace")
            name, _, deeper = whole.removeprefix(folder_part).partition("/")
            folder = name if deeper else ""
            if folder in found:
                continue
            file = _stored(row, cell.value, damaged)
            if file is not None:
                found[name] = Entry(name, None if folder else file.manifest.size)
        if len(page) < PAGE:
            return sorted(found.values(), key=lambda entry: entry.name)
        start = layout.after_prefix(first + f"{folder}/".encode()) if folder in found else page[-1][0] + b"\0"


def _stored(row: bytes, cell: bytes, damaged: Damaged | None) -> StoredFile | None:
    try:
        return stored(path_of(row), cell)
    except ArtifactError as error:
        if damaged is None:
            raise
        damaged(error)
        return None
