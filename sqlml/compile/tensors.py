"""A tensor of a traced graph: [N, k], one node per column; constants stay numpy arrays until they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sqlml.compile.algebra import Algebra
from sqlml.compile.nodes import Dtype, Node, Value

Kind = Literal["double", "float", "int", "bool", "text"]
Array = npt.NDArray[Any]  # Any: constants of every type


@dataclass(frozen=True)
class Tensor:
    """`kind` "float" holds doubles that are float32 numbers: they may be compared and moved, not computed with."""

    elements: tuple[Node, ...]
    kind: Kind


Operand = Tensor | Array


def tensor(algebra: Algebra, operand: Operand) -> Tensor:
    """A constant [1, k], [k] or scalar as a tensor; a tensor as it is."""
    if isinstance(operand, Tensor):
        return operand
    if operand.ndim > 2 or (operand.ndim == 2 and operand.shape[0] != 1):
        raise ValueError(f"a constant of shape {operand.shape} is no row")
    kind = kind_of(operand)
    dtype = dtype_of(kind)
    return Tensor(tuple(algebra.const(plain(v, dtype), dtype) for v in operand.ravel().tolist()), kind)


def kind_of(array: Array) -> Kind:
    if array.dtype == np.float64:
        return "double"
    if array.dtype == np.float32:
        return "float"
    if array.dtype == np.bool_:
        return "bool"
    if np.issubdtype(array.dtype, np.integer):
        return "int"
    if array.dtype.kind in "OUST":
        return "text"
    raise ValueError(f"constants of type {array.dtype} are not supported")


def dtype_of(kind: Kind) -> Dtype:
    return "double" if kind == "float" else kind


def plain(value: Any, dtype: Dtype) -> Value:  # Any: an element of a numpy array
    if dtype == "text":
        return value.decode() if isinstance(value, bytes) else str(value)
    return float(value) if dtype == "double" else bool(value) if dtype == "bool" else int(value)


def broadcast(algebra: Algebra, inputs: Sequence[Operand]) -> tuple[list[tuple[Node, ...]], list[Kind]]:
    tensors = [tensor(algebra, operand) for operand in inputs]
    width = max(len(t.elements) for t in tensors)
    if any(len(t.elements) not in (1, width) for t in tensors):
        raise ValueError(f"widths {[len(t.elements) for t in tensors]} do not fit")
    columns = [t.elements * width if len(t.elements) == 1 else t.elements for t in tensors]
    return columns, [t.kind for t in tensors]


def constant(operand: Operand) -> Array:
    if isinstance(operand, Tensor):
        raise ValueError("an operand that must be constant is computed")
    return operand
