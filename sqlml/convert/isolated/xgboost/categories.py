"""pandas' categories as XGBoost 3.1 and later keep them beside the trees: a list per column, whose positions are the codes.

Read in XGBoost 3.2: src/data/cat_container.cc, src/encoder/ordinal.h, python-package/xgboost/_data_utils.py (pd_cat_inf).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.pairs import zipped

# Any in this module: JSON.
# XGBoost's numbers for the types of typed arrays; it reads and writes no other integers.
DTYPES = {9: "int8", 10: "uint8", 11: "int16", 13: "int32", 15: "int64"}


@dataclass(frozen=True)
class Categories:
    """The categories of one column in the order of their codes; `dtype` is what pandas' index of them must have."""

    values: tuple[str | int, ...]
    dtype: str
    whole: bool = True
    """False where the file does not say them all."""


def recorded(cats: Mapping[str, Any]) -> dict[int, Categories]:
    """Feature -> its categories, from the entry "cats" of a model."""
    listed = list(cats.get("enc") or ())
    found = {i: _column(entry) for i, entry in enumerate(listed)}
    return {i: categories for i, categories in found.items() if categories.values or not categories.whole}


def _column(entry: Mapping[str, Any]) -> Categories:
    if "type" in entry:
        dtype = DTYPES.get(int(entry["type"]))
        if dtype is None:
            return Categories((), "object", whole=False)
        return Categories(tuple(int(v) for v in entry["values"]), dtype)
    content = np.asarray(entry["values"], dtype=np.int64).astype(np.uint8).tobytes()
    ends = [int(v) for v in entry["offsets"]]
    if not ends:
        return Categories((), "object")
    if not content.isascii():
        # XGBoost 3.2 counts letters where it cuts bytes, so that the end of the last one is lost.
        return Categories((), "object", whole=False)
    if ends[0] != 0 or ends != sorted(ends) or ends[-1] != len(content):
        raise ValueError("categories that are not cut where they end")
    texts = [content[start:end].decode() for start, end in zipped(ends[:-1], ends[1:])]
    if len(set(texts)) != len(texts):
        raise ValueError("a category that is there twice")
    return Categories(tuple(texts), "object")


def as_categorical(frame: Any, columns: Mapping[int, Categories]) -> Any:
    """The frame as the original was trained on it: these columns categorical, any other value missing."""
    import pandas as pd

    made = frame.copy(deep=False)
    for position, categories in columns.items():
        places = {category: code for code, category in enumerate(categories.values)}
        name = frame.columns[position]
        taken = [places.get(value, -1) for value in frame[name].tolist()]
        index = pd.Index(list(categories.values), dtype=categories.dtype)
        made[name] = pd.Categorical.from_codes(taken, dtype=pd.CategoricalDtype(index))
    return made


def unfit(columns: Mapping[int, Categories], texts: Sequence[bool]) -> int | None:
    """The first column whose categories are text where it is a number, or the other way round."""
    for position, categories in columns.items():
        if any(isinstance(c, str) for c in categories.values) != texts[position]:
            return position
    return None
