"""Two at once: connections of one process, and processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.errors import Conflict, DatabaseLocked, IllegalMove, SqlmlError
from tests.deploy.conftest import fill
from tests.deploy.faults import assert_current, assert_whole

pytestmark = pytest.mark.usefixtures("converted")


@pytest.fixture
def connection(customer_rows: object) -> Any:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 300)
        yield opened


def in_threads(*works: Any) -> list[BaseException | None]:
    """What each work raised, all started at the same time."""
    raised: list[BaseException | None] = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run(number: int) -> None:
        barrier.wait()
        try:
            works[number]()
        except BaseException as error:
            raised[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return raised


def test_one_of_two_deployments_at_once_loses_cleanly(connection: Any) -> None:
    for _ in range(5):
        raised = in_threads(
            lambda: sqlml.deploy_db(connection.cursor(), "churn:1", table="customers", key="customer_id"),
            lambda: sqlml.deploy_db(connection.cursor(), "churn:2", table="customers", key="customer_id"),
        )
        assert all(error is None or isinstance(error, Conflict) for error in raised), raised
        assert raised.count(None) >= 1
        assert_whole(connection)
        sqlml.score(connection, "churn")
        assert_current(connection)
        sqlml.undeploy(connection, "churn", drop_predictions=True)


def test_deployments_of_different_names_that_begin_a_file_together(customer_rows: object) -> None:
    with duckdb.connect() as fresh:
        fill(fresh, customer_rows, 100)
        raised = in_threads(
            lambda: sqlml.deploy_db(fresh.cursor(), "churn:1", name="one", table="customers", key="customer_id"),
            lambda: sqlml.deploy_db(fresh.cursor(), "churn:2", name="two", table="customers", key="customer_id"),
        )
        assert raised == [None, None]
        assert_whole(fresh)


def test_promotions_retirements_and_rollbacks_at_once_leave_legal_states(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    for threshold in (None, 0.4):
        sqlml.deploy_db(connection, "churn:2", shadow=True, threshold=threshold)
    raised = in_threads(
        lambda: sqlml.promote(connection.cursor(), "churn", version=2),
        lambda: sqlml.promote(connection.cursor(), "churn", version=3),
        lambda: sqlml.retire(connection.cursor(), "churn", version=3),
        lambda: sqlml.score(connection.cursor(), "churn"),
    )
    assert all(error is None or isinstance(error, Conflict | IllegalMove) for error in raised), raised
    assert raised.count(None) >= 1
    assert_whole(connection)
    sqlml.score(connection, "churn")
    assert_current(connection)


@pytest.mark.parametrize("live", [False, True])
def test_nothing_is_lost_or_doubled_while_others_write_to_the_source(connection: Any, live: bool) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id", live=live)
    stop = threading.Event()

    def write(first: int) -> None:
        own = connection.cursor()
        for number in range(60):
            if stop.is_set():
                return
            key = first + number
            try:
                own.execute(
                    f"INSERT INTO customers BY NAME SELECT * REPLACE ({key} AS customer_id) FROM customers LIMIT 1"
                )
                own.execute(f"UPDATE customers SET tenure = tenure + 1 WHERE customer_id = {key}")
                if number % 3 == 0:
                    own.execute(f"DELETE FROM customers WHERE customer_id = {key}")
            except duckdb.TransactionException:
                pass  # two writers of one row: DuckDB refuses one of them, whoever it is

    def score() -> None:
        own = connection.cursor()
        for _ in range(5):
            with contextlib.suppress(Conflict):
                sqlml.score(own, "churn")

    def deploy() -> None:
        with contextlib.suppress(Conflict):
            sqlml.deploy_db(connection.cursor(), "churn:2", table="customers", key="customer_id")

    raised = in_threads(lambda: write(100_000), lambda: write(200_000), score, deploy)
    stop.set()
    assert raised == [None] * 4
    sqlml.score(connection, "churn")
    assert_whole(connection)
    assert_current(connection)


def test_a_second_job_is_told_who_holds_the_deployment(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    seen: list[SqlmlError] = []

    def try_too(line: Any) -> None:
        if line.phase == "score" and not seen:
            with pytest.raises(Conflict) as caught:
                sqlml.score(connection.cursor(), "churn")
            seen.append(caught.value)

    sqlml.score(connection, "churn", all_rows=True, listener=try_too)
    assert "is being worked on by job score-" in seen[0].message


def test_a_second_process_is_told_which_process_has_the_file(tmp_path: Path, customer_rows: object) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as opened:
        fill(opened, customer_rows, 5)
        tried = subprocess.run(
            [sys.executable, "-c", f"import sqlml; sqlml.connect({str(path)!r})"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert DatabaseLocked.__name__ in tried.stderr
    assert "has it open" in tried.stderr
