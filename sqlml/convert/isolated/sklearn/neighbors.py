"""Models that keep the training rows and ask the nearest of them.

Read in scikit-learn 1.9.1: neighbors/_base.py, _classification.py, _regression.py, _nearest_centroid.py, _lof.py,
_binary_tree.pxi, metrics/_dist_metrics.pyx, metrics/_pairwise_distances_reduction/, semi_supervised/_label_propagation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Label, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.kernels import (
    chebyshev_distances,
    dense,
    differences,
    kernel_matrix,
    manhattan_distances,
    squared_differences,
    squared_distances,
)
from sqlml.convert.isolated.sklearn.linear import best, class_labels
from sqlml.convert.isolated.sklearn.nearest import Nearest, k_nearest, raised
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT32, FLOAT64, Table, table_of

ROWS = 5_000
"""Every answer compares with all rows kept: 80 MB per step for the 2048 rows that are computed together."""
POWERS = {
    "l2": 2.0,
    "l1": 1.0,
    "manhattan": 1.0,
    "cityblock": 1.0,
    "euclidean": 2.0,
    "chebyshev": np.inf,
    "infinity": np.inf,
}
LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Kept:
    """The training rows, and how the original compares with them. `power`: distances are the root of a sum of powers."""

    table: Table
    rows: Array
    power: float
    weights: Array | None
    tree: Any
    expanded: bool

    @property
    def empty(self) -> float:
        """What a heap of neighbours is filled with."""
        return LARGEST if self.tree is None else np.inf

    def reduced(self, graph: Graph) -> str:
        """[N, n]: the distances before the root is taken."""
        if self.expanded:
            far = squared_distances(graph, self.table, self.rows)
            # Overflow that is no number counts as 0 here: C's max(0, x) takes the first.
            return graph.op("Where", graph.op("IsNaN", far), graph.double([0.0]), far)
        if self.weights is None and self.power == 2.0:
            return squared_differences(graph, self.table, self.rows)
        if self.weights is None and self.power == 1.0:
            return manhattan_distances(graph, self.table, self.rows)
        if self.power == np.inf:
            return chebyshev_distances(graph, self.table, self.rows)

        def each(off: str) -> str:
            return raised(graph, graph.op("Abs", off), self.power, len(self.rows))

        return differences(graph, self.table, self.rows, each, weights=self.weights)

    def rooted(self, graph: Graph, reduced: str, width: int) -> str:
        if self.power in (1.0, np.inf):
            return reduced
        if self.power == 2.0 and self.weights is None:
            return graph.op("Sqrt", reduced)
        return graph.op("Pow", reduced, graph.double(np.full(width, 1.0 / self.power)))

    def reduced_radius(self, radius: float) -> float:
        if self.power in (1.0, np.inf):
            return radius
        return radius * radius if self.power == 2.0 else float(radius**self.power)


def kept(ctx: Context, est: Estimator, table: Table, step: str) -> Kept:
    """The checked input beside the training rows; what does not follow from the rows alone is refused by name."""
    method, metric = est._fit_method, est.effective_metric_
    given = dict(est.effective_metric_params_ or {})
    if not isinstance(metric, str) or (metric not in POWERS and metric not in ("minkowski", "p")):
        shown = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        why = f"it measures distances by {shown!r}, and which of several equally distant rows it takes is not defined."
        raise refuse(est, step, why, "Use metric='minkowski', 'euclidean', 'manhattan' or 'chebyshev'.")
    if method == "ball_tree":
        why = "which rows a ball tree passes over hangs on the rounding of its own bounds."
        raise refuse(est, step, why, "Train with algorithm='kd_tree', 'brute' or 'auto'.")
    if table.sparse or hasattr(est._fit_X, "toarray"):
        why = "among sparse rows, which of several equally distant ones it takes depends on the processor."
        raise refuse(est, step, why, "Make the data dense, as OneHotEncoder(sparse_output=False) does.")
    rows = dense(est._fit_X)
    if len(rows) > ROWS:
        why = f"it keeps {len(rows):,} rows and compares each answer with all of them; {ROWS:,} are the most."
        raise refuse(est, step, why, "Train on a sample, or use a model that does not keep its training rows.")
    checked = numbers(ctx.graph, est, table, step, float32=method == "kd_tree", keep=True)
    if method == "brute" and not checked.array_dtype == np.asarray(est._fit_X).dtype == FLOAT64:
        why = "among integers, which of several equally distant rows it takes depends on the processor."
        raise refuse(est, step, why, "Train on float64 columns (astype('float64')), or with algorithm='kd_tree'.")
    power = float(given["p"]) if metric in ("minkowski", "p") else POWERS[metric]
    weights = given.get("w")
    tree = est._tree if method == "kd_tree" else None
    expanded = tree is None and metric in ("euclidean", "l2")
    return Kept(
        checked, rows, power, None if weights is None else np.asarray(weights, dtype=np.float64), tree, expanded
    )


def neighbours(graph: Graph, held: Kept, k: int) -> Nearest:
    reduced = held.reduced(graph)
    return k_nearest(graph, held.table, reduced, len(held.rows), k, held.empty, held.tree, held.power)


def weighted(ctx: Context, est: Estimator, held: Kept, step: str) -> bool:
    """Do distances count? Refused where they hang on cancelled digits or on a function."""
    if est.weights in (None, "uniform"):
        return False
    if est.weights != "distance":
        why = f"its weights are a function of its own ({getattr(est.weights, '__name__', est.weights)})."
        raise refuse(est, step, why, "Use weights='uniform' or weights='distance'.")
    if held.expanded:
        why = (
            "it weights by distances that are differences of large numbers (|x|^2 - 2xy + |y|^2), "
            "so that those of its own training rows are rounding errors."
        )
        raise refuse(est, step, why, "Train with algorithm='kd_tree' or weights='uniform'.")
    return True


def inverse(graph: Graph, distances: str, counted: str | None = None) -> str:
    """_get_weights: 1 / distance; where a row is at distance 0 of some, those alone. `counted`: which count at all."""
    one, zero = graph.double([1.0]), graph.double([0.0])
    weights = graph.op("Div", one, distances)
    if counted is None:
        same = graph.op("IsInf", weights)
    else:
        same = graph.op("And", graph.op("Equal", distances, zero), counted)
    marks = graph.as_double(same)
    some = graph.op("Greater", graph.reduce("Max", marks), zero)
    return graph.op("Where", some, marks, weights)


def k_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    held = kept(ctx, est, table, step)
    near = neighbours(graph, held, int(est.n_neighbors))
    weights = None
    if weighted(ctx, est, held, step):
        weights = inverse(graph, held.rooted(graph, near.distances, int(est.n_neighbors)))
        if held.tree is not None and raises_without_weights():
            none = graph.op("Equal", graph.reduce("Max", weights), graph.double([0.0]))
            graph.error(none, [f"a row is infinitely far from all that {type(est).__name__} knows"])
    totals = votes(graph, near.places, np.asarray(est._y).reshape(-1), len(labels), int(est.n_neighbors), weights)
    total = graph.reduce("Sum", totals)
    if not raises_without_weights():
        total = graph.op("Where", graph.op("Equal", total, graph.double([0.0])), graph.double([1.0]), total)
    shares = graph.op("Div", totals, total)
    return Prediction("classifier", best(graph, totals), labels, shares)


def raises_without_weights() -> bool:
    """Where no neighbour has any weight, older versions give every class 0 instead."""
    from sklearn.neighbors import _classification

    return hasattr(_classification, "_all_with_any_reduction_axis_1")


def votes(graph: Graph, places: str, codes: Array, classes: int, k: int, weights: str | None) -> str:
    """[N, classes]: neighbour after neighbour, as the original adds them."""
    of = graph.op("Gather", graph.constant(codes.astype(np.float64)), places, axis=0)
    known, zero = graph.double(np.arange(classes, dtype=np.float64)), graph.double([0.0])
    total = None
    for j in range(k):
        mark = graph.op("Equal", graph.gather(of, [j]), known)
        vote = graph.as_double(mark) if weights is None else graph.op("Where", mark, graph.gather(weights, [j]), zero)
        total = vote if total is None else graph.op("Add", total, vote)
    assert total is not None
    return total


def targets_of(est: Estimator, step: str) -> Array:
    """[n, targets]"""
    held = np.asarray(est._y)
    if held.dtype.kind not in "iufb" or held.dtype == FLOAT32:
        raise refuse(est, step, f"its targets are {held.dtype}.", "Train on float64 targets.")
    return held.reshape(len(held), -1)


def k_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, y = ctx.graph, targets_of(est, step)
    held, k = kept(ctx, est, table, step), int(est.n_neighbors)
    near = neighbours(graph, held, k)
    weights = None
    if weighted(ctx, est, held, step):
        weights = inverse(graph, held.rooted(graph, near.distances, k))
    columns = []
    for target in y.T.astype(np.float64):
        values = graph.op("Gather", graph.constant(np.ascontiguousarray(target)), near.places, axis=0)
        if weights is None:
            columns.append(graph.op("Div", graph.reduce("Sum", values), graph.double([float(k)])))
        else:
            total = graph.reduce("Sum", graph.op("Mul", values, weights))
            columns.append(graph.op("Div", total, graph.reduce("Sum", weights)))
    return Prediction("regressor", graph.join(columns), targets=len(columns))


def within(ctx: Context, est: Estimator, table: Table, step: str) -> tuple[str, str]:
    """[N, n]: the weight of each kept row, 0 outside of the radius; [N, 1]: are there none inside?"""
    graph = ctx.graph
    held = kept(ctx, est, table, step)
    reduced = held.reduced(graph)
    inside = graph.op("LessOrEqual", reduced, graph.double([held.reduced_radius(float(est.radius))]))
    marks = graph.as_double(inside)
    none = graph.op("Equal", graph.reduce("Max", marks), graph.double([0.0]))
    if not weighted(ctx, est, held, step):
        return marks, none
    weights = inverse(graph, held.rooted(graph, reduced, len(held.rows)), inside)
    return graph.op("Where", inside, weights, graph.double([0.0])), none


def radius_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    weights, none = within(ctx, est, table, step)
    codes = np.asarray(est._y).reshape(-1)
    totals = graph.matmul(weights, np.eye(len(labels))[codes])
    if est.outlier_label_ is None:
        graph.error(none, [f"a row has no neighbour within the radius, and {type(est).__name__} has no outlier_label"])
    else:
        totals = graph.op("Where", none, graph.double(outlier(est, labels, step)), totals)
    sums = graph.reduce("Sum", totals)
    zero = graph.double([0.0])
    sums = graph.op("Where", graph.op("Equal", sums, zero), graph.double([1.0]), sums)
    shares = graph.op("Div", totals, sums)
    return Prediction("classifier", best(graph, shares), labels, shares)


def outlier(est: Estimator, labels: Sequence[Label], step: str) -> Array:
    """The probabilities of a row without neighbours."""
    wanted = np.asarray(est.outlier_label_[0]).item()
    if wanted not in labels:
        why = f"its outlier_label {wanted!r} is none of its classes, so its probabilities do not say what it predicts."
        raise refuse(est, step, why, "Use outlier_label='most_frequent' or one of the classes.")
    made: Array = np.eye(len(labels))[labels.index(wanted)]
    return made


def radius_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, y = ctx.graph, targets_of(est, step)
    weights, none = within(ctx, est, table, step)
    with np.errstate(invalid="ignore"):
        empty = np.full_like(y[0], np.nan).astype(np.float64)  # integer targets have no NaN: numpy makes a number of it
    sums = graph.matmul(weights, y.astype(np.float64))
    means = graph.op("Div", sums, graph.reduce("Sum", weights))
    return Prediction("regressor", graph.op("Where", none, graph.double(empty), means), targets=y.shape[1])


def nearest_centroid(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    if est.metric not in ("euclidean", "manhattan"):
        raise refuse(est, step, f"it measures distances by {est.metric!r}.", "Use metric='euclidean' or 'manhattan'.")
    table = numbers(graph, est, table, step)
    centers = np.asarray(est.centroids_, dtype=np.float64)
    measure = squared_distances if est.metric == "euclidean" else manhattan_distances
    values = best(graph, graph.op("Neg", measure(graph, table, centers)))
    alike = not hasattr(est, "class_prior_") or bool(np.isclose(est.class_prior_, 1 / len(labels)).all())
    if alike and not hasattr(est, "predict_proba"):
        return Prediction("classifier", values, labels)
    scores = discriminant_scores(graph, est, table, centers)
    values = values if alike else best(graph, scores)
    if est.metric != "euclidean":
        return Prediction("classifier", values, labels)
    decision = difference(graph, scores) if len(labels) == 2 else scores
    return Prediction("classifier", values, labels, softened(graph, scores), decision)


def discriminant_scores(graph: Graph, est: Estimator, table: Table, centers: Array) -> str:
    deviation = np.asarray(est.within_class_std_dev_, dtype=np.float64)
    scale = np.where(deviation != 0, deviation, 1.0)
    scaled = table_of(graph.op("Div", graph.tensor(table), graph.double(scale)), table.features, sparse=table.sparse)
    reasons = [f"{f.label} is too large to be divided by its deviation in {type(est).__name__}" for f in table.features]
    graph.error(graph.op("IsInf", graph.tensor(scaled)), reasons)
    if est.metric == "euclidean":
        far = graph.op("Sqrt", squared_distances(graph, scaled, centers / scale))
    else:
        far = manhattan_distances(graph, scaled, centers / scale)
    with np.errstate(divide="ignore"):
        prior = 2.0 * np.log(np.asarray(est.class_prior_))
    return graph.op("Add", graph.op("Neg", graph.op("Mul", far, far)), graph.double(prior))


def difference(graph: Graph, scores: str) -> str:
    """decision_function for two classes: the second's score beyond the first's."""
    return graph.op("Sub", graph.gather(scores, [1]), graph.gather(scores, [0]))


def softened(graph: Graph, scores: str) -> str:
    """DiscriminantAnalysisPredictionMixin.predict_proba."""
    off = graph.op("Sub", scores, graph.reduce("Max", scores))
    return graph.op("Exp", graph.op("Sub", off, graph.op("Log", graph.reduce("Sum", graph.op("Exp", off)))))


def local_outlier_factor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    if not est.novelty:
        why = "it was trained with novelty=False, with which it does not predict for new rows."
        raise refuse(est, step, why, "Train with novelty=True.")
    graph, k = ctx.graph, int(est.n_neighbors_)
    held = kept(ctx, est, table, step)
    near = neighbours(graph, held, k)
    distances = held.rooted(graph, near.distances, k)
    reach = graph.constant(np.ascontiguousarray(est._distances_fit_X_[:, k - 1], dtype=np.float64))
    theirs = graph.op("Gather", reach, near.places, axis=0)
    farther = graph.op("Where", graph.op("Less", distances, theirs), theirs, distances)
    mean = graph.op("Div", graph.reduce("Sum", farther), graph.double([float(k)]))
    density = graph.op("Div", graph.double([1.0]), graph.op("Add", mean, graph.double([1e-10])))
    known = graph.op("Gather", graph.constant(np.ascontiguousarray(est._lrd, dtype=np.float64)), near.places, axis=0)
    ratio = graph.op("Div", graph.reduce("Sum", graph.op("Div", known, density)), graph.double([float(k)]))
    decision = graph.op("Sub", graph.op("Neg", ratio), graph.double([float(est.offset_)]))
    # Only what is below 0 is an outlier; NaN is not.
    values = graph.as_int(graph.op("Not", graph.op("Less", decision, graph.double([0.0]))))
    return Prediction("classifier", values, (-1, 1), None, decision)


def label_propagation(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """LabelPropagation and LabelSpreading: the training rows' distributions, by kernel or by neighbours."""
    graph, labels = ctx.graph, class_labels(est, step)
    shares = np.asarray(est.label_distributions_, dtype=np.float64)
    if est.kernel == "knn":
        held = kept(ctx, est.nn_fit, numbers(graph, est, table, step, keep=True), step)
        near = neighbours(graph, held, int(est.n_neighbors))
        columns = []
        for share in shares.T:
            values = graph.op("Gather", graph.constant(np.ascontiguousarray(share)), near.places, axis=0)
            columns.append(graph.reduce("Sum", values))
        totals = graph.join(columns)
    else:
        if len(shares) > ROWS:
            raise refuse(est, step, f"it keeps {len(shares):,} rows; {ROWS:,} are the most.", "Train on a sample.")
        matrix = kernel_matrix(
            ctx, est, numbers(graph, est, table, step), est.X_, step, est.kernel, {"gamma": est.gamma}
        )
        totals = graph.matmul(matrix, shares)
    made = graph.op("Div", totals, graph.reduce("Sum", totals))
    return Prediction("classifier", best(graph, made), labels, made)


PREDICTORS: Predicts = {
    "neighbors.KNeighborsClassifier": k_classifier,
    "neighbors.KNeighborsRegressor": k_regressor,
    "neighbors.RadiusNeighborsClassifier": radius_classifier,
    "neighbors.RadiusNeighborsRegressor": radius_regressor,
    "neighbors.NearestCentroid": nearest_centroid,
    "neighbors.LocalOutlierFactor": local_outlier_factor,
    "semi_supervised.LabelPropagation": label_propagation,
    "semi_supervised.LabelSpreading": label_propagation,
}
