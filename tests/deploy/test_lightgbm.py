"""LightGBM from `mlflow.lightgbm.log_model` to SQL in the file: the answers are LightGBM's, for every row of the table."""

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
from lightgbm import LGBMClassifier, LGBMRegressor
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sqlml
from tests.convert.lightgbm_models import SCORE, SMALL, TABLE, TRAINED, YES_NO, trained

ENCODE = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), ["age", "visits"]), remainder="passthrough"
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The rows that the models were trained on and hostile ones, mixed, the columns in another order than in training."""
    strange = TABLE.head(60).copy()
    strange["plan"] = ["unseen", "", None] * 20
    strange["age"] = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-36] * 10
    strange["shop"] = [-0.5, 2.7, -1.0, 2.0**32 + 2, math.nan, 1e300] * 10
    strange["monthly fee"] = [1e-36, -1e-35, math.nan, 5e-324, -1e308, math.inf] * 10
    rows = pd.concat([TABLE, strange], ignore_index=True).sample(frac=1, random_state=1)
    rows.insert(3, "id", np.arange(len(rows)))
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.register("made", rows[list(rows.columns)[::-1]])
        connection.execute("CREATE TABLE visitors AS SELECT * FROM made")
    return path


def asked(original: Any, path: Path, method: str = "predict") -> Any:
    """What the original says of the table's own rows, by id."""
    with duckdb.connect(str(path)) as connection:
        rows = connection.execute("FROM visitors ORDER BY id").df()[list(TABLE.columns)]
    categories = TRAINED["plan"].cat.categories
    rows["plan"] = pd.Categorical(rows["plan"].where(rows["plan"].isin(categories)), categories)
    return getattr(original, method)(rows)


def register(name: str, tracking_uri: str, **logged: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about pickles, integers and its libraries
        mlflow.set_tracking_uri(tracking_uri)
        log = mlflow.lightgbm.log_model if "lgb_model" in logged else mlflow.sklearn.log_model
        signature = infer_signature(TRAINED)
        with mlflow.start_run():
            log(name=name, registered_model_name=name, signature=signature, pip_requirements=["lightgbm"], **logged)
        mlflow.set_tracking_uri(None)


def answers(path: Path, name: str, tracking_uri: str, select: str) -> list[tuple[Any, ...]]:
    with sqlml.connect(path) as connection:
        sqlml.deploy_db(connection, f"{name}:1", table="visitors", key="id", engine="sql", tracking_uri=tracking_uri)
    with duckdb.connect(str(path)) as plain:  # any shell answers
        return plain.execute(f"SELECT {select} FROM visitors v ORDER BY id").fetchall()


def test_a_classifier_with_pandas_categories_and_classes_of_text(shop, own_registry):
    model = LGBMClassifier(**SMALL).fit(TRAINED, YES_NO)
    register("plans", own_registry.uri, lgb_model=model, serialization_format="cloudpickle")

    got = answers(
        shop, "plans", own_registry.uri, """plans.predict(v), plans.predict_proba(v)."it's yes", plans.error(v)"""
    )

    assert [row[0] for row in got] == asked(model, shop).tolist()
    assert np.abs(np.array([row[1] for row in got]) - asked(model, shop, "predict_proba")[:, 0]).max() <= 2.0**-50
    assert {row[2] for row in got} == {None}
    with duckdb.connect(str(shop)) as plain:
        assert plain.execute("SELECT count(*), count(prediction) FROM plans.current").fetchone() == (300, 300)
        assert plain.execute("SELECT bool_and(passed), min(rows_compared) > 500 FROM sqlml.parity").fetchone() == (
            True,
            True,
        )


def test_a_booster_is_read_from_its_text_where_pickles_are_forbidden(shop, own_registry, monkeypatch):
    monkeypatch.setenv("SQLML_ALLOW_PICKLE", "0")
    booster = trained("regression", linear_tree=True)
    register("fees", own_registry.uri, lgb_model=booster.loaded)

    got = answers(shop, "fees", own_registry.uri, "fees.predict(v)")

    assert np.array_equal([math.nan if row[0] is None else row[0] for row in got], asked(booster, shop), equal_nan=True)


def test_the_last_step_of_a_pipeline(shop, own_registry):
    model = make_pipeline(ENCODE, LGBMRegressor(**SMALL)).fit(TABLE, SCORE)
    register("scores", own_registry.uri, sk_model=model, serialization_format="cloudpickle")

    got = answers(shop, "scores", own_registry.uri, 'scores.predict(v), scores.error(v), age, "monthly fee", shop')

    answered = [row for row in got if row[1] is None]
    assert {row[1] for row in got} == {None, "age is infinite, and StandardScaler does not accept that"}
    with duckdb.connect(str(shop)) as connection:
        rows = connection.execute("FROM visitors WHERE NOT isinf(age) OR age IS NULL ORDER BY id").df()
    assert [row[0] for row in answered] == model.predict(rows[list(TABLE.columns)]).tolist()
