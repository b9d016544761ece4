"""Transformers that bend a column: targets' means, powers, quantiles, splines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model, tree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    TargetEncoder,
)

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of
from tests.convert.transformer_parity import check_sql

pytestmark = pytest.mark.filterwarnings("ignore")


def frame(gaps: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 70
    made = pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(1, 40, n), "c": rng.integers(0, 4, n).astype(float)})
    return made.mask(rng.random(made.shape) < 0.2) if gaps else made


def words(missing: Any) -> pd.DataFrame:
    rng = np.random.default_rng(9)
    n = 90
    city = pd.Series(rng.choice(["A", "B", "it's", "", "ü"], n)).astype(object)
    return pd.DataFrame(
        {"city": city.where(rng.random(n) > 0.2, missing), "plan": pd.Series(rng.choice(["x", "y"], n)).astype(object)}
    )


TARGETS = {
    "continuous": lambda n: np.linspace(-3.0, 7.0, n) ** 2,
    "binary": lambda n: np.where(np.arange(n) % 3 == 0, "yes", "no"),
    "multiclass": lambda n: np.array(["p", "q", "r"])[np.arange(n) % 3],
}


@pytest.mark.parametrize("missing", [np.nan, None], ids=["nan", "none"])
@pytest.mark.parametrize("kind", TARGETS)
def test_target_encoder(kind: str, missing: Any) -> None:
    data = words(missing)
    y = TARGETS[kind](len(data))
    last = tree.DecisionTreeRegressor if kind == "continuous" else tree.DecisionTreeClassifier
    for model in (TargetEncoder(random_state=0), make_pipeline(TargetEncoder(smooth=2.0), last(max_depth=4))):
        check(model.fit(data, y), data, count=12)
        assert check_sql(model, data, count=4) == "sql"


@pytest.mark.parametrize(
    "encoder", [TargetEncoder(), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)]
)
def test_many_numbers_as_categories(encoder: Any) -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"code": rng.integers(-90, 90, 500), "price": rng.integers(0, 300, 500) / 4})
    model = make_pipeline(encoder, tree.DecisionTreeRegressor(max_depth=5))
    check(model.fit(data, rng.normal(size=500)), data, count=12)


CURVES: dict[str, Any] = {
    "yeo-johnson": PowerTransformer(),
    "yeo-johnson as it is": PowerTransformer(standardize=False),
    "quantiles": QuantileTransformer(n_quantiles=10),
    "one quantile": QuantileTransformer(n_quantiles=1),
    "normal quantiles": QuantileTransformer(n_quantiles=25, output_distribution="normal"),
}


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", CURVES)
def test_curves(name: str, gaps: bool) -> None:
    data = frame(gaps)
    y = frame()["a"]
    check(CURVES[name].fit(data, y), data, count=8)
    check(make_pipeline(CURVES[name], tree.DecisionTreeRegressor(max_depth=4)).fit(data, y), data, count=8)
    if not gaps:
        check(make_pipeline(CURVES[name], linear_model.Ridge()).fit(data, y), data, count=8, sums=True)


@pytest.mark.parametrize("name", ["yeo-johnson", "quantiles"])
def test_curves_in_sql(name: str) -> None:
    data = frame()[["a", "c"]]
    model = make_pipeline(CURVES[name], linear_model.Ridge()).fit(data, data["a"])
    assert check_sql(model, data, count=3) == "sql"


def test_box_cox_asks_for_positive_numbers() -> None:
    data = frame().abs() + 0.1
    report, _ = check(
        make_pipeline(PowerTransformer("box-cox"), linear_model.Ridge()).fit(data, data["a"]), data, count=8
    )
    assert report.raised > 10


def test_powers_that_are_logarithms() -> None:
    data = frame()
    model = PowerTransformer(standardize=False).fit(data)
    model.lambdas_ = np.array([0.0, 2.0, 1.0])
    check(model, data, count=8)


def test_repeated_quantiles_are_met_half_way() -> None:
    data = frame().round(0)
    for distribution in ("uniform", "normal"):
        model = QuantileTransformer(n_quantiles=40, output_distribution=distribution).fit(data)
        check(model, data, count=20)


@pytest.mark.parametrize("degree", [0, 1, 3])
@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue", "periodic", "error"])
def test_splines(extrapolation: str, degree: int) -> None:
    data = frame()[["a", "c"]]
    last = tree.DecisionTreeRegressor(max_depth=4)
    model = make_pipeline(SplineTransformer(4, degree=degree, extrapolation=extrapolation), last)
    check(model.fit(data, data["a"]), data, count=5)


@pytest.mark.parametrize("extrapolation", ["constant", "continue", "periodic"])
def test_sparse_splines_on_repeated_knots_without_a_bias(extrapolation: str) -> None:
    data = frame()[["a", "b"]]
    bent = SplineTransformer(
        5, degree=2, knots="quantile", extrapolation=extrapolation, sparse_output=True, include_bias=False
    )
    check(make_pipeline(bent, linear_model.Ridge()).fit(data, data["a"]), data, count=5, sums=True)


@pytest.mark.skipif("handle_missing" not in SplineTransformer().get_params(), reason="an older scikit-learn")
def test_splines_of_missing_and_infinite_values_are_zeros() -> None:
    data = frame(gaps=True)[["a", "c"]]
    for extrapolation in ("constant", "linear"):
        bent = SplineTransformer(4, extrapolation=extrapolation, handle_missing="zeros")
        check(bent.fit(data), data, count=5)


def test_splines_in_sql() -> None:
    data = frame()[["a", "c"]]
    assert check_sql(SplineTransformer(4, degree=1).fit(data), data, count=3) == "sql"


def test_curves_of_float32_columns_are_refused() -> None:
    data = frame().astype("float32")
    for model in (PowerTransformer(), QuantileTransformer(n_quantiles=5)):
        with pytest.raises(Unsupported, match="float32"):
            convert_sklearn(model.fit(data), columns_of(data))
