"""One request for the original's answers: rows in, an Arrow file out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sqlml.convert.isolated import frames, reference, suspects
from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.foreign_onnx import Foreign
from sqlml.convert.isolated.inputs import Inputs

HUGE = 1e9

# Any in this module: conversions of two kinds with the same fields, numpy arrays of several dtypes.


def compute(
    artifact: Artifact,
    inputs: Inputs,
    converted: Any,
    foreign: Foreign | None,
    *,
    rows: Path,
    to: Path,
    alone_seconds: float,
) -> dict[str, Any]:
    """Write the answers to `to`; returns the labels that its indices mean, and where the original contradicts itself."""
    with pa.OSFile(str(rows)) as file:
        table = pa.ipc.open_file(file).read_all()
    columns = frames.columns_of(table, inputs)
    suspect, refused = _suspects(converted, foreign, inputs, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = _groups(artifact, inputs, converted, foreign, table, columns, refused)
        found = reference.answer_all(
            table.num_rows,
            groups,
            suspect,
            precision=converted.precision,
            alone_seconds=alone_seconds,
            tame=_tame(columns, table.num_rows),
        )
    for row, reason in enumerate(refused):
        if reason is not None:
            found.errors[row] = reason
    labels = list(converted.classes)
    written = _table(found, converted, labels)
    with pa.OSFile(str(to), "wb") as sink, pa.ipc.new_file(sink, written.schema) as writer:
        writer.write_table(written)
    return {
        "labels": labels,
        "alone": found.alone,
        "again": found.again,
        "differs": sorted(found.differs),
        "contradictions": found.examples,
    }


def _tame(columns: list[Any], size: int) -> Any:
    """Rows without anything infinite, missing or huge."""
    found = np.ones(size, dtype=bool)
    for values in columns:
        if values.dtype.kind == "f":
            found &= np.abs(values) < HUGE  # false for NaN
    return found


def _suspects(
    converted: Any, foreign: Foreign | None, inputs: Inputs, columns: list[Any]
) -> tuple[Any, list[str | None]]:
    """Rows on which the original is expected to raise, by the converted graph's own word, and rows it cannot be given."""
    size = len(columns[0]) if columns else 0
    if foreign is not None:
        from sqlml.convert.isolated.foreign_graph import refusals

        return np.zeros(size, dtype=bool), refusals(foreign, inputs, columns)
    return suspects.expected(converted.onnx, frames.graph_feed(inputs, columns), size), [None] * size


def _groups(
    artifact: Artifact,
    inputs: Inputs,
    converted: Any,
    foreign: Foreign | None,
    table: pa.Table,
    columns: list[Any],
    refused: list[str | None],
) -> list[reference.Group]:
    if foreign is not None:
        from sqlml.convert.isolated.foreign_reference import ForeignOriginal

        possible = np.flatnonzero([reason is None for reason in refused])
        if not len(possible):
            return []
        if artifact.estimator is not None:  # a library that was exported answers by itself
            return [artifact.estimator.group(foreign, columns, possible)]
        return [ForeignOriginal(artifact.onnx, foreign).group(columns, possible)]
    whole = frames.whole_numbers(table, inputs)
    parts = frames.frames(inputs, columns, whole, converted.missing_as)
    from sqlml.convert.isolated import libraries

    found = libraries.of(artifact.estimator)
    estimator = artifact.estimator if found is None else found[0].asked(artifact.estimator, inputs)
    if converted.method == "transform":
        return [reference.transformer_group(estimator, frame, rows) for rows, frame in parts]
    return [
        reference.sklearn_group(estimator, frame, rows, probabilities=converted.probabilities) for rows, frame in parts
    ]


def _table(found: reference.Answers, converted: Any, labels: list[Any]) -> pa.Table:
    """Columns: error, unstable, then `label` (an index) and score_i, or value_i of a regressor."""
    size = len(found.errors)
    arrays = {"error": pa.array(found.errors, pa.string()), "unstable": pa.array(found.unstable, pa.bool_())}
    if converted.kind == "regressor":
        arrays |= _doubles("value", found.predictions, converted.targets, size)
    else:
        arrays["label"] = pa.array([_index(value, labels) for value in found.predictions], pa.int64())
        if converted.probabilities:
            arrays |= _doubles("score", found.scores, len(converted.classes), size)
    return pa.table(arrays)


def _index(value: Any, labels: list[Any]) -> int | None:
    """The label's index; a label outside of the classes (it happens: a threshold wrapper) is added to them."""
    if value is None:
        return None
    value = value.item() if isinstance(value, np.generic) else value
    if value not in labels:
        labels.append(value)
    return labels.index(value)


def _doubles(name: str, rows: list[Any], width: int, size: int) -> dict[str, pa.Array]:
    matrix = np.full((size, width), np.nan)
    for i, row in enumerate(rows):
        if row is not None:
            matrix[i] = row
    return {f"{name}_{j}": pa.array(matrix[:, j]) for j in range(width)}
