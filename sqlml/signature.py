"""What a model takes and what it gives, in SQL types."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["classifier", "regressor", "pyfunc"]
Nulls = Literal["missing", "refused"]
Label = str | int | float | bool

NUMERIC_TYPES = frozenset({"DOUBLE", "FLOAT", "BIGINT", "INTEGER", "BOOLEAN"})


@dataclass(frozen=True)
class Column:
    """One input column of a model.

    `type` is the DuckDB type in which the model sees it: DOUBLE, FLOAT, BIGINT, INTEGER, BOOLEAN or VARCHAR; a
    python_function may take TIMESTAMP and BLOB too.
    `nulls` says what SQL NULL (and NaN, which SQL treats as the same missing number) does:
    "missing" reaches the model as its own missing value, "refused" makes the prediction NULL with a reason.
    """

    name: str
    type: str
    nulls: Nulls = "refused"

    @property
    def is_text(self) -> bool:
        return self.type == "VARCHAR"


@dataclass(frozen=True)
class Signature:
    """Input columns in the model's order, and the outputs.

    `prediction` is the SQL type of a prediction: VARCHAR, BIGINT, BOOLEAN or DOUBLE. A python_function has neither classes
    nor probabilities, and its prediction may be a TIMESTAMP, a BLOB, or a STRUCT of `targets` with `target_types`.
    `classes` are the model's own labels in its own order (classifiers only). `probabilities` says whether the
    model has them. `targets` names the outputs of a regressor with several (empty for one).
    `origin` says where the input columns come from: "mlflow", "model" (the estimator's feature names), "onnx" or "table".
    """

    columns: tuple[Column, ...]
    kind: Kind
    prediction: str
    classes: tuple[Label, ...] = ()
    probabilities: bool = False
    targets: tuple[str, ...] = ()
    origin: str = "mlflow"
    target_types: tuple[str, ...] = ()

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Signature:
        fields: dict[str, Any] = json.loads(text)  # Any: JSON
        fields["columns"] = tuple(Column(**column) for column in fields["columns"])
        fields["classes"] = tuple(fields["classes"])
        fields["targets"] = tuple(fields["targets"])
        fields["target_types"] = tuple(fields.get("target_types", ()))
        return cls(**fields)
