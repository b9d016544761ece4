"""What values the source has of the model's columns: from where to where, and how far apart they usually are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from sqlglot import exp

from sqlml import sql
from sqlml.database import first_line, is_interrupt
from sqlml.parsing import parsed
from sqlml.relation import Relation
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

ROWS = 20_000
"""Looked at; of a table that has more they are drawn over all of it, always the same ones."""
SEED = 7
LARGEST = 1e150
"""Beyond, the standard deviation is no number any more."""
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
    problem: str | None = None
    """Why the source's rows could not be read: a view may fail on one of them, and not on the one that was asked about."""


NOTHING = Spread(None, None, None, None, False, frozenset())


def spreads(
    connection: Connection, relation: Relation | None, signature: Signature, of_text: Sequence[bool]
) -> Spreads:
    """Of each of the model's columns; `of_text` says which are texts (or true and false)."""
    import duckdb

    nothing = Spreads((NOTHING,) * len(signature.columns), "no rows")
    if relation is None:
        return nothing
    try:
        return _measured(connection, relation, signature, of_text)
    except duckdb.Error as error:
        if is_interrupt(error):
            raise
        return replace(nothing, problem=first_line(error))


def _measured(connection: Connection, relation: Relation, signature: Signature, of_text: Sequence[bool]) -> Spreads:
    rows, said = _rows(connection, relation)
    numbers = [i for i, is_text in enumerate(of_text) if not is_text]
    texts = [i for i, is_text in enumerate(of_text) if is_text]
    names = [column.name for column in signature.columns]
    made: dict[int, Spread] = {}
    count = 0
    if numbers:
        arrays = connection.execute(parsed(connection, _numbers(tuple(names[i] for i in numbers), rows))).fetchnumpy()
        made |= {i: _of_numbers(np.ma.asarray(arrays[f"n{at}"])) for at, i in enumerate(numbers)}
        count = len(arrays["n0"])
    if texts:
        count, *found = connection.execute(
            parsed(connection, _texts(tuple(names[i] for i in texts), rows))
        ).fetchone() or (0,)
        for i, filled, known in zip(texts, found[::2], found[1::2], strict=True):
            made[i] = Spread(None, None, None, None, filled < count, frozenset(known or ()))
    columns = tuple(made[i] for i in range(len(names)))
    return Spreads(columns, f"{said} {relation.label}" if said else f"all {count:,} rows of {relation.label}")


def _of_numbers(values: np.ma.MaskedArray) -> Spread:
    there = values.compressed()
    usual = there[np.abs(there) < LARGEST]
    has_nulls = len(there) < len(values)
    if not len(usual):
        return replace(NOTHING, nulls=has_nulls)
    deviation = float(np.std(usual))
    return Spread(
        float(usual.min()),
        float(usual.max()),
        float(np.median(usual)),
        deviation if math.isfinite(deviation) and deviation > 0 else None,
        has_nulls,
        frozenset(),
    )


@lru_cache(maxsize=64)
def _numbers(names: tuple[str, ...], rows: str) -> str:
    """Measured here and not there: DuckDB plans fifty measures of ten columns longer than it reads the columns."""
    columns = (sql.alias(sql.try_cast(sql.column(name), "DOUBLE"), f"n{i}") for i, name in enumerate(names))
    return sql.select_from(sql.render(exp.select(*columns)), rows)


@lru_cache(maxsize=64)
def _texts(names: tuple[str, ...], rows: str) -> str:
    """How many rows there are; of each column how many have a value, and the first of them in their order."""
    columns: list[exp.Expression] = [sql.alias(sql.call("count", exp.Star()), "n")]
    for i, name in enumerate(names):
        listed = sql.call(
            "list_sort", sql.call("list_distinct", sql.call("list", sql.cast(sql.column(name), "VARCHAR")))
        )
        columns.append(sql.alias(sql.call("count", sql.column(name)), f"c{i}"))
        columns.append(sql.alias(sql.call("list_slice", listed, sql.integer(1), sql.integer(TEXTS)), f"t{i}"))
    return sql.select_from(sql.render(exp.select(*columns)), rows)


def _rows(connection: Connection, relation: Relation) -> tuple[str, str]:
    """A query that stays quick over millions of rows, and what it is in words ("" for all)."""
    if relation.is_local_table:
        query = (
            "SELECT estimated_size FROM duckdb_tables() WHERE database_name = current_database()"
            " AND schema_name = ? AND table_name = ?"
        )
        known = connection.execute(parsed(connection, query), list(relation.parts)).fetchone()
        size = int(known[0]) if known else 0
        if size <= ROWS * 2:
            return sql.render(exp.select(exp.Star()).from_(relation.node)), ""
        percent = max(100 * ROWS / size, 1e-6)
        return sql.some_blocks(relation.parts, percent, SEED), f"about {ROWS:,} rows, drawn from all over"
    return sql.render(exp.select(exp.Star()).from_(relation.node).limit(ROWS)), f"the first {ROWS:,} rows of"
