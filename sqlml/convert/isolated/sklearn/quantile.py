"""QuantileTransformer. Read in scikit-learn 1.9.1: preprocessing/_data.py (_transform_col); numpy's interp
(compiled_base.c) and scipy's ndtri (xsf, cephes/ndtri.h)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.intervals import Steps, below, looked_up
from sqlml.convert.isolated.sklearn.mathematics import polynomial
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of

BOUNDS = 1e-7
"""preprocessing/_data.py, BOUNDS_THRESHOLD: so near to the ends counts as the end."""


def quantile_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    table = numbers(graph, est, table, step, finite="allow-nan")
    sparse = table.sparse
    if sparse and not est.ignore_implicit_zeros:
        negative = [i for i, f in enumerate(table.features) if f.low < 0]
        if negative:
            some = table.select(negative)
            reasons = [f"{f.label} is negative, and QuantileTransformer does not accept that" for f in some.features]
            graph.error(graph.op("Less", graph.tensor(some), graph.double([0.0])), reasons)
    normal = est.output_distribution == "normal"
    quantiles = np.asarray(est.quantiles_, dtype=np.float64)
    references = np.asarray(est.references_, dtype=np.float64)
    if np.isnan(quantiles).any():
        raise refuse(est, step, "a column of its training data was empty.", "Leave such columns out.")
    x = graph.tensor(table)
    y = interpolated(graph, x, quantiles, references)
    low, high = graph.double(quantiles[0]), graph.double(quantiles[-1])
    if normal:
        at_low = graph.op("Less", graph.op("Sub", x, graph.double(BOUNDS)), low)
        at_high = graph.op("Greater", graph.op("Add", x, graph.double(BOUNDS)), high)
    else:
        at_low, at_high = graph.op("Equal", x, low), graph.op("Equal", x, high)
    y = graph.op("Where", at_high, graph.double(1.0), y)
    y = graph.op("Where", at_low, graph.double(0.0), y)
    bounds = (0.0, 1.0)
    if normal:
        spare = BOUNDS - np.spacing(1)
        bounds = (ndtri_of(spare), ndtri_of(1 - spare))
        y = graph.op("Clip", ndtri(graph, y), graph.double(bounds[0]), graph.double(bounds[1]))
    if any(f.nan for f in table.features):
        y = graph.op("Where", graph.op("IsNaN", x), graph.double(math.nan), y)
    if sparse:
        # Only what is stored is transformed.
        y = graph.op("Where", graph.op("Equal", x, graph.double(0.0)), graph.double(0.0), y)
    graph.same_missing(y, x)
    ends = (min(bounds[0], 0.0), max(bounds[1], 0.0))
    features = [
        Feature(FLOAT64, low=ends[0], high=ends[1], nan=f.nan, missing=f.missing, sources=f.sources, exact=not normal)
        for f in table.features
    ]
    return table_of(y, features, sparse=sparse)


def interpolated(graph: Graph, x: str, quantiles: Array, references: Array) -> str:
    """The mean of the interpolations upwards and downwards, which differ where quantiles repeat: [N, K]."""
    columns = quantiles.shape[1]
    upward = [pieces(i, quantiles[:, i], references, down=False) for i in range(columns)]
    downward = [pieces(i, -quantiles[::-1, i], -references[::-1], down=True) for i in range(columns)]
    minus = graph.op("Neg", x)
    first = line(graph, x, looked_up(graph, x, [s for three in upward for s in three]), columns)
    second = line(graph, minus, looked_up(graph, minus, [s for three in downward for s in three]), columns)
    return graph.op("Mul", graph.op("Sub", first, second), graph.double(0.5))


def pieces(feature: int, xs: Array, ys: Array, *, down: bool) -> list[Steps]:
    """numpy.interp's line on each interval xs[i] <= x < xs[i + 1], as x0, slope and y0; flat outside."""
    last = np.append(np.flatnonzero(np.diff(xs) > 0), len(xs) - 1)  # of equal ones
    starts = xs[last]
    with np.errstate(all="ignore"):
        slopes = [(ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]) for i in last[:-1]]
    x0 = np.concatenate([[starts[0]], starts])
    slope = np.concatenate([[0.0], slopes, [0.0]])
    y0 = np.concatenate([[ys[0]], ys[last]])
    return [Steps(feature, below(starts), np.asarray(v, dtype=np.float64)) for v in (x0, slope, y0)]


def line(graph: Graph, x: str, found: str, columns: int) -> str:
    x0, slope, y0 = (graph.gather(found, range(k, 3 * columns, 3)) for k in range(3))
    risen = graph.op("Mul", slope, graph.op("Sub", x, x0))
    # 0 times infinity: far beyond the ends, or at a quantile that is a denormal away from the next.
    return graph.op("Add", graph.op("Where", graph.op("IsNaN", risen), graph.double(0.0), risen), y0)


# cephes/ndtri.h: coefficients of the rational approximations, from the highest power down; the divisors' first is 1.
CENTRE = (
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1, 1.39312609387279679503e1,
     -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1, -2.25462687854119370527e2,
     2.00260212380060660359e2, -8.20372256168333339912e1, 1.59056225126211695515e1, -1.18331621121330003142e0),
)  # fmt: skip
TAIL = (
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1, 4.40805073893200834700e1,
     1.46849561928858024014e1, 2.18663306850790267539e0, -1.40256079171354495875e-1, -3.50424626827848203418e-2,
     -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1, 1.50425385692907503408e1,
     2.50464946208309415979e0, -1.42182922854787788574e-1, -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)  # fmt: skip
EXP_MINUS_2 = 0.13533528323661269189
ROOT_2_PI = 2.50662827463100050242


def ndtri(graph: Graph, y: str) -> str:
    """The inverse of the normal distribution function for 1e-14 < y < 1; -inf at 0 and inf at 1.

    Below exp(-32), which the clip above never lets through, Cephes has a third approximation.
    """
    one = graph.double(1.0)
    swapped = graph.op("Greater", y, graph.double(1.0 - EXP_MINUS_2))
    small = graph.op("Where", swapped, graph.op("Sub", one, y), y)
    centred = graph.op("Sub", small, graph.double(0.5))
    square = graph.op("Mul", centred, centred)
    ratio = quotient(graph, square, CENTRE)
    cubic = graph.op("Mul", centred, graph.op("Mul", square, ratio))
    middle = graph.op("Mul", graph.op("Add", centred, cubic), graph.double(ROOT_2_PI))
    root = graph.op("Sqrt", graph.op("Mul", graph.op("Log", small), graph.double(-2.0)))
    first = graph.op("Sub", root, graph.op("Div", graph.op("Log", root), root))
    z = graph.op("Div", one, root)
    tail = graph.op("Sub", first, graph.op("Mul", z, quotient(graph, z, TAIL)))
    tail = graph.op("Where", swapped, tail, graph.op("Neg", tail))
    found = graph.op("Where", graph.op("Greater", small, graph.double(EXP_MINUS_2)), middle, tail)
    found = graph.op("Where", graph.op("LessOrEqual", y, graph.double(0.0)), graph.double(-math.inf), found)
    return graph.op("Where", graph.op("GreaterOrEqual", y, one), graph.double(math.inf), found)


def quotient(graph: Graph, x: str, parts: Sequence[Sequence[float]]) -> str:
    above, under = (polynomial(graph, x, coefficients) for coefficients in parts)
    return graph.op("Div", above, under)


def ndtri_of(y: Any) -> float:  # Any: a numpy float
    from scipy.stats import norm

    return float(norm.ppf(y))


TRANSFORMERS: Transforms = {"preprocessing.QuantileTransformer": quantile_transformer}
