"""What score does and does not do, by its counts."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import scoring
from sqlml.errors import KeyRefused
from tests.deploy.conftest import fill
from tests.deploy.faults import assert_current

pytestmark = pytest.mark.usefixtures("converted")


@pytest.fixture
def connection(customer_rows: object) -> Any:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 300)
        sqlml.deploy_db(opened, "churn:1", table="customers", key="customer_id")
        yield opened


def counts(scored: sqlml.Scored) -> tuple[str, int, int, int]:
    return scored.kind, scored.rows, scored.removed, scored.unchanged


def test_unchanged_rows_are_not_computed_again(connection: Any) -> None:
    assert counts(sqlml.score(connection, "churn")) == ("incremental", 0, 0, 300)


def test_new_changed_and_vanished_keys_are_told_apart(connection: Any) -> None:
    connection.execute("UPDATE customers SET tenure = tenure + 1 WHERE customer_id <= 10")
    connection.execute("UPDATE customers SET phone_service = 1 - phone_service")  # not an input of this model
    connection.execute("DELETE FROM customers WHERE customer_id BETWEEN 20 AND 24")
    connection.execute("INSERT INTO customers BY NAME SELECT * REPLACE (9001 AS customer_id) FROM customers LIMIT 1")
    assert counts(sqlml.score(connection, "churn")) == ("incremental", 11, 5, 285)
    assert_current(connection)


def test_every_row_can_be_done_again(connection: Any) -> None:
    assert counts(sqlml.score(connection, "churn", all_rows=True)) == ("full", 300, 0, 0)
    assert_current(connection)


def test_rows_without_a_prediction_are_counted_and_say_why(connection: Any) -> None:
    connection.execute("UPDATE customers SET tenure = NULL WHERE customer_id <= 3")
    assert sqlml.score(connection, "churn").failed == 3
    rows = connection.execute("SELECT prediction, error FROM churn.current WHERE customer_id <= 3").fetchall()
    assert all(prediction is None and "tenure" in error for prediction, error in rows)


def test_many_small_batches_are_one_scoring(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_ROWS", 37)
    assert counts(sqlml.score(connection, "churn", all_rows=True)) == ("full", 300, 0, 0)
    connection.execute("UPDATE customers SET tenure = tenure + 1")
    assert counts(sqlml.score(connection, "churn")) == ("incremental", 300, 0, 0)
    assert_current(connection)


def test_a_view_is_scored_in_buckets_of_its_keys(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_ROWS", 37)
    connection.execute("CREATE VIEW older AS FROM customers WHERE tenure > 5")
    sqlml.deploy_db(connection, "churn:2", table="older", key="customer_id")
    view = connection.execute("SELECT count(*) FROM older").fetchone()
    assert connection.execute("SELECT count(*), count(DISTINCT customer_id) FROM churn.current").fetchone() == view * 2


def test_a_key_whose_type_was_widened_is_the_same_key(connection: Any) -> None:
    connection.execute("ALTER TABLE customers ALTER customer_id TYPE HUGEINT")
    assert counts(sqlml.score(connection, "churn")) == ("incremental", 0, 0, 300)


def test_predictions_stamped_by_another_hash_function_are_compared_again(connection: Any) -> None:
    connection.execute("UPDATE sqlml.scorings SET hash_check = 1")
    connection.execute("UPDATE churn.predictions_v1 SET input_hash = input_hash + 1")
    assert sqlml.score(connection, "churn").rows == 300
    assert counts(sqlml.score(connection, "churn")) == ("incremental", 0, 0, 300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "INSERT INTO customers BY NAME SELECT * REPLACE (NULL AS customer_id) FROM customers LIMIT 2",
            "2 rows .* no key",
        ),
        ("INSERT INTO customers SELECT * FROM customers WHERE customer_id = 7", r"not unique .*: 7 \(2 times\)"),
    ],
)
def test_keys_that_are_missing_or_repeated_are_refused_and_nothing_is_written(
    connection: Any, change: str, message: str
) -> None:
    connection.execute(change)
    before = connection.execute("FROM churn.current ORDER BY ALL").fetchall()
    with pytest.raises(KeyRefused, match=message):
        sqlml.score(connection, "churn")
    assert connection.execute("FROM churn.current ORDER BY ALL").fetchall() == before


def test_an_empty_table_is_scored_to_no_rows(connection: Any) -> None:
    connection.execute("DELETE FROM customers")
    assert counts(sqlml.score(connection, "churn")) == ("incremental", 0, 300, 0)


def test_an_interrupted_scoring_is_seen_and_resumed(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_ROWS", 50)

    def stop(line: Any) -> None:
        if line.details.get("batch") == 3:
            raise KeyboardInterrupt

    connection.execute("UPDATE customers SET tenure = tenure + 1")
    with pytest.raises(KeyboardInterrupt):
        sqlml.score(connection, "churn", all_rows=True, listener=stop)
    [status] = sqlml.status(connection)
    assert any("did not finish" in problem for problem in status.problems)
    assert sqlml.score(connection, "churn").rows == 150
    assert sqlml.status(connection)[0].problems == ()
    assert_current(connection)
