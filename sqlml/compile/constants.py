"""What each operation does with constants: IEEE double, as onnxruntime and scikit-learn would compute it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sqlml.compile.nodes import Value

Doubles = npt.NDArray[np.float64]

UNARY: dict[str, Callable[[Any], Any]] = {  # Any: a float64 or an array of them, and the same comes back
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "cos": np.cos,
    "sin": np.sin,
    "float32": lambda x: np.asarray(x).astype(np.float32).astype(np.float64),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "min": np.minimum,
    "max": np.maximum,
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}
"""a op b is b MIRRORED[op] a."""
NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
"""The opposite where nothing is missing."""


def fold(name: str, values: list[Value]) -> Value:
    """The result of an operation on constants."""
    with np.errstate(all="ignore"):
        if name in UNARY:
            return float(UNARY[name](np.float64(values[0])))
        if name in BINARY:
            return float(BINARY[name](np.float64(values[0]), np.float64(values[1])))
    if name in COMPARISONS:
        return bool(COMPARISONS[name](values[0], values[1]))
    if name == "sum":
        total = float(values[0])
        for value in values[1:]:
            total += float(value)
        return total
    if name == "and":
        return all(values)
    if name == "or":
        return any(values)
    if name == "not":
        return not values[0]
    if name == "where":
        return values[1] if values[0] else values[2]
    if name == "is_nan":
        return isinstance(values[0], float) and math.isnan(values[0])
    if name == "is_inf":
        return isinstance(values[0], float) and math.isinf(values[0])
    raise KeyError(name)


def identical(a: Value, b: Value) -> bool:
    """Same constant: NaN is itself, and 0.0 is not -0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return type(a) is type(b) and a == b
