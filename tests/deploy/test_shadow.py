"""A version beside the active one: scored, compared, promoted or retired, and nobody reads it before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
import sqlml.deploy.routine
from sqlml import cli, contract
from sqlml.catalog import records
from sqlml.deploy.deployment import options_from
from sqlml.errors import ContractChanged, IllegalMove, NotDeployed, ParityFailed, Refused, UnsupportedModel, UsageError
from tests.deploy.faults import assert_current, assert_whole, states_told

HERE = {"table": "customers", "key": "customer_id"}
needs_triggers = pytest.mark.skipif(
    int(duckdb.__version__.split(".")[0]) < 2, reason="DuckDB before 2.0 has no triggers"
)


@pytest.fixture
def connection(warehouse: Path, converted: None) -> Any:
    with sqlml.connect(warehouse) as opened:
        opened.execute(
            "DELETE FROM customers WHERE customer_id > (SELECT quantile_disc(customer_id, 0.25) FROM customers)"
        )
        sqlml.deploy_db(opened, "churn:1", **HERE)
        yield opened


def seen(connection: Any) -> tuple[Any, ...]:
    """All that a reader of the deployment sees: what its functions and views are, and what they say."""
    return tuple(
        connection.execute(query).fetchall()
        for query in (
            "SELECT function_name, macro_definition FROM duckdb_functions() WHERE schema_name = 'churn'"
            " AND function_name NOT LIKE '%_v2' ORDER BY ALL",
            "SELECT view_name, sql FROM duckdb_views() WHERE schema_name = 'churn' ORDER BY ALL",
            "SELECT * FROM churn.current ORDER BY customer_id",
            "SELECT * FROM churn.scored ORDER BY customer_id",
            "SELECT customer_id, churn.predict(c), churn.probability(c) FROM customers c ORDER BY customer_id",
            "SELECT * EXCLUDE (changes, updated_at) FROM sqlml.deployments ORDER BY name",
            "SELECT trigger_name FROM duckdb_triggers() ORDER BY ALL",
        )
        if "duckdb_triggers" not in query or int(duckdb.__version__[0]) >= 2
    )


def in_state(connection: Any) -> list[str]:
    return [version.state for version in records.versions(connection, "churn")]


def actions(connection: Any) -> list[tuple[str, int | None, int | None]]:
    return [(e.action, e.from_version, e.to_version) for e in reversed(sqlml.history(connection, "churn"))]


def assert_complete(connection: Any, version: int) -> None:
    wrong = connection.execute(
        f"SELECT count(*) FROM customers c FULL JOIN churn.predictions_v{version} p USING (customer_id)"
        f" WHERE p.prediction IS DISTINCT FROM CASE WHEN c.customer_id IS NOT NULL THEN churn.predict_v{version}(c) END"
        " OR p.scoring_id IS NULL"
    ).fetchone()
    assert wrong == (0,)


def test_a_shadow_changes_nothing_that_anybody_reads(connection: Any) -> None:
    before = seen(connection)
    deployed = sqlml.deploy_db(connection, "churn:2", shadow=True, why="to see")
    assert (deployed.version, deployed.state) == (2, "shadow")
    assert_complete(connection, 2)
    assert seen(connection) == before
    assert in_state(connection) == ["active", "shadow"]
    assert sqlml.status(connection)[0].problems == ()
    assert actions(connection)[-2:] == [("stage", None, 2), ("shadow", None, 2)]
    assert sqlml.history(connection)[0].database_user == "duckdb"

    connection.execute("UPDATE customers SET tenure = tenure + 3 WHERE customer_id % 5 = 0")
    scored = sqlml.score(connection, "churn")
    assert (scored.version, [one.version for one in scored.shadows]) == (1, [2])
    assert scored.shadows[0].rows == scored.rows > 0
    assert_complete(connection, 2)
    assert_current(connection)

    again = sqlml.deploy_db(connection, "churn:2", shadow=True)
    assert (again.version, again.is_new, again.state) == (2, False, "shadow")


def test_a_promotion_is_compared_and_a_rollback_brings_the_former_back(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:2", shadow=True)
    connection.execute("UPDATE customers SET tenure = tenure + 3 WHERE customer_id % 5 = 0")
    done = sqlml.promote(connection, "churn", why="better")
    assert (done.from_version, done.to_version) == (1, 2)
    assert "predictions change" in done.changes[0]
    assert in_state(connection) == ["retired", "active"]
    assert sqlml.history(connection)[0].why == "better"
    assert_whole(connection)
    assert_current(connection)

    again = sqlml.promote(connection, "churn", version=2)
    assert (again.from_version, again.to_version, again.changes) == (2, 2, ())
    back = sqlml.rollback(connection, "churn")
    assert (back.from_version, back.to_version) == (2, 1)
    assert_current(connection)
    assert sqlml.deploy_db(connection, "churn:2", shadow=True).version == 2  # retired, and a shadow again
    assert sqlml.rollback(connection, "churn", to=2).to_version == 2  # it was active once
    assert [a for a, *_ in actions(connection)][-4:] == ["promote", "rollback", "shadow", "rollback"]


def test_a_shadow_that_is_retired_is_no_longer_scored_and_keeps_what_it_has(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:2", shadow=True)
    done = sqlml.retire(connection, "churn", version=2, why="no better")
    assert (done.version, done.from_state) == (2, "shadow")
    assert sqlml.score(connection, "churn").shadows == ()
    assert connection.execute("SELECT count(churn.predict_v2(c)) FROM customers c").fetchone()[0] > 0
    events = actions(connection)
    assert events[-1] == ("retire", 2, None)
    assert sqlml.retire(connection, "churn", version=2).from_state == "retired"
    assert actions(connection) == events
    with pytest.raises(NotDeployed, match="v2 was never active: it is retired"):
        sqlml.rollback(connection, "churn", to=2)
    with pytest.raises(IllegalMove, match="v2 is retired, and only a shadow can be promoted"):
        sqlml.promote(connection, "churn", version=2)
    assert sqlml.deploy_db(connection, "churn:2").version == 2
    assert in_state(connection) == ["retired", "active"]


def test_what_cannot_be_is_refused_with_what_to_do(connection: Any) -> None:
    with pytest.raises(NotDeployed, match=r"has no shadow to promote.*--shadow"):
        sqlml.promote(connection, "churn")
    with pytest.raises(IllegalMove, match=r"v1 is active, and cannot become retired.*Promote or deploy another"):
        sqlml.retire(connection, "churn", version=1)
    with pytest.raises(Refused, match="no active version that this one could be a shadow of"):
        sqlml.deploy_db(connection, "churn:2", name="other", shadow=True, **HERE)
    for option in ({"live": True}, {"live": False}, {"score": False}):
        with pytest.raises(UsageError, match="does not go with --shadow"):
            options_from("churn:2", shadow=True, **option)
    assert sqlml.deploy_db(connection, "churn:1", shadow=True).state == "active"
    sqlml.deploy_db(connection, "churn:2", shadow=True)
    sqlml.deploy_db(connection, "churn:2", shadow=True, threshold=0.4)
    with pytest.raises(UsageError, match=r"several shadows.*--version: 2, 3"):
        sqlml.promote(connection, "churn")
    with pytest.raises(NotDeployed, match=r"v3 was never active: it is shadow.*sqlml promote churn --version 3"):
        sqlml.rollback(connection, "churn", to=3)
    sqlml.undeploy(connection, "churn", drop_predictions=True)
    assert in_state(connection) == ["undeployed"] * 3


def test_a_contract_that_changes_is_accepted_at_the_promotion(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "differences", lambda before, after: ["prediction: VARCHAR -> BIGINT"])
    lines: list[str] = []
    sqlml.deploy_db(connection, "churn:2", shadow=True, listener=lambda line: lines.append(line.message))
    assert "promote will need --accept-contract-change: prediction: VARCHAR -> BIGINT" in lines
    before = seen(connection)
    with pytest.raises(ContractChanged):
        sqlml.promote(connection, "churn")
    assert seen(connection) == before
    sqlml.promote(connection, "churn", accept_contract_change=True)
    assert in_state(connection) == ["retired", "active"]


def test_a_shadow_that_cannot_be_scored_keeps_nobody_from_the_predictions(connection: Any) -> None:
    connection.execute("CREATE VIEW narrow AS FROM customers")
    sqlml.deploy_db(connection, "churn:2", shadow=True, table="narrow", key="customer_id")
    connection.execute("DROP VIEW narrow")
    connection.execute("UPDATE customers SET tenure = tenure + 1")
    lines: list[str] = []
    scored = sqlml.score(connection, "churn", listener=lambda line: lines.append(line.message))
    assert (scored.rows > 0, scored.shadows) == (True, ())
    assert [line for line in lines if "the shadow churn v2 was not scored" in line]
    assert [p for p in sqlml.status(connection)[0].problems if "the shadow v2: the source" in p]


@needs_triggers
def test_live_and_chained_deployments_follow_the_promotion(connection: Any) -> None:
    sqlml.set_live(connection, "churn", True)
    sqlml.deploy_db(connection, "churn:1", name="after", table="churn.scored", key="customer_id", live=True)
    before = seen(connection)
    sqlml.deploy_db(connection, "churn:2", shadow=True)
    assert seen(connection) == before
    assert sqlml.promote(connection, "churn").scored is not None
    connection.execute("UPDATE customers SET tenure = tenure + 5 WHERE customer_id % 3 = 0")
    for name in ("churn", "after"):
        assert sqlml.status(connection, name)[0].problems == ()
        assert sqlml.score(connection, name).rows == 0  # the triggers have seen it
    assert_whole(connection)
    assert_current(connection)


def test_parity_that_fails_is_in_the_history_and_leaves_no_object(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(connection)
    with monkeypatch.context() as patch:
        patch.setattr("sqlml.parity.Evidence.passed", property(lambda evidence: False))
        with pytest.raises(ParityFailed):
            sqlml.deploy_db(connection, "churn:2", why="a try")
        with pytest.raises(ParityFailed):
            sqlml.deploy_db(connection, "churn:2", name="first", **HERE)
    assert seen(connection) == before
    failed = records.versions(connection, "churn")[1]
    assert (failed.state, failed.prediction_table) == ("failed", None)
    assert "does not give the model's own answers" in str(failed.failure)
    assert (actions(connection)[-1], sqlml.history(connection, "churn")[0].why) == (("fail", None, 2), "a try")
    evidence = connection.execute(
        "SELECT deployment, version, passed FROM sqlml.parity WHERE NOT passed ORDER BY 1"
    ).fetchall()
    assert evidence == [("churn", 2, False), ("first", 1, False)]
    assert connection.execute("SELECT count(*) FROM sqlml.objects WHERE version = 2").fetchone() == (0,)
    with pytest.raises(UsageError, match="v2 has failed, and has no predictions"):
        sqlml.diff(connection, "churn", 1, 2)
    with pytest.raises(NotDeployed, match="v2 never was deployed: it failed"):
        sqlml.rollback(connection, "churn", to=2)
    assert [s.name for s in sqlml.status(connection)] == ["churn"]
    assert sqlml.deploy_db(connection, "churn:2").version == 3
    assert sqlml.deploy_db(connection, "churn:2", name="first", **HERE).version == 2
    assert_whole(connection)


def test_a_name_of_which_only_attempts_failed_is_still_somebodys_schema(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sqlml.parity.Evidence.passed", property(lambda evidence: False))
        with pytest.raises(ParityFailed):
            sqlml.deploy_db(connection, "churn:2", name="mine", **HERE)
    connection.execute("CREATE SCHEMA mine")
    with pytest.raises(Refused, match="that sqlml did not make"):
        sqlml.deploy_db(connection, "churn:2", name="mine", **HERE)


def test_a_first_scoring_that_the_model_spoils_is_a_failed_attempt(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(*_: object, **__: object) -> None:
        raise UnsupportedModel("The model answers with VARCHAR here, and with BIGINT before.")

    before = seen(connection)
    with monkeypatch.context() as patch:
        patch.setattr(sqlml.deploy.routine, "score_version", spoil)
        for shadow in (False, True):
            with pytest.raises(UnsupportedModel):
                sqlml.deploy_db(connection, "churn:2", shadow=shadow)
    assert in_state(connection) == ["active", "failed", "failed"]
    assert [v.failure for v in records.versions(connection, "churn")][1:] == [
        "The model answers with VARCHAR here, and with BIGINT before."
    ] * 2
    assert seen(connection) == before
    left = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'predictions_v%'").fetchone()
    assert left == (1,)
    assert_whole(connection)


def test_history_is_only_added_to_and_tells_every_state(connection: Any) -> None:
    known: list[Any] = []
    for routine in (
        lambda: sqlml.deploy_db(connection, "churn:2", shadow=True),
        lambda: sqlml.promote(connection, "churn"),
        lambda: sqlml.rollback(connection, "churn"),
        lambda: sqlml.deploy_db(connection, "churn:2", shadow=True),
        lambda: sqlml.retire(connection, "churn", version=2),
        lambda: sqlml.undeploy(connection, "churn"),
    ):
        routine()
        events = list(reversed(sqlml.history(connection, "churn")))
        assert events[: len(known)] == known
        assert all(event.who and event.database_user for event in events)
        known = events
        assert states_told(events) == dict(enumerate(in_state(connection), start=1))


def test_the_command_line_promotes_and_retires(
    warehouse: Path, connection: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    connection.close()

    def run(*arguments: str) -> str:
        assert cli.run([*arguments, "--database", str(warehouse)]) == 0
        return capsys.readouterr().out

    assert "churn deployment v2, beside the active version" in run("deploy", "churn:2", "--shadow")
    assert [line.split(":")[0] for line in run("score", "churn").splitlines()] == ["churn v1", "churn v2"]
    assert "PSI" in run("diff", "churn", "1", "2")
    assert run("promote", "churn", "--why", "better").splitlines()[-1] == "churn v2 is active (it was v1)."
    assert run("promote", "churn", "--version", "v2") == "churn v2 is the active version already.\n"
    assert json.loads(run("status", "churn", "--history", "--json"))[0]["why"] == "better"
    assert cli.run(["retire", "churn", "--version", "2", "--database", str(warehouse)]) == 3
    assert "churn v2 is active, and cannot become retired" in capsys.readouterr().err
    run("deploy", "churn:1", "--shadow")
    assert run("retire", "churn", "--version", "1") == "churn v1 is retired (it was shadow).\n"
