"""kill -9 in the middle of deploy, score, rollback and undeploy: the file opens, is whole, and the next try succeeds."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sqlml
from sqlml.errors import NotDeployed
from tests.deploy.conftest import fill
from tests.deploy.faults import assert_current, assert_whole
from tests.deploy.killed import ROUTINES
from tests.deploy.test_faults import change_customers, deployed, deployed_twice

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("converted")]

BEFORE = {
    "deploy": deployed,
    "score": lambda c: (deployed(c), change_customers(c)),
    "rollback": deployed_twice,
    "undeploy": deployed_twice,
}
KILLS = 12
"""Statements before which the process is killed, spread over the routine; every one is tried in test_faults."""


@pytest.fixture
def prepared_file(tmp_path: Path, prepared_versions: object) -> Path:
    path = tmp_path / "prepared.pickle"
    path.write_bytes(pickle.dumps(prepared_versions))
    return path


@pytest.mark.parametrize("routine", ROUTINES)
def test_a_killed_process_leaves_a_whole_database(
    routine: str, tmp_path: Path, customer_rows: object, prepared_file: Path
) -> None:
    start = tmp_path / "start.duckdb"
    with sqlml.connect(start) as connection:
        fill(connection, customer_rows, 60)
        BEFORE[routine](connection)
    total = run(start, tmp_path / "counted.duckdb", routine, 0, prepared_file)
    assert total is not None
    assert total > KILLS
    for step in range(KILLS):
        fail_at = 1 + step * (total - 1) // (KILLS - 1)
        database = tmp_path / f"killed{fail_at}.duckdb"
        assert run(start, database, routine, fail_at, prepared_file) is None
        with sqlml.connect(database) as connection:
            assert_whole(connection)
            try:
                ROUTINES[routine](connection)
            except NotDeployed:
                assert routine in ("rollback", "undeploy")  # it was finished when the kill came
            assert_whole(connection)
            if routine != "undeploy":
                sqlml.score(connection, "churn")
                assert_current(connection)


def run(start: Path, database: Path, routine: str, fail_at: int, prepared: Path) -> int | None:
    """How many statements the routine ran on a copy of `start`; None when it was killed."""
    shutil.copy(start, database)
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.killed", str(database), routine, str(fail_at), str(prepared)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == -9:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
