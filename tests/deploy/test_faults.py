"""A fault at every statement of deploy, score, rollback and undeploy: nothing partial, and the next try succeeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.errors import NotDeployed, SqlmlError
from tests.deploy.conftest import fill
from tests.deploy.faults import FaultyConnection, InjectedFault, assert_current, assert_whole

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("converted")]

Routine = Callable[[Any], object]


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
def test_a_fault_at_any_statement_leaves_nothing_partial(name: str, customer_rows: object) -> None:
    before, routine = ROUTINES[name]
    total = statements(before, routine, customer_rows)
    assert total > 5
    for fail_at in range(1, total + 1):
        with duckdb.connect() as connection:
            fill(connection, customer_rows, 60)
            before(connection)
            faulty = FaultyConnection(connection, fail_at)
            with contextlib.suppress(InjectedFault, SqlmlError):
                routine(faulty)
            assert_whole(connection)
            retry(routine, connection)
            assert_whole(connection)
            if name != "undeploy":
                sqlml.score(connection, "churn")
                assert_current(connection)
            leases = connection.execute("SELECT count(*) FROM sqlml.leases").fetchone()
            assert leases == (0,)


def statements(before: Routine, routine: Routine, rows: object) -> int:
    with duckdb.connect() as connection:
        fill(connection, rows, 60)
        before(connection)
        counting = FaultyConnection(connection, None)
        routine(counting)
        return counting.counter[0]


def retry(routine: Routine, connection: Any) -> None:
    """The same again; what was finished before the fault may say that there is nothing left to do."""
    with contextlib.suppress(NotDeployed):
        routine(connection)
