"""Decision trees, forests and gradient boosting, from the table of nodes that Spark saves.

Read in Spark: ml/tree/treeModels.scala, Node.scala, Split.scala; ml/classification/DecisionTreeClassifier.scala,
RandomForestClassifier.scala, GBTClassifier.scala; ml/regression/ of the same. A number goes left by `<= threshold`, so a
NaN goes right. A categorical split keeps a set, the shorter of both sides: what is in neither goes with the longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.sklearn.trees import Tree, tree_ensemble
from sqlml.convert.isolated.spark.columns import Column, Frame, refuse
from sqlml.convert.isolated.spark.reading import Stage
from sqlml.convert.isolated.spark.stages.answering import (
    Answer,
    both_signs,
    decided,
    logistic,
    of_width,
    probable,
    shares_of,
)

Nodes = Sequence[Mapping[str, Any]]  # Any: rows of parquet
LARGEST_MATRIX = 20_000
"""Categories times sets of them: beyond, a set is a tree of its own, as large as the set."""


class Members:
    """The features, and behind them one column for each set that a split asks for: is the feature in it?"""

    def __init__(self, graph: Graph, tensor: str, width: int) -> None:
        self.graph, self.features, self.width = graph, tensor, width
        self.places: dict[tuple[int, tuple[float, ...]], int] = {}

    def place(self, feature: int, categories: tuple[float, ...]) -> int:
        return self.places.setdefault((feature, categories), self.width + len(self.places))

    def tensor(self) -> str:
        parts, order = [self.features], list(range(self.width))
        by_feature: dict[int, list[tuple[float, ...]]] = {}
        for feature, categories in self.places:
            by_feature.setdefault(feature, []).append(categories)
        for feature, sets in by_feature.items():
            parts.append(self._membership(self.graph.gather(self.features, [feature]), sets))
            order += [self.places[feature, categories] for categories in sets]
        joined = self.graph.join(parts)
        if order == sorted(order):
            return joined
        return self.graph.gather(joined, [order.index(i) for i in range(len(order))])

    def _membership(self, value: str, sets: Sequence[tuple[float, ...]]) -> str:
        graph, wanted = self.graph, sorted({c for categories in sets for c in categories})
        if not wanted:
            return graph.rows([0.0] * len(sets))
        if len(wanted) * len(sets) > LARGEST_MATRIX:
            return tree_ensemble(graph, value, [points(c, k) for k, c in enumerate(sets)], len(sets))
        hits = graph.as_double(graph.op("Equal", value, graph.double(wanted)))
        return graph.matmul(hits, np.array([[float(c in s) for s in map(frozenset, sets)] for c in wanted]))


def points(categories: Sequence[float], target: int) -> Tree:
    """1 at each of the numbers and 0 between them, as a balanced tree of `<=`."""
    edges = sorted({edge for c in categories for edge in (float(np.nextafter(c, -np.inf)), float(c))})
    inside = set(map(float, categories))
    threshold: list[float] = []
    value: list[float] = []
    left: list[int] = []
    right: list[int] = []

    def grow(low: int, high: int) -> int:
        """The tree of the intervals low..high; interval i ends at edges[i]."""
        here = len(value)
        middle = (low + high) // 2
        leaf = low == high
        value.append(float(low < len(edges) and edges[low] in inside) if leaf else 0.0)
        threshold.append(0.0 if leaf else edges[middle])
        left.append(-1)
        right.append(-1)
        if not leaf:
            left[here] = grow(low, middle)
            right[here] = grow(middle + 1, high)
        return here

    grow(0, len(edges))
    none = np.zeros(len(value), dtype=np.int64)
    return Tree(none, np.array(threshold), np.array(left), np.array(right), none, np.array(value), target)


def saved_trees(stage: Stage) -> list[Nodes]:
    """The nodes of each tree, by id."""
    rows = stage.data
    if rows and "treeID" in rows[0]:
        by_tree: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_tree.setdefault(int(row["treeID"]), []).append(row["nodeData"])
        found = [by_tree[tree] for tree in sorted(by_tree)]
    else:
        found = [list(rows)]
    if not rows:
        raise Refusal("artifact", f"The saved data of {stage.path or stage.kind} has no nodes.")
    return [sorted(nodes, key=lambda node: int(node["id"])) for nodes in found]


def weights_of(stage: Stage) -> list[float]:
    """The weights of the trees, in the order of their ids. The columns are named in old versions only."""
    rows = sorted(stage.trees, key=lambda row: int(row.get("treeID", row.get("_1", 0))))
    return [float(row.get("weights", row.get("_3", 1.0))) for row in rows]


def shaped(nodes: Nodes, members: Members, value: Array, target: int) -> Tree:
    """The tree's decisions as `x <= threshold`."""
    place = {int(node["id"]): i for i, node in enumerate(nodes)}
    count = len(nodes)
    feature, threshold = np.zeros(count, dtype=np.int64), np.zeros(count)
    left, right = np.full(count, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    for i, node in enumerate(nodes):
        if int(node["leftChild"]) < 0:
            continue
        split = node["split"]
        yes, no = place[int(node["leftChild"])], place[int(node["rightChild"])]
        listed, arity = split["leftCategoriesOrThreshold"], int(split["numCategories"])
        if arity < 0:
            feature[i], threshold[i] = int(split["featureIndex"]), float(listed[0])
        else:
            chosen, is_left = kept_side(listed, arity)
            feature[i], threshold[i] = members.place(int(split["featureIndex"]), chosen), 0.5
            if is_left:  # in the set is member > 0.5, so the sides change places
                yes, no = no, yes
        left[i], right[i] = yes, no
    return Tree(feature, threshold, left, right, np.zeros(count, dtype=np.int64), value, target)


def kept_side(left: Sequence[float], arity: int) -> tuple[tuple[float, ...], bool]:
    """CategoricalSplit: the set that is asked, and whether being in it means left."""
    chosen = {float(c) for c in left}
    if len(left) <= arity / 2:
        return tuple(sorted(chosen)), True
    return tuple(sorted({float(c) for c in range(arity)} - chosen)), False


def members_of(frame: Frame, stage: Stage, column: Column) -> Members:
    width = stage.metadata.get("numFeatures")
    if width is not None:
        of_width(stage, column, int(width))
    return Members(frame.graph, column.tensor, column.width)


def leaf_numbers(nodes: Nodes) -> Array:
    return np.array([float(node["prediction"]) for node in nodes])


def summed(frame: Frame, stage: Stage, column: Column, weights: Sequence[float] | None) -> str:
    """The leaves' numbers, tree after tree."""
    members, trees = members_of(frame, stage, column), saved_trees(stage)
    weights = [1.0] * len(trees) if weights is None else weights
    if len(weights) != len(trees):
        raise refuse(stage, f"it has {len(trees)} trees and {len(weights)} weights.", "Save the model again.")
    shapes = [shaped(nodes, members, leaf_numbers(nodes) * w, 0) for nodes, w in zip(trees, weights)]
    return tree_ensemble(frame.graph, members.tensor(), shapes, 1)


def tree_regressor(frame: Frame, stage: Stage, column: Column) -> Answer:
    return Answer("regressor", summed(frame, stage, column, None))


def forest_regressor(frame: Frame, stage: Stage, column: Column) -> Answer:
    total = summed(frame, stage, column, None)
    return Answer("regressor", frame.graph.op("Div", total, frame.graph.double([float(len(saved_trees(stage)))])))


def boosted_regressor(frame: Frame, stage: Stage, column: Column) -> Answer:
    return Answer("regressor", summed(frame, stage, column, weights_of(stage)))


def boosted_classifier(frame: Frame, stage: Stage, column: Column) -> Answer:
    """Two classes; the probability is the logistic function of twice the margin."""
    graph = frame.graph
    score = summed(frame, stage, column, weights_of(stage))
    raw = both_signs(graph, score)
    zero = logistic(graph, graph.op("Mul", graph.op("Neg", score), graph.double([2.0])))
    probabilities = graph.join([zero, graph.op("Sub", graph.double([1.0]), zero)])
    return probable(graph, stage, raw, probabilities, 2)


def tree_classifier(frame: Frame, stage: Stage, column: Column) -> Answer:
    return voted(frame, stage, column, normalised=False)


def forest_classifier(frame: Frame, stage: Stage, column: Column) -> Answer:
    return voted(frame, stage, column, normalised=True)


def voted(frame: Frame, stage: Stage, column: Column, *, normalised: bool) -> Answer:
    """A leaf's counts of the classes, in a forest as fractions; the probabilities are their shares."""
    graph, members = frame.graph, members_of(frame, stage, column)
    shapes, trees = [], saved_trees(stage)
    classes = len(trees[0][0]["impurityStats"])
    for nodes in trees:
        counts = np.array([node["impurityStats"] for node in nodes], dtype=np.float64)
        if normalised:
            totals = np.array([sum(row) for row in counts.tolist()])
            counts = counts / np.where(totals == 0, 1.0, totals)[:, None]
        shapes += [shaped(nodes, members, counts[:, k], k) for k in range(classes)]
    raw = tree_ensemble(graph, members.tensor(), shapes, classes)
    shares = shares_of(graph, raw)
    return Answer("classifier", decided(graph, stage, raw, shares, classes), classes, raw, shares)
