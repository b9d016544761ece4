"""Stages that turn values into indices and back.

Read in Spark: ml/feature/StringIndexer.scala, OneHotEncoder.scala, Bucketizer.scala, Binarizer.scala, VectorIndexer.scala;
each seen at work in 4.2.1 on NULL, NaN, the infinities and both zeros (tests/spark).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import numpy_helper

from sqlml.convert.isolated.graph import MISSING_TEXT, Graph
from sqlml.convert.isolated.spark.columns import (
    Column,
    Frame,
    any_of,
    in_and_out,
    is_sparse,
    missing,
    negative_zero,
    refuse,
)
from sqlml.convert.isolated.spark.reading import Stage, doubles

# Double.toString: "1.0", "-2.5E-4", "1.0E10"; a text that is written otherwise is no number's own text.
JAVA_DOUBLE = re.compile(r"-?(\d+)\.(\d+)(?:E(-?\d+))?")
BEYOND = 2.0**53


def string_indexer(frame: Frame, stage: Stage) -> None:
    """The label's position; NULL and unknown labels as handleInvalid says."""
    arrays = stage.row.get("labelsArray")
    listed = arrays if arrays is not None else [stage.value("labels")]
    pairs = in_and_out(stage)
    if len(listed) != len(pairs):
        raise refuse(stage, f"it has {len(pairs)} columns and labels for {len(listed)}.")
    invalid = str(stage.get("handleInvalid", "error"))
    for (name, made), labels in zip(pairs, listed):
        frame.put(made, indexed(frame, stage, frame.get(stage, name), name, [str(v) for v in labels], invalid))


def indexed(frame: Frame, stage: Stage, column: Column, name: str, labels: list[str], invalid: str) -> Column:
    graph, unknown = frame.graph, -1.0
    if column.type == "string":
        code = looked_up(graph, column.tensor, labels)
    elif column.type in ("double", "float", "bigint", "int"):
        code = number_index(graph, stage, column, labels)
    else:
        why = f"it would be given '{name}' as {column.type}, and Spark takes text or numbers there."
        raise refuse(stage, why, "Give the column its type in the model's signature.")
    strange = graph.op("Equal", code, graph.double([unknown]))
    gone = missing(frame, column)
    both = strange if gone is None else graph.op("Or", strange, gone)
    unseen = f"{column.label} has a value unknown to StringIndexer"
    if invalid == "error":
        if gone is not None:
            frame.error(gone, f"{column.label} is missing, and StringIndexer does not accept missing values")
        frame.error(both, unseen)
    elif invalid == "skip":
        frame.drop(both, f"{column.label} is missing or has a value unknown to StringIndexer")
    else:
        labels = [*labels, "__unknown"]
        code = graph.op("Where", both, graph.double([float(len(labels) - 1)]), code)
    return Column(
        code, "double", labels=tuple(labels), nominal=True, classes=len(labels), sources=column.sources or (name,)
    )


def looked_up(graph: Graph, tensor: str, labels: Sequence[str]) -> str:
    """The position of the text, -1 where it is none of them."""
    # A label that is the mark of a missing text cannot be told from one; nobody has it.
    keys = [label for label in labels if label != MISSING_TEXT] or ["\U0010ffff"]
    codes = [float(i) for i, label in enumerate(labels) if label != MISSING_TEXT] or [-1.0]
    return graph.op(
        "LabelEncoder",
        tensor,
        domain="ai.onnx.ml",
        keys_tensor=numpy_helper.from_array(np.array(keys, dtype=object)),
        values_tensor=numpy_helper.from_array(np.array(codes, dtype=np.float64)),
        default_tensor=numpy_helper.from_array(np.array([-1.0], dtype=np.float64)),
    )


def number_index(graph: Graph, stage: Stage, column: Column, labels: Sequence[str]) -> str:
    """Spark writes the number as text, as Java does, and looks that up: only texts that Java writes can be met."""
    code, zeros = graph.rows([-1.0]), {}
    values: list[tuple[float, float]] = []
    for i, label in enumerate(labels):
        value = java_number(label, column.type)
        if value is None:
            continue
        if column.type in ("bigint", "int") and abs(value) >= BEYOND:
            why = f"its label {label} is beyond 2**53, where neighbouring integers are one number to SQL's DOUBLE."
            raise refuse(stage, why, "Give the column as text.")
        if value == 0 and column.type in ("double", "float"):
            zeros["-0.0" if label.startswith("-") else "0.0"] = float(i)
        else:
            values.append((value, float(i)))
    if values:
        hits = graph.op("Equal", column.tensor, graph.double([value for value, _ in values]))
        known = any_of(graph, [hits])
        places = graph.matmul(graph.as_double(hits), np.array([[place] for _, place in values]))
        code = graph.op("Where", known, places, code)
    if zeros:
        zero = graph.op("Equal", column.tensor, graph.double([0.0]))
        minus = negative_zero(graph, column)
        which = graph.op(
            "Where", minus, graph.double([zeros.get("-0.0", -1.0)]), graph.double([zeros.get("0.0", -1.0)])
        )
        code = graph.op("Where", zero, which, code)
    return code


def java_number(label: str, kind: str) -> float | None:
    """The one number that Spark writes so, None where there is none. (A NaN is NULL in SQL, and never met.)"""
    if kind in ("bigint", "int"):
        return float(label) if re.fullmatch(r"0|-?[1-9]\d*", label) else None
    if label in ("Infinity", "-Infinity"):
        return float(label.replace("inity", ""))
    parts = JAVA_DOUBLE.fullmatch(label)
    if parts is None:
        return None
    whole, exponent = parts[1], parts[3]
    value = float(label)
    if kind == "float":
        with np.errstate(over="ignore"):
            value = float(np.float32(label))
    size = abs(value)
    plain = size == 0 or 1e-3 <= size < 1e7
    shaped = exponent is None if plain else exponent is not None and len(whole) == 1 and whole != "0"
    return value if shaped and (len(whole) == 1 or not whole.startswith("0")) else None


def index_to_string(frame: Frame, stage: Stage) -> None:
    """The label at the index, cut to an integer; no index, and one past the labels, is an error."""
    graph = frame.graph
    (name, made) = in_and_out(stage)[0]
    column = frame.number(stage, name)
    labels = label_list(stage, column)
    if column.index is not None:
        index = graph.as_double(column.index)
    else:
        index = graph.op("Mul", graph.op("Sign", column.tensor), graph.op("Floor", graph.op("Abs", column.tensor)))
    gone = missing(frame, column)
    if gone is not None:
        frame.error(gone, f"{column.label} is missing, and IndexToString does not accept missing values")
    beyond = graph.op("GreaterOrEqual", index, graph.double([float(len(labels))]))
    if column.index is None or column.classes > len(labels):
        below = graph.op("Less", index, graph.double([0.0]))
        frame.error(any_of(graph, [beyond, below]), f"{column.label} is an index that IndexToString has no label for")
    # The text itself is never computed in the graph: it is the classes of the answer.
    whole = column.index if column.index is not None else graph.as_int(index)
    frame.put(made, Column(index, "labels", labels=labels, index=whole, sources=column.sources))


def label_list(stage: Stage, column: Column) -> tuple[str, ...]:
    labels = stage.get("labels") or column.labels
    if not labels:
        why = "it has no labels of its own, and its input column carries none."
        raise refuse(stage, why, "Set its labels: IndexToString(labels=indexer.labels).")
    return tuple(str(label) for label in labels)


def one_hot_encoder(frame: Frame, stage: Stage) -> None:
    """One column of ones and zeros for each category, the last left out unless dropLast is false."""
    graph, sizes = frame.graph, stage.value("categorySizes")
    keep, drop = str(stage.get("handleInvalid", "error")) == "keep", bool(stage.get("dropLast", True))
    for (name, made), size in zip(in_and_out(stage), sizes):
        column = frame.number(stage, name)
        low = graph.op("GreaterOrEqual", column.tensor, graph.double([0.0]))
        known = graph.op("And", low, graph.op("Less", column.tensor, graph.double([float(size)])))
        bad = graph.op("Not", known)
        if column.null is not None:
            bad = graph.op("And", bad, graph.op("Not", column.null))
        certain = column.nominal and column.classes <= size
        if not keep and not certain:
            frame.error(bad, f"{column.label} is an index unknown to OneHotEncoder")
        code = graph.op("Where", known, graph.op("Floor", column.tensor), graph.double([float(size)]))
        width = int(size) + 1 - int(drop) - int(not keep)
        if width < 1:
            raise refuse(stage, f"it makes no column of '{name}', which has one category.", "Leave the column out.")
        ones = graph.as_double(graph.op("Equal", code, graph.double([float(i) for i in range(width)])))
        frame.put(made, Column(ones, "vector", width, column.null, form="sparse", sources=column.sources))


def bucketizer(frame: Frame, stage: Stage) -> None:
    """The bucket of a number: [a, b), the last one closed. A NULL stays NULL, unless its row is dropped."""
    graph, invalid = frame.graph, str(stage.get("handleInvalid", "error"))
    many = stage.params.get("splitsArray") if stage.params.get("inputCols") else [stage.get("splits")]
    for (name, made), listed in zip(in_and_out(stage), many or ()):
        column, splits = frame.number(stage, name), doubles(listed)
        gone = missing(frame, column)
        nan = graph.op("IsNaN", column.tensor) if column.nan else None
        if gone is not None and invalid == "skip":
            frame.drop(gone, f"{column.label} is missing")
        elif nan is not None and invalid == "error":
            frame.error(nan, f"{column.label} is not a number, and Bucketizer does not accept that")
        frame.error(outside(graph, column, splits), f"{column.label} is outside of Bucketizer's splits")
        bucket = counted(graph, column, splits)
        if nan is not None and invalid == "keep":
            bucket = graph.op("Where", nan, graph.double([float(len(splits) - 1)]), bucket)
        null = None if invalid == "skip" else column.null
        buckets = len(splits) - 1
        frame.put(made, Column(bucket, "double", null=null, nominal=True, classes=buckets + 1, sources=column.sources))


def reached(graph: Graph, column: Column, split: float) -> str:
    """Is the number at or past the split, in the order of Double.compare, where -0.0 comes before 0.0?"""
    past = graph.op("GreaterOrEqual", column.tensor, graph.double([split]))
    if split == 0 and not np.signbit(split):
        past = graph.op("And", past, graph.op("Not", negative_zero(graph, column)))
    return past


def counted(graph: Graph, column: Column, splits: Sequence[float]) -> str:
    """How many of the inner splits the number has reached; being equal to the last split it has reached all of them."""
    last = graph.op("Equal", column.tensor, graph.double([splits[-1]]))
    inner = [graph.as_double(reached(graph, column, split)) for split in splits[1:-1]]
    if not inner:
        return graph.rows([0.0])
    total = graph.reduce("Sum", graph.join(inner)) if len(inner) > 1 else inner[0]
    return graph.op("Where", last, graph.double([float(len(splits) - 2)]), total)


def outside(graph: Graph, column: Column, splits: Sequence[float]) -> str:
    above = graph.op("Greater", column.tensor, graph.double([splits[-1]]))
    below = graph.op("Less", column.tensor, graph.double([splits[0]]))
    if splits[0] == 0 and not np.signbit(splits[0]) and splits[-1] != 0:
        below = graph.op("Or", below, negative_zero(graph, column))
    return graph.op("Or", above, below)


def binarizer(frame: Frame, stage: Stage) -> None:
    """1 above the threshold, else 0: also for NULL and NaN. Of a vector only the entries that are not zero are asked."""
    graph, pairs = frame.graph, in_and_out(stage)
    limits = doubles(stage.params.get("thresholds")) if stage.params.get("inputCols") else []
    limits = limits or [stage.number("threshold", 0.0)] * len(pairs)
    for (name, made), limit in zip(pairs, limits):
        column = frame.get(stage, name)
        if column.type == "vector":
            column = frame.vector(stage, name)
        elif column.type != "double":
            why = f"it would be given '{name}' as {column.type}, and Spark takes double or a vector there."
            raise refuse(stage, why, "Give the column its type in the model's signature.")
        above = graph.op("Greater", column.tensor, graph.double([limit]))
        if column.type == "vector" and limit < 0 and column.nan:
            above = graph.op("Or", above, graph.op("IsNaN", column.tensor))
        ones = graph.as_double(above)
        kind = "compressed" if column.type == "vector" else "dense"
        done = Column(
            ones, column.type, column.width, sources=column.sources, nominal=column.type == "double", classes=2
        )
        frame.put(made, replace(done, form=ones) if kind == "compressed" else done)


def vector_indexer(frame: Frame, stage: Stage) -> None:
    """Values of categorical features become indices. A zero that a sparse row does not hold is never looked up."""
    graph, (name, made) = frame.graph, in_and_out(stage)[0]
    column, invalid = frame.vector(stage, name), str(stage.get("handleInvalid", "error"))
    if column.width != int(stage.value("numFeatures")):
        raise refuse(
            stage, f"it was fitted on {stage.value('numFeatures')} features and would be given {column.width}."
        )
    maps = {int(feature): dict(found) for feature, found in dict(stage.value("categoryMaps")).items()}
    sparse = is_sparse(graph, stage, column) if any(0.0 not in found for found in maps.values()) else None
    parts, strange = [], []
    for i in range(column.width):
        value = graph.gather(column.tensor, [i])
        if i not in maps:
            parts.append(value)
            continue
        places = sorted(maps[i].items())
        hits = graph.op("Equal", value, graph.double([key for key, _ in places]))
        known = any_of(graph, [hits])
        index = graph.matmul(graph.as_double(hits), np.array([[float(place)] for _, place in places]))
        if sparse is not None and 0.0 not in maps[i]:
            absent = graph.op("And", sparse, graph.op("Equal", value, graph.double([0.0])))
            known = graph.op("Or", known, absent)
            index = graph.op("Where", absent, graph.double([0.0]), index)
        strange.append(graph.op("Not", known))
        parts.append(graph.op("Where", known, index, graph.double([float(len(places))])))
    if strange and invalid != "keep":
        reason = f"{column.label} has a value unknown to VectorIndexer"
        bad = any_of(graph, strange)
        frame.drop(bad, reason) if invalid == "skip" else frame.error(bad, reason)
    done = graph.join(parts)
    frame.put(made, replace(column, tensor=done, nan=column.nan and len(maps) < column.width))
