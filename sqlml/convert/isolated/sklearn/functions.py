"""FunctionTransformer with one of numpy's elementwise functions, recognised by identity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, refuse
from sqlml.convert.isolated.sklearn.validate import refuse_text
from sqlml.convert.isolated.table import BOOL, FLOAT32, FLOAT64, OBJECT, Feature, Table, table_of


@dataclass(frozen=True)
class Function:
    """How a function is computed, and what comes of a feature's bounds.

    `exact`: IEEE arithmetic defines every bit of it (then float32 is right too). `lowest`: below this it gives NaN.
    """

    emit: Callable[[Graph, str], str]
    value: Callable[[float], float]
    exact: bool = False
    lowest: float = -math.inf
    keeps_integers: bool = False


def log1p(graph: Graph, x: str) -> str:
    """log(u) * x / (u - 1) with u = 1 + x, which keeps the digits that log(1 + x) loses near 0."""
    one = graph.double([1.0])
    u = graph.op("Add", x, one)
    back = graph.op("Sub", u, one)
    # Equal also where both are infinite, whose quotient would be NaN.
    ratio = graph.op("Where", graph.op("Equal", back, x), one, graph.op("Div", x, back))
    near = graph.op("Equal", u, one)
    return graph.op("Where", near, x, graph.op("Mul", graph.op("Log", u), ratio))


def expm1(graph: Graph, x: str) -> str:
    """tanh(x / 2) * (exp(x) + 1), which keeps the digits that exp(x) - 1 loses near 0."""
    half = graph.op("Tanh", graph.op("Mul", x, graph.double([0.5])))
    return graph.op("Mul", half, graph.op("Add", graph.op("Exp", x), graph.double([1.0])))


def scaled_log(base: float) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op("Div", graph.op("Log", x), graph.double([math.log(base)]))


def plain(kind: str) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op(kind, x)


def square(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, x)


# numpy's ufuncs are single objects, and survive pickling as such.
FUNCTIONS: dict[object, Function] = {
    np.log1p: Function(log1p, np.log1p, lowest=-1.0),
    np.log: Function(plain("Log"), np.log, lowest=0.0),
    np.log2: Function(scaled_log(2.0), np.log2, lowest=0.0),
    np.log10: Function(scaled_log(10.0), np.log10, lowest=0.0),
    np.exp: Function(plain("Exp"), np.exp),
    np.expm1: Function(expm1, np.expm1),
    np.tanh: Function(plain("Tanh"), np.tanh),
    np.sqrt: Function(plain("Sqrt"), np.sqrt, exact=True, lowest=0.0),
    np.square: Function(square, np.square, exact=True),
    np.absolute: Function(plain("Abs"), np.absolute, exact=True, keeps_integers=True),
    np.negative: Function(plain("Neg"), np.negative, exact=True, keeps_integers=True),
}


def elementwise(ctx: Context, est: Estimator, func: object, table: Table, step: str) -> Table:
    function = FUNCTIONS.get(func) if isinstance(func, np.ufunc) else None
    if function is None:
        name = getattr(func, "__name__", repr(func))
        known = ", ".join(sorted(f.__name__ for f in FUNCTIONS if isinstance(f, np.ufunc)))
        why = f"it calls the Python function {name!r}, which has no translation."
        raise refuse(
            est, step, why, f"Use one of numpy's {known} itself (not a wrapper), or compute the column in SQL."
        )
    refuse_text(est, table, step)
    if table.sparse:
        raise refuse(
            est, step, "it applies a function to sparse data.", "Set sparse_output=False in the encoder before it."
        )
    dtypes = {f.dtype for f in table.features}
    if dtypes & {BOOL, OBJECT}:
        why = "it applies a function to booleans or objects, for which numpy computes in another type."
        raise refuse(est, step, why, "Convert the columns to float64 first.")
    if FLOAT32 in dtypes and not function.exact:
        why = "it computes in float32, whose roundings cannot be reproduced."
        raise refuse(est, step, why, "Train on float64 columns.")
    if func is np.square and any(d.kind in "iu" for d in dtypes):
        raise refuse(est, step, "it squares integers, which may wrap around.", "Convert the columns to float64 first.")
    if FLOAT32 in dtypes and len(dtypes) > 1:
        raise refuse(est, step, "its inputs are float32 and other columns together.", "Train on float64 columns.")
    tensor = function.emit(ctx.graph, ctx.graph.tensor(table))
    if FLOAT32 in dtypes:
        tensor = ctx.graph.round32(tensor)
    return replace(table_of(tensor, [image(function, f) for f in table.features]), frame=table.frame)


def image(function: Function, feature: Feature) -> Feature:
    """What is known of the function's value."""
    low, high = max(feature.low, function.lowest), feature.high
    with np.errstate(all="ignore"):
        ends = [float(function.value(low)), float(function.value(high))]
    if low < 0 < high:
        ends.append(float(function.value(0.0)))
    if math.isnan(sum(ends)) or high < low:
        ends = [-math.inf, math.inf]
    keeps = function.keeps_integers and feature.dtype.kind in "iu"
    dtype = feature.dtype if keeps or feature.dtype == FLOAT32 else FLOAT64
    born = feature.low < function.lowest
    return replace(
        feature,
        dtype=dtype,
        low=min(ends),
        high=max(ends),
        nan=feature.nan or born,
        exact=feature.exact and function.exact,
    )
