"""XGBoost's models against XGBoost: every objective and booster, on rows made from their own splits.

What needs no function of the margins is equal to the last bit of a float32. Where expf stands between, XGBoost's is the C
library's and ours a double's, rounded: one unit in the last place in a row of a few hundred; four after a softmax of scipy's,
which is predict_proba's for multi:softmax.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRanker, XGBRegressor, XGBRFClassifier, XGBRFRegressor

from sqlml.convert.isolated.xgboost import ubjson
from sqlml.convert.isolated.xgboost.links import LINKS, exponential, sigmoid, softmax
from sqlml.convert.isolated.xgboost.original import Booster
from tests.convert.float_parity import Report, compare
from tests.convert.xgboost_models import (
    NUMBERS,
    RANKS,
    ROWS,
    SCORE,
    SMALL,
    TABLE,
    TWO,
    booster,
    check,
    document_of,
    file_of,
    reloaded,
    trained,
)

ULPS = 4.0
OBJECTIVES = [name for name in LINKS if name not in ("reg:linear", "reg:expectileerror")]
SETTINGS = {"reg:quantileerror": {"quantile_alpha": [0.1, 0.5, 0.9]}}


def near(report: Report) -> None:
    assert (report.labels, report.disagreements) == (0, 0)
    assert report.ulps <= ULPS


def exact(report: Report) -> None:
    assert report.exact, report


# A Booster -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gbtree", "dart", "gblinear"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_gives_xgboosts_own_answers(objective, kind):
    settings = {"booster": kind, **({"rate_drop": 0.4} if kind == "dart" else {})}
    settings |= SETTINGS.get(objective, {}) if kind != "gblinear" else {}
    frame = NUMBERS if kind == "gblinear" else TABLE
    report = check(trained(objective, frame, **{"quantile_alpha": 0.5, **settings}), frame)

    (near if LINKS[objective][0] in (exponential, sigmoid, softmax) else exact)(report)
    assert report.refused > 0  # a DMatrix takes no infinity


@pytest.mark.parametrize(
    "settings",
    [
        {"max_cat_to_onehot": 1},
        {"max_cat_to_onehot": 100},
        {"max_cat_threshold": 2},
        {"tree_method": "approx"},
        {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
        {"monotone_constraints": (1, -1, 0, 0, 0), "gamma": 2},
        {"num_parallel_tree": 3, "subsample": 0.6},
        {"base_score": 1e6},
        {"base_score": 0.0},
        {"max_depth": 10, "min_child_weight": 0},
        {"gamma": 1e9},  # no split at all
        {"booster": "dart", "rate_drop": 0.5, "normalize_type": "forest", "base_score": 12.3},
        {"updater": "grow_colmaker,prune", "gamma": 1},  # what is pruned stays in the file
    ],
    ids=str,
)
def test_every_way_to_grow_gives_xgboosts_own_answers(settings):
    numbers = "updater" in settings
    frame = NUMBERS if numbers else TABLE
    exact(check(trained("reg:squarederror", frame, 20, **settings), frame, count=500))


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "multi:softprob", "count:poisson"])
@pytest.mark.parametrize("kind", ["gbtree", "gblinear"])
def test_sql_gives_the_same_bits(objective, kind):
    frame = NUMBERS if kind == "gblinear" else TABLE
    model = trained(objective, frame, 5, booster=kind)
    report = check(model, frame, in_sql=True, count=200)

    assert (report.labels, report.disagreements) == (0, 0)
    assert report.ulps <= 1.0


def test_thousands_of_additions_round_as_float32_does():
    # In double the sum would differ by hundreds of units: it begins at a million, and each tree adds about a tenth.
    report = check(trained("reg:squarederror", NUMBERS, 300, base_score=1e6, eta=0.01), NUMBERS)

    exact(report)


@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softprob"])
def test_a_file_of_json_says_what_one_of_ubjson_says(objective):
    made = booster(objective)

    assert comparable(ubjson.loads(file_of(made))) == comparable(document_of(made))
    exact_or_near = near if objective.startswith("multi") else exact
    exact_or_near(check(Booster(file_of(made, "json"))))


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) or (
        isinstance(value, list) and not any(isinstance(v, (dict, str)) for v in value)
    ):
        return [float(np.float32(v)) for v in value]
    return [comparable(v) for v in value] if isinstance(value, list) else value


def test_a_file_as_older_versions_wrote_it():
    made = booster("reg:squarederror", NUMBERS, 6, num_parallel_tree=2, subsample=0.5)
    document = document_of(made)
    document["version"] = [1, 7, 6]
    about = document["learner"]["learner_model_param"]
    about["base_score"] = about["base_score"].strip("[]")
    del about["boost_from_average"]
    trees = document["learner"]["gradient_booster"]["model"]
    del trees["cats"], trees["iteration_indptr"]
    for tree in trees["trees"]:
        tree["default_left"] = [bool(v) for v in tree["default_left"]]

    exact(check(Booster(json.dumps(document).encode()), NUMBERS))


def test_categories_given_as_codes_need_no_list_of_them():
    rng = np.random.default_rng(3)
    frame = NUMBERS.assign(code=rng.integers(0, 9, ROWS).astype(float))
    data = xgboost.DMatrix(
        frame.to_numpy(),
        SCORE + (frame.code % 3),
        feature_names=list(frame),
        feature_types=["float", "float", "int", "c"],
    )
    made = xgboost.train({"nthread": 1, "max_depth": 4}, data, 8)
    model = Booster(file_of(made))

    assert sorted(model.model.categorical) == [3]
    pools = {"code": [-1.0, -0.5, 0.5, 2.7, 8.0, 9.0, 31.0, 16777215.0, 16777216.0, 1e9, float("nan")]}
    exact(compare(model, frame, pools, single=True, count=500))


# Estimators ----------------------------------------------------------------------------------------------------------

ESTIMATORS: dict[str, Any] = {
    "regressor": lambda: XGBRegressor(**SMALL).fit(TABLE, SCORE),
    "two classes": lambda: XGBClassifier(**SMALL).fit(TABLE, TWO),
    "four classes": lambda: XGBClassifier(**SMALL).fit(TABLE, RANKS),
    "softmax": lambda: XGBClassifier(objective="multi:softmax", **SMALL).fit(TABLE, RANKS),
    "hinge": lambda: XGBClassifier(objective="binary:hinge", **SMALL).fit(TABLE, TWO),
    "raw scores as probabilities": lambda: XGBClassifier(objective="binary:logitraw", **SMALL).fit(TABLE, TWO),
    "forest": lambda: XGBRFRegressor(**SMALL).fit(TABLE, SCORE),
    "forest of four classes": lambda: XGBRFClassifier(**SMALL).fit(TABLE, RANKS),
    "ranker": lambda: XGBRanker(**SMALL).fit(TABLE, RANKS, group=[24] * 10),
    "several targets": lambda: XGBRegressor(**SMALL).fit(TABLE, np.c_[SCORE, -SCORE, SCORE**2]),
    "several labels": lambda: XGBClassifier(**SMALL).fit(TABLE, np.c_[TWO, RANKS % 2]),
    "several quantiles": lambda: XGBRegressor(
        objective="reg:quantileerror", quantile_alpha=[0.2, 0.8], **SMALL
    ).fit(TABLE, SCORE),
    "dart in place": lambda: XGBRegressor(booster="dart", rate_drop=0.4, base_score=3.3, **SMALL).fit(TABLE, SCORE),
    "a missing number": lambda: XGBRegressor(missing=7, **SMALL).fit(TABLE, SCORE),
    "zero missing, code 0 too": lambda: XGBRegressor(missing=0, **SMALL).fit(TABLE, SCORE),
    "infinity missing": lambda: XGBRegressor(missing=np.inf, **SMALL).fit(TABLE, SCORE),
}  # fmt: skip
NUMERIC: dict[str, Any] = {
    "trees of all targets": lambda: XGBRegressor(multi_strategy="multi_output_tree", **SMALL).fit(
        NUMBERS, np.c_[SCORE, -SCORE]
    ),
    "trees of all classes": lambda: XGBClassifier(multi_strategy="multi_output_tree", **SMALL).fit(NUMBERS, RANKS),
    "linear": lambda: XGBRegressor(booster="gblinear", n_estimators=9, n_jobs=1).fit(NUMBERS, SCORE),
    "linear, four classes": lambda: XGBClassifier(booster="gblinear", n_estimators=9, n_jobs=1).fit(NUMBERS, RANKS),
    "linear, a base score for each target": lambda: XGBRegressor(booster="gblinear", n_jobs=1).fit(
        NUMBERS, np.c_[SCORE, -10 * SCORE, SCORE**2]
    ),
    "linear, a missing number": lambda: XGBRegressor(booster="gblinear", missing=0, n_jobs=1).fit(NUMBERS, SCORE),
    "linear, infinity missing": lambda: XGBRegressor(booster="gblinear", missing=np.inf, n_jobs=1).fit(NUMBERS, SCORE),
}


@pytest.mark.parametrize("name", [*ESTIMATORS, *NUMERIC])
def test_estimators_answer_as_theirs_do(name, tmp_path):
    made = (ESTIMATORS | NUMERIC)[name]()
    frame = TABLE if name in ESTIMATORS else NUMBERS
    near(check(reloaded(made), frame))

    made.save_model(tmp_path / "model.json")
    again = type(made)(n_jobs=1)
    again.load_model(tmp_path / "model.json")
    near(check(again, frame))


def test_early_stopping_ends_at_the_best_iteration():
    settings = {**SMALL, "n_estimators": 60, "learning_rate": 1.0, "early_stopping_rounds": 3, "num_parallel_tree": 2}
    model = XGBClassifier(subsample=0.7, **settings).fit(
        TABLE[:160], RANKS[:160], eval_set=[(TABLE[160:], RANKS[160:])], verbose=False
    )

    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    near(check(reloaded(model)))


def test_a_booster_of_a_stopped_training_uses_all_its_trees():
    data = xgboost.DMatrix(NUMBERS, SCORE, nthread=1)
    made = xgboost.train(
        {"nthread": 1, "eta": 1}, data, 30, evals=[(xgboost.DMatrix(NUMBERS, SCORE[::-1]), "other")],
        early_stopping_rounds=2, verbose_eval=False,
    )  # fmt: skip

    exact(check(Booster(file_of(made)), NUMBERS))


@pytest.mark.parametrize("seed", range(24))
def test_models_made_at_random(seed):
    rng = np.random.default_rng(seed)
    frame = TABLE.sample(ROWS, replace=True, random_state=seed).reset_index(drop=True)
    frame = frame.astype({name: np.float32 for name in ("age", "monthly fee") if rng.random() < 0.2})
    frame = frame[[name for name in frame if rng.random() < 0.8] or ["age"]]
    kind = str(rng.choice(["gbtree", "gbtree", "dart"]))
    settings: dict[str, Any] = {
        "booster": kind,
        "max_depth": int(rng.choice([1, 3, 7])),
        "n_estimators": int(rng.integers(1, 20)),
        "learning_rate": float(rng.choice([0.05, 0.3, 1.0])),
        "max_bin": int(rng.choice([4, 256])),
        "max_cat_to_onehot": int(rng.choice([1, 4, 64])),
        "num_parallel_tree": int(rng.choice([1, 1, 3])),
        "missing": float(rng.choice([np.nan, np.nan, 3.0])),
        "subsample": 0.8,
        "random_state": seed,
        "n_jobs": 1,
        "enable_categorical": True,
    }
    if kind == "dart":
        settings["rate_drop"] = float(rng.choice([0.1, 0.5]))
    target = rng.permutation(SCORE)
    which = int(rng.integers(3))
    if which == 0:
        made = XGBRegressor(**settings).fit(frame, target * 10.0 ** rng.integers(-3, 6))
    else:
        made = XGBClassifier(**settings).fit(frame, TWO if which == 1 else RANKS)

    (exact if which == 0 else near)(check(reloaded(made), frame, seed=seed, in_sql=seed % 12 == 3, count=200))


# Inside scikit-learn -------------------------------------------------------------------------------------------------

TEXTS = NUMBERS.assign(plan=TABLE.plan.astype(object).fillna("none"), city=np.where(TABLE.shop == 7, "A", "it's"))
PIPELINES: dict[str, Any] = {
    # Of a sparse row what is not stored is missing, not 0.
    "one-hot columns, sparse": lambda: make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["plan", "city"]), ("passthrough", ["age"]), sparse_threshold=1
        ),
        XGBRegressor(n_estimators=8, max_depth=3, n_jobs=1),
    ),
    "one-hot columns, dense": lambda: make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["plan", "city"]),
            (StandardScaler(), ["age", "visits"]),
            remainder=SimpleImputer(),
        ),
        XGBRegressor(n_estimators=8, max_depth=3, n_jobs=1),
    ),
    "codes of categories": lambda: make_pipeline(
        make_column_transformer(
            (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["plan", "city"]),
            remainder="passthrough",
        ),
        XGBRegressor(feature_types=["c", "c", "q", "q", "q"], **SMALL),
    ),
    "linear": lambda: make_pipeline(
        make_column_transformer((SimpleImputer(), ["age", "monthly fee"])),
        XGBRegressor(booster="gblinear", n_estimators=8, n_jobs=1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
def test_the_last_step_of_a_pipeline(name):
    exact(check(reloaded(PIPELINES[name]().fit(TEXTS, SCORE)), TEXTS))


def test_a_search_is_unwrapped():
    model = GridSearchCV(XGBRegressor(n_estimators=4, n_jobs=1), {"max_depth": [1, 3]}, cv=2).fit(NUMBERS, SCORE)

    exact(check(reloaded(model), NUMBERS))


def test_columns_are_those_of_training_in_its_order():
    shuffled = TABLE[list(TABLE)[::-1]]

    exact(check(trained("reg:squarederror"), shuffled))


def test_names_of_an_array_are_the_signatures():
    made = XGBRegressor(n_estimators=4, n_jobs=1).fit(NUMBERS.to_numpy(), SCORE)

    exact(check(reloaded(made), pd.DataFrame(NUMBERS.to_numpy(), columns=["a", "b", "c"])))
