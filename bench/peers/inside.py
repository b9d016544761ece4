"""Peers inside of DuckDB: an Arrow UDF as one would write it, orbital's SQL, and `pandas` with the fetch in its time."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from bench.cases import Case
from bench.database import query, table
from bench.peers.ready import column, open_session
from bench.timing import Run, Way
from sqlml import sql

MAX_LEAVES = 3_000
"""orbital's SQL for more is not tried: DuckDB needs minutes to bind it."""

NUMBERS = itertools.count(1)


class Refused(Exception):
    """The peer does not take this model: why, in a few words."""


def arrow_udf(con: duckdb.DuckDBPyConnection, case: Case, sizes: Sequence[int]) -> Way:
    """What one writes who has the ONNX file and DuckDB's documentation."""
    columns = case.onnx.signature.columns
    session = open_session(case.onnx.onnx, 1)  # DuckDB has threads of its own

    def udf(*arrays: pa.ChunkedArray) -> pa.Array:
        feeds = {c.name: column(a.to_pandas(), is_text=c.is_text) for c, a in zip(columns, arrays, strict=True)}
        return pa.array(session.run(["probabilities"], feeds)[0][:, 1])

    parameters = [inspect.Parameter(f"c{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(len(columns))]
    udf.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    types = ["VARCHAR" if c.is_text else "DOUBLE" for c in columns]
    # Another name each time: DuckDB refuses a second function of the same one.
    name = f"udf_{case.onnx.sha256[:12]}_{next(NUMBERS)}"
    con.create_function(name, udf, types, "DOUBLE", type="arrow", null_handling="special")
    arguments = ", ".join(sql.quote(c.name) for c in columns)
    return Way("Arrow UDF", lambda rows: query(con, f"SELECT sum({name}({arguments})) FROM {table(rows)}"), sizes)


def fetched(con: duckdb.DuckDBPyConnection, case: Case, sizes: Sequence[int]) -> Way:
    """SELECT into a DataFrame, predict_proba of the model itself."""

    def prepare(rows: int) -> Run:
        def run() -> float:
            frame = con.execute(f"FROM {table(rows)}").df()
            return float(case.estimator.predict_proba(frame)[:, 1].sum())

        return run

    return Way("pandas, fetch + predict", prepare, sizes)


def orbital_sql(con: duckdb.DuckDBPyConnection, case: Case, sizes: Sequence[int], *, leaves: int) -> Way:
    """As its documentation shows it: parse_pipeline, export_sql; the probability of the last class, summed."""
    import orbital
    from orbital import types
    from sklearn.pipeline import Pipeline

    if leaves > MAX_LEAVES:
        raise Refused(f"not tried: {leaves:,} leaves")
    features = {
        c.name: types.StringColumnType() if c.is_text else types.DoubleColumnType() for c in case.onnx.signature.columns
    }
    whole = case.estimator if isinstance(case.estimator, Pipeline) else Pipeline([("model", case.estimator)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = orbital.parse_pipeline(whole, features=features)
            statement = orbital.export_sql("asked", parsed, dialect="duckdb")
        con.execute(f"CREATE OR REPLACE VIEW asked AS FROM {table(sizes[0])} LIMIT 1")
        found = con.execute(statement)
        wanted = [entry[0] for entry in found.description if entry[0].startswith("output_probability")][-1]
        found.fetchall()
    except Exception as error:  # it raises many kinds
        raise Refused(one_line(error)) from error

    def prepare(rows: int) -> Run:
        # The statement begins with WITH and reads one name: what that stands for is another view for each size.
        con.execute(f"CREATE OR REPLACE VIEW asked_{rows} AS FROM {table(rows)}")
        text = orbital.export_sql(f"asked_{rows}", parsed, dialect="duckdb")
        return query(con, f"SELECT sum({sql.quote(wanted)}) FROM ({text})")

    return Way("orbital's SQL", prepare, sizes)


def one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:120]
