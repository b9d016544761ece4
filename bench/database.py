"""The database that is measured in: rows in tables of several sizes, and the model's macros for each engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pandas as pd
import pyarrow as pa

from bench.timing import Run
from sqlml import extension
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.native import NativeEngine
from sqlml.engines.outputs import Engine
from sqlml.engines.python import PythonEngine, register
from sqlml.engines.sql import SqlEngine
from sqlml.objects import version_objects

GROUP = 122_880
"""Rows in a row group, DuckDB's unit of parallel work."""
SIZES = (8 * 2048, 32 * 2048, 2 * GROUP, 4 * GROUP, 8 * GROUP)
MEMORY_LIMIT = "4GB"


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """In memory, with the extension loaded and the table that holds models."""
    with duckdb.connect(config={"allow_unsigned_extensions": "true", "memory_limit": MEMORY_LIMIT}) as con:
        extension.load(con)
        con.execute("CREATE SCHEMA sqlml; CREATE TABLE sqlml.models (sha256 VARCHAR, onnx BLOB)")
        # So that two threads have something to do where a slow way is given few rows.
        con.execute("ATTACH ':memory:' AS small (ROW_GROUP_SIZE 2048)")
        yield con


def fill(con: duckdb.DuckDBPyConnection, rows: pd.DataFrame) -> tuple[int, ...]:
    """Tables t_<size> of the first rows; gives the sizes."""
    con.register("given", pa.Table.from_pandas(rows, preserve_index=False))
    sizes = tuple(size for size in SIZES if size <= len(rows))
    for size in sizes:
        con.execute(f"CREATE OR REPLACE TABLE {table(size)} AS FROM given LIMIT {size}").fetchall()
    con.unregister("given")
    return sizes


def table(size: int) -> str:
    return f"t_{size}" if size >= GROUP else f"small.t_{size}"


def deploy(con: duckdb.DuckDBPyConnection, model: OnnxModel, engines: Sequence[str]) -> None:
    """The functions of a deployment, in one schema per engine: native_engine.probability(t), sql_engine ..."""
    con.execute("DELETE FROM sqlml.models")
    con.execute("INSERT INTO sqlml.models VALUES (?, ?)", [model.sha256, model.onnx])
    for name in engines:
        schema = schema_of(name)
        con.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
        made = version_objects(
            schema, 1, model.signature, engine_of(con, model, name),
            threshold=None, relation=None, keys=(), function_name=None,
        )  # fmt: skip
        for found in made:
            if found.role == "active" and "macro" in found.kind:
                con.execute(found.statement)


def schema_of(engine: str) -> str:
    return f"{engine}_engine"


def engine_of(con: duckdb.DuckDBPyConnection, model: OnnxModel, name: str) -> Engine:
    if name == "native":
        return NativeEngine.of(model)
    if name == "sql":
        return SqlEngine(model)
    register(con, model.sha256, model.signature, lambda: model.onnx)
    return PythonEngine(model.sha256, model.signature, model.reasons)


def query(con: duckdb.DuckDBPyConnection, text: str) -> Run:
    return lambda: con.execute(text).fetchall()


def one(con: duckdb.DuckDBPyConnection, text: str) -> float:
    return float(con.execute(text).fetchall()[0][0])


@contextmanager
def threads(con: duckdb.DuckDBPyConnection, number: int) -> Iterator[None]:
    before = int(one(con, "SELECT current_setting('threads')"))
    con.execute(f"SET threads = {number}")
    try:
        yield
    finally:
        con.execute(f"SET threads = {before}")
