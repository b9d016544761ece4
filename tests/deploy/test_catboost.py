"""CatBoost from `mlflow.catboost.log_model` to SQL in the file: the answers are CatBoost's, for every row of the table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from catboost import CatBoostClassifier, CatBoostRegressor

from sqlml.errors import UnsupportedModel
from tests.convert.test_catboost import MIXED, MIXED_SCORE, PLANS, SMALL
from tests.convert.xgboost_models import NUMBERS, RANKS
from tests.deploy.boosted import answers, fill, numbers, register, visitors

STRANGE: dict[str, list[Any]] = {
    "age": [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45],
    "monthly fee": [1e300, -1e308, math.nan, 5e-324, 3.5e38],
    "visits": [2**40, -(2**40), 0],
    "plan": ["unseen", None, "Basic"],
    "shop": [None, 12, 3, 10**9],
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    fill(path, MIXED, STRANGE)
    return path


def log(model: Any, name: str, uri: str, frame: Any, **more: Any) -> None:
    register(name, uri, mlflow.catboost.log_model, frame, cb_model=model, pip_requirements=["catboost"], **more)


@pytest.mark.parametrize("engine", ["sql", "python"])
def test_a_classifier_of_numbers_where_pickles_are_forbidden(shop, own_registry, monkeypatch, engine):
    monkeypatch.setenv("SQLML_ALLOW_PICKLE", "0")
    model = CatBoostClassifier(**{**SMALL, "iterations": 3}).fit(NUMBERS, np.array(["a", "it's b", "c", "d"])[RANKS])
    log(model, "ranks", own_registry.uri, NUMBERS)

    got = answers(shop, "ranks", own_registry.uri, """ranks.predict(v), ranks.predict_proba(v)."it's b" """, engine)

    rows = visitors(shop, list(NUMBERS))
    assert [row[0] for row in got] == model.predict(rows)[:, 0].tolist()
    position = list(model.classes_).index("it's b")
    assert np.abs(numbers([row[1] for row in got]) - model.predict_proba(rows)[:, position]).max() <= 2.0**-50


def test_categories_are_found_in_the_input_example(shop, own_registry):
    model = CatBoostRegressor(cat_features=["plan", "shop"], one_hot_max_size=50, **SMALL).fit(MIXED, MIXED_SCORE)
    example = MIXED.drop_duplicates("plan")
    assert sorted(example.plan) == sorted(PLANS)
    log(model, "plans", own_registry.uri, MIXED, input_example=example)

    got = answers(shop, "plans", own_registry.uri, "plans.predict(v), plans.error(v)")

    rows = visitors(shop, list(MIXED))
    answered = (rows.plan.notna() & rows.shop.notna()).to_numpy()
    assert [row[1] is None for row in got] == answered.tolist()
    asked = rows[answered].astype({"shop": int, "plan": object})
    assert [row[0] for row, known in zip(got, answered, strict=True) if known] == model.predict(asked).tolist()


def test_statistics_of_the_target_are_refused_by_name(shop, own_registry):
    model = CatBoostRegressor(cat_features=["plan", "shop"], **SMALL).fit(MIXED, MIXED_SCORE)
    log(model, "plans", own_registry.uri, MIXED)

    with pytest.raises(UnsupportedModel, match=r"per category .* of plan, shop"):
        answers(shop, "plans", own_registry.uri, "1")
