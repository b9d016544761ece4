"""What somebody dropped or replaced of a deployment, and putting it back from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlml import live, objects
from sqlml.catalog import records
from sqlml.catalog.records import Version
from sqlml.database import atomic
from sqlml.deploy.state import present
from sqlml.deploy.switch import followers
from sqlml.errors import DatabaseError

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
    recorded = [o for o in objects.recorded(connection, version.deployment, version.version) if o.role == "active"]
    try:
        with atomic(connection, version.deployment):
            for name in (version.deployment, *(f.name for f in followers(connection, version.deployment))):
                live.turn_off(connection, name)  # triggers depend on these views, and are back when this is rolled back
            before = _definitions(connection)
            for item in recorded:
                try:
                    connection.execute(item.drop_statement)
                    connection.execute(item.statement)
                except duckdb.DependencyException as error:
                    raise CannotCompare(f"something depends on {item.schema}.{item.name}") from error
                except duckdb.Error as error:
                    raise CannotCompare(f"{item.schema}.{item.name} cannot be made any more") from error
            after = _definitions(connection)
            for item in recorded:
                named = (item.kind, item.schema, item.name)
                if named in before and before[named] != after.get(named):
                    changed.append(f"{item.schema}.{item.name}")
            raise _Undo
    except _Undo:
        return changed


def _definitions(connection: Connection) -> dict[tuple[str, str, str], str]:
    """What DuckDB says of the views and macros of the current database, by kind, schema and name."""
    rows = connection.execute(
        "SELECT 'view', schema_name, view_name, sql FROM duckdb_views() WHERE database_name = current_database()"
        " UNION ALL SELECT replace(function_type, '_', ' '), schema_name, function_name,"
        " string_agg(macro_definition, ';' ORDER BY macro_definition) FROM duckdb_functions() WHERE database_name = current_database()"
        " AND function_type IN ('macro', 'table_macro') GROUP BY ALL"
    ).fetchall()
    return {(kind, schema, name): text for kind, schema, name, text in rows}


def restore(connection: Connection, version: Version) -> list[str]:
    """Make the functions and the prediction table of a version again where somebody dropped them."""
    made: list[str] = []
    with atomic(connection, version.deployment):
        there = present(connection)
        for item in objects.recorded(connection, version.deployment, version.version):
            if item.role in ("version", objects.LABELS) and (item.kind, item.schema, item.name) not in there:
                if not made:
                    records.begin_change(connection, version.deployment)
                connection.execute(item.statement)
                made.append(f"{item.schema}.{item.name}")
    return made


def is_damaged(connection: Connection, version: Version) -> bool:
    """Whether the active version's functions or views are not as they were recorded."""
    recorded = [o for o in objects.recorded(connection, version.deployment, version.version) if o.role == "active"]
    if not {(o.kind, o.schema, o.name) for o in recorded} <= present(connection):
        return True
    try:
        return bool(replaced(connection, version))
    except CannotCompare:
        return False
