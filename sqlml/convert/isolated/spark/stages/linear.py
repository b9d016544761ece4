"""Linear models and their kin.

Read in Spark: ml/regression/LinearRegression.scala, GeneralizedLinearRegression.scala, AFTSurvivalRegression.scala,
IsotonicRegression (mllib), FMRegressor.scala; ml/classification/LogisticRegression.scala, LinearSVC.scala, FMClassifier.scala.
"""

from __future__ import annotations

import math

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.spark.columns import Column, Frame, refuse
from sqlml.convert.isolated.spark.reading import Stage, doubles, matrix, vector
from sqlml.convert.isolated.spark.stages.answering import (
    Answer,
    both_signs,
    logistic,
    of_width,
    over,
    plus,
    probable,
    products,
    softmax,
)
from sqlml.convert.isolated.table import LARGEST

EPSILON = 1e-16
"""GeneralizedLinearRegression.epsilon: how near to its bounds a mean may come."""


def margin(frame: Frame, stage: Stage, column: Column) -> str:
    """coefficients . x + intercept"""
    weights = vector(stage.value("coefficients"))
    of_width(stage, column, len(weights.values))
    return plus(frame.graph, products(frame.graph, column.tensor, weights), stage.value("intercept"))


def linear_regression(frame: Frame, stage: Stage, column: Column) -> Answer:
    return Answer("regressor", margin(frame, stage, column))


def survival(frame: Frame, stage: Stage, column: Column) -> Answer:
    return Answer("regressor", frame.graph.op("Exp", margin(frame, stage, column)))


def generalized(frame: Frame, stage: Stage, column: Column) -> Answer:
    """The mean: the link's inverse of the linear predictor, kept inside of what the family allows."""
    graph, eta = frame.graph, margin(frame, stage, column)
    offset = stage.get("offsetCol")
    if offset:
        extra = frame.number(stage, str(offset))
        eta = graph.op("Add", eta, extra.tensor)  # a NULL offset is NaN here: the prediction is NULL, as in Spark
    family, power = str(stage.get("family", "gaussian")).lower(), stage.number("variancePower", 0.0)
    mean = unlinked(graph, stage, eta, family, power)
    if family == "tweedie":
        family = {0.0: "gaussian", 1.0: "poisson", 2.0: "gamma"}.get(power, "tweedie")
    values = projected(graph, mean, family)
    if offset and extra.null is not None:
        values = graph.op("Where", extra.null, graph.double([math.nan]), values)
    return Answer("regressor", values)


CANONICAL = {"gaussian": "identity", "binomial": "logit", "poisson": "log", "gamma": "inverse"}
POWERS = {0.0: "log", 1.0: "identity", -1.0: "inverse", 0.5: "sqrt"}


def unlinked(graph: Graph, stage: Stage, eta: str, family: str, power: float) -> str:
    if family == "tweedie":
        exponent = stage.number("linkPower", 1.0 - power)
        link = POWERS.get(exponent, "power")
    else:
        exponent, link = 0.0, str(stage.get("link") or CANONICAL.get(family)).lower()
    if link == "identity":
        return eta
    if link == "log":
        return graph.op("Exp", eta)
    if link == "inverse":
        return graph.op("Div", graph.double([1.0]), eta)
    if link == "sqrt":
        return graph.op("Mul", eta, eta)
    if link == "logit":
        return logistic(graph, eta)
    if link == "cloglog":
        return graph.op("Sub", graph.double([1.0]), graph.op("Exp", graph.op("Neg", graph.op("Exp", eta))))
    if link == "power" and 1.0 / exponent in (2.0, 3.0, 4.0):
        done = eta
        for _ in range(int(1.0 / exponent) - 1):
            done = graph.op("Mul", done, eta)
        return done
    if link == "power":
        return graph.op("Pow", eta, graph.double([1.0 / exponent]))
    raise refuse(stage, f"its link {link!r} needs a function that SQL does not have.", "Use the link 'logit'.")


def projected(graph: Graph, mean: str, family: str) -> str:
    """Family.project; a NaN stays one."""
    if family == "binomial":
        low = graph.op("Where", graph.op("Less", mean, graph.double([EPSILON])), graph.double([EPSILON]), mean)
        most = 1.0 - EPSILON
        return graph.op("Where", graph.op("Greater", low, graph.double([most])), graph.double([most]), low)
    least = -LARGEST if family == "gaussian" else EPSILON
    low = graph.op("Where", graph.op("Less", mean, graph.double([least])), graph.double([least]), mean)
    return graph.op("Where", graph.op("Greater", low, graph.double([LARGEST])), graph.double([LARGEST]), low)


def logistic_regression(frame: Frame, stage: Stage, column: Column) -> Answer:
    graph = frame.graph
    if "coefficientMatrix" not in stage.row:  # Spark 2.0 and before
        return binomial(frame, stage, column, margin(frame, stage, column))
    weights, intercepts = matrix(stage.value("coefficientMatrix")), vector(stage.value("interceptVector")).values
    of_width(stage, column, weights.values.shape[1])
    raw = plus(graph, products(graph, column.tensor, weights), intercepts)
    if not stage.value("isMultinomial"):
        return binomial(frame, stage, column, raw)
    classes = len(weights.values)
    return probable(graph, stage, raw, softmax(graph, raw, classes), classes)


def binomial(frame: Frame, stage: Stage, column: Column, score: str) -> Answer:
    """Two classes have a threshold, on the margin where there is a column of raw predictions, else on the probability."""
    graph, limits = frame.graph, doubles(stage.params.get("thresholds"))
    threshold = stage.number("threshold", 0.5)
    if limits:
        if len(limits) != 2 or limits[1] == 0:
            raise refuse(stage, f"its thresholds are {limits}, and it has two classes.", "Set two thresholds above 0.")
        threshold = 1.0 / (1.0 + limits[0] / limits[1])
    zero = logistic(graph, graph.op("Neg", score))
    one = graph.op("Sub", graph.double([1.0]), zero)
    if stage.get("rawPredictionCol", "rawPrediction"):
        edge = {0.0: -math.inf, 1.0: math.inf}.get(threshold)
        values = over(graph, score, math.log(threshold / (1.0 - threshold)) if edge is None else edge)
    else:
        values = over(graph, one, threshold)
    return Answer("classifier", values, 2, both_signs(graph, score), graph.join([zero, one]))


def linear_svc(frame: Frame, stage: Stage, column: Column) -> Answer:
    graph, score = frame.graph, margin(frame, stage, column)
    return Answer("classifier", over(graph, score, stage.number("threshold", 0.0)), 2, both_signs(graph, score))


def factorized(frame: Frame, stage: Stage, column: Column) -> str:
    """intercept + linear . x + half of (the square of a factor's sum, less the sum of squares), for each factor."""
    graph = frame.graph
    linear, factors = vector(stage.value("linear")), matrix(stage.value("factors")).values
    of_width(stage, column, len(factors))
    total = plus(graph, products(graph, column.tensor, linear), stage.value("intercept"))
    for weights in factors.T:
        terms = graph.op("Mul", column.tensor, graph.double(weights))
        # A zero meets no factor: of an infinite factor there is none, so the product is zero as well.
        once = graph.reduce("Sum", terms) if len(weights) > 1 else terms
        squares = graph.op("Mul", terms, terms)
        twice = graph.reduce("Sum", squares) if len(weights) > 1 else squares
        pairs = graph.op("Sub", graph.op("Mul", once, once), twice)
        total = graph.op("Add", total, graph.op("Mul", pairs, graph.double([0.5])))
    return total


def factorization_regression(frame: Frame, stage: Stage, column: Column) -> Answer:
    return Answer("regressor", factorized(frame, stage, column))


def factorization_classifier(frame: Frame, stage: Stage, column: Column) -> Answer:
    graph, score = frame.graph, factorized(frame, stage, column)
    one = logistic(graph, score)
    probabilities = graph.join([graph.op("Sub", graph.double([1.0]), one), one])
    return probable(graph, stage, both_signs(graph, score), probabilities, 2)


def isotonic(frame: Frame, stage: Stage, column: Column) -> Answer:
    """Straight lines between the boundaries, flat beyond them. To Double.compare a NaN lies beyond the last."""
    graph = frame.graph
    bounds, heights = vector(stage.value("boundaries")).values, vector(stage.value("predictions")).values
    value, null = column.tensor, column.null
    if column.type == "vector":
        index = int(stage.get("featureIndex", 0))
        if index >= column.width:
            raise refuse(stage, f"it reads feature {index} of a vector of {column.width}.")
        value = graph.gather(value, [index])
    if (np.diff(bounds) <= 0).any():
        raise refuse(stage, "two of its boundaries are the same.", "Train it again without duplicates.")
    done = graph.rows([float(heights[-1])])
    if len(bounds) > 1:
        at, after = graph.double(bounds[:-1]), graph.double(bounds[1:])
        inside = graph.as_double(graph.op("And", graph.op("GreaterOrEqual", value, at), graph.op("Less", value, after)))
        facts = np.column_stack([bounds[:-1], heights[:-1], bounds[1:], heights[1:]])
        picked = graph.matmul(inside, facts) if len(facts) > 1 else graph.op("Mul", inside, graph.double(facts))
        x1, y1, x2, y2 = (graph.gather(picked, [i]) for i in range(4))
        within = graph.op("Less", value, graph.double([float(bounds[-1])]))
        rise = graph.op("Mul", graph.op("Sub", y2, y1), graph.op("Sub", value, x1))
        width = graph.op("Where", within, graph.op("Sub", x2, x1), graph.double([1.0]))
        line = graph.op("Add", y1, graph.op("Div", rise, width))
        done = graph.op("Where", within, line, done)
    before = graph.op("Less", value, graph.double([float(bounds[0])]))
    done = graph.op("Where", before, graph.double([float(heights[0])]), done)
    if null is not None and column.type != "vector":
        done = graph.op("Where", null, graph.double([math.nan]), done)
    return Answer("regressor", done)
