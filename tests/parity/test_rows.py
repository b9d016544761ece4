"""Hostile rows: each kind is there, typed as the signature says, bounded, and the same every time."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from sqlml.compile import Probes
from sqlml.parity.rows import hostile_rows
from sqlml.signature import Column, Signature

SIGNATURE = Signature(
    (
        Column("tenure", "BIGINT"),
        Column("fee", "DOUBLE"),
        Column("single", "FLOAT"),
        Column("contract", "VARCHAR"),
        Column("senior", "BOOLEAN"),
        Column("small", "INTEGER"),
    ),
    "classifier",
    "VARCHAR",
    ("No", "Yes"),
    True,
)


def known(categories=(), **thresholds):
    values = {name: np.array(found) for name, found in thresholds.items()}
    return Probes(values, dict(categories), thresholds_found=sum(map(len, values.values())))


PROBES = known({"contract": ("Month", "One year", "Café")}, fee=[0.5], tenure=[3.5], single=[0.1])


def column(rows, name):
    return rows.features.column(name).to_pylist()


def test_types_are_the_signatures():
    types = [str(field.type) for field in hostile_rows(SIGNATURE, PROBES).features.schema]
    assert types == ["int64", "double", "float", "string", "bool", "int32"]


def test_every_kind_of_value_is_there():
    rows = hostile_rows(SIGNATURE, PROBES)
    fees = column(rows, "fee")
    assert {0.5, math.nextafter(0.5, 1), math.nextafter(0.5, 0), math.inf, -math.inf, 1e308, 5e-324, None} <= set(fees)
    assert any(v == 0 and math.copysign(1, v) < 0 for v in fees if v is not None)
    assert any(math.isnan(v) for v in fees if v is not None)
    assert {2**53 + 1, 2**24 + 1, -(2**63), 2**63 - 1, 3, 4, None} <= set(column(rows, "tenure"))
    assert {2**31 - 1, -(2**31)} <= set(column(rows, "small"))
    texts = set(column(rows, "contract"))
    assert {"", " ", "Month", "MONTH", "month", "Month ", " Month", "Mont", "Month\x00", "Month\n", None} <= texts
    assert {"Café", "Cafe\u0301"} <= texts
    assert "sqlml: never seen" in texts
    assert {True, False, None} == set(column(rows, "senior"))


def test_null_in_each_column_alone_and_in_all():
    rows = hostile_rows(SIGNATURE, PROBES)
    missing = [{n for n, v in row.items() if v is None} for row in rows.features.to_pylist()]
    for name in rows.features.column_names:
        assert {name} in missing
    assert set(rows.features.column_names) in missing


def test_an_origin_says_why_a_row_is_there():
    rows = hostile_rows(SIGNATURE, PROBES)
    by_origin = dict(zip(rows.origins, rows.features.to_pylist(), strict=True))
    assert by_origin["unseen category in contract"]["contract"] == "sqlml: never seen"
    assert by_origin["blank after of category 'Month' of contract"]["contract"] == "Month "


def test_dates_before_1970_as_numbers_and_the_ends_of_integers_are_there():
    rows = hostile_rows(SIGNATURE, PROBES)
    assert {-2208988800.5, -0.001, 2.0**53 - 1, 2.0**24 - 1, -(2.0**63)} <= set(column(rows, "fee"))
    assert {-86400, -2208988800, 2**53 - 1, -(2**53) - 1} <= set(column(rows, "tenure"))


def test_every_category_is_there_however_many_there_are():
    categories = tuple(f"c{i}" for i in range(4000))
    rows = hostile_rows(SIGNATURE, known({"contract": categories}))
    assert set(categories) <= set(column(rows, "contract"))


def test_a_limit_at_which_models_raise_stands_alone():
    """As the largest float32 does: in a row with others, the error would hide what they show."""
    rows = hostile_rows(SIGNATURE, known(fee=[0.5, 3.4e38], tenure=[3.5]))
    huge = [kind for kind, fee in zip(rows.kinds, column(rows, "fee"), strict=True) if fee == 3.4e38]
    assert huge
    assert "threshold" not in huge


def test_hostile_values_stand_in_rows_of_the_sample():
    sample = pa.table(
        {"FEE": [Decimal("70.50")] * 9, "tenure": [12.0] * 9, "contract": ["Month"] * 9, "other": [1] * 9}
    )
    rows = hostile_rows(SIGNATURE, PROBES, sample)
    alone = [r for r, o in zip(rows.features.to_pylist(), rows.origins, strict=True) if o == "2^31 in fee"]
    assert (alone[0]["tenure"], alone[0]["contract"]) == (12, "Month")
    assert rows.kinds.count("sample") == 9


def test_rows_that_have_no_such_type_are_left_out_of_the_sample():
    sample = pa.table({"fee": ["1.5", "abc"], "tenure": [1, 2], "contract": ["a", "b"]})
    assert hostile_rows(SIGNATURE, PROBES, sample).kinds.count("sample") == 1


def test_the_same_arguments_give_the_same_rows():
    # Compared as text: NaN equals nothing.
    first, second = (hostile_rows(SIGNATURE, PROBES, seed=3) for _ in range(2))
    assert str(first.features.to_pylist()) == str(second.features.to_pylist())
    assert str(hostile_rows(SIGNATURE, PROBES, seed=4).features.to_pylist()) != str(first.features.to_pylist())


@pytest.mark.parametrize("columns", [1, 300])
def test_many_columns_and_thresholds_stay_within_bounds(columns):
    signature = Signature(tuple(Column(f"c{i}", "DOUBLE") for i in range(columns)), "regressor", "DOUBLE")
    found = known(**{c.name: [i / 7 for i in range(5000 // columns)] for c in signature.columns})
    rows = hostile_rows(signature, found)
    assert len(rows) < (5000 * 6 if columns == 1 else 0) + 6000
    assert {"threshold", "extreme", "null", "mixed"} <= set(rows.kinds)
