"""Transformers that make other columns: products and bins. Read in scikit-learn 1.9.1:
preprocessing/_polynomial.py, _discretization.py."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from itertools import combinations_with_replacement as with_replacement

import numpy as np

from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT32, Feature, Table, beside, table_of


def polynomial_features(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Products degree by degree: each is its first factor times the product of the others, as the original does."""
    graph = ctx.graph
    table = numbers(graph, est, table, step, float32=True)
    lowest, highest = int(est._min_degree), int(est._max_degree)
    width, x, dtype = len(table), graph.tensor(table), table.array_dtype
    choose = combinations if est.interaction_only else with_replacement
    parts: list[Table] = []
    if est.include_bias:
        constant = Feature(dtype, low=1.0, high=1.0, nan=False)
        parts.append(table_of(graph.rows([1.0]), [constant]))
    if lowest <= 1 <= highest:
        parts.append(table)
    previous, features = x, list(table.features)
    places: dict[tuple[int, ...], int] = {(i,): i for i in range(width)}
    for degree in range(2, highest + 1):
        terms = list(choose(range(width), degree))
        if not terms:
            break
        # Sparse data is multiplied from left to right instead, and what is 0 is not there to be multiplied.
        one = [t[-1] if table.sparse else t[0] for t in terms]
        rest = [places[t[:-1] if table.sparse else t[1:]] for t in terms]
        first = graph.gather(x, one)
        made = graph.op("Mul", graph.gather(previous, rest), first)
        if table.sparse and degree > 2:
            made = graph.op("Where", graph.op("Equal", first, graph.double([0.0])), graph.double([0.0]), made)
        previous = graph.settle(made, dtype)
        features = [product(table.features[a], features[b]) for a, b in zipped(one, rest)]
        places = {t: i for i, t in enumerate(terms)}
        if degree >= lowest:
            parts.append(table_of(previous, features))
    return replace(beside(parts), sparse=table.sparse)


def product(a: Feature, b: Feature) -> Feature:
    with np.errstate(all="ignore"):
        ends = np.multiply.outer([a.low, a.high], [b.low, b.high])
    unknown = bool(np.isnan(ends).any())
    low, high = (-np.inf, np.inf) if unknown else (float(ends.min()), float(ends.max()))
    if a.dtype == np.float32:
        low, high = float(np.float32(low)), float(np.float32(high))
    infinite = a.infinite or b.infinite
    sources = tuple(dict.fromkeys(chain(a.sources, b.sources)))
    return Feature(a.dtype, low=low, high=high, nan=unknown or infinite, sources=sources, exact=a.exact and b.exact)


def k_bins(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The number of inner edges at or below the value, as a number or one-hot."""
    graph = ctx.graph
    single = est.dtype is not None and np.dtype(est.dtype) == FLOAT32
    table = numbers(graph, est, table, step, finite="none" if single else "all", float32=est.dtype is None or single)
    if single:
        table = graph.refuse_beyond_float32(graph.refuse_missing(table, "KBinsDiscretizer"), "KBinsDiscretizer")
        narrow = [replace(f, dtype=FLOAT32) for f in table.features]
        table = table_of(graph.round32(graph.tensor(table)), narrow)
    parts = []
    for i, (edges, feature) in enumerate(zipped(est.bin_edges_, table.features)):
        bins = int(est.n_bins_[i])
        inner = np.asarray(edges[1:-1], dtype=np.float64)
        made = Feature(feature.dtype, low=0.0, high=float(max(bins - 1, 0)), nan=False, sources=feature.sources)
        column = graph.column(table, i)
        if not len(inner):
            index = graph.rows([0.0])
        else:
            index = graph.reduce("Sum", graph.as_double(graph.op("GreaterOrEqual", column, graph.double(inner))))
        if est.encode == "ordinal":
            parts.append(table_of(index, [made]))
        else:
            hits = graph.as_double(graph.op("Equal", index, graph.double(np.arange(float(bins)))))
            parts.append(table_of(hits, [replace(made, high=1.0)] * bins))
    return replace(beside(parts), sparse=est.encode == "onehot")


TRANSFORMERS: Transforms = {
    "preprocessing.PolynomialFeatures": polynomial_features,
    "preprocessing.KBinsDiscretizer": k_bins,
}
