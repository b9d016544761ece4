"""Recalls written into views: every kind of mark, taken off again, over names that need quotes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import duckdb
import pytest

from sqlml import marking, objects, sql
from sqlml.catalog.recalls import Mark
from sqlml.objects import DatabaseObject
from sqlml.relation import Relation

DEPLOYMENT = 'my "model'
FIRST, SECOND = datetime(2026, 1, 1, 3, 4, 5, 678), datetime(2026, 2, 2)
SCORINGS = [f"{n}1111111-2222-3333-4444-555555555555" for n in (1, 2)]
SOURCE = Relation(("main", 'my "tab'), "table", {"a b": "BIGINT", "recalled_at": "VARCHAR", 'x"y': "INTEGER"})


def mark(moment: datetime, scoring: int | None = None) -> Mark:
    chosen = None if scoring is None else SCORINGS[scoring]
    return Mark(DEPLOYMENT, 1, chosen, moment, "run", "r", False, None, "sam", SCORINGS[0])


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """Three rows with a prediction of one scoring each, the last of a third one, and a row without any."""
    made = duckdb.connect()
    made.execute(
        f'CREATE SCHEMA {sql.quote(DEPLOYMENT)}; CREATE TABLE "my ""tab" ("a b" BIGINT, recalled_at VARCHAR, "x""y" INTEGER)'
    )
    made.execute("""INSERT INTO "my ""tab" SELECT i, 'theirs', i FROM range(4) t(i)""")
    table = sql.quote_path(DEPLOYMENT, "predictions_v1")
    made.execute(
        f'CREATE TABLE {table} ("a b" BIGINT, "x""y" INTEGER, prediction VARCHAR, input_hash UBIGINT, scoring_id UUID, scored_at TIMESTAMP)'
    )
    for key, scoring in enumerate([*SCORINGS, "31111111-2222-3333-4444-555555555555"]):
        made.execute(f"INSERT INTO {table} VALUES (?, ?, 'Yes', 7, ?, ?)", [key, key, scoring, FIRST])
    return made


def views() -> list[DatabaseObject]:
    keys, outputs, table = ["a b", 'x"y'], ["prediction"], "predictions_v1"
    made = {
        "current": objects._current(DEPLOYMENT, table, keys, outputs, 1),
        "scored": objects._scored(DEPLOYMENT, table, SOURCE, keys, outputs),
    }
    return [
        DatabaseObject("active", "view", DEPLOYMENT, name, sql.create_view((DEPLOYMENT, name), query))
        for name, query in made.items()
    ]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([], [None, None, None]),
        ([mark(SECOND)], [SECOND, SECOND, SECOND]),
        ([mark(FIRST, 0)], [FIRST, None, None]),
        ([mark(FIRST, 0), mark(SECOND, 1)], [FIRST, SECOND, None]),
        ([mark(FIRST, 1), mark(SECOND)], [SECOND, FIRST, SECOND]),
        ([mark(FIRST), mark(SECOND, 1)], [FIRST, FIRST, FIRST]),
    ],
)
def test_a_row_has_the_time_of_its_first_recall(
    connection: duckdb.DuckDBPyConnection, marks: list[Mark], expected: list[datetime | None]
) -> None:
    current, scored = views()
    for view in (current, scored):
        connection.execute(marking.marked(view, marks))
    schema = sql.quote(DEPLOYMENT)
    found = connection.execute(f'SELECT recalled_at FROM {schema}.current ORDER BY "a b"').fetchall()
    # The source has a column of this name, which keeps it; its last row has no prediction, and so none recalled.
    beside = connection.execute(
        f'SELECT recalled_at, "my ""model_recalled_at" FROM {schema}.scored ORDER BY "a b"'
    ).fetchall()

    assert [row[0] for row in found] == expected
    assert beside == [("theirs", moment) for moment in [*expected, None]]


def test_marks_come_off_again_and_views_of_before_get_the_column() -> None:
    for view in views():
        marked = replace(view, statement=marking.marked(view, [mark(FIRST), mark(SECOND, 0)]))
        assert marking.marked(marked, []) == view.statement
        before = replace(
            view,
            statement=view.statement.replace(', CAST(NULL AS TIMESTAMP) AS "recalled_at"', "").replace(
                ', CAST(NULL AS TIMESTAMP) AS "my ""model_recalled_at"', ""
            ),
        )
        assert before.statement != view.statement
        assert marking.marked(before, []) == view.statement
