"""What is known of a node's values before any row is seen: their bounds, and whether they are float32 numbers."""

from __future__ import annotations

import math

import numpy as np

from sqlml.compile.constants import fold
from sqlml.compile.nodes import Const, Forest, Lookup, Node, Op, Select, Value

Bounds = tuple[float, float]
EVERYTHING: Bounds = (-math.inf, math.inf)
LARGEST_SINGLE = float(np.finfo(np.float32).max)


def is_single(node: Node) -> bool:
    """Whether every value is a float32 number, infinities and NaN among them."""
    if isinstance(node, Op):
        if node.name == "float32":
            return True
        if node.name in ("where", "min", "max", "neg", "abs"):
            return all(is_single(a) for a in (node.args[1:] if node.name == "where" else node.args))
        return False
    if isinstance(node, Forest):
        return node.trees.single
    return all(_is_single_value(v) for v in _listed(node)) if _listed(node) else False


def fits_single(node: Node) -> bool:
    """Whether no value becomes infinite by being rounded to float32; infinities stay what they are."""
    low, high = bounds(node)
    return -LARGEST_SINGLE <= low <= high <= LARGEST_SINGLE


def bounds(node: Node, depth: int = 0) -> Bounds:
    """(least, greatest) of all its numbers; NaN and missing values are outside of what is said."""
    if node.dtype != "double" or depth > 30:
        return EVERYTHING
    if isinstance(node, Forest):
        return _of_forest(node)
    if not isinstance(node, Op):
        values = [float(v) for v in _listed(node)]
        known = [v for v in values if not math.isnan(v)]
        return (min(known), max(known)) if known else EVERYTHING
    args = [bounds(a, depth + 1) for a in node.args if a.dtype == "double"]
    if any(not math.isfinite(end) for pair in args for end in pair):
        return EVERYTHING
    made = _of_operation(node.name, args)
    return made if all(math.isfinite(end) for end in made) else EVERYTHING


def _of_operation(name: str, args: list[Bounds]) -> Bounds:
    if name in ("where", "min", "max"):
        return min(low for low, _ in args), max(high for _, high in args)
    if name == "neg":
        return -args[0][1], -args[0][0]
    if name in ("exp", "float32", "floor", "ceil"):
        low, high = (float(fold(name, [end])) for end in args[0])
        return low, high
    if name in ("add", "sum"):
        # The bounds themselves are sums, and rounded: a little wider than needed.
        return _wider(sum(low for low, _ in args), sum(high for _, high in args))
    if name == "sub":
        return _wider(args[0][0] - args[1][1], args[0][1] - args[1][0])
    if name == "mul" or (name == "div" and args[1][0] * args[1][1] > 0):
        corners = [float(fold(name, [a, b])) for a in args[0] for b in args[1]]
        return _wider(min(corners), max(corners))
    return EVERYTHING


def _wider(low: float, high: float) -> Bounds:
    return low - abs(low) * 1e-6, high + abs(high) * 1e-6


def _of_forest(node: Forest) -> Bounds:
    """The largest leaf, whatever its sign, of each tree that adds to this target, added up."""
    trees = node.trees
    size = 0.0
    for root in trees.roots.tolist():
        largest, waiting = 0.0, [root]
        while waiting:
            place = waiting.pop()
            if place >= 0:
                waiting += {int(trees.true[place]), int(trees.false[place])}
            elif trees.target[-1 - place] == node.target:
                largest = max(largest, abs(float(trees.weight[-1 - place])))
        size += largest
    return (-size, size) if size <= LARGEST_SINGLE else EVERYTHING


def _listed(node: Node) -> list[Value]:
    if isinstance(node, Const):
        return [node.value]
    if isinstance(node, Lookup):
        return [node.default, *(value for _, value in node.table)]
    if isinstance(node, Select):
        return [node.default, *(value for _, value in node.cases)]
    return []


def _is_single_value(value: Value) -> bool:
    if not isinstance(value, float):
        return False
    with np.errstate(over="ignore"):
        return math.isnan(value) or float(np.float32(value)) == value
