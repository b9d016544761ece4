"""The estimators of LightGBM, XGBoost and CatBoost, as far as they are installed: alone, with text classes, in a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pandas as pd

from bench.sweep import data
from bench.sweep.cases import Case, prepared, quiet

# Any in this module: the libraries ship no types.
QUIET = {"lightgbm": {"verbose": -1}, "xgboost": {}, "catboost": {"verbose": False, "allow_writing_files": False}}
COUNT = {"lightgbm": "n_estimators", "xgboost": "n_estimators", "catboost": "iterations"}
ESTIMATORS = {
    "LGBMClassifier": "lightgbm",
    "LGBMRegressor": "lightgbm",
    "LGBMRanker": "lightgbm",
    "XGBClassifier": "xgboost",
    "XGBRegressor": "xgboost",
    "XGBRanker": "xgboost",
    "XGBRFClassifier": "xgboost",
    "XGBRFRegressor": "xgboost",
    "CatBoostClassifier": "catboost",
    "CatBoostRegressor": "catboost",
    "CatBoostRanker": "catboost",
}
WHOLE_CLASSES = ("XGBClassifier", "XGBRFClassifier")
"""Their classes are 0, 1 ...; text must be encoded before."""


def cases() -> Iterator[Case]:
    """In the order of the table above; nothing is fitted yet."""
    for name, library in ESTIMATORS.items():
        try:
            cls = getattr(import_module(library), name)
        except ImportError:
            continue
        yield Case(name, "alone", quiet(lambda n=name, c=cls: alone(n, c, text=False)), False)
        if name.endswith("Classifier") and name not in WHOLE_CLASSES:
            yield Case(name, "string classes", quiet(lambda n=name, c=cls: alone(n, c, text=True)), False)
        if not name.endswith("Ranker"):
            yield Case(name, "pipeline", quiet(lambda n=name, c=cls: pipeline(n, c)), False)


def made(name: str, cls: Any) -> Any:
    library = ESTIMATORS[name]
    few = {COUNT[library]: 8, "random_state": 0}
    return cls(**few, **QUIET[library])


def target(name: str, frame: pd.DataFrame, *, text: bool) -> Any:
    if name.endswith("Ranker"):
        return (data.classes(frame, text=False, count=3) // 10 - 1).astype(int)
    if not name.endswith("Classifier"):
        return data.signal(frame)
    labels = data.classes(frame, text=text, count=3)
    return labels // 10 - 1 if name in WHOLE_CLASSES else labels


def alone(name: str, cls: Any, *, text: bool) -> tuple[Any, pd.DataFrame]:
    frame = data.numbers()
    model, answers = made(name, cls), target(name, frame, text=text)
    if not name.endswith("Ranker"):
        return model.fit(frame, answers), frame
    groups = [data.ROWS // 4] * 4
    if ESTIMATORS[name] == "catboost":
        return model.fit(frame, answers, group_id=[i for i, size in enumerate(groups) for _ in range(size)]), frame
    return model.fit(frame, answers, group=groups), frame


def pipeline(name: str, cls: Any) -> tuple[Any, pd.DataFrame]:
    from sklearn.pipeline import make_pipeline

    frame = data.mixed()
    text = name.endswith("Classifier") and name not in WHOLE_CLASSES
    return make_pipeline(prepared(name), made(name, cls)).fit(frame, target(name, frame, text=text)), frame
