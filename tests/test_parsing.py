"""Statements are parsed once, and mean the same each time."""

from __future__ import annotations

import gc
from typing import Any

import duckdb
import pytest

from sqlml import parsing
from sqlml.parsing import parsed


@pytest.fixture
def connection() -> Any:
    with duckdb.connect() as opened:
        yield opened


def test_a_statement_is_parsed_once_and_takes_other_values_each_time(connection: Any) -> None:
    text = "SELECT $1::INTEGER + 1, $2::VARCHAR[]"
    once = parsed(connection, text)

    assert parsed(connection, text) is once
    assert connection.execute(once, [1, ["a"]]).fetchall() == [(2, ["a"])]
    assert connection.execute(once, [None, []]).fetchall() == [(None, [])]


def test_what_it_reads_may_change_in_between(connection: Any) -> None:
    connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    every = parsed(connection, "FROM t")
    connection.execute(every).fetchall()
    connection.execute("CREATE OR REPLACE TABLE t AS SELECT 'x' AS b, 2 AS c")

    assert connection.execute(every).fetchall() == [("x", 2)]


def test_no_connection_sees_the_settings_of_another(connection: Any) -> None:
    with connection.cursor() as other:
        other.execute("SET integer_division = true")
        assert other.execute(parsed(other, "SELECT 3 / 2")).fetchall() == [(1,)]
    assert connection.execute(parsed(connection, "SELECT 3 / 2")).fetchall() == [(1.5,)]


def test_long_statements_push_out_what_was_not_asked_for(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MOST", 100)
    first, second = (f"SELECT {letter * 50}" for letter in "12")
    once = parsed(connection, first)
    assert parsed(connection, first) is once
    parsed(connection, second)
    assert parsed(connection, first) is not once
    long = f"SELECT {'3' * 500}"
    assert parsed(connection, long) is parsed(connection, long)


def test_a_connection_that_is_gone_is_forgotten() -> None:
    before = len(parsing._remembered)
    opened = duckdb.connect()
    parsed(opened, "SELECT 1")
    assert len(parsing._remembered) == before + 1
    opened.close()
    del opened
    gc.collect()
    assert len(parsing._remembered) == before


def test_what_is_no_sql_or_more_than_one_statement_is_refused(connection: Any) -> None:
    with pytest.raises(duckdb.ParserException):
        parsed(connection, "SELEC 1")
    with pytest.raises(ValueError, match="values to unpack"):
        parsed(connection, "SELECT 1; SELECT 2")
