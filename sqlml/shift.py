"""How far the distribution of a score has moved between two columns of a table of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

BINS = 10
MOST_ROWS = 500_000
"""Of more, so many are drawn, the same each time: the measures are right to 0.003 by then, and 3 million rows took 4.6 s."""
PAIRS, BEFORE, AFTER = "sqlml pairs", "sqlml before_score", "sqlml after_score"
SCORES = "sqlml scores"


@dataclass(frozen=True)
class Shift:
    """On the rows that have both scores; of more than MOST_ROWS on as many of them.

    `psi` is the population stability index (N. Siddiqi, Credit Risk Scorecards, 2006): the sum over the deciles of the
    scores before of (after - before) * ln(after / before) of their shares. A decile without rows counts half a row, so
    that the logarithm exists. `ks` is the two-sample Kolmogorov-Smirnov statistic: the largest distance between the two
    cumulative distributions, 0 to 1.
    """

    rows: int
    psi: float
    ks: float


KS = """
WITH scores AS (
    SELECT "sqlml before_score" AS score, 1 AS b, 0 AS a FROM "sqlml scores"
    UNION ALL
    SELECT "sqlml after_score", 0, 1 FROM "sqlml scores"
), by_score AS (SELECT score, sum(b) - sum(a) AS more FROM scores GROUP BY score)
SELECT max(abs(above)) FROM (SELECT sum(more) OVER (ORDER BY score) AS above FROM by_score)
"""


def measured(connection: Connection) -> Shift | None:
    """The shift in the temporary table PAIRS; None where no row has both scores."""
    there = sql.all_of([exp.Not(this=exp.Is(this=sql.column(n), expression=exp.Null())) for n in (BEFORE, AFTER)])
    scores = exp.select(sql.column(BEFORE), sql.column(AFTER)).from_(sql.table(PAIRS)).where(there)
    connection.execute(sql.create_temporary(SCORES, sql.sampled(sql.render(scores), MOST_ROWS, seed=7)))
    try:
        return _measured(connection)
    finally:
        connection.execute(sql.drop_object("TABLE", (SCORES,)))


def _measured(connection: Connection) -> Shift | None:
    ninths = sql.call("list_value", *(sql.double(part / BINS) for part in range(1, BINS)))
    deciles = exp.select(sql.call("count", exp.Star()), sql.call("quantile_disc", sql.column(BEFORE), ninths))
    row = connection.execute(sql.render(deciles.from_(sql.table(SCORES)))).fetchone()
    if row is None or row[0] == 0:
        return None
    rows, edges = int(row[0]), sorted(set(row[1]))
    below = exp.select(*(_count_to(name, edge) for name in (BEFORE, AFTER) for edge in edges))
    counted = connection.execute(sql.render(below.from_(sql.table(SCORES)))).fetchone()
    assert counted is not None  # an aggregate without GROUP BY always gives one row
    largest = connection.execute(KS).fetchone()
    assert largest is not None
    shares = [_shares(counted[: len(edges)], rows), _shares(counted[len(edges) :], rows)]
    psi = sum((after - before) * math.log(after / before) for before, after in zip(*shares, strict=True))
    return Shift(rows, psi, float(largest[0]) / rows)


def _count_to(name: str, edge: float) -> exp.Expression:
    return sql.call("count_if", exp.LTE(this=sql.column(name), expression=sql.double(edge)))


def _shares(up_to: tuple[int, ...], rows: int) -> list[float]:
    """Of the bins between the edges, from the number of rows up to each edge."""
    ends = [0, *up_to, rows]
    return [max(end - begin, 0.5) / rows for begin, end in pairwise(ends)]
