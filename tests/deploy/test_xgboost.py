"""XGBoost from `mlflow.xgboost.log_model` to SQL in the file: the answers are XGBoost's, for every row of the table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier, XGBRegressor

from tests.convert.xgboost_models import SCORE, SMALL, TABLE, TWO, booster
from tests.deploy.boosted import answers, fill, numbers, register, visitors

STRANGE: dict[str, list[Any]] = {
    "age": [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45],
    "monthly fee": [1e300, -1e308, math.nan, 5e-324, 3.5e38],
    "visits": [None, 2**40, -(2**40), 0],
    "plan": ["unseen", "", None, "Basic"],
    "shop": [None, 12, -1, 10**9],
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    fill(path, TABLE, STRANGE)
    return path


def given(path: Path) -> pd.DataFrame:
    """The table as XGBoost was trained on it."""
    rows = visitors(path, list(TABLE))
    for name in ("plan", "shop"):
        known = TABLE[name].cat.categories
        rows[name] = pd.Categorical(rows[name].where(rows[name].isin(known)), categories=known)
    return rows.astype({"visits": float})


def log(model: Any, name: str, uri: str) -> None:
    register(name, uri, mlflow.xgboost.log_model, TABLE, xgb_model=model, pip_requirements=["xgboost"])


def test_a_classifier_with_pandas_categories(shop, own_registry):
    model = XGBClassifier(**SMALL).fit(TABLE, TWO)
    log(model, "plans", own_registry.uri)

    got = answers(shop, "plans", own_registry.uri, 'plans.predict(v), plans.predict_proba(v)."1", plans.error(v)')

    assert [row[0] for row in got] == model.predict(given(shop)).tolist()
    assert np.abs(numbers([row[1] for row in got]) - model.predict_proba(given(shop))[:, 1]).max() <= 1e-7
    assert {row[2] for row in got} == {None}
    with duckdb.connect(str(shop)) as plain:
        assert plain.execute("SELECT bool_and(passed), min(rows_compared) > 500 FROM sqlml.parity").fetchone() == (
            True,
            True,
        )


@pytest.mark.parametrize("engine", ["sql", "python"])
def test_a_booster_is_read_from_its_file_where_pickles_are_forbidden(shop, own_registry, monkeypatch, engine):
    monkeypatch.setenv("SQLML_ALLOW_PICKLE", "0")
    model = booster("reg:squarederror", rounds=4, base_score=1e4)
    log(model, "fees", own_registry.uri)

    got = answers(shop, "fees", own_registry.uri, 'fees.predict(v), fees.error(v), age, "monthly fee"', engine)

    answered = [i for i, row in enumerate(got) if row[1] is None]
    refused = {row[1] for row in got} - {None}
    assert refused == {
        f"{name} is infinite or too large for Booster, which computes in float32" for name in ("age", "monthly fee")
    }
    rows = xgboost.DMatrix(given(shop).iloc[answered], enable_categorical=True)
    assert [got[i][0] for i in answered] == model.predict(rows).tolist()


def test_the_last_step_of_a_pipeline(shop, own_registry):
    frame = TABLE.assign(
        plan=TABLE.plan.astype(object), shop=TABLE.shop.astype(float), visits=TABLE.visits.astype(float)
    )
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), remainder="passthrough")
    model = make_pipeline(encode, XGBRegressor(n_estimators=5, max_depth=3, n_jobs=1)).fit(frame, SCORE)
    logged = {"serialization_format": "cloudpickle", "pip_requirements": ["xgboost", "scikit-learn"]}
    register("scores", own_registry.uri, mlflow.sklearn.log_model, frame, sk_model=model, **logged)

    got = answers(shop, "scores", own_registry.uri, "scores.predict(v), scores.error(v)")

    rows = visitors(shop, list(TABLE)).astype({"shop": float, "visits": float})
    rows["plan"] = rows["plan"].astype(object).where(rows["plan"].notna(), np.nan)
    assert {row[1] for row in got} == {None}
    assert numbers([row[0] for row in got]).tolist() == model.predict(rows).tolist()
