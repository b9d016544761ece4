"""AdaBoostRegressor: the weighted median of its members. Read in scikit-learn 1.9.1: ensemble/_weight_boosting.py."""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.ensembles import single
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table

ALL_SUBSETS = 16
ROUNDING = 1e-12


def ada_boost_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """The smallest prediction such that those up to it have half of the weights.

    The original sorts; of equal predictions the order does not matter, for the value is the same. Nothing is sorted
    here: each member's prediction is compared with all of them.
    """
    graph = ctx.graph
    array = numbers(graph, est, table, step, float32=True, keep=True)
    weights = np.asarray(est.estimator_weights_, dtype=np.float64)[: len(est.estimators_)]
    said = [single(ctx, m, array, below(step, f"estimators_[{i}]")) for i, m in enumerate(est.estimators_)]
    if len(said) == 1:
        return Prediction("regressor", said[0].values)
    if undecided(weights):
        why = "some of its members' weights add up to half of all, where rounding decides."
        raise refuse(est, step, why, "Train with another number of estimators.")
    shares, half = thresholds(weights)
    values = graph.join([s.values for s in said])
    candidates = []
    for one in said:
        upto = graph.as_double(graph.op("LessOrEqual", values, one.values))
        weight = graph.matmul(upto, shares.reshape(-1, 1))
        enough = graph.op("GreaterOrEqual", weight, graph.double([half]))
        candidates.append(graph.op("Where", enough, one.values, graph.double([np.inf])))
    return Prediction("regressor", graph.reduce("Min", graph.join(candidates)))


def undecided(weights: Array) -> bool:
    """May the members up to some prediction have half of the weights to within rounding?

    Few members: all their subsets are looked at. Many: of different weights a row meets such a subset as good as never.
    """
    if (weights == weights[0]).all():
        return False
    if len(weights) > ALL_SUBSETS:
        return len(np.unique(weights[weights != 0])) < int(np.count_nonzero(weights))
    sums = np.zeros(1)
    for weight in weights:
        sums = np.concatenate([sums, sums + weight])
    return bool((abs(sums - sums[-1] / 2) < ROUNDING * sums[-1]).any())


def thresholds(weights: Array) -> tuple[Array, float]:
    """Weights to add up, and what is half of them.

    Where all are equal the running sum does not depend on the order, and members are counted instead: whether the
    middle one has half is a matter of the last bit.
    """
    running = np.cumsum(weights)
    half = 0.5 * float(running[-1])
    if (weights == weights[0]).all():
        return np.ones(len(weights)), float(np.argmax(running >= half) + 1)
    return weights, half


PREDICTORS: Predicts = {"ensemble.AdaBoostRegressor": ada_boost_regressor}
