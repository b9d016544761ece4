"""CatBoost's trees as TreeEnsemble: numbers are compared as float32, leaves are added in double, tree after tree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sqlml.convert.isolated.catboost.model import CatTree, FloatSplit, Model, OneHotSplit
from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.trees import Tree, tree_ensemble

Members = Mapping[tuple[int, int], int]
"""(feature, hash) -> the column that is 1 where the category has that hash, 0 elsewhere."""


def raw_scores(graph: Graph, model: Model, tensor: str, members: Members) -> str:
    """RawFormulaVal: [N, width]."""
    placed = []
    for tree in model.trees:
        decisions = shape(model, tree, members)
        for k in range(model.width):
            placed.append(
                Tree(decisions.feature, decisions.threshold, decisions.left, decisions.right, decisions.missing_left,
                     tree.value[:, k], k, tree.cover)
            )  # fmt: skip
    if not placed:
        return graph.rows(model.bias)
    parts_of = {place: feature for (feature, _), place in members.items()}
    sums = tree_ensemble(graph, tensor, placed, model.width, parts_of=parts_of)
    if model.scale != 1.0:
        sums = graph.op("Mul", sums, graph.double([model.scale] * model.width))
    return graph.op("Add", sums, graph.double(model.bias))


def shape(model: Model, tree: CatTree, members: Members) -> Tree:
    count = len(tree.splits)
    feature, missing_left = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    threshold = np.zeros(count)
    for node, split in enumerate(tree.splits):
        if isinstance(split, FloatSplit):
            feature[node], threshold[node] = split.feature, split.border
            missing_left[node] = split.feature not in model.missing_right
        elif isinstance(split, OneHotSplit):
            feature[node], threshold[node] = members[split.feature, split.hash], 0.5
    return Tree(feature, threshold, tree.left, tree.right, missing_left, np.zeros(count))
