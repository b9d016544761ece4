"""The input columns of a model: from its MLflow signature, else from its own feature names, in SQL types."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: JSON and fitted estimators, whose shape is checked as it is read.
TYPES = {
    "integer": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
}
# Integers of fewer bits are given as the next wider ones of numpy's: the same numbers, and models make floats of them.
TENSOR_TYPES = {
    "float64": "DOUBLE",
    "float32": "FLOAT",
    "int64": "BIGINT",
    "uint32": "BIGINT",
    "int32": "INTEGER",
    "int16": "INTEGER",
    "int8": "INTEGER",
    "uint16": "INTEGER",
    "uint8": "INTEGER",
    "bool": "BOOLEAN",
    "str": "VARCHAR",
    "object": "VARCHAR",
}
# Types that a model may declare and that no column of SQL has, with what to do about them.
INSTEAD = {
    "datetime": "Turn it into numbers (seconds since 1970, or its parts) before the model, and log that.",
    "binary": "Decode it into numbers or text before the model, and log that.",
    "uint64": "Log the model with int64, or with float64 where numbers are larger.",
    "float16": "Log the model with float32.",
}
# A table's SQL type -> the type in which pandas would hand it to a model.
FROM_SQL = {
    "TINYINT": "BIGINT",
    "SMALLINT": "BIGINT",
    "INTEGER": "BIGINT",
    "BIGINT": "BIGINT",
    "HUGEINT": "DOUBLE",
    "UTINYINT": "BIGINT",
    "USMALLINT": "BIGINT",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DOUBLE",
    "UHUGEINT": "DOUBLE",
    "FLOAT": "DOUBLE",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "VARCHAR": "VARCHAR",
    "ENUM": "VARCHAR",
    "DECIMAL": "DOUBLE",
}
ADD_SIGNATURE = "Log the model with a signature: mlflow.models.infer_signature(X, model.predict(X))."


@dataclass(frozen=True)
class Input:
    """One input column: its name, the SQL type in which the model sees it, and whether it may be missing."""

    name: str
    type: str
    required: bool = True

    @property
    def is_text(self) -> bool:
        return self.type == "VARCHAR"


@dataclass(frozen=True)
class Inputs:
    """The columns in order, and where they come from: "mlflow", "model", "onnx" or "table"."""

    columns: tuple[Input, ...]
    origin: str

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


@dataclass(frozen=True)
class Tensor:
    """A tensor signature without column names: [-1, width] of one type."""

    width: int
    type: str


def declared(signature: Mapping[str, Any] | None) -> tuple[Input, ...] | Tensor | None:
    """What MLmodel's signature says of the inputs; None where it says nothing."""
    text = (signature or {}).get("inputs")
    if not text:
        return None
    try:
        entries = json.loads(text) if isinstance(text, str) else text
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("not a list of columns")
    except ValueError as error:
        raise Refusal("artifact", f"The signature in MLmodel cannot be read: {error}.") from error
    if len(entries) == 1 and entries[0].get("type") == "tensor" and not entries[0].get("name"):
        return _tensor(entries[0])
    return distinct(_column(entry, position) for position, entry in enumerate(entries))


def _column(entry: Mapping[str, Any], position: int) -> Input:
    name, kind = entry.get("name"), entry.get("type")
    if not isinstance(name, str) or not name:
        raise unsupported(f"Column {position + 1} of the model's signature has no name.", ADD_SIGNATURE)
    if kind == "tensor":
        tensor = _tensor(entry, name)
        if tensor.width != 1:
            raise unsupported(
                f"Input '{name}' of the model's signature is a tensor of {tensor.width} values a row.",
                "Log the model with one column for each value.",
            )
        return Input(name, tensor.type, required=True)
    if kind not in TYPES:
        raise unsupported(
            f"Column '{name}' of the model's signature is of type {kind!r}; SQL features are {', '.join(TYPES)}.",
            INSTEAD.get(str(kind), "Turn it into numbers or text before the model, and log that."),
        )
    return Input(name, TYPES[kind], required=entry.get("required", True) is not False)


def _tensor(entry: Mapping[str, Any], name: str = "") -> Tensor:
    spec = entry.get("tensor-spec")
    spec = spec if isinstance(spec, dict) else {}
    shape, dtype = spec.get("shape"), str(spec.get("dtype"))
    known = TENSOR_TYPES.get("str" if dtype.startswith(("str", "<U")) else dtype)
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape) or known is None:
        said = f"The model's signature has a tensor {name!r} of {dtype} {shape}."
        raise unsupported(said, INSTEAD.get(dtype.split("[")[0].replace("datetime64", "datetime"), ADD_SIGNATURE))
    if len(shape) == 1:
        return Tensor(1, known)
    if len(shape) != 2 or shape[1] < 1:
        raise unsupported(f"The model takes a tensor {name!r} of shape {shape}, not a row of columns.", ADD_SIGNATURE)
    return Tensor(shape[1], known)


def distinct(columns: Iterable[Input]) -> tuple[Input, ...]:
    """The columns, unless SQL could not tell two of them apart."""
    found = tuple(columns)
    counts = Counter(column.name.lower() for column in found)
    twins = [column.name for column in found if counts[column.name.lower()] > 1]
    if twins:
        raise unsupported(
            f"The model's columns {', '.join(map(repr, twins))} differ only in case, and SQL cannot tell them apart.",
            "Rename one of them and log the model again.",
        )
    if any("\x00" in column.name or not column.name for column in found):
        raise unsupported("A column of the model has an empty name or one with a NUL character.", ADD_SIGNATURE)
    return found


def of_estimator(
    estimator: Any, signature: tuple[Input, ...] | Tensor | None, table: Mapping[str, str] | None
) -> Inputs:
    """The inputs of a fitted scikit-learn estimator, in the order in which it was fitted."""
    own = feature_names(estimator)
    if isinstance(signature, tuple):
        return Inputs(_in_fitted_order(signature, own), "mlflow")
    if own is None:
        width = signature.width if signature else getattr(estimator, "n_features_in_", None)
        shape = f" of {width} unnamed columns" if width else ""
        raise unsupported(f"The model takes an array{shape}: nothing says what its columns are called.", ADD_SIGNATURE)
    if signature is not None and signature.width == len(own):
        return Inputs(distinct(Input(name, signature.type) for name in own), "model")
    texts = text_features(estimator)
    if table is None:
        return Inputs(distinct(Input(name, "VARCHAR" if name in texts else "DOUBLE") for name in own), "model")
    types = {name.lower(): FROM_SQL.get(kind.split("(")[0].upper()) for name, kind in table.items()}
    columns = [Input(name, "VARCHAR" if name in texts else types.get(name.lower()) or "DOUBLE") for name in own]
    return Inputs(distinct(columns), "table" if any(name.lower() in types for name in own) else "model")


def feature_names(estimator: Any) -> list[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _in_fitted_order(columns: tuple[Input, ...], own: Sequence[str] | None) -> tuple[Input, ...]:
    """Rows are bound by name, so the order of the signature need not be the one the estimator insists on."""
    if own is None:
        return columns
    by_name = {column.name: column for column in columns}
    absent = [name for name in own if name not in by_name]
    if absent:
        raise unsupported(
            f"The model was trained on {', '.join(map(repr, absent))}, absent from its signature.", ADD_SIGNATURE
        )
    return (*(by_name[name] for name in own), *(column for column in columns if column.name not in set(own)))


def text_features(estimator: Any) -> set[str]:
    """Input columns that some fitted step knows as text: its categories or its fill values are strings."""
    found: set[str] = set()
    for step in fitted_steps(estimator):
        names = feature_names(step)
        known = getattr(step, "categories_", None)
        if known is None and getattr(getattr(step, "statistics_", None), "dtype", np.dtype(float)).kind == "O":
            known = [[value] for value in step.statistics_]
        if names is not None and known is not None:
            found.update(name for name, values in zip(names, known) if any(isinstance(v, str) for v in values))
    return found


def fitted_steps(estimator: Any, depth: int = 0) -> Iterable[Any]:
    """The estimator and every estimator inside it."""
    if depth > 12:
        return
    if isinstance(estimator, (list, tuple)):
        for part in estimator:
            yield from fitted_steps(part, depth + 1)
    elif isinstance(estimator, dict):
        yield from fitted_steps(list(estimator.values()), depth + 1)
    elif hasattr(estimator, "get_params") and hasattr(estimator, "__dict__") and not isinstance(estimator, type):
        yield estimator
        yield from fitted_steps(list(vars(estimator).values()), depth + 1)
