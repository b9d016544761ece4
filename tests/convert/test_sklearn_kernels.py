"""Kernel ridge, Gaussian processes, quadratic discriminants and partial least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.special
from sklearn import cross_decomposition, discriminant_analysis, gaussian_process, kernel_ridge
from sklearn.compose import ColumnTransformer
from sklearn.gaussian_process import kernels as k
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.sklearn.gaussian_process import erf
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of, session_of

pytestmark = pytest.mark.filterwarnings("ignore")

RIDGES: dict[str, dict[str, Any]] = {
    "linear": {},
    "rbf": {"kernel": "rbf"},
    "poly": {"kernel": "poly", "degree": 2, "gamma": 0.1},
    "polynomial": {"kernel": "polynomial", "coef0": 0.5},
    "sigmoid": {"kernel": "sigmoid", "gamma": 0.05},
    "laplacian": {"kernel": "laplacian", "gamma": 0.4},
    "cosine": {"kernel": "cosine"},
}
COVARIANCES: dict[str, Any] = {
    "default": None,
    "rbf": k.ConstantKernel(2.0) * k.RBF(1.5) + k.WhiteKernel(0.1),
    "anisotropic": k.RBF([1.0, 2.0, 3.0]) + k.WhiteKernel(0.1),
    "matern 0.5": k.Matern(nu=0.5) + k.WhiteKernel(),
    "matern 1.5": k.Matern(nu=1.5) + k.WhiteKernel(),
    "matern 2.5": 3.0 * k.Matern(nu=2.5) + k.WhiteKernel(),
    "matern inf": k.Matern(nu=np.inf) + k.WhiteKernel(),
    "rational": k.RationalQuadratic(alpha=0.7) + k.WhiteKernel(),
    "periodic": k.ExpSineSquared(1.0, 3.0) + k.WhiteKernel(),
    "dot": k.DotProduct() + k.WhiteKernel(),
    "dot squared": k.DotProduct() ** 2 + k.WhiteKernel(),
    "pairwise": k.PairwiseKernel(metric="laplacian", gamma=0.3) + k.WhiteKernel(),
    "product": k.RBF(2.0) * k.DotProduct() * k.Matern(2.0) + k.WhiteKernel() + k.ConstantKernel(0.5),
}


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"a": rng.normal(0, 1, 70), "b": rng.normal(1, 2, 70), "c": rng.integers(0, 4, 70).astype(float)}
    )


def target(x: pd.DataFrame) -> Any:
    return np.sin(x.a) + x.b / 3 + np.random.default_rng(0).normal(0, 0.2, len(x))


@pytest.mark.parametrize("name", RIDGES)
def test_kernel_ridge_is_exact(small: pd.DataFrame, name: str) -> None:
    model = kernel_ridge.KernelRidge(**RIDGES[name]).fit(small, target(small))
    check(model, small, count=15, sums=True, weight=float(np.abs(model.dual_coef_).sum()))


def test_kernel_ridge_of_two_targets_and_of_chi2_is_exact(small: pd.DataFrame) -> None:
    check(kernel_ridge.KernelRidge(kernel="rbf").fit(small, small[["a", "b"]]), small, count=10, sums=True)
    for name in ("chi2", "additive_chi2"):
        ridge = kernel_ridge.KernelRidge(kernel=name, gamma=1.0)
        check(make_pipeline(MinMaxScaler(clip=True), ridge).fit(small, small.a), small, count=10, sums=True)
        shifted = make_pipeline(StandardScaler(with_mean=False), ridge)
        check(shifted.fit(small.abs(), small.a), small, count=10, sums=True, weight=1e3)


@pytest.mark.parametrize("name", COVARIANCES)
def test_a_process_of_values_is_exact(small: pd.DataFrame, name: str) -> None:
    model = gaussian_process.GaussianProcessRegressor(COVARIANCES[name], normalize_y=len(name) % 2 == 0, alpha=1e-2)
    x = small[["a"]] if name == "periodic" else small  # not positive definite in more columns
    model.fit(x, target(small))
    check(model, x, count=15, sums=True, weight=float(np.abs(model.alpha_).sum()) * 1e15 ** (name == "dot squared"))


def test_a_process_of_several_values_is_exact(small: pd.DataFrame) -> None:
    model = gaussian_process.GaussianProcessRegressor(k.RBF() + k.WhiteKernel(), normalize_y=True)
    check(model.fit(small, np.stack([small.a, small.b * 50], axis=1)), small, count=10, sums=True)


@pytest.mark.parametrize("name", [n for n in COVARIANCES if n != "pairwise"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_process_of_classes_is_exact(small: pd.DataFrame, name: str, classes: int) -> None:
    y = np.array(["no", "yes", "never"])[np.digitize(target(small), [0.3, 1.0][: classes - 1])]
    model = gaussian_process.GaussianProcessClassifier(COVARIANCES[name], optimizer=None)
    x = small[["a"]] if name == "periodic" else small
    check(model.fit(x, y), x, count=15, sums=True)


def test_erf_is_scipys() -> None:
    x = np.concatenate(
        [np.linspace(-8, 8, 4001), [1e-300, -1e-10, 1.0, np.nextafter(1, 2), 30.0, np.inf, -np.inf, np.nan]]
    )
    graph = Graph()
    graph.named(erf(graph, graph.input("x", text=False)), "y")
    made = session_of(graph.model([("y", 11, 1)])).run(None, {"x": x.reshape(-1, 1)})[0].ravel()
    np.testing.assert_allclose(made, scipy.special.erf(x), rtol=1e-15, atol=0)


@pytest.mark.parametrize("parameters", [{}, {"reg_param": 0.3}, {"priors": [0.2, 0.5, 0.3]}], ids=str)
def test_quadratic_discriminants_are_exact(small: pd.DataFrame, parameters: dict[str, Any]) -> None:
    three = np.array(["x", "y", "z"])[np.digitize(small.a, [-0.5, 0.5])]
    model = discriminant_analysis.QuadraticDiscriminantAnalysis(**parameters)
    check(model.fit(small, three), small, sums=True)
    if "priors" not in parameters:
        check(model.fit(small, small.a > 0), small, sums=True)


@pytest.mark.parametrize("kind", ["PLSRegression", "PLSCanonical", "CCA"])
@pytest.mark.parametrize("scale", [True, False])
def test_partial_least_squares_are_exact(small: pd.DataFrame, kind: str, scale: bool) -> None:
    model = getattr(cross_decomposition, kind)(n_components=1, scale=scale)
    check(model.fit(small, target(small)), small, count=15, sums=True, weight=1e3)
    check(model.fit(small, np.stack([small.a * 3 + small.c, small.b], axis=1)), small, count=15, sums=True, weight=1e3)


@pytest.mark.parametrize(
    "model",
    [
        kernel_ridge.KernelRidge(kernel="rbf"),
        gaussian_process.GaussianProcessRegressor(k.RBF() + k.WhiteKernel(), optimizer=None),
        gaussian_process.GaussianProcessClassifier(1.0 * k.RBF(), optimizer=None),
        discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
        cross_decomposition.PLSRegression(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_a_pipeline_of_mixed_columns_is_exact(customers: pd.DataFrame, model: Any) -> None:
    x = customers.drop(columns=["kids", "vip"]).iloc[:120]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("numbers", numbers, ["age", "fee"]), ("texts", encoder, ["city", "plan"])])
    y = x.city.where(x.age > 35, "none") if hasattr(model, "predict_proba") else x.age
    check(make_pipeline(columns, model).fit(x, y), x, count=25, sums=True, weight=1e3)


def test_what_has_no_translation_is_refused_by_name(small: pd.DataFrame) -> None:
    regressor, classifier = gaussian_process.GaussianProcessRegressor, gaussian_process.GaussianProcessClassifier
    line = pd.DataFrame({"a": np.linspace(0, 1, 60)})
    three = np.digitize(small.a, [-0.5, 0.5])
    cases = [
        (regressor(k.Matern(nu=0.7), alpha=0.1).fit(small, small.a), small, "Bessel"),
        (regressor(1.0 * k.RBF(), optimizer=None).fit(line, small.a[:60]), line, "its weights cancel"),
        (kernel_ridge.KernelRidge(1e-9, kernel="rbf").fit(line, small.a[:60]), line, "its weights cancel"),
        (regressor(k.DotProduct(), alpha=1.0).fit(line.astype(int), line.a), line.astype(int), "wrap around"),
        (classifier(optimizer=None, multi_class="one_vs_one").fit(small, three), small, "one_vs_one"),
        (kernel_ridge.KernelRidge(kernel=lambda a, b: a @ b).fit(small, small.a), small, "function of its own"),
    ]
    for model, frame, why in cases:
        with pytest.raises(Unsupported, match=f"{type(model).__name__}.*{why}"):
            convert_sklearn(model, columns_of(frame))
