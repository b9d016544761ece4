"""Stages that compute numbers from numbers.

Read in Spark: ml/feature/StandardScaler.scala, MinMaxScaler.scala, MaxAbsScaler.scala, RobustScaler.scala, Normalizer
(mllib), ElementwiseProduct.scala, PolynomialExpansion.scala, PCA.scala, Imputer.scala. Spark multiplies by reciprocals
that it has computed before: so does the graph, for a tree behind a scaler compares the very bits.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.spark.columns import Column, Frame, in_and_out, is_sparse, negative_zero, refuse
from sqlml.convert.isolated.spark.reading import Stage, as_double, matrix, vector

LARGEST_EXPANSION = 2000


def scaled(frame: Frame, stage: Stage, width: int) -> tuple[Column, str]:
    """Its input, of the width that it was fitted on, and the name of its output."""
    name, made = in_and_out(stage)[0]
    column = frame.vector(stage, name)
    if column.width != width:
        raise refuse(stage, f"it was fitted on {width} features and would be given {column.width}.")
    return column, made


def reciprocal(values: Array, zero: float) -> Array:
    return np.array([zero if v == 0 else 1.0 / v for v in values.tolist()])


def shifted(frame: Frame, stage: Stage, shift: Array | None, scale: Array | None, width: int) -> None:
    """(x - shift) * scale, where each is asked for; without a shift a row stays as it is stored."""
    graph, (column, made) = frame.graph, scaled(frame, stage, width)
    tensor, nan = column.tensor, column.nan
    if shift is not None:
        tensor = graph.op("Sub", tensor, graph.double(shift))
    if scale is not None:
        tensor = graph.op("Mul", tensor, graph.double(scale))
        nan = True  # an infinity by a scale of zero
    frame.put(made, replace(column, tensor=tensor, nan=nan, form="dense" if shift is not None else column.form))


def standard_scaler(frame: Frame, stage: Stage) -> None:
    std, mean = vector(stage.value("std")).values, vector(stage.value("mean")).values
    shift = mean if stage.get("withMean", False) else None
    shifted(frame, stage, shift, reciprocal(std, 0.0) if stage.get("withStd", True) else None, len(mean))


def robust_scaler(frame: Frame, stage: Stage) -> None:
    spread, median = vector(stage.value("range")).values, vector(stage.value("median")).values
    shift = median if stage.get("withCentering", False) else None
    shifted(frame, stage, shift, reciprocal(spread, 0.0) if stage.get("withScaling", True) else None, len(median))


def max_abs_scaler(frame: Frame, stage: Stage) -> None:
    largest = vector(stage.value("maxAbs")).values
    shifted(frame, stage, None, reciprocal(largest, 1.0), len(largest))


def min_max_scaler(frame: Frame, stage: Stage) -> None:
    """Into [min, max]; a feature that was constant becomes the middle, whatever it is now, unless it is NaN."""
    graph = frame.graph
    low, high = vector(stage.value("originalMin")).values, vector(stage.value("originalMax")).values
    least, most = stage.number("min", 0.0), stage.number("max", 1.0)
    column, made = scaled(frame, stage, len(low))
    with np.errstate(over="ignore"):
        spread = high - low
    scale = np.array([(most - least) / s if s != 0 else 0.0 for s in spread.tolist()])
    tensor = graph.op("Mul", graph.op("Sub", column.tensor, graph.double(low)), graph.double(scale))
    tensor = graph.op("Add", tensor, graph.double(np.full(len(low), least)))
    constant = scale == 0
    if constant.any():
        middle = graph.double(np.full(len(low), (least + most) / 2.0))
        if column.nan:
            middle = graph.op("Where", graph.op("IsNaN", column.tensor), graph.double([math.nan]), middle)
        flags = graph.op("Greater", graph.rows(constant.astype(np.float64)), graph.double([0.5]))
        tensor = graph.op("Where", flags, middle, tensor)
    frame.put(made, replace(column, tensor=tensor, form=tensor))


def normalizer(frame: Frame, stage: Stage) -> None:
    """Each row divided by its norm, unless that is zero."""
    graph, power = frame.graph, stage.number("p", 2.0)
    name, made = in_and_out(stage)[0]
    column = frame.vector(stage, name)
    size = graph.op("Abs", column.tensor)
    if power == 1:
        norm = graph.reduce("Sum", size)
    elif power == 2:
        norm = graph.op("Sqrt", graph.reduce("Sum", graph.op("Mul", column.tensor, column.tensor)))
    elif power == math.inf:
        known = graph.op("Where", graph.op("IsNaN", size), graph.double([0.0]), size) if column.nan else size
        norm = graph.reduce("Max", known)
    else:
        raised = graph.op("Pow", size, graph.double([power]))
        norm = graph.op("Pow", graph.reduce("Sum", raised), graph.double([1.0 / power]))
    zero = graph.op("Equal", norm, graph.double([0.0]))
    safe = graph.op("Where", zero, graph.double([1.0]), norm)
    frame.put(made, replace(column, tensor=graph.op("Div", column.tensor, safe), nan=True))


def elementwise_product(frame: Frame, stage: Stage) -> None:
    weights = vector(stage.get("scalingVec")).values
    shifted(frame, stage, None, weights, len(weights))


def pca(frame: Frame, stage: Stage) -> None:
    components = matrix(stage.value("pc"))
    column, made = scaled(frame, stage, components.values.shape[0])
    tensor = frame.graph.matmul(column.tensor, components.values)
    frame.put(made, replace(column, tensor=tensor, width=components.values.shape[1], nan=True, form="dense"))


def polynomial_expansion(frame: Frame, stage: Stage) -> None:
    """All products up to the degree, in Spark's order and multiplied in Spark's order: from the last feature back.

    A product that has come to zero is not multiplied further, so it stays zero beside an infinity; and a zero that a
    sparse row does not hold is not multiplied at all.
    """
    graph, degree = frame.graph, int(stage.get("degree", 2))
    name, made = in_and_out(stage)[0]
    column = frame.vector(stage, name)
    count = math.comb(column.width + degree, degree) - 1
    if count > LARGEST_EXPANSION:
        raise refuse(stage, f"it makes {count} features.", "Use a lower degree or fewer features.")
    values = [graph.gather(column.tensor, [i]) for i in range(column.width)]
    sparse = is_sparse(graph, stage, column)
    places = product_places(column.width, degree)
    zero = graph.double([0.0])
    tensors: dict[tuple[int, ...], str] = {(): ""}

    def product(chain: tuple[int, ...]) -> str:
        """The value of a chain of features, multiplied from its left."""
        if chain not in tensors:
            before, value = product(chain[:-1]), values[chain[-1]]
            if not before:
                tensors[chain] = value
            else:
                stopped = graph.op("Equal", before, zero)
                if sparse is not None:
                    stopped = graph.op("Or", stopped, graph.op("And", sparse, graph.op("Equal", value, zero)))
                tensors[chain] = graph.op("Where", stopped, zero, graph.op("Mul", before, value))
        return tensors[chain]

    joined = graph.join([product(chain) for chain in places])
    frame.put(
        made, replace(column, tensor=joined, width=len(places), nan=True, form="dense" if sparse is None else "unknown")
    )


def product_places(width: int, degree: int) -> list[tuple[int, ...]]:
    """The chains of features in the order of the output: what expandDense fills, place by place."""
    places: dict[int, tuple[int, ...]] = {}

    def expand(last: int, left: int, chain: tuple[int, ...], start: int) -> int:
        if left == 0 or last < 0:
            if start >= 0:
                places[start] = chain
        else:
            current = start
            for i in range(left + 1):
                current = expand(last - 1, left - i, (*chain, *([last] * i)), current)
        return start + math.comb(last + 1 + left, left)

    expand(width - 1, degree, (), -1)
    return [places[i] for i in range(len(places))]


def imputer(frame: Frame, stage: Stage) -> None:
    """NULL, and what missingValue says, become the surrogate; the result has the input's own type."""
    graph, absent = frame.graph, stage.number("missingValue", math.nan)
    for name, made in in_and_out(stage):
        column = frame.number(stage, name)
        surrogate = typed(as_double(stage.value(name)), column.type)
        tensor, nan = column.tensor, column.nan
        bad = [] if column.null is None else [column.null]
        if math.isnan(absent):
            bad += [graph.op("IsNaN", tensor)] if nan else []
            nan = False
        else:
            bad.append(graph.op("Equal", tensor, graph.double([absent])))
        minus = None if surrogate == 0 else negative_zero(graph, column)
        for flag in bad:
            tensor = graph.op("Where", flag, graph.double([surrogate]), tensor)
        frame.put(made, replace(column, tensor=tensor, null=None, nan=nan, labels=None, nominal=False, minus=minus))


def typed(value: float, kind: str) -> float:
    """CAST(value AS kind)."""
    if kind in ("bigint", "int"):
        return float(math.trunc(value))
    return float(np.float32(value)) if kind == "float" else value
