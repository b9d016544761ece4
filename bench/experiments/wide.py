"""Planning: what a query costs before its first row, by the number of the model's columns."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cases import convert, fitted, ten_doubles
from bench.database import database, deploy, query
from bench.timing import median_seconds

WIDTHS = (10, 100, 200, 400)
CALLS = {
    "probability(t)": "{0}.probability(t)",
    "label, probability, error": "{0}.predict(t), {0}.probability(t), {0}.error(t)",
}


def wide(rounds: int) -> Iterator[str]:
    from sklearn.linear_model import LogisticRegression

    yield ""
    yield f"Planning, median ms of {rounds} EXPLAINs of logistic regression: SELECT ... FROM t"
    yield f"  {'columns':>8}{'':>4}{'':<28}{'native':>10}{'python':>10}{'sql':>10}{'no model':>10}"
    for width in WIDTHS:
        known, labels, asked = ten_doubles(2048, width)
        estimator = fitted(f"LogisticRegression {width} columns", lambda: LogisticRegression().fit(known, labels))  # noqa: B023
        with database() as con:
            con.register("given", asked)
            con.execute("CREATE TABLE t AS FROM given")
            engines = ["native", "python", "sql"]
            deploy(con, convert(estimator, asked), engines)
            con.execute("SELECT native_engine.probability(t) FROM t LIMIT 1").fetchall()
            bare = median_seconds(query(con, "EXPLAIN SELECT * FROM t"), rounds=rounds)
            for what, call in CALLS.items():
                taken = [
                    median_seconds(
                        query(con, f"EXPLAIN SELECT {call.format(engine + '_engine')} FROM t"), rounds=rounds
                    )
                    for engine in engines
                ]
                yield f"  {width:>8}{'':>4}{what:<28}" + "".join(f"{1000 * s:>10.1f}" for s in [*taken, bare])
