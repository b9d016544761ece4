"""orbital's own example pipelines, deployed: in SQL they answer as scikit-learn does, for every row and a few hostile ones."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import duckdb
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

import sqlml
from tests.deploy.orbital_pipelines import EXAMPLES, example

STRANGE = (math.nan, math.inf, -0.0, 1e6, 1e-300)


def with_strange_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """A few rows once more, with missing, infinite and unknown values, and all of it shuffled."""
    strange = frame.head(15).copy()
    for i, name in enumerate(frame.columns):
        if pd.api.types.is_numeric_dtype(frame[name]):
            strange[name] = np.where(np.arange(15) % 5 == i % 5, STRANGE[i % len(STRANGE)], strange[name])
        else:
            strange.loc[strange.index[i % 15], name] = "unseen"
    rows = pd.concat([frame, strange], ignore_index=True).sample(frac=1, random_state=3).reset_index(drop=True)
    return rows.assign(id=np.arange(len(rows)))


def register(model: Any, frame: pd.DataFrame, tracking_uri: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about pickles
        mlflow.set_tracking_uri(tracking_uri)
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model,
                name="model",
                registered_model_name="example",
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
                signature=infer_signature(frame),
            )
        mlflow.set_tracking_uri(None)


def original(model: Any, row: pd.DataFrame) -> Any:
    """scikit-learn's answer to one row, None where it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return model.predict(row)[0]
        except ValueError:
            return None


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_deploys_and_agrees_with_scikit_learn(name: str, own_registry: Any, tmp_path: Path) -> None:
    model, frame = example(name)
    rows = with_strange_rows(frame)
    register(model, frame, own_registry.uri)
    path = tmp_path / "examples.duckdb"

    with sqlml.connect(path) as connection:
        connection.register("made", rows)
        connection.execute("CREATE TABLE rows AS SELECT * FROM made")
        sqlml.deploy_db(connection, "example:1", table="rows", key="id", tracking_uri=own_registry.uri)
        got = connection.execute("SELECT prediction FROM example.current ORDER BY id").fetchall()

    ordinary = [i for i in range(len(rows)) if np.isfinite(rows.select_dtypes("number").iloc[i].to_numpy()).all()]
    together = dict(zip(ordinary, model.predict(rows.iloc[ordinary].drop(columns="id")), strict=True))
    expected = [
        together[i] if i in together else original(model, rows.drop(columns="id").iloc[[i]]) for i in range(len(rows))
    ]
    assert len(got) == len(expected) > len(frame)
    for i, ((said,), wanted) in enumerate(zip(got, expected, strict=True)):
        wanted = wanted.item() if hasattr(wanted, "item") else wanted
        if isinstance(wanted, float) and said is not None:
            assert said == pytest.approx(wanted, rel=1e-9, abs=1e-9), i
        else:
            assert said == wanted, i


def test_a_plain_shell_reads_what_one_of_them_predicted(own_registry: Any, tmp_path: Path) -> None:
    model, frame = example("tree_classifier")
    register(model, frame, own_registry.uri)
    path = tmp_path / "examples.duckdb"
    with sqlml.connect(path) as connection:
        connection.register("made", frame.assign(id=np.arange(len(frame))))
        connection.execute("CREATE TABLE rows AS SELECT * FROM made")
        sqlml.deploy_db(connection, "example:1", table="rows", key="id", engine="sql", tracking_uri=own_registry.uri)

    with duckdb.connect(str(path), read_only=True) as plain:
        got = plain.execute("SELECT example.predict(r) FROM rows r ORDER BY id").fetchall()

    assert [label for (label,) in got] == model.predict(frame).tolist()
