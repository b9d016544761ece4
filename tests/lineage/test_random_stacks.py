"""Stacks of five views with joins, common table expressions, windows, unions and renamed columns, column by column.

Their lineage is known from how they were made, and DuckDB is asked too: a column that changes with a table's column must be
made of it.
"""

from __future__ import annotations

import os
from typing import Any

import duckdb
import pytest

from sqlml.lineage.columns import label, trace
from sqlml.relation import find
from tests.lineage import stacks

STACKS = int(os.environ.get("SQLML_STACKS", "36"))
GROUPS = 3
ROWS = 3000


def bases(connection: duckdb.DuckDBPyConnection, view: str) -> dict[str, frozenset[str]]:
    """Column -> the tables' columns at the end of its edges; "unknown" among them where a way is not known."""
    relation = find(connection, view)
    into: dict[str, list[tuple[str, str]]] = {}
    for edge in trace(connection, relation):
        into.setdefault(edge.to_name, []).append((edge.from_kind, edge.from_name))

    def ends(name: str) -> frozenset[str]:
        found: set[str] = set()
        for kind, source in into.get(name, [("end", name)]):
            found |= {source} if kind in {"end", "unknown"} else set() if kind == "constant" else ends(source)
        return frozenset(found)

    return {column: ends(label(relation.parts, column)) for column in relation.types}


def contents(connection: duckdb.DuckDBPyConnection, view: str, columns: list[str]) -> dict[str, Any]:
    """Each column's values with their keys: rows that have the same key come in any order."""
    rows = connection.execute(f"SELECT id, COLUMNS(* EXCLUDE (id)) FROM {view}").fetchall()
    return {c: sorted((row[0], str(row[n])) for row in rows) for n, c in enumerate(columns, start=1)}


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect(config={"threads": "1"})
    for statement in stacks.SETUP:
        made.execute(statement)
    return made


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_lineage_of_random_stacks_is_right(connection: duckdb.DuckDBPyConnection, group: int) -> None:
    seen = 0
    for seed in range(group, STACKS, GROUPS):
        stack = stacks.made(seed)
        connection.execute("BEGIN")
        for statement in stack.statements:
            connection.execute(statement)
        last = stack.views[-1]
        shown = "\n".join(stack.statements)

        known = bases(connection, last.sql)
        truth = {name: value.reads for name, value in last.columns.items()}

        assert {name: _of_any_id(found) for name, found in known.items() if name != "id"} == truth, f"{seed}\n{shown}"
        seen += _perturbed(connection, last, known, f"{seed}\n{shown}")
        connection.execute("ROLLBACK")
    assert seen > STACKS // GROUPS  # that columns change with what they are made of was really looked at


def _of_any_id(found: frozenset[str]) -> frozenset[str]:
    """Which table's ids decide how many rows there are, a stack does not say."""
    return frozenset("id" if name.endswith(".id") else name for name in found)


def _perturbed(
    connection: duckdb.DuckDBPyConnection, last: stacks.Made, known: dict[str, frozenset[str]], shown: str
) -> int:
    """DuckDB's own opinion. Returns how often a column changed with another."""
    columns = [name for name in known if name != "id"]
    if len(connection.execute(f"SELECT 1 FROM {last.sql} LIMIT {ROWS}").fetchall()) == ROWS:
        return 0
    before = contents(connection, last.sql, columns)
    changes = 0
    for base, change in stacks.CHANGED.items():
        table, column = base.rsplit(".", 1)
        connection.execute(f"CREATE TEMP TABLE kept AS SELECT id, {column} AS kept FROM {table}")
        connection.execute(change)
        after = contents(connection, last.sql, columns)
        connection.execute(f"UPDATE {table} SET {column} = kept FROM kept WHERE {table}.id = kept.id")
        connection.execute("DROP TABLE kept")
        changed = {name for name in columns if before[name] != after[name]}
        changes += len(changed)
        assert all(base in known[name] for name in changed), f"{base} changes {changed}\n{shown}"
        must = {name for name in columns if base in last.columns[name].surely and before[name]}
        assert must <= changed, f"{base} does not change {must - changed}\n{shown}"
    return changes
