"""Files are written whole or not at all, and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from sqlml.errors import ArtifactError
from sqlml.hbase import files, layout, switching
from sqlml.hbase.layout import CHUNK_BYTES, CHUNK_COLUMN, MANIFEST_COLUMN, Manifest, Tombstone
from sqlml.hbase.transfers import Transfers

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway


def write(gateway: Gateway, transfers: Transfers, path: str, stream: BinaryIO) -> Manifest:
    """Make what `stream` holds the file at `path`, replacing what is there in one step.

    When this returns, the file is there; when it raises before the switch of its manifest, nothing has changed.

    Raises:
        ArtifactError: there is a folder at `path`, or a file where its folder would be.
        StoreConflict: others kept writing the same path, or gc took this write for crashed.
        StoreError: the store does not answer.
    """
    before = _writable(gateway, path)
    replaces = None if before is None else files.object_of(path, before)
    id_ = layout.new_id()
    intent = switching.begin(gateway, id_, path, "writing", replaces)
    uploaded = transfers.upload(stream, id_, path)
    manifest = Manifest(id_, uploaded.size, uploaded.chunks, CHUNK_BYTES, uploaded.sha256)
    try:
        switching.switch(gateway, id_, intent, before, manifest)
    except switching.TakenOver:
        # Chunks that were written after gc had been there: no record knows of them any more.
        rows = [layout.chunk_row(id_, number) for number in range(manifest.chunks)]
        gateway.delete_many(rows, CHUNK_COLUMN, doing=f"removing what was written of {path}")
        raise
    return manifest


def remove(gateway: Gateway, path: str) -> int:
    """Remove the file at `path`, or all files below the folder; returns how many there were.

    Each file is removed in one step; a folder is not.
    """
    found = [] if not path else [(layout.manifest_row(path), cell)] if (cell := _cell(gateway, path)) else []
    removed = 0
    for row, cell in (*found, *files.cells_below(gateway, path)):
        removed += _remove(gateway, files.path_of(row), cell)
    return removed


def _remove(gateway: Gateway, path: str, cell: bytes) -> bool:
    object_ = files.object_of(path, cell)
    if object_ is None:
        return False
    id_ = layout.new_id()
    intent = switching.begin(gateway, id_, path, "removing", object_)
    switching.switch(gateway, id_, intent, cell, Tombstone(id_, object_))
    return True


def _cell(gateway: Gateway, path: str) -> bytes | None:
    cell = gateway.get(layout.manifest_row(path), MANIFEST_COLUMN, doing=f"reading the manifest of {path}")
    return None if cell is None else cell.value


def _writable(gateway: Gateway, path: str) -> bytes | None:
    """The manifest's cell at `path`; refused where a file and a folder would have the same name.

    Two writers at once can still make both; fsck tells of it.
    """
    parts = path.split("/")
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    rows = [layout.manifest_row(name) for name in (*folders, path)]
    cells = gateway.get_many(rows, MANIFEST_COLUMN, doing=f"reading the manifest of {path}")
    for folder, row in zip(folders, rows, strict=False):
        if row in cells and files.object_of(folder, cells[row].value) is not None:
            raise ArtifactError(
                f"{path} cannot be written: {folder} is a file.", hint="Remove that file, or choose another name."
            )
    before = cells.get(rows[-1])
    is_file = before is not None and files.object_of(path, before.value) is not None
    if not is_file and any(files.object_of(path, cell) is not None for _, cell in files.cells_below(gateway, path)):
        raise ArtifactError(
            f"{path} cannot be written: it is a folder that holds files.", hint="Remove them, or choose another name."
        )
    return None if before is None else before.value
