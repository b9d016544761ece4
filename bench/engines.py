"""Seconds and rows/s of each engine beside the ways people have without sqlml, in the same run.

The task is the same for all: the probability of the positive class for every row of a DuckDB table, summed.

    pandas + predict      SELECT into a DataFrame, predict_proba of the model itself
    raw onnxruntime       the converted graph on arrays that are in memory already, one call, as many threads as it likes
    Arrow UDF             a function as one would write it: columns to arrays, session.run, the probability back
    sql, python           churn.probability(t) as `sqlml deploy` makes it
"""

from __future__ import annotations

import inspect
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import duckdb
import numpy as np
import onnxruntime as ort
import pyarrow as pa

from bench.cases import Case, prepare, telco, ten_doubles
from sqlml import sql
from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.engines.choose import choose_engine
from sqlml.engines.outputs import Engine
from sqlml.engines.python import PythonEngine, register
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros

RESULTS = Path(__file__).parent / "results"
BASE = "pandas + predict"
LIBRARIES = ("duckdb", "numpy", "onnxruntime", "pandas", "pyarrow", "scikit-learn")
Measured = Callable[[], float]
"""Does the task once and gives its sum."""


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--repeats", default=5, show_default=True, help="The median of so many is shown.")
@click.option("--only", default="", help="Only models whose name contains this.")
@click.option("--save/--no-save", default=False, help="Write the result into bench/results.")
def main(rows: int, repeats: int, only: str, save: bool) -> None:
    """Measure each engine beside pandas, onnxruntime and an Arrow UDF."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for line in about(rows, repeats):
        say(line)
    for name, make in (ten_doubles(rows) | telco(rows)).items():
        if only.casefold() in name.casefold():
            for line in report(prepare(name, make), repeats):
                say(line)
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{machine().replace(' ', '-')}.txt").write_text("\n".join(lines) + "\n")


def machine() -> str:
    """What the numbers depend on, without the machine's name."""
    return f"{platform.system()} {platform.machine()} {len(os.sched_getaffinity(0))} cores".lower()


def about(rows: int, repeats: int) -> Iterator[str]:
    yield f"{rows:,} rows, median of {repeats}, {machine()}, {processor()}, Python {platform.python_version()}"
    yield ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


def processor() -> str:
    """The processor's own name, where Linux says it."""
    try:
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        found = []
    return found[0].partition(":")[2].strip() if found else platform.processor()


def report(case: Case, repeats: int) -> Iterator[str]:
    """A table of one model. The ways take turns, so that a slow moment of the machine meets all of them."""
    yield ""
    yield f"{case.name} ({len(case.onnx.onnx):,} bytes of ONNX)"
    chosen, why = choose_engine(case.onnx)
    yield f"  auto chooses {chosen}: {why}"
    with duckdb.connect() as con:
        con.register("given", pa.Table.from_pandas(case.rows, preserve_index=False))
        con.execute("CREATE TABLE rows_in AS FROM given").fetchall()
        ways = dict(measured(con, case, offered=chosen))
        sums = {name: run() for name, run in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, run in ways.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    yield f"  {'':<20}{'seconds':>10}{'rows/s':>14}{'x ' + BASE:>20}{'fastest-slowest':>20}"
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.3f}-{max(seconds[name]):.3f}"
        rate = len(case.rows) / median
        yield f"  {name:<20}{median:>10.3f}{rate:>14,.0f}{medians[BASE] / median:>19.2f}x{spread:>20}"
    off = max(abs(total - sums[BASE]) for total in sums.values())
    yield f"  largest difference of the sums: {off:.1g} of {sums[BASE]:,.3f}"


def measured(con: duckdb.DuckDBPyConnection, case: Case, *, offered: str) -> Iterable[tuple[str, Measured]]:
    """Every way to do the task; the sql engine only where `auto` would offer it."""
    signature = case.onnx.signature
    yield BASE, lambda: pandas_predict(con, case)
    feeds = {c.name: feed(case.rows[c.name], is_text=c.is_text) for c in signature.columns}
    session = ort.InferenceSession(case.onnx.onnx, providers=["CPUExecutionProvider"])
    yield "raw onnxruntime", lambda: float(session.run(["probabilities"], feeds)[0][:, 1].sum())
    columns = ", ".join(sql.quote(c.name) for c in signature.columns)
    arrow_udf(con, case)
    yield "Arrow UDF", lambda: one(con, f"SELECT sum(udf({columns})) FROM rows_in")
    register(con, case.onnx.sha256, signature, lambda: case.onnx.onnx)
    engines: dict[str, Engine] = {"python": PythonEngine(case.onnx.sha256, signature, case.onnx.reasons)}
    if offered == "sql":
        engines["sql"] = SqlEngine(case.onnx)
    for name, engine in engines.items():
        con.execute(f"CREATE SCHEMA {name}_engine")
        for macro in macros(signature, engine):
            con.execute(sql.create_macro((f"{name}_engine", macro.name), sql.macro_text(macro.overloads)))
        query = f"SELECT sum({name}_engine.probability(t)) FROM rows_in t"
        yield name, lambda query=query: one(con, query)


def one(con: duckdb.DuckDBPyConnection, query: str) -> float:
    return float(con.execute(query).fetchall()[0][0])


def pandas_predict(con: duckdb.DuckDBPyConnection, case: Case) -> float:
    frame = con.execute("SELECT * FROM rows_in").df()
    return float(case.estimator.predict_proba(frame)[:, 1].sum())


def feed(values: Any, *, is_text: bool) -> Any:
    if is_text:
        return np.array([MISSING_TEXT if v is None else v for v in values], dtype=object).reshape(-1, 1)
    return values.to_numpy(dtype=np.float64).reshape(-1, 1)


def arrow_udf(con: duckdb.DuckDBPyConnection, case: Case) -> None:
    """What one writes who has the ONNX file and DuckDB's documentation."""
    columns = case.onnx.signature.columns
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # DuckDB has threads of its own
    session = ort.InferenceSession(case.onnx.onnx, options, providers=["CPUExecutionProvider"])

    def udf(*arrays: pa.ChunkedArray) -> pa.Array:
        feeds = {c.name: feed(a.to_pandas(), is_text=c.is_text) for c, a in zip(columns, arrays, strict=True)}
        return pa.array(session.run(["probabilities"], feeds)[0][:, 1])

    parameters = [inspect.Parameter(f"c{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(len(columns))]
    udf.__signature__ = inspect.Signature(parameters)
    types = ["VARCHAR" if c.is_text else "DOUBLE" for c in columns]
    con.create_function("udf", udf, types, "DOUBLE", type="arrow", null_handling="special")


if __name__ == "__main__":
    sys.exit(main())
