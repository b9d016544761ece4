"""Which stages of a saved model its prediction hangs on, and which columns of a table they read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlml.convert.isolated.spark.reading import Stage
from sqlml.convert.isolated.unsupported import Unsupported

READS = ("inputCol", "inputCols", "featuresCol", "offsetCol")
WRITES = (
    "outputCol", "outputCols", "predictionCol", "probabilityCol", "rawPredictionCol", "linkPredictionCol", "leafCol",
    "quantilesCol", "varianceCol",
)  # fmt: skip
HOLDERS = ("PipelineModel", "RFormulaModel")
FORGETS = ("ColumnPruner",)
INSTEAD = "Use a stage that sqlml converts (docs/spark.md lists them), or do its work in SQL before the model."


@dataclass(frozen=True)
class Plan:
    """The stages to run, in order, the columns they need, and where the answer is.

    `predictor` is the last stage that predicts, None in a pipeline that only transforms; `labels` a final
    IndexToString over its prediction; `output` the column that is the answer where there is no predictor.
    """

    stages: tuple[Stage, ...]
    needs: tuple[str, ...]
    predictor: Stage | None
    labels: Stage | None
    output: str


def flat(stage: Stage) -> list[Stage]:
    """The stages without the pipelines around them."""
    if stage.kind not in HOLDERS:
        return [stage]
    return [one for part in stage.stages for one in flat(part)]


def reads(stage: Stage) -> list[str]:
    if stage.kind == "RFormulaModel":
        return []
    names = [name for key in READS for name in _names(stage, key)]
    if stage.kind.endswith("IndexerModel") or stage.kind in ("Bucketizer", "Binarizer", "ImputerModel"):
        # `inputCols` wins where both are there, for only one of them can have been set.
        names = _names(stage, "inputCols") or _names(stage, "inputCol")
    return names


def writes(stage: Stage) -> list[str]:
    if stage.params.get("outputCols") and stage.params.get("inputCols"):
        return _names(stage, "outputCols")  # outputCol is there by default too
    return [name for key in WRITES for name in _names(stage, key)]


def _names(stage: Stage, key: str) -> list[str]:
    value = stage.params.get(key)
    if isinstance(value, str):
        return [value] if value else []
    return [str(name) for name in value] if isinstance(value, list) else []


def plan(model: Stage, predicts: Iterable[str]) -> Plan:
    """What to run of the model. `predicts` are the kinds of stages that predict."""
    stages = flat(model)
    if not stages:
        raise Unsupported("", model.kind, "it has no stages.", "Register a fitted PipelineModel.")
    kinds = set(predicts)
    predictor = next((stage for stage in reversed(stages) if stage.kind in kinds), None)
    if predictor is None:
        last = next((stage for stage in reversed(stages) if stage.kind not in FORGETS), stages[-1])
        made = writes(last)
        if len(made) != 1:
            why = f"the pipeline ends in it, and it makes {len(made)} columns."
            raise Unsupported(last.path, last.kind, why, "End the pipeline in a predictor, or in a VectorAssembler.")
        wanted, labels = made, None
    else:
        prediction = str(predictor.get("predictionCol", "prediction"))
        if not prediction:
            why = "it has no prediction column (predictionCol is empty)."
            raise Unsupported(predictor.path, predictor.kind, why, "Set predictionCol and log the model again.")
        after = stages[stages.index(predictor) + 1 :]
        labels = next((s for s in after if s.kind == "IndexToString" and _names(s, "inputCol") == [prediction]), None)
        wanted = writes(labels) if labels is not None else [prediction]
    needs = _needed(stages, wanted)
    return Plan(tuple(_run(stages, needs)), needs, predictor, labels, wanted[0])


def _needed(stages: Sequence[Stage], wanted: Sequence[str]) -> tuple[str, ...]:
    """The columns of the table that the wanted ones are made from, in the order in which they are first read."""
    pending = {name.lower() for name in wanted}
    used: list[Stage] = []
    for stage in reversed(stages):
        if pending & {name.lower() for name in writes(stage)}:
            used.insert(0, stage)
            pending |= {name.lower() for name in reads(stage)}
    made: set[str] = set()
    found: dict[str, str] = {}
    for stage in used:
        for name in reads(stage):
            if name.lower() not in made:
                found.setdefault(name.lower(), name)
        made |= {name.lower() for name in writes(stage)}
    return tuple(found.values())


def _run(stages: Sequence[Stage], needs: Sequence[str]) -> Iterable[Stage]:
    """The stages whose columns are there when nothing but `needs` is.

    A StringIndexer of the label is what is left out most often: Spark itself skips it where the label is absent.
    """
    there = {name.lower() for name in needs}
    for stage in stages:
        if stage.kind in FORGETS:
            continue
        if all(name.lower() in there for name in reads(stage)):
            there |= {name.lower() for name in writes(stage)}
            yield stage
