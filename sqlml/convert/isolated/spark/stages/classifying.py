"""Naive Bayes, neural networks, one against the rest, and clusters.

Read in Spark: ml/classification/NaiveBayes.scala, MultilayerPerceptronClassifier.scala, OneVsRest.scala; ml/ann/Layer.scala;
ml/clustering/KMeans.scala, mllib/clustering/DistanceMeasure.scala.
"""

from __future__ import annotations

import math

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.spark.columns import Column, Frame, any_of, first_largest, not_nan, refuse
from sqlml.convert.isolated.spark.reading import Stage, Vector, matrix, vector
from sqlml.convert.isolated.spark.stages.answering import (
    Answer,
    Predict,
    logistic,
    of_width,
    plus,
    probable,
    products,
    softmax,
)


def naive_bayes(frame: Frame, stage: Stage, column: Column) -> Answer:
    graph, kind = frame.graph, str(stage.get("modelType", "multinomial"))
    prior, theta = vector(stage.value("pi")).values, matrix(stage.value("theta"))
    classes, width = theta.values.shape
    of_width(stage, column, width)
    if not np.isfinite(theta.values).all():
        why = "some of its probabilities are zero (smoothing is 0), and zero times their logarithm is not a number."
        raise refuse(stage, why, "Train it with smoothing above 0.")
    if kind in ("multinomial", "complement"):
        fine = graph.op("GreaterOrEqual", column.tensor, graph.double([0.0]))
        reason = f"{column.label} is negative or not a number, and {kind} NaiveBayes does not accept that"
        frame.error(any_of(graph, [graph.op("Not", fine)]), reason)
        raw = products(graph, column.tensor, theta)
        raw = plus(graph, raw, prior) if kind == "multinomial" else less_their_sum(graph, raw)
    elif kind == "bernoulli":
        zero = graph.op("Equal", column.tensor, graph.double([0.0]))
        fine = graph.op("Or", zero, graph.op("Equal", column.tensor, graph.double([1.0])))
        reason = f"{column.label} is neither 0 nor 1, and bernoulli NaiveBayes does not accept that"
        frame.error(any_of(graph, [graph.op("Not", fine)]), reason)
        absent = np.log1p(-np.exp(theta.values))
        raw = products(graph, column.tensor, Vector(theta.values - absent, theta.stored))
        raw = plus(graph, raw, prior + absent.sum(axis=1))
    elif kind == "gaussian":
        raw = gaussian(graph, column.tensor, prior, theta.values, matrix(stage.value("sigma")).values)
    else:
        raise refuse(stage, f"its modelType {kind!r} is not known.")
    return probable(graph, stage, raw, softmax(graph, raw, classes), classes)


def less_their_sum(graph: Graph, raw: str) -> str:
    """The logarithms of shares: each less the logarithm of all of them together."""
    top = graph.reduce("Max", raw)
    total = graph.reduce("Sum", graph.op("Exp", graph.op("Sub", raw, top)))
    return graph.op("Sub", raw, graph.op("Add", graph.op("Log", total), top))


def gaussian(graph: Graph, tensor: str, prior: Array, means: Array, variances: Array) -> str:
    columns = []
    for start, mean, variance in zip(prior.tolist(), means, variances):
        off = graph.op("Sub", tensor, graph.double(mean))
        parts = graph.op("Div", graph.op("Mul", off, off), graph.double(variance))
        # One after the other, as Spark adds them: where a variance is nearly 0 the terms are huge, and order shows.
        total = graph.gather(parts, [0])
        for i in range(1, len(mean)):
            total = graph.op("Add", total, graph.gather(parts, [i]))
        logs = 0.0
        for value in variance.tolist():
            logs += math.log(value)
        half = graph.op("Div", graph.op("Add", total, graph.double([logs])), graph.double([2.0]))
        columns.append(graph.op("Sub", graph.double([start]), half))
    return graph.join(columns)


def perceptron(frame: Frame, stage: Stage, column: Column) -> Answer:
    """Affine layers with the logistic function between them, and softmax behind the last."""
    graph = frame.graph
    layers = [int(size) for size in stage.row.get("layers") or stage.get("layers") or ()]
    weights = vector(stage.value("weights")).values
    if len(layers) < 2 or sum(a * b + b for a, b in zip(layers, layers[1:])) != len(weights):
        raise refuse(stage, f"its {len(weights)} weights do not fill layers of {layers}.")
    of_width(stage, column, layers[0])
    tensor, place = column.tensor, 0
    for i, (wide, high) in enumerate(zip(layers, layers[1:])):
        matrix_of = weights[place : place + wide * high].reshape(wide, high)
        bias = weights[place + wide * high : place + wide * high + high]
        place += wide * high + high
        tensor = plus(graph, graph.matmul(tensor, matrix_of), bias)
        if i < len(layers) - 2:
            tensor = logistic(graph, tensor)
    return probable(graph, stage, tensor, softmax(graph, tensor, layers[-1]), layers[-1])


def one_vs_rest(predictors: dict[str, Predict]) -> Predict:
    """Each class by a classifier of its own; the largest raw prediction wins."""

    def convert(frame: Frame, stage: Stage, column: Column) -> Answer:
        graph, raws = frame.graph, []
        for part in stage.stages:
            predict = predictors.get(part.kind)
            said = None if predict is None else predict(frame, part, column)
            if said is None or said.raw is None or said.classes != 2:
                raise refuse(part, "there is no exact translation of it inside of OneVsRest.")
            raws.append(graph.gather(said.raw, [1]))
        if not raws:
            raise refuse(stage, "it holds no models.", "Save the model again.")
        raw, classes = graph.join(raws), len(raws)
        return Answer("classifier", first_largest(graph, raw, classes, nan=True), classes, raw)

    return convert


def k_means(frame: Frame, stage: Stage, column: Column) -> Answer:
    """The nearest center; a row that is infinitely far from all of them is of the first. A norm must not be NaN."""
    graph = frame.graph
    if str(stage.get("distanceMeasure", "euclidean")) != "euclidean":
        raise refuse(stage, "it measures by cosine.", "Use distanceMeasure='euclidean'.")
    rows = sorted(stage.data, key=lambda row: int(row["clusterIdx"]))
    centers = [vector(row["clusterCenter"]).values for row in rows]
    of_width(stage, column, len(centers[0]))
    if column.nan:
        bad = any_of(graph, [graph.op("IsNaN", column.tensor)])
        frame.error(bad, f"{column.label} is not a number, and KMeans does not accept that")
    nearness = []
    for center in centers:
        off = graph.op("Sub", column.tensor, graph.double(center))
        squares = graph.op("Mul", off, off)
        distance = graph.reduce("Sum", squares) if len(center) > 1 else squares
        nearness.append(graph.op("Neg", not_nan(graph, distance, math.inf)))
    joined = graph.join(nearness)
    index = first_largest(graph, joined, len(centers), nan=False)
    return Answer("classifier", index, len(centers), type="int")
