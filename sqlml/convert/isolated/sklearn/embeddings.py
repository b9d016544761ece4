"""Transformers that place a row among what training found: centres, clusters of columns, leaves of trees, dictionaries.

Read in scikit-learn 1.9.1: cluster/_kmeans.py, _birch.py, _feature_agglomeration.py, ensemble/_forest.py
(RandomTreesEmbedding), decomposition/_dict_learning.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.clusters import checked
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.kernels import squared_distances
from sqlml.convert.isolated.sklearn.linear import best
from sqlml.convert.isolated.sklearn.projections import dense, doubles, mixed
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.trees import as_float32, fitted_tree, takes_nan, tree_ensemble
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Feature, Table, beside, table_of

MOST_SORTED = 16
"""Columns whose median is taken by comparing each with its neighbour, again and again."""


def distances(ctx: Context, est: Estimator, table: Table, step: str, centers: Any) -> Table:
    """euclidean_distances to each centre."""
    graph = ctx.graph
    table = checked(ctx, est, table, step, centers)
    kept = doubles(centers)
    done = mixed(table, graph.op("Sqrt", squared_distances(graph, table, kept)), len(kept))
    return done.with_features([replace(f, low=0.0) for f in done.features])


def to_centers(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    return distances(ctx, est, table, step, est.cluster_centers_)


def to_subclusters(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    return distances(ctx, est, table, step, est.subcluster_centers_)


def feature_agglomeration(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The columns of each cluster as one."""
    graph = ctx.graph
    table = dense(est, numbers(graph, est, table, step), step)
    pool = POOLS.get(est.pooling_func)
    if pool is None:
        name = getattr(est.pooling_func, "__name__", repr(est.pooling_func))
        why = f"it pools columns by the function {name!r}, which has no translation."
        raise refuse(est, step, why, "Use np.mean, np.median, np.max, np.min or np.sum.")
    labels = np.asarray(est.labels_)
    parts = []
    for label in np.unique(labels):
        members = table.select([int(i) for i in np.flatnonzero(labels == label)])
        if est.pooling_func is np.median and len(members) > MOST_SORTED:
            why = f"it takes the median of {len(members)} columns at once."
            raise refuse(est, step, why, f"Use np.mean, or more clusters (at most {MOST_SORTED} columns each).")
        made = mixed(members, pool(graph, members), 1)
        if est.pooling_func in (np.max, np.min):
            exact = all(f.exact for f in members.features)
            low, high = min(f.low for f in members.features), max(f.high for f in members.features)
            made = made.with_features([replace(made.features[0], low=low, high=high, nan=False, exact=exact)])
        parts.append(made)
    return beside(parts)


def pooled_sum(graph: Graph, table: Table) -> str:
    return graph.reduce("Sum", graph.tensor(table))


def pooled_mean(graph: Graph, table: Table) -> str:
    """From left to right, then divided, as numpy's bincount does."""
    total = graph.column(table, 0)
    for i in range(1, len(table)):
        total = graph.op("Add", total, graph.column(table, i))
    return total if len(table) == 1 else graph.op("Div", total, graph.double(float(len(table))))


def pooled_median(graph: Graph, table: Table) -> str:
    columns = [graph.column(table, i) for i in range(len(table))]
    for turn in range(len(columns)):
        for i in range(turn % 2, len(columns) - 1, 2):
            a, b = columns[i], columns[i + 1]
            columns[i], columns[i + 1] = graph.op("Min", a, b), graph.op("Max", a, b)
    middle = len(columns) // 2
    if len(columns) % 2:
        return columns[middle]
    return graph.op("Div", graph.op("Add", columns[middle - 1], columns[middle]), graph.double(2.0))


POOLS = {
    np.mean: pooled_mean,
    np.median: pooled_median,
    np.max: lambda graph, table: graph.reduce("Max", graph.tensor(table)),
    np.min: lambda graph, table: graph.reduce("Min", graph.tensor(table)),
    np.sum: pooled_sum,
}


def trees_embedding(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """For each tree, which of its leaves the row falls into."""
    graph = ctx.graph
    sources = tuple(dict.fromkeys(s for f in table.features for s in f.sources))
    tensor = as_float32(ctx, est, table, step, nan=takes_nan(est.estimators_[0], table, in_forest=True))
    encoder = est.one_hot_encoder_
    trees = []
    for target, (tree, leaves) in enumerate(zipped(est.estimators_, encoder.categories_)):
        place = {int(leaf): float(k) for k, leaf in enumerate(leaves)}
        fitted = tree.tree_
        numbered = np.array([place.get(i, -1.0) for i in range(fitted.node_count)])
        trees.append(fitted_tree(fitted, numbered, target))
    found = tree_ensemble(graph, tensor, trees, len(trees))
    parts: list[str] = []
    for target, leaves in enumerate(encoder.categories_):
        hits = graph.op("Equal", graph.gather(found, [target]), graph.double(np.arange(float(len(leaves)))))
        parts.append(graph.as_double(hits))
    width = sum(len(leaves) for leaves in encoder.categories_)
    made = Feature(np.dtype(encoder.dtype), low=0.0, high=1.0, nan=False, sources=sources)
    return table_of(graph.join(parts), [made] * width, sparse=bool(est.sparse_output))


def sparse_coder(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    return coded(ctx, est, table, step, est.dictionary)


def dictionary_learning(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    return coded(ctx, est, table, step, est.components_)


def coded(ctx: Context, est: Estimator, table: Table, step: str, dictionary: Any) -> Table:
    """Products with the atoms: moved towards 0, or only the greatest of them."""
    graph = ctx.graph
    atoms = doubles(dictionary)
    chosen = est.transform_n_nonzero_coefs
    if chosen is None:
        chosen = int(min(max(atoms.shape[1] / 10, 1), len(atoms)))  # _sparse_encode's own choice
    pursuit = est.transform_algorithm == "omp" and chosen == 1
    if not pursuit and est.transform_algorithm != "threshold":
        number = f", {chosen} of them" if est.transform_algorithm == "omp" else ""
        why = f"its code is found by an algorithm that chooses atoms step by step ({est.transform_algorithm}{number})."
        raise refuse(est, step, why, "Use transform_algorithm='threshold', 'omp' with one coefficient, or PCA.")
    table = dense(est, numbers(graph, est, table, step), step)
    cov = graph.matmul(graph.tensor(table), np.ascontiguousarray(atoms.T))
    code = nearest_atom(graph, cov, atoms) if pursuit else shrunk(graph, est, cov, len(atoms))
    if not est.split_sign:
        return mixed(table, code, len(atoms))
    zero = graph.double([0.0])
    parts: Sequence[str] = [graph.op("Max", code, zero), graph.op("Neg", graph.op("Min", code, zero))]
    return mixed(table, graph.join(parts), 2 * len(atoms))


def nearest_atom(graph: Graph, cov: str, atoms: Array) -> str:
    """Orthogonal matching pursuit of one atom: the greatest product, divided by the atom's own square."""
    size = graph.op("Abs", cov)
    place = best(graph, size)
    here = graph.op("Equal", place, graph.ints(np.arange(len(atoms)).reshape(1, -1)))
    # linear_model/_omp.py: below the machine epsilon none is chosen.
    seen = graph.op("GreaterOrEqual", graph.op("Mul", cov, cov), graph.double([float(np.finfo(np.float64).eps)]))
    value = graph.op("Div", cov, graph.double(np.einsum("ij,ij->i", atoms, atoms)))
    return graph.op("Where", graph.op("And", here, seen), value, graph.double([0.0]))


def shrunk(graph: Graph, est: Estimator, cov: str, width: int) -> str:
    """The products, each moved towards 0."""
    alpha = est.transform_alpha
    if alpha is None and since(1, 2):
        alpha = getattr(est, "alpha", None)
    # _sparse_encode: 1 where nobody says.
    limit = 1.0 if alpha is None else float(alpha)
    zero = graph.double([0.0])
    size = graph.op("Max", graph.op("Sub", graph.op("Abs", cov), graph.double(np.full(width, limit))), zero)
    code = graph.op("Mul", graph.op("Sign", cov), size)
    return graph.op("Max", code, zero) if est.positive_code else code


TRANSFORMERS: Transforms = {
    "cluster.KMeans": to_centers,
    "cluster.MiniBatchKMeans": to_centers,
    "cluster.BisectingKMeans": to_centers,
    "cluster.Birch": to_subclusters,
    "cluster.FeatureAgglomeration": feature_agglomeration,
    "ensemble.RandomTreesEmbedding": trees_embedding,
    "decomposition.SparseCoder": sparse_coder,
    "decomposition.DictionaryLearning": dictionary_learning,
    "decomposition.MiniBatchDictionaryLearning": dictionary_learning,
}
