"""The input example that MLflow keeps beside a model, as columns of a table: a courtesy of the artifact, never needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from sqlml.convert.isolated.pyfunc.columns import Taken

# Any in this module: whatever somebody logged as an example.
MOST_ROWS = 20
ARROW = {
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "BLOB": pa.binary(),
}
FROM_KIND = {"b": "BOOLEAN", "i": "BIGINT", "u": "BIGINT", "f": "DOUBLE", "M": "TIMESTAMP"}


def load(model: Any, root: str) -> Any:
    """The example as MLflow gives it to `predict`, or None."""
    try:
        return model.load_input_example(root)
    except Exception:  # an example that MLflow cannot read is as good as none
        return None


def types(example: Any) -> dict[str, str] | None:
    """Columns and SQL types of an example that is a DataFrame; None for any other."""
    import pandas as pd

    if not isinstance(example, pd.DataFrame) or not len(example.columns):
        return None
    found = {}
    for name in example.columns:
        dtype = example[name].dtype
        known = FROM_KIND.get(dtype.kind) if isinstance(dtype, np.dtype) else None
        values = example[name].dropna()
        if known is None and not all(isinstance(value, str) for value in values):
            return None
        found[str(name)] = known or "VARCHAR"
    return found


def table(example: Any, taken: Taken) -> pa.Table | None:
    """The example's first rows with the model's columns; None where it is not of their shape."""
    try:
        columns = _columns(example, taken)
        made = {
            column.name: pa.array(values[:MOST_ROWS], ARROW[column.type], from_pandas=True)
            for column, values in zip(taken.columns, columns)
        }
        return pa.table(made) if columns and len(made) == len(taken.columns) else None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, pa.ArrowException):
        return None


def _columns(example: Any, taken: Taken) -> list[list[Any]]:
    import pandas as pd

    if taken.how == "frame":
        if isinstance(example, dict):
            example = pd.DataFrame(
                [example] if not isinstance(next(iter(example.values())), (list, np.ndarray)) else example
            )
        return [example[column.name].tolist() for column in taken.columns]
    if taken.how == "list":
        return [list(example.iloc[:, 0] if isinstance(example, pd.DataFrame) else example)]
    arrays = example if isinstance(example, dict) else {taken.parts[0].name: example}
    found: list[list[Any]] = []
    for part in taken.parts:
        matrix = np.asarray(arrays[part.name])
        matrix = matrix.reshape(len(matrix), -1)
        found += [matrix[:, i].tolist() for i in range(part.width)]
    return found
