"""Fitting a table to a signature: by name, whatever the order and the case of the columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlml.errors import BindingError, choices
from sqlml.relation import Relation
from sqlml.signature import NUMERIC_TYPES, Column, Signature

WHOLE = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
# What only a python_function takes.
TIMES_AND_BYTES = {
    "TIMESTAMP": {"DATE", *(f"TIMESTAMP{more}" for more in ("", "_S", "_MS", "_NS"))},
    "BLOB": {"BLOB"},
}
NUMBERS = WHOLE | {"FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN"}


@dataclass(frozen=True)
class Bound:
    """One signature column and the table column that feeds it; `note` says what happens to values on the way."""

    column: Column
    source: str
    source_type: str
    note: str | None = None


def bind(signature: Signature, relation: Relation) -> tuple[Bound, ...]:
    """Each signature column with its table column.

    Raises:
        BindingError: columns are missing (close matches named) or of a type that cannot become what the model takes;
            all of them are named at once.
    """
    by_folded = {name.lower(): name for name in relation.types}
    missing = [column.name for column in signature.columns if column.name.lower() not in by_folded]
    if missing:
        hints = " ".join(f"For {name!r}: {choices(list(relation.types), wrong=name, limit=5)}" for name in missing[:3])
        raise BindingError(
            f"{relation.label} lacks {len(missing)} of the model's {len(signature.columns)} input columns:"
            f" {', '.join(map(repr, missing))}.",
            hint=f"{hints} A view can rename or add columns.",
            missing=missing,
        )
    bound = [_bound(column, by_folded[column.name.lower()], relation) for column in signature.columns]
    wrong = [b for b in bound if b.note is not None and b.note.startswith("cannot")]
    if wrong:
        shown = "; ".join(f"{b.source} is {b.source_type}, the model takes {b.column.type}" for b in wrong)
        raise BindingError(
            f"{relation.label} has columns of a type that cannot be what the model takes: {shown}.",
            hint="Deploy on a view that casts them as they were at training.",
            columns=[b.source for b in wrong],
        )
    return tuple(bound)


def _bound(column: Column, source: str, relation: Relation) -> Bound:
    declared = relation.types[source]
    base = re.split(r"[(\[]", declared)[0].strip().upper()
    return Bound(column, source, declared, _note(column, base, is_nested=declared.endswith("]")))


def _note(column: Column, base: str, *, is_nested: bool) -> str | None:
    if is_nested:
        return "cannot be cast"
    if column.type in TIMES_AND_BYTES:
        return None if base in TIMES_AND_BYTES[column.type] else "cannot be cast"
    if column.type == "VARCHAR":
        return {"VARCHAR": None, "ENUM": "ENUM read as its text", "UUID": "UUID read as its text"}.get(
            base, "cannot be text"
        )
    if column.type in NUMERIC_TYPES and base in NUMBERS:
        if base in {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT", "DECIMAL"} and column.type in {"DOUBLE", "FLOAT"}:
            return f"{base} becomes DOUBLE: exact up to 2^53"
        if column.type == "BOOLEAN" and base != "BOOLEAN":
            return f"{base} read as a number, 0 and 1 as the model's false and true"
        return None
    if base == "VARCHAR" and column.type in NUMERIC_TYPES:
        return "cannot be a number: it is text"
    return "cannot be cast"
