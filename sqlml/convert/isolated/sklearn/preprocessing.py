"""Imputers, scalers and other transformers of numbers.

Read in scikit-learn 1.9.1: preprocessing/_data.py, _discretization.py, _polynomial.py. What they compute element by
element is exact here, in float64 and in float32, for IEEE arithmetic leaves no freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT32, Feature, Table, table_of


def bounded(features: Sequence[Feature], step: Callable[[Array], Array]) -> list[Feature]:
    """The features after a step that is monotone in each column; `step` takes and gives rows of all columns."""
    with np.errstate(all="ignore"):
        low = step(np.array([f.low for f in features], dtype=np.float64))
        high = step(np.array([f.high for f in features], dtype=np.float64))
    done = []
    for feature, a, b in zipped(features, low, high):
        unknown = bool(np.isnan(a) or np.isnan(b))
        lowest, highest = (-np.inf, np.inf) if unknown else (float(min(a, b)), float(max(a, b)))
        done.append(replace(feature, low=lowest, high=highest, nan=feature.nan or unknown))
    return done


def arithmetic(ctx: Context, table: Table, steps: Sequence[tuple[str, Any]]) -> Table:
    """A chain of ("Sub", constants) steps, each stored in the table's own dtype, as numpy stores them in place."""
    graph, features = ctx.graph, list(table.features)
    if not features or not steps:
        return table
    dtype = table.array_dtype
    apply = {"Sub": np.subtract, "Div": np.divide, "Mul": np.multiply, "Add": np.add}
    tensor = graph.tensor(table)
    for kind, operand in steps:
        values = np.asarray(operand, dtype=np.float64).reshape(-1)
        tensor = graph.settle(graph.op(kind, tensor, graph.double(values)), dtype)

        def once(row: Array, kind: str = kind, values: Array = values) -> Array:
            done: Array = apply[kind](row, values)
            with np.errstate(over="ignore"):
                return done.astype(np.float32).astype(np.float64) if dtype == FLOAT32 else done

        features = bounded(features, once)
    return table_of(tensor, features, sparse=table.sparse)


def in_dtype(values: Any, table: Table) -> Array:  # Any: a fitted array
    """A fitted array cast to the dtype of the data."""
    return np.asarray(np.asarray(values).astype(table.array_dtype), dtype=np.float64)


def standard_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step, finite="allow-nan", float32=True)
    if table.sparse:
        if est.with_mean:
            raise refuse(est, step, "it would centre sparse data, which scikit-learn refuses.", "Use with_mean=False.")
        return table if est.scale_ is None else arithmetic(ctx, table, [("Mul", 1 / est.scale_)])
    steps = []
    if est.with_mean:
        steps.append(("Sub", in_dtype(est.mean_, table)))
    if est.with_std:
        steps.append(("Div", in_dtype(est.scale_, table)))
    return arithmetic(ctx, table, steps)


def clipped(ctx: Context, table: Table, low: float, high: float) -> Table:
    bounds = in_dtype([low, high], table)
    tensor = ctx.graph.op("Clip", ctx.graph.tensor(table), *(ctx.graph.double(b) for b in bounds))
    return table_of(tensor, bounded(table.features, lambda row: np.clip(row, *bounds)), sparse=table.sparse)


def min_max_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step, finite="allow-nan", float32=True)
    if table.sparse:
        raise refuse(est, step, "it would be given sparse data, which it does not take.")
    table = arithmetic(ctx, table, [("Mul", est.scale_), ("Add", est.min_)])
    return clipped(ctx, table, *est.feature_range) if est.clip else table


def max_abs_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step, finite="allow-nan", float32=True)
    table = arithmetic(ctx, table, [("Mul", 1.0 / est.scale_) if table.sparse else ("Div", est.scale_)])
    return clipped(ctx, table, -1.0, 1.0) if getattr(est, "clip", False) else table


def robust_scaler(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step, finite="allow-nan", float32=True)
    if table.sparse:
        # Centring is skipped for sparse input without a word: that is what the original does.
        return arithmetic(ctx, table, [("Mul", 1.0 / est.scale_)] if est.with_scaling else [])
    steps = []
    if est.with_centering:
        steps.append(("Sub", est.center_))
    if est.with_scaling:
        steps.append(("Div", est.scale_))
    return arithmetic(ctx, table, steps)


def normalizer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step)
    graph = ctx.graph
    tensor = graph.tensor(table)
    size = graph.op("Abs", tensor)
    if est.norm == "l1":
        norm = graph.reduce("Sum", size)
    elif est.norm == "max":
        norm = graph.reduce("Max", size)
    else:
        norm = graph.op("Sqrt", graph.reduce("Sum", graph.op("Mul", tensor, tensor)))
    if table.sparse:
        # utils/sparsefuncs_fast.pyx leaves a row alone only where its norm is exactly zero.
        tiny = graph.op("Equal", norm, graph.double(0.0))
    else:
        # _handle_zeros_in_scale: a norm below ten machine epsilons counts as zero.
        tiny = graph.op("Less", norm, graph.double(10 * np.finfo(np.float64).eps))
    scale = graph.op("Where", tiny, graph.double(1.0), norm)
    # The sum of squares may be infinite (x / inf is 0) but never NaN, since the input is finite.
    features = [replace(f, low=-1.0, high=1.0, exact=est.norm == "max" and f.exact) for f in table.features]
    return table_of(graph.op("Div", tensor, scale), features, sparse=table.sparse)


def tfidf_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Counts weighted by how rare their column was (feature_extraction/text.py); what is 0 is not stored, and stays 0."""
    graph = ctx.graph
    table = numbers(graph, est, table, step)
    tensor, features = graph.tensor(table), list(table.features)
    if est.sublinear_tf:
        zero = graph.double([0.0])
        empty = graph.op("Equal", tensor, zero)
        raised = graph.op("Add", graph.op("Log", tensor), graph.double([1.0]))
        tensor = graph.op("Where", empty, zero, raised)
        features = [replace(f, low=-np.inf, high=np.inf, nan=f.low < 0, exact=False) for f in features]
    weights = getattr(est, "idf_", None)
    if weights is not None:
        tensor = graph.op("Mul", tensor, graph.double(np.asarray(weights, dtype=np.float64).reshape(-1)))
        features = bounded(features, lambda row: row * np.asarray(weights).reshape(-1))
    made = table_of(tensor, [replace(f, name=None) for f in features], sparse=True)
    return made if est.norm is None else normalizer(ctx, est, made, step)


def binarizer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = numbers(ctx.graph, est, table, step, keep=True)
    if table.sparse and est.threshold < 0:
        raise refuse(est, step, "it has a negative threshold on sparse data, which scikit-learn refuses.")
    above = ctx.graph.op("Greater", ctx.graph.tensor(table), ctx.graph.double(float(est.threshold)))
    return table_of(
        ctx.graph.as_double(above), [replace(f, low=0.0, high=1.0) for f in table.features], sparse=table.sparse
    )


TRANSFORMERS: Transforms = {
    "preprocessing.StandardScaler": standard_scaler,
    "preprocessing.MinMaxScaler": min_max_scaler,
    "preprocessing.MaxAbsScaler": max_abs_scaler,
    "preprocessing.RobustScaler": robust_scaler,
    "preprocessing.Normalizer": normalizer,
    "preprocessing.Binarizer": binarizer,
    "feature_extraction.text.TfidfTransformer": tfidf_transformer,
}
