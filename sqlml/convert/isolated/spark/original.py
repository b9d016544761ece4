"""How a saved Spark model is asked, and for which columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sqlml.convert.isolated.inputs import ADD_SIGNATURE, FROM_SQL, Input, Inputs, Tensor, distinct
from sqlml.convert.isolated.refusal import unsupported
from sqlml.convert.isolated.spark.convert import SparkModel
from sqlml.convert.isolated.spark.plan import Plan
from sqlml.convert.isolated.spark.reference import STAGES, Rows, SparkFails, from_frame
from sqlml.convert.isolated.spark.reference_models import Guess, predicted

# Any in this module: pandas and numpy without types.


class Asked:
    """The model's own answers for a DataFrame, by the reference; it raises where a Spark job would fail."""

    def __init__(self, model: SparkModel, types: dict[str, str]) -> None:
        self.plan, self.types = model.plan, types

    def predict(self, frame: Any) -> Any:
        rows, guess = self._run(frame)
        found = self.plan
        if found.labels is not None or guess is None:
            answer = rows[found.output.lower()]
            return (
                np.where(answer.null if answer.data.ndim == 1 else answer.null[:, None], np.nan, answer.data)
                if (answer.type != "string")
                else answer.data
            )
        if rows[found.output.lower()].type == "int":
            return guess.prediction.astype(np.int64)
        return guess.prediction

    def predict_proba(self, frame: Any) -> Any:
        guess = self._run(frame)[1]
        if guess is None or guess.probability is None:
            raise SparkFails("The model has no probabilities.")
        return guess.probability

    def _run(self, frame: Any) -> tuple[Rows, Guess | None]:
        rows, guess = from_frame(frame, self.types), None
        with np.errstate(all="ignore"):
            for stage in self.plan.stages:
                run = STAGES.get(stage.kind)
                if run is not None:
                    run(rows, stage)
                    continue
                made = predicted(rows, stage)
                guess = made if stage is self.plan.predictor else guess
        return rows, guess


def asked(model: SparkModel, inputs: Inputs) -> Asked:
    needed = {name.lower() for name in model.plan.needs}
    return Asked(model, {column.name: column.type for column in inputs.columns if column.name.lower() in needed})


def inputs_of(
    model: SparkModel, signature: tuple[Input, ...] | Tensor | None, table: Mapping[str, str] | None
) -> Inputs:
    """The columns that the answer is made from: a label in the signature is not among them."""
    needs = model.plan.needs
    if not needs:
        raise unsupported("The Spark model reads no column of a table.", "Register a pipeline with its own inputs.")
    if isinstance(signature, tuple):
        by_name = {column.name.lower(): column for column in signature}
        absent = [name for name in needs if name.lower() not in by_name]
        if absent:
            named = ", ".join(map(repr, absent))
            raise unsupported(f"The model reads {named}, absent from its signature.", ADD_SIGNATURE)
        return Inputs(distinct(by_name[name.lower()] for name in needs), "mlflow")
    texts = indexed(model.plan)
    types = {name.lower(): sql_type(kind) for name, kind in (table or {}).items()}
    columns = [
        Input(name, types.get(name.lower()) or ("VARCHAR" if name.lower() in texts else "DOUBLE")) for name in needs
    ]
    return Inputs(distinct(columns), "table" if any(name.lower() in types for name in needs) else "model")


def sql_type(kind: str) -> str | None:
    """A table's type as Spark would read it: a FLOAT stays one, INTEGER too."""
    name = kind.split("(")[0].upper()
    if name in ("FLOAT", "INTEGER"):
        return name
    return {"TINYINT": "INTEGER", "SMALLINT": "INTEGER", "UTINYINT": "INTEGER", "USMALLINT": "INTEGER"}.get(
        name, FROM_SQL.get(name)
    )


def indexed(found: Plan) -> set[str]:
    """Columns that a StringIndexer reads: text, unless something says otherwise."""
    names: set[str] = set()
    for stage in found.stages:
        if stage.kind == "StringIndexerModel":
            listed = stage.params.get("inputCols") or [stage.params.get("inputCol")]
            names |= {str(name).lower() for name in listed}
    return names
