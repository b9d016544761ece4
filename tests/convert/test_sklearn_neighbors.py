"""Models that ask the nearest training rows: ties are settled as the original's own heaps and trees settle them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import neighbors, semi_supervised
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of

pytestmark = pytest.mark.filterwarnings("ignore")

CLASSIFIERS: dict[str, Any] = {
    "five": neighbors.KNeighborsClassifier(),
    "one": neighbors.KNeighborsClassifier(1),
    "brute": neighbors.KNeighborsClassifier(4, algorithm="brute"),
    "brute manhattan": neighbors.KNeighborsClassifier(4, algorithm="brute", p=1, weights="distance"),
    "all": neighbors.KNeighborsClassifier(90, weights="distance", p=1),
    "distance": neighbors.KNeighborsClassifier(6, weights="distance"),
    "small leaves": neighbors.KNeighborsClassifier(7, leaf_size=3),
    "manhattan": neighbors.KNeighborsClassifier(3, metric="manhattan", leaf_size=5),
    "chebyshev": neighbors.KNeighborsClassifier(3, metric="chebyshev", leaf_size=5),
    "minkowski 3": neighbors.KNeighborsClassifier(3, p=3, leaf_size=5),
    "minkowski 1.5": neighbors.KNeighborsClassifier(3, p=1.5, algorithm="brute", weights="distance"),
    "radius": neighbors.RadiusNeighborsClassifier(1.0),
    "radius most frequent": neighbors.RadiusNeighborsClassifier(1.0, outlier_label="most_frequent", weights="distance"),
    "radius brute": neighbors.RadiusNeighborsClassifier(2.0, algorithm="brute"),
    "centroid": neighbors.NearestCentroid(),
    "centroid manhattan": neighbors.NearestCentroid(metric="manhattan"),
    "centroid shrunken": neighbors.NearestCentroid(shrink_threshold=0.3, priors="empirical"),
    "propagation": semi_supervised.LabelPropagation(gamma=0.5),
    "propagation knn": semi_supervised.LabelPropagation("knn", n_neighbors=5),
    "spreading": semi_supervised.LabelSpreading(gamma=2.0),
}
REGRESSORS: dict[str, Any] = {
    "five": neighbors.KNeighborsRegressor(),
    "distance": neighbors.KNeighborsRegressor(4, weights="distance"),
    "brute": neighbors.KNeighborsRegressor(3, algorithm="brute"),
    "all": neighbors.KNeighborsRegressor(90),
    "radius": neighbors.RadiusNeighborsRegressor(0.8),
    "radius distance": neighbors.RadiusNeighborsRegressor(1.5, weights="distance", p=1),
}
LABELS = {
    "two texts": lambda a: np.where(a > 0, "Yes", "No"),
    "three numbers": lambda a: np.digitize(a, [-0.5, 0.5]) * 10 - 3,
}


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"a": rng.normal(0, 1, 90), "b": rng.normal(1, 2, 90), "c": rng.integers(0, 4, 90).astype(float)}
    )


@pytest.fixture(scope="module")
def grid() -> pd.DataFrame:
    """Small whole numbers: most rows are equally far from many others."""
    rng = np.random.default_rng(4)
    return pd.DataFrame({name: rng.integers(0, 5, 120).astype(float) for name in ("a", "b", "c")})


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_exact(small: pd.DataFrame, name: str, labels: str) -> None:
    y = LABELS[labels](small.a + small.c / 9)
    if labels == "three numbers" and name.startswith(("propagation", "spreading")):
        y[::3] = -1
    check(CLASSIFIERS[name].fit(small, y), small, count=15, sums="brute" in name or "centroid" in name)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("algorithm", ["kd_tree", "brute"])
def test_of_equally_distant_rows_the_originals_are_taken(grid: pd.DataFrame, algorithm: str, k: int) -> None:
    y = np.random.default_rng(5).choice(["x", "y", "z"], len(grid))
    model = neighbors.KNeighborsClassifier(k, algorithm=algorithm, leaf_size=4 + 5 * k)
    check(model.fit(grid, y), grid + 0.5, count=30)
    check(model.fit(grid, y), grid, count=30)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_is_exact(small: pd.DataFrame, name: str) -> None:
    check(REGRESSORS[name].fit(small, small.a * 3 + small.b), small, count=15)
    check(REGRESSORS[name].fit(small, np.stack([small.c, small.b], axis=1)), small, count=15)


def test_whole_targets_without_neighbours_are_what_numpy_makes_of_nan(small: pd.DataFrame) -> None:
    check(neighbors.RadiusNeighborsRegressor(0.3).fit(small, small.c.astype(int)), small, count=15)


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_a_novelty_detector_is_exact(small: pd.DataFrame, contamination: Any) -> None:
    model = neighbors.LocalOutlierFactor(7, novelty=True, contamination=contamination)
    check(model.fit(small), small, count=30)


def test_whole_and_float32_columns_are_exact_in_a_tree(customers: pd.DataFrame) -> None:
    whole = customers[["kids"]].assign(months=customers.age.astype(int))
    check(neighbors.KNeighborsClassifier(4).fit(whole, customers.city), whole)
    narrow = customers[["age"]].astype("float32")
    check(neighbors.KNeighborsClassifier(4, weights="distance").fit(narrow, customers.city), narrow)


@pytest.mark.parametrize(
    "model",
    [
        neighbors.KNeighborsClassifier(),
        neighbors.NearestCentroid(),
        neighbors.KNeighborsClassifier(3, algorithm="brute"),
    ],
    ids=["tree", "centroid", "brute"],
)
def test_a_pipeline_of_mixed_columns_is_exact(customers: pd.DataFrame, model: Any) -> None:
    x = customers.drop(columns=["kids", "vip"])
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [
        ("numbers", numbers, ["age", "fee"]),
        ("texts", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
    ]
    y = customers.city.where(customers.age > 35, "none")
    check(make_pipeline(ColumnTransformer(columns), model).fit(x, y), x, sums=True)


REFUSED = [
    (neighbors.KNeighborsClassifier(metric="cosine"), "cosine"),
    (neighbors.KNeighborsClassifier(algorithm="ball_tree"), "ball tree"),
    (neighbors.KNeighborsClassifier(weights=lambda d: 1 / (d + 1)), "function of its own"),
    (neighbors.KNeighborsClassifier(algorithm="brute", weights="distance"), "rounding errors"),
    (neighbors.LocalOutlierFactor(), "novelty=False"),
    (semi_supervised.LabelSpreading(kernel=lambda a, b: a @ b.T), "function of its own"),
]


@pytest.mark.parametrize(("model", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_does_not_follow_from_the_rows_is_refused(small: pd.DataFrame, model: Any, why: str) -> None:
    with pytest.raises(Unsupported, match=f"{type(model).__name__}.*{why}"):
        convert_sklearn(model.fit(small, (small.a > 0).astype(int)), columns_of(small))


def test_more_rows_than_every_answer_can_be_compared_with_are_refused() -> None:
    many = pd.DataFrame({"a": np.arange(6000.0)})
    with pytest.raises(Unsupported, match="6,000 rows"):
        convert_sklearn(neighbors.KNeighborsRegressor().fit(many, many.a), columns_of(many))
