"""Clusterers, mixtures and outlier detectors: labels that are integers, at ties and far from every centre."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import cluster, covariance, ensemble, linear_model, mixture
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of

KINDS = ("full", "tied", "diag", "spherical")
MODELS: dict[str, Any] = {
    "k-means": cluster.KMeans(4, n_init=1, random_state=0),
    "k-means of one": cluster.KMeans(1, n_init=1, random_state=0),
    "k-means elkan": cluster.KMeans(3, algorithm="elkan", n_init=1, random_state=0),
    "mini batch": cluster.MiniBatchKMeans(5, n_init=1, random_state=0),
    "bisecting": cluster.BisectingKMeans(5, random_state=0),
    "bisecting largest": cluster.BisectingKMeans(6, bisecting_strategy="largest_cluster", random_state=0),
    "birch": cluster.Birch(n_clusters=3, threshold=0.9),
    "birch of subclusters": cluster.Birch(n_clusters=None, threshold=1.5),
    "mean shift": cluster.MeanShift(bandwidth=2.0),
    "affinity": cluster.AffinityPropagation(random_state=0, damping=0.7),
    **{f"mixture {k}": mixture.GaussianMixture(3, covariance_type=k, random_state=0) for k in KINDS},
    **{f"bayesian {k}": mixture.BayesianGaussianMixture(n_components=4, covariance_type=k, random_state=0, max_iter=300) for k in KINDS},
    "bayesian distribution": mixture.BayesianGaussianMixture(
        n_components=3, weight_concentration_prior_type="dirichlet_distribution", random_state=0
    ),
    "mixture of one": mixture.GaussianMixture(1),
    "isolation": ensemble.IsolationForest(n_estimators=10, random_state=0),
    "isolation of some columns": ensemble.IsolationForest(n_estimators=7, max_features=2, random_state=0),
    "isolation contaminated": ensemble.IsolationForest(n_estimators=10, contamination=0.1, max_samples=20, random_state=0),
    "isolation of one row": ensemble.IsolationForest(n_estimators=3, max_samples=1, random_state=0),
    "envelope": covariance.EllipticEnvelope(random_state=0),
    "envelope of few": covariance.EllipticEnvelope(contamination=0.3, support_fraction=0.8, random_state=0, store_precision=False),
    "sgd one class": linear_model.SGDOneClassSVM(random_state=0),
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"a": rng.normal(0, 1, 90), "b": rng.normal(1, 2, 90), "c": rng.integers(0, 4, 90).astype(float)}
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_a_target_is_exact(small: pd.DataFrame, name: str) -> None:
    check(MODELS[name].fit(small), small, count=30, sums=not name.startswith("isolation"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["k-means", "bisecting", "birch", "mixture full", "isolation", "envelope"])
def test_a_pipeline_of_mixed_columns_is_exact(customers: pd.DataFrame, name: str) -> None:
    x = customers.drop(columns=["kids", "vip"])
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, drop="first")
    columns = ColumnTransformer([("numbers", numbers, ["age", "fee"]), ("texts", encoder, ["city", "plan"])])
    check(make_pipeline(columns, MODELS[name]).fit(x), x, sums=True)


def test_rows_midway_between_centres_go_where_the_original_sends_them() -> None:
    x = pd.DataFrame({"a": [0.0, 0.0, 4.0, 4.0, 8.0, 8.0], "b": [1.0, 3.0, 1.0, 3.0, 1.0, 3.0]})
    between = pd.DataFrame({"a": [2.0, 6.0, 2.0, 4.0], "b": [2.0, 2.0, 7.0, 2.0]})
    for model in (
        cluster.KMeans(3, n_init=1, random_state=1),
        cluster.MeanShift(bandwidth=2.5),
        cluster.Birch(n_clusters=3),
    ):
        check(model.fit(x), between)


@pytest.mark.filterwarnings("ignore")
def test_a_clusterer_that_found_nothing_says_so_to_every_row(small: pd.DataFrame) -> None:
    model = cluster.AffinityPropagation(max_iter=1, random_state=0).fit(small)
    assert len(model.cluster_centers_) == 0
    check(model, small, count=10)


def test_a_clusterer_fitted_on_float32_is_refused(small: pd.DataFrame) -> None:
    narrow = small.astype("float32")
    for model in (cluster.KMeans(3, n_init=1), mixture.GaussianMixture(2)):
        with pytest.raises(Unsupported, match="float32"):
            convert_sklearn(model.fit(narrow), columns_of(narrow))
        with pytest.raises(Unsupported, match="float32"):
            convert_sklearn(model.fit(narrow), columns_of(small))


def test_clusterers_that_do_not_predict_are_refused(small: pd.DataFrame) -> None:
    for model in (cluster.DBSCAN(), cluster.HDBSCAN(copy=True), cluster.AgglomerativeClustering(), cluster.OPTICS()):
        with pytest.raises(Unsupported, match=f"{type(model).__name__}.*does not predict"):
            convert_sklearn(model.fit(small), columns_of(small))
