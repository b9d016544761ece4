"""forget: what logs and evidence say of a key, also where no table is left and of jobs that were killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli, jobs, processes
from sqlml.catalog.migrations import migrate
from sqlml.errors import KeyRefused, NotDeployed, UsageError
from tests.deploy.conftest import fill
from tests.deploy.test_forget import KEY, mentions
from tests.deploy.test_keep import deploy

TWICE = f"customer_id is not unique in customers: {KEY} (2 times)."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def connection(file: Path) -> Iterator[Any]:
    with duckdb.connect(str(file)) as opened:
        yield opened


def refused(connection: Any, file: Path, name: str | None, kind: str = "deploy") -> None:
    """A job that fails and tells the key."""
    job = jobs.Job(kind, name, Path(f"{file}.jobs"))
    with suppress(KeyRefused), jobs.running(connection, job):
        job.log("resolve", "looking up churn:1")
        raise KeyRefused(TWICE)


def log(file: Path, *lines: str | bytes, **details: Any) -> Path:
    """The log of a score that was killed, or goes on."""
    path = Path(f"{file}.jobs") / "score-20260101-000000-abcdef.jsonl"
    path.parent.mkdir(exist_ok=True)
    first = {"at": "2026-01-01T00:00:00", "phase": "score", "message": f"key {KEY}", "details": details}
    rest = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    path.write_bytes(json.dumps(first).encode() + b"\n" + rest)
    return path


def test_a_key_goes_from_the_log_of_a_first_deploy_that_was_refused(
    connection: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(connection, file, "churn")  # there is no catalog: its log is a file
    [path] = Path(f"{file}.jobs").iterdir()
    assert str(KEY) in path.read_text()
    for name in ("nothing", "chur"):
        with pytest.raises(NotDeployed, match=f"no deployment '{name}'"):
            sqlml.forget(connection, name, KEY)
    with pytest.raises(UsageError, match="No value"):
        sqlml.forget(connection, "churn", [])
    done = sqlml.forget(connection, "CHURN", KEY)
    assert (done.deployment, done.rows, done.in_source) == ("churn", 1, None)
    assert str(KEY) not in path.read_text()

    refused(connection, file, "churn")  # now its record is a row
    assert mentions(connection, str(KEY)) == {"sqlml.jobs": 1}
    connection.close()
    assert cli.run(["forget", "churn", "--key", str(KEY), "-d", str(file)]) == 0
    assert cli.run(["forget", "nothing", "--key", "1", "-d", str(file)]) == 3
    with duckdb.connect(str(file)) as opened:
        assert mentions(opened, str(KEY)) == {}


@pytest.mark.usefixtures("converted")
def test_a_key_goes_from_the_records_of_jobs_whose_tables_were_dropped(
    connection: Any, file: Path, customer_rows: object
) -> None:
    fill(connection, customer_rows, 30)
    deploy(connection)
    refused(connection, file, "churn", "score")
    sqlml.undeploy(connection, "churn", drop_predictions=True)
    assert mentions(connection, str(KEY)) == {"sqlml.jobs": 1}
    with pytest.raises(UsageError, match="The key of churn is customer_id, and 2 values were given"):
        sqlml.forget(connection, "churn", (KEY, 1))
    done = sqlml.forget(connection, "churn", KEY)
    assert (mentions(connection, str(KEY)), done.in_source) == ({}, False)


@pytest.mark.usefixtures("converted")
def test_a_key_goes_where_somebody_dropped_the_table_of_inputs(connection: Any, customer_rows: object) -> None:
    fill(connection, customer_rows, 30)
    deploy(connection)
    connection.execute("UPDATE sqlml.deployments SET owns_source = true")
    connection.execute("DROP TABLE customers")
    done = sqlml.forget(connection, "churn", 3)
    assert ('"churn"."predictions_v1"', 1) in [(entry.table, entry.rows) for entry in done.erased]
    assert any("could not be read" in sentence for sentence in done.left)


@pytest.mark.parametrize(
    ("details", "is_left"),
    [
        ({"pid": 1}, False),  # of an earlier sqlml; the process that has this pid now began later
        ({"pid": os.getpid(), "process": f"{os.getpid()}@1"}, False),
        ({"pid": os.getpid(), "process": processes.this_process()}, True),
    ],
)
def test_a_log_is_left_alone_only_while_its_process_runs_and_that_is_told(
    connection: Any, file: Path, details: dict[str, Any], is_left: bool
) -> None:
    migrate(connection)
    refused(connection, file, "churn")
    path = log(file, deployment="churn", **details)
    told = sqlml.forget(connection, "churn", KEY).left
    assert (str(KEY) in path.read_text()) == is_left
    assert any(path.name in sentence and "runs still" in sentence for sentence in told) == is_left


def test_half_a_line_goes_whatever_it_ends_in(connection: Any, file: Path) -> None:
    migrate(connection)
    refused(connection, file, "churn")
    path = log(file, b'{"message": "Z\xc3', pid=2**22 + 1)
    sqlml.forget(connection, "churn", "Zürich")
    lines = path.read_text().split("\n")
    assert "half a line" in lines[1]
    assert str(KEY) in lines[0]  # another key's
    assert not any(entry.table.endswith(".jsonl") for entry in sqlml.forget(connection, "churn", "Zürich").erased)


def test_a_key_with_a_line_separator_goes_from_logs(connection: Any, file: Path) -> None:
    migrate(connection)
    key = "alice\u2028smith"
    with jobs.running(connection, jobs.Job("score", "churn", Path(f"{file}.jobs"))) as job:
        job.log("score", f"{key} is there twice")
    # As an earlier sqlml recorded it: cut in two.
    connection.execute("UPDATE sqlml.jobs SET log = list_concat(log, ?)", [['{"message": "alice', 'smith is there"}']])
    sqlml.forget(connection, "churn", key)
    assert mentions(connection, "alice") == mentions(connection, "smith") == {}
