"""What is recorded of a routine's run when it ends otherwise than it should."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlml import jobs, processes
from sqlml.catalog.migrations import migrate

Connection = duckdb.DuckDBPyConnection


@pytest.fixture
def connection() -> Iterator[Connection]:
    with duckdb.connect() as made:
        migrate(made)
        yield made


def stopped(connection: Connection) -> None:
    timer = threading.Timer(0.2, connection.interrupt)
    timer.start()
    connection.execute("SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(10_000_000) b").fetchall()


def stopped_and_noticed_by_duckdb(connection: Connection) -> None:
    raise RuntimeError("Query interrupted")  # what a signal in the middle of a statement comes to


def stopped_while_tidying_up(connection: Connection) -> None:
    connection.execute("BEGIN")
    try:
        stopped(connection)
    finally:
        connection.execute("SELECT 1")  # its transaction is aborted


def stopped_in_python_while_tidying_up(connection: Connection) -> None:
    try:
        raise KeyboardInterrupt
    finally:
        connection.execute("SELECT no_such_column")


def broken(connection: Connection) -> None:
    connection.execute("SELECT no_such_column")


@pytest.mark.parametrize(
    ("work", "state"),
    [
        (stopped, "interrupted"),
        (stopped_and_noticed_by_duckdb, "interrupted"),
        (stopped_while_tidying_up, "interrupted"),
        (stopped_in_python_while_tidying_up, "interrupted"),
        (broken, "failed"),
    ],
)
def test_a_job_that_was_stopped_did_not_fail(
    connection: Connection, tmp_path: Path, work: Callable[[Connection], None], state: str
) -> None:
    with pytest.raises((duckdb.Error, RuntimeError)), jobs.running(connection, jobs.Job("score", "churn", tmp_path)):
        work(connection.cursor())

    assert connection.execute("SELECT state FROM sqlml.jobs").fetchall() == [(state,)]


def left_behind(folder: Path, **details: Any) -> Path:
    """The log of a score that did not end."""
    folder.mkdir(exist_ok=True)
    path = folder / "score-20260101-000000-abcdef.jsonl"
    line = {"at": "2026-01-01T00:00:00.000", "phase": "score", "message": "Zürich", "details": details}
    path.write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


OWN = processes.this_process()


@pytest.mark.parametrize(
    ("details", "state"),
    [
        ({"pid": os.getpid(), "process": OWN}, "running"),
        ({"pid": os.getpid(), "process": f"{os.getpid()}@1"}, "killed"),  # the same pid, given again
        ({"pid": 2**22 + 1, "process": f"{2**22 + 1}@1"}, "killed"),
        ({"pid": os.getpid()}, "killed"),  # of an earlier sqlml: this process began later than the log
        ({"pid": 2**22 + 1}, "killed"),
    ],
)
def test_a_log_is_of_a_running_job_while_the_process_that_wrote_it_runs(
    tmp_path: Path, details: dict[str, Any], state: str
) -> None:
    path = left_behind(tmp_path, **details)
    assert [job.state for job in jobs.list_jobs(None, tmp_path)] == [state]
    assert jobs.is_running(path) == (state == "running")


def test_a_log_of_an_earlier_sqlml_is_of_this_process_where_it_ran_already(tmp_path: Path) -> None:
    path = left_behind(tmp_path, pid=os.getpid())
    path.write_text(path.read_text(encoding="utf-8").replace("2026-01-01", "2999-01-01"), encoding="utf-8")
    assert jobs.is_running(path)


@pytest.mark.parametrize("subject", ["churn", None])
def test_a_log_says_who_writes_it_about_what(tmp_path: Path, subject: str | None) -> None:
    job = jobs.Job("deploy", subject, tmp_path)
    job.log("resolve", "looking")
    job.subject = "churn"  # a deploy without a name gets the model's when that is known
    job.log("resolve", "found")
    job.log("resolve", "going on")
    [found] = jobs.list_jobs(None, tmp_path)
    assert (found.subject, found.state) == ("churn", "running")
    assert found.lines[0].details["process"] == OWN
    assert [line.details.get("deployment") for line in found.lines].count("churn") == 1


@pytest.mark.parametrize("whole_lines", [0, 1])
def test_a_log_that_ends_in_half_a_character_can_be_read(tmp_path: Path, whole_lines: int) -> None:
    path = left_behind(tmp_path, process="1@1")
    whole = path.read_bytes()
    path.write_bytes(whole * whole_lines + whole[: whole.index("ü".encode()) + 1])
    os.utime(path, (0, 0))
    [found] = jobs.list_jobs(None, tmp_path)
    assert (found.state, len(found.lines)) == ("killed", whole_lines)
    assert [line.message for line in jobs.follow(path)] == ["Zürich"] * whole_lines
    assert not jobs.is_running(path)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x1c", "\r", "\n"])
def test_a_line_of_a_log_ends_at_a_newline_alone(connection: Connection, tmp_path: Path, separator: str) -> None:
    message = f"alice{separator}smith is there twice"
    with jobs.running(connection, jobs.Job("score", "churn", tmp_path)) as job:
        job.log("score", message)
        assert [line.message for line in jobs.list_jobs(None, tmp_path)[0].lines] == [message]
    [recorded] = jobs.list_jobs(connection, tmp_path)
    assert [line.message for line in recorded.lines] == [message, "done"]
