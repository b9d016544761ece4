"""Which categories a model's splits ask for: CatBoost keeps their hashes only, so they are looked for among candidates.

CatBoost hashes a category's text (an integer's digits) by CityHash64, of which it keeps 32 bits: its own export says the
hash of each category in a pool. What is found is that text; another one with the same hash is one in four billion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlml.convert.isolated.catboost.model import Model, exported

# Any in this module: CatBoost, which ships no types.
STAGES = (range(-100, 2_000), range(-10_000, 200_000))
"""Integers that are tried as categories, one range after the other while some are still unknown."""
OBVIOUS = ("True", "False", "true", "false", "Yes", "No", "yes", "no", "Y", "N", "M", "F", "nan", "NaN", "None", "")


def resolved(estimator: Any, model: Model, candidates: Iterable[str]) -> dict[int, str]:
    """Hash -> the category's text, for as many of the model's hashes as can be found."""
    wanted = {value for _, value in model.hashes}
    found: dict[int, str] = {}
    for texts in _stages(candidates):
        if wanted <= found.keys():
            break
        hashes = hashed(estimator, model, texts)
        found.update({value: text for value, text in hashes.items() if value in wanted and value not in found})
    return found


def _stages(candidates: Iterable[str]) -> Iterator[list[str]]:
    yield list(dict.fromkeys([*candidates, *OBVIOUS]))
    for numbers in STAGES:
        yield [str(number) for number in numbers]


def hashed(estimator: Any, model: Model, texts: list[str]) -> Mapping[int, str]:
    """What CatBoost itself says: hash -> text."""
    import catboost
    import pandas as pd

    columns = {name: texts if i in model.categorical else [0.0] * len(texts) for i, name in enumerate(model.names)}
    frame = pd.DataFrame(columns)
    for i in model.categorical:
        frame[model.names[i]] = pd.Series(texts, dtype=object)
    document = exported(estimator, catboost.Pool(frame, cat_features=list(model.categorical), thread_count=1))
    listed = document["features_info"].get("cat_features_hash") or ()
    return {int(entry["hash"]) & 0xFFFFFFFF: str(entry["value"]) for entry in listed}
