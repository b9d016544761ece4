"""Kernel ridge and partial least squares. Read in scikit-learn 1.9.1: kernel_ridge.py, cross_decomposition/_pls.py."""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.kernels import CANCELS, SAMPLE, dense, kernel_matrix, significant
from sqlml.convert.isolated.sklearn.neighbors import ROWS
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table


def kernel_ridge(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    count = est.X_fit_.shape[0]
    if count > ROWS:
        why = f"it keeps {count:,} rows and compares each answer with all of them; {ROWS:,} are the most."
        raise refuse(est, step, why, "Train on a sample, or use a model that does not keep its training rows.")
    weights = np.asarray(est.dual_coef_, dtype=np.float64).reshape(count, -1)
    if isinstance(est.kernel, str) and est.kernel != "precomputed":
        significant(est, dense(est._get_kernel(est.X_fit_[:SAMPLE], est.X_fit_)), weights, step, CANCELS)
    table = numbers(ctx.graph, est, table, step)
    parameters = {"gamma": est.gamma, "degree": est.degree, "coef0": est.coef0}
    matrix = kernel_matrix(ctx, est, table, est.X_fit_, step, est.kernel, parameters)
    return Prediction("regressor", ctx.graph.matmul(matrix, weights), targets=weights.shape[1])


def partial_least_squares(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """PLSRegression, PLSCanonical and CCA."""
    graph = ctx.graph
    table = numbers(graph, est, table, step)
    weights, start = affine(est, step)
    centered = graph.op("Sub", graph.tensor(table), graph.double(est._x_mean))
    values = graph.op("Add", graph.matmul(centered, weights), graph.double(start))
    return Prediction("regressor", values, targets=weights.shape[1])


def affine(est: Estimator, step: str) -> tuple[Array, Array]:
    """What the centred columns are multiplied with, and what is added: coef_ was laid out otherwise in older versions."""
    coefficients, mean = np.asarray(est.coef_, dtype=np.float64), np.asarray(est._x_mean, dtype=np.float64)
    start = np.asarray(getattr(est, "intercept_", est._y_mean), dtype=np.float64).reshape(-1)
    scale = np.asarray(est._x_std, dtype=np.float64).reshape(-1, 1)
    tried = mean + np.linspace(-1.0, 2.0, 7).reshape(-1, 1) * scale.T * np.cos(np.arange(len(mean)))
    said = np.asarray(est.predict(tried), dtype=np.float64).reshape(len(tried), -1)
    for held in (coefficients.T, coefficients):
        for weights in (held, held / scale) if len(held) == len(mean) else ():
            made = (tried - mean) @ weights + start
            if made.shape == said.shape and np.allclose(made, said, rtol=1e-9, atol=1e-9 * np.abs(said).max()):
                return weights, start
    raise refuse(est, step, "its coefficients do not give its predictions in any way that is known.")


PREDICTORS: Predicts = {
    "kernel_ridge.KernelRidge": kernel_ridge,
    "cross_decomposition.PLSRegression": partial_least_squares,
    "cross_decomposition.PLSCanonical": partial_least_squares,
    "cross_decomposition.CCA": partial_least_squares,
}
