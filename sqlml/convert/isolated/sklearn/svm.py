"""Support vector machines with kernels. Read in scikit-learn 1.9.1: svm/_base.py, svm/src/libsvm/svm.cpp, utils/multiclass.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.kernels import (
    CANCELS,
    SAMPLE,
    dense,
    power,
    products,
    scaled_products,
    significant,
    squared_differences,
    times,
)
from sqlml.convert.isolated.sklearn.linear import above, best, class_labels
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table

LEAST = 1e-7
"""libsvm keeps the probability of one class of two this far from 0 and 1."""
ROUNDS_OF_TWO = 3
"""Coupling two classes takes at most two rounds (tried for 24,000 probabilities between LEAST and 1 - LEAST)."""


def checked(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    if table.sparse and not est._sparse:
        raise refuse(est, step, "it was fitted on dense data and would be given sparse data, for which it raises.")
    return numbers(ctx.graph, est, table, step, float32=True)


def kernel(ctx: Context, est: Estimator, table: Table, step: str) -> str:
    """The kernel with every support vector, [N, n]. Unlike its siblings', this rbf sums squared differences."""
    graph, kept, name = ctx.graph, dense(est.support_vectors_), est.kernel
    if not isinstance(name, str) or name == "precomputed":
        raise refuse(est, step, "its kernel is not one of libsvm's own.", "Use linear, poly, rbf or sigmoid.")
    if name == "linear":
        return products(graph, table, kept)
    if name == "rbf":
        return graph.op("Exp", times(graph, squared_differences(graph, table, kept), -est._gamma, len(kept)))
    inner = scaled_products(graph, table, kept, est._gamma, est.coef0)
    return power(graph, inner, float(est.degree)) if name == "poly" else graph.op("Tanh", inner)


def decisions(ctx: Context, est: Estimator, table: Table, step: str, weights: Array, intercept: Any) -> str:
    """kernel @ weights + intercept as [N, decisions]; weights are [support vectors, decisions]."""
    graph = ctx.graph
    bias = np.asarray(intercept, dtype=np.float64).reshape(-1)
    if not len(weights):
        return graph.rows(bias)
    return graph.op("Add", graph.matmul(kernel(ctx, est, table, step), weights), graph.double(bias))


def sums_hold(est: Estimator, weights: Array, step: str) -> None:
    """Refused where values or probabilities would be rounding errors; labels alone are decided by the sign."""
    if not len(weights) or est.kernel not in ("linear", "poly", "rbf", "sigmoid"):
        return
    from sklearn.metrics.pairwise import pairwise_kernels

    kept = dense(est.support_vectors_)
    given = {"gamma": est._gamma, "degree": est.degree, "coef0": est.coef0}
    matrix = pairwise_kernels(kept[:SAMPLE], kept, metric=est.kernel, filter_params=True, **given)
    significant(est, np.asarray(matrix), weights, step, CANCELS)


def coefficients(est: Estimator) -> Array:
    """As libsvm has them; dual_coef_ has the other sign for two classes."""
    return dense(est._dual_coef_)


def pair_weights(est: Estimator) -> Array:
    """One column per pair of classes: the coefficients of the two classes' support vectors."""
    held = coefficients(est)
    counts = [int(n) for n in est._n_support]
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = []
    for i, j in combinations(range(len(counts)), 2):
        column = np.zeros(held.shape[1])
        column[starts[i] : starts[i + 1]] = held[j - 1, starts[i] : starts[i + 1]]
        column[starts[j] : starts[j + 1]] = held[i, starts[j] : starts[j + 1]]
        columns.append(column)
    return np.array(columns).T


def incidence(classes: int, first: float, second: float) -> Array:
    """[pairs, classes]: `first` where the class is the pair's first, `second` where it is the other."""
    pairs = list(combinations(range(classes), 2))
    made = np.zeros((len(pairs), classes))
    for row, (i, j) in enumerate(pairs):
        made[row, i], made[row, j] = first, second
    return made


def votes(graph: Graph, wins: str, classes: int) -> str:
    """Votes per class; `wins` (boolean, [N, pairs]) says whether the first class of each pair has it."""
    won = graph.as_double(wins)
    lost = incidence(classes, 0.0, 1.0).sum(axis=0)
    return graph.op("Add", graph.matmul(won, incidence(classes, 1.0, -1.0)), graph.double(lost))


def one_vs_rest(graph: Graph, pairwise: str, classes: int) -> str:
    """_ovr_decision_function: votes, and between -1/3 and 1/3 how sure they are."""
    zero = graph.double([0.0])
    won = votes(graph, graph.op("Not", graph.op("Less", pairwise, zero)), classes)
    sure = graph.matmul(pairwise, incidence(classes, 1.0, -1.0))
    size = graph.op("Add", graph.op("Abs", sure), graph.double([1.0]))
    share = graph.op("Div", sure, times(graph, size, 3.0, classes))
    return graph.op("Add", won, share)


def classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """SVC and NuSVC."""
    graph, labels = ctx.graph, class_labels(est, step)
    pairwise = decisions(ctx, est, checked(ctx, est, table, step), step, pair_weights(est), est._intercept_)
    zero, width = graph.double([0.0]), len(labels)
    probabilities = None
    if hasattr(est, "predict_proba"):
        sums_hold(est, pair_weights(est), step)
        probabilities = coupled(ctx, est, pairwise, width, step)
    if width == 2:
        decision = graph.op("Neg", pairwise)
        # Not above 0 is the second class: a tie, and NaN.
        values = graph.as_int(graph.op("Not", graph.op("Greater", pairwise, zero)))
        return Prediction("classifier", values, labels, probabilities, decision)
    rest = est.decision_function_shape == "ovr"
    decision = one_vs_rest(graph, pairwise, width) if rest else pairwise
    if est.break_ties and not rest:
        raise refuse(est, step, "break_ties with decision_function_shape='ovo' raises for every row.")
    if est.break_ties:
        values = best(graph, decision)
    else:
        values = graph.argmax(votes(graph, graph.op("Greater", pairwise, zero), width))
    # A score for each pair of classes is none for each class, and three classes have three pairs.
    return Prediction("classifier", values, labels, probabilities, decision, score=None if rest else "")


def coupled(ctx: Context, est: Estimator, pairwise: str, width: int, step: str) -> str:
    """Platt's sigmoid for every pair of classes, and the pairs made one distribution (multiclass_probability)."""
    graph = ctx.graph
    if not np.size(est._probA) or not np.size(est._probB):
        raise refuse(est, step, "it was fitted without probabilities and is asked for them, for which it raises.")
    power_of = graph.op("Mul", pairwise, graph.double(est._probA))
    power_of = graph.op("Add", power_of, graph.double(est._probB))
    small = graph.op("Exp", graph.op("Neg", graph.op("Abs", power_of)))
    one = graph.double([1.0])
    share = graph.op("Add", small, one)
    positive = graph.op("GreaterOrEqual", power_of, graph.double([0.0]))
    first = graph.op("Where", positive, graph.op("Div", small, share), graph.op("Div", one, share))
    low, high = graph.double([LEAST]), graph.double([1 - LEAST])
    first = graph.op("Where", graph.op("Greater", first, low), first, low)
    first = graph.op("Where", graph.op("Less", first, high), first, high)
    pairs = list(combinations(range(width), 2))
    r: dict[tuple[int, int], str] = {}
    for place, (i, j) in enumerate(pairs):
        r[i, j] = graph.gather(first, [place])
        r[j, i] = graph.op("Sub", one, r[i, j])
    q = quadratic(graph, r, width)
    if width == 2:
        state = [graph.rows([0.5])] * 2
        for _ in range(ROUNDS_OF_TWO):
            state = one_round(graph, q, state)[0]
        return graph.join(state)
    return looped(graph, q, width)


def quadratic(graph: Graph, r: dict[tuple[int, int], str], width: int) -> list[list[str]]:
    q = [[""] * width for _ in range(width)]
    for t in range(width):
        total = None
        for j in [*range(t), *range(t + 1, width)]:
            square = graph.op("Mul", r[j, t], r[j, t])
            total = square if total is None else graph.op("Add", total, square)
            if j > t:
                q[t][j] = q[j][t] = graph.op("Mul", graph.op("Neg", r[j, t]), r[t, j])
        assert total is not None
        q[t][t] = total
    return q


def total_of(graph: Graph, terms: Sequence[str]) -> str:
    total = terms[0]
    for term in terms[1:]:
        total = graph.op("Add", total, term)
    return total


def one_round(graph: Graph, q: Sequence[Sequence[str]], p: list[str]) -> tuple[list[str], str]:
    """One iteration of multiclass_probability for the rows that have not come to rest, and which those were."""
    width = len(p)
    one = graph.double([1.0])
    gradient = [total_of(graph, [graph.op("Mul", q[t][j], p[j]) for j in range(width)]) for t in range(width)]
    level = total_of(graph, [graph.op("Mul", p[t], gradient[t]) for t in range(width)])
    errors = [graph.op("Abs", graph.op("Sub", g, level)) for g in gradient]
    # A NaN is no greater error than 0 in C, so it ends the search.
    moving = graph.op("GreaterOrEqual", errors[0], graph.double([0.005 / width]))
    for error in errors[1:]:
        moving = graph.op("Or", moving, graph.op("GreaterOrEqual", error, graph.double([0.005 / width])))
    made = list(p)
    for t in range(width):
        step = graph.op("Div", graph.op("Sub", level, gradient[t]), q[t][t])
        made[t] = graph.op("Add", made[t], step)
        scale = graph.op("Add", step, one)
        slope = graph.op("Add", graph.op("Mul", step, q[t][t]), graph.op("Mul", gradient[t], graph.double([2.0])))
        level = graph.op("Add", level, graph.op("Mul", step, slope))
        level = graph.op("Div", graph.op("Div", level, scale), scale)
        for j in range(width):
            moved = graph.op("Add", gradient[j], graph.op("Mul", step, q[t][j]))
            gradient[j] = graph.op("Div", moved, scale)
            made[j] = graph.op("Div", made[j], scale)
    return [graph.op("Where", moving, new, old) for new, old in zipped(made, p)], moving


def looped(graph: Graph, q: Sequence[Sequence[str]], width: int) -> str:
    """Up to max(100, classes) rounds, until every row has come to rest."""
    inner = graph.inner()
    count, given, state = (inner.fresh(stem) for stem in ("round", "go", "state"))
    places = [inner.gather(state, [t]) for t in range(width)]
    made, moving = one_round(inner, q, places)
    after, again = inner.fresh("state"), inner.fresh("go")
    inner.named(inner.join(made), after)
    # Is any row still moving? One more that is not stands for no rows at all.
    marks = inner.op("Concat", inner.as_double(moving), inner.double([[0.0]]), axis=0)
    most = inner.op("ReduceMax", marks, keepdims=0)
    inner.named(inner.op("Greater", most, inner.double(0.5)), again)
    body = helper.make_graph(
        inner.nodes,
        "coupling",
        [
            helper.make_tensor_value_info(count, TensorProto.INT64, []),
            helper.make_tensor_value_info(given, TensorProto.BOOL, []),
            helper.make_tensor_value_info(state, TensorProto.DOUBLE, ["N", width]),
        ],
        [
            helper.make_tensor_value_info(again, TensorProto.BOOL, []),
            helper.make_tensor_value_info(after, TensorProto.DOUBLE, ["N", width]),
        ],
        list(inner.initializers.values()),
    )
    start = graph.rows(np.full(width, 1.0 / width))
    go = graph.constant(np.array(True))
    return graph.op("Loop", graph.constant(np.array(max(100, width), dtype=np.int64)), go, start, body=body)


def regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """SVR and NuSVR."""
    table = checked(ctx, est, table, step)
    sums_hold(est, coefficients(est).T, step)
    return Prediction("regressor", decisions(ctx, est, table, step, coefficients(est).T, est._intercept_))


def one_class(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """OneClassSVM: 1 inside, -1 outside."""
    table = checked(ctx, est, table, step)
    decision = decisions(ctx, est, table, step, coefficients(est).T, est._intercept_)
    return Prediction("classifier", above(ctx.graph, decision), (-1, 1), None, decision)


PREDICTORS: Predicts = {
    "svm.SVC": classifier,
    "svm.NuSVC": classifier,
    "svm.SVR": regressor,
    "svm.NuSVR": regressor,
    "svm.OneClassSVM": one_class,
}
