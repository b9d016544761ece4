"""kill -9 at random points of deploy --shadow, promote, rollback, retire, sync, gc and label.

Some dozens of times here, half of them before a statement and half at any moment; SQLML_KILLS=200 is the whole.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sqlml
from sqlml.catalog import recalls, records
from tests.deploy.conftest import fill
from tests.deploy.faults import assert_current, assert_whole
from tests.deploy.killed_often import LONGEST_S, ROUTINES
from tests.deploy.test_faults import change_customers, deployed, deployed_twice

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("converted")]

KILLS = int(os.environ.get("SQLML_KILLS", "21"))


def shadowed(connection: Any) -> None:
    deployed(connection)
    sqlml.deploy_db(connection, "churn:2", shadow=True)


def follows(policy: str) -> Any:
    """Deployed by an alias that meant version 1 then."""

    def follow(connection: Any) -> None:
        deployed(connection)
        connection.execute(
            "UPDATE sqlml.versions SET reference = 'churn:Production', model_name = 'churn', model_version = '1'"
        )
        connection.execute("DELETE FROM sqlml.following")
        sqlml.follow(connection, "churn", policy)

    return follow


def observed(connection: Any) -> None:
    deployed(connection)
    connection.execute(
        "CREATE TABLE outcomes AS SELECT customer_id, prediction AS churned, make_timestamp(epoch_us(now())) AS observed_at"
        " FROM churn.current"
    )


def deployed_thrice(connection: Any) -> None:
    """The first one is neither active nor what a rollback goes back to."""
    for reference, threshold in (("churn:2", 0.5), ("churn:1", 0.4), ("churn:1", 0.5)):
        sqlml.deploy_db(connection, reference, table="customers", key="customer_id", threshold=threshold)


BEFORE = {
    "gc": deployed_thrice,
    "sync": follows("deploy"),
    "sync of shadows": follows("shadow"),
    "label": observed,
    "deploy --shadow": deployed,
    "promote": shadowed,
    "rollback": deployed_twice,
    "retire": shadowed,
    "recall": deployed_twice,
}
WANTED = {
    "gc": ["retired", "retired", "active"],
    "sync": ["retired", "active"],
    "sync of shadows": ["active", "shadow"],
    "label": ["active"],
    "deploy --shadow": ["active", "shadow"],
    "promote": ["retired", "active"],
    "rollback": ["active", "retired"],
    "retire": ["active", "retired"],
    "recall": ["retired", "active"],
}


class Killer:
    """Runs a routine on a copy of a file, in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, database: Path, routine: str, fail_at: int = 0, seconds: float = 0) -> tuple[bool, int, float]:
        """Whether it was killed, how many statements it ran, and its seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(database), routine, fail_at, seconds]) + "\n")
        self._process.stdin.flush()
        killed, code, number, took = json.loads(self._process.stdout.readline())
        assert killed or code == 0
        assert took < LONGEST_S
        return killed, number, took


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory, prepared_versions: object) -> Iterator[Killer]:
    prepared = tmp_path_factory.mktemp("prepared") / "prepared.pickle"
    prepared.write_bytes(pickle.dumps(prepared_versions))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.killed_often", str(prepared)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Killer(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("routine", ROUTINES)
def test_a_kill_at_a_random_point_leaves_legal_states_and_the_next_try_succeeds(
    routine: str, tmp_path: Path, customer_rows: object, killer: Killer
) -> None:
    start, chance, killed = tmp_path / "start.duckdb", random.Random(routine), 0
    with sqlml.connect(start) as connection:
        fill(connection, customer_rows, 60)
        BEFORE[routine](connection)
        change_customers(connection)
    counted = shutil.copy(start, tmp_path / "counted.duckdb")
    _, statements, took = killer.run(counted, routine)
    with sqlml.connect(counted) as connection:
        sqlml.score(connection, "churn")
        wanted = end_of(connection)
    for number in range(-(-KILLS // len(ROUTINES))):
        database = shutil.copy(start, tmp_path / f"killed{number}.duckdb")
        point = (
            {"seconds": chance.uniform(0.2 * took, 1.1 * took)}
            if number % 2
            else {"fail_at": chance.randint(1, statements)}
        )
        killed += killer.run(database, routine, **point)[0]
        with sqlml.connect(database) as connection:
            assert_whole(connection)
            assert_marked(connection)
            ROUTINES[routine](connection)
            assert [v.state for v in records.versions(connection, "churn")] == WANTED[routine], point
            sqlml.score(connection, "churn")
            assert_current(connection)
            assert assert_marked(connection) is (routine == "recall")
            assert end_of(connection) == wanted, point
            if "shadow" in WANTED[routine]:
                assert_same_keys(connection)
        database.unlink()
    assert killed >= KILLS // len(ROUTINES) // 2


def end_of(connection: Any) -> list[Any]:
    """What must be the same whether somebody was killed or not: states, who followed whom, what is stored."""
    statements = [
        "SELECT version, state FROM sqlml.versions ORDER BY ALL",
        "SELECT action, from_version, to_version FROM sqlml.history ORDER BY ALL",
        "SELECT beside, reference, policy, number, state, version, missing, problem FROM sqlml.following ORDER BY ALL",
        "SELECT customer_id, prediction, deployment_version FROM churn.current ORDER BY ALL",
        "SELECT count(*) FROM sqlml.leases",
        'SELECT "version", part, "rows", restored_at FROM sqlml.collected ORDER BY ALL',
    ]
    if connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'labels_v1'").fetchone():
        statements.append("SELECT * EXCLUDE (labelling_id, seen_at, labelled_at) FROM churn.labels_v1 ORDER BY ALL")
    return [connection.execute(statement).fetchall() for statement in statements]


def assert_marked(connection: Any) -> bool:
    """Whether the active version is recalled: once, with every row of `current` marked, or not at all."""
    [active] = [v.version for v in records.versions(connection, "churn") if v.state == "active"]
    standing = recalls.standing(connection, "churn")
    row = connection.execute("SELECT count(*), count(recalled_at) FROM churn.current").fetchone()
    assert [m.version for m in standing] in ([], [active])
    assert row[1] == (row[0] if standing else 0)
    return bool(standing)


def assert_same_keys(connection: Any) -> None:
    """The shadow has each source row once, as the active version has."""
    rows = connection.execute(
        "SELECT count(*) FROM customers c FULL JOIN churn.predictions_v2 p USING (customer_id)"
        " WHERE p.prediction IS DISTINCT FROM CASE WHEN c.customer_id IS NOT NULL THEN churn.predict_v2(c) END"
    ).fetchone()
    assert rows == (0,)
