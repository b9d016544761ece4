"""What sqlml does not make of a model of LightGBM's: what it would answer otherwise, cannot tell or cannot read."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sqlml.convert.isolated.lightgbm import library
from sqlml.convert.isolated.lightgbm.original import Booster, inputs_of
from sqlml.convert.isolated.lightgbm.text import parse
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.lightgbm_models import NUMBERS, ROWS, SCORE, SMALL, TABLE, TRAINED, YES_NO, trained
from tests.convert.lightgbm_parity import columns_of


class Mine(LGBMRegressor):
    """Its predict might be anything."""


def refused(estimator: BaseEstimator, frame: pd.DataFrame) -> str:
    with pytest.raises(Unsupported) as raised:
        convert_sklearn(estimator, columns_of(frame))
    return str(raised.value)


def test_what_lightgbm_would_answer_otherwise_is_refused_by_name():
    early = LGBMClassifier(pred_early_stop=True, **SMALL).fit(NUMBERS, YES_NO)
    categories = Pipeline([("model", LGBMRegressor(**SMALL))]).fit(TRAINED, SCORE)

    assert "pred_early_stop" in refused(early, NUMBERS)
    assert "it was fitted on 5 columns and would be given 4" in refused(
        early.set_params(pred_early_stop=False), NUMBERS.iloc[:, 1:]
    )
    assert "Step 'model' (LGBMRegressor)" in refused(categories, TABLE)
    assert "a class of its own" in refused(Mine(**SMALL).fit(NUMBERS, SCORE), NUMBERS)
    assert "it is not fitted" in refused(LGBMRegressor(), NUMBERS)
    assert "text column plan" in refused(
        LGBMRegressor(**SMALL).fit(NUMBERS, SCORE), TABLE[[*NUMBERS.columns[:4], "plan"]]
    )


def test_columns_of_categories_that_cannot_be_told_apart_are_refused():
    frame = pd.DataFrame({"a": np.arange(ROWS) % 3, "b": np.arange(ROWS) // 3 % 3})
    model = LGBMRegressor(**SMALL).fit(frame.astype({"a": "category"}), SCORE)

    assert "which of its columns they are cannot be told" in refused(model, frame)


def test_categories_that_no_double_holds_are_refused():
    frame = NUMBERS.assign(visits=TABLE.visits + 2**60)
    model = LGBMRegressor(**SMALL).fit(frame.astype({"visits": "category"}), SCORE)

    assert "neither text nor numbers that a double holds" in refused(model, frame)


def test_an_unknown_objective_is_refused():
    text = trained("regression").text.replace("objective=regression\n", "objective=of_tomorrow\n")

    assert "'of_tomorrow'" in refused(Booster(text), TABLE)


def test_columns_bind_by_name_whatever_their_order():
    booster = trained("regression")
    shuffled = columns_of(TABLE[["plan", "tiny", "age", "visits", "shop", "monthly fee"]])

    assert inputs_of(booster, shuffled, None).names == list(TABLE.columns)
    with pytest.raises(Refusal) as raised:
        inputs_of(booster, tuple(c for c in shuffled if c.name != "monthly fee"), None)
    assert "'monthly_fee', absent from its signature" in raised.value.message


def test_without_a_signature_the_models_own_names_and_the_tables_types_are_taken():
    booster = trained("regression")

    found = inputs_of(booster, None, {"age": "DOUBLE", "visits": "INTEGER", "plan": "VARCHAR"})

    assert [(c.name, c.type) for c in found.columns][-2:] == [("visits", "BIGINT"), ("plan", "VARCHAR")]
    with pytest.raises(Refusal) as raised:
        inputs_of(booster, None, None)
    assert "pandas categories" in raised.value.message


DAMAGE = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not a model": lambda text: "hello",
    "a circle": lambda text: re.sub(r"(?m)^left_child=\S+", "left_child=0", text, count=1),
    "a leaf twice": lambda text: re.sub(r"(?m)^right_child=\S+", "right_child=-1", text, count=1),
    "too few leaves": lambda text: re.sub(r"(?m)^leaf_value=\S+ ", "leaf_value=", text, count=1),
    "no number": lambda text: re.sub(r"(?m)^threshold=\S+", "threshold=nan", text, count=1),
    "an unknown feature": lambda text: re.sub(r"(?m)^split_feature=\S+", "split_feature=99", text, count=1),
    "categories missing": lambda text: re.sub(r"(?m)^num_cat=.*", "num_cat=0", text),
    "too few trees": lambda text: text.replace("num_tree_per_iteration=1", "num_tree_per_iteration=5"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_text_is_said_to_be_one(name):
    with pytest.raises(Refusal) as raised:
        parse(DAMAGE[name](trained("regression").text))

    assert raised.value.kind == "artifact"
    assert raised.value.message.startswith("The LightGBM model cannot be read: ")


def test_without_lightgbm_it_is_said_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "model.lgb").write_text(trained("binary").text)
    flavor = {"data": "model.lgb", "lgb_version": "4.1.0"}
    monkeypatch.setitem(sys.modules, "lightgbm", None)

    with pytest.raises(Refusal) as raised:
        library.load(tmp_path, flavor, True)

    assert raised.value.kind == "unsupported"
    assert raised.value.hint == "Install it beside sqlml: pip install lightgbm==4.1.0"
