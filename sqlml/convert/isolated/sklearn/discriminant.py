"""Quadratic discriminants. Read in scikit-learn 1.9.1: discriminant_analysis.py (the linear one is in linear.py)."""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts
from sqlml.convert.isolated.sklearn.kernels import squared_norms, times
from sqlml.convert.isolated.sklearn.linear import best, class_labels
from sqlml.convert.isolated.sklearn.neighbors import difference, softened
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table


def quadratic(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Per class the distance to its mean along its own axes, each divided by its own deviation."""
    graph, labels = ctx.graph, class_labels(est, step)
    x = graph.tensor(numbers(graph, est, table, step))
    columns, logs = [], []
    for mean, rotation, scaling in zipped(est.means_, est.rotations_, est.scalings_):
        axes = np.asarray(rotation) * (np.asarray(scaling) ** -0.5)
        turned = graph.matmul(graph.op("Sub", x, graph.double(mean)), axes)
        columns.append(squared_norms(graph, turned))
        logs.append(float(np.sum(np.log(scaling))))
    far = graph.op("Add", graph.join(columns), graph.double(logs))
    with np.errstate(divide="ignore"):
        prior = np.log(np.asarray(est.priors_, dtype=np.float64))
    scores = graph.op("Add", times(graph, far, -0.5, len(labels)), graph.double(prior))
    decision = difference(graph, scores) if len(labels) == 2 else scores
    return Prediction("classifier", best(graph, scores), labels, softened(graph, scores), decision)


PREDICTORS: Predicts = {"discriminant_analysis.QuadraticDiscriminantAnalysis": quadratic}
