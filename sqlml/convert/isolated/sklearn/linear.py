"""Linear models. Read in scikit-learn 1.9.1: linear_model/_base.py, _logistic.py, _stochastic_gradient.py, _glm/."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Label, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.release import since
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


def several_classes(est: Estimator, step: str) -> tuple[Label, ...]:
    """The labels of an estimator whose probabilities need two."""
    labels = class_labels(est, step)
    if len(labels) < 2:
        raise refuse(est, step, "it knows one class only.", "Train on two classes or more.")
    return labels


def linear(ctx: Context, table: Table, coefficients: Any, intercept: Any) -> str:
    """X @ W + b as [N, K]; `coefficients` is [K, features]."""
    graph = ctx.graph
    weights = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
    bias = np.broadcast_to(np.asarray(intercept, dtype=np.float64).reshape(-1), (weights.shape[0],))
    product = graph.matmul(graph.tensor(table), weights.T)
    return graph.op("Add", product, graph.double(bias))


def expit(graph: Graph, tensor: str) -> str:
    """1 / (1 + exp(-x)). Not Sigmoid: onnxruntime's is cut off where scipy's expit still says 1e-50, and one-vs-rest
    probabilities are quotients of such numbers."""
    below = graph.op("Exp", graph.op("Neg", tensor))
    return graph.op("Div", graph.double([1.0]), graph.op("Add", graph.double([1.0]), below))


def two_columns(graph: Graph, positive: str) -> str:
    """[1 - p, p]."""
    return graph.join([graph.op("Sub", graph.double([1.0]), positive), positive])


def above(graph: Graph, score: str, *, inclusive: bool = False) -> str:
    """The class index of two classes: score > 0 (or >= 0)."""
    return graph.as_int(graph.op("GreaterOrEqual" if inclusive else "Greater", score, graph.double([0.0])))


def best(graph: Graph, scores: str) -> str:
    """np.argmax over the columns: the first NaN if there is one, else the first of the largest."""
    nan = graph.op("IsNaN", scores)
    # onnxruntime's ArgMax and ReduceMax ignore NaN or not depending on where it stands, so it is looked for first.
    marks = graph.as_double(nan)
    none = graph.op("Less", graph.reduce("Max", marks), graph.double([0.5]))
    return graph.argmax(graph.op("Where", none, scores, marks))


def scored(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    labels = class_labels(est, step)
    decision = linear(ctx, table, est.coef_, est.intercept_)
    width = np.atleast_2d(est.coef_).shape[0]
    values = above(ctx.graph, decision) if width == 1 else best(ctx.graph, decision)
    return Prediction("classifier", values, labels, None, decision)


def logistic_regression(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    labels = several_classes(est, step)
    return shared(ctx, est, scored(ctx, est, table, step), step, ovr=one_vs_rest(est, len(labels)))


def one_vs_rest(est: Estimator, classes: int) -> bool:
    """Does LogisticRegression treat each class by itself? Since 1.8 there is no choice: two classes, and no more."""
    if since(1, 8) or est.multi_class in ("auto", "deprecated"):
        singly = () if since(1, 8) else ("liblinear",) if since(1, 6) else ("liblinear", "newton-cholesky")
        return classes == 2 or est.solver in singly
    return bool(est.multi_class == "ovr")


def shared(ctx: Context, est: Estimator, said: Prediction, step: str, *, ovr: bool) -> Prediction:
    """Probabilities of a decision: sigmoids (`ovr`), or softmax, of two classes over the score and its negative."""
    graph, count = ctx.graph, len(said.classes)
    assert said.decision is not None
    if count == 2 and np.atleast_2d(est.coef_).shape[0] != 1:
        raise refuse(est, step, "it holds one coefficient row per class for two classes, as old versions did.")
    if ovr:
        each = expit(graph, said.decision)
        return replace(said, probabilities=two_columns(graph, each) if count == 2 else shares(graph, each, count))
    scores = graph.join([graph.op("Neg", said.decision), said.decision]) if count == 2 else said.decision
    return replace(said, probabilities=graph.op("Softmax", scores, axis=1))


def coordinate_descent(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Lasso and ElasticNet, whose own _decision_function checks no values where they are sparse: NaN answers NaN."""
    if table.sparse:
        return regressed(ctx, est, numbers(ctx.graph, est, table, step, finite="none"))
    return linear_regressor(ctx, est, table, step)


def linear_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    return regressed(ctx, est, numbers(ctx.graph, est, table, step))


def regressed(ctx: Context, est: Estimator, table: Table) -> Prediction:
    values = linear(ctx, table, est.coef_, est.intercept_)
    return Prediction("regressor", values, targets=np.atleast_2d(est.coef_).shape[0])


def normalised(graph: Graph, scores: str, width: int) -> str:
    """Each row divided by its sum; where that is 0, all classes alike (one-vs-rest probabilities)."""
    total = graph.reduce("Sum", scores)
    zero = graph.op("Equal", total, graph.double([0.0]))
    return graph.op("Where", zero, graph.double([1.0 / width]), graph.op("Div", scores, total))


def shares(graph: Graph, each: str, width: int) -> str:
    """LinearClassifierMixin's one-vs-rest probabilities: before 1.9 a row of zeros was divided by 0."""
    return normalised(graph, each, width) if since(1, 9) else graph.op("Div", each, graph.reduce("Sum", each))


def sgd_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Its loss decides whether there are probabilities, and which."""
    said = scored(ctx, est, table, step)
    graph, width = ctx.graph, len(said.classes)
    assert said.decision is not None
    if est.loss in ("log_loss", "log"):  # so it was called before 1.3
        return shared(ctx, est, said, step, ovr=True)
    if est.loss != "modified_huber":
        return said
    clip = graph.op("Clip", said.decision, graph.double(-1.0), graph.double(1.0))
    each = graph.op("Div", graph.op("Add", clip, graph.double([1.0])), graph.double([2.0]))
    return replace(said, probabilities=two_columns(graph, each) if width == 2 else normalised(graph, each, width))


def ridge_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    if est._label_binarizer.y_type_.startswith("multilabel"):
        raise refuse(est, step, "it predicts several labels at once.", "Register one classifier per label.")
    return scored(ctx, est, table, step)


def discriminant(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """LinearDiscriminantAnalysis: the sigmoid for two classes, softmax for more."""
    labels = several_classes(est, step)
    return shared(ctx, est, scored(ctx, est, table, step), step, ovr=len(labels) == 2)


def generalized(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """PoissonRegressor and its kin: the inverse link of the linear predictor."""
    said = linear_regressor(ctx, est, table, step)
    link = type(est._base_loss.link).__name__
    if link == "LogLink":
        return replace(said, values=ctx.graph.op("Exp", said.values), score=said.values)
    if link != "IdentityLink":
        raise refuse(est, step, f"its link {link} is not known.")
    return said


def ransac(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """RANSACRegressor hands the array on to the estimator it settled for."""
    array = numbers(ctx.graph, est, table, step, finite="none", float32=True, keep=True)
    return ctx.predict(est.estimator_, array, below(step, "estimator"))


PREDICTORS: Predicts = {
    "linear_model.LogisticRegression": logistic_regression,
    "linear_model.LogisticRegressionCV": logistic_regression,
    "linear_model.RidgeClassifier": ridge_classifier,
    "linear_model.Perceptron": scored,
    "svm.LinearSVC": scored,
    "linear_model.LinearRegression": linear_regressor,
    "linear_model.Ridge": linear_regressor,
    "linear_model.Lasso": coordinate_descent,
    "linear_model.ElasticNet": coordinate_descent,
    "linear_model.RidgeCV": linear_regressor,
    "linear_model.LassoCV": linear_regressor,
    "linear_model.ElasticNetCV": linear_regressor,
    "linear_model.MultiTaskLasso": coordinate_descent,
    "linear_model.MultiTaskLassoCV": linear_regressor,
    "linear_model.MultiTaskElasticNet": coordinate_descent,
    "linear_model.MultiTaskElasticNetCV": linear_regressor,
    "linear_model.Lars": linear_regressor,
    "linear_model.LarsCV": linear_regressor,
    "linear_model.LassoLars": linear_regressor,
    "linear_model.LassoLarsCV": linear_regressor,
    "linear_model.LassoLarsIC": linear_regressor,
    "linear_model.OrthogonalMatchingPursuit": linear_regressor,
    "linear_model.OrthogonalMatchingPursuitCV": linear_regressor,
    "linear_model.BayesianRidge": linear_regressor,
    "linear_model.ARDRegression": linear_regressor,
    "linear_model.HuberRegressor": linear_regressor,
    "linear_model.TheilSenRegressor": linear_regressor,
    "linear_model.QuantileRegressor": linear_regressor,
    "linear_model.SGDRegressor": linear_regressor,
    "linear_model.PassiveAggressiveRegressor": linear_regressor,
    "svm.LinearSVR": linear_regressor,
    "linear_model.RidgeClassifierCV": ridge_classifier,
    "linear_model.SGDClassifier": sgd_classifier,
    "linear_model.PassiveAggressiveClassifier": scored,
    "linear_model.PoissonRegressor": generalized,
    "linear_model.GammaRegressor": generalized,
    "linear_model.TweedieRegressor": generalized,
    "linear_model.RANSACRegressor": ransac,
    "discriminant_analysis.LinearDiscriminantAnalysis": discriminant,
}
