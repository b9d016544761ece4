"""The native extension behind the few methods of an onnxruntime session that comparisons of conversions use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import numpy as np
import onnx
import pyarrow as pa

from sqlml import extension
from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.database import open_database
from sqlml.engines.native import MAX_FIELDS

LETTERS = {
    onnx.TensorProto.DOUBLE: "D",
    onnx.TensorProto.FLOAT: "F",
    onnx.TensorProto.INT64: "B",
    onnx.TensorProto.INT32: "I",
    onnx.TensorProto.BOOL: "L",
    onnx.TensorProto.STRING: "T",
}


@dataclass(frozen=True)
class Port:
    name: str


class NativeSession:
    """One converted model in the extension; rows with an error have NaN, or class -1, where onnxruntime has anything."""

    def __init__(self, content: bytes) -> None:
        graph = onnx.load_model_from_string(content).graph
        self._inputs = [port.name for port in graph.input]
        self._types = "".join(LETTERS[port.type.tensor_type.elem_type] for port in graph.input)
        self._outputs = {port.name: port.type.tensor_type for port in graph.output}
        self._connection = _connection()
        ((self.key,),) = self._connection.execute("SELECT sqlml_load(?::BLOB)", [content]).fetchall()

    def get_outputs(self) -> list[Port]:
        return [Port(name) for name in self._outputs]

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> list[Any]:
        answers = self._answers(feed)
        return [answers[name] for name in names or self._outputs]

    def _answers(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        columns = {f"c{i}": _column(feed[name]) for i, name in enumerate(self._inputs)}
        rows = pa.table(columns)
        function = self._function()
        self._connection.register("sqlml_rows", rows)
        mentioned = "".join(f", {name}" for name in columns)
        query = f"SELECT {function}('{self.key}', '{self._types}', NULL{mentioned}) AS answer FROM sqlml_rows"
        made = self._connection.sql(query).to_arrow_table()["answer"].combine_chunks()
        self._connection.unregister("sqlml_rows")
        answers = {"error": _numbers(made.field("error"), np.int64, 0)}
        if "probabilities" in self._outputs:
            answers["probabilities"] = _matrix(made, "p")
        if self._classifies:
            answers["prediction"] = _numbers(made.field("prediction"), np.int64, -1)
        else:
            answers["prediction"] = _matrix(made, "t")
        return answers

    @property
    def _classifies(self) -> bool:
        return bool(self._outputs["prediction"].elem_type == onnx.TensorProto.INT64)

    def _function(self) -> str:
        family, output = ("class", "probabilities") if self._classifies else ("value", "prediction")
        kind = self._outputs.get(output)
        count = 0 if kind is None else kind.shape.dim[1].dim_value
        return f"sqlml_{family}_{count}" if count <= MAX_FIELDS else f"sqlml_{family}_many"


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    connection = open_database(":memory:")
    extension.load(connection)
    connection.execute("SET threads = 1")
    return connection


def _column(values: Any) -> pa.Array:
    flat = np.asarray(values).ravel()
    if flat.dtype.kind in "OU":
        return pa.array([None if text == MISSING_TEXT else text for text in flat], pa.string())
    return pa.array(flat, from_pandas=False)


def _numbers(field: pa.Array, dtype: Any, missing: int) -> Any:
    return np.asarray(field.fill_null(missing).to_numpy(zero_copy_only=False), dtype=dtype).reshape(-1, 1)


def _matrix(made: pa.StructArray, letter: str) -> Any:
    names = [field.name for field in made.type]
    if letter in names:
        return np.array([row or [] for row in made.field(letter).to_pylist()], dtype=float)
    fields = [name for name in names if name.startswith(letter) and name[1:].isdigit()]
    return np.column_stack([made.field(name).fill_null(np.nan).to_numpy(zero_copy_only=False) for name in fields])
