"""Rows of a table as the original sees them (a DataFrame with the dtypes of its training) and as the graph does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sqlml.convert.isolated.graph import MISSING_TEXT
from sqlml.convert.isolated.inputs import Input, Inputs
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.refusal import Refusal

# Any in this module: numpy arrays of several dtypes, pandas without types.
INTEGERS: dict[str, Any] = {"BIGINT": np.int64, "INTEGER": np.int32}
NUMBERS: dict[str, Any] = {"DOUBLE": np.float64, "FLOAT": np.float32}


def columns_of(rows: pa.Table, inputs: Inputs) -> list[Any]:
    """Per input column one array: float64 with NaN for missing numbers, or objects (str or None) for text."""
    folded = {name.lower(): position for position, name in enumerate(rows.column_names)}
    found = []
    for column in inputs.columns:
        if column.name.lower() not in folded:
            raise Refusal("usage", f"The rows to compute have no column '{column.name}'.")
        array = rows.column(folded[column.name.lower()])
        found.append(_texts(array, column) if column.is_text else _numbers(array, column))
    return found


def whole_numbers(rows: pa.Table, inputs: Inputs) -> dict[str, Any]:
    """Integer columns that the table holds as integers: beyond 2**53 a double would not be what the model gets."""
    found = {}
    for column in inputs.columns:
        if column.type in INTEGERS:
            array = rows.column([name.lower() for name in rows.column_names].index(column.name.lower()))
            if pa.types.is_integer(array.type) and not pa.types.is_uint64(array.type):
                found[column.name] = array.fill_null(0).to_numpy()
    return found


def _texts(array: Any, column: Input) -> Any:
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type) or pa.types.is_null(array.type)):
        raise Refusal(
            "usage", f"Column '{column.name}' is text for the model, and the rows to compute have {array.type}."
        )
    values = np.empty(len(array), dtype=object)
    values[:] = array.to_pylist()
    return values


def _numbers(array: Any, column: Input) -> Any:
    try:
        doubles = array.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Refusal(
            "usage", f"Column '{column.name}' is a number for the model, and the rows to compute have {array.type}."
        ) from error
    return doubles.fill_null(np.nan).to_numpy().astype(np.float64, copy=True)


def graph_feed(inputs: Inputs, columns: Sequence[Any]) -> dict[str, Any]:
    """What the converted graph is fed with."""
    fed = {}
    for column, values in zipped(inputs.columns, columns):
        if column.is_text:
            values = np.array([MISSING_TEXT if v is None else v for v in values], dtype=object)
        fed[column.name] = values.reshape(-1, 1)
    return fed


def frames(
    inputs: Inputs, columns: Sequence[Any], whole: Mapping[str, Any], missing_as: Mapping[str, str]
) -> list[tuple[Any, Any]]:
    """DataFrames that together hold all rows, each with the positions of its rows.

    pandas gives an integer column with a missing value the dtype float64, which must not touch the other rows:
    rows in which an integer or boolean column has something else are a frame of their own.
    """
    size = len(columns[0]) if columns else 0
    odd = np.zeros(size, dtype=bool)
    for column, values in zipped(inputs.columns, columns):
        odd |= _not_of_its_type(column, values)
    groups = [np.flatnonzero(~odd), np.flatnonzero(odd)]
    return [(group, _frame(inputs, columns, whole, missing_as, group)) for group in groups if len(group)]


def _not_of_its_type(column: Input, values: Any) -> Any:
    if column.type in INTEGERS:
        bounds = np.iinfo(INTEGERS[column.type])
        # 2**63 itself is no int64, and as a double it is the first one too large.
        return ~((np.floor(values) == values) & (values >= float(bounds.min)) & (values < float(bounds.max) + 1))
    if column.type == "BOOLEAN":
        return ~((values == 0) | (values == 1))
    return np.zeros(len(values), dtype=bool)


def _frame(
    inputs: Inputs, columns: Sequence[Any], whole: Mapping[str, Any], missing_as: Mapping[str, str], rows: Any
) -> Any:
    import pandas as pd

    series = {}
    for column, values in zipped(inputs.columns, columns):
        values = values[rows]
        if column.is_text:
            # object, not pandas 3's str: it is what encoders make of either, and it can hold None.
            absent = None if missing_as.get(column.name) == "none" else np.nan
            text = np.empty(len(values), dtype=object)
            text[:] = [absent if value is None else value for value in values]
            series[column.name] = pd.Series(text, dtype=object)
        elif column.type in NUMBERS:
            with np.errstate(over="ignore"):
                series[column.name] = pd.Series(values.astype(NUMBERS[column.type]))
        elif _not_of_its_type(column, values).any():
            series[column.name] = pd.Series(values)
        elif column.type == "BOOLEAN":
            series[column.name] = pd.Series(values.astype(np.bool_))
        else:
            exact = whole[column.name][rows] if column.name in whole else values
            series[column.name] = pd.Series(exact.astype(INTEGERS[column.type]))
    return pd.DataFrame(series)
