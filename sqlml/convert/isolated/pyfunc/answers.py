"""What a python_function answers, as columns with one value a row, or why it cannot be kept in a table."""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.pyfunc.forms import MISSING, Form
from sqlml.convert.isolated.refusal import unsupported

# Any in this module: whatever a model returns.
MOST_COLUMNS = 1000
INSTEAD = "Let predict return one value a row, or a DataFrame with one column for each value."


@dataclass(frozen=True)
class Answered:
    """Values [rows] per column, as numpy arrays: of their own dtype, or objects with None for missing.

    `single`: the model computes in float32.
    """

    form: Form
    columns: tuple[Any, ...]
    single: bool

    def row(self, position: int) -> tuple[Any, ...]:
        return tuple(column[position] for column in self.columns)


def answered(said: Any, rows: int) -> Answered:
    """The model's answer to `rows` rows.

    Raises:
        Refusal: it is of a kind that no row of a table can hold; that is the model's, not a row's fault.
        ValueError: it has another number of rows.
    """
    names, values, numbered = _columns(said)
    if len(values) > MOST_COLUMNS:
        raise unsupported(f"The model answers with {len(values)} columns a row.", INSTEAD)
    for one in values:
        if len(one) != rows:
            raise ValueError(f"the model gave {len(one)} answers for {rows} rows")
    typed = [_typed(one) for one in values]
    single = any(one.dtype in (np.float32, np.float16) for one in values)
    form = Form(tuple(names), tuple(kind for kind, _ in typed), numbered)
    return Answered(form, tuple(one for _, one in typed), single)


def _columns(said: Any) -> tuple[list[str], list[Any], bool]:
    """Names, values and whether the names are ours."""
    import pandas as pd

    if isinstance(said, pd.DataFrame):
        names = [str(name) for name in said.columns]
        if len({name.lower() for name in names}) != len(names) or not names:
            raise unsupported(f"The columns of the model's answer have no distinct names: {names[:8]}.", INSTEAD)
        columns = [_of_series(said.iloc[:, i]) for i in range(len(names))]
        numbered = all(isinstance(name, (int, np.integer)) for name in said.columns)
        return (
            ([""], columns, False) if len(names) == 1 else (_numbered(names) if numbered else names, columns, numbered)
        )
    if isinstance(said, pd.Series):
        return [""], [_of_series(said)], False
    if (
        isinstance(said, dict)
        and said
        and all(isinstance(v, (list, tuple, np.ndarray, pd.Series)) for v in said.values())
    ):
        parts = [_columns(value) for value in said.values()]
        if all(len(columns) == 1 for _, columns, _ in parts):
            names = [str(name) for name in said]
            return (names if len(names) > 1 else [""]), [columns[0] for _, columns, _ in parts], False
    if isinstance(said, (list, tuple)):
        if said and all(isinstance(one, dict) for one in said):
            return _columns(pd.DataFrame(list(said)))
        return _of_array(_objects(said))
    if hasattr(said, "toarray"):
        said = said.toarray()  # scipy's sparse matrices
    elif hasattr(said, "detach"):
        said = said.detach().cpu().numpy()  # torch's tensors
    if isinstance(said, np.ndarray):
        return _of_array(said)
    raise unsupported(f"The model answers with a {type(said).__name__}, not with one value a row.", INSTEAD)


def _objects(said: Sequence[Any]) -> Any:
    """A list as an array: of rows of values, or of single values, which keep their own types."""
    if (
        said
        and all(isinstance(one, (list, tuple, np.ndarray)) for one in said)
        and len({len(one) for one in said}) == 1
    ):
        rows = np.empty((len(said), len(said[0])), dtype=object)
        for i, row in enumerate(said):
            rows[i, :] = list(row)
        return rows
    values = np.empty(len(said), dtype=object)
    values[:] = list(said)
    return values


def _of_array(array: Any) -> tuple[list[str], list[Any], bool]:
    if array.ndim == 1:
        return [""], [array], False
    if array.ndim != 2 or array.shape[1] == 0:
        shape = list(array.shape)
        raise unsupported(f"The model answers with an array of shape {shape}, not with one row for each.", INSTEAD)
    columns = [array[:, i] for i in range(array.shape[1])]
    return ([""], columns, False) if len(columns) == 1 else (_numbered(columns), columns, True)


def _numbered(columns: Sequence[Any]) -> list[str]:
    return [f"target_{i}" for i in range(len(columns))]


def _of_series(series: Any) -> Any:
    """Values of a Series; pandas' own missing values become None, a NaN of a float column stays one."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biufM":
        return series.to_numpy()
    if getattr(series.dtype, "tz", None) is not None:
        return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return series.astype(object).where(series.notna(), None).to_numpy()


def _typed(values: Any) -> tuple[str, Any]:
    """The SQL type, and the values as that type's arrays."""
    kind = values.dtype.kind
    if kind == "b":
        return "BOOLEAN", values
    if kind in "iu" and not (kind == "u" and len(values) and int(values.max()) > np.iinfo(np.int64).max):
        return "BIGINT", values.astype(np.int64)
    if kind in "uf":
        return "DOUBLE", values.astype(np.float64)
    if kind == "M":
        return "TIMESTAMP", values.astype("datetime64[us]")
    kinds: list[str] = []
    made = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        found, made[i] = _one(value)
        if found != MISSING and found not in kinds:
            kinds.append(found)
    if set(kinds) == {"BIGINT", "DOUBLE"}:
        made[:] = [None if value is None else float(value) for value in made]
        return "DOUBLE", made
    if len(kinds) > 1:
        raise unsupported(f"The model answers with values of several types in one column: {', '.join(kinds)}.", INSTEAD)
    return (kinds[0] if kinds else MISSING), made


def _one(value: Any) -> tuple[str, Any]:
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING, None
    if isinstance(value, (bool, np.bool_)):
        return "BOOLEAN", bool(value)
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return ("BIGINT", whole) if -(2**63) <= whole < 2**63 else ("DOUBLE", float(whole))
    if isinstance(value, (numbers.Real, decimal.Decimal)):
        return "DOUBLE", float(value)
    if isinstance(value, str):
        return "VARCHAR", str(value)
    if isinstance(value, (bytes, bytearray)):
        return "BLOB", bytes(value)
    if isinstance(value, np.datetime64):
        return "TIMESTAMP", value.astype("datetime64[us]").item()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return "TIMESTAMP", value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
    if isinstance(value, datetime.date):
        return "TIMESTAMP", datetime.datetime(value.year, value.month, value.day)
    raise unsupported(f"The model answers with a {type(value).__name__} for a row, which is no single value.", INSTEAD)


def same(first: Answered, i: int, second: Answered, j: int, tolerance: float) -> bool:
    """Whether two answers to one row are equal; numbers within the tolerance, relative to the larger of them and 1."""
    if first.form.names != second.form.names:
        return False
    return all(_same(a, b, tolerance) for a, b in zipped(first.row(i), second.row(j)))


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, (float, np.floating)) and isinstance(b, (float, int, np.floating, np.integer)):
        x, y = float(a), float(b)
        if x == y or (x != x and y != y):
            return True
        return abs(x - y) <= tolerance * max(1.0, abs(x), abs(y))
    return bool(a == b) or (a is None and b is None) or bool(a != a and b != b)
