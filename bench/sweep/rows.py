"""Hostile rows for any fitted model, found without converting it: split thresholds, extremes, gaps, unknown text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sqlml.signature import Column

# Any in this module: scikit-learn and pandas ship no types.
HOSTILE = (
    math.nan, math.inf, -math.inf, -0.0, 0.0, 1.0, -1.0, 0.5, 1e308, -1e308, 5e-324, -1e-310, 1e15, -1e15, 3.5e38, -3.5e38,
    float(np.finfo(np.float32).max), float.fromhex("0x1.ffffffp+127"), float(np.nextafter(float.fromhex("0x1.ffffffp+127"), 0)),
    2.0**24 + 1, 2.0**53, 2.0**53 + 2, -(2.0**53), 1e-7, 1e20,
)  # fmt: skip
INTEGERS = (None, 0, 1, -1, 7, 2**24 + 1, 2**53, 2**53 + 1, -(2**53), 2**62)
WHOLE = {"BOOLEAN": "bool", "BIGINT": "int64", "INTEGER": "int32"}
TEXTS = (None, "", "unseen", "A", "a", " ", "it's", "naïve", "nan", "None", "0")

Row = dict[str, Any]


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """The signature that MLflow would infer from a frame."""
    kinds = {"float64": "DOUBLE", "float32": "FLOAT", "int64": "BIGINT", "int32": "INTEGER", "bool": "BOOLEAN"}
    return [Column(str(name), kinds.get(str(dtype), "VARCHAR")) for name, dtype in frame.dtypes.items()]


def as_frame(rows: Sequence[Row], columns: Sequence[Column], missing_as: Any) -> pd.DataFrame:
    """The rows as the original is given them."""
    series = {}
    for c in columns:
        values = [row[c.name] for row in rows]
        if c.type == "VARCHAR":
            gap = None if missing_as.get(c.name) == "none" else math.nan
            values = [gap if v is None else v for v in values]
            series[c.name] = pd.Series(values, dtype=object)
            continue
        whole = all(isinstance(v, (bool, int, np.integer)) for v in values)
        if c.type in WHOLE and whole:
            series[c.name] = pd.Series(values, dtype=WHOLE[c.type])
        else:
            # A missing integer or boolean makes the column float64, as it does in the isolated worker.
            numbers = np.array([math.nan if v is None else float(v) for v in values])
            with np.errstate(over="ignore"):
                series[c.name] = pd.Series(numbers.astype("float32" if c.type == "FLOAT" else "float64"))
    return pd.DataFrame(series)


def thresholds(estimator: Any, depth: int = 0) -> Iterator[float]:
    """Every split threshold met inside a model."""
    if depth > 12:
        return
    if hasattr(estimator, "tree_"):
        yield from (float(t) for t in estimator.tree_.threshold[estimator.tree_.children_left >= 0])
        return
    if hasattr(estimator, "nodes"):
        yield from (float(n["num_threshold"]) for n in estimator.nodes if not n["is_leaf"])
        return
    inside = []
    for value in vars(estimator).values() if hasattr(estimator, "__dict__") else ():
        inside.extend(flat(value))
    for one in inside:
        if hasattr(one, "__dict__"):
            yield from thresholds(one, depth + 1)


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from flat(v)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from value.ravel().tolist()
    elif type(value).__module__.startswith("sklearn."):
        yield value


def hostile_rows(estimator: Any, base: Sequence[Row], columns: Sequence[Column], rng: np.random.Generator) -> list[Row]:
    rows = [dict(r) for r in base]
    found = sorted(set(thresholds(estimator)))
    if len(found) > 16:
        found = [found[i] for i in sorted(rng.choice(len(found), 16, replace=False))]
    near = [float(w) for t in found for w in beside(t)]
    for c in columns:
        for value in values_for(c, near):
            rows.append({**base[int(rng.integers(len(base)))], c.name: value})
    for value in (None, math.inf, 1e308, -0.0):
        rows.append({c.name: fit(c, value) for c in columns})
    for _ in range(10):
        rows.append({c.name: pick(rng, values_for(c, near)) for c in columns})
    return rows


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def beside(t: float) -> list[float]:
    narrow = np.float32(t)
    return [
        t, float(np.nextafter(t, math.inf)), float(np.nextafter(t, -math.inf)), float(narrow),
        float(np.nextafter(narrow, np.float32(math.inf))), float(np.nextafter(narrow, np.float32(-math.inf))),
    ]  # fmt: skip


def values_for(column: Column, near: Sequence[float]) -> list[Any]:
    if column.type == "VARCHAR":
        return list(TEXTS)
    if column.type == "BOOLEAN":
        return [True, False, None]
    if column.type in ("BIGINT", "INTEGER"):
        return [v for v in INTEGERS if v is None or column.type == "BIGINT" or abs(v) < 2**31]
    return [*HOSTILE, *near]


def fit(column: Column, value: Any) -> Any:
    if value is None or column.type in ("DOUBLE", "FLOAT"):
        return value
    return {"VARCHAR": "unseen", "BOOLEAN": True}.get(column.type, 3)


def clean(row: Row) -> Row:
    return {k: None if v is None or (isinstance(v, float) and math.isnan(v)) else v for k, v in row.items()}
