"""The input example that MLflow keeps beside a model, as a table with the model's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sqlml.convert.isolated.inputs import Inputs

# Any in this module: JSON that the artifact brought.
LARGEST = 64 << 20
LARGEST_ROWS = 10_000
ARROW = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
}


def read(example: tuple[Path, Mapping[str, Any]] | None, inputs: Inputs) -> pa.Table | None:
    """The example, or None where there is none of this shape: it is a courtesy of the artifact, never needed."""
    if example is None or example[0].stat().st_size > LARGEST:
        return None
    try:
        content = json.loads(example[0].read_bytes())
        rows = _rows(content, inputs)
        columns = {
            column.name: pa.array([_value(row[i], column.is_text) for row in rows], ARROW[column.type])
            for i, column in enumerate(inputs.columns)
        }
    except (ValueError, TypeError, LookupError, AttributeError, pa.ArrowException):
        return None
    return pa.table(columns) if rows else None


def _rows(content: Any, inputs: Inputs) -> list[list[Any]]:
    """MLflow's dataframe "split" or "records" orientation, or the list of lists of an array."""
    if isinstance(content, dict) and "data" in content:
        names = content.get("columns")
        records = content["data"]
        if names is not None:
            at = [names.index(name) for name in inputs.names]
            return [[record[i] for i in at] for record in records[:LARGEST_ROWS]]
        content = records
    elif isinstance(content, dict):
        content = content.get("inputs", content.get("instances"))
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return [[record[name] for name in inputs.names] for record in content[:LARGEST_ROWS]]
    if isinstance(content, list) and all(
        isinstance(record, list) and len(record) == len(inputs.names) for record in content
    ):
        return content[:LARGEST_ROWS]
    return []


def _value(value: Any, text: bool) -> Any:
    return str(value) if text and value is not None else value


def write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
