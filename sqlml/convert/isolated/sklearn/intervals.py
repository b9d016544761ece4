"""What depends on the interval that a number falls into: tables of constants, found by search trees.

A table of 1000 intervals is ten comparisons in onnxruntime and a CASE of ten levels in SQL, and its constants arrive
as they are, to the last bit (a tree's sum of one leaf is that leaf).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.trees import Tree, tree_ensemble


@dataclass(frozen=True)
class Steps:
    """A function of column `feature` that is values[i] for bounds[i - 1] < x <= bounds[i]; bounds ascend."""

    feature: int
    bounds: Array
    values: Array


def below(bounds: Any) -> Array:  # Any: whatever numpy takes
    """Bounds for x < b instead of x <= b."""
    return np.asarray(np.nextafter(np.asarray(bounds, dtype=np.float64), -np.inf))


def looked_up(graph: Graph, tensor: str, tables: Sequence[Steps]) -> str:
    """[N, len(tables)]: each table's value of its column. NaN is beyond every bound."""
    trees = [search_tree(steps, target) for target, steps in enumerate(tables)]
    return tree_ensemble(graph, tensor, trees, len(trees))


def search_tree(steps: Steps, target: int) -> Tree:
    """A balanced tree over the bounds: node by node, the root first."""
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []

    def add(first: int, last: int) -> int:
        """The subtree over the values first..last, both included; the place of its root."""
        place = len(threshold)
        threshold.append(0.0)
        left.append(-1)
        right.append(-1)
        value.append(float(steps.values[first]))
        if first < last:
            middle = (first + last) // 2
            threshold[place] = float(steps.bounds[middle])
            left[place] = add(first, middle)
            right[place] = add(middle + 1, last)
        return place

    add(0, len(steps.bounds))
    count = len(threshold)
    return Tree(
        np.full(count, steps.feature, dtype=np.int64),
        np.array(threshold),
        np.array(left),
        np.array(right),
        np.zeros(count, dtype=np.int64),
        np.array(value),
        target,
    )
