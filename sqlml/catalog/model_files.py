"""The files of models that are asked and not converted, kept in the database: scoring needs neither registry nor network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml import sql
from sqlml.catalog.records import Version
from sqlml.errors import ArtifactError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

PART_BYTES = 16 << 20
"""A file is kept in parts, so that memory does not grow with it."""
TAKEN = "sqlml model files"


def take(connection: Connection, directory: Path, paths: Iterable[str]) -> None:
    """Read the files into a temporary table of the connection, from where `keep` takes them in a transaction."""
    empty = "SELECT NULL::VARCHAR AS path, NULL::INTEGER AS part, NULL::BLOB AS content WHERE false"
    connection.execute(sql.create_temporary(TAKEN, empty))
    insert = sql.insert_statement(("temp", TAKEN), ["path", "part", "content"])
    for path in paths:
        with (directory / path).open("rb") as file:
            part = 0
            while (content := file.read(PART_BYTES)) or part == 0:
                connection.execute(insert, [path, part, content])
                part += 1


def keep(connection: Connection, artifact_sha256: str) -> None:
    """The files that were taken, once for each artifact."""
    known = connection.execute(
        "SELECT 1 FROM sqlml.model_files WHERE artifact_sha256 = ? LIMIT 1", [artifact_sha256]
    ).fetchone()
    if known is None:
        taken = sql.select_from("SELECT ?, path, part, content", sql.read_path(TAKEN))
        connection.execute(
            sql.insert_select(("sqlml", "model_files"), ["artifact_sha256", "path", "part", "content"], taken),
            [artifact_sha256],
        )


def forget(connection: Connection) -> None:
    connection.execute(sql.drop_object("TABLE", ("temp", TAKEN)))


def restore(connection: Connection, version: Version, directory: Path) -> None:
    """Write the version's files below `directory`, each as it was when it was deployed.

    Raises:
        ArtifactError: one of them is missing from the database or not what its hash says.
    """
    root = directory.resolve()
    for file in json.loads(version.artifact_files):
        target = (root / file["path"]).resolve()
        if not target.is_relative_to(root):
            raise ArtifactError(f"The catalog names a file outside of the model's own directory: {file['path']!r}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as written:
            for content in _parts(connection, version.artifact_sha256, file["path"]):
                digest.update(content)
                written.write(content)
        if digest.hexdigest() != file["sha256"]:
            raise ArtifactError(
                f"The file {file['path']!r} of {version.deployment} v{version.version} in this database is missing or"
                " damaged: it is not what its hash says.",
                hint=f"Deploy {version.reference} again.",
            )


def _parts(connection: Connection, artifact_sha256: str, path: str) -> Iterable[bytes]:
    part = 0
    while True:
        row = connection.execute(
            "SELECT content FROM sqlml.model_files WHERE artifact_sha256 = ? AND path = ? AND part = ?",
            [artifact_sha256, path, part],
        ).fetchone()
        if row is None:
            return
        yield bytes(row[0])
        part += 1
