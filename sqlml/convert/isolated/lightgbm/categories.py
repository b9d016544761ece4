"""pandas' categories: which columns LightGBM was given as categorical, and the codes it takes their values for.

The model keeps the categories, list by list, in the order of the columns that had them, but not which columns these were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.lightgbm.text import Model

# Any in this module: categories as pandas had them, and pandas itself.
Categories = tuple[Any, ...]
LARGEST_WHOLE = 2**53
MANY = 64


class Ambiguous(Exception):
    """Why the columns cannot be told, as a sentence."""


def assigned(model: Model, texts: Sequence[bool]) -> Mapping[int, Categories]:
    """Column -> its categories; `texts` says which columns are text, and each of those must have some.

    Raises:
        Ambiguous: no assignment fits, or several do.
    """
    lists = model.pandas_categorical
    for categories in lists:
        if not all(_is_text(c) for c in categories) and not all(_is_number(c) for c in categories):
            raise Ambiguous(
                f"it was trained on the categories {_shown(categories)}, neither text nor numbers that a double holds."
            )
    found = []
    for solution in _solutions(model, texts, 0, 0):
        found.append(solution)
        if len(found) > MANY:
            break
    if len(found) > 1:
        # In training all of pandas' categories occur as a rule; a column that just happens to fit has fewer.
        found = [s for s in found if all(texts[i] or _highest(model, i) == len(c) - 1 for i, c in s.items())]
    if len(found) != 1:
        counted = f"{len(lists)} columns of pandas categories" if len(lists) > 1 else "one column of pandas categories"
        raise Ambiguous(f"it was trained on {counted}, and which of its columns they are cannot be told.")
    return found[0]


def _solutions(model: Model, texts: Sequence[bool], column: int, used: int) -> Iterator[dict[int, Categories]]:
    """Every way to give the lists to columns in their order."""
    lists = model.pandas_categorical
    if used == len(lists):
        if not any(texts[column:]):
            yield {}
        return
    for i in range(column, len(texts)):
        if _fits(model, i, texts[i], lists[used]):
            for rest in _solutions(model, texts, i + 1, used + 1):
                yield {i: lists[used], **rest}
        if texts[i]:
            return


def _fits(model: Model, column: int, text: bool, categories: Categories) -> bool:
    if not categories or text != _is_text(categories[0]):
        return False
    highest = _highest(model, column)
    return highest is None or (highest == int(highest) and highest < len(categories))


def _highest(model: Model, column: int) -> float | None:
    """The largest code seen in training; None where none was worth a split."""
    info = model.infos[column]
    values = [float(v) for v in info.strip("[]").split(":")] if info != "none" else []
    return max(values) if values else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return abs(value) <= LARGEST_WHOLE
    return isinstance(value, float) and math.isfinite(value)


def _shown(categories: Categories) -> str:
    return ", ".join(map(repr, categories[:3])) + (" ..." if len(categories) > 3 else "")


def codes(graph: Graph, tensor: str, categories: Categories) -> str:
    """pandas' codes of a column [N, 1]: NaN for what is not a category, and for what is missing."""
    places = np.arange(len(categories), dtype=np.float64)
    if _is_text(categories[0]):
        return graph.op(
            "LabelEncoder",
            tensor,
            domain="ai.onnx.ml",
            keys_tensor=numpy_helper.from_array(np.array(categories, dtype=object)),
            values_tensor=numpy_helper.from_array(places),
            default_tensor=numpy_helper.from_array(np.array([math.nan])),
        )
    hits = graph.as_double(graph.op("Equal", tensor, graph.double([float(c) for c in categories])))
    known = graph.op("Greater", graph.reduce("Max", hits), graph.double([0.5]))
    return graph.op("Where", known, graph.matmul(hits, places.reshape(-1, 1)), graph.double([math.nan]))


def as_categorical(frame: Any, columns: Mapping[int, Categories]) -> Any:
    """The frame as the original was trained on it: these columns categorical."""
    import pandas as pd

    made = frame.copy(deep=False)
    for position, categories in columns.items():
        places = {category: code for code, category in enumerate(categories)}
        name = frame.columns[position]
        taken = [places.get(value, -1) for value in frame[name].tolist()]
        dtype = pd.CategoricalDtype(list(categories))
        made[name] = pd.Categorical.from_codes(taken, dtype=dtype)
    return made
