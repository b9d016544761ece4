"""What somebody dropped or replaced of a deployment, and putting it back from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlml import live, objects
from sqlml.catalog import records
from sqlml.catalog.records import Version
from sqlml.database import atomic
from sqlml.errors import DatabaseError
from sqlml.state import exists
from sqlml.switch import followers

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


class CannotCompare(DatabaseError):
    """An object cannot be made again, so that what it says now has nothing to be compared with."""


class _Undo(Exception):
    """Leaves a transaction that was only for looking."""


def replaced(connection: Connection, version: Version) -> list[str]:
    """Functions and views of the active version that do not say what was recorded: DuckDB's own text is compared.

    Raises:
        CannotCompare: the source has changed, or something that is not ours depends on one of them.
    """
    import duckdb

    changed: list[str] = []
    try:
        with atomic(connection, version.deployment):
            for name in (version.deployment, *(f.name for f in followers(connection, version.deployment))):
                live.turn_off(connection, name)  # triggers depend on these views, and are back when this is rolled back
            for item in objects.recorded(connection, version.deployment, version.version):
                if item.role != "active":
                    continue
                before = _definition(connection, item)
                try:
                    connection.execute(item.drop_statement)
                    connection.execute(item.statement)
                except duckdb.DependencyException as error:
                    raise CannotCompare(f"something depends on {item.schema}.{item.name}") from error
                except duckdb.Error as error:
                    raise CannotCompare(f"{item.schema}.{item.name} cannot be made any more") from error
                if before is not None and before != _definition(connection, item):
                    changed.append(f"{item.schema}.{item.name}")
            raise _Undo
    except _Undo:
        return changed


def _definition(connection: Connection, item: objects.DatabaseObject) -> str | None:
    query = (
        "SELECT sql FROM duckdb_views() WHERE database_name = current_database() AND schema_name = ? AND view_name = ?"
        if item.kind == "view"
        else "SELECT string_agg(macro_definition, ';') FROM duckdb_functions()"
        " WHERE database_name = current_database() AND schema_name = ? AND function_name = ?"
    )
    row = connection.execute(query, [item.schema, item.name]).fetchone()
    return None if row is None else row[0]


def restore(connection: Connection, version: Version) -> list[str]:
    """Make the functions and the prediction table of a version again where somebody dropped them."""
    made: list[str] = []
    with atomic(connection, version.deployment):
        for item in objects.recorded(connection, version.deployment, version.version):
            if item.role in ("version", objects.LABELS) and not exists(connection, item.kind, item.schema, item.name):
                if not made:
                    records.begin_change(connection, version.deployment)
                connection.execute(item.statement)
                made.append(f"{item.schema}.{item.name}")
    return made


def is_damaged(connection: Connection, version: Version) -> bool:
    """Whether the active version's functions or views are not as they were recorded."""
    recorded = [o for o in objects.recorded(connection, version.deployment, version.version) if o.role == "active"]
    if not all(exists(connection, o.kind, o.schema, o.name) for o in recorded):
        return True
    try:
        return bool(replaced(connection, version))
    except CannotCompare:
        return False
