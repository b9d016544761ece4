"""Linear models. Read in scikit-learn 1.9.1: linear_model/_base.py, _logistic.py, _stochastic_gradient.py, _glm/."""

from __future__ import annotations

from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Label, Prediction, refuse
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table


def class_labels(est: Estimator, step: str) -> tuple[Label, ...]:
    """classes_ as Python values; several outputs are refused."""
    classes = est.classes_
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise refuse(est, step, "it predicts several outputs at once.", "Register one classifier per output.")
    labels = np.asarray(classes).tolist()
    if not all(isinstance(v, (str, int, float, bool)) for v in labels):
        raise refuse(
            est,
            step,
            f"its class labels {labels[:3]!r} are neither text, numbers nor booleans.",
            "Relabel the classes.",
        )
    return tuple(labels)


def linear(ctx: Context, table: Table, coefficients: Any, intercept: Any) -> str:
    """X @ W + b as [N, K]; `coefficients` is [K, features]."""
    graph = ctx.graph
    weights = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
    bias = np.broadcast_to(np.asarray(intercept, dtype=np.float64).reshape(-1), (weights.shape[0],))
    product = graph.op("MatMul", graph.tensor(table), graph.double(weights.T))
    return graph.op("Add", product, graph.double(bias))


def expit(graph: Graph, tensor: str) -> str:
    return graph.op("Sigmoid", tensor)


def two_columns(graph: Graph, positive: str) -> str:
    """[1 - p, p]."""
    return graph.join([graph.op("Sub", graph.double([1.0]), positive), positive])


def above(graph: Graph, score: str, *, inclusive: bool = False) -> str:
    """The class index of two classes: score > 0 (or >= 0)."""
    return graph.as_int(graph.op("GreaterOrEqual" if inclusive else "Greater", score, graph.double([0.0])))


def best(graph: Graph, scores: str, width: int) -> str:
    """np.argmax over the columns: the first NaN if there is one, else the first of the largest."""
    nan = graph.op("IsNaN", scores)
    # onnxruntime's ArgMax and ReduceMax ignore NaN or not depending on where it stands, so it is looked for first.
    marks = graph.as_double(nan)
    none = graph.op("Less", graph.reduce("Max", marks), graph.double([0.5]))
    return graph.argmax(graph.op("Where", none, scores, marks))


def linear_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """LinearClassifierMixin.predict without probabilities: LinearSVC, RidgeClassifier, Perceptron ..."""
    return scored(ctx, est, table, step)


def scored(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    labels = class_labels(est, step)
    decision = linear(ctx, table, est.coef_, est.intercept_)
    width = np.atleast_2d(est.coef_).shape[0]
    values = above(ctx.graph, decision) if width == 1 else best(ctx.graph, decision, width)
    return Prediction("classifier", values, labels, None, decision)


def logistic_regression(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    said = scored(ctx, est, table, step)
    graph = ctx.graph
    assert said.decision is not None
    if len(said.classes) == 2:
        if np.atleast_2d(est.coef_).shape[0] != 1:
            raise refuse(est, step, "it holds one coefficient row per class for two classes, as old versions did.")
        probabilities = two_columns(graph, expit(graph, said.decision))
    else:
        probabilities = graph.op("Softmax", said.decision, axis=1)
    return Prediction("classifier", said.values, said.classes, probabilities, said.decision)


def linear_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    values = linear(ctx, table, est.coef_, est.intercept_)
    return Prediction("regressor", values, targets=np.atleast_2d(est.coef_).shape[0])
