"""A made table and models of LightGBM's trained on it."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from sqlml.convert.isolated.lightgbm.original import Booster

ROWS = 240
QUIET = {"verbose": -1, "num_threads": 1, "seed": 1, "min_data_in_leaf": 3, "min_data_per_group": 1, "cat_smooth": 1}
SMALL: dict[str, Any] = {"n_estimators": 8, "num_leaves": 6, "min_child_samples": 3, "verbose": -1, "n_jobs": 1}


def table() -> pd.DataFrame:
    """Numbers with and without gaps and zeros, some of them too small for LightGBM to tell from zero, and categories."""
    rng = np.random.default_rng(11)
    made = pd.DataFrame(
        {
            "age": rng.normal(40, 10, ROWS),
            "monthly fee": np.where(rng.random(ROWS) < 0.4, 0.0, rng.normal(0, 5, ROWS)),
            "tiny": rng.choice([0.0, 1e-36, -1e-36, 2e-35, -2e-35, 1e-30, -1.0, 1.0], ROWS),
            "shop": rng.integers(0, 40, ROWS).astype(float),
            "visits": rng.integers(-3, 9, ROWS),
            "plan": rng.choice(["basic", "it's pro", "naïve", ""], ROWS),
        }
    )
    made.loc[rng.random(ROWS) < 0.15, "age"] = np.nan
    made.loc[rng.random(ROWS) < 0.1, "shop"] = np.nan
    return made


TABLE = table()
TRAINED = TABLE.assign(plan=TABLE.plan.astype("category"))
NUMBERS = TABLE.drop(columns="plan")
SCORE = (
    np.nan_to_num(TABLE.age, nan=30) / 10
    + TABLE["monthly fee"] / 4
    + (TABLE.shop % 3 == 1)
    + 1.5 * TABLE.tiny
    + (TABLE.plan == "naïve")
    + np.random.default_rng(2).normal(0, 0.3, ROWS)
).to_numpy()
YES_NO = np.where(np.median(SCORE) < SCORE, "it's yes", "no")
THREE = np.array(["low", "middle", "high"])[pd.qcut(SCORE, 3, labels=False)]
RANKS = pd.qcut(SCORE, 4, labels=False)

TARGETS: dict[str, Any] = {
    "binary": (np.median(SCORE) < SCORE).astype(float),
    "multiclass": RANKS,
    "multiclassova": RANKS,
    "cross_entropy": 1 / (1 + np.exp(-SCORE)),
    "cross_entropy_lambda": 1 / (1 + np.exp(-SCORE)),
    "lambdarank": RANKS,
    "rank_xendcg": RANKS,
}
POSITIVE = ("poisson", "gamma", "tweedie")
NO_LINK = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")


def trained(objective: str, **settings: Any) -> Booster:
    target = TARGETS.get(objective, np.abs(SCORE) + 0.01 if objective in POSITIVE else SCORE)
    settings = {"objective": objective, "num_leaves": 7, **QUIET, **settings}
    if objective.startswith("multiclass"):
        settings["num_class"] = 4
    group = [24] * 10 if objective in ("lambdarank", "rank_xendcg") else None
    data = lightgbm.Dataset(TRAINED, target, group=group, categorical_feature=["shop", "plan"])
    return Booster(lightgbm.train(settings, data, 6).model_to_string())
