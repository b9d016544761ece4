"""The entry: a fitted scikit-learn estimator and its input columns -> ONNX in sqlml's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from onnx import TensorProto

from sqlml.convert.isolated import libraries
from sqlml.convert.isolated.explaining import note_score
from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn import registry
from sqlml.convert.isolated.sklearn.compose import run
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Label, Prediction, refuse
from sqlml.convert.isolated.table import BOOL, FLOAT32, FLOAT64, INT64, OBJECT, Feature, Table, beside, table_of
from sqlml.convert.isolated.unsupported import Unsupported

DTYPES = {"DOUBLE": FLOAT64, "FLOAT": FLOAT32, "BIGINT": INT64, "INTEGER": INT64, "BOOLEAN": BOOL, "VARCHAR": OBJECT}


class ColumnLike(Protocol):
    """`sqlml.signature.Column` or anything with its name and type."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...


@dataclass(frozen=True)
class Converted:
    """What `sqlml.convert.onnx_model.OnnxModel` and its signature are made from.

    `nulls` is the policy per input column, in their order: "missing" (NULL reaches the model as its own missing
    value) or "refused" (NULL is certain to be an error). `missing_as` says, per text column, which missing value the
    original must be given where the graph is given MISSING_TEXT: "nan" or "none". `targets` is the number of outputs
    of a regressor, and `names` are those outputs' names where the estimator has them. `method` is what the original is
    asked by.
    """

    onnx: bytes
    kind: Literal["classifier", "regressor"]
    classes: tuple[Label, ...]
    probabilities: bool
    targets: int
    reasons: tuple[str, ...]
    precision: Literal["double", "float"]
    nulls: tuple[Literal["missing", "refused"], ...]
    missing_as: Mapping[str, Literal["nan", "none"]]
    names: tuple[str, ...] = ()
    method: Literal["predict", "transform"] = "predict"


def convert_sklearn(estimator: Estimator, columns: Sequence[ColumnLike]) -> Converted:
    """The estimator as ONNX that gives its answers, computing as it computes.

    The original is understood to be called with a DataFrame of these columns: float64 for DOUBLE, float32 for FLOAT,
    int64 or int32 for BIGINT and INTEGER (float64 in a row where one is NULL), bool for BOOLEAN, text for VARCHAR.

    Raises:
        Unsupported: a step has no exact translation; it names the step.
    """
    graph, said = build(estimator, columns, {})
    if graph.wishes and any(value != "nan" for value in graph.wishes.values()):
        graph, said = build(estimator, columns, graph.wishes)
    method = method_of(estimator)
    names = output_names(estimator, said.targets) if method == "transform" and said.targets > 1 else ()
    return replace(finished(graph, said, columns), names=names, method=method)


def build(
    estimator: Estimator, columns: Sequence[ColumnLike], missing_as: Mapping[str, str]
) -> tuple[Graph, Prediction]:
    names = [c.name for c in columns]
    twice = sorted({n for n in names if names.count(n) > 1} | ({"prediction", "probabilities", "error"} & set(names)))
    if twice:
        why = f"the input columns {', '.join(twice)} share a name with each other or with an output."
        raise Unsupported("", type(estimator).__name__, why, "Rename these columns and train again.")
    graph = Graph()
    graph.missing_as.update(missing_as)
    graph.reserve([*names, "prediction", "probabilities", "error"])
    table = inputs(graph, columns)
    predictors = {**registry.predictors(), **libraries.predictors()}
    context = Context(graph, registry.transformers(), predictors, registry.wrappers())
    if method_of(estimator) == "predict":
        return graph, context.predict(estimator, table, "")
    return graph, transformed(context, estimator, table)


def method_of(estimator: Estimator) -> Literal["predict", "transform"]:
    """A transformer by itself is asked for what it makes of the columns."""
    return "predict" if hasattr(estimator, "predict") or not hasattr(estimator, "transform") else "transform"


def transformed(ctx: Context, estimator: Estimator, table: Table) -> Prediction:
    """A transformer's columns as the numbers of a regressor with as many targets."""
    made = run(ctx, estimator, table, "").as_array()
    texts = [f.label for f in made.features if f.text]
    if texts or not len(made):
        why = f"it gives text (from {', '.join(texts[:5])})." if texts else "it gives no column at all."
        raise refuse(estimator, "", why, "Register the pipeline that ends in a model, or a transformer of numbers.")
    precision: Literal["double", "float"] = "float" if made.array_dtype == FLOAT32 else "double"
    return Prediction("regressor", ctx.graph.tensor(made), targets=len(made), precision=precision)


def output_names(estimator: Estimator, count: int) -> tuple[str, ...]:
    """What the estimator calls its outputs, if SQL can tell the names apart."""
    try:
        names = tuple(str(name) for name in estimator.get_feature_names_out())
    except Exception:  # it has many ways not to know them
        return ()
    usable = len({name.lower() for name in names}) == count and all(name and "\x00" not in name for name in names)
    return names if usable and len(names) == count else ()


def inputs(graph: Graph, columns: Sequence[ColumnLike]) -> Table:
    """One tensor [N, 1] per column."""
    tables = []
    for column in columns:
        text, dtype = column.type == "VARCHAR", DTYPES[column.type]
        tensor = graph.settle(graph.input(column.name, text=text), dtype)
        own = frozenset([column.name])
        low, high = (0.0, 1.0) if dtype == BOOL else (float("-inf"), float("inf"))
        feature = Feature(dtype, text, low, high, True, own, (column.name,), column.name)
        tables.append(table_of(tensor, [feature], frame=True))
    return beside(tables, frame=True)


def finished(graph: Graph, said: Prediction, columns: Sequence[ColumnLike]) -> Converted:
    graph.named(said.values, "prediction")
    kind = TensorProto.INT64 if said.kind == "classifier" else TensorProto.DOUBLE
    outputs = [("prediction", kind, 1 if said.kind == "classifier" else said.targets)]
    if said.probabilities is not None:
        graph.named(said.probabilities, "probabilities")
        outputs.append(("probabilities", TensorProto.DOUBLE, len(said.classes)))
    score = said.decision or said.probabilities or said.values if said.score is None else said.score
    if said.kind == "regressor" or score != said.values:
        note_score(graph.notes, score)
    graph.finish_error()
    outputs.append(("error", TensorProto.INT64, 1))
    return Converted(
        onnx=graph.model(outputs),
        kind=said.kind,
        classes=said.classes,
        probabilities=said.probabilities is not None,
        targets=said.targets,
        reasons=tuple(graph.reasons),
        precision="float" if graph.single else said.precision,
        nulls=tuple("refused" if c.name in graph.refused else "missing" for c in columns),
        missing_as={
            c.name: "none" if graph.missing_as.get(c.name) == "none" else "nan" for c in columns if c.type == "VARCHAR"
        },
    )
