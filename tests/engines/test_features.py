"""Values on their way from a table's column to the model: the same, rounded as numpy rounds, or refused for their row."""

from __future__ import annotations

import math
from decimal import Decimal

import duckdb
import numpy as np
import pytest

from sqlml import sql
from sqlml.engines.features import cast_error, feature
from sqlml.signature import Column


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        yield connection


def asked(con, kind, value):
    """(the feature, why there is none) of an expression."""
    column = Column("x", kind)
    number = sql.render(feature(column, sql.column("v")))
    found = cast_error(column, sql.column("v"))
    reason = f"CASE WHEN {sql.render(found[0])} THEN {sql.render(found[1])} END" if found else "NULL"
    return con.execute(f"SELECT {number}, {reason} FROM (SELECT {value} AS v)").fetchall()[0]


BIG = 2**53
TAKEN = [
    ("DOUBLE", "0.1::DECIMAL(3,1)", 0.1),
    ("DOUBLE", "12345678901234.567::DECIMAL(18,3)", float(Decimal("12345678901234.567"))),
    ("DOUBLE", f"{BIG}::BIGINT", float(BIG)),
    ("DOUBLE", f"{-BIG - 2}::BIGINT", float(-BIG - 2)),
    ("DOUBLE", "9223372036854775808::HUGEINT", 2.0**63),
    ("DOUBLE", "0.1::FLOAT", float(np.float32(0.1))),
    ("DOUBLE", "true", 1.0),
    ("DOUBLE", "1e300::DOUBLE", 1e300),
    ("DOUBLE", "'inf'::DOUBLE", math.inf),
    ("DOUBLE", "'nan'::DOUBLE", None),
    ("DOUBLE", "NULL", None),
    ("DOUBLE", "' 12.5 '", 12.5),
    ("FLOAT", "0.1::DOUBLE", float(np.float32(0.1))),
    ("FLOAT", "0.1::DECIMAL(2,1)", float(np.float32(0.1))),
    ("FLOAT", "16777216::INTEGER", 2.0**24),
    ("FLOAT", "16777217::DOUBLE", 2.0**24),  # a double is rounded, as numpy rounds it
    ("BIGINT", "3.0::DOUBLE", 3.0),
    ("BIGINT", "12.00::DECIMAL(10,2)", 12.0),
    ("BIGINT", "9223372036854775807::BIGINT", 2.0**63),  # what numpy makes of that int64
    ("BIGINT", "'nan'::DOUBLE", None),
    ("BIGINT", "NULL", None),
    ("INTEGER", "2147483647::BIGINT", 2.0**31 - 1),
    ("BOOLEAN", "1::TINYINT", 1.0),
    ("BOOLEAN", "'true'", 1.0),
    ("VARCHAR", "'  Café '", "  Café "),
    ("VARCHAR", "'x'::ENUM ('x', 'y')", "x"),
]
REFUSED = [
    ("DOUBLE", f"{BIG + 1}::BIGINT", "is not a number that fits DOUBLE"),
    ("DOUBLE", f"{-BIG - 1}::BIGINT", "is not a number that fits DOUBLE"),
    ("DOUBLE", "18446744073709551615::UBIGINT", "is not a number that fits DOUBLE"),
    ("DOUBLE", "170141183460469231731687303715884105727::HUGEINT", "is not a number that fits DOUBLE"),
    ("DOUBLE", "90071992547409931.5::DECIMAL(20,1)", "is not a number that fits DOUBLE"),
    ("DOUBLE", "'abc'", "is not a number that fits DOUBLE: abc"),
    ("FLOAT", "16777217::INTEGER", "is not a number that fits FLOAT"),
    ("FLOAT", "1e39::DOUBLE", "is not a number that fits FLOAT"),
    ("BIGINT", "2.5::DOUBLE", "is not a whole number that fits BIGINT"),
    ("BIGINT", "2.5::DECIMAL(3,1)", "is not a whole number that fits BIGINT"),
    ("BIGINT", "'inf'::DOUBLE", "is not a whole number that fits BIGINT"),
    ("BIGINT", "9223372036854775808::HUGEINT", "is not a whole number that fits BIGINT"),
    ("BIGINT", "1e300::DOUBLE", "is not a whole number that fits BIGINT"),
    ("INTEGER", "2147483648::BIGINT", "is not a whole number that fits INTEGER"),
    ("BOOLEAN", "2::INTEGER", "is not true or false: 2"),
    ("BOOLEAN", "0.5::DOUBLE", "is not true or false: 0.5"),
]


@pytest.mark.parametrize(("kind", "value", "wanted"), TAKEN)
def test_a_value_that_fits_is_what_numpy_would_make_of_it(con, kind, value, wanted):
    assert asked(con, kind, value) == (wanted, None)


@pytest.mark.parametrize(("kind", "value", "why"), REFUSED)
def test_a_value_that_would_become_another_is_refused_for_its_row(con, kind, value, why):
    assert f"x {why}" in str(asked(con, kind, value)[1])


def test_decimals_become_the_doubles_that_python_makes_of_them(con):
    rng = np.random.default_rng(0)
    for precision, scale in ((9, 2), (18, 2), (18, 17), (38, 10), (38, 37)):
        whole = [
            int(rng.integers(0, 10**9)) * 10 ** int(rng.integers(0, precision - 8)) + int(rng.integers(0, 9))
            for _ in range(200)
        ]
        values = [Decimal(min(number, 10**precision - 1)).scaleb(-scale) for number in whole]
        listed = ", ".join(f"('{value:f}'::DECIMAL({precision},{scale}))" for value in values)
        number = sql.render(feature(Column("x", "DOUBLE"), sql.column("v")))
        got = [row[0] for row in con.execute(f"SELECT {number} FROM (VALUES {listed}) t(v)").fetchall()]
        assert got == [float(value) for value in values]


@pytest.mark.parametrize("declared", ["VARCHAR COLLATE NOCASE", "VARCHAR COLLATE NOACCENT", "VARCHAR"])
def test_only_the_same_code_points_are_the_same_text_whatever_the_collation(declared):
    with duckdb.connect() as con:
        if declared == "VARCHAR":
            con.execute("SET default_collation = 'NOCASE'")
        con.execute(f"CREATE TABLE t (p {declared})")
        con.execute("INSERT INTO t VALUES ('BASIC'), ('café'), ('cafe'), ('basic '), ('basic')")
        text = sql.render(feature(Column("p", "VARCHAR"), sql.column("p")))
        found = con.execute(
            f"SELECT ({text}) = 'basic', CASE {text} WHEN 'basic' THEN true ELSE false END,"
            f" ({text}) IN ('basic', 'x'), ({text}) = 'cafe' FROM t"
        ).fetchall()
    assert [row[:3] for row in found] == [(False,) * 3] * 4 + [(True,) * 3]
    assert [row[3] for row in found] == [False, False, True, False, False]


def test_a_column_of_the_models_own_type_costs_nothing_to_check(con):
    """DuckDB knows the type when it binds: nothing of the check is left in the plan."""
    con.execute("CREATE OR REPLACE TABLE numbers AS SELECT random() AS x, range AS whole FROM range(10)")
    for kind, name in (("DOUBLE", "x"), ("BIGINT", "whole")):
        condition, _ = cast_error(Column(name, kind), sql.column(name))
        plan = con.execute(f"EXPLAIN SELECT * FROM numbers WHERE {sql.render(condition)}").fetchall()[0][1]
        assert "typeof" not in plan.lower()
        assert "HUGEINT" not in plan
