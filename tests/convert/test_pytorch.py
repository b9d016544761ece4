"""PyTorch's modules become ONNX by PyTorch's own exporter; the answers are those of their own forward, in eval mode.

PyTorch is Debian's (python3-torch, for the processor only: what PyPI has is built for graphics cards and brings gigabytes),
in an environment of its own, as a model's own environment would be.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

import sqlml
from sqlml.convert import open_worker
from sqlml.convert.isolated.frames import columns_of, graph_feed
from sqlml.convert.isolated.inputs import Inputs
from sqlml.environments.uv import Uv
from sqlml.errors import PolicyRefused, UnsupportedModel

SYSTEM_PYTHON = "/usr/bin/python3"
# Debian's PyTorch is built for numpy 1, and mlflow 3 saves with newer ones only.
BESIDE = ["numpy<2", "pandas<3", "pyarrow<26", "onnx==1.17.0", "onnxruntime==1.20.1", "protobuf<6", "cloudpickle", "pyyaml", "mlflow-skinny==2.16.2"]  # fmt: skip


def lacking() -> str | None:
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    found = subprocess.run([SYSTEM_PYTHON, "-c", "import torch"], capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else f"{SYSTEM_PYTHON} has no PyTorch (apt-get install python3-torch)"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := lacking():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("torch") / "venv"
    uv = Uv()  # with pip's own index and certificates
    made = uv.run(["venv", "--system-site-packages", "--python", SYSTEM_PYTHON, str(folder)], seconds=60)
    assert made.code == 0, made.said
    installed = uv.run(["pip", "install", "--python", str(folder / "bin" / "python"), *BESIDE], seconds=300)
    assert installed.code == 0, installed.said
    return folder


@pytest.fixture(scope="module")
def models(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("torch_models.py")
    subprocess.run(
        [str(environment / "bin" / "python"), "-W", "ignore", str(script), str(folder)],
        check=True,
        capture_output=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": str(folder)},
    )
    return folder


NAMES = ("age", "fee", "visits", "score")


def rows(names: tuple[str, ...]) -> pa.Table:
    values = np.random.default_rng(0).normal(size=(200, 4)) * 5
    values[0] = 0.0
    values[1] = [1e30, -1e30, 1e-40, -0.0]
    values[2] = [np.inf, 1.0, -np.inf, 2.0]
    values[3] = [16777217.0, 0.1, 1 / 3, 2.0**-149]
    return pa.table({name: values[:, i] for i, name in enumerate(names)})


@pytest.mark.parametrize(
    ("name", "names", "targets", "precision"),
    [
        ("probabilities", NAMES, 3, "float"),
        ("heads", NAMES, 3, "float"),
        ("plain", ("f0", "f1", "f2", "f3"), 1, "float"),
        ("double", ("f0", "f1", "f2", "f3"), 5, "double"),
        ("scripted", NAMES, 1, "float"),
    ],
)
def test_the_graph_gives_what_forward_gives(environment, models, name, names, targets, precision):
    given = rows(names)
    with open_worker(models / name, log=lambda line: None, model_env=str(environment)) as worker:
        converted = worker.convert()
        reference = worker.reference(given)

    columns = Inputs(converted.signature.columns, "onnx")
    session = onnxruntime.InferenceSession(converted.onnx)
    prediction, error = session.run(["prediction", "error"], graph_feed(columns, columns_of(given, columns)))

    assert tuple(column.name for column in converted.signature.columns) == names
    assert (prediction.shape[1], converted.precision) == (targets, precision)
    assert not error.any()
    assert reference.error == [None] * 200
    tolerance = 1e-6 if precision == "float" else 1e-9
    np.testing.assert_allclose(prediction, reference.prediction, tolerance, tolerance)


def test_what_is_no_row_of_numbers_is_refused_by_what_forward_says(environment, models):
    with (
        pytest.raises(UnsupportedModel, match=r"does not take one tensor \[2, 4\]"),
        open_worker(models / "pictures", log=lambda line: None, model_env=str(environment)),
    ):
        pass


def test_a_pickled_module_is_not_loaded_where_pickles_are_forbidden(environment, models):
    with (
        pytest.raises(PolicyRefused, match="SQLML_ALLOW_PICKLE=0"),
        open_worker(models / "plain", log=lambda line: None, model_env=str(environment), allow_pickle=False),
    ):
        pass


def test_a_network_is_deployed_and_checked_against_its_own_forward(environment, models, tmp_path):
    with sqlml.connect(tmp_path / "warehouse.duckdb") as connection:
        connection.execute(
            "CREATE TABLE visitors AS SELECT id, id * 0.7 AS age, id / 3 AS fee, (id % 9)::INTEGER AS visits,"
            " (id * 0.01)::FLOAT AS score FROM range(500) t(id)"
        )
        deployed = sqlml.deploy_db(
            connection,
            str(models / "probabilities"),
            name="net",
            table="visitors",
            key="id",
            model_env=str(environment),
        )
        totals = connection.execute(
            "SELECT count(*), count(error), bool_and(abs(p.prediction.target_0 + p.prediction.target_1"
            " + p.prediction.target_2 - 1) < 1e-6) FROM net.current p"
        ).fetchone()

    assert deployed.engine in ("native", "python")
    assert totals == (500, 0, True)


def test_without_pytorch_the_refusal_says_what_to_install(models):
    with pytest.raises(UnsupportedModel) as refused, open_worker(models / "plain", log=lambda line: None, model_env="current"):  # fmt: skip
        pass
    assert "torch" in refused.value.hint
