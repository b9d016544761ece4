"""Fitting a table to a signature: by name, whatever the order and the case of the columns, and by type.

A column is converted as pandas and numpy would hand it to the model; what may lose its value is an error of that row (see
`sqlml.engines.features`), and a type that means something else is refused here, with what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from sqlml.errors import BindingError, choices
from sqlml.relation import Relation
from sqlml.signature import NUMERIC_TYPES, Column, Signature

SMALL = frozenset({"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"})
WHOLE = SMALL | {"INTEGER", "UINTEGER", "BIGINT", "HUGEINT", "UBIGINT", "UHUGEINT"}
FRACTIONS = frozenset({"FLOAT", "DOUBLE", "DECIMAL"})
HELD = {
    "DOUBLE": SMALL | {"INTEGER", "UINTEGER", "FLOAT", "DOUBLE"},
    "FLOAT": SMALL | {"FLOAT"},
    "BIGINT": SMALL | {"INTEGER", "UINTEGER", "BIGINT"},
    "INTEGER": SMALL | {"INTEGER"},
}
"""Types of which the model's type holds every value."""
TIMES = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"})
# What only a python_function takes.
TIMES_AND_BYTES = {
    "TIMESTAMP": TIMES - {"TIMESTAMP WITH TIME ZONE"},
    "BLOB": {"BLOB"},
}
EXACT_DIGITS = 15
"""So many digits of a DECIMAL are always in its nearest DOUBLE."""

AS_A_NUMBER: Mapping[str, str] = {
    **dict.fromkeys(TIMES, "epoch({c}), or the parts of it that the model was trained on (year({c}), dayofweek({c}))"),
    "TIME": "epoch({c})",
    "TIME WITH TIME ZONE": "epoch({c})",
    "INTERVAL": "epoch({c})",
    "VARCHAR": "TRY_CAST({c} AS DOUBLE)",
    "ENUM": "TRY_CAST({c}::VARCHAR AS DOUBLE), or enum_code({c})",
    "JSON": "TRY_CAST({c} ->> '$' AS DOUBLE)",
}
AS_TEXT: Mapping[str, str] = {
    **dict.fromkeys(
        WHOLE | FRACTIONS | {"BOOLEAN"}, "CAST({c} AS VARCHAR), spelt as in training (1, 1.0 and true differ)"
    ),
    **dict.fromkeys(TIMES, "strftime({c}, '%Y-%m-%d'), spelt as in training"),
    "BLOB": "decode({c})",
    "JSON": "{c} ->> '$'",
}
OTHERWISE = "one column for each value that the model takes"


@dataclass(frozen=True)
class Bound:
    """One signature column and the table column that feeds it.

    `how` says what becomes of a value, `null` of NULL, and `misfit` of a value that the model's type cannot hold (None
    where there is no such value). `note` is what is worth knowing before.
    """

    column: Column
    source: str
    source_type: str
    note: str | None = None
    how: str = "as it is"
    null: str = ""
    misfit: str | None = None


def bind(signature: Signature, relation: Relation) -> tuple[Bound, ...]:
    """Each signature column with its table column.

    Raises:
        BindingError: columns are missing (close matches named) or of a type that cannot become what the model takes;
            all of them are named at once.
    """
    by_folded = {name.lower(): name for name in relation.types}
    missing = [column.name for column in signature.columns if column.name.lower() not in by_folded]
    if missing:
        raise _missing(signature, relation, missing)
    found = [(column, by_folded[column.name.lower()]) for column in signature.columns]
    wrong = [(c, s, what) for c, s in found if (what := _instead(c, s, _base(relation.types[s]))) is not None]
    if wrong:
        shown = "; ".join(f"{source} is {relation.types[source]}, the model takes {c.type}" for c, source, _ in wrong)
        remedies = "; ".join(f"for {source}: {what}" for _, source, what in wrong)
        raise BindingError(
            f"{relation.label} has columns of a type that cannot be what the model takes: {shown}.",
            hint=f"Deploy on a view that converts them as they were at training: {remedies}.",
            columns=[source for _, source, _ in wrong],
        )
    return tuple(_bound(column, source, relation.types[source]) for column, source in found)


def _missing(signature: Signature, relation: Relation, missing: list[str]) -> BindingError:
    taken = {column.name.lower() for column in signature.columns}
    free = {name.casefold(): name for name in relation.types if name.lower() not in taken}
    close = {name: get_close_matches(name.casefold(), free, n=1, cutoff=0.6) for name in missing}
    near = [f"{free[found[0]]!r} for {name!r}" for name, found in close.items() if found]
    guess = f"Did you mean {', '.join(near)}? " if near else ""
    return BindingError(
        f"{relation.label} lacks {len(missing)} of the model's {len(signature.columns)} input columns:"
        f" {', '.join(map(repr, missing))}.",
        hint=f"{guess}{choices(list(free.values()) or list(relation.types))} A view can rename or add columns.",
        missing=missing,
    )


def _base(declared: str) -> str:
    """The type without its parameters; a list, whatever it is of, as LIST."""
    declared = declared.strip()
    return "LIST" if declared.endswith("]") else re.split(r"\(", declared)[0].strip().upper()


def _instead(column: Column, source: str, base: str) -> str | None:
    """What to do about a column of this type; None where it can be bound."""
    if column.type in TIMES_AND_BYTES:
        return None if base in TIMES_AND_BYTES[column.type] else f"CAST({source} AS {column.type})"
    if column.type == "VARCHAR":
        possible, remedies = base in {"VARCHAR", "ENUM", "UUID"}, AS_TEXT
    else:
        possible, remedies = column.type in NUMERIC_TYPES and base in WHOLE | FRACTIONS | {"BOOLEAN"}, AS_A_NUMBER
    return None if possible else remedies.get(base, OTHERWISE).format(c=source)


def _bound(column: Column, source: str, declared: str) -> Bound:
    base = _base(declared)
    how, misfit = _how(column, base, declared)
    null = "the model's own missing value" if column.nulls == "missing" else "an error of its row"
    note = f"{how}; {misfit}" if misfit is not None and not column.is_text else how if base != column.type else None
    is_plain = column.type in HELD and base in HELD[column.type] and misfit is None
    return Bound(column, source, declared, None if is_plain or how == "as it is" else note, how, null, misfit)


def _how(column: Column, base: str, declared: str) -> tuple[str, str | None]:
    """(what becomes of a value, what of one that does not fit)."""
    wanted = column.type
    if wanted in TIMES_AND_BYTES:
        return "as it is", None
    if column.is_text:
        unknown = "a text that the model does not know is what its fitted encoder makes of it"
        return {"ENUM": "its text", "UUID": "its text, in small letters"}.get(base, "the same code points"), unknown
    if base == "BOOLEAN":
        return ("as it is" if wanted == "BOOLEAN" else "0 and 1 for false and true"), None
    if wanted == "BOOLEAN":
        return "0 and 1 are the model's false and true", "any other number is an error of its row"
    if base == wanted:
        return "as it is", None
    if base in HELD[wanted]:
        return "the same number", None
    if wanted in ("BIGINT", "INTEGER"):
        if base in WHOLE:
            return "the same number", f"one that {wanted} cannot hold is an error of its row"
        return (
            "the same number, if it is whole",
            f"a fraction, or one that {wanted} cannot hold, is an error of its row",
        )
    if wanted == "FLOAT":
        if base in WHOLE:
            return "the same number up to 2^24", "one beyond that has no FLOAT is an error of its row"
        return "rounded to the nearest FLOAT, as numpy does", "one beyond 3.4e38 is an error of its row"
    if base == "DECIMAL":
        digits = [int(number) for number in re.findall(r"\d+", declared)]
        precision, scale = (*digits, 18, 3)[:2] if len(digits) >= 2 else (18, 3)
        lost = "one whose whole digits have no DOUBLE is an error of its row"
        return "the nearest DOUBLE, as pandas has it", lost if precision - scale > EXACT_DIGITS else None
    return "the same number up to 2^53", "one beyond that has no DOUBLE is an error of its row"
