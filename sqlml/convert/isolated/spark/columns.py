"""The DataFrame that flows through Spark's stages, while its graph is built: columns by name, NULL apart from NaN.

Spark tells a NULL from a NaN, and a table's number that is NaN is NULL to sqlml (docs/sql.md). So a number has a tensor
of doubles and, where it may be NULL, a tensor of booleans beside it; text that is NULL is MISSING_TEXT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sqlml.convert.isolated.graph import MISSING_TEXT, Graph
from sqlml.convert.isolated.spark.reading import Stage
from sqlml.convert.isolated.table import BOOL, FLOAT32, INT64, Table
from sqlml.convert.isolated.unsupported import Unsupported

INSTEAD = "Use a stage that sqlml converts (docs/spark.md lists them), or do its work in SQL before the model."


@dataclass(frozen=True)
class Column:
    """One column: a number, a text or a vector of `width` numbers.

    `null` marks the rows in which it is NULL (None: never); `nan` says whether a number may be NaN besides.
    `type` is Spark's own name of the type. `form` is how a row of a vector is stored, which a few stages show: "dense",
    "sparse", "unknown", or the tensor that Vector.compressed has decided by. `labels` are the values of a nominal attribute,
    `index` is a class index as integers, `classes` how many there are. `minus` marks -0.0 where the tensor has lost it.
    """

    tensor: str
    type: str
    width: int = 1
    null: str | None = None
    nan: bool = False
    form: str = "dense"
    labels: tuple[str, ...] | None = None
    nominal: bool = False
    index: str | None = None
    classes: int = 0
    sources: tuple[str, ...] = ()
    minus: str | None = None

    @property
    def label(self) -> str:
        """The column as a reason names it."""
        if len(self.sources) == 1:
            return self.sources[0]
        if self.sources and len(self.sources) <= 3:
            return "a value computed from " + ", ".join(self.sources)
        return "a computed value"


@dataclass
class Frame:
    """The columns by name, which Spark compares without regard to case."""

    graph: Graph
    columns: dict[str, Column] = field(default_factory=dict)

    def put(self, name: str, column: Column) -> None:
        self.columns[name.lower()] = column

    def get(self, stage: Stage, name: str) -> Column:
        found = self.columns.get(name.lower())
        if found is None:
            why = f"it reads the column '{name}', which no earlier stage makes and the table does not have."
            raise refuse(stage, why, "Log the model with a signature that has its input columns.")
        return found

    def number(
        self, stage: Stage, name: str, *, allowed: Sequence[str] = ("double", "float", "bigint", "int")
    ) -> Column:
        column = self.get(stage, name)
        if column.type not in allowed:
            why = f"it would be given '{name}' as {column.type}, and Spark takes {', '.join(allowed)} there."
            raise refuse(stage, why, "Give the column its type in the model's signature.")
        return column

    def vector(self, stage: Stage, name: str) -> Column:
        """A vector, in rows where there is one: Spark fails on a NULL."""
        column = self.get(stage, name)
        if column.type != "vector":
            why = f"it would be given '{name}' as {column.type}, and Spark takes a vector there."
            raise refuse(stage, why, "Assemble it with VectorAssembler.")
        if column.null is not None:
            self.error(column.null, f"{column.label} is missing, and {stage.kind} does not accept missing vectors")
        return replace(column, null=None)

    def error(self, bad: str, reason: str) -> None:
        self.graph.error(bad, [reason])

    def drop(self, bad: str, reason: str) -> None:
        """Spark drops such a row (handleInvalid 'skip'); a SQL function cannot, so the row has no prediction."""
        self.graph.error(bad, [f"{reason}, and Spark would drop the row"])


def refuse(stage: Stage, why: str, instead: str = INSTEAD) -> Unsupported:
    """`raise refuse(...)`: this stage has no exact translation."""
    return Unsupported(stage.path, stage.kind, why, instead)


def in_and_out(stage: Stage) -> list[tuple[str, str]]:
    """The columns that a stage of one or of several columns reads and writes."""
    many, made = stage.params.get("inputCols"), stage.params.get("outputCols")
    if isinstance(many, list) and isinstance(made, list):
        if len(many) != len(made):
            raise refuse(stage, f"it has {len(many)} input columns and {len(made)} output columns.")
        return [(str(a), str(b)) for a, b in zip(many, made)]
    name = stage.params.get("inputCol")
    if not isinstance(name, str):
        raise refuse(stage, "it names no input column.")
    return [(name, str(stage.params.get("outputCol", f"{stage.uid}__output")))]


def given(graph: Graph, table: Table) -> Frame:
    """The table's columns, by name."""
    frame = Frame(graph)
    for i, feature in enumerate(table.features):
        name, tensor = str(feature.name), graph.column(table, i)
        if feature.text:
            null = graph.op("Equal", tensor, graph.texts([MISSING_TEXT]))
            frame.put(name, Column(tensor, "string", null=null, sources=(name,)))
        else:
            kind = {FLOAT32: "float", INT64: "bigint", BOOL: "boolean"}.get(feature.dtype, "double")
            frame.put(name, Column(tensor, kind, null=graph.op("IsNaN", tensor), sources=(name,)))
    return frame


# Small idioms --------------------------------------------------------------------------------------------------------


def any_of(graph: Graph, tensors: Sequence[str]) -> str:
    """Booleans [N, 1]: is one of them true? Each may have several columns."""
    joined = graph.join([graph.as_double(tensor) for tensor in tensors])
    return graph.op("Greater", graph.reduce("Max", joined), graph.double([0.5]))


def never(graph: Graph) -> str:
    return graph.op("Greater", graph.rows([0.0]), graph.double([0.5]))


def missing(frame: Frame, column: Column) -> str | None:
    """Rows in which a number is NULL or NaN: what DataFrame.na.drop and VectorAssembler look for."""
    parts = [] if column.null is None else [column.null]
    if column.nan and column.type in ("double", "float"):
        parts.append(frame.graph.op("IsNaN", column.tensor))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else frame.graph.op("Or", *parts)


def negative_zero(graph: Graph, column: Column) -> str:
    """Is it -0.0? Java's Double.compare and Double.toString tell it from 0.0; one divided by it is below zero.

    Asked before any Where, for onnxruntime's gives 0.0 for -0.0 (1.31.1): what an imputer kept is known by `minus`.
    """
    if column.minus is not None:
        return column.minus
    below = graph.op("Less", graph.op("Div", graph.double([1.0]), column.tensor), graph.double([0.0]))
    return graph.op("And", graph.op("Equal", column.tensor, graph.double([0.0])), below)


def not_nan(graph: Graph, tensor: str, otherwise: float) -> str:
    return graph.op("Where", graph.op("IsNaN", tensor), graph.double([otherwise]), tensor)


def first_largest(graph: Graph, scores: str, width: int, *, nan: bool) -> str:
    """DenseVector.argmax as integers: a NaN is never larger, and nothing is larger than a NaN that comes first."""
    if width == 1:
        return graph.as_int(graph.rows([0.0]))
    if not nan:
        return graph.argmax(scores)
    found = graph.argmax(not_nan(graph, scores, -np.inf))
    first = graph.op("IsNaN", graph.gather(scores, [0]))
    return graph.op("Where", first, graph.ints([[0]]), found)


def sources_of(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for column in columns for name in column.sources))


def is_sparse(graph: Graph, stage: Stage, column: Column) -> str | None:
    """Rows whose vector is stored sparsely; None where none is. Vectors.compressed: 1.5 * (nnz + 1) < size."""
    if column.form == "dense":
        return None
    if column.form == "unknown":
        why = "what it computes depends on whether a row is stored sparsely, and an earlier stage has hidden that."
        raise refuse(stage, why, "Put it before the stage that picks or expands features.")
    if column.form == "sparse":
        return graph.op("Not", never(graph))
    zero = graph.op("Equal", column.form, graph.double([0.0]))
    entries = graph.op("Sub", graph.double([float(column.width)]), graph.reduce("Sum", graph.as_double(zero)))
    size = graph.op("Mul", graph.op("Add", entries, graph.double([1.0])), graph.double([1.5]))
    return graph.op("Less", size, graph.double([float(column.width)]))
