"""What cannot be converted exactly is refused by name, with the step of the pipeline and what to do instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import ensemble, linear_model, svm, tree
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)

from sqlml.convert.isolated.graph import MISSING_TEXT
from sqlml.convert.isolated.sklearn import registry
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from sqlml.convert.onnx_model import MISSING_TEXT as SAME_MISSING_TEXT
from sqlml.signature import Column
from tests.convert.sklearn_parity import columns_of


class OwnRidge(linear_model.Ridge):
    """Predicts something else than its base class says."""

    def predict(self, X: Any) -> Any:
        return super().predict(X) + 1


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})


def refused(model: Any, data: pd.DataFrame | None = None, columns: list[Column] | None = None) -> Unsupported:
    with pytest.raises(Unsupported) as caught:
        convert_sklearn(model, columns or columns_of(frame() if data is None else data))
    return caught.value


def double(x: Any) -> Any:
    return x * 2


def without(monkeypatch: pytest.MonkeyPatch, cls: type) -> None:
    """As if there were no translation of the class yet."""
    for table in ("predictors", "transformers"):
        rest = {known: convert for known, convert in getattr(registry, table)().items() if known is not cls}
        monkeypatch.setattr(registry, table, lambda rest=rest: rest)


def test_an_estimator_without_a_translation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = frame()
    without(monkeypatch, svm.SVR)

    error = refused(make_pipeline(StandardScaler(), svm.SVR()).fit(data, data.a))

    assert "SVR" in str(error)
    assert error.step == "svr"
    assert error.instead


def test_the_path_to_a_nested_step_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    data = frame()
    without(monkeypatch, QuantileTransformer)
    inner = Pipeline([("scale", StandardScaler()), ("spread", QuantileTransformer(n_quantiles=9))])
    model = Pipeline([("prepare", ColumnTransformer([("numbers", inner, ["a"])])), ("model", linear_model.Ridge())])

    assert refused(model.fit(data, data.b)).step == "prepare > numbers > spread"


@pytest.mark.parametrize(
    "transformer",
    [FunctionTransformer(double), FunctionTransformer(np.tril)],
)
def test_a_function_without_a_translation_is_named(transformer: Any) -> None:
    data = frame()

    error = refused(make_pipeline(transformer, linear_model.Ridge()).fit(data, data.b))

    assert type(transformer).__name__ in str(error)


def test_a_class_derived_from_a_known_one_is_refused() -> None:
    data = frame()

    assert "derived from Ridge" in str(refused(OwnRidge().fit(data, data.b)))


def test_a_method_replaced_on_the_object_is_refused() -> None:
    data = frame()
    model = linear_model.Ridge().fit(data, data.b)
    model.predict = lambda X: np.zeros(len(X))

    assert "'predict'" in str(refused(model))


def test_an_init_estimator_that_computes_in_float32_is_refused() -> None:
    data = frame()
    model = ensemble.GradientBoostingRegressor(n_estimators=2, init=linear_model.Ridge()).fit(data, data.b)

    assert "init" in str(refused(model))


@pytest.mark.parametrize("model", [tree.DecisionTreeClassifier(), ensemble.RandomForestClassifier(2)])
def test_trees_of_several_outputs_are_refused(model: Any) -> None:
    data = frame()

    assert "several" in str(refused(model.fit(data, (data > 0).astype(int))))


def test_text_for_a_step_of_numbers_is_refused() -> None:
    data = frame()
    columns = [Column("a", "DOUBLE"), Column("b", "VARCHAR")]

    assert "text column b" in str(refused(linear_model.Ridge().fit(data, data.b), columns=columns))


def test_float32_sums_are_refused() -> None:
    data = frame().astype("float32")

    assert "float32" in str(refused(linear_model.Ridge().fit(data, data.b), data))


def test_text_vectorizers_are_refused() -> None:
    data = pd.DataFrame({"note": ["some words", "more words"] * 9})
    model = make_pipeline(ColumnTransformer([("words", TfidfVectorizer(), "note")]), linear_model.LogisticRegression())

    assert refused(model.fit(data, [0, 1] * 9), data).step == "columntransformer > words"


def test_a_transformer_that_gives_text_is_refused_as_a_model() -> None:
    data = pd.DataFrame({"word": ["a", "b", "a", "c"]})
    model = make_pipeline(SimpleImputer(strategy="most_frequent")).fit(data)

    assert "it gives text (from word)" in str(refused(model, data))


def test_columns_that_the_model_was_not_trained_on_are_refused() -> None:
    data = frame()

    error = refused(linear_model.Ridge().fit(data, data.b), columns=[Column("b", "DOUBLE"), Column("a", "DOUBLE")])

    assert "fitted on the columns a, b" in str(error)


def test_categories_beyond_what_doubles_tell_apart_are_refused() -> None:
    data = pd.DataFrame({"id": [2**53, 2**53 + 1, 5] * 9})
    model = make_pipeline(OneHotEncoder(), linear_model.LogisticRegression())

    assert "2^53" in str(refused(model.fit(data, [0, 1, 1] * 9), data))


def test_a_column_named_like_an_output_is_refused() -> None:
    data = frame().rename(columns={"a": "error"})

    assert "error" in str(refused(linear_model.Ridge().fit(data, data.b), data))


def test_strange_column_names_do_no_harm() -> None:
    data = frame().rename(columns={"a": 'add_3 "x"; --', "b": "const_1"})

    converted = convert_sklearn(
        make_pipeline(StandardScaler(), linear_model.Ridge()).fit(data, data["const_1"]), columns_of(data)
    )

    assert len(converted.nulls) == 2


def test_a_model_that_was_never_fitted_is_refused() -> None:
    error = refused(make_pipeline(StandardScaler(), linear_model.Ridge()))

    assert "fitted" in str(error)


def test_the_missing_text_is_the_same_everywhere() -> None:
    assert MISSING_TEXT == SAME_MISSING_TEXT
