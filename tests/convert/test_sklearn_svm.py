"""Support vector machines: every kernel, two and three classes, votes, ties, probabilities, sparse training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import svm
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

KERNELS: dict[str, dict[str, Any]] = {
    "rbf": {},
    "rbf auto": {"gamma": "auto"},
    "linear": {"kernel": "linear"},
    "poly": {"kernel": "poly", "coef0": 1.0},
    "poly 2": {"kernel": "poly", "degree": 2, "gamma": 0.3},
    "sigmoid": {"kernel": "sigmoid", "coef0": 0.1},
}
LABELS = {
    "two texts": lambda a: np.where(a > 0, "Yes", "No"),
    "three texts": lambda a: np.array(["low", "mid", "high"])[np.digitize(a, [-0.5, 0.5])],
    "four numbers": lambda a: np.digitize(a, [-0.7, 0.0, 0.6]) * 10 - 3,
}
SHAPES: dict[str, dict[str, Any]] = {
    "one vs one": {"decision_function_shape": "ovo"},
    "ties broken": {"break_ties": True},
    "probabilities": {"probability": True, "random_state": 0},
}


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"a": rng.normal(0, 1, 90), "b": rng.normal(1, 2, 90), "c": rng.integers(0, 4, 90).astype(float)}
    )


def sums(kernel: str) -> bool:
    """Every kernel but rbf sums products: rows with huge values cancel or overflow in another order."""
    return not kernel.startswith("rbf")


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_classifier_is_exact(small: pd.DataFrame, kernel: str, labels: str) -> None:
    check(svm.SVC(**KERNELS[kernel]).fit(small, LABELS[labels](small.a)), small, count=15, sums=sums(kernel))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_classifier_of_every_shape_is_exact(small: pd.DataFrame, shape: str, labels: str) -> None:
    y = LABELS[labels](small.a + small.c / 7)
    check(svm.SVC(**SHAPES[shape]).fit(small, y), small, count=15)
    check(svm.NuSVC(nu=0.2, **SHAPES[shape]).fit(small, y), small, count=15)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "model", [svm.SVR(epsilon=0.2), svm.NuSVR(), svm.OneClassSVM(nu=0.2)], ids=lambda m: type(m).__name__
)
def test_what_knows_one_class_or_none_is_exact(small: pd.DataFrame, model: Any, kernel: str) -> None:
    model.set_params(**{"kernel": "rbf", "gamma": "scale", **KERNELS[kernel]})
    weight = float(np.abs(model.fit(small, small.a + small.b).dual_coef_).sum())
    check(model, small, count=15, sums=sums(kernel), weight=weight * 1e3)


def test_a_model_without_support_vectors_is_exact(small: pd.DataFrame) -> None:
    check(svm.SVR(epsilon=1e6).fit(small, small.a), small, count=15)


def mixed(model: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [
        ("numbers", numbers, ["age", "fee"]),
        ("texts", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
    ]
    return make_pipeline(ColumnTransformer(columns), model)


@pytest.mark.parametrize(
    "model",
    [svm.SVC(probability=True, random_state=0), svm.SVC(kernel="poly"), svm.SVR(), svm.OneClassSVM(nu=0.1)],
    ids=["probabilities", "poly", "regressor", "one class"],
)
def test_a_pipeline_of_mixed_columns_is_exact(customers: pd.DataFrame, model: Any) -> None:
    target = (
        customers.age.to_numpy() if isinstance(model, svm.SVR) else customers.city.where(customers.age > 35, "none")
    )
    x = customers.drop(columns=["kids", "vip"])
    check(mixed(model).fit(x, target), x, count=25, sums=True)


def test_sparse_training_rows_are_exact(customers: pd.DataFrame) -> None:
    x = customers[["city", "plan"]]
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), svm.SVC(probability=True, random_state=0))
    check(pipeline.fit(x, np.digitize(customers.age, [35, 45])), x)


@pytest.mark.parametrize("kernel", ["precomputed", lambda x, y: x @ y.T])
def test_a_kernel_that_is_not_libsvms_own_is_refused(small: pd.DataFrame, kernel: Any) -> None:
    x = pd.DataFrame(small.to_numpy() @ small.to_numpy().T, columns=[f"k{i}" for i in range(90)])
    x = x if kernel == "precomputed" else small
    fitted = svm.SVC(kernel=kernel).fit(x, small.a > 0)
    with pytest.raises(Unsupported, match=r"SVC.*kernel is not one of libsvm's own"):
        convert_sklearn(fitted, columns_of(x))
