"""SelfTrainingClassifier. Read in scikit-learn 1.9.1: semi_supervised/_self_training.py."""

from __future__ import annotations

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table


def self_training(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """It answers by the classifier that it trained at last, on an array."""
    array = numbers(ctx.graph, est, table, step, finite="none", float32=True, keep=True)
    # Before scikit-learn 1.6 it was called base_estimator_.
    member = est.estimator_ if hasattr(est, "estimator_") else est.base_estimator_
    return ctx.predict(member, array, below(step, "estimator"))


PREDICTORS: Predicts = {"semi_supervised.SelfTrainingClassifier": self_training}
