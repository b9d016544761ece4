"""replay: stored predictions computed again, and never a false "not equal"."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli, lineage
from sqlml.errors import NotDeployed, UsageError
from tests.deploy import pyfuncs
from tests.deploy.conftest import fill
from tests.deploy.test_faults import change_customers
from tests.deploy.test_keep import HOSTILE, deploy, outcomes

pytestmark = pytest.mark.usefixtures("converted")
BEHIND = timezone(timedelta(hours=-5))


@pytest.fixture
def connection(customer_rows: object) -> Any:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 60)
        yield opened


def moment() -> datetime:
    """Now, with nothing else at the same microsecond."""
    time.sleep(0.002)
    now = datetime.now(UTC)
    time.sleep(0.002)
    return now


def shown(connection: Any) -> dict[Any, Any]:
    query = 'SELECT customer_id, prediction, "probability_Yes", error FROM churn.current'
    return {key: rest for key, *rest in connection.execute(query).fetchall()}


def replayed(connection: Any, **which: Any) -> Any:
    [one] = sqlml.replay(connection, "churn", **({"all_rows": True} | which)).versions
    return one


def test_rows_of_every_version_after_ten_deploys_and_three_rollbacks(connection: Any) -> None:
    history: list[tuple[datetime, dict[Any, Any]]] = []
    for number in range(10):
        model, keep = f"churn:{number % 2 + 1}", "inputs" if number >= 4 else "hash"
        assert deploy(connection, keep, model, threshold=0.1 + number / 20).version == number + 1
        if number in (5, 8, 9):
            sqlml.rollback(connection, "churn")
        connection.execute(
            f"UPDATE customers SET tenure = (tenure * 7 + {number}) % 70 WHERE customer_id % 3 = {number % 3}"
        )
        sqlml.score(connection, "churn")
        history.append((moment(), shown(connection)))
    connection.execute("DROP MACRO churn.predict_v2; DROP MACRO churn.error_v3")
    connection.execute("UPDATE customers SET tenure = 1, contract = NULL")
    connection.execute("DELETE FROM customers WHERE customer_id % 2 = 0")

    found = outcomes(connection)
    assert list(found) == list(range(1, 11))
    assert not any("not equal" in one for one in found.values())
    assert all(found[number] == {"equal": 60} for number in range(5, 11))
    for when, rows in history[4:]:
        replay = sqlml.replay(connection, "churn", all_rows=True, as_of=when)
        assert set(replay.versions[0].outcomes) <= {"equal", "recomputed"}
        assert replay.versions[0].rows == len(rows)
        for key in (1, 30):
            [row] = sqlml.replay(connection, "churn", key=key, as_of=when).rows
            assert [row.computed[name] for name in ("prediction", "probability_Yes", "error")] == rows[key]

    collected = sqlml.gc(connection, "churn", retention=sqlml.Retention(keep_versions=3), apply=True)
    gone = {removal.version for removal in collected.removed}
    assert gone
    after = sqlml.replay(connection, "churn", all_rows=True)
    assert {v.version: v.outcomes for v in after.versions if not v.skipped} == {
        number: outcome for number, outcome in found.items() if number not in gone
    }
    assert {v.version for v in after.versions if v.skipped and "collected by gc" in v.skipped} == gone
    for number in set(range(1, 11)) - gone:  # from a row to the bytes, the run and what it was deployed from
        row = connection.execute(
            "SELECT count(m.onnx), count(v.artifact_sha256), count(*) FROM churn.predictions_v" + f"{number} p"
            " JOIN sqlml.scorings s USING (scoring_id) JOIN sqlml.versions v USING (deployment, version)"
            " LEFT JOIN sqlml.models m ON m.sha256 = v.model_sha256"
        ).fetchone()
        assert len(set(row)) == 1
        assert row[0] > 0


def test_a_prediction_that_was_tampered_with_is_said_with_both_values(customer_rows: object, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        fill(connection, customer_rows, 60)
        deploy(connection)
        connection.execute("DROP MACRO churn.predict_v1")
        connection.execute('UPDATE churn.predictions_v1 SET "probability_Yes" = 0.25 WHERE customer_id = 4')
        connection.execute("UPDATE churn.predictions_v1 SET prediction = upper(prediction) WHERE customer_id = 9")
        connection.execute("UPDATE churn.predictions_v1 SET error = 'no' WHERE customer_id = 10")
        replay = sqlml.replay(connection, "churn", all_rows=True)
        assert replay.versions[0].outcomes == {"equal": 57, "not equal": 3}
        assert [row.key["customer_id"] for row in replay.rows] == [4, 9, 10]
        assert replay.rows[0].stored["probability_Yes"] == 0.25
        assert replay.rows[0].computed["probability_Yes"] != 0.25
    assert cli.run(["replay", "churn", "--all", "-d", str(path)]) == 4
    assert cli.run(["replay", "churn", "--key", "4", "-d", str(path), "--json"]) == 4
    assert cli.run(["replay", "churn", "--key", "3", "-d", str(path)]) == 0


def test_json_says_what_the_table_says(
    customer_rows: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        fill(connection, customer_rows, 20)
        deploy(connection)
    assert cli.run(["replay", "churn", "--sample", "5", "-d", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["passed"], said["versions"][0]["outcomes"]) == (True, {"equal": 5})
    assert cli.run(["replay", "churn", "--key", "7", "-d", str(path)]) == 0
    assert "customer_id = 7: equal" in capsys.readouterr().out


@pytest.mark.parametrize("keep", ["hash", "inputs"])
def test_what_changed_meanwhile_is_never_called_not_equal(connection: Any, keep: str) -> None:
    connection.execute(HOSTILE)
    deploy(connection, keep, table="people", key=("shop", "id"))
    assert outcomes(connection) == {1: {"equal": 8}}
    connection.execute("INSERT INTO people FROM people")  # every key twice
    connection.execute("UPDATE people SET tenure = 'nan'::DOUBLE WHERE tenure IS NULL")  # the same to a model
    connection.execute("UPDATE people SET tenure = 3 WHERE shop = 'Zürich' AND rowid < 8")
    connection.execute("UPDATE people SET monthly_charges = monthly_charges + 1e-9 WHERE shop = ''")
    connection.execute("DELETE FROM people WHERE shop = 'c'")
    expected = {"equal": 8} if keep == "inputs" else {"equal": 6, "inputs changed": 1, "inputs not kept": 1}
    assert outcomes(connection) == {1: expected}

    connection.execute("ALTER TABLE people RENAME COLUMN tenure TO months")
    assert outcomes(connection) == {1: {"equal": 8} if keep == "inputs" else {"inputs not kept": 8}}
    connection.execute("DROP VIEW churn.scored; DROP TABLE people")
    assert outcomes(connection) == {1: {"equal": 8} if keep == "inputs" else {"inputs not kept": 8}}


def test_a_hash_that_cannot_be_compared_says_so(connection: Any) -> None:
    deploy(connection)
    connection.execute("UPDATE churn.predictions_v1 SET input_hash = input_hash + 1")
    assert replayed(connection).outcomes == {"inputs changed": 60}
    connection.execute("UPDATE sqlml.scorings SET hash_check = 1")
    assert list(replayed(connection).reasons) == ["the hash was made by a DuckDB that hashes otherwise"]
    connection.execute("DELETE FROM sqlml.scorings")
    assert replayed(connection).outcomes == {"inputs not kept": 60}


def test_what_was_shown_at_a_moment(connection: Any) -> None:
    before = moment()
    deploy(connection, "inputs")
    first, then = moment(), shown(connection)
    connection.execute("UPDATE customers SET tenure = 71 - tenure WHERE customer_id <= 5")
    connection.execute("DELETE FROM customers WHERE customer_id = 9")
    sqlml.score(connection, "churn")
    second = moment()
    sqlml.score(connection, "churn", all_rows=True)
    connection.execute("UPDATE churn.predictions_v1 SET prediction = 'x' WHERE customer_id = 20")

    assert replayed(connection, as_of=first).outcomes == {"recomputed": 60}
    assert replayed(connection, as_of=second).outcomes == {"recomputed": 59}
    assert replayed(connection, as_of="2999-01-01").outcomes == {"equal": 58, "not equal": 1}
    for key in (1, 9, 20):
        [row] = sqlml.replay(connection, "churn", key=key, as_of=first).rows
        assert (row.computed["prediction"], row.stored) == (then[key][0], None)
    with pytest.raises(NotDeployed, match="showed no prediction for customer_id = 9"):
        sqlml.replay(connection, "churn", key=9, as_of=second)
    with pytest.raises(NotDeployed, match="No version of churn was active"):
        sqlml.replay(connection, "churn", key=9, as_of=before)
    with pytest.raises(UsageError, match="no moment"):
        sqlml.replay(connection, "churn", as_of="yesterday")


def test_by_hashes_what_was_overwritten_is_not_known(connection: Any) -> None:
    deploy(connection)
    then = moment()
    change_customers(connection)
    sqlml.score(connection, "churn")
    found = replayed(connection, as_of=then)
    assert set(found.outcomes) == {"equal", "inputs not kept"}
    assert list(found.reasons) == ["it was scored again since, and the inputs of then were not kept"]
    with pytest.raises(NotDeployed, match="is not known"):
        sqlml.replay(connection, "churn", key=55, as_of=then)


def test_versions_that_cannot_be_replayed_say_why(connection: Any) -> None:
    deploy(connection)
    sqlml.undeploy(connection, "churn")
    deploy(connection, None, "churn:2")
    connection.execute("DELETE FROM churn.predictions_v2 WHERE customer_id > 10")
    first, second = sqlml.replay(connection, "churn", all_rows=True).versions
    assert "undeployed" in first.skipped
    assert second.outcomes == {"equal": 10}


@pytest.mark.parametrize(
    ("key", "error"), [("4.5", NotDeployed), ("x", NotDeployed), ((1, 2), UsageError), (None, None)]
)
def test_keys_are_read_as_their_columns_types(connection: Any, key: Any, error: Any) -> None:
    deploy(connection)
    if error is None:
        with pytest.raises(UsageError, match="NULL is no key"):
            sqlml.replay(connection, "churn", key=[None])
        return
    with pytest.raises(error):
        sqlml.replay(connection, "churn", key=key)


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-05:00", datetime.max.replace(tzinfo=BEHIND)],
)
def test_a_moment_that_leads_over_an_end_of_time_is_a_usage_error(connection: Any, moment: Any) -> None:
    deploy(connection)
    for ask in (lambda: sqlml.why(connection, "churn", 3, as_of=moment), lambda: replayed(connection, as_of=moment)):
        with pytest.raises(UsageError, match="no moment of the years 1 to 9999"):
            ask()


def test_more_rows_than_can_be_drawn_and_a_key_that_is_no_text_are_usage_errors(connection: Any) -> None:
    deploy(connection)
    with pytest.raises(UsageError, match="at most 1,000,000,000 rows"):
        replayed(connection, all_rows=False, sample=99999999999999999999)
    asked = [
        lambda: sqlml.replay(connection, "churn", key="\udcff"),
        lambda: sqlml.why(connection, "churn", "\udcff"),
        lambda: lineage.of_key(connection, "churn", ["\udcff"]),
    ]
    for ask in asked:
        with pytest.raises(UsageError, match=r"'\\udcff' is no key: these bytes are no UTF-8 text"):
            ask()


def test_a_model_that_is_asked_is_asked_again(customer_rows: object, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.undo()  # the conversions of the session: this one is a python_function
    model = pyfuncs.save(tmp_path / "asked", 'return rows["age"] * 2 + rows["visits"]')
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE visitors (id BIGINT, age DOUBLE, plan VARCHAR, visits BIGINT)")
        connection.execute(
            "INSERT INTO visitors VALUES (1, 3, 'a', 2), (2, NULL, 'b', 2), (3, 1, '', 9007199254740993)"
        )
        arguments = {"table": "visitors", "key": "id", "engine": "pyfunc"}
        with pytest.raises(UsageError, match="ask the model about every row"):
            sqlml.deploy_db(connection, str(model), name="churn", keep="none", **arguments)
        sqlml.deploy_db(connection, str(model), name="churn", keep="inputs", **arguments)
        assert connection.execute("SELECT visits FROM churn.inputs_v1 WHERE id = 3").fetchone() == (9007199254740993,)
        connection.execute("UPDATE visitors SET age = 5")
        connection.execute("UPDATE churn.predictions_v1 SET prediction = 9 WHERE id = 1")
        found = sqlml.replay(connection, "churn", all_rows=True)
        assert found.versions[0].outcomes == {"equal": 2, "not equal": 1}
        assert found.rows[0].computed["prediction"] == 8
