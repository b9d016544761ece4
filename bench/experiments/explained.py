"""`explain(t)` beside the `shap` package, which has TreeSHAP in C; both on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import duckdb

from bench.cases import Case, named, prepare
from bench.database import database, deploy, fill, query, schema_of, table, threads
from bench.timing import Run, Way, take_turns

ROWS = 32 * 2048
FOR_SHAP = (64, 512, 4096)
"""It is given few rows: a forest of a hundred trees takes it ten milliseconds a row."""
MODELS = (
    "LogisticRegression",
    "GradientBoosting 100x3",
    "HistGradientBoosting 100x31",
    "RandomForest 100x10",
    "LightGBM 1000x255",
)


def explained(rounds: int) -> Iterator[str]:
    yield ""
    yield "explain(t), one thread each: contributions of every column, summed"
    for name in MODELS:
        case = prepare(named(name), ROWS)
        with database() as con:
            yield from report(con, case, rounds)


def report(con: duckdb.DuckDBPyConnection, case: Case, rounds: int) -> Iterator[str]:
    sizes = fill(con, case.rows)
    deploy(con, case.onnx, ["native"])
    column = f'"{case.onnx.signature.columns[0].name}"'
    call = f"{schema_of('native')}.explain(t)"

    def prepare_native(rows: int) -> Run:
        return query(con, f"SELECT sum(e.contributions.{column}) FROM (SELECT {call} AS e FROM {table(rows)} t)")

    ways = [Way("explain", prepare_native, sizes), *shap_ways(case)]
    with threads(con, 1):
        found = take_turns(ways, rounds=rounds)
    ours = found["explain"].median
    yield f"  {case.name:<28} explain {ours:>12,.0f} rows/s"
    for way in ways[1:]:
        theirs = found[way.name].median
        yield f"  {'':<28} {way.name} {theirs:>12,.0f} rows/s, explain is {ours / theirs:.1f} times as fast"


def shap_ways(case: Case) -> Iterator[Way]:
    """Nothing where the package is not installed, or does not take the model."""
    try:
        shap, limits = import_module("shap"), import_module("threadpoolctl")
        explainer = shap.TreeExplainer(case.estimator, feature_perturbation="tree_path_dependent")
    except Exception:  # it raises many kinds; ImportError is one
        return

    def prepare_shap(rows: int) -> Run:
        given = case.rows.iloc[:rows].to_numpy()

        def run() -> None:
            with limits.threadpool_limits(1):
                explainer.shap_values(given, check_additivity=False)

        return run

    yield Way("shap", prepare_shap, FOR_SHAP)
