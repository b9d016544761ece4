"""Rows of a table as the python_function takes them: a DataFrame, a list, or arrays, with the dtypes of its signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sqlml.convert.isolated.inputs import Input
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.pyfunc.columns import Taken
from sqlml.convert.isolated.refusal import Refusal

# Any in this module: numpy arrays of several dtypes, pandas without types.
INTEGERS: dict[str, Any] = {"BIGINT": np.int64, "INTEGER": np.int32}
FIRST_NS, LAST_NS = np.datetime64("1677-09-22", "us"), np.datetime64("2262-04-11", "us")


@dataclass(frozen=True)
class Group:
    """Rows that can be handed over together: their positions in the table, and per column their values."""

    rows: Any
    columns: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.rows)


def groups(taken: Taken, table: pa.Table) -> list[Group]:
    """All rows of the table.

    pandas gives an integer or boolean column with a missing value another dtype, which must not touch the other rows:
    rows in which a column has no value of its own type are a group by themselves.
    """
    columns = [_column(table, column) for column in taken.columns]
    odd = np.zeros(table.num_rows, dtype=bool)
    for column, (values, _) in zipped(taken.columns, columns):
        odd |= _odd(column, values)
    found = []
    for rows, is_odd in ((np.flatnonzero(~odd), False), (np.flatnonzero(odd), True)):
        if len(rows):
            # Beyond 2**53 a double would not be what the table holds.
            chosen = [values if is_odd or exact is None else exact for values, exact in columns]
            found.append(Group(rows, tuple(values[rows] for values in chosen)))
    return found


def _column(table: pa.Table, column: Input) -> tuple[Any, Any]:
    """Values, and the exact integers of a column that has them; a missing number is NaN (NaT, None)."""
    if column.name not in table.column_names:
        raise Refusal("usage", f"The rows to compute have no column '{column.name}'.")
    array = table.column(column.name)
    if column.type in ("VARCHAR", "BLOB"):
        values = np.empty(len(array), dtype=object)
        values[:] = array.to_pylist()
        return values, None
    if column.type == "TIMESTAMP":
        return array.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]"), None
    exact = array.cast(pa.int64()).fill_null(0).to_numpy() if pa.types.is_integer(array.type) else None
    doubles = array.cast(pa.float64(), safe=False).fill_null(np.nan)
    return doubles.to_numpy().astype(np.float64, copy=True), exact


def _odd(column: Input, values: Any) -> Any:
    """Where a value is none of the column's own type."""
    if column.type in INTEGERS:
        bounds = np.iinfo(INTEGERS[column.type])
        # 2**63 itself is no int64, and as a double it is the first one too large.
        return ~((np.floor(values) == values) & (values >= float(bounds.min)) & (values < float(bounds.max) + 1))
    if column.type == "BOOLEAN":
        return ~((values == 0) | (values == 1))
    if column.type == "TIMESTAMP":
        return (values < FIRST_NS) | (values > LAST_NS)
    return np.zeros(len(values), dtype=bool)


def handed(taken: Taken, group: Group, at: Any) -> Any:
    """What the model is called with for the rows of a group at these positions in it."""
    values = [column[at] for column in group.columns]
    if taken.how == "frame":
        return _frame(taken, values)
    if taken.how == "list":
        return _series(taken.columns[0], values[0]).tolist()
    arrays = {}
    for part in taken.parts:
        inputs = taken.columns[part.start : part.start + part.width]
        of_part = values[part.start : part.start + part.width]
        typed = [_tensor(column, one, part.dtype) for column, one in zipped(inputs, of_part)]
        arrays[part.name] = typed[0] if part.is_vector else np.column_stack(typed)
    return arrays if taken.how == "arrays" else arrays[taken.parts[0].name]


def _frame(taken: Taken, values: Sequence[Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({column.name: _series(column, one) for column, one in zipped(taken.columns, values)})


def _series(column: Input, values: Any) -> Any:
    import pandas as pd

    if column.type in ("VARCHAR", "BLOB"):
        # object, not pandas 3's str: what MLflow's own readers hand over, and a missing text stays None.
        return pd.Series(values, dtype=object)
    if column.type == "TIMESTAMP":
        is_wide = bool(_odd(column, values).any())  # years that nanoseconds cannot count to
        return pd.Series(values if is_wide else values.astype("datetime64[ns]"))
    return pd.Series(_number(column, values))


def _number(column: Input, values: Any) -> Any:
    if column.type in ("DOUBLE", "FLOAT"):
        with np.errstate(over="ignore"):
            return values.astype(np.float32 if column.type == "FLOAT" else np.float64)
    if _odd(column, values).any():
        return values
    return values.astype(np.bool_ if column.type == "BOOLEAN" else INTEGERS[column.type])


def _tensor(column: Input, values: Any, dtype: str) -> Any:
    if column.type == "VARCHAR":
        return (
            values if dtype == "object" else np.array(["" if value is None else value for value in values], dtype=str)
        )
    if _odd(column, values).any():
        raise ValueError(f"{column.name} is missing or not of its type, and the model takes an array of {dtype}")
    with np.errstate(over="ignore"):
        made = values.astype(dtype)
    if np.dtype(dtype).kind in "iu" and not np.array_equal(made, values):
        raise ValueError(f"{column.name} does not fit {dtype}")
    return made
