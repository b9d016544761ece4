"""onnxruntime on a file as it came, and on one whose batch was opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.refusal import unsupported

# Any in this module: protobuf messages without types, and numpy arrays of any dtype.
EXPORT_AGAIN = "Export the model again with two-dimensional inputs and an open batch dimension."
Port = tuple[str, tuple[int, ...], Any]
"""An input's name, the shape of one row, and the numpy type it is fed with."""


def session_of(content: bytes) -> Any:
    """An onnxruntime session on one thread, which neither spins nor logs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise unsupported(f"onnxruntime cannot load the model: {str(error).strip()}") from error


def open_batch(model: Any, content: bytes, ports: Sequence[Port]) -> bool:
    """Whether the file takes exactly one row; then any number is allowed, if that gives the same answers row by row.

    Exporters fix the batch where they were shown one row. A graph that computes with that size says so here.
    """
    names = [name for name, _, _ in ports]
    inputs = [value.type.tensor_type for value in model.graph.input if value.name in names]
    if not any(tensor.shape.dim[0].dim_value == 1 for tensor in inputs):
        return False
    for value in (*model.graph.input, *model.graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].ClearField("dim_value")
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    generator = np.random.default_rng(0)
    rows = [{name: _random(shape, dtype, generator) for name, shape, dtype in ports} for _ in range(3)]
    try:
        original, opened = session_of(content), session_of(model.SerializeToString())
        outputs = [output.name for output in opened.get_outputs()]
        alone = [original.run(outputs, row) for row in rows]
        together = opened.run(outputs, {name: np.concatenate([row[name] for row in rows]) for name in names})
        same = all(
            _equal(np.concatenate([np.asarray(row[i]) for row in alone]), np.asarray(values))
            for i, values in enumerate(together)
        )
    except Exception:  # onnxruntime's, numpy's and ours: whatever it is, the batch cannot be opened
        same = False
    if not same:
        raise unsupported("The ONNX model has a fixed batch size of 1, which it computes with.", EXPORT_AGAIN)
    return True


def _equal(first: Any, second: Any) -> bool:
    if first.dtype.kind == "f":
        return bool(np.allclose(first, second, 1e-6, 1e-6, equal_nan=True))
    return bool(np.array_equal(first, second))


def _random(shape: tuple[int, ...], dtype: Any, generator: Any) -> Any:
    if dtype is object:
        return np.full((1, *shape), "", dtype=object)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=(1, *shape)).astype(dtype)
    return generator.integers(0, 2, (1, *shape)).astype(dtype)
