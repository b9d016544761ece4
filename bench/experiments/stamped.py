"""What stamps cost: a table of keys and predictions beside the rows that a scoring writes, by what is kept of the inputs; and
their share of a whole `sqlml score`, which also sees that keys are there once and that nothing was missed."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

import sqlml
from bench.cases import LINEAR, SMALL_BOOSTING, named, prepare, save
from bench.database import GROUP, database, deploy, engine_of, fill, schema_of, table, threads
from bench.timing import Way, seconds_of, take_turns
from sqlml import sql
from sqlml.config import KEEPS
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.surface import output_columns
from sqlml.kept import kept_inputs
from sqlml.objects import SOURCE, version_objects
from sqlml.relation import find

ROWS = 4 * GROUP
FOREST = "RandomForest 100x10"
SCORING = "00000000-0000-0000-0000-000000000001"
KEYED = "SELECT id, prediction, probability_0, probability_1, error"
STAMPED = f"{KEYED}, input_hash, '{SCORING}'::UUID AS scoring_id, make_timestamp(epoch_us(now())) AS scored_at"


def stamped(rounds: int) -> Iterator[str]:
    yield ""
    yield f"Tables of {ROWS:,} rows in a file, 1 thread; x the time of the one named"
    for name in (LINEAR, SMALL_BOOSTING, FOREST):
        case = prepare(named(name), ROWS)
        for engine in ("sql", "native") if name == LINEAR else ("native",):
            with tempfile.TemporaryDirectory() as folder, database() as con, threads(con, 1):
                con.execute(f"ATTACH '{Path(folder) / 'stamped.duckdb'}' AS disk")
                rows = fill(con, case.rows)[-1]
                con.execute("USE disk; CREATE SCHEMA sqlml; CREATE TABLE sqlml.models AS FROM memory.sqlml.models")
                con.execute(f"CREATE TABLE t AS SELECT row_number() OVER () AS id, * FROM memory.{table(rows)}")
                deploy(con, case.onnx, [engine])
                yield from _engine(con, case.onnx, engine, f"{name}, {engine}", rounds)
    yield f"A first scoring of {ROWS:,} rows, 1 thread, native"
    for name in (SMALL_BOOSTING, FOREST):
        yield from _whole(name, rounds)


def _whole(name: str, rounds: int) -> Iterator[str]:
    """The stamp's share of a first `sqlml score`: its columns beside the same INSERT without them, in the same turns."""
    rows = prepare(named(name), ROWS).rows
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, sqlml.connect(Path(folder) / "scored.duckdb") as con:
        con.register("given", rows)
        con.execute(f"SET threads = 1; CREATE TABLE t AS SELECT row_number() OVER () AS id, * FROM given LIMIT {ROWS}")
        sqlml.deploy_db(con, str(save(Path(folder), named(name))), name="m", table="t", key="id", engine="native")
        (keyed,), (created,) = (
            con.execute(f"SELECT statement FROM sqlml.objects WHERE name = '{one}'").fetchone() or ("",)
            for one in ("keyed", "predictions_v1")
        )
        query = sql.with_source(SOURCE, "SELECT * FROM t", keyed)
        stored = con.execute("SELECT column_name, column_type FROM (DESCRIBE m.predictions_v1)").fetchall()
        bare = [(column, kind) for column, kind in stored if column not in ("input_hash", "scoring_id", "scored_at")]
        ways: dict[str, tuple[list[str], Callable[[], object]]] = {
            "score": (["TRUNCATE m.predictions_v1"], lambda: sqlml.score(con, "m")),
            "without": (
                ["DROP TABLE IF EXISTS out", sql.create_table(("out",), bare)],
                lambda: con.execute(f"INSERT INTO out {KEYED} FROM ({query})").fetchall(),
            ),
            "with": (
                ["DROP TABLE IF EXISTS out", created.replace('"m"."predictions_v1"', "out")],
                lambda: con.execute(f"INSERT INTO out {STAMPED} FROM ({query})").fetchall(),
            ),
        }
        for _ in range(rounds + 1):  # the first one warms up
            for way, (before, run) in ways.items():
                for statement in (*before, "CHECKPOINT"):
                    con.execute(statement)
                taken.setdefault(way, []).append(seconds_of(run) * 1e9 / ROWS)
    score, less, more = (statistics.median(taken[way][1:]) for way in ("score", "without", "with"))
    share = (more - less) / (score - more + less)
    yield f"  {name:<34}sqlml score {score:5.0f} ns a row, of which the stamp {more - less:4.0f}: {share:+.0%}"


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
    bare = sql.create_table(("out",), [("id", "BIGINT"), *output_columns(model.signature)])
    ways = {
        "key, prediction": [f"CREATE OR REPLACE TABLE out AS SELECT id, {schema}.predict(t) AS prediction FROM t"],
        "key, all outputs": [f"CREATE OR REPLACE TABLE out AS {KEYED} FROM ({query['none']})"],
        "the same, inserted": ["DROP TABLE IF EXISTS out", bare, f"INSERT INTO out {KEYED} FROM ({query['none']})"],
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
