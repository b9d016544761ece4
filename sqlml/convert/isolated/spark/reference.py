"""The model's own answers, computed from what Spark saved, without Spark and without the graph.

Where a model is deployed there is no JVM: what the converted graph is compared with is this second reading of the same
files, which shares nothing with the converters but `reading`. It walks the stages column by column in numpy and in Spark's
order of operations, and is itself compared with Spark's transform() (tests/spark). It raises where a Spark job fails,
and where Spark would drop the row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.spark.reading import Stage, as_double, doubles, matrix, vector

# Any in this module: numpy arrays of several dtypes and pandas without types.


class SparkFails(ValueError):
    """A Spark job fails on these rows, or drops one of them."""


@dataclass(frozen=True)
class Values:
    """A column: float64 [n] or [n, k], or objects (str or None). `null` marks NULL; `sparse` rows stored sparsely."""

    data: Any
    type: str
    null: Any
    sparse: Any = None
    labels: Sequence[str] | None = None


Rows = dict[str, Values]


def fail_where(bad: Any, reason: str) -> None:
    if np.any(bad):
        raise SparkFails(f"{reason} (row {int(np.flatnonzero(bad)[0])})")


def from_frame(frame: Any, types: dict[str, str]) -> Rows:
    """A DataFrame as Spark would have the rows: what is missing is NULL."""
    rows: Rows = {}
    for name, kind in types.items():
        series = frame[name]
        if kind == "VARCHAR":
            data = np.empty(len(series), dtype=object)
            data[:] = [value if isinstance(value, str) else None for value in series]
            null = np.array([value is None for value in data], dtype=bool)
            rows[name.lower()] = Values(data, "string", null)
        else:
            numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
            rows[name.lower()] = Values(numbers, SQL_TYPES[kind], np.isnan(numbers))
    return rows


SQL_TYPES = {"DOUBLE": "double", "FLOAT": "float", "BIGINT": "bigint", "INTEGER": "int", "BOOLEAN": "boolean"}


def single_or_many(stage: Stage) -> list[tuple[str, str]]:
    if stage.params.get("inputCols"):
        return list(zip(stage.params["inputCols"], stage.params["outputCols"]))
    return [(stage.params["inputCol"], stage.params["outputCol"])]


def missing(column: Values) -> Any:
    """What na.drop drops of a number: NULL and NaN."""
    return column.null | (np.isnan(column.data) if column.type in ("double", "float") else False)


def vectors(rows: Rows, name: str) -> Values:
    column = rows[name.lower()]
    fail_where(column.null, f"{name} is NULL")
    return column


def number_text(value: float, kind: str) -> str:
    """CAST(number AS STRING): Java's Double.toString, Float.toString or an integer."""
    if kind in ("bigint", "int"):
        return str(int(value))
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    digits = repr(float(np.float64(value))) if kind == "double" else str(np.float32(value))
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    scale = int(exponent or 0)
    plain = abs(value) == 0 or 1e-3 <= abs(value) < 1e7
    significant = (whole + fraction).lstrip("0") or "0"
    point = len(whole) + scale - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    if value == 0:
        return sign + "0.0"
    significant = significant.rstrip("0") or "0"
    if plain:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{significant}"
        left = significant[:point].ljust(point, "0")
        return f"{sign}{left}.{significant[point:] or '0'}"
    return f"{sign}{significant[0]}.{significant[1:] or '0'}E{point - 1}"


def string_indexer(rows: Rows, stage: Stage) -> None:
    lists = stage.row["labelsArray"] if "labelsArray" in stage.row else [stage.row["labels"]]
    mode = stage.get("handleInvalid", "error")
    for (name, out), labels in zip(single_or_many(stage), lists):
        column = rows[name.lower()]
        places = {label: float(i) for i, label in enumerate(labels)}
        found = np.empty(len(column.null))
        for i, value in enumerate(column.data):
            text = None if column.null[i] else value if column.type == "string" else number_text(value, column.type)
            place = None if text is None else places.get(text)
            if place is None:
                if mode != "keep":
                    raise SparkFails(f"{name}: {'the row is dropped' if mode == 'skip' else 'unseen label'} (row {i})")
                place = float(len(labels))
            found[i] = place
        kept = [*labels, "__unknown"] if mode == "keep" else list(labels)
        rows[out.lower()] = Values(found, "double", np.zeros(len(found), dtype=bool), labels=kept)


def index_to_string(rows: Rows, stage: Stage) -> None:
    column = rows[stage.params["inputCol"].lower()]
    labels = list(stage.get("labels") or column.labels or ())
    fail_where(missing(column), "unseen index")
    index = np.trunc(column.data)
    fail_where((index < 0) | (index >= len(labels)), "unseen index")
    text = np.empty(len(index), dtype=object)
    text[:] = [labels[int(i)] for i in index]
    rows[stage.params["outputCol"].lower()] = Values(text, "string", np.zeros(len(index), dtype=bool))


def one_hot_encoder(rows: Rows, stage: Stage) -> None:
    keep, drop = stage.get("handleInvalid", "error") == "keep", stage.get("dropLast", True)
    for (name, out), size in zip(single_or_many(stage), stage.row["categorySizes"]):
        column = rows[name.lower()]
        known = (column.data >= 0) & (column.data < size)
        if not keep:
            fail_where(~known & ~column.null, f"{name}: unseen value")
        width = size + (1 if keep and not drop else -1 if drop and not keep else 0)
        made = np.zeros((len(known), width))
        for i in np.flatnonzero(~column.null):
            place = column.data[i] if known[i] else size
            if place < width:
                made[i, int(place)] = 1.0
        rows[out.lower()] = Values(made, "vector", column.null, np.ones(len(known), dtype=bool))


def bucketizer(rows: Rows, stage: Stage) -> None:
    mode = stage.get("handleInvalid", "error")
    lists = stage.params["splitsArray"] if stage.params.get("inputCols") else [stage.params["splits"]]
    for (name, out), listed in zip(single_or_many(stage), lists):
        column, splits = rows[name.lower()], doubles(listed)
        if mode == "skip":
            fail_where(missing(column), f"{name}: the row is dropped")
        found = np.full(len(column.null), np.nan)
        for i in np.flatnonzero(~column.null):
            found[i] = bucket(float(column.data[i]), splits, mode == "keep")
        rows[out.lower()] = Values(found, "double", column.null)


def java_order(value: float) -> tuple[float, float]:
    """A key that sorts as Double.compare: -0.0 before 0.0."""
    return (value, math.copysign(1.0, value))


def bucket(value: float, splits: Sequence[float], keep: bool) -> float:
    if math.isnan(value):
        if keep:
            return len(splits) - 1.0
        raise SparkFails("Bucketizer encountered NaN")
    if value == splits[-1]:
        return len(splits) - 2.0
    at_or_before = [i for i, split in enumerate(splits) if java_order(split) <= java_order(value)]
    if not at_or_before or at_or_before[-1] == len(splits) - 1:
        raise SparkFails(f"{value} is out of Bucketizer's bounds")
    return float(at_or_before[-1])


def binarizer(rows: Rows, stage: Stage) -> None:
    pairs = single_or_many(stage)
    limits = doubles(stage.params.get("thresholds")) if stage.params.get("inputCols") else []
    for (name, out), limit in zip(pairs, limits or [stage.number("threshold", 0.0)] * len(pairs)):
        column = rows[name.lower()]
        if column.type == "vector":
            fail_where(column.null, f"{name} is NULL")
            made = np.where(column.data == 0, float(limit < 0), (column.data > limit).astype(float))
            if limit < 0:
                made = np.where((column.data != 0) & ~(column.data <= limit), 1.0, made)
            rows[out.lower()] = Values(made, "vector", column.null, compressed(made))
        else:
            made = ((column.data > limit) & ~column.null).astype(float)
            rows[out.lower()] = Values(made, "double", np.zeros(len(made), dtype=bool))


def compressed(data: Any) -> Any:
    """Which rows Vector.compressed stores sparsely."""
    return 1.5 * (np.sum(data != 0, axis=1) + 1.0) < data.shape[1]


def vector_indexer(rows: Rows, stage: Stage) -> None:
    column, mode = vectors(rows, stage.params["inputCol"]), stage.get("handleInvalid", "error")
    made = column.data.copy()
    for feature, listed in dict(stage.row["categoryMaps"]).items():
        places = dict(listed)
        for i in range(len(made)):
            value = float(made[i, feature])
            if value in places:
                made[i, feature] = places[value]
            elif not (column.sparse[i] and value == 0):
                if mode != "keep":
                    raise SparkFails(f"VectorIndexer does not know {value} (row {i})")
                made[i, feature] = len(places)
    rows[stage.params["outputCol"].lower()] = Values(made, "vector", column.null, column.sparse)


def vector_assembler(rows: Rows, stage: Stage) -> None:
    mode, parts = stage.get("handleInvalid", "error"), []
    for name in stage.params["inputCols"]:
        column = rows[name.lower()]
        gone = column.null if column.type == "vector" else missing(column)
        if mode != "keep":
            fail_where(gone, f"{name}: {'the row is dropped' if mode == 'skip' else 'missing'}")
        data = column.data.astype(np.float64)
        data = data if data.ndim == 2 else data[:, None]
        parts.append(np.where(column.null[:, None], np.nan, data))
    whole = np.concatenate(parts, axis=1) + 0.0  # -0.0 becomes 0.0: zeros are not stored
    rows[stage.params["outputCol"].lower()] = Values(
        whole, "vector", np.zeros(len(whole), dtype=bool), compressed(whole)
    )


def picking(rows: Rows, name: str, out: str, indices: Sequence[int]) -> None:
    column = vectors(rows, name)
    rows[out.lower()] = Values(column.data[:, list(indices)], "vector", column.null, column.sparse)


def vector_slicer(rows: Rows, stage: Stage) -> None:
    picking(rows, stage.params["inputCol"], stage.params["outputCol"], stage.params["indices"])


def selector(rows: Rows, stage: Stage) -> None:
    picking(rows, stage.get("featuresCol"), stage.params["outputCol"], sorted(stage.row["selectedFeatures"]))


def size_hint(rows: Rows, stage: Stage) -> None:
    column = rows[stage.params["inputCol"].lower()]
    if stage.get("handleInvalid", "error") != "optimistic":
        fail_where(column.null, "VectorSizeHint found NULL")


def mapped(compute: Callable[[Stage, Any, Any], tuple[Any, Any]]) -> Callable[[Rows, Stage], None]:
    """A stage that makes a vector of a vector: `compute(stage, data, sparse)` says the numbers and how they are stored."""

    def run(rows: Rows, stage: Stage) -> None:
        column = vectors(rows, stage.params["inputCol"])
        data, sparse = compute(stage, column.data, column.sparse)
        rows[stage.params["outputCol"].lower()] = Values(data, "vector", column.null, sparse)

    return run


def center_and_scale(data: Any, sparse: Any, shift: Array | None, scale: Array | None) -> tuple[Any, Any]:
    if shift is not None:
        data, sparse = data - shift, np.zeros(len(data), dtype=bool)
    return (data if scale is None else data * scale), sparse


def standard_scaler(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    std = vector(stage.row["std"]).values
    inverse = np.where(std == 0, 0.0, 1.0 / np.where(std == 0, 1.0, std))
    mean = vector(stage.row["mean"]).values if stage.get("withMean", False) else None
    return center_and_scale(data, sparse, mean, inverse if stage.get("withStd", True) else None)


def robust_scaler(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    spread = vector(stage.row["range"]).values
    inverse = np.where(spread == 0, 0.0, 1.0 / np.where(spread == 0, 1.0, spread))
    median = vector(stage.row["median"]).values if stage.get("withCentering", False) else None
    return center_and_scale(data, sparse, median, inverse if stage.get("withScaling", True) else None)


def max_abs_scaler(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    largest = vector(stage.row["maxAbs"]).values
    return data * (1.0 / np.where(largest == 0, 1.0, largest)), sparse


def min_max_scaler(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    low, high = vector(stage.row["originalMin"]).values, vector(stage.row["originalMax"]).values
    least, most = stage.number("min", 0.0), stage.number("max", 1.0)
    made = np.empty_like(data)
    for j in range(data.shape[1]):
        spread = high[j] - low[j]
        scale = (most - least) / spread if spread != 0 else 0.0
        middle = np.where(np.isnan(data[:, j]), np.nan, (least + most) / 2.0)
        made[:, j] = (data[:, j] - low[j]) * scale + least if scale != 0 else middle
    return made, compressed(made)


def normalizer(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    power = stage.number("p", 2.0)
    if power == math.inf:
        norm = np.max(np.where(np.isnan(data), 0.0, np.abs(data)), axis=1)
    elif power == 1:
        norm = np.sum(np.abs(data), axis=1)
    elif power == 2:
        norm = np.sqrt(np.sum(data * data, axis=1))
    else:
        norm = np.sum(np.abs(data) ** power, axis=1) ** (1.0 / power)
    return data / np.where(norm == 0, 1.0, norm)[:, None], sparse


def elementwise_product(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    return data * vector(stage.params["scalingVec"]).values, sparse


def pca(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    return data @ matrix(stage.row["pc"]).values, np.zeros(len(data), dtype=bool)


def polynomial_expansion(stage: Stage, data: Any, sparse: Any) -> tuple[Any, Any]:
    degree = int(stage.get("degree", 2))
    return np.array([expanded(row, bool(s), degree) for row, s in zip(data, sparse)]), sparse


def expanded(row: Any, sparse: bool, degree: int) -> list[float]:
    """One row: the products of the powers, features in order, the last feature's power outermost."""
    made = []
    for powers in sorted_powers(len(row), degree):
        product = 1.0
        for j in reversed(range(len(row))):
            for _ in range(powers[j]):
                product = 0.0 if product == 0 or (sparse and row[j] == 0) else product * row[j]
        made.append(product)
    return made


def sorted_powers(width: int, degree: int) -> list[tuple[int, ...]]:
    """All exponents of total degree 1 to `degree`; the last feature's exponent counts most, then the one before it."""
    every = (p for p in itertools.product(range(degree + 1), repeat=width) if 0 < sum(p) <= degree)
    return sorted(every, key=lambda powers: powers[::-1])


def imputer(rows: Rows, stage: Stage) -> None:
    absent = stage.number("missingValue", math.nan)
    for name, out in single_or_many(stage):
        column, surrogate = rows[name.lower()], as_double(stage.row[name])
        if column.type in ("bigint", "int"):
            surrogate = float(int(surrogate))
        elif column.type == "float":
            surrogate = float(np.float32(surrogate))
        there = np.isnan(column.data) if math.isnan(absent) else column.data == absent
        made = np.where(column.null | there, surrogate, column.data)
        rows[out.lower()] = Values(made, column.type, np.zeros(len(made), dtype=bool))


STAGES: dict[str, Callable[[Rows, Stage], None]] = {
    "StringIndexerModel": string_indexer,
    "IndexToString": index_to_string,
    "OneHotEncoderModel": one_hot_encoder,
    "Bucketizer": bucketizer,
    "Binarizer": binarizer,
    "VectorIndexerModel": vector_indexer,
    "VectorAssembler": vector_assembler,
    "VectorSlicer": vector_slicer,
    "VectorSizeHint": size_hint,
    "VectorAttributeRewriter": lambda rows, stage: None,
    "ChiSqSelectorModel": selector,
    "UnivariateFeatureSelectorModel": selector,
    "VarianceThresholdSelectorModel": selector,
    "StandardScalerModel": mapped(standard_scaler),
    "RobustScalerModel": mapped(robust_scaler),
    "MaxAbsScalerModel": mapped(max_abs_scaler),
    "MinMaxScalerModel": mapped(min_max_scaler),
    "Normalizer": mapped(normalizer),
    "ElementwiseProduct": mapped(elementwise_product),
    "PCAModel": mapped(pca),
    "PolynomialExpansion": mapped(polynomial_expansion),
    "ImputerModel": imputer,
}
