"""The `pyfunc` engine's part in SQL: a row's features as the model takes them, and their hash. The answers come from outside.

A python_function is no SQL: no shell can call it, so a deployment has a prediction table and views, and no functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.engines.features import SHOWN, cast_error, feature
from sqlml.engines.stages import nested
from sqlml.engines.surface import CAST
from sqlml.signature import Column, Signature

NO_SHELL = "no shell can call it; sqlml score asks the model"
NOTE = (
    "No shell can call this model: a python_function is Python, and has no SQL function. Its predictions are rows of"
    " {name}.current, which `sqlml score {name}` fills from an isolated process."
)
WHOLE = ("BIGINT", "INTEGER")
INPUT_HASH = "input_hash"


@dataclass(frozen=True)
class PyfuncEngine:
    """Stands where other engines give expressions: this one has none."""

    name: str = "pyfunc"


def value_name(position: int) -> str:
    return f"sqlml f{position}"


def whole_name(position: int) -> str:
    """Beside an integer column's DOUBLE the same as BIGINT, where it is one: a DOUBLE holds whole numbers up to 2^53."""
    return f"sqlml w{position}"


def asked_names(signature: Signature) -> list[str]:
    """What `asked_select` gives of a row beside its hash."""
    names = []
    for position, column in enumerate(signature.columns):
        names.append(value_name(position))
        if column.type in WHOLE:
            names.append(whole_name(position))
    return [*names, CAST]


def asked_select(
    signature: Signature, source: exp.Expression, passthrough: Sequence[tuple[str, exp.Expression]] = ()
) -> exp.Select:
    """The passthrough columns, what the model is to be asked (`value_name`, `whole_name` of each column), the text of the
    first value that could not be read (`CAST`), and `input_hash` over all of these."""
    lets: list[tuple[str, exp.Expression]] = []
    unreadable: list[tuple[exp.Expression, exp.Expression]] = []
    for position, column in enumerate(signature.columns):
        reference = sql.column(column.name)
        lets.append((value_name(position), _value(column, reference)))
        if column.type in WHOLE:
            lets.append((whole_name(position), _whole(reference)))
        unreadable += [found for found in (_unreadable(column, reference),) if found is not None]
    lets.append((CAST, sql.case(unreadable) if unreadable else sql.null("VARCHAR")))
    names = [name for name, _ in lets]
    results = [(name, sql.column(name)) for name in names]
    results.append((INPUT_HASH, sql.call("hash", *(sql.column(name) for name in names))))
    return nested(source, passthrough, tuple(lets), results)


def _value(column: Column, reference: exp.Expression) -> exp.Expression:
    if column.type in ("TIMESTAMP", "BLOB"):
        return sql.try_cast(reference.copy(), column.type)
    return feature(column, reference)


def _whole(reference: exp.Expression) -> exp.Expression:
    whole = sql.try_cast(reference.copy(), "BIGINT")
    # A DOUBLE of 2.5 would be cast to 2, and DuckDB compares a BIGINT with a DECIMAL or a DOUBLE as that.
    return sql.case([(exp.EQ(this=whole, expression=reference.copy()), whole.copy())])


def _unreadable(column: Column, reference: exp.Expression) -> tuple[exp.Expression, exp.Expression] | None:
    if column.type == "BLOB":
        return None
    if column.type != "TIMESTAMP":
        return cast_error(column, reference)
    moment = sql.try_cast(reference.copy(), "TIMESTAMP")
    there = exp.Not(this=exp.Is(this=reference.copy(), expression=exp.Null()))
    finite = sql.call("coalesce", sql.call("isfinite", moment), exp.false())
    bad = exp.And(this=there, expression=exp.Not(this=finite))
    shown = sql.call("left", sql.cast(reference.copy(), "VARCHAR"), sql.integer(SHOWN))
    return bad, exp.DPipe(this=sql.text(f"{column.name} is not a time that the model can have: "), expression=shown)
