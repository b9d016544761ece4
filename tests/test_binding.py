"""A table's columns meet a model's: by name, by type, and what becomes of values is said before anything runs."""

from __future__ import annotations

import duckdb
import pytest

from sqlml.binding import Bound, bind
from sqlml.errors import BindingError
from sqlml.relation import find
from sqlml.signature import Column, Signature


def bound_to(declared: str, kind: str, nulls: str = "missing") -> Bound:
    signature = Signature((Column("x", kind, nulls),), "regressor", "DOUBLE")  # type: ignore[arg-type]
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t (X {declared})")
        [found] = bind(signature, find(con, "t"))
    return found


TAKEN = [
    ("DOUBLE", "DOUBLE", "as it is", None),
    ("FLOAT", "DOUBLE", "the same number", None),
    ("INTEGER", "DOUBLE", "the same number", None),
    ("BIGINT", "DOUBLE", "the same number up to 2^53", "no DOUBLE is an error"),
    ("UBIGINT", "DOUBLE", "the same number up to 2^53", "no DOUBLE is an error"),
    ("HUGEINT", "DOUBLE", "the same number up to 2^53", "no DOUBLE is an error"),
    ("DECIMAL(10,2)", "DOUBLE", "the nearest DOUBLE", None),
    ("DECIMAL(38,10)", "DOUBLE", "the nearest DOUBLE", "whole digits have no DOUBLE"),
    ("BOOLEAN", "DOUBLE", "0 and 1 for false and true", None),
    ("DOUBLE", "FLOAT", "rounded to the nearest FLOAT", "beyond 3.4e38"),
    ("SMALLINT", "FLOAT", "the same number", None),
    ("INTEGER", "FLOAT", "up to 2^24", "no FLOAT is an error"),
    ("SMALLINT", "BIGINT", "the same number", None),
    ("UBIGINT", "BIGINT", "the same number", "BIGINT cannot hold"),
    ("DOUBLE", "BIGINT", "if it is whole", "a fraction"),
    ("DECIMAL(10,2)", "INTEGER", "if it is whole", "a fraction"),
    ("BIGINT", "INTEGER", "the same number", "INTEGER cannot hold"),
    ("BOOLEAN", "BOOLEAN", "as it is", None),
    ("TINYINT", "BOOLEAN", "true", "any other number"),
    ("VARCHAR", "VARCHAR", "the same code points", "its fitted encoder"),
    ("VARCHAR COLLATE NOCASE", "VARCHAR", "the same code points", "its fitted encoder"),
    ("ENUM('a', 'b')", "VARCHAR", "its text", "its fitted encoder"),
    ("UUID", "VARCHAR", "its text", "its fitted encoder"),
]


@pytest.mark.parametrize(("declared", "kind", "how", "misfit"), TAKEN)
def test_what_becomes_of_a_value_is_said(declared, kind, how, misfit):
    found = bound_to(declared, kind)
    assert how in found.how
    assert (misfit or "") in (found.misfit or "")
    assert (misfit is None) == (found.misfit is None)
    is_plain = found.misfit is None and how in ("as it is", "the same number")
    assert (found.note is None) == (is_plain or how == "the same code points")


@pytest.mark.parametrize(
    ("nulls", "said"), [("missing", "the model's own missing value"), ("refused", "an error of its row")]
)
def test_what_null_is_is_said(nulls, said):
    assert bound_to("DOUBLE", "DOUBLE", nulls).null == said


REFUSED = [
    ("DATE", "DOUBLE", "epoch(X)"),
    ("TIMESTAMP", "BIGINT", "epoch(X)"),
    ("TIMESTAMP_S", "DOUBLE", "epoch(X)"),
    ("TIMESTAMP_NS", "DOUBLE", "epoch(X)"),
    ("TIMESTAMPTZ", "DOUBLE", "epoch(X)"),
    ("TIME", "DOUBLE", "epoch(X)"),
    ("INTERVAL", "DOUBLE", "epoch(X)"),
    ("VARCHAR", "DOUBLE", "TRY_CAST(X AS DOUBLE)"),
    ("ENUM('1', '2')", "BIGINT", "enum_code(X)"),
    ("UUID", "DOUBLE", "one column for each value"),
    ("BLOB", "DOUBLE", "one column for each value"),
    ("DOUBLE[]", "DOUBLE", "one column for each value"),
    ("DOUBLE[3]", "DOUBLE", "one column for each value"),
    ("STRUCT(a DOUBLE)", "DOUBLE", "one column for each value"),
    ("MAP(VARCHAR, DOUBLE)", "DOUBLE", "one column for each value"),
    ("INTEGER", "VARCHAR", "CAST(X AS VARCHAR), spelt as in training"),
    ("DECIMAL(10,2)", "VARCHAR", "CAST(X AS VARCHAR)"),
    ("BOOLEAN", "VARCHAR", "CAST(X AS VARCHAR)"),
    ("DATE", "VARCHAR", "strftime(X"),
    ("BLOB", "VARCHAR", "decode(X)"),
    ("VARCHAR[]", "VARCHAR", "one column for each value"),
]


@pytest.mark.parametrize(("declared", "kind", "instead"), REFUSED)
def test_a_type_that_means_something_else_is_refused_with_what_to_do(declared, kind, instead):
    with pytest.raises(BindingError, match=f"the model takes {kind}") as caught:
        bound_to(declared, kind)
    assert instead in str(caught.value.hint)


def test_columns_bind_by_name_whatever_their_order_and_case_and_others_are_left_alone():
    signature = Signature((Column("age", "DOUBLE"), Column("Plan", "VARCHAR")), "regressor", "DOUBLE")
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (noise BLOB, PLAN VARCHAR, more DATE, Age DOUBLE)")
        found = bind(signature, find(con, "t"))
    assert [(b.column.name, b.source) for b in found] == [("age", "Age"), ("Plan", "PLAN")]


def test_missing_columns_are_named_all_at_once_each_with_what_may_be_meant():
    wanted = ("tenure", "monthly_charges", "contract", "partner", "colour")
    signature = Signature(tuple(Column(name, "DOUBLE") for name in wanted), "regressor", "DOUBLE")
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (tenur DOUBLE, monthlycharges DOUBLE, partner DOUBLE, contracts DOUBLE)")
        with pytest.raises(BindingError, match="lacks 4 of the model's 5") as caught:
            bind(signature, find(con, "t"))
    assert caught.value.details["missing"] == ["tenure", "monthly_charges", "contract", "colour"]
    for near in ("'tenur' for 'tenure'", "'monthlycharges' for 'monthly_charges'", "'contracts' for 'contract'"):
        assert near in str(caught.value.hint)
    assert "for 'colour'" not in str(caught.value.hint)


def test_all_columns_of_a_wrong_type_are_named_at_once():
    signature = Signature((Column("a", "DOUBLE"), Column("b", "VARCHAR")), "regressor", "DOUBLE")
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (a DATE, b INTEGER)")
        with pytest.raises(BindingError, match=r"a is DATE.*b is INTEGER") as caught:
            bind(signature, find(con, "t"))
    assert caught.value.details["columns"] == ["a", "b"]
