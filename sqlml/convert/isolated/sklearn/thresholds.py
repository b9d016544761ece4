"""Classifiers with a threshold of their own. Read in scikit-learn 1.9.1: model_selection/_classification_threshold.py."""

from __future__ import annotations

from typing import Any

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.responses import PROBABILITIES_FIRST, response
from sqlml.convert.isolated.table import Table


def fixed_threshold(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    member = getattr(est, "estimator_", est.estimator)
    return decided(ctx, est, member, table, None if est.threshold == "auto" else est.threshold, est.pos_label, step)


def tuned_threshold(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    label = est._curve_scorer._get_pos_label()
    return decided(ctx, est, est.estimator_, table, est.best_threshold_, label, step)


def decided(
    ctx: Context, est: Estimator, member: Estimator, table: Table, threshold: Any, positive: Any, step: str
) -> Prediction:
    """The positive class from the threshold on; probabilities and scores stay the member's own."""
    graph = ctx.graph
    said = ctx.predict(member, table, below(step, "estimator"))
    if len(said.classes) != 2:
        raise refuse(est, step, f"it decides between two classes, and its estimator has {len(said.classes)}.")
    methods = PROBABILITIES_FIRST if est.response_method == "auto" else (est.response_method,)
    score, method = response(ctx, est, member, said, methods, step)
    first = positive is not None and positive == said.classes[0]
    if positive is not None and positive not in said.classes:
        raise refuse(est, step, f"its positive label {positive!r} is none of its classes.")
    if first and method == "predict_proba":
        assert said.probabilities is not None
        score = graph.gather(said.probabilities, [0])
    elif first:
        score = graph.op("Neg", score)
    if threshold is None:
        threshold = 0.5 if method == "predict_proba" else 0.0
    reached = graph.op("GreaterOrEqual", score, graph.double([float(threshold)]))
    values = graph.as_int(graph.op("Not", reached) if first else reached)
    return Prediction("classifier", values, said.classes, said.probabilities, said.decision, score=said.score)


PREDICTORS: Predicts = {
    "model_selection.FixedThresholdClassifier": fixed_threshold,
    "model_selection.TunedThresholdClassifierCV": tuned_threshold,
}
