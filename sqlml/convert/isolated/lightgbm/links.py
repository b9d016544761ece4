"""From raw scores to what `predict` says: LightGBM's ConvertOutput, objective by objective.

Read in LightGBM 4.7: objective/binary_objective.hpp, multiclass_objective.hpp, regression_objective.hpp,
xentropy_objective.hpp, rank_objective.hpp, utils/common.h (Softmax, Sign).
"""

from __future__ import annotations

from collections.abc import Callable

from sqlml.convert.isolated.graph import Graph

Link = Callable[[Graph, str, tuple[str, ...]], str]


def identity(graph: Graph, raw: str, settings: tuple[str, ...]) -> str:
    return raw


def exponential(graph: Graph, raw: str, settings: tuple[str, ...]) -> str:
    return graph.op("Exp", raw)


def squared(graph: Graph, raw: str, settings: tuple[str, ...]) -> str:
    """With reg_sqrt the trees learned the root of the target."""
    if "sqrt" not in settings:
        return raw
    return graph.op("Mul", graph.op("Mul", graph.op("Sign", raw), raw), raw)


def sigmoid(graph: Graph, raw: str, settings: tuple[str, ...]) -> str:
    slope = next((float(s.partition(":")[2]) for s in settings if s.startswith("sigmoid:")), 1.0)
    below = graph.op("Exp", graph.op("Mul", raw, graph.double([-slope])))
    return graph.op("Div", graph.double([1.0]), graph.op("Add", graph.double([1.0]), below))


def softmax(graph: Graph, raw: str, settings: tuple[str, ...]) -> str:
    return graph.op("Softmax", raw, axis=1)


def log1p_exp(graph: Graph, raw: str, settings: tuple[str, ...]) -> str:
    """log1p(e) is log(u) * e / (u - 1) for the double u = 1 + e, and e itself where u is 1 (W. Kahan)."""
    one, e = graph.double([1.0]), graph.op("Exp", raw)
    u = graph.op("Add", e, one)
    plain = graph.op("Or", graph.op("Equal", u, one), graph.op("IsInf", e))
    exact = graph.op("Div", graph.op("Mul", graph.op("Log", u), e), graph.op("Sub", u, one))
    return graph.op("Where", plain, e, exact)


LINKS: dict[str, Link] = {
    "regression": squared,
    "regression_l1": squared,
    "fair": squared,
    "quantile": squared,
    "mape": squared,
    "huber": identity,
    "poisson": exponential,
    "gamma": exponential,
    "tweedie": exponential,
    "binary": sigmoid,
    "multiclass": softmax,
    "multiclassova": sigmoid,
    "cross_entropy": sigmoid,
    "cross_entropy_lambda": log1p_exp,
    "lambdarank": identity,
    "rank_xendcg": identity,
}
