"""What is recorded of a routine's run when it ends otherwise than it should."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from sqlml import jobs
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
