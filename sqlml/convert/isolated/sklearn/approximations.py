"""Kernels as features: sampled, sketched and projected. Read in scikit-learn 1.9.1: kernel_approximation.py,
decomposition/_kernel_pca.py, preprocessing/_data.py (KernelCenterer)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from sklearn.metrics import pairwise_kernels

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.kernels import PARAMETERS, kernel_matrix
from sqlml.convert.isolated.sklearn.linear import linear
from sqlml.convert.isolated.sklearn.projections import dense, doubles, mixed
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of

DIGITS = 1e-9
"""What rounding of a training row's own kernel may come to, as it is multiplied."""


def nystroem(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    in_place(est, table, step)
    table = numbers(ctx.graph, est, table, step)
    given = dict(est.kernel_params or {})
    if isinstance(est.kernel, str):
        own = {name: getattr(est, name) for name in PARAMETERS.get(est.kernel, ())}
        given.update({name: value for name, value in own.items() if value is not None})
    kernel = kernel_matrix(ctx, est, table, est.components_, step, est.kernel, given)
    matrix = doubles(est.normalization_).T
    own = np.abs(pairwise_kernels(doubles(est.components_), metric=est.kernel, filter_params=True, **given))
    if float((own @ np.abs(matrix)).max()) * np.finfo(np.float64).eps > DIGITS:
        why = "its kernel has fewer dimensions than components, and the others are rounding, made large."
        raise refuse(est, step, why, "Use fewer components, or scale the columns before it.")
    return mixed(table, ctx.graph.matmul(kernel, matrix), matrix.shape[1])


def in_place(est: Estimator, table: Table, step: str) -> None:
    """metrics/_pairwise_fast.pyx asks for memory that it may write to, and that of pandas' own columns is not."""
    if table.frame and est.kernel in ("chi2", "additive_chi2"):
        why = f"scikit-learn's {est.kernel} kernel does not take a DataFrame's own memory (it is read-only)."
        raise refuse(est, step, why, "Put a step before it, such as MinMaxScaler.")


def kernel_pca(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    in_place(est, table, step)
    table = numbers(graph, est, table, step)
    gamma = getattr(est, "gamma_", est.gamma)
    if callable(est.kernel):
        given = dict(est.kernel_params or {})
    else:
        given = {"gamma": gamma, "degree": est.degree, "coef0": est.coef0}
    kernel = kernel_matrix(ctx, est, table, est.X_fit_, step, est.kernel, given)
    # The centring checks its input like any other step.
    graph.error(
        graph.op("IsNaN", spoilt(graph, kernel)), ["its kernel with the training rows is infinite or no number"]
    )
    values = np.asarray(est.eigenvalues_, dtype=np.float64)
    vectors = doubles(est.eigenvectors_)
    used = np.flatnonzero(values)
    alphas = np.zeros_like(vectors)
    alphas[:, used] = vectors[:, used] / np.sqrt(values[used])
    rows = np.asarray(est._centerer.K_fit_rows_, dtype=np.float64)
    own = graph.op("Div", graph.reduce("Sum", kernel), graph.double(float(len(rows))))
    centred = graph.op("Sub", graph.op("Sub", kernel, graph.double(rows)), own)
    centred = graph.op("Add", centred, graph.double(float(est._centerer.K_fit_all_)))
    return mixed(table, graph.matmul(centred, alphas), alphas.shape[1])


def spoilt(graph: Graph, tensor: str) -> str:
    """[N, 1]: NaN where anything in the row is infinite or NaN, else 0."""
    return graph.reduce("Sum", graph.op("Mul", tensor, graph.double([0.0])))


def waves(ctx: Context, est: Estimator, table: Table, step: str, factor: float) -> Table:
    """cos(X @ weights + offset) * factor"""
    graph = ctx.graph
    weights = doubles(est.random_weights_)
    angle = linear(ctx, table, weights.T, est.random_offset_)
    made = graph.op("Mul", graph.op("Cos", angle), graph.double(np.full(weights.shape[1], factor)))
    done = mixed(table, made, weights.shape[1])
    return done.with_features([replace(f, low=-factor, high=factor) for f in done.features])


def rbf_sampler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step)
    return waves(ctx, est, table, step, float((2.0 / est.n_components) ** 0.5))


def skewed_chi2_sampler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    table = dense(est, numbers(graph, est, table, step), step)
    skew = float(est.skewedness)
    small = [i for i, f in enumerate(table.features) if f.low <= -skew]
    if small:
        some = table.select(small)
        reasons = [f"{f.label} is not above {-skew:g}, as SkewedChi2Sampler asks" for f in some.features]
        graph.error(graph.op("LessOrEqual", graph.tensor(some), graph.double([-skew])), reasons)
    tensor = graph.op("Log", graph.op("Add", graph.tensor(table), graph.double([skew])))
    logarithms = table_of(tensor, [replace(f, low=-math.inf, high=math.inf, exact=False) for f in table.features])
    return waves(ctx, est, logarithms, step, float(np.sqrt(2.0) / np.sqrt(est.n_components)))


INTERVALS = {1: 0.8, 2: 0.5, 3: 0.4}


def additive_chi2_sampler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Each column's root, then its waves in the logarithm: sqrt(2 x l / cosh(pi j l)) times cos and sin of j l log x."""
    graph = ctx.graph
    table = numbers(graph, est, table, step)
    negative = [i for i, f in enumerate(table.features) if f.low < 0]
    if negative:
        some = table.select(negative)
        reasons = [f"{f.label} is negative, which AdditiveChi2Sampler does not accept" for f in some.features]
        graph.error(graph.op("Less", graph.tensor(some), graph.double([0.0])), reasons)
    interval = float(INTERVALS[est.sample_steps] if est.sample_interval is None else est.sample_interval)
    x, zero = graph.tensor(table), graph.double([0.0])
    empty = graph.op("Equal", x, zero)
    used = graph.op("Where", empty, graph.double([1.0]), x)
    parts = [graph.op("Sqrt", graph.op("Mul", x, graph.double([interval])))]
    angle = graph.op("Mul", graph.op("Log", used), graph.double([interval]))
    stretched = graph.op("Mul", graph.op("Mul", used, graph.double([2.0])), graph.double([interval]))
    for j in range(1, est.sample_steps):
        factor = graph.op("Sqrt", graph.op("Div", stretched, graph.double([math.cosh(math.pi * j * interval)])))
        turned = graph.op("Mul", angle, graph.double([float(j)]))
        for wave in ("Cos", "Sin"):
            made = graph.op("Mul", factor, graph.op(wave, turned))
            parts.append(graph.op("Where", empty, zero, made))
    features = [Feature(FLOAT64, sources=f.sources, exact=False) for f in table.features]
    return table_of(graph.join(parts), features * len(parts), sparse=table.sparse)


def polynomial_count_sketch(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The product of the Fourier transforms of `degree` sketches of the row, transformed back.

    A transform of fixed size is a constant matrix; of a real row half of it suffices, for the rest is conjugate.
    """
    graph = ctx.graph
    table = numbers(graph, est, table, step)
    size = int(est.n_components)
    x = graph.op("Mul", graph.tensor(table), graph.double(np.full(len(table), math.sqrt(est.gamma))))
    if est.coef0 != 0:
        x = graph.join([x, graph.rows([math.sqrt(est.coef0)])])
    hashes, signs = np.asarray(est.indexHash_), np.asarray(est.bitHash_, dtype=np.float64)
    if hashes.shape[1] != len(table) + (est.coef0 != 0):
        raise refuse(est, step, "its coef0 was changed after it was fitted.", "Fit it again.")
    cosines, sines = fourier(size)
    real = imaginary = ""
    for d in range(int(est.degree)):
        sketch = np.zeros((hashes.shape[1], size))
        sketch[np.arange(hashes.shape[1]), hashes[d]] = signs[d]
        a, b = graph.matmul(x, sketch @ cosines), graph.matmul(x, -(sketch @ sines))
        if d == 0:
            real, imaginary = a, b
        else:
            real, imaginary = times(graph, real, imaginary, a, b)
    weight = np.full(len(cosines.T), 2.0)
    weight[0] = 1.0
    if size % 2 == 0:
        weight[-1] = 1.0
    back = (cosines * weight / size).T, (-sines * weight / size).T
    made = graph.op("Add", graph.matmul(real, back[0]), graph.matmul(imaginary, back[1]))
    # One overflow is no number everywhere after the transform back.
    made = graph.op("Add", made, spoilt(graph, graph.join([real, imaginary])))
    return mixed(table, made, size)


def fourier(size: int) -> tuple[Array, Array]:
    """cos and sin of 2 pi j k / size for each place j and the frequencies k up to half of them."""
    steps = np.outer(np.arange(size), np.arange(size // 2 + 1)) % size
    angles = 2.0 * np.pi * steps / size
    return np.cos(angles), np.sin(angles)


def times(graph: Graph, a: str, b: str, c: str, d: str) -> tuple[str, str]:
    """(a + ib)(c + id)"""
    real = graph.op("Sub", graph.op("Mul", a, c), graph.op("Mul", b, d))
    return real, graph.op("Add", graph.op("Mul", a, d), graph.op("Mul", b, c))


TRANSFORMERS: Transforms = {
    "kernel_approximation.Nystroem": nystroem,
    "kernel_approximation.RBFSampler": rbf_sampler,
    "kernel_approximation.SkewedChi2Sampler": skewed_chi2_sampler,
    "kernel_approximation.AdditiveChi2Sampler": additive_chi2_sampler,
    "kernel_approximation.PolynomialCountSketch": polynomial_count_sketch,
    "decomposition.KernelPCA": kernel_pca,
}
