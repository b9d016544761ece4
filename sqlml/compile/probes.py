"""The values at which a model's answers change: what hostile test rows are made of.

Read off the graph, whichever engine will compute it, and also where SQL cannot: every split threshold and every
constant that a column is compared with, as the table's column would have to be; every category; and what scalers
learned of a column (the values that they map to -1, 0 and 1, and where they clip).

A threshold on a number that is made of several columns (a principal component) is no value of any of them; one behind
a function that libraries round differently (exp, log) cannot be met to the last bit. Both are counted as not followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sqlml.compile.aims import Aims, Splits, aims_of
from sqlml.compile.constants import COMPARISONS, Doubles
from sqlml.compile.graph import Traced, attributes_of, trace
from sqlml.compile.nodes import Const, Forest, Input, Lookup, Node, NotCompilable, Op, children, is_op
from sqlml.compile.tensors import Tensor, tensor
from sqlml.compile.thresholds import chain_of, pull_back
from sqlml.compile.trees import read
from sqlml.convert.onnx_model import OnnxModel

THRESHOLDS = 20_000
CATEGORIES = 20_000
"""So many are all taken; of more, evenly spaced ones among each column's own."""

SPLITS = {
    "TreeEnsembleClassifier": "nodes_values",
    "TreeEnsembleRegressor": "nodes_values",
}
STRICT = {"<=": (False,), ">": (False,), "<": (True,), ">=": (True,)}
"""Which bounds of f(x) a comparison f(x) op t has: that of <= t, or that of < t; others have both."""


@dataclass(frozen=True)
class Probes:
    """Values to try, by column; columns whose way into the model could not be followed are not in it.

    A threshold is the last value of the column on one side of a split: the next double is on the other side.
    """

    thresholds: Mapping[str, Doubles] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    learned: Mapping[str, Doubles] = field(default_factory=dict)
    aims: Aims | None = None
    """How rows reach the very splits that the thresholds are of."""
    thresholds_found: int = 0
    categories_found: int = 0
    not_followed: int = 0
    """Splits on numbers that are no function of one column, or not one that is exact."""
    trees: int = 0

    @property
    def thresholds_taken(self) -> int:
        return sum(map(len, self.thresholds.values()))

    @property
    def categories_taken(self) -> int:
        return sum(map(len, self.categories.values()))


@dataclass(frozen=True)
class TurningPoints:
    """All values at which answers change, by column: none is left out."""

    thresholds: Mapping[Input, Doubles]
    categories: Mapping[Input, tuple[str, ...]]
    learned: Mapping[Input, Doubles]
    splits: Splits
    not_followed: int


def turning_points(traced: Traced) -> TurningPoints:
    """What a graph that was traced leniently compares its columns with."""
    splits, not_followed = _of_trees(traced)
    thresholds: dict[Input, list[Doubles]] = {}
    for column, found in splits.thresholds():
        thresholds.setdefault(column, []).append(found)
    categories: dict[Input, dict[str, None]] = {}
    learned: dict[Input, list[float]] = {}
    for column, found in _of_nodes(traced, categories, learned):
        thresholds.setdefault(column, []).append(found)
    return TurningPoints(
        {column: _finite(np.concatenate(found)) for column, found in thresholds.items()},
        {column: tuple(sorted(found)) for column, found in categories.items()},
        {column: _finite(np.array(found)) for column, found in learned.items()},
        splits,
        not_followed,
    )


def probes(model: OnnxModel, limit: int = THRESHOLDS, category_limit: int = CATEGORIES) -> Probes:
    """The model's thresholds, categories and learned values by column; the same for the same model."""
    traced = trace(model, lenient=True)
    points = turning_points(traced)
    numbers = points.thresholds
    texts = {column: np.array(found, dtype=object) for column, found in points.categories.items()}
    total, words = sum(map(len, numbers.values())), sum(map(len, texts.values()))
    taken = {column.name: _evenly(found, limit, total) for column, found in numbers.items() if len(found)}
    return Probes(
        thresholds=taken,
        categories={c.name: tuple(_evenly(found, category_limit, words)) for c, found in texts.items() if len(found)},
        learned={column.name: found for column, found in points.learned.items()},
        aims=aims_of(points.splits, traced.columns, taken, {c.name: tuple(found) for c, found in texts.items()}),
        thresholds_found=total,
        categories_found=words,
        not_followed=points.not_followed,
        trees=points.splits.trees,
    )


def _of_trees(traced: Traced) -> tuple[Splits, int]:
    """The trees' splits in units of the columns; and how many have no such units."""
    splits, lost = Splits(), 0
    for node in traced.nodes:
        if node.op_type != "TreeEnsemble" and node.op_type not in SPLITS:
            continue
        attributes = attributes_of(node)
        given = traced.tensors.get(node.input[0])
        features = () if given is None else tensor(traced.algebra, given).elements
        try:
            trees = read(attributes) if node.op_type == "TreeEnsemble" else None
        except NotCompilable:
            trees = None
        if trees is not None:
            lost += splits.add(trees, features)
            continue
        name = SPLITS.get(node.op_type, "nodes_splits")
        found = attributes.get(name + "_as_tensor", attributes.get(name, ()))
        values = np.asarray(found, dtype=np.float64)
        ids = np.asarray(attributes["nodes_featureids"], dtype=np.int64)[: len(values)]
        for feature in np.unique(ids):
            own = np.unique(values[ids == feature])
            met = [*_pulled_back(features[feature], own, (False, True))] if feature < len(features) else []
            splits.loose += met
            lost += 0 if met else len(own)
    return splits, lost


def _pulled_back(node: Node, found: Doubles, strict: Iterable[bool]) -> Iterator[tuple[Input, Doubles]]:
    """The thresholds of a node as thresholds of its column, through imputers on both of their ways."""
    if is_op(node, "where"):
        for side in node.args[1:]:
            yield from _pulled_back(side, found, strict)
    chain = chain_of(node)
    if chain is not None:
        for one in strict:
            yield chain.column, pull_back(chain, found, strict=one)


def _of_nodes(
    traced: Traced, categories: dict[Input, dict[str, None]], learned: dict[Input, list[float]]
) -> Iterator[tuple[Input, Doubles]]:
    """Constants that columns are compared with; categories and learned values go into their dictionaries."""
    done: set[Node] = set()
    stack: list[Node] = []
    for found in traced.tensors.values():
        if isinstance(found, Tensor):
            stack += found.elements
    while stack:
        node = stack.pop()
        if node in done:
            continue
        done.add(node)
        stack += children(node)
        if isinstance(node, Lookup):
            keys = [key for key, _ in node.table]
            categories.setdefault(node.column, {}).update(dict.fromkeys(key for key in keys if isinstance(key, str)))
            yield node.column, np.array([key for key in keys if isinstance(key, float)])
        elif isinstance(node, Op) and node.name in COMPARISONS:
            function, bound = node.args
            if isinstance(bound, Const) and not isinstance(function, Forest) and isinstance(bound.value, float):
                yield from _pulled_back(function, np.array([bound.value]), STRICT.get(node.name, (False, True)))
        elif is_op(node, "add", "sub", "mul", "div", "min", "max"):
            _learn(node, learned)


def _learn(node: Op, learned: dict[Input, list[float]]) -> None:
    """Where a scaler's step is -1, 0 or 1: its mean, its extremes; and where a clip begins."""
    chain = chain_of(node)
    if chain is None:
        return
    bounds = [float(c.value) for c in node.args if isinstance(c, Const) and node.name in ("min", "max")]
    learned.setdefault(chain.column, []).extend(
        pull_back(chain, np.array([-1.0, 0.0, 1.0, *bounds]), strict=False).tolist()
    )


def _finite(values: Doubles) -> Doubles:
    return np.unique(values[np.isfinite(values)])


def _evenly(values: Any, limit: int, total: int) -> Any:  # Any: an array of doubles or of texts
    """The column's share of `limit` values of all columns; a value and its neighbour need not stay together."""
    if total <= limit or len(values) == 0:
        return values
    share = max(1, int(len(values) * limit / total))
    return values[np.unique(np.linspace(0, len(values) - 1, share).round().astype(np.int64))]
