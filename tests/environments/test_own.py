"""Models of other Pythons and libraries: trained inside their environment, deployed from it, and asked there again.

The environments are real ones, built from the configured package index (required when CI=true).
"""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from mlflow import MlflowClient

import sqlml
from sqlml import parity, sql
from sqlml.convert import Reference, Worker, open_worker
from sqlml.engines import python
from sqlml.engines.surface import macros
from sqlml.environments import Environment, choose
from sqlml.environments import cache as caching
from sqlml.errors import ModelEnvironmentRefused, UnsupportedModel
from tests.environments import inside
from tests.environments.artifacts import model

pytestmark = pytest.mark.environments

# The oldest that sqlml converts, and what the years between have left in registries.
PINS = {
    "3.9": {
        "scikit-learn": "1.1.3",
        "lightgbm": "3.3.5",
        "xgboost": "1.7.6",
        "numpy": "1.22.4",
        "pandas": "1.5.3",
        "scipy": "1.9.3",
        "cloudpickle": "2.2.1",
    },
    "3.10": {
        "scikit-learn": "1.3.2",
        "lightgbm": "4.1.0",
        "numpy": "1.26.4",
        "pandas": "2.1.4",
        "scipy": "1.11.4",
        "cloudpickle": "3.0.0",
    },
    "3.11": {
        "scikit-learn": "1.3.2",
        "numpy": "1.25.2",
        "pandas": "2.0.3",
        "scipy": "1.11.4",
        "cloudpickle": "2.2.1",
    },
}
# Where releases differ in what they leave in a fitted model or in how they answer.
CHANGED_SINCE = [
    "logistic",
    "logistic_rare",
    "imputers",
    "forest",
    "forest_refuses",
    "boosting",
    "boosting_three",
    "histogram",
    "tree",
    "lightgbm_classifier",
    "lightgbm_yes",
    "lightgbm_booster",
]
BOOSTERS = ["lightgbm_classifier", "lightgbm_yes", "lightgbm_booster", "xgboost_classifier", "xgboost_number"]
EVERY = [*inside.models(), *BOOSTERS]
SCRIPT = inside.__file__


@dataclass(frozen=True)
class Own:
    """An environment, and the models that were trained in it."""

    environment: Environment
    models: Path

    @property
    def python(self) -> Path:
        """Its interpreter, with its libraries, as a person would start it."""
        return Path(self.environment.path[-1]).parents[2] / "bin" / "python"

    def run(self, *arguments: object) -> None:
        subprocess.run(
            [self.python, "-I", SCRIPT, *map(str, arguments)], check=True, timeout=300, env={"LANG": "C.UTF-8"}
        )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session")
def own(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Own]:
    """The environment of a Python version, built when it is first asked for."""

    @remembered
    def build(version: str) -> Own:
        folder = tmp_path_factory.mktemp(f"python{version}")
        pins = PINS[version]
        flavors = {"sklearn": {"sklearn_version": pins["scikit-learn"]}}
        lines = "\n".join(["mlflow==2.9.2", *(f"{name}=={number}" for name, number in pins.items())])
        empty = model(folder / "empty", flavors, requirements_txt=lines, python_env_yaml=f"python: '{version}'\n")
        try:
            made = Own(choose(empty, store=store).environment, folder / "models")
        except ModelEnvironmentRefused as refused:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no environment of Python {version}: {refused.message[:300]}")
        made.run("train", made.models)
        return made

    return build


@pytest.fixture(autouse=True)
def same_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLML_MODEL_ENV_CACHE", str(store))


class Hurried:
    """A worker that asks the original about single rows for a moment only."""

    def __init__(self, worker: Worker) -> None:
        self.input_example = worker.input_example
        self._worker = worker

    def reference(self, rows: pa.Table) -> Reference:
        return self._worker.reference(rows, alone_seconds=0.2)


def evidence_of(artifact: Path, python_version: str) -> parity.Evidence:
    """The parity check of a model loaded in its own environment, through functions in DuckDB."""
    lines: list[str] = []
    with open_worker(artifact, log=lines.append, model_env="auto") as worker:
        converted = worker.convert()
        questions = parity.ask(Hurried(worker), converted)
        isolation = {feature.name for feature in worker.isolation if feature.in_force}
    assert converted.origin["converted with python"].startswith(f"{python_version}.")
    assert converted.origin["converted with scikit-learn"] == PINS[python_version]["scikit-learn"]
    assert "model environment mismatch" not in converted.origin
    assert {"network", "writes", "reads", "processes"} <= isolation
    with duckdb.connect() as connection:
        python.register(connection, converted.sha256, converted.signature, lambda: converted.onnx)
        engine = python.PythonEngine(converted.sha256, converted.signature, converted.reasons)
        connection.execute("CREATE SCHEMA m")
        for macro in macros(converted.signature, engine):
            connection.execute(sql.create_macro(("m", macro.name), sql.macro_text(macro.overloads)))
        return parity.check(connection, questions, parity.functions("m", converted.signature))


@pytest.mark.parametrize(
    ("python_version", "name"), [*(("3.9", name) for name in EVERY), *(("3.10", name) for name in CHANGED_SINCE)]
)
def test_what_people_train_is_exact_in_its_own_environment(
    own: Callable[[str], Own], python_version: str, name: str
) -> None:
    evidence = evidence_of(own(python_version).models / name, python_version)

    assert evidence.passed, evidence.summary()
    assert evidence.compared > 0.9 * evidence.rows, evidence.set_aside
    assert evidence.outcomes["the same answer"] > 100


# Shuffled, with NULL in every column that may have it, and what no training row looked like.
TABLE = """
    CREATE TABLE visitors AS
    SELECT (i * 37) % 101 AS id, plan, visits::BIGINT AS visits, fee, age FROM (
        SELECT i,
            list_value('basic', 'plus', 'gold', 'unheard of', '', NULL, 'Gold', 'basic ')[i % 8 + 1] AS plan,
            (i * 7) % 31 AS visits,
            list_value(NULL, 12.5, 80.25, 1e300, -1e300, 'inf'::DOUBLE, 0.0, -0.0, 5e-324, 33.3)[i % 10 + 1] AS fee,
            list_value(18.0, 44.9, 45.0, 45.1, 99.5, -3.0, 0.1)[i % 7 + 1] + i / 10.0 AS age
        FROM range(101) t(i))
"""


def visitors(path: Path) -> list[dict[str, Any]]:
    with duckdb.connect(str(path)) as connection:
        connection.execute(TABLE)
        found = connection.execute("SELECT id, age, fee, visits, plan FROM visitors ORDER BY id")
        return [dict(zip(("id", "age", "fee", "visits", "plan"), row, strict=True)) for row in found.fetchall()]


def register(folder: Path, name: str, uri: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own libraries'
        client = MlflowClient(uri)
        client.create_registered_model(name)
        client.create_model_version(name, str(folder))


def asked(made: Own, folder: Path, rows: list[dict[str, Any]], tmp_path: Path) -> list[Any]:
    """What the model says of each row, in its own interpreter, with no sqlml around it."""
    given, to = tmp_path / "rows.json", tmp_path / "answers.json"
    given.write_text(json.dumps(rows))
    made.run("ask", folder, given, to)
    answers: list[Any] = json.loads(to.read_text())
    return answers


@pytest.mark.parametrize(
    ("python_version", "name"),
    [
        ("3.11", "forest"),
        ("3.10", "boosting"),
        ("3.10", "lightgbm_classifier"),
        ("3.10", "lightgbm_booster"),
        ("3.9", "logistic_three"),
    ],
)
def test_a_registered_model_is_deployed_from_its_own_environment(
    own: Callable[[str], Own], tmp_path: Path, own_registry: Any, python_version: str, name: str
) -> None:
    made = own(python_version)
    folder = made.models / name
    database = tmp_path / "shop.duckdb"
    rows = visitors(database)
    register(folder, name, own_registry.uri)
    lines: list[str] = []

    with sqlml.connect(database) as connection:
        sqlml.deploy_db(
            connection,
            f"{name}:1",
            table="visitors",
            key="id",
            tracking_uri=own_registry.uri,
            listener=lambda line: lines.append(line.message),
        )
        probabilities = ", m.predict_proba(v)" if name != "lightgbm_booster" else ", NULL"
        query = f"SELECT m.predict(v), m.error(v){probabilities} FROM visitors v ORDER BY id".replace("m.", f"{name}.")
        got = connection.execute(query).fetchall()
        stored = connection.execute(f"SELECT prediction FROM {name}.current ORDER BY id").fetchall()
        (evidence,) = connection.execute("SELECT evidence FROM sqlml.parity").fetchone()

    (shown,) = [line for line in lines if line.startswith("model environment: ")]
    assert shown.startswith(f"model environment: Python {python_version}.")
    assert f"scikit-learn {PINS[python_version]['scikit-learn']}" in shown
    assert shown.endswith("(from cache)")
    versions = json.loads(evidence)["versions"]
    assert versions["model environment"].startswith(f"Python {python_version}.")
    assert versions["model environment key"] == made.environment.key
    assert [row[0] for row in got] == [row[0] for row in stored]
    for answer, (prediction, error, scores) in zip(asked(made, folder, rows, tmp_path), got, strict=True):
        if answer is None:
            assert prediction is None
            assert scores is None or set(scores.values()) == {None}
            assert error is not None
            continue
        assert error is None
        exact = not isinstance(answer[0], float)
        assert prediction == (answer[0] if exact else pytest.approx(answer[0], rel=1e-9))
        if answer[1] is not None:
            assert list(scores.values()) == pytest.approx(answer[1], rel=1e-9, abs=1e-12)
    assert sum(row[0] is not None for row in got) > 50


def test_without_network_it_is_deployed_from_the_cache_and_refused_without_one(
    own: Callable[[str], Own], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own("3.10").models / "logistic"
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))

    with sqlml.connect() as connection:
        sqlml.deploy_db(connection, str(folder))
        assert connection.execute("SELECT logistic.predict({age: 30, fee: 5, visits: 2, plan: 'gold'})").fetchone()
    monkeypatch.setenv("SQLML_MODEL_ENV_CACHE", str(tmp_path / "empty"))
    with sqlml.connect() as connection, pytest.raises(ModelEnvironmentRefused, match=r"scikit-learn==1\.3\.2"):
        sqlml.deploy_db(connection, str(folder))


def test_current_is_recorded_as_not_the_models_own(own: Callable[[str], Own]) -> None:
    folder = own("3.10").models / "lightgbm_booster"

    with sqlml.connect() as connection:
        sqlml.deploy_db(connection, str(folder), model_env="current")
        (evidence,) = connection.execute("SELECT evidence FROM sqlml.parity").fetchone()

    versions = json.loads(evidence)["versions"]
    assert versions["model environment"].endswith("(current)")
    assert versions["model environment mismatch"].startswith("lightgbm 4.1.0 and here 4.")


def test_current_cannot_do_what_the_models_own_can(own: Callable[[str], Own]) -> None:
    folder = own("3.10").models / "imputers"

    with sqlml.connect() as connection, pytest.raises(UnsupportedModel, match="--model-env auto"):
        sqlml.deploy_db(connection, str(folder), model_env="current")


def test_the_models_own_as_a_path(own: Callable[[str], Own], tmp_path: Path) -> None:
    made = own("3.10")
    lines: list[str] = []

    with open_worker(made.models / "ridge", log=lines.append, model_env=str(made.python)) as worker:
        worker.convert()

    assert worker.environment.environment.origin == "given"
    assert worker.environment.mismatch == ()
    assert lines[0].endswith(f"(given: {made.python})")


def test_what_is_kept_is_listed(own: Callable[[str], Own], store: Path) -> None:
    keys = {own("3.9").environment.key, own("3.10").environment.key}

    assert keys <= {one.key for one in caching.all_of(store)}


IMPORTING = """
import importlib, pkgutil, sys, types
for name, place in zip(("sqlml", "sqlml.convert"), sys.argv[1:]):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
root = importlib.import_module("sqlml.convert.isolated")
for found in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
    importlib.import_module(found.name)
    print(found.name)
"""


@pytest.mark.parametrize("python_version", ["3.9", "3.10"])
def test_every_module_of_the_converter_can_be_imported(own: Callable[[str], Own], python_version: str) -> None:
    root = Path(sqlml.__file__).parent

    said = subprocess.run(
        [own(python_version).python, "-IB", "-c", IMPORTING, root, root / "convert"], capture_output=True, text=True
    )

    assert said.returncode == 0, said.stderr
    assert "sqlml.convert.isolated.sklearn.trees" in said.stdout.split()
