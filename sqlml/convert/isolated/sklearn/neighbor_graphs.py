"""A row by its nearest training rows: distances to them, and the places on a manifold that follow from those.

Read in scikit-learn 1.9.1: neighbors/_graph.py, neighbors/_base.py, manifold/_isomap.py, manifold/_locally_linear.py.
Which rows are nearest, and which of several equally near, is neighbors.py's and nearest.py's.
"""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.approximations import spoilt
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, below, refuse
from sqlml.convert.isolated.sklearn.neighbors import kept, neighbours
from sqlml.convert.isolated.sklearn.projections import doubles, mixed
from sqlml.convert.isolated.table import Table

MOST_ROWS = 1_000
"""Training rows that each answer has a column for, or a row of distances between them."""
MOST_NEIGHBOURS = 12
"""Of locally linear embedding: the equations of so many neighbours are solved in the open."""


def few_rows(est: Estimator, rows: int, step: str) -> None:
    if rows > MOST_ROWS:
        why = f"its answer has to do with all of its {rows:,} training rows; {MOST_ROWS:,} are the most."
        raise refuse(est, step, why, "Train on a sample, or use PCA or Nystroem.")


def k_neighbors_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """A column per training row: 1 (or the distance) where it is one of the nearest; with distances, one more of them."""
    graph = ctx.graph
    held = kept(ctx, est, table, step)
    count, k = len(held.rows), int(est.n_neighbors) + (est.mode == "distance")
    few_rows(est, count, step)
    near = neighbours(graph, held, k)
    distances = held.rooted(graph, near.distances, k) if est.mode == "distance" else None
    places, made = graph.ints(np.arange(count).reshape(1, -1)), graph.rows(np.zeros(count))
    for i in range(k):
        here = graph.op("Equal", graph.gather(near.places, [i]), places)
        value = graph.double(1.0) if distances is None else graph.gather(distances, [i])
        # Where all are infinitely far, the first row stands in every place, and is counted as often.
        made = graph.op("Add", made, graph.op("Where", here, value, graph.double(0.0)))
    return mixed(held.table, made, count, sparse=True)


def radius_neighbors_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    held = kept(ctx, est, table, step)
    count = len(held.rows)
    few_rows(est, count, step)
    reduced = held.reduced(graph)
    inside = graph.op("LessOrEqual", reduced, graph.double([held.reduced_radius(float(est.radius))]))
    value = held.rooted(graph, reduced, count) if est.mode == "distance" else graph.double(1.0)
    return mixed(held.table, graph.op("Where", inside, value, graph.double(0.0)), count, sparse=True)


def isomap(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The shortest way to every training row through one of the nearest, as kernel PCA takes it."""
    graph = ctx.graph
    if est.n_neighbors is None:
        raise refuse(est, step, "it looks for neighbours within a radius.", "Use n_neighbors.")
    nearest = est.nbrs_
    held = kept(ctx, nearest, table, below(step, "neighbors"))
    count, k = len(held.rows), int(nearest.n_neighbors)
    few_rows(est, count, step)
    near = neighbours(graph, held, k)
    distances = held.rooted(graph, near.distances, k)
    ways = graph.constant(doubles(est.dist_matrix_))
    shortest = ""
    for i in range(k):
        way = graph.op("Add", rows_at(graph, ways, near.places, i), graph.gather(distances, [i]))
        shortest = way if not shortest else graph.op("Min", shortest, way)
    kernel = graph.op("Mul", graph.op("Mul", shortest, shortest), graph.double(np.full(count, -0.5)))
    graph.error(graph.op("IsNaN", spoilt(graph, kernel)), ["its distances to the training rows are infinite"])
    inner = est.kernel_pca_
    values, vectors = np.asarray(inner.eigenvalues_, dtype=np.float64), doubles(inner.eigenvectors_)
    used = np.flatnonzero(values)
    alphas = np.zeros_like(vectors)
    alphas[:, used] = vectors[:, used] / np.sqrt(values[used])
    rows = np.asarray(inner._centerer.K_fit_rows_, dtype=np.float64)
    own = graph.op("Div", graph.reduce("Sum", kernel), graph.double(float(len(rows))))
    centred = graph.op("Sub", graph.op("Sub", kernel, graph.double(rows)), own)
    centred = graph.op("Add", centred, graph.double(float(inner._centerer.K_fit_all_)))
    return mixed(held.table, graph.matmul(centred, alphas), alphas.shape[1])


def rows_at(graph: Graph, matrix: str, places: str, index: int) -> str:
    """The matrix's row at the index-th of the places: [N, width]."""
    place = graph.op("Squeeze", graph.gather(places, [index]), graph.ints([1]))
    return graph.op("Gather", matrix, place, axis=0)


def locally_linear(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The weights with which the nearest training rows give the row back, given to their places in the embedding."""
    graph = ctx.graph
    k = int(est.n_neighbors)
    if k > MOST_NEIGHBOURS:
        why = f"it solves equations in {k} neighbours for every row."
        raise refuse(est, step, why, f"Use at most {MOST_NEIGHBOURS} neighbours, or Isomap.")
    held = kept(ctx, est.nbrs_, table, below(step, "neighbors"))
    near = neighbours(graph, held, k)
    kept_rows, x = graph.constant(doubles(est.nbrs_._fit_X)), graph.tensor(held.table)
    offsets = [graph.op("Sub", rows_at(graph, kept_rows, near.places, i), x) for i in range(k)]
    gram = [[graph.reduce("Sum", graph.op("Mul", offsets[i], offsets[j])) for j in range(i + 1)] for i in range(k)]
    far = spoilt(graph, graph.join([value for row in gram for value in row]))
    graph.error(graph.op("IsNaN", far), ["its distances to the training rows are infinite or no numbers"])
    trace = gram[0][0]
    for i in range(1, k):
        trace = graph.op("Add", trace, gram[i][i])
    reg = graph.rows([float(est.reg)])
    ridge = graph.op("Where", graph.op("Greater", trace, graph.double(0.0)), graph.op("Mul", trace, reg), reg)
    for i in range(k):
        gram[i][i] = graph.op("Add", gram[i][i], ridge)
    weights = solved(graph, gram)
    total = weights[0]
    for weight in weights[1:]:
        total = graph.op("Add", total, weight)
    places: Array = doubles(est.embedding_)
    embedded = graph.constant(places)
    made = ""
    for i, weight in enumerate(weights):
        part = graph.op("Mul", rows_at(graph, embedded, near.places, i), graph.op("Div", weight, total))
        made = part if not made else graph.op("Add", made, part)
    return mixed(held.table, made, places.shape[1])


def solved(graph: Graph, gram: list[list[str]]) -> list[str]:
    """gram @ w = 1 by Cholesky's way, element by element; `gram` holds the lower half."""
    k = len(gram)
    lower: list[list[str]] = []
    for i in range(k):
        row: list[str] = []
        for j in range(i + 1):
            value = gram[i][j]
            for m in range(j):
                value = graph.op("Sub", value, graph.op("Mul", row[m], lower[j][m] if j < i else row[m]))
            row.append(graph.op("Sqrt", value) if i == j else graph.op("Div", value, lower[j][j]))
        lower.append(row)
    forward: list[str] = []
    for i in range(k):
        value = graph.rows([1.0])
        for m in range(i):
            value = graph.op("Sub", value, graph.op("Mul", lower[i][m], forward[m]))
        forward.append(graph.op("Div", value, lower[i][i]))
    back = [""] * k
    for i in reversed(range(k)):
        value = forward[i]
        for m in range(i + 1, k):
            value = graph.op("Sub", value, graph.op("Mul", lower[m][i], back[m]))
        back[i] = graph.op("Div", value, lower[i][i])
    return back


TRANSFORMERS: Transforms = {
    "neighbors.KNeighborsTransformer": k_neighbors_transformer,
    "neighbors.RadiusNeighborsTransformer": radius_neighbors_transformer,
    "manifold.Isomap": isomap,
    "manifold.LocallyLinearEmbedding": locally_linear,
}
