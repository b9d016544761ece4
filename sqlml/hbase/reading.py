"""Files are read whole or not at all: what is given out has the sha256 of its manifest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sqlml.errors import ArtifactError, StoreConflict
from sqlml.hbase import files, layout
from sqlml.hbase.files import StoredFile
from sqlml.hbase.layout import Manifest
from sqlml.hbase.transfers import LOG_AGAIN, ChunkMissing, Transfers

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway

ATTEMPTS = 8


def fetch(gateway: Gateway, transfers: Transfers, path: str, target: Path) -> StoredFile:
    """Bring the file at `path` to the local `target`, replacing what is there once all of it has come.

    Raises:
        ArtifactError: there is no such file, or it is damaged.
        StoreError: the store does not answer.
    """
    # Not named after the target: a name of 255 bytes has no room for more.
    partial = target.with_name(f".sqlml-{layout.new_id()}.part")
    try:
        with partial.open("wb") as stream:
            found = copy(gateway, transfers, path, stream)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return found


def copy(gateway: Gateway, transfers: Transfers, path: str, stream: BinaryIO) -> StoredFile:
    """Write the file at `path` to `stream`, which can be truncated: when it is replaced meanwhile, it begins anew.

    What `stream` holds is the file only when this returns.
    """
    found = files.require(gateway, path)
    for _ in range(ATTEMPTS):
        try:
            for part in transfers.download(found.manifest, path):
                stream.write(part)
            return found
        except ChunkMissing as missing:
            current = files.require(gateway, path)
            if current.manifest.object == found.manifest.object:
                raise damaged(gateway, path, found.manifest, missing) from missing
            found = current
            stream.seek(0)
            stream.truncate()
    raise StoreConflict(
        f"{path} was replaced {ATTEMPTS} times while it was read, and each time gc removed the chunks at once.",
        hint="Give sqlml hbase gc an age limit (--older-than) that is longer than any read.",
    )


def damaged(gateway: Gateway, path: str, manifest: Manifest, missing: ChunkMissing) -> ArtifactError:
    return ArtifactError(
        f"{path} (object {manifest.object}) is damaged: {missing} is missing ({gateway.location.described}).",
        hint=LOG_AGAIN,
        path=path,
        object=manifest.object,
    )
