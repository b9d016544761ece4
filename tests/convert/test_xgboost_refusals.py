"""What of XGBoost has no exact translation is refused by name, and a file that is none of XGBoost's too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.ensemble import BaggingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from xgboost import XGBRegressor

from sqlml.convert.isolated.inputs import Input
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from sqlml.convert.isolated.xgboost import ubjson
from sqlml.convert.isolated.xgboost.model import parse
from sqlml.convert.isolated.xgboost.original import Booster, inputs_of
from tests.convert.float_parity import columns_of
from tests.convert.xgboost_models import NUMBERS, SCORE, TABLE, booster, document_of, file_of, reloaded, trained


def edited(change) -> Booster:
    document = document_of(booster("reg:squarederror"))
    change(document["learner"])
    return Booster(json.dumps(document).encode())


def rename_objective(learner):
    learner["objective"]["name"] = "reg:somebodys"


def base_of_nothing(learner):
    learner["objective"]["name"] = "count:poisson"
    learner["learner_model_param"]["base_score"] = "[-1E0]"


def forget_categories(learner):
    learner["gradient_booster"]["model"]["cats"] = {"enc": [], "feature_segments": [], "sorted_idx": []}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (rename_objective, "objective 'reg:somebodys' is not known"),
        (base_of_nothing, "base_score -1.0"),
        (forget_categories, "the categories of plan by is not in the model.*XGBoost 3.1 or later"),
    ],
)
def test_what_the_file_does_not_say_is_refused(change, why):
    with pytest.raises(Unsupported, match=why):
        convert_sklearn(edited(change), columns_of(TABLE))


def test_categories_that_xgboost_cuts_in_the_middle_of_a_letter_are_refused():
    frame = TABLE.assign(plan=TABLE.plan.cat.rename_categories({"x": "naïve"}))

    with pytest.raises(Unsupported, match="did not keep the categories of plan whole"):
        convert_sklearn(trained("reg:squarederror", frame), columns_of(frame))


def test_categories_of_text_are_not_numbers():
    columns = [Input(c.name, "DOUBLE" if c.name == "plan" else c.type) for c in columns_of(TABLE)]

    with pytest.raises(Unsupported, match="the categories of plan are text, and the signature says numbers"):
        convert_sklearn(trained("reg:squarederror"), columns)


def test_categories_do_not_come_through_a_pipeline():
    numbers = FunctionTransformer()
    made = make_pipeline(numbers, XGBRegressor(n_estimators=2, n_jobs=1, enable_categorical=True).fit(TABLE, SCORE))

    with pytest.raises(Unsupported, match="XGBRegressor"):
        convert_sklearn(made, columns_of(TABLE))


def test_other_columns_than_those_of_training_are_refused():
    model = trained("reg:squarederror", NUMBERS)

    with pytest.raises(Refusal, match="'visits', absent from its signature"):
        inputs_of(model, columns_of(NUMBERS[["age", "monthly fee"]]), None)
    with pytest.raises(Unsupported, match="fitted on 3 columns and would be given 5"):
        convert_sklearn(model, columns_of(TABLE))
    with pytest.raises(Unsupported, match="it was fitted on the columns age, monthly fee, visits"):
        convert_sklearn(model, columns_of(NUMBERS[["visits", "age", "monthly fee"]]))


def test_columns_without_any_name_need_a_signature():
    made = reloaded(XGBRegressor(n_estimators=2, n_jobs=1).fit(NUMBERS.to_numpy(), SCORE))

    with pytest.raises(Refusal, match="an array of 3 unnamed columns"):
        inputs_of(made, None, None)


def test_text_is_no_number():
    model = trained("reg:squarederror", NUMBERS)

    with pytest.raises(Unsupported, match="the text column age"):
        convert_sklearn(model, [Input(n, "VARCHAR" if n == "age" else "DOUBLE") for n in NUMBERS])


def without(key):
    return lambda learner: learner["gradient_booster"]["model"].pop(key)


def twice_reached(learner):
    learner["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 0


def split_beyond(learner):
    learner["gradient_booster"]["model"]["trees"][0]["split_indices"][0] = 77


def other_booster(learner):
    learner["gradient_booster"]["name"] = "gbsomething"


@pytest.mark.parametrize(
    "change",
    [without("trees"), without("tree_info"), twice_reached, split_beyond, other_booster],
    ids=["no trees", "no tree info", "twice reached", "split beyond", "other booster"],
)
def test_a_file_that_is_none_of_xgboosts_is_refused(change):
    with pytest.raises(Refusal, match="The XGBoost model cannot be read"):
        _ = edited(change).model


@pytest.mark.parametrize("content", [b"", b"binf\x00\x00", b"{", b'{"learner": 3}', b"{L\x00\x00", b"[1]", b"{" * 5000])
def test_bytes_that_are_no_model_are_refused(content):
    with pytest.raises(Refusal, match="The XGBoost model cannot be read"):
        parse(content)


def test_a_file_that_was_cut_off_is_refused():
    content = file_of(booster("reg:squarederror", NUMBERS, 2))
    for size in np.linspace(2, len(content) - 1, 60).astype(int):
        with pytest.raises(Refusal, match="cannot be read"):
            parse(content[:size])


@pytest.mark.parametrize(
    "content",
    [b"[$S#L" + bytes(8), b"[$d", b"{L" + b"\xff" * 8, b"Q", b"[" * 200, b"i\x01i\x01", b"[$d#L" + b"\x7f" * 8],
    ids=repr,
)  # fmt: skip
def test_ubjson_of_another_shape_is_no_value(content):
    with pytest.raises(ValueError, match="UBJSON"):
        ubjson.loads(content)


def test_ubjson_of_every_type():
    content = (
        b"{U\x01aZU\x01bTU\x01c[#U\x02CxFU\x01d[$I#U\x02\x00\x01\xff\xffU\x01e[NU\x07D?\xf0\x00\x00\x00\x00\x00\x00]}"
    )
    made = ubjson.loads(content)

    assert {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in made.items()} == {
        "a": None, "b": True, "c": ["x", False], "d": [1, -1], "e": [7, 1.0],
    }  # fmt: skip


def test_an_ensemble_around_it_is_no_more_precise():
    """The gate compares in float32 then: to 1e-9 a mean of XGBoost's answers would be refused."""
    model = BaggingRegressor(XGBRegressor(n_estimators=3), 2, random_state=0).fit(NUMBERS, SCORE)

    assert convert_sklearn(model, columns_of(NUMBERS)).precision == "float"
