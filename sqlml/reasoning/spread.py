"""What values the source has of the model's columns: from where to where, and how far apart they usually are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.relation import Relation
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

ROWS = 20_000
"""Looked at; of a table that has more they are drawn over all of it, always the same ones."""
SEED = 7
LARGEST = 1e150
"""Beyond, the standard deviation is no number any more, and DuckDB raises."""
TEXTS = 1_000


@dataclass(frozen=True)
class Spread:
    """`deviation` is None where all values are the same, or there are none. `texts`: what a text column holds."""

    low: float | None
    high: float | None
    middle: float | None
    deviation: float | None
    nulls: bool
    texts: frozenset[str]


@dataclass(frozen=True)
class Spreads:
    columns: tuple[Spread, ...]
    rows: str
    """Which rows they are of, in words."""


NOTHING = Spread(None, None, None, None, False, frozenset())


def spreads(
    connection: Connection, relation: Relation | None, signature: Signature, of_text: Sequence[bool]
) -> Spreads:
    """Of each of the model's columns; `of_text` says which are texts (or true and false)."""
    if relation is None:
        return Spreads((NOTHING,) * len(signature.columns), "no rows")
    rows, said = _rows(connection, relation)
    names = tuple(column.name for column in signature.columns)
    found = connection.execute(_measures(names, tuple(of_text), rows))
    row = dict(zip((column[0] for column in found.description or ()), found.fetchone() or (), strict=True))
    made = []
    for i, is_text in enumerate(of_text):
        nulls = row[f"c{i}"] < row["n"]
        if is_text:
            made.append(Spread(None, None, None, None, nulls, frozenset(row[f"t{i}"] or ())))
            continue
        deviation = row[f"d{i}"]
        known = deviation is not None and math.isfinite(deviation) and deviation > 0
        made.append(Spread(row[f"l{i}"], row[f"h{i}"], row[f"m{i}"], deviation if known else None, nulls, frozenset()))
    return Spreads(tuple(made), f"{said} {relation.label}" if said else f"all {row['n']:,} rows of {relation.label}")


@lru_cache(maxsize=64)
def _measures(names: tuple[str, ...], of_text: tuple[bool, ...], rows: str) -> str:
    """Of `rows`, a query. Cast once, below: DuckDB plans what four measures share four times."""
    below: list[exp.Expression] = []
    above: list[exp.Expression] = [sql.alias(sql.call("count", exp.Star()), "n")]
    for i, (name, is_text) in enumerate(zip(names, of_text, strict=True)):
        value, known, usual = sql.column(name), sql.column(f"k{i}"), sql.column(f"u{i}")
        below.append(sql.alias(value, f"k{i}"))
        above.append(sql.alias(sql.call("count", known.copy()), f"c{i}"))
        if is_text:
            listed = sql.call("list_sort", sql.call("list_distinct", sql.call("list", sql.cast(known, "VARCHAR"))))
            above.append(sql.alias(sql.call("list_slice", listed, sql.integer(1), sql.integer(TEXTS)), f"t{i}"))
            continue
        number = sql.try_cast(value.copy(), "DOUBLE")
        small = exp.LT(this=sql.call("abs", number), expression=sql.double(LARGEST))
        below.append(sql.alias(sql.case([(small, number.copy())]), f"u{i}"))
        for letter, measure in (("l", "min"), ("h", "max"), ("d", "stddev_pop"), ("m", "median")):
            above.append(sql.alias(sql.call(measure, usual.copy()), f"{letter}{i}"))
    return sql.select_from(sql.render(exp.select(*above)), sql.select_from(sql.render(exp.select(*below)), rows))


def _rows(connection: Connection, relation: Relation) -> tuple[str, str]:
    """A query that stays quick over millions of rows, and what it is in words ("" for all)."""
    if relation.is_local_table:
        known = connection.execute(
            "SELECT estimated_size FROM duckdb_tables() WHERE database_name = current_database()"
            " AND schema_name = ? AND table_name = ?",
            list(relation.parts),
        ).fetchone()
        size = int(known[0]) if known else 0
        if size <= ROWS * 2:
            return sql.render(exp.select(exp.Star()).from_(relation.node)), ""
        percent = max(100 * ROWS / size, 1e-6)
        return sql.some_blocks(relation.parts, percent, SEED), f"about {ROWS:,} rows, drawn from all over"
    return sql.render(exp.select(exp.Star()).from_(relation.node).limit(ROWS)), f"the first {ROWS:,} rows of"
