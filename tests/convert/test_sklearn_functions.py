"""FunctionTransformer: numpy's functions, on numbers and on what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import tree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.sklearn.functions import FUNCTIONS
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of
from tests.convert.transformer_parity import check_sql

pytestmark = pytest.mark.filterwarnings("ignore")

WITH_ARGUMENTS = {
    "clip": (np.clip, {"a_min": 0, "a_max": 0.5}),
    "clip above": (np.clip, {"a_min": None, "a_max": 0.5}),
    "round": (np.round, None),
    "round to hundredths": (np.round, {"decimals": 2}),
    "round to tens": (np.round, {"decimals": -1}),
    "no more missing": (np.nan_to_num, {"nan": -1.0, "posinf": 5}),
}


def frame() -> pd.DataFrame:
    """Numbers in the domain of every function."""
    rng = np.random.default_rng(6)
    return pd.DataFrame({"a": rng.uniform(0.05, 0.95, 60), "b": rng.uniform(0.3, 0.6, 60)})


@pytest.mark.parametrize("name", sorted(f.__name__ for f in FUNCTIONS))
def test_functions_of_numpy(name: str) -> None:
    data = frame()
    func = next(f for f in FUNCTIONS if f.__name__ == name)
    check(FunctionTransformer(func).fit(data), data, count=3)
    model = make_pipeline(FunctionTransformer(func), tree.DecisionTreeRegressor(max_depth=2))
    check(model.fit(data, data["a"]), data, count=3)


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_functions_with_arguments(name: str) -> None:
    func, given = WITH_ARGUMENTS[name]
    data = frame()
    check(FunctionTransformer(func, kw_args=given).fit(data), data, count=3)


def test_functions_in_sql() -> None:
    data = frame()
    for func in (np.arctan, np.cbrt, np.sinh, np.cos, np.rint, np.isnan):
        assert check_sql(FunctionTransformer(func).fit(data), data, count=2) == "sql"


@pytest.mark.parametrize(
    ("transformer", "why"),
    [
        (FunctionTransformer(np.clip, kw_args={"a_min": [0, 1], "a_max": 2}), "a_min, a_max"),
        (FunctionTransformer(np.arccos), "arccos"),
        (FunctionTransformer(lambda x: x * 2), "lambda"),
        (FunctionTransformer(np.cumsum, kw_args={"axis": 1}), "cumsum"),
    ],
)
def test_other_functions_are_refused_by_name(transformer: Any, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        convert_sklearn(transformer.fit(frame()), columns_of(frame()))


@pytest.mark.parametrize("func", [np.reciprocal, np.square, np.round])
def test_functions_that_treat_integers_in_their_own_way_are_refused(func: Any) -> None:
    data = pd.DataFrame({"i": range(1, 9)})
    with pytest.raises(Unsupported, match="integers"):
        convert_sklearn(FunctionTransformer(func).fit(data), columns_of(data))
