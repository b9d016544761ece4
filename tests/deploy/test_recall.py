"""Recalls of a real deployment: marked, undone, over switches and later rows; refused, interrupted, two at once; live chains."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli, writing_back
from sqlml.catalog import leases, recalls, records
from sqlml.cli import exits
from sqlml.errors import Conflict, DatabaseError, NotDeployed, Refused, UsageError
from tests.deploy.faults import FaultyConnection, InjectedFault, assert_whole
from tests.deploy.test_chain import WRONG, columns_named_as_in_scored, deploy_both, follower, real_prepare

__all__ = ["follower", "real_prepare"]  # fixtures

pytestmark = pytest.mark.usefixtures("converted")

NAME = "my model"
MARKED = 'SELECT count(*), count(recalled_at), min(recalled_at) = max(recalled_at) FROM "my model".current'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that asks for `deployed` leaves it for the others: two deploys take some seconds."""
    return tmp_path_factory.mktemp("deployed") / "made.duckdb"


@pytest.fixture
def deployed(warehouse: Path, made: Path) -> Path:
    """Two versions of `my model`, the second one active."""
    if not made.exists():
        with sqlml.connect(warehouse) as connection:
            for reference in ("churn:1", "churn:2"):
                sqlml.deploy_db(connection, reference, name=NAME, table="customers", key="customer_id")
        shutil.copy(warehouse, made)
    shutil.copy(made, warehouse)
    return warehouse


def marked(connection: Any) -> tuple[int, int]:
    rows, recalled, is_one = connection.execute(MARKED).fetchone()
    assert is_one is not False
    return rows, recalled


def test_a_version_is_recalled_wherever_it_is_read_and_the_recall_is_undone(deployed: Path, tmp_path: Path) -> None:
    with sqlml.connect(deployed) as connection:
        looked = sqlml.recall(connection, name="MY MODEL", version=1)
        assert (looked.action, looked.dependents.rows, looked.marked, looked.job_id) == (None, 400, (), None)
        assert recalls.standing(connection) == []

        done = sqlml.recall(connection, name=NAME, version=1, apply=True, why="its labels were wrong")
        again = sqlml.recall(connection, version=1, apply=True, why="again")
        assert (done.marked, done.already, again.marked, again.already) == (("my model v1",), (), (), ("my model v1",))
        assert marked(connection) == (400, 0)  # v2 is active

        with pytest.raises(Refused, match=r"my model v1 is recalled: .*as version my model v1: its labels were wrong"):
            sqlml.rollback(connection, NAME)
        with pytest.raises(Refused, match="is recalled"):
            sqlml.deploy_db(connection, "churn:1", name=NAME)
        sqlml.rollback(connection, NAME, accept_recalled=True)
        connection.execute(
            "INSERT INTO customers BY NAME SELECT * REPLACE (70001 AS customer_id) FROM customers LIMIT 1"
        )
        sqlml.score(connection, NAME)
        assert marked(connection) == (401, 401)  # what is scored later is of the version too
        [status] = sqlml.status(connection, NAME)
        assert (status.problems, status.versions) == ((), ("v1 active, recalled", "v2 retired"))
        assert status.recalled is not None
        assert status.recalled.endswith("as version my model v1: its labels were wrong")
        found = {check.name: check for check in sqlml.verify(connection, NAME, original=False).checks}
        assert (found["definitions"].passed, found["recalled"].detail) == (True, status.recalled)
        version = records.versions(connection, NAME)[0]
        tags = writing_back.tags(connection, version)
        assert tags["sqlml.warehouse.my model.recalled"] == status.recalled
        sqlml.publish(connection, tmp_path / "copy.duckdb")

    for path in (deployed, tmp_path / "copy.duckdb"):
        with duckdb.connect() as reader:
            reader.execute("CREATE SCHEMA sqlml; CREATE TABLE sqlml.recalls (x INTEGER)")  # another's, of the same name
            reader.execute(f"ATTACH '{path}' AS x (READ_ONLY)")
            assert reader.execute(MARKED.replace('"my model"', 'x."my model"')).fetchone() == (401, 401, True)
            assert reader.execute('SELECT count(recalled_at) FROM x."my model".scored').fetchone() == (401,)
            assert reader.execute("SELECT version FROM x.sqlml.recalled").fetchall() == [(1,)]

    with sqlml.connect(deployed) as connection:
        undone = sqlml.recall(connection, name=NAME, version=1, undo=True, why="they were not")
        nothing = sqlml.recall(connection, name=NAME, version=1, undo=True)
        assert (undone.marked, nothing.marked) == (("my model v1",), ())
        assert marked(connection) == (401, 0)
        assert "no: undone" in writing_back.tags(connection, version)["sqlml.warehouse.my model.recalled"]
        assert sqlml.status(connection, NAME)[0].recalled is None
        kept = connection.execute(
            "SELECT action, version, kind, value, why FROM sqlml.recalls ORDER BY rowid"
        ).fetchall()
        assert kept == [
            ("recall", 1, "version", "my model v1", "its labels were wrong"),
            ("undo", 1, "version", "my model v1", "they were not"),
        ]
        said = [(e.action, e.from_version, e.why) for e in sqlml.history(connection) if "recall" in e.action]
        assert said == [
            ("undo recall", 1, "version my model v1: they were not"),
            ("recall", 1, "version my model v1: its labels were wrong"),
        ]
        assert_whole(connection)


def test_one_scoring_is_recalled_and_a_recall_for_something_else_stands(deployed: Path) -> None:
    with sqlml.connect(deployed) as connection:
        connection.execute("UPDATE customers SET tenure = tenure + 1 WHERE customer_id % 4 = 0")
        scoring = sqlml.score(connection, NAME)
        digest = records.versions(connection, NAME)[1].model_sha256

        done = sqlml.recall(connection, scoring=scoring.scoring_id.upper(), apply=True)
        assert (done.dependents.rows, done.marked) == (scoring.rows, (f"my model v2, scoring {scoring.scoring_id}",))
        assert marked(connection) == (400, scoring.rows)
        [status] = sqlml.status(connection, NAME)
        assert status.recalled is not None
        assert status.recalled.startswith("1 scorings of it")

        sqlml.recall(connection, model=digest[:12], apply=True)
        rows, recalled, first = connection.execute(MARKED).fetchone()  # type: ignore[misc]
        assert (rows, recalled, first) == (400, 400, False)  # each row since its first recall
        back = sqlml.recall(connection, scoring=scoring.scoring_id, undo=True)
        assert back.still[0].startswith("my model v2: ")
        assert marked(connection) == (400, 400)

        undeployed = sqlml.undeploy(connection, NAME)
        assert "my model.predictions_v2" in undeployed.kept
        sqlml.recall(connection, model=digest, undo=True)
        again = sqlml.recall(connection, model=digest, apply=True)
        assert (again.dependents.rows, again.marked, again.active) == (400, ("my model v2",), ())
        assert sqlml.recall(connection, name="My Model", version=2).dependents.rows == 400
        with pytest.raises(NotDeployed, match="no deployment version 9"):
            sqlml.depends(connection, name=NAME, version=9)
        with pytest.raises(Refused, match="is recalled"):  # another number, the same bytes
            sqlml.deploy_db(connection, "churn:2", name="another", table="customers", key="customer_id")


@pytest.mark.filterwarnings("ignore")
def test_a_live_chain_goes_on_under_the_marks(
    customer_rows: object, follower: Path, real_prepare: Any, tmp_path: Path
) -> None:
    from tests.deploy.conftest import fill

    with sqlml.connect(tmp_path / "chain.duckdb") as connection:
        fill(connection, customer_rows, 50)
        deploy_both(
            connection, columns_named_as_in_scored(follower), "churn.scored", live=True, real_prepare=real_prepare
        )
        live = "SELECT scoring_id FROM sqlml.scorings WHERE state = 'live' ORDER BY 1"
        before = connection.execute(live).fetchall()

        looked = sqlml.recall(connection, name="churn", version=1)
        assert [(d.name, d.rows, d.is_reading) for d in looked.dependents.downstream] == [("retention v1", 50, True)]
        done = sqlml.recall(connection, name="churn", version=1, apply=True, downstream=True)
        assert done.marked == ("churn v1", "retention v1")
        assert connection.execute(live).fetchall() == before  # one scoring goes on: nothing was hung anew
        connection.execute(
            "INSERT INTO customers BY NAME SELECT * REPLACE (70001 AS customer_id) FROM customers LIMIT 1"
        )
        connection.execute("UPDATE customers SET monthly_charges = monthly_charges + 1 WHERE customer_id % 2 = 0")
        assert connection.execute(WRONG).fetchone() == (0,)
        for name in ("churn", "retention"):
            found = connection.execute(f"SELECT count(*), count(recalled_at) FROM {name}.current").fetchone()
            assert found == (51, 51)
        assert [d.problems for d in sqlml.status(connection)] == [(), ()]

        sqlml.recall(connection, name="churn", version=1, undo=True)
        assert connection.execute("SELECT count(recalled_at) FROM retention.current").fetchone() == (0,)
        assert_whole(connection)


def test_refused_in_a_transaction_read_only_and_beside_another(deployed: Path) -> None:
    with sqlml.connect(deployed) as connection:
        connection.execute("BEGIN; CREATE TABLE begun AS SELECT 1 AS one")
        for ask in (partial(sqlml.recall, name=NAME, version=1, apply=True), partial(sqlml.why, name=NAME, key=1)):
            with pytest.raises(UsageError, match="open transaction"):
                ask(connection)
        connection.execute("COMMIT")
        assert connection.execute("FROM begun").fetchall() == [(1,)]  # what the caller had begun is the caller's
        with leases.lease(connection, NAME, "other"), pytest.raises(Conflict, match="being worked on by job other"):
            sqlml.recall(connection, name=NAME, version=1, apply=True)
        for wrong in ({}, {"run": "a", "model": "b"}, {"name": NAME}, {"run": "a", "name": NAME}):
            with pytest.raises(UsageError, match="Name one thing"):
                sqlml.recall(connection, **wrong)  # type: ignore[arg-type]
        with pytest.raises(NotDeployed, match="no deployment version 9"):
            sqlml.recall(connection, name=NAME, version=9)
        with pytest.raises(UsageError, match="not both"):
            sqlml.recall(connection, name=NAME, version=1, apply=True, undo=True)
        assert recalls.standing(connection) == []
    with sqlml.connect(deployed, read_only=True) as connection:
        assert sqlml.recall(connection, name=NAME, version=1).dependents.rows == 400
        with pytest.raises(DatabaseError, match="read-only"):
            sqlml.recall(connection, name=NAME, version=1, apply=True)


@pytest.mark.faults
def test_a_fault_anywhere_leaves_all_of_a_recall_or_nothing(deployed: Path, tmp_path: Path) -> None:
    def recall(connection: Any) -> None:
        sqlml.recall(connection, name=NAME, version=2, apply=True, why="x")

    counted = tmp_path / "counted.duckdb"
    shutil.copy(deployed, counted)
    with sqlml.connect(counted) as connection:
        counting = FaultyConnection(connection, None)
        recall(counting)
        writes = [n for n in counting.telling if n not in counting.reads]
    broken = tmp_path / "broken.duckdb"
    shutil.copy(deployed, broken)
    with sqlml.connect(broken) as connection:
        for number in writes[::2]:
            with suppress(InjectedFault):
                recall(FaultyConnection(connection, number))
            is_there = bool(recalls.standing(connection))
            assert marked(connection) == (400, 400 if is_there else 0)
            if is_there:
                sqlml.recall(connection, name=NAME, version=2, undo=True)
        recall(connection)
        assert marked(connection) == (400, 400)
        assert_whole(connection)


def test_the_command_line(deployed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = ["--database", str(deployed)]
    assert cli.run(["depends", "--column", "CUSTOMERS.Tenure", *database]) == exits.DONE
    shown = capsys.readouterr().out
    assert "column customers.tenure: 800 predictions" in shown
    assert "feature tenure" in shown
    assert cli.run(["recall", "--run", "nowhere", *database]) == exits.DONE
    shown = capsys.readouterr().out
    assert "No deployment version is known to depend on run nowhere" in shown
    assert "may depend on it (not known):" in shown
    assert cli.run(["recall", "--run", "nowhere", "--apply", *database]) == exits.DONE
    shown = capsys.readouterr().out
    assert "Nothing was marked, and nothing was recorded" in shown
    assert "A deploy of it after this is not refused" in shown
    assert (
        cli.run(["recall", NAME, "--version", "v2", "--apply", "--why", "no\x1b[2J", *database, "--json"]) == exits.DONE
    )
    assert json.loads(capsys.readouterr().out)["marked"] == ["my model v2"]
    assert cli.run(["recall", NAME, "--version", "2", "--apply", *database]) == exits.DONE
    shown = capsys.readouterr().out
    assert "recalled before, for the same: my model v2" in shown
    assert "my model v2 is active, and goes on answering" in shown
    assert cli.run(["status", *database]) == exits.DONE
    shown = capsys.readouterr().out
    assert "v2 active, recalled" in shown
    assert "\x1b" not in shown
    assert cli.run(["recall", NAME, "--version", "2", "--undo", *database]) == exits.DONE
    assert "no longer recalled: my model v2" in capsys.readouterr().out
    assert cli.run(["recall", "--why", "x", "--version", "2", *database]) == exits.USAGE
