"""FunctionTransformer with one of numpy's elementwise functions (or scipy's expit and logit), recognised by identity.

What IEEE arithmetic defines is exact to the last bit. ONNX has no arctan, cbrt, sinh ... in double: they are put together
from those it has, to within a few units in the last place, as libraries of mathematics differ among each other too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.special

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn import mathematics as m
from sqlml.convert.isolated.sklearn.context import Context, Estimator, refuse
from sqlml.convert.isolated.sklearn.linear import expit
from sqlml.convert.isolated.sklearn.mathematics import expm1, log1p
from sqlml.convert.isolated.sklearn.validate import refuse_text
from sqlml.convert.isolated.table import BOOL, FLOAT32, FLOAT64, LARGEST, OBJECT, Feature, Table, table_of


@dataclass(frozen=True)
class Function:
    """How a function is computed, and what comes of a feature's bounds.

    `exact`: IEEE arithmetic defines every bit of it (then float32 is right too). `lowest` and `highest`: beyond these it
    gives NaN. `bounds`: what it never leaves, for one that neither rises nor falls everywhere. `wave`: it gives NaN for
    an infinite number. `integers`: what comes of integers: "float", "same", or "refused" where numpy computes otherwise.
    `flag`: it gives booleans, of NaN too.
    """

    emit: Callable[[Graph, str], str]
    value: Callable[[float], float]
    exact: bool = False
    lowest: float = -math.inf
    highest: float = math.inf
    bounds: tuple[float, float] | None = None
    wave: bool = False
    integers: str = "float"
    flag: bool = False


def plain(kind: str) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op(kind, x)


def times(factor: float) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op("Mul", x, graph.double([factor]))


def rounded(graph: Graph, x: str) -> str:
    return graph.op("Round", x)


ANY = (-math.inf, math.inf)
UNIT = (-1.0, 1.0)

# numpy's ufuncs are single objects, and survive pickling as such.
FUNCTIONS: dict[Any, Function] = {
    np.log1p: Function(log1p, np.log1p, lowest=-1.0),
    np.log: Function(plain("Log"), np.log, lowest=0.0),
    np.log2: Function(m.scaled_log(2.0), np.log2, lowest=0.0),
    np.log10: Function(m.scaled_log(10.0), np.log10, lowest=0.0),
    np.exp: Function(plain("Exp"), np.exp),
    np.exp2: Function(m.exp2, np.exp2),
    np.expm1: Function(expm1, np.expm1),
    np.tanh: Function(plain("Tanh"), np.tanh),
    np.sinh: Function(m.sinh, np.sinh),
    np.cosh: Function(m.cosh, np.cosh, bounds=(1.0, math.inf)),
    np.arcsinh: Function(m.arcsinh, np.arcsinh),
    np.arctanh: Function(m.arctanh, np.arctanh, lowest=-1.0, highest=1.0),
    np.arctan: Function(m.arctan, np.arctan),
    np.sin: Function(plain("Sin"), np.sin, bounds=UNIT, wave=True),
    np.cos: Function(plain("Cos"), np.cos, bounds=UNIT, wave=True),
    np.tan: Function(m.tan, np.tan, bounds=ANY, wave=True),
    np.cbrt: Function(m.cbrt, np.cbrt),
    np.sqrt: Function(plain("Sqrt"), np.sqrt, exact=True, lowest=0.0),
    np.square: Function(m.square, np.square, exact=True, integers="refused"),
    np.reciprocal: Function(m.reciprocal, np.reciprocal, exact=True, bounds=ANY, integers="refused"),
    np.absolute: Function(plain("Abs"), np.absolute, exact=True, integers="same"),
    np.fabs: Function(plain("Abs"), np.fabs, exact=True),
    np.negative: Function(plain("Neg"), np.negative, exact=True, integers="same"),
    np.positive: Function(plain("Identity"), np.positive, exact=True, integers="same"),
    np.sign: Function(plain("Sign"), np.sign, exact=True, integers="same"),
    np.floor: Function(plain("Floor"), np.floor, exact=True),
    np.ceil: Function(plain("Ceil"), np.ceil, exact=True),
    np.trunc: Function(m.trunc, np.trunc, exact=True),
    np.rint: Function(rounded, np.rint, exact=True),
    np.deg2rad: Function(times(math.pi / 180.0), np.deg2rad),
    np.radians: Function(times(math.pi / 180.0), np.radians),
    np.rad2deg: Function(times(180.0 / math.pi), np.rad2deg),
    np.degrees: Function(times(180.0 / math.pi), np.degrees),
    np.isnan: Function(plain("IsNaN"), np.isnan, exact=True, flag=True),
    np.isinf: Function(plain("IsInf"), np.isinf, exact=True, flag=True),
    np.isfinite: Function(m.is_finite, np.isfinite, exact=True, flag=True),
    scipy.special.expit: Function(expit, scipy.special.expit),
    scipy.special.logit: Function(m.logit, scipy.special.logit, lowest=0.0, highest=1.0),
}


def with_arguments(func: Any, given: Mapping[str, Any]) -> Function | None:
    """numpy's functions that take arguments; None for other functions and other arguments."""
    named = {k: v for k, v in given.items() if v is not None}
    if not all(isinstance(v, (int, float, np.integer, np.floating)) for v in named.values()):
        return None
    if func is np.clip and set(named) <= {"a_min", "a_max", "min", "max"}:
        low = float(named.get("a_min", named.get("min", -math.inf)))
        high = float(named.get("a_max", named.get("max", math.inf)))
        if math.isnan(low) or math.isnan(high) or low > high:
            return None
        return Function(lambda graph, x: m.clipped(graph, x, low, high), lambda x: min(max(x, low), high))
    if (func is np.round or func is np.around) and set(named) <= {"decimals"}:
        decimals = int(named.get("decimals", 0))
        return Function(lambda graph, x: m.rounded(graph, x, decimals), lambda x: float(np.round(x, decimals)))
    return None


def replaced_missing(ctx: Context, given: Mapping[str, Any], table: Table) -> Table:
    """np.nan_to_num, which makes an array of a DataFrame."""
    nan = float(given.get("nan", 0.0) or 0.0)
    high = LARGEST if given.get("posinf") is None else float(given["posinf"])
    low = -LARGEST if given.get("neginf") is None else float(given["neginf"])
    graph = ctx.graph
    table = table.as_array()
    x = graph.tensor(table)
    made = graph.op("Where", graph.op("IsNaN", x), graph.double([nan]), x)
    made = graph.op("Where", graph.op("Equal", x, graph.double([math.inf])), graph.double([high]), made)
    made = graph.op("Where", graph.op("Equal", x, graph.double([-math.inf])), graph.double([low]), made)
    features = []
    for f in table.features:
        ends = [nan, low if f.low == -math.inf else f.low, high if f.high == math.inf else f.high]
        features.append(
            replace(f, low=min(ends), high=max(ends), nan=math.isnan(nan), missing=frozenset(), dtype=FLOAT64)
        )
    return table_of(made, features)


def elementwise(ctx: Context, est: Estimator, func: Any, given: Mapping[str, Any], table: Table, step: str) -> Table:
    function = FUNCTIONS.get(func) if isinstance(func, np.ufunc) and not given else with_arguments(func, given)
    if function is None and not (func is np.nan_to_num and set(given) <= {"nan", "posinf", "neginf"}):
        name = getattr(func, "__name__", repr(func))
        with_them = f" with the arguments {', '.join(given)}" if given else ""
        known = ", ".join(sorted(f.__name__ for f in FUNCTIONS))
        why = f"it calls the Python function {name!r}{with_them}, which has no translation."
        hint = f"Use one of numpy's (scipy's) {known}, clip, round or nan_to_num itself (not a wrapper)"
        raise refuse(est, step, why, f"{hint}, or compute the column in SQL.")
    refuse_text(est, table, step)
    if table.sparse:
        raise refuse(
            est, step, "it applies a function to sparse data.", "Set sparse_output=False in the encoder before it."
        )
    dtypes = {f.dtype for f in table.features}
    if dtypes & {BOOL, OBJECT}:
        why = "it applies a function to booleans or objects, for which numpy computes in another type."
        raise refuse(est, step, why, "Convert the columns to float64 first.")
    if FLOAT32 in dtypes and (function is None or not function.exact):
        why = "it computes in float32, whose roundings cannot be reproduced."
        raise refuse(est, step, why, "Train on float64 columns.")
    whole = any(d.kind in "iu" for d in dtypes)
    if function is None:
        return replaced_missing(ctx, given, table)
    if whole and function.integers == "refused":
        why = f"it applies {func.__name__} to integers, which may wrap around or be cut."
        raise refuse(est, step, why, "Convert the columns to float64 first.")
    if whole and not isinstance(func, np.ufunc):
        why = f"it applies {func.__name__} to integers, which stay integers or not as numpy's version has it."
        raise refuse(est, step, why, "Convert the columns to float64 first.")
    if FLOAT32 in dtypes and len(dtypes) > 1:
        raise refuse(est, step, "its inputs are float32 and other columns together.", "Train on float64 columns.")
    tensor = function.emit(ctx.graph, ctx.graph.tensor(table))
    if function.flag:
        tensor = ctx.graph.as_double(tensor)
    elif FLOAT32 in dtypes:
        tensor = ctx.graph.round32(tensor)
    return replace(table_of(tensor, [image(function, f) for f in table.features]), frame=table.frame)


def image(function: Function, feature: Feature) -> Feature:
    """What is known of the function's value."""
    if function.flag:
        return replace(feature, dtype=BOOL, low=0.0, high=1.0, nan=False, missing=frozenset())
    low, high = max(feature.low, function.lowest), min(feature.high, function.highest)
    with np.errstate(all="ignore"):
        ends = [float(function.value(low)), float(function.value(high))]
        if low < 0 < high:
            ends.append(float(function.value(0.0)))
    if math.isnan(sum(ends)) or high < low:
        ends = [-math.inf, math.inf]
    if function.bounds is not None:
        ends = list(function.bounds)
    same = function.integers == "same" and feature.dtype.kind in "iu"
    dtype = feature.dtype if same or feature.dtype == FLOAT32 else FLOAT64
    born = feature.low < function.lowest or feature.high > function.highest or (function.wave and feature.infinite)
    return replace(
        feature,
        dtype=dtype,
        low=min(ends),
        high=max(ends),
        nan=feature.nan or born,
        exact=feature.exact and function.exact,
    )
