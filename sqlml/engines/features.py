"""From a table's column to what a model takes: a DOUBLE or a VARCHAR in which NULL is the only missing value."""

from __future__ import annotations

from sqlglot import exp

from sqlml import sql
from sqlml.signature import Column

SHOWN = 40
"""How many characters of a value that cannot be read stand in its error."""


def feature(column: Column, reference: exp.Expression) -> exp.Expression:
    """The value of `reference` as the model takes it.

    Numbers are DOUBLE with NaN as NULL (SQL has one missing number, pandas too); a FLOAT column is rounded to
    float32 as the model would. A value that cannot be cast is NULL here: `cast_error` names it. Nothing raises.
    Measured: for a column that is DOUBLE already, both are folded away when its statistics hold no NaN.
    """
    if column.is_text:
        return sql.cast(reference.copy(), "VARCHAR")
    number = _number(column, reference)
    if column.type == "FLOAT":
        number = sql.try_cast(sql.try_cast(number, "FLOAT"), "DOUBLE")
    return exp.Nullif(this=number, expression=sql.double(float("nan")))


def cast_error(column: Column, reference: exp.Expression) -> tuple[exp.Expression, exp.Expression] | None:
    """(condition, reason) for a value that is there and cannot be read as the column's type; None if all can.

    DuckDB folds the condition to false for a column that already has the type (`x IS NULL AND x IS NOT NULL`).
    """
    if column.is_text:
        return None
    number = _number(column, reference)
    if column.type == "FLOAT":
        number = sql.try_cast(number, "FLOAT")
    bad = exp.And(this=_is_null(number), expression=exp.Not(this=_is_null(reference.copy())))
    shown = sql.call("left", sql.cast(reference.copy(), "VARCHAR"), sql.integer(SHOWN))
    expected = "true or false" if column.type == "BOOLEAN" else "a number"
    if column.type == "FLOAT":
        expected = "a number that fits FLOAT"
    reason = exp.DPipe(this=sql.text(f"{column.name} is not {expected}: "), expression=shown)
    return bad, reason


def _number(column: Column, reference: exp.Expression) -> exp.Expression:
    number = sql.try_cast(reference.copy(), "DOUBLE")
    if column.type != "BOOLEAN":
        return number
    # 'true' is a BOOLEAN to DuckDB but no DOUBLE; 2 is a BOOLEAN to DuckDB, but not one that anybody meant.
    known = [(sql.double(0.0), sql.double(0.0)), (sql.double(1.0), sql.double(1.0)), (sql.double(float("nan")),) * 2]
    spelt = sql.try_cast(sql.try_cast(reference.copy(), "BOOLEAN"), "DOUBLE")
    return exp.Case(
        this=number,
        ifs=[exp.If(this=key, true=result) for key, result in known],
        default=sql.case([(_is_null(number.copy()), spelt)]),
    )


def _is_null(node: exp.Expression) -> exp.Expression:
    return exp.Is(this=node, expression=exp.Null())
