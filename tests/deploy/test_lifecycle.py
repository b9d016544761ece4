"""What rollback, undeploy and the next version do with what is there already, whoever made it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.errors import DatabaseError, KeyRefused, NameRefused, NotDeployed, Refused, UsageError

needs_triggers = pytest.mark.skipif(
    int(duckdb.__version__.split(".")[0]) < 2, reason="DuckDB before 2.0 has no triggers"
)
HERE = {"table": "customers", "key": "customer_id"}


@pytest.fixture
def connection(warehouse: Path, converted: None) -> Any:
    with sqlml.connect(warehouse) as opened:
        yield opened


def one(connection: Any, query: str) -> Any:
    return connection.execute(query).fetchone()[0]


def test_the_next_version_keeps_the_plain_function(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", function="main.predict", **HERE)
    sqlml.deploy_db(connection, "churn:2")
    assert (
        one(connection, "SELECT count(*) FROM customers c WHERE predict(c) IS DISTINCT FROM churn.predict_v2(c)") == 0
    )


def test_a_rollback_takes_nobody_elses_function(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", function="main.mark", **HERE)
    sqlml.deploy_db(connection, "churn:2", function="main.other")
    connection.execute("CREATE MACRO mark(row) AS 'mine'")
    with pytest.raises(NameRefused, match=r"main\.mark already"):
        sqlml.rollback(connection, "churn")
    assert one(connection, "SELECT mark(c) FROM customers c LIMIT 1") == "mine"
    assert sqlml.status(connection)[0].active_version == 2


def test_a_version_that_was_undeployed_is_not_rolled_back_to(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    sqlml.undeploy(connection, "churn")
    sqlml.deploy_db(connection, "churn:1", **HERE)
    with pytest.raises(NotDeployed, match="v1 was undeployed"):
        sqlml.rollback(connection, "churn", to=1)
    assert sqlml.verify(connection, "churn", original=False).passed


def test_dropping_predictions_drops_those_that_were_kept_before(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    assert sqlml.undeploy(connection, "churn").kept == ("churn.predictions_v1",)
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute("CREATE VIEW of_before AS FROM churn.predictions_v1")
    with pytest.raises(Refused, match=r"undeployed: view main\.of_before read it"):
        sqlml.undeploy(connection, "churn", drop_predictions=True)
    connection.execute("DROP VIEW of_before")
    sqlml.undeploy(connection, "churn", drop_predictions=True)
    assert one(connection, "SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'churn'") == 0


def test_only_views_that_read_the_deployment_keep_it(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute("CREATE VIEW unrelated AS SELECT churn.tenure, churn.churn FROM customers AS churn")
    connection.execute("CREATE VIEW reader AS SELECT churn.predict(c) AS p FROM customers c")
    with pytest.raises(Refused, match=r"undeployed: view main\.reader read it"):
        sqlml.undeploy(connection, "churn")
    connection.execute("CREATE OR REPLACE VIEW reader AS SELECT count(*) AS n FROM churn.predict_table('customers')")
    with pytest.raises(Refused, match=r"undeployed: view main\.reader read it"):
        sqlml.undeploy(connection, "churn")
    connection.execute("DROP VIEW reader")
    sqlml.undeploy(connection, "churn")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE VIEW churn.mine AS FROM churn.current", "view churn.mine"),
        ("CREATE VIEW churn.mine AS SELECT count(*) AS n FROM current", "view churn.mine"),
        ("CREATE VIEW churn.mine AS SELECT predict(c) AS p FROM main.customers c", "view churn.mine"),
        ("CREATE VIEW churn.mine AS FROM predict_table('main.customers')", "view churn.mine"),
        ("CREATE MACRO mine() AS TABLE FROM churn.current", "function main.mine"),
        ("CREATE MACRO churn.mine(c) AS churn.predict_v1(c)", "function churn.mine"),
        ("CREATE VIEW mine AS SELECT mark(c) AS p FROM customers c", "view main.mine"),
    ],
)
def test_what_reads_the_deployment_keeps_it_wherever_it_is(connection: Any, statement: str, named: str) -> None:
    sqlml.deploy_db(connection, "churn:1", function="main.mark", **HERE)
    connection.execute(statement)
    with pytest.raises(Refused, match=rf"undeployed: {re.escape(named)} read it"):
        sqlml.undeploy(connection, "churn")
    assert sqlml.status(connection)[0].problems == ()


def test_what_is_in_the_deployments_schema_and_does_not_read_it_stays(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute(
        "CREATE VIEW churn.mine AS WITH current AS (FROM main.customers) SELECT tenure, 1 AS load FROM current"
    )
    connection.execute("CREATE MACRO churn.twice(current) AS 2 * current")
    assert "churn" not in sqlml.undeploy(connection, "churn", drop_predictions=True).dropped
    assert one(connection, "SELECT count(*) FROM churn.mine") == 400


def test_a_log_that_cannot_be_written_fails_no_routine(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sqlml.jobs.Job._write", full)
    lines: list[str] = []
    sqlml.deploy_db(connection, "churn:1", listener=lambda line: lines.append(line.message), **HERE)
    assert sum("cannot be written: No space left on device" in line for line in lines) == 1
    assert sqlml.status(connection)[0].active_version == 1


@needs_triggers
def test_columns_called_like_what_queries_need_inside_do_no_harm(connection: Any) -> None:
    """A STRUCT column wins over an alias of its name in some places, and a key column over an output of its name."""
    connection.execute(
        "CREATE TABLE others AS SELECT *, customer_id AS flips, customer_id AS move, customer_id AS in_a, customer_id AS k,"
        " {customer_id: -1, tenure: -1, flips: -1} AS s, s AS p, s AS n, s AS t, s AS a, s AS b FROM customers"
    )
    connection.execute("ALTER TABLE others ALTER k TYPE STRUCT(customer_id BIGINT) USING {customer_id: -1}")
    sqlml.deploy_db(connection, "churn:1", name="usual", **HERE)
    sqlml.deploy_db(connection, "churn:2", name="usual")
    others = {"table": "others", "key": "customer_id,flips,move,in_a,a,b", "live": True}
    sqlml.deploy_db(connection, "churn:1", name="named", **others)
    assert sqlml.verify(connection, "named", original=False).passed
    connection.execute("UPDATE others SET tenure = tenure + 1 WHERE customer_id < 20")
    assert sqlml.score(connection, "named").rows == 0
    connection.execute("UPDATE others SET tenure = tenure - 1 WHERE customer_id < 20")
    sqlml.deploy_db(connection, "churn:2", name="named")
    usual, named = (sqlml.diff(connection, name, 1, 2) for name in ("usual", "named"))
    assert (named.flipped, named.common, named.confusion) == (usual.flipped, usual.common, usual.confusion)
    assert one(connection, "SELECT count(*) FROM named.scored WHERE tenure = -1 OR prediction IS NULL") == 0


@needs_triggers
def test_verify_looks_past_the_triggers_of_followers(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", live=True, **HERE)
    sqlml.deploy_db(connection, "churn:1", name="after", table="churn.scored", key="customer_id", live=True)
    before = connection.execute("SELECT trigger_name FROM duckdb_triggers() ORDER BY ALL").fetchall()
    assert sqlml.verify(connection, "churn", original=False).passed
    assert connection.execute("SELECT trigger_name FROM duckdb_triggers() ORDER BY ALL").fetchall() == before


def test_an_empty_source_is_verified_and_compared(connection: Any) -> None:
    connection.execute("TRUNCATE customers")
    sqlml.deploy_db(connection, "churn:1", **HERE)
    sqlml.deploy_db(connection, "churn:2")
    assert sqlml.verify(connection, "churn", original=False).passed
    assert sqlml.diff(connection, "churn", 1, 2).sentences()[0].startswith("0 of 0 predictions change")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("ALTER TABLE customers DROP COLUMN tenure", "customers lacks 1 of the model's 3 input columns: 'tenure'"),
        ("ALTER TABLE customers DROP COLUMN customer_id", "customers has no column 'customer_id'"),
        ("DROP TABLE customers", "the source .* is gone"),
        ("DROP TABLE churn.predictions_v1", "table churn.predictions_v1 is gone"),
    ],
)
def test_damage_is_drift_with_its_name(connection: Any, damage: str, said: str) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute(damage)
    [objects] = [c for c in sqlml.verify(connection, "churn", original=False).checks if not c.passed]
    assert re.search(said, objects.detail)
    with pytest.raises(Refused):
        sqlml.score(connection, "churn")


@pytest.mark.parametrize(
    "damage",
    [
        "DROP MACRO churn.predict",
        "DROP MACRO churn.predict_v1",
        "DROP VIEW churn.scored",
        "CREATE OR REPLACE MACRO churn.predict(r) AS 'other'",
        "DROP TABLE churn.predictions_v1",
    ],
)
def test_deploying_again_puts_back_what_is_damaged(connection: Any, damage: str) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute(damage)
    assert not sqlml.verify(connection, "churn", original=False).passed
    assert sqlml.deploy_db(connection, "churn:1", **HERE).version == 1
    assert sqlml.verify(connection, "churn", original=False).passed


def test_a_file_is_not_replaced_by_its_own_predictions(connection: Any, tmp_path: Path) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    path = tmp_path / "in.parquet"
    connection.execute(f"COPY customers TO '{path}'")
    for source in (path, tmp_path / "*.parquet"):
        with pytest.raises(UsageError, match="is read by --from"):
            sqlml.score_to(connection, "churn", str(source), str(path), key=["customer_id"])
    assert one(connection, f"SELECT count(tenure) FROM '{path}'") == 400


def test_chosen_rows_need_unique_keys_too(connection: Any, tmp_path: Path) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    connection.execute("CREATE TABLE twice AS FROM customers UNION ALL FROM customers WHERE customer_id < 5")
    target = str(tmp_path / "out.parquet")
    with pytest.raises(KeyRefused, match="not unique"):
        sqlml.score_to(connection, "churn", "twice", target, key=["customer_id"], where="customer_id < 10")
    assert not Path(target).exists()
    written = sqlml.score_to(connection, "churn", "twice", target, key=["customer_id"], where="customer_id >= 5")
    assert written.rows == one(connection, "SELECT count(*) FROM customers WHERE customer_id >= 5")


def test_a_folder_that_is_not_there_is_said(connection: Any, tmp_path: Path) -> None:
    sqlml.deploy_db(connection, "churn:1", **HERE)
    with pytest.raises(DatabaseError, match="does not exist"):
        sqlml.score_to(connection, "churn", "customers", str(tmp_path / "no" / "x.parquet"), key=["customer_id"])
