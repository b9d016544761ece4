"""The way back from a transformed target. Read in scikit-learn 1.9.1: preprocessing/_data.py, _function_transformer.py,
pipeline.py; scipy's inv_boxcox and ndtr (xsf, cephes/ndtr.h)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, below, refuse
from sqlml.convert.isolated.sklearn.functions import FUNCTIONS
from sqlml.convert.isolated.sklearn.intervals import looked_up
from sqlml.convert.isolated.sklearn.mathematics import log1p, polynomial
from sqlml.convert.isolated.sklearn.power import row
from sqlml.convert.isolated.sklearn.quantile import BOUNDS, line, pieces
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of

EPSILON = float(np.spacing(1.0))
LARGEST_PRODUCT = 1.79e308
"""From here on scipy's inv_boxcox takes logarithms one by one."""


def inverse(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    """The tensor that est.inverse_transform makes of the table's doubles."""
    convert = INVERSES.get(type(est).__name__) if type(est).__module__.startswith("sklearn.") else None
    if convert is None:
        instead = f"Use one of {', '.join(INVERSES)}, or numpy's log1p and expm1."
        raise refuse(est, step, "there is no exact translation of its inverse_transform.", instead)
    return convert(ctx, est, table, step)


def pipeline(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    for name, transformer in reversed(est.steps):
        if transformer is not None and transformer != "passthrough":
            table = answer(inverse(ctx, transformer, table, below(step, name)), table)
    return ctx.graph.tensor(table)


def answer(tensor: str, table: Table) -> Table:
    """As many columns, of which only their sources are known."""
    return table_of(tensor, [Feature(FLOAT64, sources=f.sources, exact=False) for f in table.features])


def function(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    graph = ctx.graph
    if est.validate:
        # check_array on the prediction itself: an infinite one raises.
        table = graph.refuse_infinite(graph.refuse_missing(table, "FunctionTransformer"), "FunctionTransformer")
    if est.inverse_func is None:
        return graph.tensor(table)
    known = FUNCTIONS.get(est.inverse_func) if isinstance(est.inverse_func, np.ufunc) else None
    if known is None or est.inv_kw_args:
        name = getattr(est.inverse_func, "__name__", repr(est.inverse_func))
        names = ", ".join(sorted(f.__name__ for f in FUNCTIONS if isinstance(f, np.ufunc)))
        raise refuse(est, step, f"its inverse is the Python function {name!r}.", f"Use one of numpy's {names}.")
    return known.emit(graph, graph.tensor(table))


def no_infinity(ctx: Context, est: Estimator, table: Table) -> str:
    return ctx.graph.tensor(ctx.graph.refuse_infinite(table, type(est).__name__))


def standard_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    tensor = no_infinity(ctx, est, table)
    if est.with_std:
        tensor = ctx.graph.op("Mul", tensor, ctx.graph.double(est.scale_))
    return ctx.graph.op("Add", tensor, ctx.graph.double(est.mean_)) if est.with_mean else tensor


def robust_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    tensor = no_infinity(ctx, est, table)
    if est.with_scaling:
        tensor = ctx.graph.op("Mul", tensor, ctx.graph.double(est.scale_))
    return ctx.graph.op("Add", tensor, ctx.graph.double(est.center_)) if est.with_centering else tensor


def max_abs_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    return ctx.graph.op("Mul", no_infinity(ctx, est, table), ctx.graph.double(est.scale_))


def min_max_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    shifted = ctx.graph.op("Sub", no_infinity(ctx, est, table), ctx.graph.double(est.min_))
    return ctx.graph.op("Div", shifted, ctx.graph.double(est.scale_))


def power_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    graph = ctx.graph
    table = graph.refuse_infinite(table, "PowerTransformer")
    lambdas = np.asarray(est.lambdas_, dtype=np.float64)
    tensor = standard_scaler(ctx, est._scaler, table, step) if est.standardize else graph.tensor(table)
    return box_cox(graph, tensor, lambdas) if est.method == "box-cox" else yeo_johnson(graph, tensor, lambdas)


def box_cox(graph: Graph, x: str, lambdas: Array) -> str:
    """exp(log1p(lambda * x) / lambda), or exp(x)."""
    from scipy.special import inv_boxcox

    zero = lambdas == 0
    used = np.where(zero, 1.0, lambdas)
    product = graph.op("Mul", x, graph.double(used))
    logarithm = log1p(graph, product)
    if np.isfinite(inv_boxcox(1e308, 2.0)):
        shifted = graph.op("Mul", graph.op("Add", x, graph.double(1 / used)), graph.double(np.sign(used)))
        parts = graph.op("Add", graph.op("Log", shifted), graph.double(np.log(np.abs(used))))
        large = graph.op("GreaterOrEqual", product, graph.double([LARGEST_PRODUCT] * len(used)))
        logarithm = graph.op("Where", large, parts, logarithm)
    exponent = graph.op("Div", logarithm, graph.double(used))
    return graph.op("Exp", graph.op("Where", row(graph, zero), x, exponent) if zero.any() else exponent)


def yeo_johnson(graph: Graph, x: str, lambdas: Array) -> str:
    """A power of 1 + lambda * x, less 1; from 2 - lambda and the other way round where x is negative."""
    one, zero = graph.double([1.0]), graph.double([0.0])
    above = graph.op("Sub", root(graph, x, lambdas, np.abs(lambdas) < EPSILON), one)
    other = 2.0 - lambdas
    under = graph.op("Sub", one, root(graph, graph.op("Neg", x), other, np.abs(lambdas - 2) <= EPSILON))
    return graph.op("Where", graph.op("GreaterOrEqual", x, zero), above, under)


def root(graph: Graph, x: str, lambdas: Array, zero: Array) -> str:
    """(x * lambda + 1) ** (1 / lambda), and its limit exp(x)."""
    used = np.where(zero, 1.0, lambdas)
    base = graph.op("Add", graph.op("Mul", x, graph.double(used)), graph.double([1.0]))
    exponent = graph.op("Div", graph.op("Log", base), graph.double(used))
    return graph.op("Exp", graph.op("Where", row(graph, zero), x, exponent) if zero.any() else exponent)


def quantile_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    graph = ctx.graph
    x = no_infinity(ctx, est, table)
    missing = graph.op("IsNaN", x)
    quantiles = np.asarray(est.quantiles_, dtype=np.float64)
    references = np.asarray(est.references_, dtype=np.float64)
    width = quantiles.shape[1]
    lowest, highest = graph.double(quantiles[0]), graph.double(quantiles[-1])
    if est.output_distribution == "normal":
        x = ndtr(graph, x)
        at_low = graph.op("Less", graph.op("Sub", x, graph.double([BOUNDS] * width)), graph.double([0.0]))
        at_high = graph.op("Greater", graph.op("Add", x, graph.double([BOUNDS] * width)), graph.double([1.0]))
    else:
        at_low, at_high = graph.op("Equal", x, graph.double([0.0])), graph.op("Equal", x, graph.double([1.0]))
    tables = [s for i in range(width) for s in pieces(i, references, quantiles[:, i], down=False)]
    y = line(graph, x, looked_up(graph, x, tables), width)
    y = graph.op("Where", at_low, lowest, graph.op("Where", at_high, highest, y))
    return graph.op("Where", missing, graph.double([math.nan]), y)


# cephes/ndtr.h: erf and erfc as quotients of polynomials, from the highest power down.
ERF = (
    (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
     5.55923013010394962768e4),
    (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
     4.92673942608635921086e4),
)  # fmt: skip
ERFC = (
    (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
     1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
     5.57535335369399327526e2),
    (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
     1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2),
)  # fmt: skip
FAR = 8.0
"""Beyond, erfc is below 1e-29, which is nothing beside BOUNDS: cephes's other formula for it is not needed."""


def ndtr(graph: Graph, x: str) -> str:
    """The normal distribution function."""
    scaled = graph.op("Mul", x, graph.double(math.sqrt(0.5)))
    size = graph.op("Min", graph.op("Abs", scaled), graph.double([FAR]))
    square = graph.op("Mul", size, size)
    half = graph.double([0.5])
    # Near 0; the sign is that of x.
    near = graph.op("Mul", graph.op("Mul", size, quotient(graph, square, ERF)), half)
    tail = graph.op("Mul", graph.op("Mul", graph.op("Exp", graph.op("Neg", square)), quotient(graph, size, ERFC)), half)
    inner = graph.op("Less", size, graph.double([1.0]))
    positive = graph.op("Greater", x, graph.double([0.0]))
    above = graph.op("Where", inner, graph.op("Add", half, near), graph.op("Sub", graph.double([1.0]), tail))
    under = graph.op("Where", inner, graph.op("Sub", half, near), tail)
    return graph.op("Where", positive, above, under)


def quotient(graph: Graph, x: str, parts: Any) -> str:  # Any: two tuples of coefficients
    return graph.op("Div", polynomial(graph, x, parts[0]), polynomial(graph, x, parts[1]))


INVERSES: Mapping[str, Callable[[Context, Estimator, Table, str], str]] = {
    "FunctionTransformer": function,
    "MaxAbsScaler": max_abs_scaler,
    "MinMaxScaler": min_max_scaler,
    "Pipeline": pipeline,
    "PowerTransformer": power_transformer,
    "QuantileTransformer": quantile_transformer,
    "RobustScaler": robust_scaler,
    "StandardScaler": standard_scaler,
}
