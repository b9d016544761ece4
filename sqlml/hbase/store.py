"""A place in a table, opened: its location, the calls to it, and the workers that move bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlml.errors import LocationRefused
from sqlml.hbase import files
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location, check_path, parse
from sqlml.hbase.settings import Settings, load_settings
from sqlml.hbase.transfers import Transfers

MANIFEST_NAME = ".sqlml-manifest.json"
"""A file that every folder seems to have and no folder lists: what the store recorded of the files below, for whoever
downloads them and wants to know that each byte is what was logged. It is made when it is read, so that it also comes
through an MLflow server that stands in between."""


@dataclass(frozen=True)
class Store:
    location: Location
    gateway: Gateway
    transfers: Transfers

    def path(self, below: str | None) -> str:
        """The whole path in the table of a path below the location.

        Raises:
            LocationRefused: it steps out of its folder, has a reserved name, or cannot be a key.
        """
        parts = [part for part in (self.location.path, below) if part]
        return _not_reserved(check_path("/".join(parts))) if parts else ""

    def below(self, path: str) -> str:
        """The path below the location of a whole path."""
        return path[len(self.location.path) :].removeprefix("/")

    def manifest_document(self, folder: str) -> bytes:
        """What the store recorded of all files below `folder` (a whole path), as JSON."""
        return json.dumps(
            {
                "format": 1,
                "store": "hbase",
                "place": self.location.place,
                "table": self.location.table,
                "path": folder,
                "files": [
                    {
                        "path": file.path[len(folder) :].removeprefix("/"),
                        "size": file.manifest.size,
                        "sha256": file.manifest.sha256,
                        "object": file.manifest.object,
                    }
                    for file in files.below(self.gateway, folder)
                ],
            },
            ensure_ascii=False,
        ).encode()

    def close(self) -> None:
        self.transfers.close()
        self.gateway.close_all()


def open_store(uri: str, settings: Settings | None = None, *, prefix_required: bool = False) -> Store:
    """The store at `uri`; nothing is connected yet.

    Raises:
        LocationRefused: the location is malformed, or names a host that the settings do not allow.
    """
    location = parse(uri, prefix_required=prefix_required)
    _not_reserved(location.path)
    settings = settings or load_settings()
    gateway = Gateway(location, settings)
    return Store(location, gateway, Transfers(gateway, settings.connections))


def _not_reserved(path: str) -> str:
    if MANIFEST_NAME in path.split("/"):
        raise LocationRefused(
            f"{path} cannot be stored: the name {MANIFEST_NAME} is reserved.", hint="Choose another name."
        )
    return path
