"""What stamps cost: a table of keys and predictions beside the rows that a scoring writes, by what is kept of the inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from bench.cases import LINEAR, SMALL_BOOSTING, named, prepare
from bench.database import GROUP, database, deploy, engine_of, fill, schema_of, table, threads
from bench.timing import Way, take_turns
from sqlml import sql
from sqlml.config import KEEPS
from sqlml.convert.onnx_model import OnnxModel
from sqlml.kept import kept_inputs
from sqlml.objects import SOURCE, version_objects
from sqlml.relation import find

ROWS = 4 * GROUP
SCORING = "00000000-0000-0000-0000-000000000001"
KEYED = "SELECT id, prediction, probability_0, probability_1, error"
STAMPED = f"{KEYED}, input_hash, '{SCORING}'::UUID AS scoring_id, make_timestamp(epoch_us(now())) AS scored_at"


def stamped(rounds: int) -> Iterator[str]:
    yield ""
    yield f"Tables of {ROWS:,} rows in a file, 1 thread; x the time of the one named"
    for name in (LINEAR, SMALL_BOOSTING, "RandomForest 100x10"):
        case = prepare(named(name), ROWS)
        for engine in ("sql", "native") if name == LINEAR else ("native",):
            with tempfile.TemporaryDirectory() as folder, database() as con, threads(con, 1):
                con.execute(f"ATTACH '{Path(folder) / 'stamped.duckdb'}' AS disk")
                rows = fill(con, case.rows)[-1]
                con.execute("USE disk; CREATE SCHEMA sqlml; CREATE TABLE sqlml.models AS FROM memory.sqlml.models")
                con.execute(f"CREATE TABLE t AS SELECT row_number() OVER () AS id, * FROM memory.{table(rows)}")
                deploy(con, case.onnx, [engine])
                yield from _engine(con, case.onnx, engine, f"{name}, {engine}", rounds)


def _engine(con: duckdb.DuckDBPyConnection, model: OnnxModel, engine: str, title: str, rounds: int) -> Iterator[str]:
    schema = schema_of(engine)
    found = find(con, "t")
    query: dict[str, str] = {}
    for keep in KEEPS:
        made = version_objects(
            schema, 1, model.signature, engine_of(con, model, engine), threshold=None, relation=found, keys=("id",),
            function_name=None, keep=keep,
        )  # fmt: skip
        keyed = next(o.statement for o in made if o.role == "query" and o.name == "keyed")
        query[keep] = sql.with_source(SOURCE, "SELECT * FROM t", keyed)
    inputs = kept_inputs(schema, 1, model.signature, ["id"], is_asked=False)
    predictions = sql.quote_path(schema, "predictions_v1")
    created = next(o.statement for o in made if o.kind == "table" and o.name == "predictions_v1")
    ways = {
        "key, prediction": [f"CREATE OR REPLACE TABLE out AS SELECT id, {schema}.predict(t) AS prediction FROM t"],
        "key, all outputs": [f"CREATE OR REPLACE TABLE out AS {KEYED} FROM ({query['none']})"],
        **{
            f"--keep {k}": [
                f"DROP TABLE IF EXISTS {predictions}", created, f"INSERT INTO {predictions} {STAMPED} FROM ({query[k]})"
            ]
            for k in KEEPS
        },
    }  # fmt: skip
    drop = f"DROP TABLE IF EXISTS {sql.quote_path(*inputs.path)}"
    ways["--keep inputs"] += [drop, inputs.create(["BIGINT"]), inputs.insert(query["inputs"], SCORING)]

    def run(statements: list[str]) -> None:
        con.execute("BEGIN")
        for statement in statements:
            con.execute(statement).fetchall()
        con.execute("COMMIT")

    measured = take_turns([Way(n, lambda _, s=s: lambda: run(s), [ROWS]) for n, s in ways.items()], rounds=rounds)
    yield f"  {title:<34}{'rows/s':>14}{'x key, prediction':>20}{'x key, all outputs':>20}"
    for name, rate in measured.items():
        beside = "".join(f"{1 / rate.times(measured[n]):>19.2f}x" for n in ("key, prediction", "key, all outputs"))
        yield f"  {name:<34}{rate.median:>14,.0f}{beside}"
