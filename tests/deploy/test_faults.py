"""A fault at every statement of deploy, score, rollback and undeploy: nothing partial, and the next try succeeds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.errors import NotDeployed, SqlmlError
from tests.deploy.conftest import fill
from tests.deploy.faults import FaultyConnection, InjectedFault, assert_current, assert_whole

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("converted")]

Routine = Callable[[Any], object]
RETRIED = 3
"""Of the faults, every third is followed by another try: that takes longer than all the rest."""


def deploy_first(connection: Any) -> object:
    return sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id", live=True)


def deploy_second(connection: Any) -> object:
    return sqlml.deploy_db(connection, "churn:2", table="customers", key="customer_id")


def change_customers(connection: Any) -> None:
    connection.execute("UPDATE customers SET tenure = tenure + 1 WHERE customer_id % 7 = 0")
    connection.execute("DELETE FROM customers WHERE customer_id % 11 = 0")
    connection.execute(
        "INSERT INTO customers BY NAME SELECT * REPLACE (customer_id + 100000 AS customer_id) FROM customers LIMIT 5"
    )


def deployed(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")


def deployed_and_changed(connection: Any) -> None:
    deployed(connection)
    change_customers(connection)


def deployed_live(connection: Any) -> None:
    deploy_first(connection)


def deployed_twice(connection: Any) -> None:
    deployed(connection)
    deploy_second(connection)


ROUTINES: dict[str, tuple[Routine, Routine]] = {
    "first deploy, live": (lambda connection: None, deploy_first),
    "second deploy": (deployed, deploy_second),
    "second deploy over a live one": (deployed_live, deploy_second),
    "score": (deployed_and_changed, lambda connection: sqlml.score(connection, "churn")),
    "score all rows": (deployed, lambda connection: sqlml.score(connection, "churn", all_rows=True)),
    "rollback": (deployed_twice, lambda connection: sqlml.rollback(connection, "churn")),
    "live on": (deployed, lambda connection: sqlml.set_live(connection, "churn", True)),
    "undeploy": (deployed_twice, lambda connection: sqlml.undeploy(connection, "churn", drop_predictions=True)),
}


@pytest.mark.parametrize("name", ROUTINES)
def test_a_fault_at_any_statement_leaves_nothing_partial(name: str, customer_rows: object, tmp_path: Path) -> None:
    before, routine = ROUTINES[name]
    start = tmp_path / "start.duckdb"
    with duckdb.connect(str(start)) as connection:
        fill(connection, customer_rows, 60)
        before(connection)
    with copied(start) as connection:
        counting = FaultyConnection(connection, None)
        routine(counting)
    assert counting.counter[0] > 5
    for number, fail_at in enumerate(counting.telling, 1):
        with copied(start) as connection:
            with contextlib.suppress(InjectedFault, SqlmlError):
                routine(FaultyConnection(connection, fail_at))
            assert_whole(connection)
            if number % RETRIED:
                continue
            retry(routine, connection)
            assert_whole(connection)
            if name != "undeploy":
                sqlml.score(connection, "churn")
                assert_current(connection)
            assert connection.execute("SELECT count(*) FROM sqlml.leases").fetchone() == (0,)


@contextlib.contextmanager
def copied(start: Path) -> Iterator[Any]:
    """A connection to a copy of the file, which goes when the block ends."""
    copy = start.with_name("copy.duckdb")
    shutil.copy(start, copy)
    try:
        with sqlml.connect(copy) as connection:
            yield connection
    finally:
        copy.unlink()


def retry(routine: Routine, connection: Any) -> None:
    """The same again; what was finished before the fault may say that there is nothing left to do."""
    with contextlib.suppress(NotDeployed):
        routine(connection)
