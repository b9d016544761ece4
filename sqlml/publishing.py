"""A copy of the database, or of its predictions as Parquet, put in place atomically for readers that must not wait.

DuckDB lets nobody read a file while another process writes it; `publish` gives readers a file of their own. The copy is
made by COPY FROM DATABASE in one transaction: a snapshot of what is committed, whatever else this process is writing.
Copying the file itself would be faster (measured: 0.6 against 0.1 GB/s), but a file that is open changes under the copy,
and on POSIX systems reading it in the process that holds it open would give up DuckDB's lock on it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml import extension, placing, sql
from sqlml.database import DatabaseFacts, facts, open_database, translated
from sqlml.errors import DatabaseError, NameRefused, UsageError
from sqlml.publication import Published
from sqlml.publishing_parquet import write_parquet

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TARGET = "sqlml publish"
"""The name under which the new file is attached while it is written: one that nobody else's database has."""


def publish(
    source: Connection | str | Path,
    target: str | Path,
    *,
    format: str = "duckdb",
    storage_version: str | None = None,
) -> Published:
    """Copy a database to `target`, atomically: readers see the old copy or the new one, never a part.

    Args:
        source: A connection (its current database, as committed), or the path of a database file.
        target: The file to be, or the directory with `format="parquet"`: one directory per deployment in it, with
            current.parquet and a file per prediction table.
        storage_version: For a DuckDB file, "v1.5.0" to let older clients open it; the source's own by default.

    Raises:
        DatabaseLocked: another process has the source open for writing.
        NameRefused: the target's name equals a schema's in the database, which would make every name in it ambiguous.
        DatabaseError: the target cannot be written; what was there before stays.
    """
    if format not in ("duckdb", "parquet"):
        raise UsageError(f"{format!r} is no format to publish.", hint="Valid: duckdb, parquet.")
    if format == "parquet" and storage_version is not None:
        raise UsageError(
            "A storage version is a DuckDB file's; Parquet has none.", hint="Leave --storage-version away."
        )
    began = time.monotonic()
    place = Path(os.path.realpath(target))  # through a symbolic link: what it points to is replaced
    placing.check_folder(place)
    with _connected(source) as connection:
        extension.why_not(connection)  # copying a function that calls it needs it
        database = facts(connection)
        if format == "parquet":
            return write_parquet(connection, database, place, began)
        _check_target(connection, database, place)
        placing.remove_leftovers(place)
        return _write_database(connection, database, place, storage_version, began)


@contextmanager
def _connected(source: Connection | str | Path) -> Iterator[Connection]:
    """A connection of our own: the caller's may have an open transaction or an unread result."""
    if isinstance(source, str | Path):
        if not Path(source).exists():
            raise DatabaseError(f"There is no database file {source}.", hint="Check the path, or deploy first.")
        with _opened(str(source)) as connection:
            yield connection
    else:
        name = facts(source).name
        with source.cursor() as connection:
            connection.execute(sql.use(name))
            yield connection


def _opened(path: str) -> Connection:
    """Read-only, or, where this very process has the file open for writing, through that."""
    import duckdb

    try:
        return open_database(path, read_only=True)
    except DatabaseError as error:
        if not isinstance(error.__cause__, duckdb.ConnectionException):
            raise
    try:
        return open_database(path)
    except DatabaseError as error:
        raise DatabaseError(
            f"{path} is open in this process with settings of its own.",
            hint="Give publish the open connection instead of the path.",
        ) from error


def _check_target(connection: Connection, database: DatabaseFacts, place: Path) -> None:
    if place.is_dir():
        raise UsageError(f"{place} is a directory.", hint="Name the file to be: a directory is for --format parquet.")
    if database.path is not None and place == Path(os.path.realpath(database.path)):
        raise UsageError(f"{place} is the database itself.", hint="Publish to another file.")
    if Path(f"{place}.wal").exists():
        raise DatabaseError(
            f"Somebody writes to {place}: {place.name}.wal is beside it.",
            hint="A published copy is for reading, and is replaced as a whole: publish to another name, or close that"
            " connection and remove both files.",
        )
    name = database_name(place)
    rows = connection.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database() AND NOT internal"
    ).fetchall()
    clashing = [row[0] for row in rows if row[0].lower() == name.lower()]
    if clashing or name.lower() == "sqlml":
        schema = clashing[0] if clashing else "sqlml"
        raise NameRefused(
            f"DuckDB would call the file {place.name} {name!r}, as the schema {schema!r} in it is called, and find every"
            f" {schema}.x ambiguous.",
            hint=f"Give it another name, such as {place.with_name(f'{name}_published.duckdb').name}.",
        )


def database_name(path: Path) -> str:
    """What DuckDB calls a file: its name up to the first dot (measured: a leading dot does not count)."""
    return next((part for part in path.name.split(".") if part), "")


def _write_database(
    connection: Connection, database: DatabaseFacts, place: Path, storage_version: str | None, began: float
) -> Published:
    storage = storage_version or database.storage.rstrip("+") or None
    new = placing.new_name(place)
    with translated(str(place)):
        try:
            with _attached(connection, new, storage):
                connection.execute("BEGIN")
                try:
                    connection.execute(sql.copy_database(database.name, TARGET))
                    contents, missing = _compared(connection, database.name)
                    connection.execute("COMMIT")
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
            if missing:
                raise DatabaseError(f"The copy lacks {', '.join(missing)}; nothing was published.")
            if place.exists():
                shutil.copymode(place, new)  # readers that could open the old one can open this one
            placing.put_in_place(new, place)
        except BaseException:
            placing.remove(new)
            raise
    return Published(
        path=str(place),
        format="duckdb",
        bytes=place.stat().st_size,
        contents=contents,
        left_out=_triggers(connection),
        storage=storage,
        seconds=round(time.monotonic() - began, 3),
    )


@contextmanager
def _attached(connection: Connection, new: Path, storage: str | None) -> Iterator[None]:
    connection.execute(sql.attach(str(new), TARGET, storage))
    try:
        yield
    finally:
        connection.execute(sql.detach(TARGET))  # writes all of it into the file, and removes its .wal


OBJECTS = (
    "SELECT kind, schema_name, name FROM ("
    " SELECT 'table' AS kind, database_name, schema_name, table_name AS name FROM duckdb_tables() WHERE NOT internal"
    " UNION ALL SELECT 'view', database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal"
    " UNION ALL SELECT 'function', database_name, schema_name, function_name FROM duckdb_functions()"
    " WHERE NOT internal AND function_type IN ('macro', 'table_macro')"
    ") WHERE database_name = ? ORDER BY ALL"
)


def _compared(connection: Connection, name: str) -> tuple[tuple[str, ...], list[str]]:
    """What the copy holds, in numbers, and what of the source it lacks."""
    wanted = connection.execute(OBJECTS, [name]).fetchall()
    there = connection.execute(OBJECTS, [TARGET]).fetchall()
    kinds = [kind for kind, _, _ in there]
    contents = tuple(f"{kinds.count(kind)} {kind}s" for kind in ("table", "view", "function") if kind in kinds)
    return contents, [
        f"the {kind} {schema}.{item}" for kind, schema, item in wanted if (kind, schema, item) not in there
    ]


def _triggers(connection: Connection) -> tuple[str, ...]:
    """DuckDB does not copy triggers, and a copy for reading needs none: predictions in it are those of the moment."""
    import duckdb

    if int(duckdb.__version__.split(".")[0]) < 2:
        return ()
    found = connection.execute(
        "SELECT schema_name, table_name, count(*) FROM duckdb_triggers() WHERE database_name = current_database()"
        " GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return tuple(f"{count} triggers on {schema}.{table}: a copy is not live" for schema, table, count in found)
