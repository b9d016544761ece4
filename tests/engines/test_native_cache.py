"""Eight connections score while models are evicted, forgotten and loaded again under them: every row is right."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from onnx import helper

from sqlml import extension, sql
from sqlml.convert.onnx_model import OnnxModel
from sqlml.database import open_database
from sqlml.engines.calling import model_arguments
from sqlml.signature import Column
from tests.compile.graphs import graph

pytestmark = pytest.mark.native

SECONDS = float(os.environ.get("SQLML_CHURN_SECONDS", "3"))
CONNECTIONS = 8
MODELS = 6
ROWS = 20_000


def plus(offset: int) -> OnnxModel:
    """x + offset: an answer of another model's would show."""
    nodes = [helper.make_node("Add", ["x", "offset"], ["prediction"])]
    return graph([Column("x", "DOUBLE", "missing")], nodes, {"offset": np.array([[float(offset)]])})


def predict(model: OnnxModel) -> str:
    call = sql.call("sqlml_value_1_of", *model_arguments(model.sha256, "D"), sql.column("x"))
    return sql.render(sql.field(call, "t0"))


@pytest.fixture
def con(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    connection = open_database(tmp_path / "models.duckdb")
    extension.load(connection)
    connection.execute("CREATE SCHEMA sqlml")
    connection.execute("CREATE TABLE sqlml.models (sha256 VARCHAR, onnx BLOB USING COMPRESSION uncompressed)")
    connection.execute(f"CREATE TABLE t AS SELECT i::DOUBLE AS x FROM range({ROWS}) r(i)")
    return connection


def test_eviction_under_scoring_connections(con: duckdb.DuckDBPyConnection) -> None:
    models = [plus(offset) for offset in range(1, MODELS + 1)]
    con.executemany("INSERT INTO sqlml.models VALUES (?, ?)", [(m.sha256, m.onnx) for m in models])
    queries = [f"SELECT count(*) FROM t WHERE {predict(m)} = x + {i + 1}" for i, m in enumerate(models)]
    wrong: list[object] = []
    done = [0] * CONNECTIONS
    end = time.monotonic() + SECONDS

    def score(worker: int, own: duckdb.DuckDBPyConnection) -> None:
        turn = worker
        while time.monotonic() < end and not wrong:
            try:
                found = own.execute(queries[turn % MODELS]).fetchall()
            except duckdb.Error as error:
                wrong.append(error)
                return
            if found != [(ROWS,)]:
                wrong.append((queries[turn % MODELS], found))
            turn += 1 + worker
            done[worker] += 1

    def disturb(own: duckdb.DuckDBPyConnection) -> None:
        turn = 0
        while time.monotonic() < end and not wrong:
            own.execute("SELECT sqlml_cache_bytes(?)", [(turn % 3) * 1000]).fetchall()
            own.execute("SELECT sqlml_forget(?)", [models[turn % MODELS].sha256]).fetchall()
            turn += 1

    workers = [threading.Thread(target=score, args=(i, con.cursor())) for i in range(CONNECTIONS)]
    workers.append(threading.Thread(target=disturb, args=(con.cursor(),)))
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        con.execute("SELECT sqlml_cache_bytes(?)", [1 << 30]).fetchall()
        con.close()
    assert not wrong, wrong[0]
    assert min(done) > 0


def test_threads_that_load_one_model_read_it_once(con: duckdb.DuckDBPyConnection) -> None:
    model = plus(1000)
    con.execute("SELECT sqlml_forget(?)", [model.sha256]).fetchall()
    cursors = [con.cursor() for _ in range(CONNECTIONS)]
    start = threading.Barrier(CONNECTIONS)
    keys: list[object] = []

    def load(own: duckdb.DuckDBPyConnection) -> None:
        start.wait()
        keys.extend(own.execute("SELECT sqlml_load(?::BLOB)", [model.onnx]).fetchall())

    workers = [threading.Thread(target=load, args=(cursor,)) for cursor in cursors]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert keys == [(model.sha256,)] * CONNECTIONS
    assert con.execute("SELECT count(*) FROM sqlml_models() WHERE key = ?", [model.sha256]).fetchall() == [(1,)]
    con.close()


def test_bytes_of_another_hash_are_refused(con: duckdb.DuckDBPyConnection) -> None:
    model, other = plus(2000), plus(2001)
    con.execute("INSERT INTO sqlml.models VALUES (?, ?)", [model.sha256, other.onnx])
    con.execute("SELECT sqlml_forget(?)", [model.sha256]).fetchall()
    with pytest.raises(duckdb.Error, match=f"model {model.sha256[:12]} .*another SHA-256 .{other.sha256[:12]}"):
        con.execute(f"SELECT {predict(model)} FROM t").fetchall()
    con.close()


def test_its_size_can_be_set_for_a_process() -> None:
    code = (
        "import duckdb; c = duckdb.connect(config={'allow_unsigned_extensions': 'true'})\n"
        f"c.execute({extension.load_statement(extension.find())!r})\n"
        "assert c.execute('SELECT sqlml_cache_bytes(NULL)').fetchone() == (12345,)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "SQLML_CACHE_BYTES": "12345"})


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [("SQLML_CACHE_BYTES", "1GB", "no number of bytes"), ("SQLML_ISA", "sse", "not portable, avx2 or avx512")],
)
def test_a_setting_that_cannot_be_read_is_said_when_it_is_loaded(variable: str, text: str, said: str) -> None:
    code = (
        "import duckdb; c = duckdb.connect(config={'allow_unsigned_extensions': 'true'})\n"
        f"c.execute({extension.load_statement(extension.find())!r})\n"
    )
    environment = {**os.environ, variable: text}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert f'{variable} is "{text}"' in done.stderr
    assert said in done.stderr
