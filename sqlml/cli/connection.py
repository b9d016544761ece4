"""The database of a command, opened the way the command needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlml
from sqlml import placing
from sqlml.cli import options
from sqlml.cli.interrupts import interruptible
from sqlml.errors import DatabaseError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@contextmanager
def writing(database: str | None, *, storage_version: str | None = None) -> Iterator[Connection]:
    """For commands that change it; a file that does not exist is made, and is gone again if nothing came of it."""
    path = options.settings(database=database).require_database()
    is_new = path != ":memory:" and not Path(path).exists()
    is_empty = False
    try:
        with sqlml.connect(path, storage_version=storage_version) as connection, interruptible(connection):
            try:
                yield connection
            except BaseException:
                is_empty = is_new and _holds_nothing(connection)
                raise
    except BaseException:
        if is_empty:
            placing.remove(Path(path))
        raise


def _holds_nothing(connection: Connection) -> bool:
    import duckdb

    try:
        found = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name <> 'sqlml' UNION ALL"
            " SELECT 1 FROM duckdb_views() WHERE database_name = current_database() AND NOT internal AND schema_name <> 'sqlml'"
            " UNION ALL SELECT 1 FROM duckdb_schemas() WHERE database_name = current_database()"
            " AND schema_name NOT IN ('main', 'sqlml', 'information_schema', 'pg_catalog') LIMIT 1"
        )
        return not found.fetchall()
    except duckdb.Error:  # interrupted, or closed: then it stays
        return False


@contextmanager
def changing(database: str | None) -> Iterator[Connection]:
    """For commands that change what is deployed: a file that does not exist is a mistake, not a new database."""
    path = options.settings(database=database).require_database()
    require_file(path)
    with sqlml.connect(path) as connection, interruptible(connection):
        yield connection


@contextmanager
def reading(database: str | None) -> Iterator[Connection]:
    """For commands that only look: several may at once."""
    path = options.settings(database=database).require_database()
    with sqlml.connect(path, read_only=path != ":memory:") as connection, interruptible(connection):
        yield connection


@contextmanager
def checking(database: str | None) -> Iterator[Connection]:
    """For commands that see more when they may write, and look all the same when they may not."""
    path = options.settings(database=database).require_database()
    require_file(path)
    try:
        connection = sqlml.connect(path)
    except DatabaseError:  # readers have it open, or it is on a read-only disk
        connection = sqlml.connect(path, read_only=True)
    with connection, interruptible(connection):
        yield connection


def require_file(path: str) -> None:
    if path != ":memory:" and not Path(path).exists():
        raise DatabaseError(f"There is no database file {path}.", hint="Check the path, or deploy first.")
