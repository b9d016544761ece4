"""Which names can become a deployment's schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlml.catalog import records, states
from sqlml.database import DatabaseFacts
from sqlml.errors import NameRefused
from sqlml.relation import schema_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

RESERVED = frozenset({"main", "temp", "system", "sqlml", "pg_catalog", "information_schema"})
ANOTHER = "Deploy under another name with --name."


def check_name(connection: Connection, database: DatabaseFacts, name: str) -> None:
    """Refuse a deployment name that cannot be a schema of ours in this database.

    Raises:
        NameRefused: reserved, taken by somebody else's schema, different from a deployment's only in case, or equal to
            the name of an attached database (measured: a schema `churn` in a file churn.duckdb makes `churn.x` ambiguous).
    """
    if not name.strip() or "\x00" in name:
        raise NameRefused(f"{name!r} is not a name for a deployment.", hint=ANOTHER)
    if name.lower() in RESERVED:
        raise NameRefused(f"{name!r} is a reserved schema name.", hint=ANOTHER)
    for attached in database.attached:
        if attached.lower() == name.lower():
            raise NameRefused(
                f"{name!r} is also the name of the database {attached!r}, which would make every {name}.x ambiguous.",
                hint=f"{ANOTHER[:-1]}, or rename the file.",
            )
        if attached.lower() == "sqlml":
            raise NameRefused(
                "A database called sqlml makes every sqlml.x ambiguous.",
                hint="Rename the file, or attach it under another name.",
            )
    existing = records.find_deployment(connection, name)
    if existing is not None and existing.name != name:
        raise NameRefused(
            f"The deployment {existing.name!r} differs from {name!r} only in case, which SQL does not see.",
            hint=f"Use {existing.name!r}, or deploy under another name with --name.",
        )
    if existing is None and schema_exists(connection, name) and not _was_ours(connection, name):
        raise NameRefused(f"There is a schema {name!r} that sqlml did not make.", hint=ANOTHER)


def refuse_taken_function(connection: Connection, function: tuple[str, str], owned: Sequence[str] | None) -> None:
    """Refuse a plain function (--as) that is not `owned`, the one that the deployment has, but somebody else's.

    Raises:
        NameRefused: there is such a function, or DuckDB has one of that name itself.
    """
    if owned is not None and tuple(owned) == function:
        return
    schema, name = function
    taken = connection.execute(
        "SELECT 1 FROM duckdb_functions() WHERE (database_name = current_database() OR internal)"
        " AND lower(function_name) = lower($2) AND (internal OR lower(schema_name) = lower($1))",
        [schema, name],
    ).fetchone()
    if taken is not None:
        raise NameRefused(
            f"There is a function {schema}.{name} already, and this deployment did not make it.",
            hint="Drop or rename it, or choose another name for --as.",
        )


def _was_ours(connection: Connection, name: str) -> bool:
    """Whether the schema is left of a deployment that was undeployed and kept its prediction tables."""
    return any(version.state != states.FAILED for version in records.versions(connection, name))
