"""Trees and their ensembles as TreeEnsemble (ai.onnx.ml 5) with double tensors.

Read in scikit-learn 1.9.1: tree/_tree.pyx, tree/_classes.py, ensemble/_forest.py, _gb.py, _gradient_boosting.pyx.
All of them store X as float32 and compare it, as a double, with a double threshold by <=.
A leaf of TreeEnsemble adds to one target, so a tree with K outputs stands there K times, in tree order: each output
is then summed in the original's own order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from onnx import numpy_helper

from sqlml.convert.isolated.explaining import note_trees
from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.linear import above, class_labels, expit, two_columns
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT32, Table, table_of


@dataclass(frozen=True)
class Tree:
    """One tree that adds to one target. Arrays by node, the root at 0; a leaf has left < 0."""

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    value: Array
    target: int = 0
    cover: Array | None = None
    """The weight of the training rows that reached each node; what stands at inner nodes is not used."""


def leaf(value: float, target: int = 0) -> Tree:
    """A constant as a tree of one leaf: what a sum starts from."""
    zero, none = np.zeros(1, dtype=np.int64), np.full(1, -1, dtype=np.int64)
    return Tree(zero, np.zeros(1), none, none, zero, np.array([value], dtype=np.float64), target, np.ones(1))


def fitted_tree(tree: Any, value: Array, target: int = 0) -> Tree:
    """A fitted sklearn.tree._tree.Tree with these values for its nodes."""
    # Trees know missing values since 1.3, and refuse them before.
    missing = np.asarray(getattr(tree, "missing_go_to_left", np.zeros(tree.node_count)), dtype=np.int64)
    cover = np.asarray(tree.weighted_n_node_samples, dtype=np.float64)
    return Tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, missing, value, target, cover)


def tree_ensemble(
    graph: Graph,
    tensor: str,
    trees: Sequence[Tree],
    targets: int,
    *,
    single: bool = False,
    parts_of: Mapping[int, int] | None = None,
) -> str:
    """The sums [N, targets], tree after tree from 0; `single`: all of it is float32, the tensors too.

    `parts_of` says of a column that was made for some splits which feature of the model it is a part of.
    """
    real = np.float32 if single else np.float64
    roots: list[int] = []
    parts: dict[str, list[Array]] = {k: [] for k in ("f", "s", "t", "tl", "e", "el", "m", "lt", "lw")}
    nodes = leaves = 0
    for tree in trees:
        is_leaf = tree.left < 0
        if is_leaf[0]:
            # One leaf: a node both of whose ways lead to it.
            inner, place = np.array([0]), np.array([leaves])
            true = false = np.array([0])
            node_of = np.array([nodes])
        else:
            inner = np.flatnonzero(~is_leaf)
            node_of = np.cumsum(~is_leaf) - 1 + nodes
            place = np.cumsum(is_leaf) - 1 + leaves
            true, false = tree.left[inner], tree.right[inner]
        roots.append(nodes)
        parts["f"].append(np.maximum(tree.feature[inner], 0))
        parts["s"].append(tree.threshold[inner])
        parts["m"].append(tree.missing_left[inner])
        parts["t"].append(np.where(is_leaf[true], place[true], node_of[true]))
        parts["tl"].append(is_leaf[true])
        parts["e"].append(np.where(is_leaf[false], place[false], node_of[false]))
        parts["el"].append(is_leaf[false])
        weights = tree.value[is_leaf]
        parts["lw"].append(weights)
        parts["lt"].append(np.full(len(weights), tree.target))
        nodes += len(inner)
        leaves += len(weights)
    whole = {k: np.concatenate(v) for k, v in parts.items()}
    ints = {k: v.astype(np.int64).tolist() for k, v in whole.items() if k not in ("s", "lw")}
    sums = graph.op(
        "TreeEnsemble",
        tensor,
        domain="ai.onnx.ml",
        aggregate_function=1,
        post_transform=0,
        n_targets=targets,
        tree_roots=roots,
        nodes_featureids=ints["f"],
        nodes_splits=numpy_helper.from_array(np.asarray(whole["s"], dtype=real)),
        nodes_modes=numpy_helper.from_array(np.zeros(nodes, dtype=np.uint8)),
        nodes_truenodeids=ints["t"],
        nodes_trueleafs=ints["tl"],
        nodes_falsenodeids=ints["e"],
        nodes_falseleafs=ints["el"],
        nodes_missing_value_tracks_true=ints["m"],
        leaf_targetids=ints["lt"],
        leaf_weights=numpy_helper.from_array(np.asarray(whole["lw"], dtype=real)),
    )
    covers = [tree.cover[tree.left < 0] for tree in trees if tree.cover is not None]
    if len(covers) == len(trees):
        note_trees(graph.notes, sums, np.concatenate(covers), parts_of or {})
    return sums


def as_float32(ctx: Context, est: Estimator, table: Table, step: str, *, nan: bool) -> str:
    """The input as the float32 that the trees compare, held in doubles."""
    return ctx.graph.tensor(single_precision(ctx, est, table, step, nan=nan))


def single_precision(ctx: Context, est: Estimator, table: Table, step: str, *, nan: bool) -> Table:
    who = type(est).__name__
    table = numbers(ctx.graph, est, table, step, finite="none", float32=True)
    if not nan:
        table = ctx.graph.refuse_missing(table, who)
    table = ctx.graph.refuse_beyond_float32(table, who)
    features = [replace(f, dtype=FLOAT32) for f in table.features]
    return table_of(ctx.graph.round32(ctx.graph.tensor(table)), features, sparse=table.sparse)


def takes_nan(tree: Estimator, table: Table, *, in_forest: bool = False) -> bool:
    """DecisionTree's own rule (since 1.3), which the forests ask of their first tree (since 1.4)."""
    if not since(1, 4 if in_forest else 3):
        return False
    like = scipy.sparse.csr_matrix((1, 1)) if table.sparse else np.zeros((1, 1))
    return bool(tree._support_missing_values(like))


def single_output(est: Estimator, step: str) -> None:
    if getattr(est, "n_outputs_", 1) != 1:
        raise refuse(est, step, "it predicts several outputs at once.", "Register one model per output.")


def fractions(tree: Any) -> Array:
    """The classes' shares in each node; before 1.4 a tree keeps weights, which the original divides when asked."""
    values = np.asarray(tree.value[:, 0, :], dtype=np.float64)
    if since(1, 4):
        return values
    total = values.sum(axis=1, keepdims=True)
    total[total == 0.0] = 1.0
    return np.asarray(values / total)


def class_values(tree: Any, index: int) -> Array:
    return fractions(tree)[:, index]


def decision_tree_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    single_output(est, step)
    labels = class_labels(est, step)
    tensor = as_float32(ctx, est, table, step, nan=takes_nan(est, table))
    return voted(ctx, [est], tensor, labels, divide=False)


def forest_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    single_output(est, step)
    labels = class_labels(est, step)
    tensor = as_float32(ctx, est, table, step, nan=takes_nan(est.estimators_[0], table, in_forest=True))
    return voted(ctx, est.estimators_, tensor, labels, divide=True)


def voted(
    ctx: Context, members: Sequence[Estimator], tensor: str, labels: tuple[Any, ...], *, divide: bool
) -> Prediction:
    """The mean of the trees' class fractions, and the first largest of them."""
    graph, count = ctx.graph, len(members)
    fitted = [m.tree_ for m in members]
    if len(labels) == 2 and all(complementary(t) for t in fitted):
        ones = tree_ensemble(graph, tensor, [fitted_tree(t, class_values(t, 1)) for t in fitted], 1)
        sums = graph.join([graph.op("Sub", graph.double([float(count)]), ones), ones])
    else:
        trees = [fitted_tree(t, class_values(t, k), k) for t in fitted for k in range(len(labels))]
        sums = tree_ensemble(graph, tensor, trees, len(labels))
    means = graph.op("Div", sums, graph.double([float(count)])) if divide else sums
    return Prediction("classifier", graph.argmax(means), labels, means)


def complementary(tree: Any) -> bool:
    """Are all leaf fractions multiples of 2^-20 that sum to 1? Then sums of one class give the other's exactly."""
    values = fractions(tree)[tree.children_left < 0]
    scaled = values * 2.0**20
    return bool((scaled == np.floor(scaled)).all() and (values.sum(axis=1) == 1).all())


def decision_tree_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    tensor = as_float32(ctx, est, table, step, nan=takes_nan(est, table))
    return Prediction("regressor", leaf_sums(ctx, [est.tree_], tensor), targets=int(est.tree_.n_outputs))


def leaf_sums(ctx: Context, trees: Sequence[Any], tensor: str) -> str:
    """The trees' values added up, [N, targets]."""
    width = int(trees[0].n_outputs)
    parts = [fitted_tree(t, np.asarray(t.value[:, k, 0], dtype=np.float64), k) for t in trees for k in range(width)]
    return tree_ensemble(ctx.graph, tensor, parts, width)


def regression_tree(tree: Any, scale: float = 1.0, target: int = 0) -> Tree:
    return fitted_tree(tree, scale * np.asarray(tree.value[:, 0, 0], dtype=np.float64), target)


def forest_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    tensor = as_float32(ctx, est, table, step, nan=takes_nan(est.estimators_[0], table, in_forest=True))
    trees = [member.tree_ for member in est.estimators_]
    mean = ctx.graph.op("Div", leaf_sums(ctx, trees, tensor), ctx.graph.double([float(len(trees))]))
    return Prediction("regressor", mean, targets=int(trees[0].n_outputs))


def boosted(ctx: Context, est: Estimator, table: Table, step: str) -> tuple[str, int]:
    """The raw scores of gradient boosting: what it starts from, then learning_rate * leaf, stage by stage."""
    array = single_precision(ctx, est, table, step, nan=False)
    width = est.estimators_.shape[1]
    trees = [
        regression_tree(est.estimators_[i, k].tree_, est.learning_rate, k)
        for i in range(est.estimators_.shape[0])
        for k in range(width)
    ]
    fixed = isinstance(est.init_, str) or type(est.init_).__name__ in ("DummyClassifier", "DummyRegressor")
    if not fixed:
        start = started(ctx, est, array, below(step, "init"))
        return ctx.graph.op("Add", start, tree_ensemble(ctx.graph, ctx.graph.tensor(array), trees, width)), width
    # The starting value does not depend on X: the original itself computes it.
    value = np.asarray(est._raw_predict_init(np.zeros((1, est.n_features_in_), dtype=np.float32)))[0]
    trees = [leaf(float(v), k) for k, v in enumerate(value)] + trees
    return tree_ensemble(ctx.graph, ctx.graph.tensor(array), trees, width), width


def started(ctx: Context, est: Estimator, array: Table, step: str) -> str:
    """What an init estimator says, through the link of the loss; it is given the float32 array."""
    graph = ctx.graph
    said = ctx.predict(est.init_, array, step)
    if said.kind == "regressor":
        return said.values
    if said.probabilities is None:
        raise refuse(est.init_, step, "it has no probabilities to start from.")
    # Before 1.8 the probabilities stayed further away from 0 and 1.
    eps = float(np.finfo(np.float64 if since(1, 8) else np.float32).eps)
    shares = graph.op("Clip", said.probabilities, graph.double(eps), graph.double(1 - eps))
    if len(said.classes) == 2:
        yes = graph.gather(shares, [1])
        odds = graph.op("Log", graph.op("Div", yes, graph.op("Sub", graph.double([1.0]), yes)))
        return graph.op("Mul", odds, graph.double([0.5])) if est.loss == "exponential" else odds
    logarithms = graph.op("Log", shares)
    return graph.op("Sub", logarithms, graph.reduce("Mean", logarithms)) if since(1, 4) else logarithms


def gradient_boosting_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph = ctx.graph
    labels = class_labels(est, step)
    raw, width = boosted(ctx, est, table, step)
    if width == 1:
        # Exponential loss: HalfLogitLink.
        doubled = graph.op("Mul", raw, graph.double([2.0])) if est.loss == "exponential" else raw
        probabilities = two_columns(graph, expit(graph, doubled))
        # Here the original says >= 0, unlike its siblings; before 1.4 it asked which probability is the larger.
        asked = since(1, 4) or est.loss == "exponential"
        values = above(graph, raw, inclusive=True) if asked else graph.argmax(probabilities)
        return Prediction("classifier", values, labels, probabilities, raw)
    return Prediction("classifier", graph.argmax(raw), labels, graph.op("Softmax", raw, axis=1), raw)


def gradient_boosting_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    raw, _ = boosted(ctx, est, table, step)
    return Prediction("regressor", raw)


PREDICTORS: Predicts = {
    "tree.DecisionTreeClassifier": decision_tree_classifier,
    "tree.DecisionTreeRegressor": decision_tree_regressor,
    "tree.ExtraTreeClassifier": decision_tree_classifier,
    "tree.ExtraTreeRegressor": decision_tree_regressor,
    "ensemble.RandomForestClassifier": forest_classifier,
    "ensemble.RandomForestRegressor": forest_regressor,
    "ensemble.ExtraTreesClassifier": forest_classifier,
    "ensemble.ExtraTreesRegressor": forest_regressor,
    "ensemble.GradientBoostingClassifier": gradient_boosting_classifier,
    "ensemble.GradientBoostingRegressor": gradient_boosting_regressor,
}
