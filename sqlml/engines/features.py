"""From a table's column to what a model takes: a DOUBLE or a VARCHAR in which NULL is the only missing value.

What would lose its value on the way is refused, for that row: a whole number that has no DOUBLE of its own (beyond 2^53),
a fraction where the model has integers, an integer that its integers cannot hold. A fraction that is rounded to the
nearest DOUBLE or FLOAT is what pandas and numpy make of it too.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from sqlml import sql
from sqlml.signature import Column

SHOWN = 40
"""How many characters of a value that cannot be read stand in its error."""

FITTING = {
    "DOUBLE": ("DOUBLE",),
    "FLOAT": ("DOUBLE", "FLOAT"),
    "BIGINT": ("BIGINT", "INTEGER"),
    "INTEGER": ("INTEGER",),
}
"""Types that need no look at their values; DuckDB knows a column's type when it binds, so the check costs them nothing.
A DOUBLE is a DOUBLE, and what a FLOAT column makes of one is rounding. Few, for each is one more expression to plan."""
EXACT = {"DOUBLE": 2.0**53, "FLOAT": 2.0**24}
"""Below, each whole number is one of the type's; from here on neighbours may have become one."""


def feature(column: Column, reference: exp.Expression) -> exp.Expression:
    """The value of `reference` as the model takes it.

    Numbers are DOUBLE with NaN as NULL (SQL has one missing number, pandas too); a FLOAT column is rounded to
    float32 as the model would. A value that cannot be cast is NULL here: `cast_error` names it. Nothing raises.
    Measured: for a column that is DOUBLE already, both are folded away when its statistics hold no NaN.
    """
    return missing_as_null(column, read(column, reference))


def missing_as_null(column: Column, value: exp.Expression) -> exp.Expression:
    return value if column.is_text else exp.Nullif(this=value, expression=sql.double(float("nan")))


def read(column: Column, reference: exp.Expression) -> exp.Expression:
    """The same, but that a number that is missing may be NaN as well as NULL."""
    if column.is_text:
        # Measured: in a column with COLLATE NOCASE, or after SET default_collation, 'BASIC' equals 'basic', also when it
        # was cast. To a model only the same code points are the same text.
        return exp.Collate(this=sql.cast(reference.copy(), "VARCHAR"), expression=sql.identifier("C"))
    number = _number(column, reference)
    if column.type == "FLOAT":
        return sql.try_cast(sql.try_cast(number, "FLOAT"), "DOUBLE")
    return number


def input_hash(
    columns: Sequence[Column],
    values: Sequence[exp.Expression],
    unreadable: Sequence[tuple[exp.Expression, exp.Expression]],
) -> exp.Expression:
    """UBIGINT: `hash(v1, ..., vn)` of what the columns were read as, XOR `hash(text, true)` of the first in `unreadable`
    (condition, text) whose condition holds, where one does.

    A number that is missing is NaN to it, from `read` or `feature`. Measured, ten DOUBLE columns, ns a row with its writing:
    27 with NULL instead, which takes a comparison per column where coalesce takes none, and the text hashed in each row; 21 so.
    """
    nan = sql.double(float("nan"))
    numbers = (
        value.copy() if column.is_text else exp.Coalesce(this=value.copy(), expressions=[nan.copy()])
        for column, value in zip(columns, values, strict=True)
    )
    hashed = sql.call("hash", *numbers)
    if not unreadable:
        return hashed
    # With a second value: DuckDB mixes the last one in by XOR, so that an equal text in the last column would be undone.
    texts = [(condition, sql.call("hash", text, exp.true())) for condition, text in unreadable]
    return sql.call("xor", hashed, sql.case(texts, sql.cast(sql.integer(0), "UBIGINT")))


def cast_error(column: Column, reference: exp.Expression) -> tuple[exp.Expression, exp.Expression] | None:
    """(condition, reason) for a value that is there and cannot be read as the column's type; None if all can.

    DuckDB folds the condition to false for a column that already has the type (`x IS NULL AND x IS NOT NULL`).
    """
    if column.is_text:
        return None
    number = _number(column, reference)
    if column.type == "FLOAT":
        number = sql.try_cast(number, "FLOAT")
    bad: exp.Expression = exp.And(this=_is_null(number), expression=exp.Not(this=_is_null(reference.copy())))
    expected = "true or false"
    if column.type in FITTING:
        lost = (_rounded if column.type in EXACT else _not_whole)(column, reference)
        fits = sql.any_of(
            [exp.EQ(this=sql.call("typeof", reference.copy()), expression=sql.text(t)) for t in FITTING[column.type]]
        )
        bad = exp.Or(this=exp.Paren(this=bad), expression=sql.case([(fits, exp.false()), lost], exp.false()))
        expected = f"a {'' if column.type in EXACT else 'whole '}number that fits {column.type}"
    shown = sql.call("left", sql.cast(reference.copy(), "VARCHAR"), sql.integer(SHOWN))
    return bad, exp.DPipe(this=sql.text(f"{column.name} is not {expected}: "), expression=shown)


def _rounded(column: Column, reference: exp.Expression) -> tuple[exp.Expression, exp.Expression]:
    """(where that can be, whether it is so): a whole number becomes another one as a DOUBLE, or a FLOAT."""
    number = sql.try_cast(reference.copy(), "DOUBLE")
    kept = number.copy() if column.type == "DOUBLE" else sql.try_cast(sql.try_cast(number.copy(), "FLOAT"), "DOUBLE")
    large = exp.GTE(this=sql.call("abs", number), expression=sql.double(EXACT[column.type]))
    whole = sql.try_cast(reference.copy(), "HUGEINT")
    return large, exp.NullSafeNEQ(this=whole, expression=sql.try_cast(kept, "HUGEINT"))


def _not_whole(column: Column, reference: exp.Expression) -> tuple[exp.Expression, exp.Expression]:
    """(where that can be, whether it is so): a number that is there is none of the column's integers."""
    number = exp.Nullif(this=sql.try_cast(reference.copy(), "DOUBLE"), expression=sql.double(float("nan")))
    whole = sql.try_cast(sql.try_cast(reference.copy(), column.type), "DOUBLE")
    present = exp.Not(this=_is_null(number.copy()))
    return present, exp.NullSafeNEQ(this=whole, expression=number)


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
