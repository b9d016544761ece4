"""Clusterers that predict: a row belongs to the nearest centre.

Read in scikit-learn 1.9.1: cluster/_kmeans.py, _k_means_lloyd.pyx, _bisect_k_means.py, _birch.py, _affinity_propagation.py,
_mean_shift.py, metrics/pairwise.py (pairwise_distances_argmin).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.kernels import dense, products, squared_distances, times
from sqlml.convert.isolated.sklearn.linear import best
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT32, Table


def checked(ctx: Context, est: Estimator, table: Table, step: str, centers: Any) -> Table:
    if np.asarray(centers).dtype == FLOAT32:
        why = "it was fitted on float32 data, in which it computes, and its roundings cannot be reproduced."
        raise refuse(est, step, why, "Train on float64 columns (astype('float64')).")
    return numbers(ctx.graph, est, table, step)


def partial_distances(graph: Graph, table: Table, centers: Array) -> str:
    """|c|^2 - 2 xc: the squared distance without |x|^2, which is the same for all centres."""
    doubled = times(graph, products(graph, table, centers), -2.0, len(centers))
    return graph.op("Add", doubled, graph.double(np.einsum("ij,ij->i", centers, centers)))


def k_means(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """KMeans and MiniBatchKMeans: the first smallest; a sum that is no number is never smaller, nor anything than it."""
    graph = ctx.graph
    table = checked(ctx, est, table, step, est.cluster_centers_)
    centers = dense(est.cluster_centers_)
    distances = partial_distances(graph, table, centers)
    instead = np.full(len(centers), -np.inf)
    if not table.sparse:
        instead[0] = np.inf
    scores = graph.op("Where", graph.op("IsNaN", distances), graph.double(instead), graph.op("Neg", distances))
    return Prediction("classifier", graph.argmax(scores), tuple(range(len(centers))))


def bisecting(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """BisectingKMeans: at each node of its tree, the nearer of two centres."""
    graph = ctx.graph
    table = checked(ctx, est, table, step, est.cluster_centers_)
    shift = getattr(est, "_X_mean", 0.0)
    pairs: list[Array] = []

    def descend(node: Any) -> Any:  # Any: a _BisectingTree; and nested (number of the pair, left, right), or a label
        if node.left is None:
            return int(node.label)
        pairs.append(dense(np.vstack((node.left.center, node.right.center))) + shift)
        return len(pairs) - 1, descend(node.left), descend(node.right)

    tree = descend(est._bisecting_tree)
    if not pairs:
        return Prediction("classifier", graph.as_int(graph.rows([0.0])), (0,))
    distances = partial_distances(graph, table, np.vstack(pairs))
    firsts = graph.gather(distances, range(0, 2 * len(pairs), 2))
    seconds = graph.gather(distances, range(1, 2 * len(pairs), 2))
    nearer = graph.op("Less", seconds, firsts)

    farther = graph.op("Not", nearer)
    leaves: list[tuple[int, str | None]] = []

    def ways(node: Any, way: str | None) -> None:  # Any: as above
        """Every label with the condition on which a row comes there."""
        if isinstance(node, int):
            leaves.append((node, way))
            return
        place, left, right = node
        for side, decided in ((left, farther), (right, nearer)):
            here = graph.gather(decided, [place])
            ways(side, here if way is None else graph.op("And", way, here))

    ways(tree, None)
    values = graph.ints([[leaves[-1][0]]])
    for label, way in reversed(leaves[:-1]):
        values = graph.op("Where", str(way), graph.ints([[label]]), values)
    return Prediction("classifier", values, tuple(range(len(est.cluster_centers_))))


def nearest_of(ctx: Context, est: Estimator, table: Table, step: str, centers: Any, labels: Any) -> Prediction:
    """pairwise_distances_argmin, and the label of what it finds."""
    graph = ctx.graph
    table = checked(ctx, est, table, step, centers)
    found = best(graph, graph.op("Neg", squared_distances(graph, table, dense(centers))))
    classes = sorted({int(label) for label in labels})
    places = [classes.index(int(label)) for label in labels]
    return Prediction("classifier", renumbered(graph, found, places), tuple(classes))


def renumbered(graph: Graph, index: str, places: list[int]) -> str:
    """places[index]"""
    if places == list(range(len(places))):
        return index
    from onnx import numpy_helper

    keys = numpy_helper.from_array(np.arange(len(places), dtype=np.int64))
    values = numpy_helper.from_array(np.array(places, dtype=np.int64))
    first = numpy_helper.from_array(np.array([places[0]], dtype=np.int64))
    return graph.op(
        "LabelEncoder", index, domain="ai.onnx.ml", keys_tensor=keys, values_tensor=values, default_tensor=first
    )


def birch(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    return nearest_of(ctx, est, table, step, est.subcluster_centers_, est.subcluster_labels_)


def mean_shift(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    return nearest_of(ctx, est, table, step, est.cluster_centers_, range(len(est.cluster_centers_)))


def affinity(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    if est.affinity != "euclidean":
        why = f"it was fitted with affinity={est.affinity!r}, for which scikit-learn itself does not predict."
        raise refuse(est, step, why, "Train with affinity='euclidean'.")
    centers = dense(est.cluster_centers_)
    if not len(centers):
        # It did not converge, and says -1 to every row.
        checked(ctx, est, table, step, centers)
        return Prediction("classifier", ctx.graph.as_int(ctx.graph.rows([0.0])), (-1,))
    return nearest_of(ctx, est, table, step, centers, range(len(centers)))


PREDICTORS: Predicts = {
    "cluster.KMeans": k_means,
    "cluster.MiniBatchKMeans": k_means,
    "cluster.BisectingKMeans": bisecting,
    "cluster.Birch": birch,
    "cluster.MeanShift": mean_shift,
    "cluster.AffinityPropagation": affinity,
}
