"""Runs an ONNX graph on symbols instead of numbers: nothing of the model is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.compile.algebra import Algebra
from sqlml.compile.nodes import Input, Node, NotCompilable
from sqlml.compile.ops import run
from sqlml.compile.tensors import Kind, Operand, Tensor, tensor
from sqlml.convert.onnx_model import OnnxModel

OPSETS = {"": range(13, 26), "ai.onnx.ml": range(3, 6)}
"""Versions whose operators mean what `ops.py` makes of them; reductions take their axes as an input from 13 or 18 on."""


@dataclass(frozen=True)
class Traced:
    """The graph's outputs as nodes, and every tensor on the way by its name (None where an operator is unknown)."""

    algebra: Algebra
    columns: tuple[Input, ...]
    tensors: Mapping[str, Operand | None]
    nodes: Sequence[Any]
    """The graph's own nodes (protobuf)."""
    refused: NotCompilable | None
    """Why some tensors are None; always None when tracing is not lenient."""

    def output(self, name: str) -> tuple[Node, ...]:
        found = self.tensors.get(name)
        if found is None:
            raise NotCompilable(f"the graph has no output {name}")
        return tensor(self.algebra, found).elements


def trace(model: OnnxModel, *, lenient: bool = False) -> Traced:
    """Run the graph; `lenient` goes on where an operator cannot be followed, else that raises `NotCompilable`."""
    import onnx

    proto = onnx.load_from_string(model.onnx)
    for opset in proto.opset_import:
        known = OPSETS.get("" if opset.domain == "ai.onnx" else opset.domain)
        if known is not None and opset.version not in known and not lenient:
            raise NotCompilable(
                f"opset {opset.domain or 'ai.onnx'} {opset.version} is not one of {known[0]} to {known[-1]}"
            )
    algebra = Algebra()
    columns = tuple(
        algebra.input(i, column.name, "text" if column.is_text else "double")
        for i, column in enumerate(model.signature.columns)
    )
    tensors: dict[str, Operand | None] = {"": np.array([])}
    for column in columns:
        kind: Kind = "text" if column.dtype == "text" else "double"
        tensors[column.name] = Tensor((column,), kind)
    for initializer in proto.graph.initializer:
        tensors[initializer.name] = _array(initializer)
    refused = None
    for node in proto.graph.node:
        made: Operand | None = None
        try:
            made = _run(algebra, node, tensors)
        except NotCompilable as error:
            if not lenient:
                raise
            refused = refused or error
        tensors.update(dict.fromkeys(node.output))
        tensors[node.output[0]] = made
    return Traced(algebra, columns, tensors, proto.graph.node, refused)


def _run(algebra: Algebra, node: Any, tensors: Mapping[str, Operand | None]) -> Operand:  # Any: protobuf
    if node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
        raise NotCompilable(f"the operator {node.domain}.{node.op_type} is nobody's standard", operator=node.op_type)
    attributes = attributes_of(node)
    if node.op_type == "Constant":
        return _constant(attributes)
    inputs: list[Operand] = []
    for name in node.input:
        given = tensors.get(name)
        if given is None:
            raise NotCompilable(f"{node.op_type} needs {name}, which has no translation", operator=node.op_type)
        inputs.append(given)
    return run(algebra, node.op_type, attributes, inputs)


def attributes_of(node: Any) -> dict[str, Any]:  # Any: protobuf, and what it holds
    """A node's attributes as Python values and arrays."""
    return {attribute.name: _attribute(attribute) for attribute in node.attribute}


def _attribute(attribute: Any) -> Any:  # Any: protobuf
    import onnx

    if attribute.type == onnx.AttributeProto.TENSOR:
        return _array(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [text.decode() for text in value]
    return value.decode() if isinstance(value, bytes) else value


def _array(proto: Any) -> np.ndarray[Any, Any]:  # Any: protobuf, and whatever it holds
    import onnx

    array: np.ndarray[Any, Any] = onnx.numpy_helper.to_array(proto)
    if proto.data_type == onnx.TensorProto.STRING:
        return np.array([_text(v) for v in array.ravel()], dtype=object).reshape(array.shape)
    return array


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _constant(attributes: Mapping[str, Any]) -> Operand:  # Any: protobuf
    (name, value), *_ = attributes.items()
    return np.asarray(value, dtype=object if "string" in name else None)
