"""A made table, models of XGBoost's trained on it, and the values at which they decide."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from sqlml.convert.isolated.xgboost.original import Booster, model_of, own
from tests.convert.float_parity import Report, beside, compare

ROWS = 240
SMALL: dict[str, Any] = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1, "enable_categorical": True}
HOSTILE = (
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e308, 1e-45, 5e-324, 3.5e38, 2.0**24 + 1, 7.5, 1e9,
)  # fmt: skip


def table() -> pd.DataFrame:
    """Numbers with and without gaps, and categories of text and of integers."""
    rng = np.random.default_rng(21)
    made = pd.DataFrame(
        {
            "age": rng.normal(40, 10, ROWS),
            "monthly fee": np.where(rng.random(ROWS) < 0.25, np.nan, rng.normal(0, 5, ROWS)),
            "visits": rng.integers(-3, 9, ROWS),
            "plan": pd.Categorical(rng.choice(["basic", "it's pro", "", "Z9", "none", "x", "y"], ROWS)),
            "shop": pd.Categorical(rng.choice([11, 3, 7, 900, -2], ROWS)),
        }
    )
    made.loc[rng.random(ROWS) < 0.1, "plan"] = None
    return made


TABLE = table()
NUMBERS = TABLE[["age", "monthly fee", "visits"]]
SCORE = (
    TABLE.age / 10
    + TABLE["monthly fee"].fillna(1) / 4
    + TABLE.plan.isin(["basic", "x"]) * 1.5
    + (TABLE.shop == 7)
    + np.random.default_rng(2).normal(0, 0.3, ROWS)
).to_numpy()
RANKS = np.asarray(pd.qcut(SCORE, 4, labels=False))
TWO = RANKS // 2
TARGETS: dict[str, Any] = {
    "reg:logistic": 1 / (1 + np.exp(-SCORE)),
    "reg:squaredlogerror": np.abs(SCORE),
    "binary:logistic": TWO,
    "binary:logitraw": TWO,
    "binary:hinge": TWO,
    "count:poisson": np.round(np.abs(SCORE)),
    "reg:gamma": np.abs(SCORE) + 0.1,
    "reg:tweedie": np.abs(SCORE),
    "multi:softmax": RANKS,
    "multi:softprob": RANKS,
    "rank:ndcg": RANKS,
    "rank:pairwise": RANKS,
    "rank:map": TWO,
}


def trained(
    objective: str, frame: pd.DataFrame = TABLE, rounds: int = 8, kind: str = "ubj", **settings: Any
) -> Booster:
    return Booster(file_of(booster(objective, frame, rounds, **settings), kind))


def booster(objective: str, frame: pd.DataFrame = TABLE, rounds: int = 8, **settings: Any) -> Any:
    settings = {"objective": objective, "nthread": 1, "seed": 1, "verbosity": 0, **settings}
    if settings.get("booster") != "gblinear":
        settings.setdefault("max_depth", 3)
    if objective.startswith("multi:"):
        settings["num_class"] = 4
    target = TARGETS.get(objective, SCORE)
    data = xgboost.DMatrix(frame, None if objective == "survival:aft" else target, enable_categorical=True, nthread=1)
    if objective.startswith("rank:"):
        data.set_group([24] * 10)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", np.abs(SCORE) + 0.1)
        data.set_float_info("label_upper_bound", np.abs(SCORE) + 1)
    return xgboost.train(settings, data, rounds)


def file_of(trained_booster: Any, kind: str = "ubj") -> bytes:
    return bytes(trained_booster.save_raw(kind))


def document_of(trained_booster: Any) -> Any:
    return json.loads(file_of(trained_booster, "json"))


def reloaded(estimator: Any) -> Any:
    """As a registry gives it back: base_score has been written down and read again."""
    return pickle.loads(pickle.dumps(estimator))


def pools_of(estimator: Any, frame: pd.DataFrame) -> Mapping[str, list[Any]]:
    found = own(estimator)
    if found is None:
        return {name: [None, "", "unseen"] if _is_text(frame[name]) else list(HOSTILE) for name in frame}
    trees = model_of(found).trees
    pools: dict[str, list[Any]] = {}
    for i, name in enumerate(frame):
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            pools[name] = [None, "", "unseen", "Basic"] if _is_text(frame[name]) else [None, -1.0, 1e9, 2.5, 12.0]
        else:
            near = [float(t) for tree in trees for t in tree.threshold[(tree.feature == i) & (tree.left >= 0)]]
            pools[name] = [*HOSTILE, *beside(near[:: max(1, len(near) // 60)])]
    return pools


def _is_text(column: pd.Series) -> bool:
    kind = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    return kind.kind not in "iufb"


def check(estimator: Any, frame: pd.DataFrame = TABLE, **how: Any) -> Report:
    return compare(estimator, frame, pools_of(estimator, frame), single=True, **how)
