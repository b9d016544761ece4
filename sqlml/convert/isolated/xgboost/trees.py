"""XGBoost's margins: which way a row goes, and what is added, in float32 and in the order in which XGBoost adds it.

Read in XGBoost 1.7 and 3.2: src/predictor/cpu_predictor.cc and predict_fn.h, src/common/categorical.h, src/gbm/gbtree.cc
(Dart), src/gbm/gblinear.cc (Pred). A number goes left where it is less than the split, both float32; a category where it
is not among those of the split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.trees import Tree, leaf, tree_ensemble
from sqlml.convert.isolated.table import Table
from sqlml.convert.isolated.xgboost.model import JsonTree, Model

LARGEST_CATEGORY = 16777216.0
"""From here on a number is no category to XGBoost."""
LARGEST_MATRIX = 20_000
"""Categories times sets of them; beyond, the sets of a feature are put together from smaller matrices."""


class Columns:
    """The features, and behind them membership in the sets that categorical splits ask for."""

    def __init__(self, graph: Graph, table: Table) -> None:
        self.graph, self.table = graph, table
        self._members: dict[int, dict[tuple[int, ...], int]] = {}
        self._count = len(table)

    def member(self, feature: int, categories: tuple[int, ...]) -> int:
        """The column that is 1 for one of these categories, 0 for any other, and NaN where it is missing."""
        known = self._members.setdefault(feature, {})
        if categories not in known:
            known[categories] = self._count
            self._count += 1
        return known[categories]

    def parts(self) -> dict[int, int]:
        """The feature that each membership is about."""
        return {place: feature for feature, sets in self._members.items() for place in sets.values()}

    def tensor(self) -> str:
        """float32 [N, features and memberships]"""
        graph = self.graph
        parts, places = [graph.tensor(self.table)], list(range(len(self.table)))
        for feature, sets in self._members.items():
            parts += self._membership(feature, list(sets))
            places += sets.values()
        joined = graph.join(parts)
        if places != sorted(places):
            joined = graph.gather(joined, np.argsort(places).tolist())
        return graph.op("Cast", joined, to=TensorProto.FLOAT)

    def _membership(self, feature: int, sets: Sequence[tuple[int, ...]]) -> list[str]:
        graph = self.graph
        value = graph.column(self.table, feature)
        wanted = sorted({c for categories in sets for c in categories})
        missing = graph.op("IsNaN", value)
        if not wanted:
            return [graph.op("Where", missing, graph.double([math.nan]), graph.double([0.0] * len(sets)))]
        # static_cast<int>: towards zero, and what is negative is no category before it is cut.
        code = graph.op("Floor", value)
        negative = graph.op("Less", value, graph.double([0.0]))
        code = graph.op("Where", negative, graph.double([-1.0]), code)
        hits = graph.as_double(graph.op("Equal", code, graph.double([float(c) for c in wanted])))
        size = max(1, LARGEST_MATRIX // len(wanted))
        found = []
        for start in range(0, len(sets), size):
            part = [frozenset(s) for s in sets[start : start + size]]
            members = graph.matmul(hits, np.array([[float(c in s) for s in part] for c in wanted]))
            found.append(graph.op("Where", missing, graph.double([math.nan]), members))
        return found


def margins(graph: Graph, model: Model, table: Table, base: Sequence[float], *, in_place: bool) -> str:
    """[N, width]: float32 numbers, held in doubles. The table's numbers are float32 already.

    `in_place`: the data are predicted as they are (inplace_predict), and not made a DMatrix before.
    """
    if model.booster == "gblinear":
        return linear(graph, model, table, base)
    columns = Columns(graph, table)
    starts = list(base) * model.width if len(base) == 1 else list(base)
    placed = [leaf(value, k) for k, value in enumerate(starts)]
    for i, (tree, group) in enumerate(zipped(model.trees, model.groups)):
        decisions = shape(tree, columns)
        for k in range(tree.value.shape[1]):
            target = group if tree.value.shape[1] == 1 else k
            value = tree.value[:, k]
            if model.weights:
                value = added(value, starts[target], model.weights[i], in_place=in_place)
            placed.append(
                Tree(decisions.feature, decisions.threshold, decisions.left, decisions.right, decisions.missing_left,
                     value.astype(np.float64), target, tree.cover)
            )  # fmt: skip
    sums = tree_ensemble(graph, columns.tensor(), placed, model.width, single=True, parts_of=columns.parts())
    return graph.as_double(sums)


def added(value: Array, base: float, weight: float, *, in_place: bool) -> Array:
    """What a leaf of dart adds. In place each tree predicts on top of the base, which is then taken away again."""
    alone = value.astype(np.float32)
    if in_place:
        start = np.float32(base)
        alone = (start + alone).astype(np.float32) - start
    return (alone * np.float32(weight)).astype(np.float32)


def shape(tree: JsonTree, columns: Columns) -> Tree:
    """The tree's decisions as `x <= threshold`: the largest float32 below the split is as good as less than it."""
    feature, threshold = tree.feature.copy(), np.asarray(tree.threshold, dtype=np.float32)
    threshold = np.nextafter(threshold, np.float32(-math.inf)).astype(np.float64)
    left, right, missing_left = tree.left.copy(), tree.right.copy(), tree.missing_left.copy()
    for node, categories in tree.sets.items():
        # Members go right: membership 0 is left.
        feature[node], threshold[node] = columns.member(int(feature[node]), tuple(sorted(set(categories)))), 0.5
    return Tree(feature, threshold, left, right, missing_left, np.zeros(len(left)))


def linear(graph: Graph, model: Model, table: Table, base: Sequence[float]) -> str:
    """Bias and base first, then feature after feature, of those that are not missing."""
    data = graph.tensor(table)
    known = graph.op("Where", graph.op("IsNaN", data), graph.double([0.0]), data)
    sums = []
    for k in range(model.width):
        weights = model.linear[:, k].astype(np.float32)
        # XGBoost 3.2 starts every score from the first base score, also where each has one of its own.
        start = np.float32(weights[-1] + np.float32(base[0]))
        total = graph.rows([float(start)])
        products = graph.round32(graph.emit("Mul", known, graph.double(weights[:-1].astype(np.float64))))
        for feature in range(model.features):
            total = graph.round32(graph.op("Add", total, graph.gather(products, [feature])))
        sums.append(total)
    return graph.join(sums)
