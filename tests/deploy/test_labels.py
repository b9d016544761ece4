"""Labels of a real deployment: joined, measured, kept over a rollback, gone with it; killed in the middle; on the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import sqlml
from sqlml import cli
from sqlml.cli import exits
from tests.deploy.faults import assert_whole

pytestmark = pytest.mark.usefixtures("converted")

LABEL = """
import os, signal, sys
import sqlml
from tests.deploy.killed import KilledConnection
with sqlml.connect(sys.argv[1]) as connection:
    counting = KilledConnection(connection, int(sys.argv[2]) or None)
    sqlml.label(counting, "churn", "outcomes", label="churned", at="seen")
    print(counting.counter[0])
"""


def deploy(connection: duckdb.DuckDBPyConnection, reference: str = "churn:1") -> None:
    sqlml.deploy_db(connection, reference, table="customers", key="customer_id")


def observe(connection: duckdb.DuckDBPyConnection, *, right: bool = True) -> None:
    """What became of the customers, just now: what was predicted, or the opposite."""
    said = "prediction" if right else "CASE prediction WHEN 'Yes' THEN 'No' ELSE 'Yes' END"
    connection.execute(
        f"CREATE OR REPLACE TABLE outcomes AS SELECT customer_id, {said} AS churned,"
        " make_timestamp(epoch_us(now())) AS seen FROM churn.current"
    )


def label(connection: duckdb.DuckDBPyConnection) -> sqlml.Labelled:
    return sqlml.label(connection, "churn", "outcomes", label="churned", at="seen")


def test_labels_follow_versions_and_stay_whole(warehouse: Path) -> None:
    with sqlml.connect(warehouse) as connection:
        deploy(connection)
        observe(connection)
        assert label(connection).versions == {1: 400}
        deploy(connection, "churn:2")
        observe(connection, right=False)
        assert label(connection).versions == {2: 400}
        sqlml.rollback(connection, "churn")
        observe(connection)
        assert label(connection).versions == {1: 400}
        assert_whole(connection)

        found = sqlml.metrics(connection, "churn")
        accuracy = found.columns.index("accuracy")
        assert [(row[0], row[1], row[accuracy]) for row in found.rows] == [(1, 800, 1.0), (2, 400, 0.0)]
        connection.execute("DROP VIEW churn.metrics")
        [status] = sqlml.status(connection, "churn")
        assert status.problems == ("view churn.metrics is gone: somebody dropped it",)
        label(connection)
        assert_whole(connection)

        undeployed = sqlml.undeploy(connection, "churn", drop_predictions=True)
        assert {"churn.metrics", "churn.metrics_by", "churn.labels_v1", "churn.labels_v2", "churn"} <= set(
            undeployed.dropped
        )
        assert connection.execute("SELECT count(*) FROM sqlml.labellings").fetchone() == (4,)


def test_labels_of_an_undeployed_version_stay_and_count(warehouse: Path) -> None:
    with sqlml.connect(warehouse) as connection:
        deploy(connection)
        observe(connection)
        label(connection)
        assert "churn.labels_v1" in sqlml.undeploy(connection, "churn").kept
        deploy(connection)
        observe(connection, right=False)
        assert label(connection).versions == {2: 400}
        assert connection.execute("SELECT accuracy FROM churn.metrics ORDER BY 1").fetchall() == [(0.0,), (1.0,)]
        dropped = sqlml.undeploy(connection, "churn", drop_predictions=True).dropped
        assert {"churn.labels_v1", "churn.labels_v2"} <= set(dropped)


def test_the_command_line(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlml.connect(warehouse) as connection:
        deploy(connection)
        observe(connection)
        connection.execute("UPDATE outcomes SET churned = 'perhaps' WHERE rowid = 0")
    name = ["churn", "--database", str(warehouse)]
    asked = ["label", *name, "--from", "outcomes", "--label", "churned", "--at", "seen"]
    assert cli.run(asked) == exits.REFUSED
    assert "'perhaps' (1)" in capsys.readouterr().err
    assert cli.run([*asked, "--skip-unknown"]) == exits.DONE
    said = capsys.readouterr().out
    assert "399 labels added (v1: 399), of 400 rows of outcomes" in said
    assert "left out: 1 none of the model's labels" in said
    assert cli.run([*asked, "--skip-unknown", "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["unchanged"] == 399
    for by in ("version", "day", "week", "7 days", "class", "label", "bin"):
        assert cli.run(["metrics", *name, "--by", by, "--json"]) == exits.DONE
        assert json.loads(capsys.readouterr().out)["rows"]
    assert cli.run(["metrics", *name, "--version", "1"]) == exits.DONE
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert "rmse" not in shown  # a classifier has none
    assert cli.run(["metrics", *name, "--version", "2"]) == exits.REFUSED
    assert "Valid: '1'." in capsys.readouterr().err


@pytest.mark.faults
def test_killed_in_the_middle_everything_or_nothing_is_there(tmp_path: Path, warehouse: Path) -> None:
    with sqlml.connect(warehouse) as connection:
        deploy(connection)
        observe(connection)
    total = run(warehouse, tmp_path / "counted.duckdb", 0)
    assert total is not None
    for fail_at in (total - 12, total - 3):
        database = tmp_path / f"killed{fail_at}.duckdb"
        assert run(warehouse, database, fail_at) is None
        with sqlml.connect(database) as connection:
            assert_whole(connection)
            there = connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'churn' AND table_name = 'labels_v1'"
            ).fetchall()
            again = label(connection)
            assert (again.added, again.unchanged) == ((0, 400) if there else (400, 0))
            assert connection.execute("SELECT labels FROM churn.metrics").fetchall() == [(400,)]


def run(start: Path, database: Path, fail_at: int) -> int | None:
    """How many statements a labelling ran on a copy of `start`; None when it was killed."""
    shutil.copy(start, database)
    done = subprocess.run(
        [sys.executable, "-c", LABEL, str(database), str(fail_at)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
