"""What others do to a source and to what sqlml made: said plainly, and no reason to stop what still works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sqlml
from sqlml.errors import BindingError, KeyRefused, UsageError
from sqlml.retention import Retention
from tests.deploy.test_lifecycle import HERE, needs_triggers, one

RETYPED = "ALTER TABLE customers ALTER customer_id TYPE VARCHAR"


@pytest.fixture
def connection(warehouse: Path, converted: None) -> Any:
    with sqlml.connect(warehouse) as opened:
        yield opened


def problems(connection: Any) -> tuple[str, ...]:
    return sqlml.status(connection)[0].problems


def active(connection: Any) -> int | None:
    return sqlml.status(connection)[0].active_version


def test_a_key_of_another_type_is_said_and_the_next_version_has_it(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    stored = one(connection, "SELECT typeof(customer_id) FROM churn.predictions_v1 LIMIT 1")
    connection.execute(RETYPED)
    connection.execute("INSERT INTO customers BY NAME SELECT * REPLACE ('abc' AS customer_id) FROM customers LIMIT 1")
    said = f"The key customer_id of customers is VARCHAR now, .* by a key of type {stored}"
    with pytest.raises(BindingError, match=said):
        sqlml.score(connection, "churn")
    assert problems(connection)[0].startswith("The key customer_id of customers is VARCHAR now")

    assert (
        sqlml.deploy_db(connection, "churn:1", **HERE).version == 2
    )  # it is not v1 again, whose table has another key
    assert sqlml.deploy_db(connection, "churn:2", shadow=True, **HERE).version == 3
    assert sqlml.promote(connection, "churn").changes
    assert one(connection, "SELECT count(*) FROM churn.current WHERE customer_id = 'abc'") == 1
    assert problems(connection) == ()
    with pytest.raises(UsageError, match=f"customer_id is {stored} in v1 of churn, and VARCHAR in v3"):
        sqlml.diff(connection, "churn", 1, 3)

    with pytest.raises(BindingError, match=r"churn v1 is active again, .* could not be scored\. The key customer_id"):
        sqlml.rollback(connection, "churn", to=1)
    assert active(connection) == 1


@pytest.mark.parametrize("kind", ["HUGEINT", "INTEGER"])
def test_a_key_of_another_size_is_the_same_key(connection: Any, kind: str) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute(f"ALTER TABLE customers ALTER customer_id TYPE {kind}")
    assert sqlml.score(connection, "churn").rows == 0
    assert sqlml.deploy_db(connection, "churn:1", **HERE).version == 1
    assert sqlml.deploy_db(connection, "churn:2", **HERE).version == 2
    assert sqlml.diff(connection, "churn", 1, 2).common == 400


def test_a_fraction_is_no_key_of_whole_numbers(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute("ALTER TABLE customers ALTER customer_id TYPE DOUBLE")
    connection.execute("UPDATE customers SET customer_id = customer_id + 0.4")
    with pytest.raises(BindingError, match="is DOUBLE now"):
        sqlml.score(connection, "churn")


@pytest.mark.parametrize("dropped", ["TABLE churn.predictions_v1", "FUNCTION churn.predict_v1"])
def test_a_rollback_makes_again_what_was_dropped(connection: Any, dropped: str) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    sqlml.deploy_db(connection, "churn:2")
    connection.execute(f"DROP {dropped}")
    sqlml.rollback(connection, "churn")
    assert active(connection) == 1
    assert one(connection, "SELECT count(*) FROM churn.current") == 400
    assert sqlml.verify(connection, "churn", original=False).passed


def test_predictions_that_were_dropped_keep_nobody_from_the_next_version(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    sqlml.deploy_db(connection, "churn:2", shadow=True)
    connection.execute("DROP TABLE churn.predictions_v1 CASCADE")
    gone = r"The table churn\.predictions_v1 of churn v1 is gone: somebody dropped it"
    with pytest.raises(BindingError, match=gone):
        sqlml.score(connection, "churn")
    with pytest.raises(BindingError, match=gone):
        sqlml.diff(connection, "churn", 1, 2)
    (change,) = sqlml.promote(connection, "churn").changes
    assert change.startswith("not compared with v1: The table")
    assert active(connection) == 2


def test_kept_inputs_that_were_dropped_are_said(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", keep="inputs", **HERE)
    connection.execute("DROP TABLE churn.inputs_v1 CASCADE")
    with pytest.raises(BindingError, match=r"The table churn\.inputs_v1 of churn v1 is gone"):
        sqlml.score(connection, "churn")
    assert sqlml.deploy_db(connection, "churn:1").version == 1
    assert sqlml.score(connection, "churn").rows == 0


def test_a_rollback_names_the_column_that_its_views_miss(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    sqlml.deploy_db(connection, "churn:2")
    connection.execute("ALTER TABLE customers DROP COLUMN tenure")
    with pytest.raises(BindingError, match="tenure"):
        sqlml.rollback(connection, "churn")
    assert active(connection) == 2


def test_what_could_not_be_written_elsewhere_is_not_there(connection: Any, tmp_path: Path) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute("CREATE TABLE taken AS SELECT 1 AS x")
    for target in ("taken", str(tmp_path / "no" / "x.parquet")):
        with pytest.raises(sqlml.SqlmlError):
            sqlml.score_to(connection, "churn", "customers", target, key=["customer_id"])
    assert one(connection, "SELECT count(*) FROM sqlml.scorings WHERE kind = 'external'") == 0
    assert problems(connection) == ()


@pytest.mark.parametrize("made", ["inputs", "rows"])
def test_bytes_stay_while_something_was_made_with_them_in_another_deployment(
    connection: Any, tmp_path: Path, made: str
) -> None:
    sqlml.deploy_db(connection, "churn:1", name="first", keep="inputs", **HERE)
    if made == "rows":
        sqlml.score_to(connection, "first", "customers", str(tmp_path / "rows.parquet"), key=["customer_id"])
    sqlml.undeploy(connection, "first", drop_predictions=made == "rows")
    everything = Retention(keep_versions=0)
    sqlml.gc(connection, "first", retention=Retention(keep_versions=0, parts=("predictions",)), apply=True)
    for model in ("churn:1", "churn:2"):
        sqlml.deploy_db(connection, model, name="second", **HERE)
    sqlml.deploy_db(connection, "churn:2", name="second", threshold=0.3, **HERE)

    found = sqlml.gc(connection, "second", retention=everything, apply=True)
    assert {(removal.version, removal.part) for removal in found.removed} >= {(1, "predictions")}
    assert [(spared.version, spared.why) for spared in found.spared if spared.part == "bytes"] == [
        (1, "first v1 has the same model")
    ]
    assert one(connection, "SELECT count(*) FROM sqlml.models") == 2


@needs_triggers
def test_a_key_that_is_repeated_in_one_insert_is_refused_by_score(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", live=True, **HERE)
    connection.execute("INSERT INTO customers BY NAME SELECT * REPLACE (500 AS customer_id) FROM customers LIMIT 2")
    with pytest.raises(KeyRefused, match="not unique"):
        sqlml.score(connection, "churn")
    connection.execute("CREATE TABLE outcomes AS SELECT 500 AS customer_id, 'Yes' AS became, now() AS at")
    with pytest.raises(KeyRefused, match="several predictions of one key"):
        sqlml.label(connection, "churn", "outcomes", key=["customer_id"], label="became", at="at")
