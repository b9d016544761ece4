"""Whole pipelines of mixed columns give scikit-learn's own answers, and raise where it raises."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from tests.convert.sklearn_parity import check, columns_of

NUMBERS = ["age", "fee", "kids"]
TEXTS = ["city", "plan"]
MODELS = {
    "logistic": LogisticRegression(),
    "boosting": GradientBoostingClassifier(n_estimators=8, random_state=0),
    "forest": RandomForestClassifier(n_estimators=6, random_state=0),
    "histogram": HistGradientBoostingClassifier(max_iter=8, random_state=0),
    "tree": DecisionTreeClassifier(random_state=0),
}


def forgiving() -> ColumnTransformer:
    """Ignores unknown categories and passes a boolean through."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXTS)],
        remainder="passthrough",
    )


def strict() -> ColumnTransformer:
    """Raises on unknown categories, drops one of two, and gives sparse output where it may."""
    numbers = make_pipeline(SimpleImputer(strategy="mean", add_indicator=True), StandardScaler())
    return ColumnTransformer([("numbers", numbers, [0, 1, 2]), ("texts", OneHotEncoder(drop="if_binary"), TEXTS)])


def labels(frame: pd.DataFrame, classes: int) -> np.ndarray:
    if classes == 2:
        return np.where(frame.age + 10 * (frame.city == "A") > 45, "Yes", "No")
    return np.digitize(frame.age, [33, 45])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("prepare", [forgiving, strict])
@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_of_mixed_columns_is_exact(customers: pd.DataFrame, name: str, prepare: Any, classes: int) -> None:
    transformer = prepare()
    if name == "histogram":
        transformer.sparse_threshold = 0
    model = Pipeline([("prepare", transformer), ("model", MODELS[name])]).fit(customers, labels(customers, classes))

    report, _ = check(model, customers, count=10, sums=name == "logistic")

    assert report.raised > 0
    assert report.ties == 0


def test_many_categories_are_held_once() -> None:
    """What each category becomes is a square of numbers: 10,000 of them are 800 MB, and copies of them 4 GB."""
    count = 2000
    names = np.array([f"sku {i}" for i in range(count)], dtype=object)
    rows = pd.DataFrame({"sku": names})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()).fit(rows, np.arange(count) % 7)
    tracemalloc.start()
    try:
        convert_sklearn(model, columns_of(rows))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 8 * count**2  # it is 2, and was 4
