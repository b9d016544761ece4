"""Naive Bayes. Read in scikit-learn 1.9.1: naive_bayes.py."""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.linear import best, class_labels, linear
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table, table_of


def posterior(ctx: Context, est: Estimator, joint: str, step: str) -> Prediction:
    """The most likely class, and how likely each is."""
    labels = class_labels(est, step)
    if len(labels) < 2:
        raise refuse(est, step, "it knows one class only.", "Train on two classes or more.")
    return Prediction("classifier", best(ctx.graph, joint), labels, shares(ctx.graph, joint), score=joint)


def shares(graph: Graph, joint: str) -> str:
    """exp(joint - logsumexp(joint)) as utils/_array_api.py computes it.

    Not softmax: with scores of 1e10, joint - logsumexp rounds at 1e-6, in the original too.
    """
    top = graph.reduce("Max", joint)
    at_top = graph.op("Equal", joint, top)
    count = graph.reduce("Sum", graph.as_double(at_top))
    rest = graph.op("Where", at_top, graph.double([-np.inf]), joint)
    shift = graph.op("Where", graph.op("IsInf", top), graph.double([0.0]), top)
    total = graph.reduce("Sum", graph.op("Exp", graph.op("Sub", rest, shift)))
    # s is at most the number of classes, and log(1 + s) near 0 is needed to 1e-16 beside log(count) only.
    share = graph.op("Div", total, count)
    logsum = graph.op("Add", graph.op("Add", log1p(graph, share), graph.op("Log", count)), top)
    return graph.op("Exp", graph.op("Sub", joint, logsum))


def log1p(graph: Graph, tensor: str) -> str:
    return graph.op("Log", graph.op("Add", tensor, graph.double([1.0])))


def row_sum(graph: Graph, tensor: str, width: int) -> str:
    """numpy.sum over a row, addition by addition: one by one below 8 columns, else eight at a time and in halves.

    Where a variance is nearly 0 the terms are 1e10 and cancel between classes, so the order shows in the result.
    """
    if width == 1:
        return tensor
    if width > 128:
        half = width // 2 - (width // 2) % 8
        first = row_sum(graph, graph.gather(tensor, range(half)), half)
        return graph.op("Add", first, row_sum(graph, graph.gather(tensor, range(half, width)), width - half))
    whole = width - width % 8
    columns = [graph.gather(tensor, [i]) for i in range(whole, width)]
    if whole:
        lanes = graph.gather(tensor, range(8))
        for start in range(8, whole, 8):
            lanes = graph.op("Add", lanes, graph.gather(tensor, range(start, start + 8)))
        for count in (8, 4, 2):
            lanes = graph.op("Add", graph.gather(lanes, range(0, count, 2)), graph.gather(lanes, range(1, count, 2)))
        columns.insert(0, lanes)
    done = columns[0]
    for column in columns[1:]:
        done = graph.op("Add", done, column)
    return done


def gaussian(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph = ctx.graph
    x = graph.tensor(numbers(graph, est, table, step))
    columns = []
    for prior, mean, variance in zipped(est.class_prior_, est.theta_, est.var_):
        off = graph.op("Sub", x, graph.double(mean))
        squares = graph.op("Div", graph.op("Mul", off, off), graph.double(variance))
        with np.errstate(divide="ignore"):
            start = -0.5 * np.sum(np.log(2.0 * np.pi * variance))
            log_prior = float(np.log(prior))
        half = graph.op("Mul", row_sum(graph, squares, len(mean)), graph.double([0.5]))
        columns.append(graph.op("Add", graph.op("Sub", graph.double([start]), half), graph.double([log_prior])))
    return posterior(ctx, est, graph.join(columns), step)


def multinomial(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    return posterior(ctx, est, linear(ctx, table, est.feature_log_prob_, est.class_log_prior_), step)


def complement(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    return posterior(ctx, est, linear(ctx, table, est.feature_log_prob_, np.zeros(len(est.classes_))), step)


def bernoulli(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = numbers(ctx.graph, est, table, step)
    if est.binarize is not None:
        ones = ctx.graph.as_double(
            ctx.graph.op("Greater", ctx.graph.tensor(table), ctx.graph.double(float(est.binarize)))
        )
        table = table_of(ones, table.features)
    with np.errstate(divide="ignore"):
        negative = np.log(1 - np.exp(est.feature_log_prob_))
    weights = est.feature_log_prob_ - negative
    return posterior(ctx, est, linear(ctx, table, weights, est.class_log_prior_ + negative.sum(axis=1)), step)


def categorical(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Each column is truncated to an integer and looked up; beyond what training saw, numpy raises."""
    graph = ctx.graph
    table = numbers(graph, est, table, step)
    if not all(f.exact for f in table.features):
        raise refuse(est, step, "it truncates values that are not known to the last bit.")
    x = graph.tensor(table)
    whole = graph.op("Mul", graph.op("Sign", x), graph.op("Floor", graph.op("Abs", x)))
    negative = [f"{f.label} is negative, which CategoricalNB does not accept" for f in table.features]
    graph.error(graph.op("Less", whole, graph.double([0.0])), negative)
    sizes = [float(p.shape[1]) for p in est.feature_log_prob_]
    beyond = [f"{f.label} is a category beyond those CategoricalNB knows" for f in table.features]
    graph.error(graph.op("GreaterOrEqual", whole, graph.double(sizes)), beyond)
    joint = graph.double(np.zeros((1, len(est.classes_))))
    for i, log_probabilities in enumerate(est.feature_log_prob_):
        hits = graph.as_double(graph.op("Equal", graph.gather(whole, [i]), graph.double(np.arange(sizes[i]))))
        joint = graph.op("Add", joint, graph.matmul(hits, log_probabilities.T))
    return posterior(ctx, est, graph.op("Add", joint, graph.double(est.class_log_prior_)), step)


PREDICTORS: Predicts = {
    "naive_bayes.GaussianNB": gaussian,
    "naive_bayes.MultinomialNB": multinomial,
    "naive_bayes.ComplementNB": complement,
    "naive_bayes.BernoulliNB": bernoulli,
    "naive_bayes.CategoricalNB": categorical,
}
