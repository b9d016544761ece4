"""How a model's answer depends on each of its columns: where it can change, and whether that is all of it.

Trees and comparisons change their answer at thresholds only, so that trying one value of each interval tries all. A sum
of columns has one crossing on either side of a value. Of anything else (networks, kernels, neighbours) nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sqlml.compile.additive import Additive, NotExplained, additive
from sqlml.compile.constants import COMPARISONS, Doubles
from sqlml.compile.graph import Traced, trace
from sqlml.compile.nodes import Const, Forest, Input, Lookup, Node, NotCompilable, Op, children, is_op
from sqlml.compile.probes import turning_points
from sqlml.compile.thresholds import chain_of
from sqlml.convert.onnx_model import OnnxModel

Way = Literal["steps", "monotone", "anyhow"]


@dataclass(frozen=True)
class Turning:
    """One column. `way`: "steps" changes at `thresholds` only (each the last value on one of its sides), "monotone" turns
    once on either side of a value, "anyhow" is neither. `learned` are values that scalers know of it."""

    way: Way
    thresholds: Doubles
    categories: tuple[str, ...]
    learned: Doubles


def turning(model: OnnxModel) -> tuple[Turning, ...]:
    """Of each column of the signature."""
    traced = trace(model, lenient=True)
    points = turning_points(traced)
    smooth = _smooth(traced)
    monotone = _monotone(model) if smooth else frozenset()
    nothing = np.zeros(0)
    found = []
    for column in traced.columns:
        is_step = column.index not in smooth
        way: Way = "steps" if is_step else "monotone" if column.index in monotone else "anyhow"
        found.append(
            Turning(
                way,
                points.thresholds.get(column, nothing),
                points.categories.get(column, ()),
                points.learned.get(column, nothing),
            )
        )
    return tuple(found)


def _smooth(traced: Traced) -> frozenset[int]:
    """Columns whose number itself reaches an answer, and not only the side of a threshold that it is on."""
    try:
        waiting: list[Node] = list(traced.output("prediction"))
        if traced.tensors.get("probabilities") is not None:
            waiting += traced.output("probabilities")
    except NotCompilable:
        return frozenset(column.index for column in traced.columns)
    found: set[int] = set()
    done: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node in done:
            continue
        done.add(node)
        if isinstance(node, Input):
            found.add(node.index)
        elif isinstance(node, Forest):
            for i in np.unique(node.trees.feature).tolist():
                waiting += _not_met(node.features[i])
        elif isinstance(node, Op) and node.name in COMPARISONS and isinstance(node.args[1], Const):
            waiting += _not_met(node.args[0])
        elif not (isinstance(node, Lookup) or is_op(node, "is_nan")):
            waiting += children(node)
    return frozenset(found)


def _not_met(node: Node) -> list[Node]:
    """What below a node that is compared has thresholds that are not known, an imputer's ways apart."""
    if isinstance(node, Const | Lookup) or chain_of(node) is not None:
        return []
    if is_op(node, "where"):
        return [node.args[0], *(found for side in node.args[1:] for found in _not_met(side))]
    return [node]


def _monotone(model: OnnxModel) -> frozenset[int]:
    """Columns that move every raw score one way only: linear models, whatever scales and imputes their columns."""
    try:
        found: Additive = additive(model)
    except (NotExplained, NotCompilable):
        return frozenset()
    if found.trees:
        return frozenset()
    columns = range(len(model.signature.columns))
    return frozenset(c for c in columns if all(_one_way(score.parts.get(c, ())) for score in found.scores))


def _one_way(parts: Sequence[Node]) -> bool:
    ways = [_rises(node) for node in parts]
    return None not in ways and len(set(ways)) <= 1


def _rises(node: Node) -> bool | None:
    """Whether a part rises with its column, where that is not missing; None where it may do either."""
    if is_op(node, "where") and (is_op(node.args[0], "is_nan") or isinstance(node.args[0], Lookup)):
        sides = [_rises(side) for side in node.args[1:] if not isinstance(side, Const)]
        return sides[0] if len(sides) == 1 else None
    if is_op(node, "mul") and isinstance(node.args[1], Const) and not isinstance(node.args[0], Input):
        inner, factor = _rises(node.args[0]), float(node.args[1].value)
        return None if inner is None or factor == 0 else inner == (factor > 0)
    found = chain_of(node)
    return None if found is None else found.rises
