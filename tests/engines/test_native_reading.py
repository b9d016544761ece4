"""The first query of one model among many reads that model's bytes, and not the others'."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from sqlml import extension, sql
from sqlml.catalog import migrations
from sqlml.convert.onnx_model import OnnxModel
from sqlml.database import open_database
from sqlml.engines.calling import model_arguments
from sqlml.engines.native import NativeEngine
from sqlml.signature import Column
from tests.compile.graphs import graph

pytestmark = pytest.mark.native

MODELS = 40
SIZE = 2_000_000
READ = 10_000_000
"""What may be read: the file's first blocks, the model, and what DuckDB reads around it; all models are 80 MB."""

# A process of its own: the extension keeps what is loaded, and DuckDB what it has read.
PROGRAM = """
import json, sys, duckdb
file, load, ahead, query = sys.argv[1:]
def read():
    return int(open("/proc/self/io").read().split("rchar: ")[1].split()[0])
con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
con.execute(load)
before = read()
con.execute(f"ATTACH '{file}' AS \\"x y\\" (READ_ONLY)")
con.execute(ahead).fetchall()
answer = con.execute(query).fetchall()
print(json.dumps([answer, read() - before]))
"""


def large(offset: int) -> OnnxModel:
    """x + offset, and SIZE bytes that nothing needs and no codec makes smaller."""
    padding = np.random.default_rng(offset).integers(0, 1 << 62, (1, SIZE // 8))
    nodes = [helper.make_node("Add", ["x", "offset"], ["prediction"])]
    constants = {"offset": np.array([[float(offset)]]), "padding": padding}
    return graph([Column("x", "DOUBLE", "missing")], nodes, constants)


@pytest.fixture(scope="module", params=["v1.5.0", "v2.0.0"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OnnxModel]:
    """A catalog as sqlml makes it, in the storage of either DuckDB, and the model that lies in the middle."""
    file = tmp_path_factory.mktemp("reading") / "models.duckdb"
    models = [large(offset) for offset in range(MODELS)]
    wanted = models[MODELS // 2]
    with open_database(file, storage_version=request.param) as connection:
        extension.load(connection)
        migrations.migrate(connection)
        for model in models:
            connection.execute(
                "INSERT INTO sqlml.models VALUES (?, ?, ?, '{}', [], 'double', '{}', now()::TIMESTAMP)",
                [model.sha256, model.onnx, len(model.onnx)],
            )
        load = sql.render(NativeEngine.of(wanted).load_query())
        connection.execute(f"CREATE SCHEMA churn; CREATE VIEW churn.load AS {load}")
    assert file.stat().st_size > MODELS * SIZE
    return file, wanted


@pytest.mark.parametrize("ahead", ['USE "x y"', 'FROM "x y".churn.load'])
def test_one_model_of_many_is_read_alone(stored: tuple[Path, OnnxModel], ahead: str) -> None:
    file, model = stored
    extension_file = extension.find()
    assert extension_file is not None
    call = sql.call("sqlml_value_1_of", *model_arguments(model.sha256, "D"), sql.column("x"))
    query = f"SELECT {sql.render(sql.field(call, 't0'))} FROM (SELECT 1.5::DOUBLE AS x)"
    command = [sys.executable, "-c", PROGRAM, str(file), extension.load_statement(extension_file), ahead, query]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer, read = json.loads(done.stdout)
    assert answer == [[1.5 + MODELS // 2]]
    assert SIZE < read < READ
