"""Configurations of transformers that meet others: types of bins, sparse products, weights, indicators beside text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import tree
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler

from tests.convert.sklearn_parity import check
from tests.convert.test_sklearn_transformers import categories

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("encode", ["onehot", "onehot-dense", "ordinal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_of_every_type(encode: str, dtype: Any) -> None:
    frame = categories(gaps=False)[["size"]].assign(number=np.linspace(-3.0, 9.0, 90) ** 3)
    bins = KBinsDiscretizer(4, encode=encode, dtype=dtype, strategy="uniform")
    check(make_pipeline(bins, tree.DecisionTreeRegressor(max_depth=4)).fit(frame, frame["number"]), frame, count=5)


def test_products_of_sparse_columns() -> None:
    frame = categories(gaps=False)
    for degree, interaction_only in ((3, False), (4, True)):
        prepare = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["city"]), ("passthrough", ["size"]), sparse_threshold=1
        )
        model = make_pipeline(prepare, PolynomialFeatures(degree, interaction_only=interaction_only))
        check(model.fit(frame[["city", "size"]]), frame[["city", "size"]], count=5)


def test_indicators_beside_imputed_text() -> None:
    frame = categories(gaps=True)[["city", "plan"]]
    for encoder in (OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()):
        model = make_pipeline(
            SimpleImputer(strategy="most_frequent", add_indicator=True), encoder, tree.DecisionTreeClassifier()
        )
        check(model.fit(frame, frame["plan"] == "x"), frame, count=5)


def test_weights_of_integers_and_booleans() -> None:
    frame = categories(gaps=False)[["size", "flag"]].assign(number=range(90))
    prepare = ColumnTransformer(
        [("a", "passthrough", ["number", "flag"]), ("b", StandardScaler(), ["size"])],
        transformer_weights={"a": 2.5, "b": 0.3},
    )
    check(make_pipeline(prepare, tree.DecisionTreeRegressor()).fit(frame, frame["size"]), frame, count=5)
