"""Which version was active when, by the history: the one place that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.catalog.states import ACTIVATING, ENDING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Change:
    """From this moment on this version was active; None: none was."""

    since: datetime
    version: int | None


def changes(connection: Connection, deployment: str) -> list[Change]:
    """In order of time."""
    rows = connection.execute(
        "SELECT happened_at, to_version FROM sqlml.history"
        " WHERE deployment = ? AND list_contains(?, action) ORDER BY happened_at, rowid",
        [deployment, [*ACTIVATING, ENDING]],
    ).fetchall()
    return [Change(since, version) for since, version in rows]


def before(connection: Connection, deployment: str, version: int) -> int | None:
    """The version that was active before this one became it last: where a rollback goes to; a staged one never was."""
    row = connection.execute(
        "SELECT from_version FROM sqlml.history WHERE deployment = ? AND to_version = ? AND from_version IS NOT NULL"
        " AND list_contains(?, action) AND from_version <> ? ORDER BY happened_at DESC LIMIT 1",
        [deployment, version, list(ACTIVATING), version],
    ).fetchone()
    return None if row is None else int(row[0])


def active_at(found: Sequence[Change], moment: datetime) -> int | None:
    """The version that was active at the moment (UTC, without a zone); None where none was.

    >>> found = [Change(datetime(2026, 1, 1), 1), Change(datetime(2026, 3, 1), 2)]
    >>> active_at(found, datetime(2026, 2, 1)), active_at(found, datetime(2025, 1, 1))
    (1, None)
    """
    return next((change.version for change in reversed(found) if change.since <= moment), None)


def active_expression(found: Sequence[Change], moment: exp.Expression) -> exp.Expression:
    """The same as an expression, of a moment in a row."""
    branches = [
        (
            exp.GTE(this=moment.copy(), expression=sql.timestamp(change.since)),
            sql.null("INTEGER") if change.version is None else sql.integer(change.version),
        )
        for change in reversed(found)
    ]
    return sql.cast(sql.case(branches), "INTEGER") if branches else sql.null("INTEGER")
