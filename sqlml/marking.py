"""What is recalled, written into the views `current` and `scored` as constants: reading them costs what it did before.

A mark is part of the statement that makes the view, as recorded in sqlml.objects, so that a version which becomes active
again brings its marks along, and rows that are scored later have them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from sqlml import objects, sql
from sqlml.catalog import recalls
from sqlml.catalog.recalls import Mark
from sqlml.objects import RECALLED_AT, DatabaseObject

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

VIEWS = ("current", "scored")


def refresh(connection: Connection, deployment: str, version: int) -> list[DatabaseObject]:
    """Bring the recorded statements of a version's views to what is recalled now, in the caller's transaction.

    Returns:
        Those that are another statement than before. A version of an earlier sqlml, whose views have no such column, gets it.
    """
    marks = recalls.standing(connection, deployment, version)
    changed = []
    for found in objects.recorded(connection, deployment, version):
        if found.role != "active" or found.kind != "view" or found.schema != deployment or found.name not in VIEWS:
            continue
        statement = marked(found, marks)
        if statement != found.statement:
            connection.execute(
                "UPDATE sqlml.objects SET statement = ? WHERE deployment = ? AND version = ? AND role = 'active'"
                " AND kind = 'view' AND schema_name = ? AND name = ?",
                [statement, deployment, version, found.schema, found.name],
            )
            changed.append(replace(found, statement=statement))
    return changed


def marked(view: DatabaseObject, marks: Sequence[Mark]) -> str:
    """The statement that makes the view, with the marks in its last column."""
    made = sqlglot.parse_one(view.statement, dialect=sql.DIALECT)
    query = made.expression
    assert isinstance(query, exp.Select)  # we wrote it
    outer = view.name == "scored"
    names = [column.alias_or_name for column in query.expressions]
    scoring, name = sql.column("scoring_id"), RECALLED_AT
    if outer:
        scoring = sql.column("scoring_id", "sqlml p")
        prefixed = f"{view.schema}_{RECALLED_AT}"
        has_one = _is_mark(query.expressions[-1], (RECALLED_AT, prefixed))
        source = {taken.lower() for taken in (names[:-1] if has_one else names)}
        name = prefixed if RECALLED_AT in source else RECALLED_AT
    column = sql.alias(_recalled_at(marks, scoring, outer=outer), name)
    kept = query.expressions[:-1] if _is_mark(query.expressions[-1], (name,)) else query.expressions
    query.set("expressions", [*kept, column])
    return sql.create_view((view.schema, view.name), query)


def _is_mark(column: exp.Expr, names: Sequence[str]) -> bool:
    """Whether it is the column that we added: no other one is an expression of such a name."""
    return isinstance(column, exp.Alias) and column.alias in names and not isinstance(column.this, exp.Column)


def _recalled_at(marks: Sequence[Mark], scoring: exp.Expression, *, outer: bool) -> exp.Expression:
    """When a row was recalled first: as one of its version, or of its scoring."""
    always = min((mark.recalled_at for mark in marks if mark.scoring_id is None), default=None)
    scorings: dict[str, datetime] = {}
    for mark in marks:
        if mark.scoring_id is not None:
            first = min(mark.recalled_at, always or mark.recalled_at)
            scorings[mark.scoring_id] = min(first, scorings.get(mark.scoring_id, first))
    at_once: dict[datetime, list[str]] = {}
    for scoring_id, moment in scorings.items():
        if moment != always:
            at_once.setdefault(moment, []).append(scoring_id)
    branches: list[tuple[exp.Expression, exp.Expression]] = [
        (
            exp.In(this=scoring.copy(), expressions=[sql.cast(sql.text(one), "UUID") for one in sorted(found)]),
            sql.timestamp(moment),
        )
        for moment, found in sorted(at_once.items())
    ]
    if always is None:
        return sql.case(branches, sql.null("TIMESTAMP")) if branches else sql.null("TIMESTAMP")
    if outer:  # a row of the source that has no prediction has none that is recalled
        there = exp.Not(this=exp.Is(this=scoring.copy(), expression=exp.Null()))
        return sql.case([*branches, (there, sql.timestamp(always))], sql.null("TIMESTAMP"))
    return sql.case(branches, sql.timestamp(always)) if branches else sql.timestamp(always)
