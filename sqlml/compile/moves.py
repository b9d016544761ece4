"""ONNX operators that only move columns: concatenation, selection, and reshapes that keep each row's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sqlml.compile.algebra import Algebra
from sqlml.compile.tensors import Operand, Tensor, constant, tensor

Attributes = Mapping[str, Any]  # Any: protobuf, already turned into Python values and arrays


def concat(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    if all(isinstance(operand, np.ndarray) for operand in inputs):
        return np.concatenate([np.asarray(operand) for operand in inputs], axis=int(attributes["axis"]))
    is_axis_1(attributes["axis"])
    parts = [tensor(algebra, operand) for operand in inputs]
    return Tensor(tuple(node for part in parts for node in part.elements), parts[0].kind)


def is_axis_1(axis: object) -> None:
    if axis not in (1, -1):
        raise ValueError(f"it works along axis {axis}, not along the columns")


def gather(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    given, at = inputs
    if isinstance(given, np.ndarray):
        return np.take(given, constant(at), axis=int(attributes.get("axis", 0)))
    is_axis_1(attributes.get("axis", 0))
    return Tensor(tuple(given.elements[int(i)] for i in constant(at).ravel()), given.kind)


def cut(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    given = tensor(algebra, inputs[0])
    start, end = (constant(operand).ravel() for operand in inputs[1:3])
    axes = constant(inputs[3]).ravel() if len(inputs) > 3 else np.array([0])
    step = constant(inputs[4]).ravel() if len(inputs) > 4 else np.array([1])
    if len(axes) != 1:
        raise ValueError("it cuts along several axes")
    is_axis_1(int(axes[0]))
    return Tensor(given.elements[int(start[0]) : int(end[0]) : int(step[0])], given.kind)


def same(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    return inputs[0]


def reshape(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    """Only where each row keeps its own numbers: [-1, k], or [-1] of one column."""
    given = inputs[0]
    shape = [int(n) for n in constant(inputs[1]).ravel()]
    if isinstance(given, np.ndarray):
        return given.reshape(shape)
    width = shape[1] if len(shape) > 1 else 1
    if len(shape) > 2 or shape[0] not in (0, -1) or width not in (len(given.elements), -1, 0):
        raise ValueError(f"the shape {shape} moves numbers between rows")
    return given
