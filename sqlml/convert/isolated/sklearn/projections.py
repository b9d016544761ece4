"""Transformers that multiply by a matrix. Read in scikit-learn 1.9.1: decomposition/_base.py, _truncated_svd.py,
_incremental_pca.py, _factor_analysis.py, _fastica.py, _sparse_pca.py, linear_model/_ridge.py, random_projection.py,
neighbors/_nca.py, discriminant_analysis.py, cross_decomposition/_pls.py, neural_network/_rbm.py.

Sums over columns are left to each side's linear algebra; centring comes before or after them as in the original, for
far from the origin that is where digits are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.linear import expit, linear
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of


def doubles(values: Any) -> Array:  # Any: a fitted array, or a sparse matrix
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)


def mixed(table: Table, tensor: str, width: int, *, sparse: bool = False) -> Table:
    """A tensor whose every column is a sum over all columns of the table; its last bits are onnxruntime's own."""
    sources = tuple(dict.fromkeys(chain.from_iterable(f.sources for f in table.features)))
    return table_of(tensor, [Feature(FLOAT64, sources=sources, exact=False)] * width, sparse=sparse)


def projected(ctx: Context, table: Table, components: Array, offset: Array) -> Table:
    """X @ components.T - offset."""
    return mixed(table, linear(ctx, table, components, -offset), components.shape[0])


def centred(ctx: Context, table: Table, mean: Any, matrices: Sequence[Array], scale: Any = None) -> Table:
    """(X - mean) / scale @ M1 @ M2 ..."""
    graph = ctx.graph
    tensor = graph.op("Sub", graph.tensor(table), graph.double(np.asarray(mean, dtype=np.float64).reshape(-1)))
    if scale is not None:
        tensor = graph.op("Div", tensor, graph.double(np.asarray(scale, dtype=np.float64).reshape(-1)))
    for matrix in matrices:
        tensor = graph.matmul(tensor, matrix)
    return mixed(table, tensor, matrices[-1].shape[1])


def pca(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step)
    components = doubles(est.components_)
    done = projected(ctx, table, components, np.asarray(est.mean_, dtype=np.float64).reshape(1, -1) @ components.T)
    if not est.whiten:
        return done
    scale = np.sqrt(np.asarray(est.explained_variance_, dtype=np.float64))
    scale = np.maximum(scale, np.finfo(np.asarray(est.explained_variance_).dtype).eps)
    return table_of(ctx.graph.op("Div", ctx.graph.tensor(done), ctx.graph.double(scale)), done.features)


def incremental_pca(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Sparse input is made dense batch by batch, and so it is not sparse afterwards either."""
    return pca(ctx, est, table, step)


def truncated_svd(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step)
    components = doubles(est.components_)
    return projected(ctx, table, components, np.zeros(components.shape[0]))


def factor_analysis(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = dense(est, numbers(ctx.graph, est, table, step), step)
    components = doubles(est.components_)
    weighted = components / np.asarray(est.noise_variance_, dtype=np.float64)
    covariance = np.linalg.inv(np.eye(len(components)) + weighted @ components.T)
    return centred(ctx, table, est.mean_, [weighted.T, covariance])


def fast_ica(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = dense(est, numbers(ctx.graph, est, table, step), step)
    components = doubles(est.components_)
    if not est.whiten:
        return projected(ctx, table, components, np.zeros(components.shape[0]))
    return centred(ctx, table, est.mean_, [components.T])


def sparse_pca(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Its ridge_regression of one target gives one dimension: a row alone comes out as another shape, and raises in a
    pipeline, while the same row among others is transformed."""
    why = "it transforms a row among others, and gives another shape (or raises) for a row alone."
    raise refuse(est, step, why, "Use PCA, TruncatedSVD or FactorAnalysis.")


def random_projection(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step)
    components = doubles(est.components_)
    done = projected(ctx, table, components, np.zeros(components.shape[0]))
    stays = table.sparse and hasattr(est.components_, "toarray") and not est.dense_output
    return replace(done, sparse=stays)


def neighborhood_components(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = dense(est, numbers(ctx.graph, est, table, step), step)
    components = doubles(est.components_)
    return projected(ctx, table, components, np.zeros(components.shape[0]))


def discriminant(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    if est.solver == "lsqr":
        raise refuse(est, step, "its solver 'lsqr' does not transform, in scikit-learn either.", "Use solver='svd'.")
    table = dense(est, numbers(ctx.graph, est, table, step), step)
    scalings = doubles(est.scalings_)[:, : est._max_components]
    if est.solver == "svd":
        return centred(ctx, table, est.xbar_, [scalings])
    return projected(ctx, table, scalings.T, np.zeros(scalings.shape[1]))


def partial_least_squares(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = dense(est, numbers(ctx.graph, est, table, step), step)
    rotations = doubles(est.x_rotations_ if hasattr(est, "x_rotations_") else est.x_weights_)
    return centred(ctx, table, est._x_mean, [rotations], est._x_std)


def boltzmann(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The probability of each hidden unit."""
    table = numbers(ctx.graph, est, table, step)
    activation = linear(ctx, table, est.components_, est.intercept_hidden_)
    done = mixed(table, expit(ctx.graph, activation), len(est.components_))
    return done.with_features([replace(f, low=0.0, high=1.0) for f in done.features])


def kernel_centerer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Of a kernel matrix whose columns are the table's: less the training rows' means, the row's own mean, and back."""
    graph = ctx.graph
    table = dense(est, numbers(graph, est, table, step), step)
    rows = np.asarray(est.K_fit_rows_, dtype=np.float64)
    tensor = graph.tensor(table)
    own = graph.op("Div", graph.reduce("Sum", tensor), graph.double(float(len(rows))))
    done = graph.op("Sub", graph.op("Sub", tensor, graph.double(rows)), own)
    return mixed(table, graph.op("Add", done, graph.double(float(est.K_fit_all_))), len(rows))


def dense(est: Estimator, table: Table, step: str) -> Table:
    if table.sparse:
        why = "it would be given sparse data, which it does not take."
        raise refuse(est, step, why, "Set sparse_output=False in the encoder before it, or sparse_threshold=0.")
    return table


TRANSFORMERS: Transforms = {
    "decomposition.PCA": pca,
    "decomposition.IncrementalPCA": incremental_pca,
    "decomposition.TruncatedSVD": truncated_svd,
    "decomposition.FactorAnalysis": factor_analysis,
    "decomposition.FastICA": fast_ica,
    "decomposition.SparsePCA": sparse_pca,
    "decomposition.MiniBatchSparsePCA": sparse_pca,
    "random_projection.GaussianRandomProjection": random_projection,
    "random_projection.SparseRandomProjection": random_projection,
    "neighbors.NeighborhoodComponentsAnalysis": neighborhood_components,
    "discriminant_analysis.LinearDiscriminantAnalysis": discriminant,
    "cross_decomposition.PLSRegression": partial_least_squares,
    "cross_decomposition.PLSCanonical": partial_least_squares,
    "cross_decomposition.CCA": partial_least_squares,
    "cross_decomposition.PLSSVD": partial_least_squares,
    "neural_network.BernoulliRBM": boltzmann,
    "preprocessing.KernelCenterer": kernel_centerer,
}
