"""LightGBM's models against LightGBM: every objective and way of boosting, on rows made from their own splits.

What needs no function of the scores is equal to the last bit. Where exp stands between (a link, a softmax), the last
bits are onnxruntime's: LINK_ULPS and LINK_DISTANCE bound what was seen in 1,400 models of 400 hostile rows (4 and 3e-16).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import cloudpickle
import lightgbm
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from sqlml.convert.isolated.lightgbm import trees
from sqlml.convert.isolated.lightgbm.links import LINKS
from sqlml.convert.isolated.lightgbm.original import Booster
from tests.convert import sklearn_parity
from tests.convert.lightgbm_models import (
    NO_LINK,
    NUMBERS,
    QUIET,
    RANKS,
    ROWS,
    SCORE,
    SMALL,
    TABLE,
    THREE,
    TRAINED,
    YES_NO,
    trained,
)
from tests.convert.lightgbm_parity import Report, compare

LINK_ULPS, LINK_DISTANCE = 8.0, 2.0**-50


def exact(report: Report) -> None:
    assert (report.labels, report.ulps) == (0, 0.0)


def near(report: Report) -> None:
    assert report.labels == 0
    assert report.ulps <= LINK_ULPS or report.distance <= LINK_DISTANCE


# A Booster -----------------------------------------------------------------------------------------------------------

BOOSTING = {
    "gbdt": {},
    "goss": {"data_sample_strategy": "goss"},
    "dart": {"boosting": "dart", "drop_rate": 0.5, "skip_drop": 0.0},
    "rf": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
}


@pytest.mark.parametrize("boosting", BOOSTING)
@pytest.mark.parametrize("objective", LINKS)
def test_every_objective_gives_lightgbms_own_answers(objective, boosting):
    report = compare(trained(objective, **BOOSTING[boosting]), TABLE)

    (exact if objective in NO_LINK else near)(report)
    assert report.converted.targets == (4 if objective.startswith("multiclass") else 1)


@pytest.mark.parametrize("objective", ["regression", "regression_l1", "huber", "fair", "quantile", "mape"])
def test_reg_sqrt_is_squared_where_lightgbm_squares_it(objective):
    exact(compare(trained(objective, reg_sqrt=True), TABLE))


@pytest.mark.parametrize("objective", ["binary", "multiclassova"])
def test_the_slope_of_the_sigmoid_is_the_texts(objective):
    near(compare(trained(objective, sigmoid=2.123456789), TABLE))


@pytest.mark.parametrize(
    "settings",
    [
        {"zero_as_missing": True},
        {"use_missing": False},
        {"zero_as_missing": True, "use_missing": False},
        {"linear_tree": True},
        {"linear_tree": True, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
        {"linear_tree": True, "boosting": "dart", "use_missing": False},
        {"max_cat_to_onehot": 64},
        {"max_cat_threshold": 2},
        {"monotone_constraints": [1, -1, 0, 0, 0, 0]},
        {"extra_trees": True, "max_bin": 7},
        {"num_leaves": 2},
        {"num_leaves": 60, "min_data_in_leaf": 1},
        {"boost_from_average": False},
        {"min_data_in_leaf": 1000},  # no split at all
    ],
    ids=str,
)
def test_every_way_to_split_gives_lightgbms_own_answers(settings):
    exact(compare(trained("regression", **settings), TABLE, count=600))


@pytest.mark.parametrize("objective", ["binary", "multiclass", "poisson"])
def test_linear_trees_have_links_too(objective):
    near(compare(trained(objective, linear_tree=True), TABLE))


@pytest.mark.parametrize(
    "settings", [{}, {"max_cat_to_onehot": 64}, {"linear_tree": True}, {"use_missing": False}], ids=str
)
def test_sets_of_many_categories_are_trees_of_their_own(settings, monkeypatch):
    monkeypatch.setattr(trees, "LARGEST_MATRIX", 0)

    exact(compare(trained("regression", **settings), TABLE, count=600))


def test_what_lightgbm_takes_for_zero_is_zero_in_a_linear_leaf_too():
    # LightGBM finds trees by their size where the text has it; the edited ones are of another.
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", trained("regression", linear_tree=True).text)
    steeper = re.compile(r"(?<= |=)[^ =]+")
    edited = re.sub(
        r"(?m)^leaf_coeff=.*", lambda line: steeper.sub(lambda number: repr(float(number[0]) * 1e35), line[0]), text
    )
    steep = Booster(edited)

    assert max(abs(c) for tree in steep.model.trees for leaf in tree.linear for c in leaf.coefficients) > 1e33
    exact(compare(steep, TABLE, count=600))


@pytest.mark.parametrize("seed", range(40))
def test_models_made_at_random(seed):
    rng = np.random.default_rng(seed)
    frame = NUMBERS.sample(ROWS, replace=True, random_state=seed).reset_index(drop=True)
    frame = frame.astype({name: np.float32 for name in frame if rng.random() < 0.2})
    settings = {
        "num_leaves": int(rng.choice([2, 5, 20])),
        "learning_rate": float(rng.choice([0.1, 0.7])),
        "zero_as_missing": bool(rng.random() < 0.4),
        "use_missing": bool(rng.random() < 0.7),
        "max_bin": int(rng.choice([7, 255])),
        "max_cat_to_onehot": int(rng.choice([1, 4, 64])),
        **QUIET,
    }
    settings["linear_tree"] = not settings["zero_as_missing"] and bool(rng.random() < 0.4)
    data = lightgbm.Dataset(frame, rng.permutation(SCORE), categorical_feature=["shop"] if rng.random() < 0.7 else [])

    exact(
        compare(Booster(lightgbm.train(settings, data, int(rng.integers(1, 12))).model_to_string()), frame, seed=seed)
    )


def test_a_custom_objective_answers_raw_scores():
    settings = {**QUIET, "objective": lambda said, data: (said - data.get_label(), np.ones_like(said))}

    exact(compare(Booster(lightgbm.train(settings, lightgbm.Dataset(NUMBERS, SCORE), 5).model_to_string()), NUMBERS))


def test_training_that_was_continued_and_refitted():
    first = lightgbm.train(QUIET, lightgbm.Dataset(NUMBERS, SCORE), 3)
    second = lightgbm.train(QUIET, lightgbm.Dataset(NUMBERS, SCORE[::-1]), 3, init_model=first)

    for booster in (second, second.refit(NUMBERS, -SCORE)):
        exact(compare(Booster(booster.model_to_string()), NUMBERS))


def test_a_booster_without_trees_says_what_its_objective_makes_of_nothing():
    text = re.sub(r"(?s)^Tree=0\n.*?\n\n\n", "", trained("binary", min_data_in_leaf=1000).text, count=1, flags=re.M)
    booster = Booster(re.sub(r"tree_sizes=.*", "tree_sizes=", text))

    assert booster.model.trees == ()
    near(compare(booster, TABLE))


# scikit-learn estimators ----------------------------------------------------------------------------------------------


def stopped_early(estimator: Any, target: Any) -> Any:
    wrong = np.random.default_rng(3).permutation(target[:80])
    stop = lightgbm.early_stopping(3, verbose=False)
    estimator.fit(NUMBERS, target, eval_X=NUMBERS[:80], eval_y=wrong, callbacks=[stop])
    assert 0 < estimator.best_iteration_ < estimator.n_estimators
    return estimator


LONG = {**SMALL, "n_estimators": 60, "learning_rate": 0.8}
ESTIMATORS: dict[str, Callable[[], tuple[Any, pd.DataFrame]]] = {
    "two classes of text": lambda: (LGBMClassifier(**SMALL).fit(TRAINED, YES_NO), TABLE),
    "three classes of text": lambda: (LGBMClassifier(**SMALL).fit(TRAINED, THREE), TABLE),
    "one against all": lambda: (LGBMClassifier(objective="multiclassova", **SMALL).fit(TRAINED, THREE), TABLE),
    "two classes of numbers": lambda: (LGBMClassifier(**SMALL).fit(NUMBERS, np.where(SCORE > 4, 7, 2)), NUMBERS),
    "two classes of booleans": lambda: (LGBMClassifier(**SMALL).fit(NUMBERS, SCORE > 4), NUMBERS),
    "softmax of two": lambda: (LGBMClassifier(objective="multiclass", num_class=2, **SMALL).fit(NUMBERS, YES_NO), NUMBERS),
    "class weights and dart": lambda: (
        LGBMClassifier(boosting_type="dart", class_weight="balanced", **SMALL).fit(NUMBERS, YES_NO),
        NUMBERS,
    ),
    "one class": lambda: (LGBMClassifier(**SMALL).fit(NUMBERS, np.array(["only"] * ROWS)), NUMBERS),
    "early stopping, classes": lambda: (stopped_early(LGBMClassifier(**LONG), RANKS), NUMBERS),
    "searched": lambda: (GridSearchCV(LGBMClassifier(**SMALL), {"num_leaves": [3, 5]}, cv=2).fit(TRAINED, YES_NO), TABLE),
    "early stopping": lambda: (stopped_early(LGBMRegressor(**LONG), SCORE), NUMBERS),
    "early stopping of a forest": lambda: (
        stopped_early(LGBMRegressor(boosting_type="rf", subsample=0.5, subsample_freq=1, **LONG), SCORE),
        NUMBERS,
    ),
    "trained on an array": lambda: (LGBMRegressor(**SMALL).fit(NUMBERS.to_numpy(), SCORE), NUMBERS),
    "one target value": lambda: (LGBMRegressor(**SMALL).fit(NUMBERS, np.full(ROWS, 3.3)), NUMBERS),
    "ranker": lambda: (LGBMRanker(**SMALL).fit(NUMBERS, RANKS, group=[24] * 10), NUMBERS),
    "categories of numbers": lambda: (
        LGBMRegressor(**SMALL).fit(NUMBERS.assign(visits=(TABLE.visits * 10).astype("category")), SCORE),
        NUMBERS.assign(visits=TABLE.visits * 10),
    ),
    "categories of fractions": lambda: (
        LGBMRegressor(**SMALL).fit(NUMBERS.assign(tiny=TABLE.tiny.astype("category")), SCORE),
        NUMBERS,
    ),
    "categories in an order": lambda: (
        LGBMRegressor(**SMALL).fit(
            TABLE.assign(plan=pd.Categorical(TABLE.plan, ["naïve", "", "it's pro", "basic"], ordered=True)), SCORE
        ),
        TABLE,
    ),
    "booleans": lambda: (
        LGBMRegressor(**SMALL).fit(NUMBERS.assign(vip=SCORE > 5), SCORE),
        NUMBERS.assign(vip=SCORE > 5),
    ),
    "an objective of one's own": lambda: (
        LGBMClassifier(objective=lambda y, said: (said - y, np.ones_like(said)), **SMALL).fit(NUMBERS, YES_NO),
        NUMBERS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_give_their_own_answers(name):
    estimator, frame = ESTIMATORS[name]()
    estimator = pickle.loads(cloudpickle.dumps(estimator))  # as the isolated process gets it

    report = compare(estimator, frame)

    near(report)
    if hasattr(estimator, "classes_") and name != "an objective of one's own":
        assert report.converted.classes == tuple(estimator.classes_.tolist())
        assert report.converted.probabilities == (name != "one class")
    else:
        exact(report)


def test_only_trees_up_to_the_best_iteration_answer():
    estimator = LGBMRegressor(**SMALL).fit(NUMBERS, SCORE)
    estimator.booster_.best_iteration = 2  # LightGBM 4 drops the trees behind it after early stopping, 3 keeps them

    exact(compare(estimator, NUMBERS))


def encoded(model: Any, encoder: Any, **options: Any) -> Pipeline:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    parts = [("numbers", numbers, ["age", "monthly fee", "visits"]), ("plan", encoder, ["plan"])]
    return make_pipeline(ColumnTransformer(parts, remainder="passthrough", **options), model)


CODES = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
PIPELINES: dict[str, tuple[Any, Any]] = {
    "one-hot": (encoded(LGBMClassifier(**SMALL), OneHotEncoder(handle_unknown="ignore", sparse_output=False)), THREE),
    "sparse": (
        encoded(LGBMClassifier(**SMALL), OneHotEncoder(handle_unknown="ignore"), sparse_threshold=1.0),
        YES_NO,
    ),
    "codes": (encoded(LGBMRegressor(**SMALL), OrdinalEncoder(**CODES)), SCORE),
    "integers": (
        make_pipeline(
            ColumnTransformer([("codes", OrdinalEncoder(dtype=np.int64), ["plan", "visits"])]), LGBMRegressor(**SMALL)
        ),
        SCORE,
    ),
    "frames": (
        encoded(LGBMRegressor(**SMALL), OneHotEncoder(handle_unknown="ignore", sparse_output=False)).set_output(
            transform="pandas"
        ),
        SCORE,
    ),
    "linear trees": (
        encoded(LGBMRegressor(linear_tree=True, **SMALL), OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
        SCORE,
    ),
    "a vote": (
        encoded(
            VotingClassifier(
                [("boosted", LGBMClassifier(**SMALL)), ("linear", make_pipeline(SimpleImputer(), LogisticRegression()))],
                voting="soft",
            ),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        ),
        YES_NO,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
def test_the_last_step_of_a_pipeline(name):
    pipeline, target = PIPELINES[name]
    settings = {"lgbmregressor__categorical_feature": [3]} if name == "codes" else {}

    fitted = pipeline.fit(TABLE, target, **settings)
    report, _ = sklearn_parity.check(fitted, TABLE, sums=name in ("a vote", "linear trees"))

    assert report.rows > 100
