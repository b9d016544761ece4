"""A connection on which every deployed function works, whatever its engine."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml import extension
from sqlml.catalog.migrations import applied
from sqlml.database import open_database
from sqlml.parsing import parsed
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def connect(
    path: str | Path = ":memory:",
    *,
    read_only: bool = False,
    storage_version: str | None = None,
    config: Mapping[str, Any] | None = None,  # Any: DuckDB settings are strings, numbers or booleans
) -> Connection:
    """Open a database with the functions of every engine ready; a model's bytes are read when it is first called.

    The native extension is loaded where it is installed (SQLML_EXTENSION names another file; empty switches it off). It is
    not signed, so the database is opened with allow_unsigned_extensions: other connections of this process to the same
    file need that setting too, or are made with `cursor()`.

    Raises:
        DatabaseLocked: another process has the file open.
        CatalogTooNew: a newer sqlml wrote it.
    """
    connection = open_database(path, read_only=read_only, storage_version=storage_version, config=config)
    try:
        prepare_connection(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_connection(connection: Connection) -> None:
    """Make the functions of every engine known to the database of an open connection; harmless when they are.

    Without the native extension the others work: a function that needs it says so when it is called.
    """
    extension.why_not(connection)
    if applied(connection) == 0:
        return
    query = (
        "SELECT DISTINCT model_sha256, m.signature FROM sqlml.versions v JOIN sqlml.models m ON m.sha256 = v.model_sha256"
        " WHERE v.engine = 'python' AND v.state NOT IN ('undeployed', 'failed')"
    )
    models = connection.execute(parsed(connection, query)).fetchall()
    if not models:
        return
    from sqlml.engines import python

    for sha256, signature in models:
        python.register(connection, sha256, Signature.from_json(signature), _loader(connection, sha256))


def _loader(connection: Connection, sha256: str) -> Callable[[], bytes]:
    # Weak: a function that holds its connection would keep the file locked after close().
    reference = weakref.ref(connection)

    def load() -> bytes:
        alive = reference()
        if alive is None:
            raise RuntimeError("the connection that knows the model was closed")
        with alive.cursor() as cursor:
            row = cursor.execute("SELECT onnx FROM sqlml.models WHERE sha256 = ?", [sha256]).fetchone()
        if row is None:
            raise LookupError(f"model {sha256[:12]} is no longer in sqlml.models")
        return bytes(row[0])

    return load
