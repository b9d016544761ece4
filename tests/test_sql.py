"""SQL that is put together from parts, asked of DuckDB itself."""

from __future__ import annotations

import duckdb
import pytest

from sqlml import sql

TOTAL = 1_000_000


@pytest.mark.parametrize("rows", [1, 5, 20, 99, 100, 500])
def test_a_sample_is_of_all_rows(rows: int) -> None:
    drawn = [
        [number for (number,) in duckdb.sql(sql.sampled(f"SELECT range FROM range({TOTAL})", rows, seed)).fetchall()]
        for seed in range(100 // rows or 1)
    ]
    assert {len(set(numbers)) for numbers in drawn} == {rows}
    tenths = {10 * number // TOTAL for numbers in drawn for number in numbers}
    assert tenths == set(range(10))


def test_a_sample_of_fewer_rows_than_there_should_be_has_them_all() -> None:
    assert sorted(duckdb.sql(sql.sampled("SELECT range FROM range(7)", 20, 1)).fetchall()) == [(n,) for n in range(7)]


def test_a_sample_is_the_same_each_time() -> None:
    drawn = [duckdb.sql(sql.sampled(f"SELECT range FROM range({TOTAL})", 20, 3)).fetchall() for _ in range(2)]
    assert drawn[0] == drawn[1]
