"""A saved Spark model becomes a graph in sqlml's dialect."""

from __future__ import annotations

from typing import Any

from sqlml.convert.isolated.sklearn.context import Context, Label, Prediction
from sqlml.convert.isolated.spark.columns import INSTEAD, Column, Frame, given, refuse
from sqlml.convert.isolated.spark.plan import Plan, plan
from sqlml.convert.isolated.spark.reading import Stage
from sqlml.convert.isolated.spark.registry import OTHER_PREDICTORS, PREDICTORS, TRANSFORMERS
from sqlml.convert.isolated.spark.stages.answering import Answer
from sqlml.convert.isolated.table import Table
from sqlml.convert.isolated.unsupported import Unsupported


class SparkModel:
    """The stages as they were saved, and which of them the answer hangs on."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @property
    def plan(self) -> Plan:
        return plan(self.stage, (*PREDICTORS, *OTHER_PREDICTORS))


def predictors() -> dict[type, Any]:
    return {SparkModel: predicted}


def predicted(ctx: Context, model: SparkModel, table: Table, step: str) -> Prediction:
    """What the pipeline answers for the table's columns."""
    frame, found = given(ctx.graph, table), model.plan
    answer: Answer | None = None
    for stage in found.stages:
        made = run(frame, stage)
        answer = made if stage is found.predictor else answer
    if found.predictor is None or answer is None:
        return transformed(frame, found)
    if answer.kind == "regressor":
        return Prediction("regressor", answer.values)
    probabilities = answer.probabilities if found.predictor.get("probabilityCol", "probability") else None
    classes = classes_of(frame, found, answer, probabilities)
    return Prediction("classifier", answer.values, classes, probabilities, score=answer.raw or "")


def run(frame: Frame, stage: Stage) -> Answer | None:
    """One stage: its columns are put into the frame; a predictor's answer is returned too."""
    transform, predict = TRANSFORMERS.get(stage.kind), PREDICTORS.get(stage.kind)
    if transform is not None:
        transform(frame, stage)
        return None
    if predict is None:
        raise Unsupported(stage.path, stage.kind, "there is no exact translation of this stage.", INSTEAD)
    answer = predict(frame, stage, features(frame, stage))
    numbers = frame.graph.as_double(answer.values) if answer.kind == "classifier" else answer.values
    index = answer.values if answer.kind == "classifier" else None
    name = str(stage.get("predictionCol", "prediction"))
    if name:
        nan = answer.kind == "regressor"
        frame.put(name, Column(numbers, answer.type, nan=nan, index=index, classes=answer.classes))
    for key, tensor in (("probabilityCol", answer.probabilities), ("rawPredictionCol", answer.raw)):
        if tensor is not None and stage.get(key):
            frame.put(str(stage.get(key)), Column(tensor, "vector", answer.classes, nan=True))
    return answer


def features(frame: Frame, stage: Stage) -> Column:
    name = str(stage.get("featuresCol", "features"))
    column = frame.get(stage, name)
    if stage.kind == "IsotonicRegressionModel" and column.type == "double":
        return column
    return frame.vector(stage, name)


def classes_of(frame: Frame, found: Plan, answer: Answer, probabilities: str | None) -> tuple[Label, ...]:
    """What the prediction column holds: 0.0, 1.0 ..., a cluster's integer, or the text of a final IndexToString."""
    if found.labels is None:
        return tuple(range(answer.classes)) if answer.type == "int" else tuple(map(float, range(answer.classes)))
    labels = frame.get(found.labels, found.output).labels or ()
    if len(set(labels)) != len(labels):
        raise refuse(found.labels, "two of its labels are the same.", "Give every class a label of its own.")
    if probabilities is None or len(labels) == answer.classes:
        return labels
    # A class without a label is an error where it is predicted, and yet has a probability, which needs a name.
    return (*labels[: answer.classes], *(f"class {i}" for i in range(len(labels), answer.classes)))


def transformed(frame: Frame, found: Plan) -> Prediction:
    """A pipeline that only transforms: the numbers of its last column."""
    column = frame.columns.get(found.output.lower())
    last = found.stages[-1] if found.stages else None
    if column is None or last is None:
        why = f"nothing makes its last column '{found.output}'."
        raise Unsupported("", "PipelineModel", why, "Register a pipeline that ends in a predictor.")
    if column.type in ("string", "labels"):
        why = "the pipeline ends in it, and it makes text without a predictor before it."
        raise refuse(last, why, "Register a pipeline that ends in a predictor.")
    tensor = column.tensor
    if column.null is not None:
        tensor = frame.graph.op("Where", column.null, frame.graph.double([float("nan")]), tensor)
    return Prediction("regressor", tensor, targets=column.width)
