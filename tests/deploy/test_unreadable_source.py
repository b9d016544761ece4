"""`why` and `replay` where the source cannot be read: one bad row of a view, or a view over what is gone."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import reasoning
from sqlml.errors import DatabaseError
from tests.deploy.conftest import fill

pytestmark = pytest.mark.usefixtures("converted")


@pytest.fixture
def connection(customer_rows: object) -> Any:
    """A view that casts, over a table of texts."""
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 30)
        opened.execute(
            "CREATE TABLE base AS SELECT * REPLACE (monthly_charges::VARCHAR AS monthly_charges) FROM customers"
        )
        opened.execute("CREATE VIEW v AS SELECT * REPLACE (monthly_charges::DOUBLE AS monthly_charges) FROM base")
        yield opened


def deploy(connection: Any, keep: str, name: str = "churn") -> None:
    sqlml.deploy_db(connection, "churn:1", name=name, table="v", key="customer_id", keep=keep)


def spoil(connection: Any) -> None:
    connection.execute("UPDATE base SET monthly_charges = 'oops' WHERE customer_id = 5")


@pytest.mark.parametrize("keep", ["hash", "inputs"])
def test_one_bad_row_takes_only_the_spread_from_the_others(connection: Any, keep: str) -> None:
    deploy(connection, keep)
    before = sqlml.why(connection, "churn", 3)
    spoil(connection)
    found = sqlml.why(connection, "churn", 3)

    assert (found.prediction, found.contributions) == (before.prediction, before.contributions)
    assert any("oops" in note and "reading all its rows fails" in note for note in found.notes)
    assert {f.in_range for f in found.flips.columns if f.value is not None and f.column != "contract"} == {None}
    assert "oops" in "\n".join(reasoning.lines(found))


@pytest.mark.parametrize("keep", ["hash", "inputs"])
def test_the_bad_row_itself_has_its_prediction_still(connection: Any, keep: str) -> None:
    deploy(connection, keep)
    before = sqlml.why(connection, "churn", 5)
    spoil(connection)
    found = sqlml.why(connection, "churn", 5)

    assert found.prediction == before.prediction
    assert found.inputs.in_source is None
    assert any("source cannot be read" in note and "oops" in note for note in found.notes)
    if keep == "inputs":
        assert found.contributions == before.contributions


def test_what_was_kept_is_replayed_without_the_source(connection: Any) -> None:
    deploy(connection, "inputs")
    spoil(connection)

    assert sqlml.replay(connection, "churn", all_rows=True).versions[0].outcomes == {"equal": 30}
    assert [row.outcome for row in sqlml.replay(connection, "churn", key=5).rows] == ["equal"]


def test_with_a_hash_alone_a_source_that_fails_is_said(connection: Any) -> None:
    deploy(connection, "hash")
    deploy(connection, "inputs")  # a version of its own, which is replayed in the same transaction
    spoil(connection)
    first, second = sqlml.replay(connection, "churn", all_rows=True).versions

    assert first.outcomes == {"inputs not kept": 30}
    (reason,) = first.reasons
    assert "cannot be read any more (Conversion Error: Could not convert string 'oops'" in reason
    assert second.outcomes == {"equal": 30}
    assert [row.outcome for row in sqlml.replay(connection, "churn", key=3, version=1).rows] == ["equal"]


@pytest.mark.parametrize("keep", ["hash", "inputs"])
def test_a_view_over_a_table_that_is_gone(connection: Any, keep: str) -> None:
    deploy(connection, keep)
    connection.execute("ALTER TABLE base RENAME TO moved")
    found = sqlml.why(connection, "churn", 3)

    assert found.prediction.value is not None
    assert any("source cannot be read" in note for note in found.notes)
    expected = {"equal": 30} if keep == "inputs" else {"inputs not kept": 30}
    assert sqlml.replay(connection, "churn", all_rows=True).versions[0].outcomes == expected


def test_what_is_not_the_sources_fault_is_no_reason_of_its(connection: Any) -> None:
    deploy(connection, "hash")
    connection.execute("UPDATE sqlml.objects SET statement = 'FROM nowhere' WHERE role = 'query' AND name = 'keyed'")
    with pytest.raises(DatabaseError, match="nowhere"):
        sqlml.replay(connection, "churn", all_rows=True)
