"""Native beside sql over sizes of models: what the cost rule of sqlml/engines/choose.py is fitted from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench.cases import convert, fitted, ten_doubles
from bench.database import GROUP, database, deploy, query, table
from bench.timing import Way, median_seconds, take_turns
from sqlml.compile import compile_onnx

ROWS = (2048, 16 * 2048, 2 * GROUP)


def estimators() -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """(name, columns, estimator that is not fitted)."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier

    for columns in (3, 10, 50, 200):
        yield f"LogisticRegression, {columns} columns", columns, LogisticRegression
    for leaves in (2, 4, 8, 16, 32, 64):
        yield (
            f"DecisionTree, {leaves} leaves",
            10,
            lambda n=leaves: DecisionTreeClassifier(max_leaf_nodes=n, random_state=0),
        )
    for trees, depth in ((2, 2), (4, 3), (10, 3), (20, 3), (50, 3)):
        yield (
            f"GradientBoosting {trees}x{depth}", 10,
            lambda t=trees, d=depth: GradientBoostingClassifier(n_estimators=t, max_depth=d, random_state=0),
        )  # fmt: skip
    for hidden in ((4,), (16,), (32, 16)):
        yield f"MLP {'x'.join(map(str, hidden))}", 10, lambda h=hidden: MLPClassifier(h, max_iter=5, random_state=0)


def sizes(rounds: int) -> Iterator[str]:
    yield ""
    yield "native beside sql, by size: planning in ms (EXPLAIN), then the rate of native as x sql's, for so many rows"
    head = "".join(f"{f'{rows:,} rows':>16}" for rows in ROWS)
    yield f"  {'':<32}{'leaves':>8}{'operations':>12}{'SQL kB':>8}{'native ms':>11}{'sql ms':>8}{head}"
    for name, columns, make in estimators():
        known, labels, asked = ten_doubles(ROWS[-1], columns)
        model = convert(fitted(f"sizes {name}", lambda: make().fit(known, labels)), asked)  # noqa: B023
        cost = compile_onnx(model).cost
        with database() as con:
            con.register("given", asked)
            for rows in ROWS:
                con.execute(f"CREATE TABLE {table(rows)} AS FROM given LIMIT {rows}")
            deploy(con, model, ["native", "sql"])
            plans = [
                median_seconds(query(con, f"EXPLAIN SELECT {engine}_engine.probability(t) FROM {table(ROWS[0])} t"), rounds=rounds)
                for engine in ("native", "sql")
            ]  # fmt: skip
            ratios = []
            for rows in ROWS:
                ways = [
                    Way(
                        engine,
                        lambda _, engine=engine, rows=rows: query(
                            con, f"SELECT sum({engine}_engine.probability(t)) FROM {table(rows)} t"
                        ),
                        [rows],
                    )
                    for engine in ("native", "sql")
                ]
                found = take_turns(ways, rounds=rounds)
                ratios.append(found["native"].times(found["sql"]))
        shown = "".join(f"{ratio:>15.2f}x" for ratio in ratios)
        planned = f"{1000 * plans[0]:>11.1f}{1000 * plans[1]:>8.1f}"
        yield f"  {name:<32}{cost.leaves:>8,}{cost.operations:>12,}{cost.bytes / 1000:>8.1f}{planned}{shown}"
