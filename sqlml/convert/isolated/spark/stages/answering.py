"""What a predictor answers, and how Spark's classifiers make a class of raw predictions.

Read in Spark: ml/classification/ProbabilisticClassifier.scala (raw2prediction, probability2prediction), ml/impl/Utils.scala
(softmax), ml/linalg/Vectors.scala (argmax), BLAS.scala (a sparse operand's absent entries are never multiplied).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.spark.columns import Column, Frame, first_largest, not_nan, refuse
from sqlml.convert.isolated.spark.reading import Stage, Vector, doubles
from sqlml.convert.isolated.table import LARGEST


@dataclass(frozen=True)
class Answer:
    """`values` is a class index (int64 [N, 1]) of `classes` classes, or a number; `raw` is [N, classes].

    `type` is what Spark says of the prediction column: int for clusters, else double.
    """

    kind: Literal["classifier", "regressor"]
    values: str
    classes: int = 0
    raw: str | None = None
    probabilities: str | None = None
    type: Literal["double", "int"] = "double"


Predict = Callable[[Frame, Stage, Column], Answer]


def of_width(stage: Stage, column: Column, width: int) -> None:
    if column.width != width:
        raise refuse(stage, f"it was trained on {width} features and would be given {column.width}.")


def products(graph: Graph, tensor: str, weights: Vector) -> str:
    """features . w for each row w of the weights; what a sparse one does not hold meets no feature, not even infinity."""
    rows = np.atleast_2d(weights.values)
    if not weights.sparse or not (rows == 0).any():
        return graph.matmul(tensor, rows.T)
    columns = []
    for row, stored in zip(rows, np.atleast_2d(weights.stored)):
        places = np.flatnonzero(stored)
        if len(places) == 0:
            columns.append(graph.rows([0.0]))
        else:
            part = graph.gather(tensor, places.tolist()) if len(places) < len(row) else tensor
            columns.append(graph.matmul(part, row[places].reshape(-1, 1)))
    return graph.join(columns)


def plus(graph: Graph, tensor: str, intercept: object) -> str:
    return graph.op("Add", tensor, graph.double(np.asarray(intercept, dtype=np.float64).reshape(-1)))


def logistic(graph: Graph, tensor: str) -> str:
    """1 / (1 + exp(-x))."""
    below = graph.op("Exp", graph.op("Neg", tensor))
    return graph.op("Div", graph.double([1.0]), graph.op("Add", graph.double([1.0]), below))


def both_signs(graph: Graph, margin: str) -> str:
    """The raw prediction of two classes."""
    return graph.join([graph.op("Neg", margin), margin])


def over(graph: Graph, tensor: str, limit: float) -> str:
    return graph.as_int(graph.op("Greater", tensor, graph.double([limit])))


def softmax(graph: Graph, raw: str, width: int) -> str:
    """Utils.softmax: the first infinity takes all, and the others become zero times what they were."""
    known = not_nan(graph, raw, -LARGEST)
    top = graph.op("Max", graph.reduce("Max", known), graph.double([-LARGEST]))
    raised = graph.op("Exp", graph.op("Sub", raw, top))
    shares = graph.op("Div", raised, graph.reduce("Sum", raised))
    infinite = graph.as_double(graph.op("Equal", raw, graph.double([math.inf])))
    some = graph.op("Greater", graph.reduce("Max", infinite), graph.double([0.5]))
    first = graph.as_double(graph.argmax(infinite))
    here = graph.op("Equal", first, graph.double([float(i) for i in range(width)]))
    alone = graph.op("Where", here, graph.double([1.0]), graph.op("Mul", raw, graph.double([0.0] * width)))
    return graph.op("Where", some, alone, shares)


def shares_of(graph: Graph, raw: str) -> str:
    """normalizeToProbabilitiesInPlace: nothing is divided by a sum of zero."""
    total = graph.reduce("Sum", raw)
    zero = graph.op("Equal", total, graph.double([0.0]))
    return graph.op("Div", raw, graph.op("Where", zero, graph.double([1.0]), total))


def decided(graph: Graph, stage: Stage, raw: str, probabilities: str, classes: int) -> str:
    """The class: the largest raw prediction, or the largest probability beside its threshold."""
    limits = doubles(stage.params.get("thresholds"))
    if not limits:
        return first_largest(graph, raw, classes, nan=True)
    if len(limits) != classes:
        raise refuse(stage, f"it has {len(limits)} thresholds for {classes} classes.", "Set as many thresholds.")
    # A probability above zero beside a threshold of zero is infinitely large, and zero beside it counts for nothing.
    divided = graph.op("Div", probabilities, graph.double([limit if limit != 0 else 1.0 for limit in limits]))
    for i in (i for i, limit in enumerate(limits) if limit == 0):
        here = graph.op("Equal", graph.rows([float(i == j) for j in range(classes)]), graph.double([1.0]))
        some = graph.op("And", here, graph.op("Greater", probabilities, graph.double([0.0])))
        none = graph.op("And", here, graph.op("Equal", probabilities, graph.double([0.0])))
        divided = graph.op("Where", some, graph.double([math.inf]), divided)
        divided = graph.op("Where", none, graph.double([-math.inf]), divided)
    if classes == 1:
        return graph.as_int(graph.rows([0.0]))
    return graph.argmax(not_nan(graph, divided, -math.inf))


def probable(graph: Graph, stage: Stage, raw: str, probabilities: str, classes: int) -> Answer:
    """A classifier's whole answer."""
    return Answer("classifier", decided(graph, stage, raw, probabilities, classes), classes, raw, probabilities)
