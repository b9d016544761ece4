"""CatBoost's models against CatBoost: losses, shapes of trees, classes and categories, on rows made from their own borders.

Raw scores are equal to the last bit; where exp follows, to a few units in the last place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoost, CatBoostClassifier, CatBoostRanker, CatBoostRegressor, Pool
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml.convert.isolated.catboost.model import FloatSplit, model_of
from sqlml.convert.isolated.catboost.original import inputs_of, own
from sqlml.convert.isolated.catboost.predictors import CANDIDATES
from sqlml.convert.isolated.inputs import Input
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.float_parity import Report, beside, columns_of, compare
from tests.convert.xgboost_models import HOSTILE, NUMBERS, RANKS, ROWS, SCORE, TABLE, TWO

SMALL: dict[str, Any] = {
    "iterations": 8, "depth": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False, "random_seed": 1,
}  # fmt: skip
PLANS = ["basic", "it's pro", "naïve", ""]
MIXED = NUMBERS.assign(
    plan=np.random.default_rng(4).choice(PLANS, ROWS), shop=np.random.default_rng(5).choice([11, 3, 700, -2], ROWS)
)
MIXED_SCORE = SCORE + (MIXED.plan == "naïve") * 2 + (MIXED.shop == 700)
ULPS, DISTANCE = 8.0, 2.0**-50


def exact(report: Report) -> None:
    assert report.exact, report


def near(report: Report) -> None:
    assert (report.labels, report.disagreements) == (0, 0)
    assert report.ulps <= ULPS or report.distance <= DISTANCE


def reloaded(model: Any, folder: Path, kind: str = "cbm") -> Any:
    model.save_model(str(folder / "model"), format=kind)
    again = type(model)()
    again.load_model(str(folder / "model"), format=kind)
    return again


def pools_of(estimator: Any, frame: pd.DataFrame) -> Mapping[str, list[Any]]:
    found = own(estimator)
    if found is None:
        return {name: list(HOSTILE) if frame[name].dtype.kind in "iufb" else [None, "", "unseen"] for name in frame}
    model, pools = model_of(found), {}
    for i, name in enumerate(frame):
        near_borders = [s.border for s in model.splits() if isinstance(s, FloatSplit) and s.feature == i]
        if i not in model.categorical:
            pools[name] = [*HOSTILE, *beside(near_borders[:60])]
        elif frame[name].dtype.kind in "iu":
            pools[name] = [None, -1.0, 1e9, 12.0, 2.5, 1e300]
        else:
            pools[name] = [None, "", "unseen", "Basic", "700"]
    return pools


def check(estimator: Any, frame: pd.DataFrame = NUMBERS, **how: Any) -> Report:
    return compare(estimator, frame, pools_of(estimator, frame), single=False, **how)


LOSSES = [
    "RMSE", "MAE", "Quantile:alpha=0.3", "MAPE", "Lq:q=3", "Huber:delta=1", "Expectile:alpha=0.3", "LogCosh",
    "LogLinQuantile", "Poisson", "Tweedie:variance_power=1.5", "RMSEWithUncertainty", "MultiRMSE",
    "MultiQuantile:alpha=0.1,0.5,0.9", "Cox",
]  # fmt: skip
WITH_EXP = ("Poisson", "Tweedie", "RMSEWithUncertainty")


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_catboosts_own_answers(loss, tmp_path):
    target = np.c_[SCORE, -SCORE] if loss == "MultiRMSE" else np.abs(SCORE) + 0.1
    model = reloaded(CatBoostRegressor(loss_function=loss, **SMALL).fit(NUMBERS, target), tmp_path)

    (near if loss.startswith(WITH_EXP) else exact)(check(model))


@pytest.mark.parametrize(
    "settings",
    [
        {"grow_policy": "Depthwise"},
        {"grow_policy": "Lossguide", "max_leaves": 11, "depth": 6},
        {"nan_mode": "Max"},
        {"depth": 9, "iterations": 20},
        {"depth": 1, "border_count": 3},
        {"boosting_type": "Ordered"},
        {"monotone_constraints": [1, 0, 0]},
        {"boost_from_average": False, "l2_leaf_reg": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("in_sql", [False, True])
def test_every_shape_of_tree_gives_catboosts_own_answers(settings, in_sql, tmp_path):
    if in_sql and settings.get("depth", 0) > 6:
        settings = {**settings, "depth": 6, "iterations": 5}
    model = CatBoostRegressor(**{**SMALL, **settings}).fit(NUMBERS, SCORE)

    exact(check(reloaded(model, tmp_path), in_sql=in_sql))


CLASSES: dict[str, Any] = {
    "text": lambda: CatBoostClassifier(**SMALL).fit(NUMBERS, np.where(TWO, "it's yes", "no")),
    "booleans": lambda: CatBoostClassifier(**SMALL).fit(NUMBERS, TWO == 1),
    "fractions": lambda: CatBoostClassifier(**SMALL).fit(NUMBERS, TWO * 1.5),
    "four integers": lambda: CatBoostClassifier(**SMALL).fit(NUMBERS, RANKS * 10),
    "four texts": lambda: CatBoostClassifier(**SMALL).fit(NUMBERS, np.array(["a", "b", "c", "d"])[RANKS]),
    "one against all": lambda: CatBoostClassifier(loss_function="MultiClassOneVsAll", **SMALL).fit(NUMBERS, RANKS),
    "two by softmax": lambda: CatBoostClassifier(loss_function="MultiClass", **SMALL).fit(NUMBERS, TWO),
    "probabilities": lambda: CatBoostClassifier(loss_function="CrossEntropy", **SMALL).fit(
        NUMBERS, 1 / (1 + np.exp(-SCORE))
    ),
    "several labels": lambda: CatBoostClassifier(loss_function="MultiLogloss", **SMALL).fit(
        NUMBERS, np.c_[TWO, RANKS % 2]
    ),
    "branches": lambda: CatBoostClassifier(grow_policy="Lossguide", **SMALL).fit(NUMBERS, RANKS),
    "raw scores": lambda: CatBoost({"loss_function": "Logloss", **SMALL}).fit(NUMBERS, TWO),
    "ranks": lambda: CatBoostRanker(loss_function="YetiRank", **SMALL).fit(
        Pool(NUMBERS, RANKS, group_id=np.repeat(np.arange(24), 10))
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_and_ranks(name, tmp_path):
    made = CLASSES[name]()

    near(check(reloaded(made, tmp_path)))
    near(check(reloaded(made, tmp_path, "json"), in_sql=True, count=100))


@pytest.mark.parametrize("probability", [0.2, 0.9])
def test_a_threshold_of_the_models_own(probability, tmp_path):
    model = CatBoostClassifier(**SMALL).fit(NUMBERS, TWO)
    model.set_probability_threshold(probability)

    near(check(reloaded(model, tmp_path)))


def test_early_stopping(tmp_path):
    settings = {**SMALL, "iterations": 200, "learning_rate": 0.9, "early_stopping_rounds": 3}
    model = CatBoostRegressor(**settings).fit(NUMBERS[:160], SCORE[:160], eval_set=(NUMBERS[160:], SCORE[160:]))

    assert model.tree_count_ < 200
    exact(check(reloaded(model, tmp_path)))


def test_columns_of_an_array_are_named_by_the_signature(tmp_path):
    exact(check(reloaded(CatBoostRegressor(**SMALL).fit(NUMBERS.to_numpy(), SCORE), tmp_path)))


def test_columns_are_those_of_training_in_its_order(tmp_path):
    model = reloaded(CatBoostRegressor(**SMALL).fit(NUMBERS, SCORE), tmp_path)

    exact(check(model, NUMBERS[["visits", "age", "monthly fee"]]))


def test_booleans_and_float32(tmp_path):
    frame = NUMBERS.assign(vip=SCORE > 3).astype({"age": np.float32})

    exact(check(reloaded(CatBoostRegressor(**SMALL).fit(frame, SCORE), tmp_path), frame))


@pytest.mark.parametrize("seed", range(16))
def test_models_made_at_random(seed, tmp_path):
    rng = np.random.default_rng(seed)
    settings = {
        **SMALL,
        "depth": int(rng.integers(1, 7)),
        "iterations": int(rng.integers(1, 25)),
        "grow_policy": str(rng.choice(["SymmetricTree", "SymmetricTree", "Depthwise", "Lossguide"])),
        "nan_mode": str(rng.choice(["Min", "Max"])),
        "border_count": int(rng.choice([3, 254])),
        "learning_rate": float(rng.choice([0.03, 0.5])),
    }
    frame = NUMBERS.sample(ROWS, replace=True, random_state=seed).reset_index(drop=True)
    which, target = int(rng.integers(3)), rng.permutation(SCORE)
    if which == 0:
        made = CatBoostRegressor(**settings).fit(frame, target * 1e4)
    else:
        made = CatBoostClassifier(**settings).fit(frame, TWO if which == 1 else RANKS)

    (exact if which == 0 else near)(check(reloaded(made, tmp_path), frame, seed=seed, in_sql=seed % 8 == 0))


# Categories ----------------------------------------------------------------------------------------------------------


def one_hot(categories: list[str], frame: pd.DataFrame, **settings: Any) -> Any:
    return CatBoostRegressor(cat_features=categories, one_hot_max_size=50, **SMALL, **settings).fit(frame, MIXED_SCORE)


@pytest.mark.parametrize("in_sql", [False, True])
def test_integer_categories_are_found_by_their_hashes(in_sql, tmp_path):
    frame = MIXED.drop(columns="plan")
    model = reloaded(one_hot(["shop"], frame), tmp_path)

    assert model_of(model).hashes
    report = check(model, frame, in_sql=in_sql)
    exact(report)
    assert report.refused > 0  # a missing category


@pytest.mark.parametrize("in_sql", [False, True])
def test_categories_of_text_are_found_among_those_of_the_input_example(in_sql, tmp_path):
    model = reloaded(one_hot(["plan", "shop"], MIXED), tmp_path)
    with pytest.raises(Unsupported, match=r"hashes of the categories of plan.*input_example"):
        convert_sklearn(model, columns_of(MIXED))
    setattr(model, CANDIDATES, ("other", *PLANS))

    exact(check(model, MIXED, in_sql=in_sql))


def test_statistics_of_the_target_are_refused_by_the_names_of_the_columns(tmp_path):
    model = CatBoostRegressor(cat_features=["plan", "shop"], **SMALL).fit(MIXED, MIXED_SCORE)

    with pytest.raises(Unsupported, match=r"statistics of the target per category .* of plan, shop"):
        convert_sklearn(reloaded(model, tmp_path), columns_of(MIXED))


def test_a_category_that_no_split_asks_for_may_not_be_missing_either(tmp_path):
    frame = MIXED.assign(shop=7)
    report = check(reloaded(one_hot(["shop"], frame.drop(columns="plan")), tmp_path), frame.drop(columns="plan"))

    exact(report)
    assert report.refused > 0


def test_a_category_is_no_fraction(tmp_path):
    model = reloaded(one_hot(["shop"], MIXED.drop(columns="plan")), tmp_path)
    columns = [Input(c.name, "DOUBLE", False) for c in columns_of(MIXED.drop(columns="plan"))]

    with pytest.raises(Unsupported, match="shop is a category to it, and float64 in the signature"):
        convert_sklearn(model, columns)


def test_columns_of_text_are_refused(tmp_path):
    frame = NUMBERS.assign(said=["good value", "bad"] * (ROWS // 2))
    model = CatBoostRegressor(text_features=["said"], **SMALL).fit(frame, SCORE)

    with pytest.raises((Unsupported, Refusal), match=r"text or embeddings|JSON"):
        convert_sklearn(reloaded(model, tmp_path), columns_of(frame))


def test_other_columns_than_those_of_training_are_refused(tmp_path):
    model = reloaded(CatBoostRegressor(**SMALL).fit(NUMBERS, SCORE), tmp_path)

    with pytest.raises(Refusal, match="'visits', absent from its signature"):
        inputs_of(model, columns_of(NUMBERS[["age", "monthly fee"]]), None)
    with pytest.raises(Unsupported, match="fitted on 3 columns and would be given 5"):
        convert_sklearn(model, columns_of(MIXED))


# Inside scikit-learn -------------------------------------------------------------------------------------------------


def test_the_last_step_of_a_pipeline():
    frame = NUMBERS.assign(plan=TABLE.plan.astype(object).fillna("none"))
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), ["age"]), remainder="passthrough"
    )
    for sparse in (0.0, 1.0):
        encode.sparse_threshold = sparse
        exact(check(make_pipeline(encode, CatBoostRegressor(**SMALL)).fit(frame, SCORE), frame))


def test_a_search_is_unwrapped():
    search = GridSearchCV(CatBoostRegressor(**SMALL), {"depth": [1, 2]}, cv=2).fit(NUMBERS, SCORE)

    exact(check(search))
