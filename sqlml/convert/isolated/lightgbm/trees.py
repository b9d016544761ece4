"""LightGBM's trees as TreeEnsemble: which way a row goes, and what the leaves add, bit for bit.

Read in LightGBM 4.7: tree.h (NumericalDecision, CategoricalDecision, Tree::Predict), gbdt_prediction.cpp, c_api.cpp
(RowPairFunctionFromDenseMatric: of a dense row only what is not zero, or is NaN, reaches the trees).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.lightgbm.text import CATEGORICAL, DEFAULT_LEFT, MISSING_NONE, MISSING_ZERO, Model, TextTree
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Estimator, refuse
from sqlml.convert.isolated.sklearn.trees import Tree, tree_ensemble
from sqlml.convert.isolated.table import Table

ZERO = float(np.float32(1e-35))
"""kZeroThreshold: numbers up to here are zero, on either side."""
LARGEST_MATRIX = 20_000
"""Categories times sets of them: beyond, a set is a tree of its own, as large as the set."""


class Columns:
    """The data, and behind it what some splits ask for: a column whose zeros are missing, membership in a set."""

    def __init__(self, graph: Graph, table: Table) -> None:
        self.graph, self.table = graph, table
        self._zeros: dict[int, int] = {}
        self._members: dict[tuple[int, tuple[int, ...]], int] = {}
        self._count = len(table)

    def zero_missing(self, feature: int) -> int:
        if feature not in self._zeros:
            self._zeros[feature] = self._next()
        return self._zeros[feature]

    def member(self, feature: int, categories: tuple[int, ...]) -> int:
        key = (feature, categories)
        if key not in self._members:
            self._members[key] = self._next()
        return self._members[key]

    def _next(self) -> int:
        self._count += 1
        return self._count - 1

    def parts(self) -> dict[int, int]:
        """The feature that each column behind the data is about."""
        members = {place: feature for (feature, _), place in self._members.items()}
        return {**{place: feature for feature, place in self._zeros.items()}, **members}

    def tensor(self) -> str:
        parts, places = [self.graph.tensor(self.table)], list(range(len(self.table)))
        if self._zeros:
            parts.append(self._without_zeros(list(self._zeros)))
            places += self._zeros.values()
        by_feature: dict[int, list[tuple[int, ...]]] = {}
        for feature, categories in self._members:
            by_feature.setdefault(feature, []).append(categories)
        for feature, sets in by_feature.items():
            parts.append(self._membership(feature, sets))
            places += [self._members[feature, categories] for categories in sets]
        joined = self.graph.join(parts)
        if places == sorted(places):
            return joined
        return self.graph.gather(joined, [places.index(i) for i in range(len(places))])

    def _without_zeros(self, features: Sequence[int]) -> str:
        graph = self.graph
        data = graph.tensor(self.table.select(features))
        zero = graph.op("LessOrEqual", graph.op("Abs", data), graph.double([ZERO]))
        return graph.op("Where", zero, graph.double([math.nan]), data)

    def _membership(self, feature: int, sets: Sequence[tuple[int, ...]]) -> str:
        """1 where the number, cut to an integer, is one of the set. NaN, negative and huge numbers are in none."""
        graph = self.graph
        value, known = graph.column(self.table, feature), self.table.features[feature]
        wanted = sorted({c for categories in sets for c in categories})
        if not wanted:
            return graph.rows([0.0] * len(sets))
        if len(wanted) * len(sets) > LARGEST_MATRIX:
            return tree_ensemble(graph, value, [intervals(c, k) for k, c in enumerate(sets)], len(sets))
        # An integer of the table may be a fraction in a hostile row; what was counted here cannot.
        if not (known.dtype.kind in "iub" and -math.inf < known.low <= known.high < math.inf):
            value = self._cut(value)
        hits = graph.as_double(graph.op("Equal", value, graph.double([float(c) for c in wanted])))
        return graph.matmul(hits, np.array([[float(c in s) for s in map(frozenset, sets)] for c in wanted]))

    def _cut(self, value: str) -> str:
        """static_cast<int> as far as it can be a category: -0.5 becomes 0 too."""
        graph = self.graph
        low = graph.op("Greater", value, graph.double([-1.0]))
        inside = graph.op("And", low, graph.op("Less", value, graph.double([0.0])))
        return graph.op("Where", inside, graph.double([0.0]), graph.op("Floor", value))


def raw_scores(graph: Graph, model: Model, table: Table, est: Estimator, step: str) -> str:
    """The sums [N, width], tree after tree; the mean for a random forest."""
    columns = Columns(graph, table)
    # A sparse row comes as it is stored; of a dense one LightGBM drops what it takes for zero.
    dense = not table.sparse
    shapes = [shape(tree, columns, dense=dense) for tree in model.trees]
    if not shapes:
        total = graph.rows([0.0] * model.width)
    elif any(tree.linear for tree in model.trees):
        total = linear_sums(graph, model, shapes, columns, table, est, step)
    else:
        placed = [valued(s, tree.value, i % model.width) for i, (s, tree) in enumerate(zipped(shapes, model.trees))]
        total = tree_ensemble(graph, columns.tensor(), placed, model.width, parts_of=columns.parts())
    if model.average:
        total = graph.op("Div", total, graph.double([float(model.iterations)]))
    return total


def shape(tree: TextTree, columns: Columns, *, dense: bool) -> Tree:
    """The tree's decisions, as `x <= threshold`; its leaves stand behind its inner nodes and are still empty."""
    inner = len(tree.feature)
    feature, threshold = tree.feature.copy(), tree.threshold.copy()
    left, right = (np.where(side < 0, inner + ~side, side) for side in (tree.left, tree.right))
    missing, categorical = tree.missing(), (tree.decision & CATEGORICAL) != 0
    missing_left = ((tree.decision & DEFAULT_LEFT) != 0).astype(np.int64)
    missing_left = np.where(missing == MISSING_NONE, (threshold >= 0).astype(np.int64), missing_left)
    if dense:
        threshold = past_zero(threshold)
    for i in np.flatnonzero(~categorical & (missing == MISSING_ZERO)):
        feature[i] = columns.zero_missing(int(feature[i]))
    for i in np.flatnonzero(categorical):
        # "not in the set" is member <= 0.5, so the sides change places.
        feature[i] = columns.member(int(feature[i]), tree.sets[int(tree.threshold[i])])
        threshold[i], missing_left[i] = 0.5, 0
        left[i], right[i] = right[i], left[i]
    leaves, none = inner + 1, np.full(inner + 1, -1, dtype=np.int64)
    zeros = np.zeros(leaves, dtype=np.int64)
    return Tree(
        feature=np.concatenate([feature, zeros]),
        threshold=np.concatenate([threshold, np.zeros(leaves)]),
        left=np.concatenate([left, none]),
        right=np.concatenate([right, none]),
        missing_left=np.concatenate([missing_left, zeros]),
        value=np.zeros(inner + leaves),
        cover=covers(tree),
    )


def covers(tree: TextTree) -> Array | None:
    """By node. A tree of one leaf, which has no count, needs none."""
    if tree.count is None:
        return np.ones(1) if len(tree.value) == 1 else None
    return np.concatenate([np.zeros(len(tree.feature)), tree.count])


def intervals(categories: Sequence[int], target: int) -> Tree:
    """1 in [c, c + 1) of each category, 0 between; the first interval of category 0 begins behind -1."""
    bounds: list[float] = []
    for c in sorted(set(categories)):
        low, high = (-1.0 if c == 0 else np.nextafter(float(c), -math.inf)), np.nextafter(c + 1.0, -math.inf)
        if bounds and bounds[-1] == low:
            bounds[-1] = high
        else:
            bounds += [low, high]
    inner = len(bounds)
    feature, missing = np.zeros(2 * inner + 1, dtype=np.int64), np.zeros(2 * inner + 1, dtype=np.int64)
    left, right = (np.full(2 * inner + 1, -1, dtype=np.int64) for _ in range(2))
    threshold = np.concatenate([bounds, np.zeros(inner + 1)])
    # Inner node i asks for bounds[i]; leaf inner + i lies before bounds[i], and is inside where i is odd.
    waiting = [(0, inner)] if inner else []
    while waiting:
        first, last = waiting.pop()
        node = (first + last) // 2
        for side, (begin, end) in ((left, (first, node)), (right, (node + 1, last))):
            side[node] = (begin + end) // 2 if begin < end else inner + begin
            waiting += [(begin, end)] if begin < end else []
    value = np.concatenate([np.zeros(inner), np.arange(inner + 1) % 2])
    return rooted(Tree(feature, threshold, left, right, missing, value, target), inner // 2)


def rooted(tree: Tree, root: int) -> Tree:
    """The same tree with its root at 0, where TreeEnsemble's builder looks for it."""
    order = np.arange(len(tree.left))
    order[[0, root]] = order[[root, 0]]
    left, right = (np.where(side < 0, side, order[side]) for side in (tree.left, tree.right))
    return Tree(
        tree.feature,
        tree.threshold[order],
        left[order],
        right[order],
        tree.missing_left,
        tree.value[order],
        tree.target,
    )


def past_zero(threshold: Array) -> Array:
    """0 <= t for every number that LightGBM takes for zero, whatever it is."""
    below = np.nextafter(-ZERO, -math.inf)
    moved = np.where((threshold >= 0) & (threshold < ZERO), ZERO, threshold)
    return np.where((threshold < 0) & (threshold >= -ZERO), below, moved)


def valued(shape: Tree, leaves: Sequence[float] | Array, target: int = 0) -> Tree:
    value = np.concatenate([np.zeros(len(shape.value) - len(leaves)), np.asarray(leaves, dtype=np.float64)])
    return replace(shape, value=value, target=target)


def linear_sums(
    graph: Graph, model: Model, shapes: Sequence[Tree], columns: Columns, table: Table, est: Estimator, step: str
) -> str:
    """The sums where leaves are linear functions: those of one tree are looked up, added, and only then the next."""
    tensor = columns.tensor()
    data = graph.tensor(table)
    if not table.sparse:
        zero = graph.op("LessOrEqual", graph.op("Abs", data), graph.double([ZERO]))
        data = graph.op("Where", zero, graph.double([0.0]), data)
    sums: list[str | None] = [None] * model.width
    for i, (tree, decisions) in enumerate(zipped(model.trees, shapes)):
        said = linear_tree(graph, tree, decisions, tensor, data, est, step)
        before = sums[i % model.width]
        sums[i % model.width] = said if before is None else graph.op("Add", before, said)
    return graph.join([total for total in sums if total is not None])


def linear_tree(
    graph: Graph, tree: TextTree, decisions: Tree, tensor: str, data: str, est: Estimator, step: str
) -> str:
    features = sorted({f for leaf in tree.linear for f in leaf.features})
    if not features:
        constants: Sequence[float] | Array = [leaf.constant for leaf in tree.linear] or tree.value
        return tree_ensemble(graph, tensor, [valued(decisions, constants)], 1)
    for leaf in tree.linear:
        if list(leaf.features) != sorted(set(leaf.features)) or 0 in leaf.coefficients:
            why = "a leaf of its linear trees has a coefficient of zero, or terms in an order of its own."
            raise refuse(est, step, why, "Train it again without refit, or with linear_tree=False.")
    terms = [dict(zipped(leaf.features, leaf.coefficients)) for leaf in tree.linear]
    looked_up: list[Sequence[float] | Array] = [[leaf.constant for leaf in tree.linear], tree.value]
    looked_up += [[term.get(f, 0.0) for term in terms] for f in features]
    found = tree_ensemble(
        graph, tensor, [valued(decisions, values, k) for k, values in enumerate(looked_up)], len(looked_up)
    )
    coefficients = graph.gather(found, range(2, len(looked_up)))
    unused = graph.op("Equal", coefficients, graph.double([0.0]))
    values = graph.op("Where", unused, graph.double([0.0]), graph.gather(data, features))
    products = graph.emit("Mul", coefficients, values)
    total = graph.gather(found, [0])
    for k in range(len(features)):
        total = graph.op("Add", total, graph.gather(products, [k]))
    missing = graph.reduce("Max", graph.as_double(graph.op("IsNaN", values)))
    return graph.op("Where", graph.op("Greater", missing, graph.double([0.5])), graph.gather(found, [1]), total)
