"""The database of a command, opened the way the command needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlml
from sqlml.cli import options
from sqlml.cli.interrupts import interruptible
from sqlml.errors import DatabaseLocked

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@contextmanager
def writing(database: str | None, *, storage_version: str | None = None) -> Iterator[Connection]:
    """For commands that change it; a file that does not exist is made."""
    path = options.settings(database=database).require_database()
    with sqlml.connect(path, storage_version=storage_version) as connection, interruptible(connection):
        yield connection


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
    except DatabaseLocked:
        connection = sqlml.connect(path, read_only=True)
    with connection, interruptible(connection):
        yield connection


def require_file(path: str) -> None:
    from pathlib import Path

    from sqlml.errors import DatabaseError

    if path != ":memory:" and not Path(path).exists():
        raise DatabaseError(f"There is no database file {path}.", hint="Check the path, or deploy first.")
