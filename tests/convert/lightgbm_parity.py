"""Comparing a converted LightGBM model with LightGBM, bit by bit, on rows made from its own splits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sqlml.convert.isolated.inputs import Input, Inputs
from sqlml.convert.isolated.lightgbm.original import asked, inputs_of, model_of, own
from sqlml.convert.isolated.lightgbm.text import Model
from sqlml.convert.isolated.sklearn.convert import Converted, convert_sklearn
from tests.convert.sklearn_parity import as_feed, session_of

ZERO = float(np.float32(1e-35))  # up to here LightGBM takes a number for zero
HOSTILE = (
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-36, -1e-36, 5e-324, 1e-35, -1e-35, ZERO, -ZERO,
    float(np.nextafter(ZERO, 1)), float(np.nextafter(-ZERO, -1)), float(np.nextafter(ZERO, 0)), 1e300, -1e308,
    # as categories: between two of them, before the first, unseen, and past what a C int holds
    1.5, -0.5, -0.999, -1.0, -3.0, 7.0, 31.0, 32.0, 1e4, 2.0**31 - 1, 2.0**31, 2.0**32 + 2, 2.0**53,
)  # fmt: skip
TYPES = {"float64": "DOUBLE", "float32": "FLOAT", "int64": "BIGINT", "bool": "BOOLEAN"}


@dataclass(frozen=True)
class Report:
    """Of all rows: labels that differ, the largest distance in units in the last place, and the largest in all."""

    converted: Converted
    rows: int
    labels: int
    ulps: float
    distance: float


def columns_of(frame: pd.DataFrame) -> tuple[Input, ...]:
    return tuple(Input(str(name), TYPES.get(str(dtype), "VARCHAR"), False) for name, dtype in frame.dtypes.items())


def compare(estimator: Any, frame: pd.DataFrame, *, seed: int = 0, count: int = 300) -> Report:
    """`frame` has text where the model was trained on pandas categories of text."""
    found = own(estimator)
    inputs = inputs_of(found, columns_of(frame), None)
    converted = convert_sklearn(estimator, inputs.columns)
    rows = hostile_rows(model_of(found), inputs.columns, frame, np.random.default_rng(seed), count)
    session = session_of(converted.onnx)
    given = session.run(None, as_feed(rows, inputs.columns))
    said = dict(zip([output.name for output in session.get_outputs()], given, strict=True))
    original = asked(estimator, Inputs(inputs.columns, "mlflow"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compared(converted, said, original, as_trained(rows, inputs.columns))


def as_trained(rows: Sequence[dict[str, Any]], columns: Sequence[Input]) -> pd.DataFrame:
    """All numbers as doubles (LightGBM makes them so, and here any column may hold NaN), or as the floats they were."""
    series = {}
    for column in columns:
        values = [row[column.name] for row in rows]
        if column.is_text:
            series[column.name] = pd.Series([math.nan if v is None else v for v in values], dtype=object)
        else:
            series[column.name] = pd.Series(
                np.array(values, dtype=np.float32 if column.type == "FLOAT" else np.float64)
            )
    return pd.DataFrame(series)


def compared(converted: Converted, said: dict[str, Any], original: Any, frame: pd.DataFrame) -> Report:
    assert not said["error"].any()
    predicted, labels = np.asarray(original.predict(frame)), 0
    if converted.kind == "classifier":
        mine = [converted.classes[index] for index in said["prediction"].ravel()]
        labels = sum(a != b or type(a) is not type(b) for a, b in zip(mine, predicted.tolist(), strict=True))
        if not converted.probabilities:
            return Report(converted, len(frame), labels, 0.0, 0.0)
        a, b = said["probabilities"], np.asarray(original.predict_proba(frame))
    else:
        a, b = said["prediction"], predicted.reshape(len(frame), -1)
    return Report(converted, len(frame), labels, *distances(a, b))


def distances(a: Any, b: Any) -> tuple[float, float]:
    assert a.shape == b.shape
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
        ulps = np.where(same, 0.0, apart / np.spacing(np.maximum(np.abs(a), np.abs(b))))
    return float(np.nan_to_num(ulps, nan=np.inf).max()), float(np.nan_to_num(apart, nan=np.inf).max())


def hostile_rows(
    model: Model, columns: Sequence[Input], frame: pd.DataFrame, rng: np.random.Generator, count: int
) -> list[dict[str, Any]]:
    pools = {column.name: pools_of(model, i, column, frame[column.name]) for i, column in enumerate(columns)}
    return [{name: pick(rng, pick(rng, of)) for name, of in pools.items()} for _ in range(count)]


def pools_of(model: Model, index: int, column: Input, seen: pd.Series) -> list[list[Any]]:
    """What is hostile anywhere, the model's own thresholds and their neighbours, and what it was trained on."""
    if column.is_text:
        return [[None, "", "unseen", "A"], [value for value in seen if isinstance(value, str)]]
    near = [
        float(value)
        for tree in model.trees
        for split in tree.threshold[(tree.feature == index) & (tree.decision % 2 == 0)]
        for value in (split, np.nextafter(split, math.inf), np.nextafter(split, -math.inf))
    ]
    pools = [list(HOSTILE), near or list(HOSTILE), seen.astype(float).tolist()]
    if column.type == "BOOLEAN":
        return [[0.0, 1.0, math.nan]]
    if column.type == "FLOAT":
        with np.errstate(over="ignore"):
            return [np.array(pool).astype(np.float32).astype(np.float64).tolist() for pool in pools]
    return pools


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]
