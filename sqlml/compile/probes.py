"""The values at which a model's answers change: what hostile test rows are made of.

Read off the graph, whichever engine will compute it, and also where SQL cannot: every split threshold and every
constant that a column is compared with, as the table's column would have to be, and every category.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.compile.constants import COMPARISONS, Doubles
from sqlml.compile.graph import Traced, attributes_of, trace
from sqlml.compile.nodes import Const, Forest, Input, Lookup, Node, Op, children, is_op
from sqlml.compile.tensors import Tensor, tensor
from sqlml.compile.thresholds import chain_of, pull_back
from sqlml.convert.onnx_model import OnnxModel

AROUND = 6
"""Values per threshold: itself, a neighbour on either side, and three float32 numbers."""

SPLITS = {
    "TreeEnsemble": "nodes_splits",
    "TreeEnsembleClassifier": "nodes_values",
    "TreeEnsembleRegressor": "nodes_values",
}


@dataclass(frozen=True)
class Probes(Mapping[str, tuple[float | str, ...]]):
    """Values to try, by column; columns whose way into the model could not be followed are not in it."""

    values_of: Mapping[str, tuple[float | str, ...]]
    sampled: str | None
    """A sentence where not all were taken."""

    def __getitem__(self, column: str) -> tuple[float | str, ...]:
        return self.values_of[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def probes(model: OnnxModel, limit: int = 20_000) -> Probes:
    """For each column the values at its thresholds and one step beside them (float64 and float32), and its categories.

    At most about `limit` values; past that, evenly spaced ones among each column's sorted thresholds and categories.
    """
    traced = trace(model, lenient=True)
    thresholds: dict[Input, list[Doubles]] = {}
    categories: dict[Input, dict[str, None]] = {}
    for column, found in [*_of_trees(traced), *_of_nodes(traced, categories)]:
        thresholds.setdefault(column, []).append(found)
    numbers = {column: _finite(np.concatenate(found)) for column, found in thresholds.items()}
    texts = {column: np.array(sorted(found), dtype=object) for column, found in categories.items()}
    total = AROUND * sum(map(len, numbers.values())) + sum(map(len, texts.values()))
    share = min(1.0, limit / total) if total else 1.0
    made: dict[str, tuple[float | str, ...]] = {}
    for column in traced.columns:
        values: tuple[float | str, ...] = ()
        if column in texts:
            values = tuple(_evenly(texts[column], share))
        if column in numbers and len(numbers[column]):
            values += tuple(_around(_evenly(numbers[column], share)).tolist())
        if values:
            made[column.name] = values
    sampled = None if share == 1 else f"{sum(map(len, made.values()))} of {total} critical values, evenly spaced"
    return Probes(made, sampled)


def _of_trees(traced: Traced) -> Iterator[tuple[Input, Doubles]]:
    for node in traced.nodes:
        if node.op_type not in SPLITS:
            continue
        given = traced.tensors.get(node.input[0])
        if given is None:
            continue
        attributes = attributes_of(node)
        features = tensor(traced.algebra, given).elements
        splits = np.asarray(_splits(attributes, SPLITS[node.op_type]), dtype=np.float64)
        ids = np.asarray(attributes["nodes_featureids"], dtype=np.int64)
        for feature in np.unique(ids[: len(splits)]):
            if feature < len(features):
                yield from _pulled_back(features[feature], np.unique(splits[ids == feature]))


def _splits(attributes: Mapping[str, Any], name: str) -> Any:  # Any: a list or an array
    return attributes.get(name + "_as_tensor", attributes.get(name, ()))


def _pulled_back(node: Node, found: Doubles) -> Iterator[tuple[Input, Doubles]]:
    """The thresholds of a node as thresholds of its column, through imputers on both of their ways."""
    if is_op(node, "where"):
        for side in node.args[1:]:
            yield from _pulled_back(side, found)
    chain = chain_of(node)
    if chain is not None:
        yield chain.column, pull_back(chain, found, strict=False)


def _of_nodes(traced: Traced, categories: dict[Input, dict[str, None]]) -> Iterator[tuple[Input, Doubles]]:
    """Constants that columns are compared with; categories go into their dictionary."""
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
                yield from _pulled_back(function, np.array([bound.value]))


def _finite(values: Doubles) -> Doubles:
    return np.unique(values[np.isfinite(values)])


def _evenly(values: Any, share: float) -> Any:  # Any: an array of doubles or of texts
    if share == 1 or len(values) == 0:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, max(1, int(len(values) * share))).round().astype(np.int64))]


def _around(values: Doubles) -> Doubles:
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32)
        beside = [np.nextafter(singles, np.float32(side)).astype(np.float64) for side in (-np.inf, np.inf)]
    steps = [np.nextafter(values, side) for side in (-np.inf, np.inf)]
    return _finite(np.concatenate([values, *steps, singles.astype(np.float64), *beside]))
