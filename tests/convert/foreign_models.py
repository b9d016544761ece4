"""Small .onnx files as others write them, and what sqlml makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from sqlml.convert import OnnxModel
from sqlml.convert.isolated import foreign_graph, foreign_onnx
from sqlml.convert.isolated.frames import columns_of, graph_feed
from sqlml.convert.isolated.inputs import Inputs, declared
from sqlml.convert.isolated.refusal import Refusal

FLOAT, DOUBLE, INT64, BOOL, STRING = (getattr(TensorProto, n) for n in ("FLOAT", "DOUBLE", "INT64", "BOOL", "STRING"))


def value(name: str, element: int, shape: Sequence[object]) -> object:
    return helper.make_tensor_value_info(name, element, shape)


def model(
    nodes: Sequence[object],
    inputs: Sequence[object],
    outputs: Sequence[object],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    ml: int | None = 3,
) -> bytes:
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), tensors)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def linear(element: int = FLOAT, *, width: int = 2, shape: Sequence[object] = ("N", 2), opset: int = 17) -> bytes:
    """One tensor in, one score out: 2 a - b + 1."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    weights = np.array([[2], [-1]][:width], dtype=dtype)
    nodes = [helper.make_node("MatMul", ["X", "w"], ["z"]), helper.make_node("Add", ["z", "b"], ["score"])]
    constants = {"w": weights, "b": np.array([1], dtype=dtype)}
    return model(nodes, [value("X", element, shape)], [value("score", element, ["N", 1])], constants, opset=opset)


def classifier(*, zipmap: bool = False, labels: Sequence[str] | Sequence[int] = ("no", "yes")) -> bytes:
    """LinearClassifier over two floats, as skl2onnx writes it."""
    texts = isinstance(labels[0], str)
    names = {"classlabels_strings": list(labels)} if texts else {"classlabels_ints": list(labels)}
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            coefficients=[-1.0, 0.5, 1.0, -0.5],
            intercepts=[0.1, -0.1],
            post_transform="SOFTMAX",
            multi_class=0,
            **names,
        )
    ]
    label = value("label", STRING if texts else INT64, ["N"])
    if not zipmap:
        return model(nodes, [value("X", FLOAT, ["N", 2])], [label, value("raw", FLOAT, ["N", 2])])
    keys = {"classlabels_strings": list(labels)} if texts else {"classlabels_int64s": list(labels)}
    nodes.append(helper.make_node("ZipMap", ["raw"], ["probabilities"], domain="ai.onnx.ml", **keys))
    mapping = helper.make_map_type_proto(STRING if texts else INT64, helper.make_tensor_type_proto(FLOAT, None))
    maps = helper.make_value_info("probabilities", helper.make_sequence_type_proto(mapping))
    return model(nodes, [value("X", FLOAT, ["N", 2])], [label, maps])


def mixed() -> bytes:
    """One tensor per column, of every element type; rank 1 and 2."""
    nodes = [
        helper.make_node("Cast", ["count"], ["c"], to=DOUBLE),
        helper.make_node("Cast", ["flag"], ["f1"], to=DOUBLE),
        helper.make_node("Reshape", ["f1", "column"], ["f"]),
        helper.make_node(
            "LabelEncoder",
            ["plan"],
            ["p1"],
            domain="ai.onnx.ml",
            keys_strings=["a"],
            values_floats=[10.0],
            default_float=0.5,
        ),
        helper.make_node("Cast", ["p1"], ["p"], to=DOUBLE),
        helper.make_node("Sum", ["amount", "c", "f", "p"], ["score"]),
    ]
    inputs = [
        value("amount", DOUBLE, ["N", 1]),
        value("count", INT64, ["N", 1]),
        value("flag", BOOL, ["N"]),
        value("plan", STRING, ["N", 1]),
    ]
    return model(nodes, inputs, [value("score", DOUBLE, ["N", 1])], {"column": np.array([-1, 1])})


def answers(converted: OnnxModel, rows: pa.Table) -> dict[str, np.ndarray]:
    columns = Inputs(converted.signature.columns, "onnx")
    session = onnxruntime.InferenceSession(converted.onnx)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, graph_feed(columns, columns_of(rows, columns))), strict=True))


def normalised(content: bytes, signature: object = None) -> foreign_graph.Normalised:
    """The same as the worker does, in this process."""
    foreign = foreign_onnx.read(content)
    inputs = foreign_onnx.inputs_of(foreign, declared(signature and {"inputs": json.dumps(signature)}))
    return foreign_graph.normalise(foreign, inputs)


def refused(content: bytes, signature: object = None) -> str:
    with pytest.raises(Refusal) as raised:
        normalised(content, signature)
    return raised.value.message
