"""Gaussian processes. Read in scikit-learn 1.9.1: gaussian_process/_gpr.py, _gpc.py, kernels.py, multiclass.py; scipy's erf.

A kernel is built as a matrix between each row and the training rows, [N, n], or as a number where it is the same for all.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Union

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, refuse
from sqlml.convert.isolated.sklearn.kernels import (
    SAMPLE,
    dense,
    kernel_matrix,
    plus,
    power,
    products,
    significant,
    squared_differences,
    squared_norms,
    times,
)
from sqlml.convert.isolated.sklearn.linear import above, best, class_labels, two_columns
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import Table, table_of

ROWS = 2_000
"""The graph of a classifier holds a matrix of this many rows and columns: 32 MB."""
LAMBDAS = (0.41, 0.4, 0.37, 0.44, 0.39)
COEFFICIENTS = (-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654)

Part = Union[str, float]
"""A tensor [N, n] (or [N, 1] of a diagonal), or the one number that all its elements are."""


class Kernels:
    """The covariances of a fitted kernel between rows and the training rows."""

    def __init__(self, ctx: Context, est: Estimator, table: Table, kept: Any, step: str) -> None:
        self.ctx, self.graph, self.est, self.table, self.step = ctx, ctx.graph, est, table, step
        self.kept = dense(kept)
        self.whole = np.asarray(kept).dtype.kind in "iub"

    def matrix(self, kernel: Any) -> str:
        made = self.between(kernel)
        return self.graph.rows(np.full(len(self.kept), made)) if isinstance(made, float) else made

    def between(self, kernel: Any) -> Part:
        found = BETWEEN.get(name_of(kernel))
        if found is None:
            raise self.unknown(kernel)
        return found(self, kernel)

    def unknown(self, kernel: Any, why: str = "") -> Exception:
        known = ", ".join(sorted(BETWEEN))
        why = why or f"its kernel {type(kernel).__name__} has no exact translation."
        return refuse(self.est, self.step, why, f"Use the kernels {known}.")

    def combined(self, kind: str, a: Part, b: Part) -> Part:
        if isinstance(a, float) and isinstance(b, float):
            return a + b if kind == "Add" else a * b
        if isinstance(a, float):
            a, b = b, a
        if isinstance(b, float):
            b = self.graph.double(np.full(len(self.kept), b))
        return self.graph.op(kind, str(a), b)

    def raised(self, part: Part, exponent: float) -> Part:
        return float(part**exponent) if isinstance(part, float) else power(self.graph, part, float(exponent))

    def scaled(self, kernel: Any) -> tuple[Table, Array]:
        """Both sides divided by the length scale."""
        scale = np.broadcast_to(np.squeeze(kernel.length_scale).astype(float), (self.kept.shape[1],))
        tensor = self.graph.op("Div", self.graph.tensor(self.table), self.graph.double(scale))
        return table_of(tensor, self.table.features), self.kept / scale

    def rbf(self, kernel: Any) -> Part:
        table, kept = self.scaled(kernel)
        far = squared_differences(self.graph, table, kept)
        return self.graph.op("Exp", times(self.graph, far, -0.5, len(kept)))

    def matern(self, kernel: Any) -> Part:
        graph, nu = self.graph, float(kernel.nu)
        table, kept = self.scaled(kernel)
        far, width = graph.op("Sqrt", squared_differences(graph, table, kept)), len(kept)
        if nu == 0.5:
            return graph.op("Exp", graph.op("Neg", far))
        if nu == math.inf:
            half = graph.op("Div", graph.op("Mul", far, far), graph.double(np.full(width, 2.0)))
            return graph.op("Exp", graph.op("Neg", half))
        if nu not in (1.5, 2.5):
            raise self.unknown(kernel, f"its Matern kernel has nu={nu:g}, which needs a Bessel function.")
        far = times(graph, far, math.sqrt(3) if nu == 1.5 else math.sqrt(5), width)
        front = plus(graph, far, 1.0)
        if nu == 2.5:
            third = graph.op("Div", graph.op("Mul", far, far), graph.double(np.full(width, 3.0)))
            front = graph.op("Add", front, third)
        return graph.op("Mul", front, graph.op("Exp", graph.op("Neg", far)))

    def rational_quadratic(self, kernel: Any) -> Part:
        graph, width = self.graph, len(self.kept)
        far = squared_differences(graph, self.table, self.kept)
        scale = 2 * kernel.alpha * float(np.squeeze(kernel.length_scale)) ** 2
        far = plus(graph, graph.op("Div", far, graph.double(np.full(width, scale))), 1.0)
        return power(graph, far, -float(kernel.alpha))

    def exp_sine_squared(self, kernel: Any) -> Part:
        graph, width = self.graph, len(self.kept)
        far = graph.op("Sqrt", squared_differences(graph, self.table, self.kept))
        wave = graph.op("Sin", times(graph, far, np.pi / kernel.periodicity, width))
        wave = graph.op("Div", wave, graph.double(np.full(width, float(kernel.length_scale))))
        return graph.op("Exp", times(graph, graph.op("Mul", wave, wave), -2.0, width))

    def dot_product(self, kernel: Any) -> Part:
        if self.whole:
            why = "its DotProduct kernel multiplies integers, which may wrap around."
            raise refuse(self.est, self.step, why, "Train on float64 columns (astype('float64')).")
        return plus(self.graph, products(self.graph, self.table, self.kept), float(kernel.sigma_0) ** 2)

    def pairwise(self, kernel: Any) -> Part:
        parameters = {"gamma": kernel.gamma, **(kernel.pairwise_kernels_kwargs or {})}
        return kernel_matrix(self.ctx, self.est, self.table, self.kept, self.step, kernel.metric, parameters)

    def diagonal(self, kernel: Any) -> Part:
        """kernel.diag(X)"""
        name = name_of(kernel)
        if name in ("RBF", "Matern", "RationalQuadratic", "ExpSineSquared"):
            return 1.0
        if name == "ConstantKernel":
            return float(kernel.constant_value)
        if name == "WhiteKernel":
            return float(kernel.noise_level)
        if name == "DotProduct":
            return plus(
                self.graph, squared_norms(self.graph, self.graph.tensor(self.table)), float(kernel.sigma_0) ** 2
            )
        if name in ("Sum", "Product"):
            a, b = self.diagonal(kernel.k1), self.diagonal(kernel.k2)
            if isinstance(a, float) and isinstance(b, float):
                return a + b if name == "Sum" else a * b
            sides = [self.graph.rows([side]) if isinstance(side, float) else side for side in (a, b)]
            return self.graph.op("Add" if name == "Sum" else "Mul", *sides)
        if name == "Exponentiation":
            return self.raised(self.diagonal(kernel.kernel), kernel.exponent)
        raise self.unknown(kernel)


BETWEEN: dict[str, Callable[[Kernels, Any], Part]] = {
    "ConstantKernel": lambda self, kernel: float(kernel.constant_value),
    # Noise is a row's own: between different sets of rows there is none.
    "WhiteKernel": lambda self, kernel: 0.0,
    "RBF": Kernels.rbf,
    "Matern": Kernels.matern,
    "RationalQuadratic": Kernels.rational_quadratic,
    "ExpSineSquared": Kernels.exp_sine_squared,
    "DotProduct": Kernels.dot_product,
    "PairwiseKernel": Kernels.pairwise,
    "Sum": lambda self, kernel: self.combined("Add", self.between(kernel.k1), self.between(kernel.k2)),
    "Product": lambda self, kernel: self.combined("Mul", self.between(kernel.k1), self.between(kernel.k2)),
    "Exponentiation": lambda self, kernel: self.raised(self.between(kernel.kernel), kernel.exponent),
}


def name_of(kernel: Any) -> str:
    return type(kernel).__name__ if type(kernel).__module__ == "sklearn.gaussian_process.kernels" else ""


def always_finite(kernel: Any) -> bool:
    name = name_of(kernel)
    if name in ("Sum", "Product"):
        return always_finite(kernel.k1) and always_finite(kernel.k2)
    if name == "Matern":
        return float(kernel.nu) in (0.5, math.inf)
    return name in ("ConstantKernel", "WhiteKernel", "RBF", "RationalQuadratic")


def few_rows(est: Estimator, count: int, step: str) -> None:
    if count > ROWS:
        why = f"it keeps {count:,} rows and compares each answer with all of them; {ROWS:,} are the most."
        raise refuse(est, step, why, "Train on a sample, or use a model that does not keep its training rows.")


def regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph = ctx.graph
    weights = np.asarray(est.alpha_, dtype=np.float64).reshape(len(est.X_train_), -1)
    few_rows(est, len(weights), step)
    scale, center = np.asarray(est._y_train_std, dtype=np.float64), np.asarray(est._y_train_mean, dtype=np.float64)
    some = np.asarray(est.X_train_)[:SAMPLE]
    instead = "Add a WhiteKernel to the kernel or raise alpha, so that close training rows need not be told apart."
    significant(est, np.asarray(est.kernel_(some, est.X_train_)), weights, step, instead)
    kernels = Kernels(ctx, est, numbers(graph, est, table, step), est.X_train_, step)
    targets = weights.shape[1]
    mean = graph.matmul(kernels.matrix(est.kernel_), weights)
    spread, middle = np.broadcast_to(scale, (targets,)), np.broadcast_to(center, (targets,))
    return Prediction(
        "regressor", graph.op("Add", graph.op("Mul", mean, graph.double(spread)), graph.double(middle)), targets=targets
    )


def classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    table = numbers(graph, est, table, step)
    if len(labels) == 2:
        mean, share = binary(ctx, est, est.base_estimator_, table, step)
        return Prediction("classifier", above(graph, mean), labels, two_columns(graph, share))
    if est.multi_class != "one_vs_rest":
        why = "with multi_class='one_vs_one' its predict_proba raises for every row."
        raise refuse(est, step, why, "Train with multi_class='one_vs_rest'.")
    shares = graph.join([binary(ctx, est, one, table, step)[1] for one in est.base_estimator_.estimators_])
    total = graph.reduce("Sum", shares)
    zero = graph.op("Equal", total, graph.double([0.0]))
    normal = graph.op("Where", zero, shares, graph.op("Div", shares, total))
    return Prediction("classifier", best_of_rest(graph, shares, len(labels)), labels, normal)


def best_of_rest(graph: Graph, scores: str, width: int) -> str:
    """OneVsRestClassifier's choice: of equals the first, in older versions the last (far from all rows, all are equal)."""
    from sklearn.multiclass import OneVsRestClassifier

    if "reversed(" in inspect.getsource(OneVsRestClassifier.predict):
        return best(graph, scores)
    found = best(graph, graph.gather(scores, range(width - 1, -1, -1)))
    return graph.op("Sub", graph.ints([[width - 1]]), found)


def binary(ctx: Context, est: Estimator, one: Any, table: Table, step: str) -> tuple[str, str]:
    """The latent mean of one Laplace approximation, and the probability of its second class."""
    graph = ctx.graph
    few_rows(est, len(one.X_train_), step)
    kernels = Kernels(ctx, est, table, one.X_train_, step)
    matrix = kernels.matrix(one.kernel_)
    if not always_finite(one.kernel_):
        # scipy's solve checks its input.
        beyond = graph.op("Or", graph.op("IsNaN", matrix), graph.op("IsInf", matrix))
        bad = graph.op("Greater", graph.reduce("Max", graph.as_double(beyond)), graph.double([0.0]))
        graph.error(bad, [f"a value is too large for the kernel of {type(est).__name__}"])
    weights = np.asarray(one.y_train_ - one.pi_, dtype=np.float64).reshape(-1, 1)
    mean = graph.matmul(matrix, weights)
    solved = np.linalg.solve(np.asarray(one.L_), np.diag(np.asarray(one.W_sr_)))
    explained = squared_norms(graph, graph.matmul(matrix, np.ascontiguousarray(solved.T)))
    own = kernels.diagonal(one.kernel_)
    variance = graph.op("Sub", graph.double([own]) if isinstance(own, float) else own, explained)
    alpha = graph.op("Div", graph.double([1.0]), graph.op("Mul", variance, graph.double([2.0])))
    lambdas = graph.double(LAMBDAS)
    gamma = graph.op("Mul", mean, lambdas)
    inner = graph.op("Div", alpha, graph.op("Add", alpha, graph.double(np.square(LAMBDAS))))
    bell = erf(graph, graph.op("Mul", gamma, graph.op("Sqrt", inner)))
    front = graph.op("Sqrt", graph.op("Div", graph.double([math.pi]), alpha))
    below = graph.op("Sqrt", graph.op("Mul", graph.op("Mul", variance, graph.double([2.0])), graph.double([math.pi])))
    integrals = graph.op("Div", graph.op("Mul", bell, front), graph.op("Mul", below, graph.double([2.0])))
    total = graph.reduce("Sum", graph.op("Mul", integrals, graph.double(COEFFICIENTS)))
    return mean, plus(graph, total, 0.5 * math.fsum(COEFFICIENTS))


# Cephes, ndtr.c, from which scipy's erf is made: to the last bit or two.
SMALL = (
    9.60497373987051638749,
    90.0260197203842689217,
    2232.00534594684319226,
    7003.32514112805075473,
    55592.3013010394962768,
)
SMALL_BELOW = (1.0, 33.5617141647503099647, 521.357949780152679795, 4594.32382970980127987, 22629.0000613890934246, 49267.3942608635921086)  # fmt: skip
TAIL = (
    2.46196981473530512524e-10, 0.564189564831068821977, 7.46321056442269912687, 48.6371970985681366614, 196.520832956077098242,
    526.445194995477358631, 934.528527171957607540, 1027.55188689515710272, 557.535335369399327526,
)  # fmt: skip
TAIL_BELOW = (
    1.0, 13.2281951154744992508, 86.7072140885989742329, 354.937778887819891062, 975.708501743205489753,
    1823.90916687909736289, 2246.33760818710981792, 1656.66309194161350182, 557.535340817727675546,
)  # fmt: skip
FARTHEST = 6.5
"""From here on erf is 1 in double."""


def erf(graph: Graph, x: str) -> str:
    size = graph.op("Abs", x)
    far = graph.op("Greater", size, graph.double([FARTHEST]))
    size = graph.op("Where", far, graph.double([FARTHEST]), size)
    square = graph.op("Mul", size, size)
    near = graph.op("Div", polynomial(graph, square, SMALL), polynomial(graph, square, SMALL_BELOW))
    near = graph.op("Mul", size, near)
    tail = graph.op("Div", polynomial(graph, size, TAIL), polynomial(graph, size, TAIL_BELOW))
    tail = graph.op("Mul", graph.op("Exp", graph.op("Neg", square)), tail)
    one = graph.double([1.0])
    made = graph.op("Where", graph.op("Greater", size, one), graph.op("Sub", one, tail), near)
    return graph.op("Where", graph.op("Less", x, graph.double([0.0])), graph.op("Neg", made), made)


def polynomial(graph: Graph, x: str, coefficients: tuple[float, ...]) -> str:
    """Horner's rule, the highest power first."""
    made = graph.op("Add", graph.op("Mul", x, graph.double([coefficients[0]])), graph.double([coefficients[1]]))
    for coefficient in coefficients[2:]:
        made = graph.op("Add", graph.op("Mul", made, x), graph.double([coefficient]))
    return made


PREDICTORS: Predicts = {
    "gaussian_process.GaussianProcessRegressor": regressor,
    "gaussian_process.GaussianProcessClassifier": classifier,
}
