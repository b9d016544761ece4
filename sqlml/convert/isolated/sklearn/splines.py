"""SplineTransformer. Read in scikit-learn 1.9.1: preprocessing/_polynomial.py; scipy 1.18: interpolate/_bsplines.py and
its _deBoor_D.

Every operation of de Boor's recursion is done here as scipy does it, on the knots around the value, so that the result
is scipy's own also far outside of the knots. What scikit-learn does at the ends is taken from its source line by
line, even that its linear extrapolation of degree 0 and 1 counts the degree up from column to column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of


def spline_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    zeros = getattr(est, "handle_missing", "error") == "zeros"
    table = numbers(graph, est, table, step, finite="none" if zeros else "all")
    sparse = bool(getattr(est, "sparse_output", False))
    if sparse and est.extrapolation == "periodic" and est.degree == 0:
        why = "periodic splines of degree 0 as a sparse matrix fail in scikit-learn itself."
        raise refuse(est, step, why, "Use sparse_output=False.")
    count = int(est.bsplines_[0].c.shape[1])
    kept = count if est.include_bias else count - 1
    degree = int(est.degree)
    parts: list[str] = []
    features: list[Feature] = []
    for i, feature in enumerate(table.features):
        x = graph.column(table, i)
        made, degree = column(graph, est, est.bsplines_[i], x, degree, feature, sparse=sparse)
        if feature.nan:
            made = graph.op("Where", graph.op("IsNaN", x), graph.double([0.0]), made)
        parts.append(graph.gather(made, range(kept)) if kept < count else made)
        continued = est.extrapolation in ("continue", "linear") or (
            est.extrapolation == "periodic" and feature.infinite
        )
        bounds = (-np.inf, np.inf) if continued else (-1e-9, 1 + 1e-9)
        one = Feature(FLOAT64, low=bounds[0], high=bounds[1], nan=continued, sources=feature.sources)
        features += [one] * kept
    return table_of(graph.join(parts), features, sparse=sparse)


def column(
    graph: Graph, est: Estimator, spline: Any, x: str, degree: int, feature: Feature, *, sparse: bool
) -> tuple[str, int]:
    """The splines of one column [N, count], and the degree that the next column is treated with."""
    knots, order = np.asarray(spline.t, dtype=np.float64), int(spline.k)
    last = len(knots) - order - 1
    if est.extrapolation == "periodic":
        start, period = float(knots[order]), float(knots[last] - knots[order])
        if period <= 0:
            return basis(graph, spline, graph.rows([0.0]), sparse=sparse), degree
        return basis(graph, spline, wrapped(graph, x, start, period), sparse=sparse), degree
    if est.extrapolation in ("continue", "error"):
        if est.extrapolation == "error":
            beyond = [
                graph.op("Less", x, graph.double(knots[order])),
                graph.op("Greater", x, graph.double(knots[last])),
            ]
            reason = f"{feature.label} is beyond the knots of SplineTransformer"
            graph.error(graph.join(beyond), [reason, reason])
        return basis(graph, spline, x, sparse=sparse), degree
    # "constant" and "linear": only what lies between these two is asked of the spline, and all else starts as 0.
    low, high = float(knots[degree]), float(knots[-degree - 1])
    at_low, at_high = np.asarray(spline(low)), np.asarray(spline(high))
    count = len(at_low)
    under, above = graph.op("Less", x, graph.double([low])), graph.op("Greater", x, graph.double([high]))
    inner = graph.op("Where", graph.op("Or", under, above), graph.double([low]), x)
    made = basis(graph, spline, inner, sparse=sparse)
    if est.extrapolation == "constant":
        first, final = np.zeros(count), np.zeros(count)
        first[:degree] = at_low[:degree]
        if degree or sparse:
            final[-degree:] = at_high[-degree:]  # all of it for degree 0, as in the original
        elif count > 1:
            # All of it again, but into an empty slice of the output.
            graph.error(above, [f"{feature.label} is beyond the knots, where SplineTransformer fails for degree 0"])
        made = graph.op("Where", under, graph.double(first), made)
        return graph.op("Where", above, graph.double(final), made), degree
    slope_low, slope_high = np.asarray(spline(low, nu=1)), np.asarray(spline(high, nu=1))
    if degree <= 1:
        degree += 1
    firsts = [j for j in range(count) if j < degree]
    finals = [j for j in range(count) if j >= count - degree]
    made = graph.op("Where", under, line(graph, x, low, at_low, slope_low, firsts), made)
    return graph.op("Where", above, line(graph, x, high, at_high, slope_high, finals), made), degree


def line(graph: Graph, x: str, start: float, value: Array, slope: Array, places: Sequence[int]) -> str:
    """value + (x - start) * slope in these places, else 0: [N, count]."""
    off = graph.op("Sub", x, graph.double([start]))
    found = graph.op("Add", graph.op("Mul", off, graph.double(slope)), graph.double(value))
    chosen = np.isin(np.arange(len(value)), places).reshape(1, -1)
    return found if chosen.all() else graph.op("Where", graph.constant(chosen), found, graph.double([0.0]))


def wrapped(graph: Graph, x: str, start: float, period: float) -> str:
    """start + (x - start) % period, as numpy computes it: C's fmod, then into the divisor's sign."""
    off, unit = graph.op("Sub", x, graph.double([start])), graph.double([period])
    rest = graph.op("Mod", off, unit, fmod=1)
    below = graph.op("Less", rest, graph.double([0.0]))
    rest = graph.op("Where", below, graph.op("Add", rest, unit), rest)
    return graph.op("Add", rest, graph.double([start]))


def basis(graph: Graph, spline: Any, x: str, *, sparse: bool) -> str:
    """spline(x) as [N, count]; beyond the outer knots of the base interval, the polynomials next to them."""
    knots, order = np.asarray(spline.t, dtype=np.float64), int(spline.k)
    coefficients = np.asarray(spline.c, dtype=np.float64)
    places = np.arange(order, len(knots) - order - 1)
    inside = interval(graph, x, knots[places[1:]])
    around = {
        shift: graph.matmul(inside, knots[places + shift].reshape(-1, 1)) for shift in range(1 - order, order + 1)
    }
    work = de_boor(graph, x, order, around)
    total = ""
    for a, value in enumerate(work):
        weights = graph.matmul(inside, coefficients[places + a - order])
        if sparse:
            # design_matrix stores only what belongs to the interval; spline(x) multiplies by the zeros too.
            term = graph.op("Where", graph.op("Equal", weights, graph.double([0.0])), graph.double([0.0]), value)
        else:
            term = graph.op("Mul", weights, value)
        total = term if not total else graph.op("Add", total, term)
    return total


def interval(graph: Graph, x: str, starts: Array) -> str:
    """One 1 in each row: where x lies among the knots, the last interval being closed."""
    if not len(starts):
        return graph.rows([1.0])
    above = graph.as_double(graph.op("GreaterOrEqual", x, graph.double(starts)))
    one, none = graph.rows([1.0]), graph.rows([0.0])
    return graph.op("Sub", graph.join([one, above]), graph.join([above, none]))


def de_boor(graph: Graph, x: str, order: int, around: dict[int, str]) -> list[str]:
    """The values of the order + 1 basis functions that are not 0 at x."""
    work = [graph.rows([1.0])]
    for j in range(1, order + 1):
        previous, work = work, [graph.rows([0.0])]
        for n in range(1, j + 1):
            right, left = around[n], around[n - j]
            width = graph.op("Sub", right, left)
            # Knots that coincide (quantiles of few values): that function is 0 everywhere.
            none = graph.op("Equal", width, graph.double([0.0]))
            share = graph.op("Div", previous[n - 1], graph.op("Where", none, graph.double([1.0]), width))
            share = graph.op("Where", none, graph.double([0.0]), share)
            work[n - 1] = graph.op("Add", work[n - 1], graph.op("Mul", share, graph.op("Sub", right, x)))
            work.append(graph.op("Mul", share, graph.op("Sub", x, left)))
    return work


TRANSFORMERS: Transforms = {"preprocessing.SplineTransformer": spline_transformer}
