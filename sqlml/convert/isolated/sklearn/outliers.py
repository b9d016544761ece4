"""Outlier detectors: -1 or 1, decided by a score.

Read in scikit-learn 1.9.1: ensemble/_iforest.py, covariance/_elliptic_envelope.py, _empirical_covariance.py,
linear_model/_stochastic_gradient.py; scipy's cdist. OneClassSVM is in svm.py, LocalOutlierFactor in neighbors.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.compose import allows_nan
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts
from sqlml.convert.isolated.sklearn.linear import above, linear
from sqlml.convert.isolated.sklearn.trees import as_float32, fitted_tree, tree_ensemble
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table

LABELS = (-1, 1)


def isolation_forest(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """The sum of the depths at which the trees isolate a row. Its label is decided on that sum, whose bits are known."""
    from sklearn.ensemble._iforest import _average_path_length

    graph = ctx.graph
    if allows_nan(est):
        table = numbers(graph, est, table, step, finite="none", float32=True)
        tensor = graph.round32(graph.tensor(table))
    else:
        tensor = as_float32(ctx, est, table, step, nan=False)
    samples = getattr(est, "_max_samples", est.max_samples_)
    trees = []
    for member, features in zipped(est.estimators_, est.estimators_features_):
        tree = member.tree_
        values = path_lengths(tree) + np.asarray(_average_path_length(tree.n_node_samples)) - 1.0
        fitted = fitted_tree(tree, values)
        trees.append(replace(fitted, feature=np.asarray(features)[np.maximum(fitted.feature, 0)]))
    depths = tree_ensemble(graph, tensor, trees, 1)
    most = float(len(trees) * np.asarray(_average_path_length([samples]))[0])

    def decision(depth: Array) -> Array:
        share = np.divide(depth, most) if most else np.ones_like(depth)
        return np.asarray(-(2 ** (-share)) - est.offset_)

    least = smallest(lambda depth: not bool(decision(np.array([depth]))[0] < 0))
    values = graph.as_int(graph.op("GreaterOrEqual", depths, graph.double([least])))
    share = graph.op("Div", depths, graph.double([most])) if most else graph.rows([1.0])
    score = graph.op("Exp", graph.op("Mul", share, graph.double([-np.log(2.0)])))
    score = graph.op("Sub", graph.op("Neg", score), graph.double([float(est.offset_)]))
    return Prediction("classifier", values, LABELS, None, score)


def path_lengths(tree: Any) -> Array:
    """The number of nodes from the root to each node, both counted."""
    lengths = np.ones(tree.node_count, dtype=np.float64)
    for node in range(tree.node_count):  # a node stands behind its parent
        if tree.children_left[node] >= 0:
            lengths[tree.children_left[node]] = lengths[tree.children_right[node]] = lengths[node] + 1
    return lengths


def smallest(holds: Callable[[float], bool]) -> float:
    """The smallest double from 0 on for which a statement holds that once true stays true; infinity if there is none."""
    low, high = 0, int(np.float64(np.inf).view(np.int64))
    while low < high:
        middle = (low + high) // 2
        if holds(float(np.int64(middle).view(np.float64))):
            high = middle
        else:
            low = middle + 1
    return float(np.int64(low).view(np.float64))


def elliptic_envelope(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """The squared Mahalanobis distance, addition by addition: the threshold often is a training row's own distance."""
    graph = ctx.graph
    table = numbers(graph, est, table, step)
    precision = np.asarray(est.get_precision(), dtype=np.float64)
    off = graph.op("Sub", graph.tensor(table), graph.double(est.location_))
    columns = [graph.gather(off, [j]) for j in range(len(table))]
    turned = graph.op("Mul", columns[0], graph.double(precision[:, 0]))
    for j, column in enumerate(columns[1:], 1):
        turned = graph.op("Add", turned, graph.op("Mul", column, graph.double(precision[:, j])))
    products = graph.op("Mul", off, turned)
    total = graph.gather(products, [0])
    for j in range(1, len(table)):
        total = graph.op("Add", total, graph.gather(products, [j]))
    far = graph.op("Sqrt", total)
    decision = graph.op("Sub", graph.op("Neg", graph.op("Mul", far, far)), graph.double([float(est.offset_)]))
    return Prediction("classifier", above(graph, decision, inclusive=True), LABELS, None, decision)


def sgd_one_class(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    decision = linear(ctx, table, est.coef_, -np.asarray(est.offset_, dtype=np.float64))
    return Prediction("classifier", above(ctx.graph, decision, inclusive=True), LABELS, None, decision)


PREDICTORS: Predicts = {
    "ensemble.IsolationForest": isolation_forest,
    "covariance.EllipticEnvelope": elliptic_envelope,
    "linear_model.SGDOneClassSVM": sgd_one_class,
}
