"""Small ONNX graphs, what onnxruntime makes of them, and what the native extension does."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

ML = "ai.onnx.ml"
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-310, -5e-324, 1e-30, 1e30, -1e30, 1e308, -1e308]
NUMBERS += [700.5, 709.78, -708.5, -745.1, -746.0, 20.0, -20.0, 88.8, -104.0, np.inf, -np.inf, np.nan]


@dataclass(frozen=True)
class Step:
    """A node; `constants` are inputs by name."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    domain: str = ""
    attributes: Mapping[str, Any] | None = None


def graph(
    steps: Sequence[Step],
    feeds: Mapping[str, np.ndarray[Any, Any]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
    opsets: Mapping[str, int] | None = None,
) -> bytes:
    """The model's bytes; outputs get the types that ONNX infers for them."""
    import onnx
    from onnx import helper, numpy_helper

    def kind(values: np.ndarray[Any, Any]) -> int:
        return onnx.TensorProto.STRING if values.dtype == object else helper.np_dtype_to_tensor_dtype(values.dtype)

    nodes = [
        helper.make_node(step.op, list(step.inputs), list(step.outputs), domain=step.domain, **(step.attributes or {}))
        for step in steps
    ]
    proto = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind(values), ["N", *values.shape[1:]]) for name, values in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (constants or {}).items()],
    )
    versions = {"": 21, ML: 3, **(opsets or {})}
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid(key, version) for key, version in versions.items()]
    )
    model.ir_version = 10
    inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
    for value in model.graph.output:
        if inferred[value.name].type.HasField("tensor_type"):
            value.CopyFrom(inferred[value.name])
    return bytes(model.SerializeToString())


def by_onnxruntime(model: bytes, feeds: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """All numeric outputs side by side, as doubles."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # As written: an optimised graph computes something else (MatMulScaleFusion moves a factor into the weights).
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rows = len(next(iter(feeds.values())))
    found = [np.asarray(values) for values in session.run(None, dict(feeds))]
    return np.concatenate([v.reshape(rows, -1).astype(float) for v in found if v.dtype.kind in "fiub"], axis=1)


def natively(connection: duckdb.DuckDBPyConnection, model: bytes, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """The same from `sqlml_outputs`; fails if another engine than the native one answers."""
    described, found = answered(connection, model, feeds)
    assert described.startswith("native: "), described
    return found


def answered(
    connection: duckdb.DuckDBPyConnection, model: bytes, feeds: Mapping[str, np.ndarray[Any, Any]]
) -> tuple[str, Any]:
    """What `sqlml_describe` says of the model, and what `sqlml_outputs` answers."""
    columns = {}
    for name, values in feeds.items():
        for place, column in enumerate(values.reshape(len(values), -1).T):
            columns[f"{name}_{place}"] = pa.array(column.tolist() if column.dtype == object else column)
    key = hashlib.sha256(model).hexdigest()
    assert connection.execute("SELECT sqlml_load($1::BLOB)", [model]).fetchall() == [(key,)]
    described = connection.execute("SELECT sqlml_describe($1)", [key]).fetchall()[0][0]
    connection.register("feeds", pa.table(columns))
    arguments = ", ".join(f'feeds."{name}"' for name in columns)
    found = connection.execute(f"SELECT sqlml_outputs('{key}', NULL, NULL::BLOB, {arguments}) FROM feeds").fetchall()
    connection.unregister("feeds")
    return described, np.array([row[0] for row in found], dtype=float)


def check(
    connection: duckdb.DuckDBPyConnection,
    model: bytes,
    feeds: Mapping[str, np.ndarray[Any, Any]],
    tolerance: float,
    expected: np.ndarray[Any, Any] | None = None,
    floor: float = 0.0,
) -> None:
    """The extension's answers against onnxruntime's, or against `expected` where that is wrong or imprecise.

    The tolerance is relative; to `floor` where a sum that cancels leaves less than that.
    """
    if expected is None:
        expected = by_onnxruntime(model, feeds)
    found = natively(connection, model, feeds)
    assert found.shape == expected.shape
    with np.errstate(all="ignore"):
        near = np.abs(found - expected) <= tolerance * np.maximum(np.abs(expected), floor) + 5e-324
    same = near | (found == expected) | (np.isnan(found) & np.isnan(expected))
    rows = np.flatnonzero(~same.all(axis=1))[:5]
    shown = [
        f"row {row}: {[v.reshape(len(v), -1)[row].tolist() for v in feeds.values()]} gives {found[row].tolist()}, "
        f"not {expected[row].tolist()}"
        for row in rows
    ]
    assert not shown, "\n".join(shown)


def product(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x @ w to the last bit of the extension's: sums in index order, each product and sum rounded once, by C's fma."""
    fma = ctypes.CDLL(ctypes.util.find_library("m")).fma
    fma.restype, fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    fused = np.vectorize(fma, otypes=[np.float64])
    sums = np.zeros((len(x), w.shape[1]))
    with np.errstate(all="ignore"):  # what C's fma flags on hostile numbers is no concern of ours
        for place in range(len(w)):
            sums = fused(x[:, place : place + 1].astype(np.float64), w[place].astype(np.float64), sums)
    return sums


def numbers(kind: Any, columns: int, seed: int = 0, hostile: bool = True) -> np.ndarray[Any, Any]:
    """Ordinary rows of several sizes, and, if wanted, one for each hostile number in each column."""
    rng = np.random.default_rng(seed)
    ordinary = rng.normal(size=(300, columns)) * rng.choice([1e-3, 1.0, 10.0], size=(300, columns))
    found = [ordinary]
    if hostile:
        for place in range(columns):
            rows = rng.normal(size=(len(NUMBERS), columns))
            rows[:, place] = NUMBERS
            found.append(rows)
    with np.errstate(all="ignore"):
        return np.concatenate(found).astype(kind)
