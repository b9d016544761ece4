"""From margins to what `predict` says: XGBoost's PredTransform, and its inverse for base_score, objective by objective.

Read in XGBoost 1.7 and 3.2: src/objective/*.cu, src/common/math.h. All of it is float32: what is computed here in double is
rounded where XGBoost rounds, so that a difference is left only where exp of the two libraries has another last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sqlml.convert.isolated.graph import Graph

Link = Callable[[Graph, str], str]
LARGEST_EXPONENT = float(np.float32(88.7))
"""Sigmoid cuts -x off here, so that expf does not overflow."""


def identity(graph: Graph, margin: str) -> str:
    return margin


def exponential(graph: Graph, margin: str) -> str:
    return graph.round32(graph.op("Exp", margin))


def sigmoid(graph: Graph, margin: str) -> str:
    below = graph.op("Neg", margin)
    largest = graph.double([LARGEST_EXPONENT])
    # Not Min: XGBoost's is std::min(-x, 88.7f).
    cut = graph.op("Where", graph.op("Less", largest, below), largest, below)
    power = graph.round32(graph.op("Exp", cut))
    total = graph.round32(graph.op("Add", power, graph.double([1.0])))
    return graph.round32(graph.op("Div", graph.double([1.0]), total))


def hinge(graph: Graph, margin: str) -> str:
    return graph.as_double(graph.op("Greater", margin, graph.double([0.0])))


def softmax(graph: Graph, margin: str) -> str:
    top = graph.reduce("Max", margin)
    powers = graph.round32(graph.op("Exp", graph.round32(graph.op("Sub", margin, top))))
    total = graph.round32(graph.reduce("Sum", powers))
    return graph.round32(graph.op("Div", powers, total))


def best(graph: Graph, margin: str) -> str:
    return graph.as_double(graph.argmax(margin))


def same(base: float) -> float:
    return base


def logit(base: float) -> float:
    """-logf(1 / base - 1)"""
    odds = np.float32(np.float32(1.0) / np.float32(base)) - np.float32(1.0)
    return -float(np.float32(math.log(float(odds)))) if odds > 0 else math.nan


def logarithm(base: float) -> float:
    return float(np.float32(math.log(base))) if base > 0 else math.nan


LINKS: dict[str, tuple[Link, Callable[[float], float]]] = {
    "reg:squarederror": (identity, same),
    "reg:linear": (identity, same),
    "reg:squaredlogerror": (identity, same),
    "reg:pseudohubererror": (identity, same),
    "reg:absoluteerror": (identity, same),
    "reg:quantileerror": (identity, same),
    "reg:expectileerror": (identity, same),
    "reg:logistic": (sigmoid, logit),
    "binary:logistic": (sigmoid, logit),
    "binary:logitraw": (identity, same),
    "binary:hinge": (hinge, same),
    "count:poisson": (exponential, logarithm),
    "reg:gamma": (exponential, logarithm),
    "reg:tweedie": (exponential, logarithm),
    "survival:cox": (exponential, logarithm),
    "survival:aft": (exponential, logarithm),
    "multi:softmax": (best, same),
    "multi:softprob": (softmax, same),
    "rank:pairwise": (identity, same),
    "rank:ndcg": (identity, same),
    "rank:map": (identity, same),
}
"""Objective -> (link, base_score as a margin)."""
