"""Stages that put vectors together and take them apart.

Read in Spark: ml/feature/VectorAssembler.scala, VectorSlicer.scala, VectorSizeHint.scala, ElementwiseProduct.scala and the
selectors. VectorAssembler drops zeros, so that -0.0 leaves it as 0.0, and stores the row as is shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlml.convert.isolated.spark.columns import Column, Frame, missing, refuse, sources_of
from sqlml.convert.isolated.spark.reading import Stage

TAKEN = ("double", "float", "bigint", "int", "boolean", "vector")


def vector_assembler(frame: Frame, stage: Stage) -> None:
    graph, invalid = frame.graph, str(stage.get("handleInvalid", "error"))
    columns = [frame.get(stage, str(name)) for name in stage.get("inputCols") or ()]
    parts, nan = [], False
    if not columns:
        raise refuse(stage, "it has no input columns.")
    for name, column in zip(stage.get("inputCols"), columns):
        if column.type not in TAKEN:
            why = f"it would be given '{name}' as {column.type}, and Spark takes numbers, booleans and vectors there."
            raise refuse(
                stage, why, "Index text with StringIndexer first, or give the column its type in the signature."
            )
        tensor = column.tensor
        # A NaN inside of a vector passes, whatever handleInvalid says.
        gone = column.null if column.type == "vector" else missing(frame, column)
        if gone is None:
            nan = nan or column.nan
        elif invalid == "error":
            frame.error(gone, f"{column.label} is missing, and VectorAssembler does not accept missing values")
            nan = nan or (column.nan and column.type == "vector")
        elif invalid == "skip":
            frame.drop(gone, f"{column.label} is missing")
            nan = nan or (column.nan and column.type == "vector")
        else:
            nan = True
            if column.null is not None:
                tensor = graph.op("Where", column.null, graph.double([float("nan")]), tensor)
        parts.append(tensor)
    joined = graph.join(parts)
    width = sum(column.width for column in columns)
    made = Column(joined, "vector", width, nan=nan, form=joined, sources=sources_of(columns))
    frame.put(str(stage.get("outputCol", f"{stage.uid}__output")), made)


def picked(frame: Frame, stage: Stage, name: str, indices: Sequence[int]) -> Column:
    column = frame.vector(stage, name)
    if not indices:
        raise refuse(stage, "it keeps no feature at all.")
    if max(indices) >= column.width:
        raise refuse(stage, f"it takes feature {max(indices)} of a vector of {column.width}.")
    tensor = frame.graph.gather(column.tensor, [int(i) for i in indices])
    # A dense row stays dense and a sparse one sparse; what decided is gone, so the form is not known where it varies.
    return replace(column, tensor=tensor, width=len(indices), form=column.form if column.form == "dense" else "unknown")


def vector_slicer(frame: Frame, stage: Stage) -> None:
    if stage.get("names"):
        why = "it takes features by the names that their attributes have."
        raise refuse(stage, why, "Use indices instead of names.")
    made = picked(frame, stage, str(stage.get("inputCol")), [int(i) for i in stage.get("indices") or ()])
    frame.put(str(stage.get("outputCol", f"{stage.uid}__output")), made)


def selector(frame: Frame, stage: Stage) -> None:
    """ChiSqSelector, UnivariateFeatureSelector, VarianceThresholdSelector: the features they settled for, in order."""
    chosen = sorted(int(i) for i in stage.value("selectedFeatures"))
    made = picked(frame, stage, str(stage.get("featuresCol", "features")), chosen)
    frame.put(str(stage.get("outputCol", f"{stage.uid}__output")), made)


def size_hint(frame: Frame, stage: Stage) -> None:
    name = str(stage.get("inputCol"))
    column = frame.get(stage, name)
    if column.type != "vector" or column.width != int(stage.get("size", -1)):
        raise refuse(stage, f"it says that '{name}' has {stage.get('size')} features, and it has {column.width}.")
    invalid = str(stage.get("handleInvalid", "error"))
    if column.null is not None and invalid == "error":
        frame.error(column.null, f"{column.label} is missing, and VectorSizeHint does not accept missing vectors")
    elif column.null is not None and invalid == "skip":
        frame.drop(column.null, f"{column.label} is missing")
    if invalid != "optimistic":
        frame.put(name, replace(column, null=None))


def nothing(frame: Frame, stage: Stage) -> None:
    """Stages that only rename attributes."""
