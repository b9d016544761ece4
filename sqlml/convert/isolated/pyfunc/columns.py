"""What a python_function takes, row by row, as columns of a table: from its MLflow signature, else from its example."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlml.convert.isolated.inputs import ADD_SIGNATURE, FROM_SQL, Input, distinct
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: JSON, checked as it is read.
TYPES = {
    "integer": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "datetime": "TIMESTAMP",
    "binary": "BLOB",
}
TENSOR_TYPES = {
    "float64": "DOUBLE",
    "float32": "FLOAT",
    "float16": "FLOAT",
    "int64": "BIGINT",
    "int32": "INTEGER",
    "int16": "INTEGER",
    "int8": "INTEGER",
    "uint8": "INTEGER",
    "uint16": "INTEGER",
    "uint32": "BIGINT",
    "bool": "BOOLEAN",
    "str": "VARCHAR",
    "object": "VARCHAR",
}
# A table's SQL type -> the type in which pandas would hand it to a model; what is not here is read as text.
FROM_TABLE = {**FROM_SQL, "DATE": "TIMESTAMP", "TIMESTAMP": "TIMESTAMP", "BLOB": "BLOB", "UUID": "VARCHAR"}


@dataclass(frozen=True)
class Part:
    """One tensor of the signature: `width` columns from `start` on; a vector has one and no second dimension."""

    name: str
    start: int
    width: int
    is_vector: bool
    dtype: str


@dataclass(frozen=True)
class Taken:
    """`how` is what the columns become: "frame" (a DataFrame), "list" (of one column's values), "array" (of one unnamed
    tensor) or "arrays" (a dict of named ones). `origin` is "mlflow", "model" (its input example) or "table"."""

    how: str
    columns: tuple[Input, ...]
    origin: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Given:
    """One output of the signature: its name ("" for none) and SQL type; `width` of a tensor's row."""

    name: str
    type: str
    width: int = 1


def taken(model: Mapping[str, Any], example: Mapping[str, str] | None, table: Mapping[str, str] | None) -> Taken:
    """The columns of the model whose MLmodel file this is; `table` has the columns of the bound table, its keys left out.

    A model without a signature takes what its input example has, and without one of those the whole table.
    """
    signature = model.get("signature") or {}
    entries = _entries(signature, "inputs")
    if entries:
        return _declared(entries)
    if example:
        return Taken("frame", distinct(Input(name, kind) for name, kind in example.items()), "model")
    if not table:
        raise unsupported(
            "Nothing says what the model takes: it has neither a signature nor an input example.", ADD_SIGNATURE
        )
    return Taken("frame", distinct(Input(name, _from_table(name, kind)) for name, kind in table.items()), "table")


def _from_table(name: str, kind: str) -> str:
    base = kind.split("(")[0].upper()
    if base in FROM_TABLE and not kind.endswith("]"):
        return FROM_TABLE[base]
    raise unsupported(
        f"The model has no signature, and the table's column '{name}' is {kind}, which is no single value.",
        "Log the model with a signature, or deploy on a view without that column.",
    )


def _entries(signature: Mapping[str, Any], which: str) -> list[Mapping[str, Any]]:
    text = signature.get(which)
    if not text:
        return []
    try:
        entries = json.loads(text) if isinstance(text, str) else text
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("not a list of columns")
    except ValueError as error:
        raise Refusal("artifact", f"The signature in MLmodel cannot be read: {error}.") from error
    return entries


def _declared(entries: Sequence[Mapping[str, Any]]) -> Taken:
    tensors = [entry.get("type") == "tensor" for entry in entries]
    if all(tensors):
        return _tensors(entries)
    if len(entries) == 1 and not entries[0].get("name"):
        return Taken("list", (Input("f0", _scalar("f0", entries[0].get("type"))),), "mlflow")
    columns = []
    for position, entry in enumerate(entries):
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise unsupported(f"Column {position + 1} of the model's signature has no name.", ADD_SIGNATURE)
        columns.append(Input(name, _scalar(name, entry.get("type")), entry.get("required", True) is not False))
    return Taken("frame", distinct(columns), "mlflow")


def _scalar(name: str, kind: object) -> str:
    if kind not in TYPES:
        raise unsupported(
            f"Column '{name}' of the model's signature is of type {kind!r}, and a row of a table has single values"
            f" ({', '.join(TYPES)}).",
            "Turn it into numbers or text before the model, and log that.",
        )
    return TYPES[str(kind)]


def _tensors(entries: Sequence[Mapping[str, Any]]) -> Taken:
    parts: list[Part] = []
    columns: list[Input] = []
    for entry in entries:
        name = entry.get("name") or ""
        shape, dtype = _spec(entry)
        if dtype not in TENSOR_TYPES or len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] < 1):
            raise unsupported(
                f"The model takes a tensor{f' {name!r}' if name else ''} of {dtype} {shape}, not a row of columns.",
                "Log it with two-dimensional inputs of numbers or text.",
            )
        width = 1 if len(shape) == 1 else shape[1]
        if not name and len(entries) > 1:
            raise unsupported("The model takes several tensors without names.", ADD_SIGNATURE)
        parts.append(Part(name, len(columns), width, len(shape) == 1, dtype))
        named = name and len(entries) > 1 and width == 1
        columns += [
            Input(name if named else f"{name}_{i}" if len(entries) > 1 else f"f{i}", TENSOR_TYPES[dtype])
            for i in range(width)
        ]
    return Taken("arrays" if parts[0].name else "array", distinct(columns), "mlflow", tuple(parts))


def _spec(entry: Mapping[str, Any]) -> tuple[list[int], str]:
    spec = entry.get("tensor-spec")
    spec = spec if isinstance(spec, dict) else {}
    shape, dtype = spec.get("shape"), str(spec.get("dtype"))
    sizes = shape if isinstance(shape, list) and all(isinstance(size, int) for size in shape) else []
    return sizes, "str" if dtype.startswith(("str", "<U")) else dtype


def given(model: Mapping[str, Any]) -> tuple[Given, ...]:
    """The outputs that the signature declares; none where it declares nothing that a table's row can hold."""
    found = []
    for entry in _entries(model.get("signature") or {}, "outputs"):
        name = str(entry.get("name") or "")
        if entry.get("type") == "tensor":
            shape, dtype = _spec(entry)
            if dtype not in TENSOR_TYPES or len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] < 1):
                return ()
            found.append(Given(name, _wide(TENSOR_TYPES[dtype]), 1 if len(shape) == 1 else shape[1]))
        elif entry.get("type") in TYPES:
            found.append(Given(name, _wide(TYPES[str(entry["type"])])))
        else:
            return ()
    return tuple(found)


def _wide(kind: str) -> str:
    """Predictions are kept in the widest type of their kind, as other engines keep them."""
    return {"INTEGER": "BIGINT", "FLOAT": "DOUBLE"}.get(kind, kind)


def parameters(model: Mapping[str, Any]) -> dict[str, Any]:
    """MLflow's params with their defaults, with which the model is asked."""
    entries: Iterable[Mapping[str, Any]] = _entries(model.get("signature") or {}, "params")
    return {str(entry.get("name")): entry.get("default") for entry in entries}
