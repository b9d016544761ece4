"""Gaussian mixtures. Read in scikit-learn 1.9.1: mixture/_base.py, _gaussian_mixture.py, _bayesian_mixture.py."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import digamma

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.sklearn.bayes import shares
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.kernels import squared_norms, times
from sqlml.convert.isolated.sklearn.linear import best
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT32, Table


def distances(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    """Each row's squared Mahalanobis distance to each component, as _estimate_log_gaussian_prob computes it."""
    graph, kind = ctx.graph, est.covariance_type
    means, factors = np.asarray(est.means_), np.asarray(est.precisions_cholesky_)
    x = graph.tensor(table)
    if kind in ("full", "tied"):
        columns = []
        for k in range(len(means)):
            factor = factors[k] if kind == "full" else factors
            off = graph.op("Sub", graph.matmul(x, factor), graph.double(means[k] @ factor))
            columns.append(squared_norms(graph, off))
        return graph.join(columns)
    if kind not in ("diag", "spherical"):
        raise refuse(est, step, f"its covariance type {kind!r} is not known.")
    precisions, width = factors**2, len(means)
    if kind == "diag":
        start = np.sum(means**2 * precisions, axis=1)
        linear = times(graph, graph.matmul(x, (means * precisions).T), -2.0, width)
        squares = graph.matmul(graph.op("Mul", x, x), precisions.T)
    else:
        start = np.sum(means**2, axis=1) * precisions
        crossed = graph.op("Mul", graph.matmul(x, means.T), graph.double(precisions))
        linear = times(graph, crossed, -2.0, width)
        squares = graph.op("Mul", squared_norms(graph, x), graph.double(precisions))
    return graph.op("Add", graph.op("Add", linear, graph.double(start)), squares)


def log_determinants(est: Estimator, columns: int) -> Array:
    """Half the logarithm of each component's precision's determinant."""
    factors = np.asarray(est.precisions_cholesky_)
    if est.covariance_type == "full":
        return np.asarray(np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1))
    if est.covariance_type == "tied":
        return np.full(len(est.means_), np.sum(np.log(np.diag(factors))))
    if est.covariance_type == "diag":
        return np.asarray(np.sum(np.log(factors), axis=1))
    return np.asarray(columns * np.log(factors))


def mixed(ctx: Context, est: Estimator, table: Table, step: str, added: Array) -> Prediction:
    """`added` are the terms of each component that do not depend on the row, the weights' logarithms among them."""
    graph, width = ctx.graph, len(est.means_)
    if np.asarray(est.means_).dtype == FLOAT32:
        why = "it was fitted on float32 data, in which it computes, and its roundings cannot be reproduced."
        raise refuse(est, step, why, "Train on float64 columns (astype('float64')).")
    table = numbers(graph, est, table, step)
    columns = len(table)
    far = graph.op("Add", distances(ctx, est, table, step), graph.double([columns * math.log(2 * math.pi)]))
    log_prob = graph.op("Add", times(graph, far, -0.5, width), graph.double(log_determinants(est, columns)))
    joint = graph.op("Add", log_prob, graph.double(added))
    return Prediction("classifier", best(graph, joint), tuple(range(width)), shares(graph, joint))


def gaussian_mixture(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    with np.errstate(divide="ignore"):
        return mixed(ctx, est, table, step, np.log(np.asarray(est.weights_)))


def bayesian_mixture(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    columns, freedom = est.means_.shape[1], np.asarray(est.degrees_of_freedom_)
    halves = 0.5 * (freedom - np.arange(columns)[:, np.newaxis])
    log_lambda = columns * np.log(2.0) + np.sum(digamma(halves), axis=0)
    added = 0.5 * (log_lambda - columns / est.mean_precision_) - 0.5 * columns * np.log(freedom)
    return mixed(ctx, est, table, step, added + np.asarray(est._estimate_log_weights()))


PREDICTORS: Predicts = {
    "mixture.GaussianMixture": gaussian_mixture,
    "mixture.BayesianGaussianMixture": bayesian_mixture,
}
