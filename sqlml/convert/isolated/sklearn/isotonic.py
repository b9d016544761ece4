"""IsotonicRegression: a line through known points. Read in scikit-learn 1.9.1: isotonic.py; scipy's interp1d, which is
numpy.interp here."""

from __future__ import annotations

import math

import numpy as np

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, Transforms, refuse
from sqlml.convert.isolated.sklearn.intervals import looked_up
from sqlml.convert.isolated.sklearn.quantile import line, pieces
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of


def interpolated(ctx: Context, est: Estimator, x: str, label: str, step: str) -> str:
    """The value at each x [N, 1], which is finite."""
    graph = ctx.graph
    xs, ys = est.X_thresholds_, est.y_thresholds_
    if xs.dtype != np.float64 or ys.dtype != np.float64:
        raise refuse(est, step, "it was trained on float32, in which it computes.", "Train on float64 columns.")
    if len(ys) == 1:
        return graph.rows([float(ys[0])])
    y = line(graph, x, looked_up(graph, x, pieces(0, xs, ys, down=False)), 1)
    if est.out_of_bounds == "clip":
        return y
    below = graph.op("Less", x, graph.double([float(xs[0])]))
    beyond = graph.op("Or", below, graph.op("Greater", x, graph.double([float(xs[-1])])))
    if est.out_of_bounds == "raise":
        graph.error(beyond, [f"{label} is outside the range that IsotonicRegression was trained on"])
        return y
    return graph.op("Where", beyond, graph.double([math.nan]), y)


def isotonic(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    if len(table) != 1:
        raise refuse(est, step, f"it takes one column and would be given {len(table)}.", "Give it one column.")
    array = numbers(ctx.graph, est, table, step, float32=True)
    feature = array.features[0]
    y = interpolated(ctx, est, ctx.graph.tensor(array), feature.label, step)
    low, high = float(est.y_thresholds_.min()), float(est.y_thresholds_.max())
    nan = est.out_of_bounds == "nan" and len(est.y_thresholds_) > 1
    return table_of(y, [Feature(FLOAT64, low=low, high=high, nan=nan, sources=feature.sources, exact=False)])


def isotonic_regression(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    return Prediction("regressor", ctx.graph.tensor(isotonic(ctx, est, table, step)))


TRANSFORMERS: Transforms = {"isotonic.IsotonicRegression": isotonic}
PREDICTORS: Predicts = {"isotonic.IsotonicRegression": isotonic_regression}
