"""Multi-layer perceptrons. Read in scikit-learn 1.9.1: neural_network/_multilayer_perceptron.py, _base.py."""

from __future__ import annotations

from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.linear import best, expit, linear, several_classes, two_columns
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of

ACTIVATIONS = {
    "identity": None,
    "tanh": "Tanh",
    "relu": "Relu",
    "exp": "Exp",
    "softmax": "Softmax",
}


def forward(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    """The activations of the output layer, [N, outputs]."""
    current = numbers(ctx.graph, est, table, step)
    for i, (weights, bias) in enumerate(zipped(est.coefs_, est.intercepts_)):
        last = i == len(est.coefs_) - 1
        tensor = linear(ctx, current, weights.T, bias)
        name = est.out_activation_ if last else est.activation
        if name == "logistic":
            tensor = expit(ctx.graph, tensor)
        elif name not in ACTIVATIONS:
            raise refuse(est, step, f"its activation {name!r} is not known.")
        kind = ACTIVATIONS.get(name)
        if kind is not None:
            tensor = ctx.graph.op(kind, tensor, axis=1) if kind == "Softmax" else ctx.graph.op(kind, tensor)
        current = table_of(tensor, [Feature(FLOAT64)] * weights.shape[1])
    return ctx.graph.tensor(current)


def mlp_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    if est._label_binarizer.y_type_.startswith("multilabel"):
        raise refuse(est, step, "it predicts several labels at once.", "Register one classifier per label.")
    labels = several_classes(est, step)
    graph = ctx.graph
    scores = forward(ctx, est, table, step)
    if est.n_outputs_ == 1:
        values = graph.as_int(graph.op("Greater", scores, graph.double([0.5])))
        return Prediction("classifier", values, labels, two_columns(graph, scores))
    return Prediction("classifier", best(graph, scores), labels, scores)


def mlp_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    return Prediction("regressor", forward(ctx, est, table, step), targets=int(est.n_outputs_))


PREDICTORS: Predicts = {
    "neural_network.MLPClassifier": mlp_classifier,
    "neural_network.MLPRegressor": mlp_regressor,
}
