"""What people see of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlml.errors import ArtifactError
from sqlml.hbase import files

if TYPE_CHECKING:
    from sqlml.hbase.store import Store


def one_level(store: Store, damaged: files.Damaged) -> list[dict[str, Any]]:  # Any: JSON
    """The files and folders directly at the store's location, or the one file that it is.

    A file whose manifest is damaged is told to `damaged` and left out.

    Raises:
        ArtifactError: there is nothing.
    """
    path = store.path(None)
    told: list[ArtifactError] = []
    entries = files.entries(store.gateway, path, told.append)
    for error in told:
        damaged(error)
    if not entries and not told and path:
        file = files.require(store.gateway, path)
        entries = [files.Entry(path.rpartition("/")[2], file.manifest.size)]
    return [{"name": entry.name + ("/" if entry.is_folder else ""), "size": entry.size} for entry in entries]


def every(store: Store, damaged: files.Damaged) -> list[dict[str, Any]]:  # Any: JSON
    """All files below the store's location, with what is recorded of each; otherwise as `one_level`."""
    path = store.path(None)
    told: list[ArtifactError] = []
    found = list(files.below(store.gateway, path, told.append))
    for error in told:
        damaged(error)
    if not found and not told and path:
        found = [files.require(store.gateway, path)]
    return [
        {
            "path": store.below(file.path),
            "size": file.manifest.size,
            "sha256": file.manifest.sha256,
            "object": file.manifest.object,
        }
        for file in found
    ]
