"""CalibratedClassifierCV: the mean of its calibrated members. Read in scikit-learn 1.9.1: calibration.py."""

from __future__ import annotations

from typing import Any

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Label, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.ensembles import total
from sqlml.convert.isolated.sklearn.isotonic import interpolated
from sqlml.convert.isolated.sklearn.linear import best, class_labels, expit, normalised, two_columns
from sqlml.convert.isolated.sklearn.responses import SCORES_FIRST, finite_scores, response
from sqlml.convert.isolated.table import Table

LEAST = 1e-12
"""calibration.py adds it to probabilities before their logarithm."""
NEARLY_ONE = 1.0 + 1e-5


def calibrated_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    parts = [
        calibrated(ctx, est, member, table, labels, below(step, f"calibrated_classifiers_[{i}]"))
        for i, member in enumerate(est.calibrated_classifiers_)
    ]
    mean = graph.op("Div", total(ctx, parts), graph.double([float(len(parts))]))
    return Prediction("classifier", best(graph, mean), labels, mean)


def calibrated(ctx: Context, est: Estimator, member: Any, table: Table, labels: tuple[Label, ...], step: str) -> str:
    """One member's probabilities [N, classes]."""
    graph = ctx.graph
    # Before scikit-learn 1.2 it was called base_estimator.
    inner = member.estimator if hasattr(member, "estimator") else member.base_estimator
    said = ctx.predict(inner, table, below(step, "estimator"))
    scores, method = response(ctx, est, inner, said, SCORES_FIRST, step)
    width = 1 if len(said.classes) == 2 else len(said.classes)
    if member.method == "temperature":
        made = tempered(ctx, member.calibrators[0], scores, method, width, table)
    elif member.method in ("sigmoid", "isotonic"):
        columns = [graph.gather(scores, [i]) for i in range(width)] if width > 1 else [scores]
        made = one_by_one(ctx, est, member, columns, said.classes, labels, table, step)
    else:
        raise refuse(est, step, f"its method {member.method!r} is not known.")
    over = graph.op(
        "And", graph.op("Greater", made, graph.double(1.0)), graph.op("LessOrEqual", made, graph.double(NEARLY_ONE))
    )
    return graph.op("Where", over, graph.double(1.0), made)


def one_by_one(
    ctx: Context,
    est: Estimator,
    member: Any,
    columns: list[str],
    known: tuple[Label, ...],
    labels: tuple[Label, ...],
    table: Table,
    step: str,
) -> str:
    """A calibrator per column of scores, then each row divided by its sum.

    The place of a column is its class's. A member that saw only two of more classes has one column, of its second
    class, which the original puts in the place of the first.
    """
    graph = ctx.graph
    if not set(known) <= set(labels):
        raise refuse(est, step, "a member knows a class that the whole does not.")
    probabilities = [graph.rows([0.0])] * len(labels)
    for column, label, calibrator in zip(columns, known, member.calibrators):
        if member.method == "sigmoid":
            scaled = graph.op("Mul", column, graph.double([float(calibrator.a_)]))
            value = expit(graph, graph.op("Neg", graph.op("Add", scaled, graph.double([float(calibrator.b_)]))))
        else:
            finite_scores(ctx, column, 1, table, "IsotonicRegression")
            value = interpolated(ctx, calibrator, column, "a score", step)
        probabilities[labels.index(label)] = value
    if len(labels) == 2:
        return two_columns(graph, value)
    return normalised(graph, graph.join(probabilities), len(labels))


def tempered(ctx: Context, calibrator: Any, scores: str, method: str, width: int, table: Table) -> str:
    """Softmax of scaled logits. (Scores that happen to be probabilities in a whole batch are taken for such.)"""
    graph = ctx.graph
    if width == 1:
        if method == "predict_proba":
            scores = two_columns(graph, scores)
        else:
            scores = graph.join([graph.op("Neg", scores), scores])
        width = 2
    finite_scores(ctx, scores, width, table, "CalibratedClassifierCV")
    if method == "predict_proba":
        scores = graph.op("Log", graph.op("Add", scores, graph.double([LEAST] * width)))
    return graph.op("Softmax", graph.op("Mul", scores, graph.double([float(calibrator.beta_)] * width)), axis=1)


PREDICTORS: Predicts = {"calibration.CalibratedClassifierCV": calibrated_classifier}
