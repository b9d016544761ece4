"""Transformers that mix columns: projections, sampled kernels, distances to centres, leaves of trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    cluster,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    kernel_approximation,
    linear_model,
    neighbors,
    neural_network,
    random_projection,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer, MinMaxScaler, StandardScaler

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of
from tests.convert.transformer_parity import check_sql

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 60
    return pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(1, 9, n), "c": rng.integers(0, 4, n).astype(float)})


def classes(frame: pd.DataFrame) -> Any:
    return np.digitize(frame["a"] + frame["b"] / 9, [-0.5, 0.7])


MIXERS: dict[str, Any] = {
    "incremental pca": decomposition.IncrementalPCA(2, whiten=True),
    "factor analysis": decomposition.FactorAnalysis(2),
    "ica": decomposition.FastICA(2, random_state=0),
    "ica unwhitened": decomposition.FastICA(whiten=False, random_state=0),
    "gaussian projection": random_projection.GaussianRandomProjection(4, random_state=0),
    "sparse projection": random_projection.SparseRandomProjection(4, random_state=0),
    "neighborhood components": neighbors.NeighborhoodComponentsAnalysis(2, random_state=0, max_iter=5),
    "discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
    "eigen discriminant": discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen", n_components=1),
    "nystroem": kernel_approximation.Nystroem(n_components=4, random_state=0),
    "nystroem cosine": kernel_approximation.Nystroem("cosine", n_components=4, random_state=0),
    "nystroem laplacian": kernel_approximation.Nystroem("laplacian", gamma=0.1, n_components=4, random_state=0),
    "nystroem sigmoid": kernel_approximation.Nystroem("sigmoid", gamma=0.01, n_components=4, random_state=0),
    "kernel pca": decomposition.KernelPCA(2, kernel="rbf", gamma=0.01),
    "sketch": kernel_approximation.PolynomialCountSketch(degree=2, n_components=8, coef0=1, random_state=0),
    "centres": cluster.KMeans(3, random_state=0, n_init=1),
    "bisected centres": cluster.BisectingKMeans(3, random_state=0),
    "birch": cluster.Birch(n_clusters=3, threshold=5),
    "leaves": ensemble.RandomTreesEmbedding(4, max_depth=3, random_state=0),
    "dictionary": decomposition.DictionaryLearning(2, transform_algorithm="threshold", random_state=0, max_iter=5),
    "coder": decomposition.SparseCoder(np.eye(3)[:2], transform_algorithm="threshold", split_sign=True),
    "means of columns": cluster.FeatureAgglomeration(2),
    "medians of columns": cluster.FeatureAgglomeration(1, pooling_func=np.median),
    "largest of columns": cluster.FeatureAgglomeration(2, pooling_func=np.max),
    "chi2 features": make_pipeline(MinMaxScaler(clip=True), kernel_approximation.AdditiveChi2Sampler(sample_steps=3)),
    "skewed chi2": make_pipeline(MinMaxScaler(clip=True), kernel_approximation.SkewedChi2Sampler(n_components=5, random_state=0)),
    "nystroem chi2": make_pipeline(MinMaxScaler(clip=True), kernel_approximation.Nystroem("chi2", n_components=4, random_state=0)),
    "boltzmann": make_pipeline(MinMaxScaler(clip=True), neural_network.BernoulliRBM(3, random_state=0)),
    "rbf samples": make_pipeline(MinMaxScaler(clip=True), kernel_approximation.RBFSampler(n_components=5, random_state=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXERS)
def test_before_a_linear_model(small: pd.DataFrame, name: str) -> None:
    model = make_pipeline(MIXERS[name], linear_model.LogisticRegression())
    check(model.fit(small, classes(small)), small, count=8, sums=True)


SQL = ("factor analysis", "discriminant", "nystroem laplacian", "centres", "leaves", "coder", "skewed chi2", "chi2 features", "boltzmann")  # fmt: skip


@pytest.mark.parametrize("name", SQL)
def test_in_sql(small: pd.DataFrame, name: str) -> None:
    assert check_sql(MIXERS[name].fit(small, classes(small)), small, count=3) == "sql"


@pytest.mark.parametrize(
    "model", [cross_decomposition.PLSSVD(1), decomposition.IncrementalPCA(2), cluster.FeatureAgglomeration(2)]
)
def test_by_itself(small: pd.DataFrame, model: Any) -> None:
    check(model.fit(small, small["a"]), small, count=8, sums=True)


@pytest.mark.parametrize("model", [cross_decomposition.PLSRegression(2), cross_decomposition.CCA(1)])
def test_scores_of_partial_least_squares(small: pd.DataFrame, model: Any) -> None:
    fitted = make_pipeline(StandardScaler(), model).fit(small, small["a"])
    head = make_pipeline(StandardScaler().fit(small), fitted[-1], "passthrough")
    check(head, small, count=8, sums=True)


def test_a_kernel_matrix_is_centred() -> None:
    rng = np.random.default_rng(0)
    kernel = pd.DataFrame(np.corrcoef(rng.normal(size=(4, 9))), columns=list("abcd"))
    check(KernelCenterer().fit(kernel), kernel, count=4, sums=True)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (decomposition.SparsePCA(2, random_state=0, max_iter=3), "row alone"),
        (decomposition.DictionaryLearning(2, transform_n_nonzero_coefs=2, random_state=0, max_iter=3), "omp, 2"),
        (cluster.FeatureAgglomeration(2, pooling_func=np.ptp), "ptp"),
        (kernel_approximation.Nystroem("chi2", n_components=3), "read-only"),
        (kernel_approximation.Nystroem("linear", n_components=9, random_state=0), "rounding"),
        (decomposition.KernelPCA(2, kernel=lambda x, y: float(x @ y)), "function of its own"),
    ],
)
def test_what_is_refused(small: pd.DataFrame, model: Any, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        convert_sklearn(model.fit(small.abs()), columns_of(small))
