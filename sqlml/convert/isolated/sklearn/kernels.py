"""Kernels and distances between each row and the rows that a model has kept.

Read in scikit-learn 1.9.1: metrics/pairwise.py, metrics/_pairwise_fast.pyx, preprocessing/_data.py (normalize); scipy's cdist.
All take the checked table and the kept rows [n, columns], and give a tensor [N, n]. Two forms of the Euclidean distance
exist in the original, and they round differently: |x|^2 - 2xy + |y|^2 (`squared_distances`) and the sum of squared
differences, column after column (`differences`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, refuse
from sqlml.convert.isolated.table import Table

PARAMETERS: Mapping[str, frozenset[str]] = {
    "linear": frozenset(),
    "cosine": frozenset(),
    "additive_chi2": frozenset(),
    "chi2": frozenset({"gamma"}),
    "rbf": frozenset({"gamma"}),
    "laplacian": frozenset({"gamma"}),
    "poly": frozenset({"gamma", "degree", "coef0"}),
    "polynomial": frozenset({"gamma", "degree", "coef0"}),
    "sigmoid": frozenset({"gamma", "coef0"}),
}
"""The kernels of pairwise_kernels, each with the parameters that filter_params=True leaves it."""

LOST = 1e-9
"""How much of a value, relative to the largest, may be rounding of a sum whose terms cancel."""
SAMPLE = 200
"""Kept rows on which that is tried."""
CANCELS = "Scale the columns (StandardScaler), or regularise more."


def significant(est: Estimator, matrix: Array, weights: Array, step: str, instead: str) -> None:
    """Do sums `matrix @ weights` keep digits enough? The last bit of a kernel differs between libraries.

    Measured: values differ by about three times `lost`.
    """
    values = matrix @ weights
    with np.errstate(over="ignore"):
        lost = 2.0**-53 * float(np.sqrt((matrix**2) @ (weights**2)).max(initial=0.0))
    size = max(1.0, float(np.abs(values).max(initial=0.0)))
    if not 4 * lost <= LOST * size:
        why = f"its weights cancel: rounding alone moves its values by {lost / size:.0e} of their size."
        raise refuse(est, step, why, instead)


def dense(rows: Any) -> Array:  # Any: a numpy array or a scipy sparse matrix
    """Kept rows as an array of doubles."""
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)


def times(graph: Graph, tensor: str, factor: float, width: int) -> str:
    """The tensor [N, width] times one number, never as one number beside a MatMul (see Graph.matmul)."""
    return graph.op("Mul", tensor, graph.double(np.full(width, float(factor))))


def plus(graph: Graph, tensor: str, term: float) -> str:
    return graph.op("Add", tensor, graph.double([float(term)]))


def not_below(graph: Graph, tensor: str, least: float) -> str:
    """np.maximum with a number: NaN stays NaN."""
    bound = graph.double([least])
    return graph.op("Where", graph.op("Less", tensor, bound), bound, tensor)


def not_above(graph: Graph, tensor: str, most: float) -> str:
    bound = graph.double([most])
    return graph.op("Where", graph.op("Greater", tensor, bound), bound, tensor)


def products(graph: Graph, table: Table, kept: Array) -> str:
    """x @ kept.T"""
    return graph.matmul(graph.tensor(table), np.ascontiguousarray(kept.T))


def squared_norms(graph: Graph, tensor: str) -> str:
    """[N, 1]: the sum of the row's squares."""
    return graph.reduce("Sum", graph.op("Mul", tensor, tensor))


def squared_distances(graph: Graph, table: Table, kept: Array) -> str:
    """euclidean_distances(X, kept, squared=True)."""
    doubled = times(graph, products(graph, table, kept), -2.0, len(kept))
    own = squared_norms(graph, graph.tensor(table))
    theirs = graph.double(np.einsum("ij,ij->i", kept, kept))
    return not_below(graph, graph.op("Add", graph.op("Add", doubled, own), theirs), 0.0)


def differences(
    graph: Graph, table: Table, kept: Array, each: Callable[[str], str], join: str = "Add", weights: Any = None
) -> str:
    """each(x_j - kept_j), and those of all columns j joined from left to right ("Add" or "Max")."""
    tensor = graph.tensor(table)
    total = None
    for j in range(kept.shape[1]):
        term = each(graph.op("Sub", graph.gather(tensor, [j]), graph.double(kept[:, j])))
        if weights is not None:
            term = times(graph, term, float(weights[j]), len(kept))
        total = term if total is None else graph.op(join, total, term)
    if total is None:
        raise ValueError("there are no columns")
    return total


def squared_differences(graph: Graph, table: Table, kept: Array) -> str:
    return differences(graph, table, kept, lambda off: graph.op("Mul", off, off))


def manhattan_distances(graph: Graph, table: Table, kept: Array) -> str:
    return differences(graph, table, kept, lambda off: graph.op("Abs", off))


def chebyshev_distances(graph: Graph, table: Table, kept: Array) -> str:
    return differences(graph, table, kept, lambda off: graph.op("Abs", off), join="Max")


def powered_differences(graph: Graph, table: Table, kept: Array, p: float) -> str:
    """sum |x - y|^p, whose p-th root is the Minkowski distance."""
    power = graph.double([float(p)])
    return differences(graph, table, kept, lambda off: graph.op("Pow", graph.op("Abs", off), power))


def normalized(graph: Graph, table: Table) -> str:
    """preprocessing.normalize: a norm of next to nothing counts as 1 (of sparse rows, only that of nothing)."""
    tensor = graph.tensor(table)
    norm = graph.op("Sqrt", squared_norms(graph, tensor))
    least = float(np.nextafter(0.0, 1.0)) if table.sparse else 10 * float(np.finfo(np.float64).eps)
    small = graph.op("Less", norm, graph.double([least]))
    return graph.op("Div", tensor, graph.op("Where", small, graph.double([1.0]), norm))


def cosine_similarities(graph: Graph, table: Table, kept: Array) -> str:
    from sklearn.preprocessing import normalize

    weights = np.asarray(normalize(kept, copy=True)).T
    return graph.matmul(normalized(graph, table), np.ascontiguousarray(weights))


def cosine_distances(graph: Graph, table: Table, kept: Array) -> str:
    far = plus(graph, times(graph, cosine_similarities(graph, table, kept), -1.0, len(kept)), 1.0)
    return not_above(graph, not_below(graph, far, 0.0), 2.0)


def additive_chi2(graph: Graph, table: Table, kept: Array, who: str) -> str:
    """-sum (x - y)^2 / (x + y); a negative value raises."""
    places = [i for i, f in enumerate(table.features) if f.low < 0.0]
    if places:
        at_risk = table.select(places)
        reasons = [f"{f.label} is negative, which {who}'s kernel does not accept" for f in at_risk.features]
        graph.error(graph.op("Less", graph.tensor(at_risk), graph.double([0.0])), reasons)
    tensor = graph.tensor(table)
    total = None
    for j in range(kept.shape[1]):
        own, theirs = graph.gather(tensor, [j]), graph.double(kept[:, j])
        off, both = graph.op("Sub", own, theirs), graph.op("Add", own, theirs)
        empty = graph.op("Equal", both, graph.double([0.0]))
        share = graph.op("Div", graph.op("Mul", off, off), graph.op("Where", empty, graph.double([1.0]), both))
        term = graph.op("Where", empty, graph.double([0.0]), share)
        total = term if total is None else graph.op("Add", total, term)
    if total is None:
        raise ValueError("there are no columns")
    return graph.op("Neg", total)


def rbf(graph: Graph, table: Table, kept: Array, gamma: float) -> str:
    return graph.op("Exp", times(graph, squared_distances(graph, table, kept), -gamma, len(kept)))


def kernel_matrix(
    ctx: Context, est: Estimator, table: Table, kept: Any, step: str, metric: Any, parameters: Mapping[str, Any]
) -> str:
    """pairwise_kernels(X, kept, metric, filter_params=True, **parameters) as [N, n].

    `kept` may be sparse; gamma=None is 1 / columns. Kernels that are functions or precomputed are refused by name.
    """
    if not isinstance(metric, str) or metric not in PARAMETERS:
        shown = "precomputed" if metric == "precomputed" else f"a function of its own ({named(metric)})"
        why = f"its kernel is {shown}, which needs Python or the training rows for every answer."
        raise refuse(est, step, why, f"Use one of the kernels {', '.join(sorted(PARAMETERS))}.")
    graph, rows = ctx.graph, dense(kept)
    given = {k: v for k, v in parameters.items() if k in PARAMETERS[metric] and v is not None}
    gamma = float(given.get("gamma", 1.0 if metric == "chi2" else 1.0 / rows.shape[1]))
    coef0, degree = float(given.get("coef0", 1.0)), float(given.get("degree", 3))
    if metric == "linear":
        return products(graph, table, rows)
    if metric == "cosine":
        return cosine_similarities(graph, table, rows)
    if metric == "rbf":
        return rbf(graph, table, rows, gamma)
    if metric == "laplacian":
        return graph.op("Exp", times(graph, manhattan_distances(graph, table, rows), -gamma, len(rows)))
    if metric == "sigmoid":
        return graph.op("Tanh", scaled_products(graph, table, rows, gamma, coef0))
    if metric in ("poly", "polynomial"):
        return power(graph, scaled_products(graph, table, rows, gamma, coef0), degree)
    chi2 = additive_chi2(graph, table, rows, type(est).__name__)
    return chi2 if metric == "additive_chi2" else graph.op("Exp", times(graph, chi2, gamma, len(rows)))


def scaled_products(graph: Graph, table: Table, kept: Array, gamma: float, coef0: float) -> str:
    """gamma * x @ kept.T + coef0"""
    return plus(graph, times(graph, products(graph, table, kept), gamma, len(kept)), coef0)


def power(graph: Graph, tensor: str, degree: float) -> str:
    return graph.op("Pow", tensor, graph.double([degree]))


def named(function: Any) -> str:  # Any: whatever was given for a kernel
    return str(getattr(function, "__name__", type(function).__name__))
