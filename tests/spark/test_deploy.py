"""A pipeline from `mlflow.spark` to SQL in the file: the predictions table holds what Spark's transform() says."""

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
from mlflow.models import ModelSignature, infer_signature
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml import classification as C
from pyspark.ml import feature as F
from pyspark.ml import regression as R

import sqlml
from tests.spark.models import COLUMNS, TARGETS, made_rows
from tests.spark.parity import Row, frame_of

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]

USED = ("a", "b", "c", "k")
STRANGE: tuple[Row, ...] = (
    {"a": None}, {"b": None}, {"c": None}, {"c": "unseen"}, {"c": ""}, {"k": None}, {"k": 99}, {"a": math.inf},
    {"a": -0.0}, {"b": 1e308}, {"b": -math.inf}, {"a": 5e-324},
)  # fmt: skip


def visitors() -> list[Row]:
    rows = made_rows(np.random.default_rng(3), 90)
    return rows + [{**row, **strange} for row, strange in zip(rows[:48], STRANGE * 4, strict=True)]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The rows in a DuckDB file, the columns in another order than the model knows them."""
    path = tmp_path / "shop.duckdb"
    made = pd.DataFrame([{"id": i, **{n: row[n] for n in reversed(USED)}} for i, row in enumerate(visitors())])
    with duckdb.connect(str(path)) as connection:
        connection.register("made", made)
        types = {"a": "DOUBLE", "b": "DOUBLE", "c": "VARCHAR", "k": "BIGINT"}
        cast = ", ".join(f"{n}::{types[n]} AS {n}" for n in reversed(USED))
        connection.execute(f"CREATE TABLE visitors AS SELECT id, {cast} FROM made")
    return path


def fitted(spark: Any, *stages: Any) -> PipelineModel:
    table = frame_of(spark, made_rows(np.random.default_rng(2), 120), COLUMNS + TARGETS).drop("row number")
    return Pipeline(stages=list(stages)).fit(table)


def prepared(invalid: str) -> list[Any]:
    return [
        F.StringIndexer(inputCols=["c", "k"], outputCols=["c2", "k2"], handleInvalid=invalid),
        F.OneHotEncoder(inputCols=["k2"], outputCols=["k3"]),
        F.Imputer(inputCols=["a"], outputCols=["a2"]),
        F.VectorAssembler(inputCols=["a2", "b", "c2", "k3"], outputCol="features", handleInvalid=invalid),
    ]


def register(name: str, model: PipelineModel, tracking_uri: str, place: Path, signature: ModelSignature | None) -> None:
    """What mlflow.spark saves, as a version in the registry."""
    from mlflow.spark import save_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_model(model, str(place), signature=signature, pip_requirements=["pyspark==4.2.1"])
        mlflow.set_tracking_uri(tracking_uri)
        with mlflow.start_run() as run:
            mlflow.log_artifacts(str(place), "model")
            client = mlflow.MlflowClient()
            client.create_registered_model(name)
            client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
        mlflow.set_tracking_uri(None)


def deployed(path: Path, name: str, tracking_uri: str) -> list[dict[str, Any]]:
    with sqlml.connect(path) as connection:
        sqlml.deploy_db(connection, f"{name}:1", table="visitors", key="id", engine="sql", tracking_uri=tracking_uri)
    with duckdb.connect(str(path)) as plain:  # any shell answers
        found = plain.execute(f"SELECT * FROM {name}.current ORDER BY id")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def spark_answers(spark: Any, model: PipelineModel) -> dict[int, Any]:
    """Spark's own rows; those on which it fails are asked for one by one, and left out."""
    rows = [{n: row[n] for n in USED} for row in visitors()]
    kinds = [(n, kind) for n, kind in COLUMNS if n in USED]
    found: dict[int, Any] = {}
    pending = [list(range(len(rows)))]
    while pending:
        part = pending.pop()
        try:
            for row in model.transform(frame_of(spark, [rows[i] for i in part], kinds)).collect():
                found[part[row["row number"]]] = row
        except Exception:  # the job fails on one of them
            if len(part) > 1:
                pending += [part[: len(part) // 2], part[len(part) // 2 :]]
    return found


def test_a_forest_with_labels_of_text_and_a_signature(spark, shop, own_registry, tmp_path):
    label = F.StringIndexer(inputCol="three", outputCol="label")
    model = fitted(spark, label, *prepared("keep"), C.RandomForestClassifier(numTrees=4, seed=1))
    back = F.IndexToString(inputCol="prediction", outputCol="said", labels=model.stages[0].labels)
    model = PipelineModel([*model.stages, back])
    example = pd.DataFrame([{**{n: row[n] for n in USED}, "three": "mid"} for row in visitors()[:5]])
    register("shoppers", model, own_registry.uri, tmp_path / "model", infer_signature(example))

    table = deployed(shop, "shoppers", own_registry.uri)

    truth = spark_answers(spark, model)
    assert [row["prediction"] for row in table] == [truth[i]["said"] if i in truth else None for i in range(len(table))]
    assert all(row["error"] is None for row in table if row["id"] in truth)
    with duckdb.connect(str(shop)) as plain:
        proba = plain.execute("SELECT id, shoppers.predict_proba(v) FROM visitors v").fetchall()
        reasons = plain.execute("SELECT bool_and(passed) FROM sqlml.parity").fetchone()
    assert reasons == (True,)
    for key, shares in proba:
        if key in truth:
            listed = [shares[name] for name in model.stages[0].labels]
            assert np.allclose(listed, truth[key]["probability"].toArray(), rtol=0, atol=1e-12)


def test_rows_that_spark_drops_stay_with_a_reason(spark, shop, own_registry, tmp_path):
    model = fitted(spark, *prepared("skip"), R.GBTRegressor(labelCol="t", maxIter=4, maxDepth=3))
    register("spending", model, own_registry.uri, tmp_path / "model", None)

    table = deployed(shop, "spending", own_registry.uri)

    truth = spark_answers(spark, model)
    assert 0 < len(truth) < len(table) == len(visitors())
    for row in table:
        if row["id"] in truth:
            assert abs(row["prediction"] - truth[row["id"]]["prediction"]) <= 1e-9
        else:
            assert row["prediction"] is None
            assert "Spark would drop the row" in row["error"]


def test_the_evidence_says_that_spark_was_not_started(spark, shop, own_registry, tmp_path):
    model = fitted(spark, *prepared("error"), R.LinearRegression(labelCol="t", maxIter=3))
    register("linear", model, own_registry.uri, tmp_path / "model", None)

    deployed(shop, "linear", own_registry.uri)

    with duckdb.connect(str(shop)) as plain:
        kept = plain.execute("SELECT origin ->> 'reference', origin ->> 'saved by Spark' FROM sqlml.models").fetchall()
    assert kept == [
        ("the reference is sqlml's own reading of the saved Spark model; Spark itself was not started", "4.2.1")
    ]
