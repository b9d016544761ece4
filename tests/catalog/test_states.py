"""Every move between states, legal or not, and that no two versions of a deployment are active."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlml.catalog import migrations, records, states
from sqlml.errors import Conflict, IllegalMove, NotDeployed

STATES = [*states.MOVES]
LEGAL = {
    ("planned", "shadow"),
    ("planned", "active"),
    ("planned", "retired"),
    ("planned", "failed"),
    ("shadow", "active"),
    ("shadow", "retired"),
    ("retired", "shadow"),
    ("retired", "active"),
}
"""By one version alone: an active one is retired when another becomes active, and all are undeployed together."""


def versions(connection: Any, *found: str, name: str = "churn") -> None:
    """A deployment whose versions 1, 2 ... have these states; nothing else of it is there."""
    migrations.migrate(connection)
    now = records.now()
    active = found.index("active") + 1 if "active" in found else None
    connection.execute(
        "INSERT INTO sqlml.deployments VALUES (?, ?, 'm', NULL, [], false, false, NULL, 0, ?, ?)",
        [name, active, now, now],
    )
    for number, state in enumerate(found, start=1):
        known = {"deployment": name, "version": number, "state": state, "key_columns": [], "deployed_at": now}
        texts = ("reference", "resolved", "artifact_sha256", "artifact_files", "model_sha256", "signature", "engine")
        more = ("engine_why", "sqlml_version", "duckdb_version", "deployed_by")
        records.insert(connection, "versions", known | dict.fromkeys((*texts, *more), "x"))


def in_state(connection: Any, name: str = "churn") -> list[str]:
    return [version.state for version in records.versions(connection, name)]


def assert_one_active(connection: Any) -> None:
    [deployment] = records.deployments(connection)
    assert [n for n, state in enumerate(in_state(connection), start=1) if state == "active"] == [
        deployment.active_version
    ]


@pytest.mark.parametrize(("before", "to"), list(itertools.product(STATES, STATES)))
def test_a_move_is_made_or_refused_by_name(before: str, to: str) -> None:
    with duckdb.connect() as connection:
        versions(connection, before, "planned")
        if (before, to) in LEGAL:
            assert states.move(connection, "churn", 1, to) == before
            assert in_state(connection) == [to, "planned"]
            return
        with pytest.raises(IllegalMove, match=f"churn v1 is {before}, and cannot become {to}") as refused:
            states.move(connection, "churn", 1, to)
        assert refused.value.hint
        assert in_state(connection) == [before, "planned"]


@pytest.mark.parametrize("before", [state for state in STATES if state != "active"])
def test_only_what_may_become_active_takes_over_and_the_former_is_retired(before: str) -> None:
    with duckdb.connect() as connection:
        versions(connection, "active", "shadow", before)
        if (before, "active") in LEGAL:
            assert states.activate(connection, "churn", 3) == 1
        else:
            connection.execute("BEGIN")
            with pytest.raises(IllegalMove, match=f"churn v3 is {before}, and cannot become active"):
                states.activate(connection, "churn", 3)
            connection.execute("ROLLBACK")
            assert in_state(connection) == ["active", "shadow", before]
            return
        assert in_state(connection) == ["retired", "shadow", "active"]
        assert_one_active(connection)


def test_what_is_not_there_cannot_be_moved() -> None:
    with duckdb.connect() as connection:
        versions(connection, "active")
        with pytest.raises(NotDeployed, match="no deployment version 7"):
            states.move(connection, "churn", 7, "shadow")
        connection.execute("DELETE FROM sqlml.deployments")
        with pytest.raises(Conflict, match="undeployed in the meantime"):
            states.activate(connection, "churn", 1)


def test_undeploying_ends_every_version_but_failed_attempts() -> None:
    with duckdb.connect() as connection:
        versions(connection, *STATES)
        states.end(connection, "churn")
        assert in_state(connection) == ["undeployed"] * 4 + ["failed", "undeployed"]


def test_of_two_that_activate_at_once_one_fails_in_every_order() -> None:
    """Statement by statement from two connections, in all orders in which two transactions can run."""
    for order in set(itertools.permutations("aabb")):
        with duckdb.connect() as connection:
            versions(connection, "active", "shadow", "shadow")
            sides = {"a": connection.cursor(), "b": connection.cursor()}
            steps = {
                side: iter([(states.activate, (sides[side], "churn", number)), (sides[side].execute, ("COMMIT",))])
                for side, number in (("a", 2), ("b", 3))
            }
            for opened in sides.values():
                opened.execute("BEGIN")
                opened.execute("SELECT count(*) FROM sqlml.versions").fetchall()  # both see the state of before
            failed = set()
            for side in order:
                step, arguments = next(steps[side])
                try:
                    step(*arguments) if side not in failed else None
                except duckdb.TransactionException:
                    failed.add(side)
            assert len(failed) == 1
            for opened in sides.values():
                opened.close()
            assert_one_active(connection)


def test_many_at_once_leave_one_active() -> None:
    with duckdb.connect() as connection:
        versions(connection, "active", *["shadow"] * 7)

        def work(number: int) -> None:
            own = connection.cursor()
            for _ in range(30):
                try:
                    own.execute("BEGIN")
                    states.activate(own, "churn", number)
                    own.execute("COMMIT")
                except (duckdb.TransactionException, IllegalMove, Conflict):
                    own.execute("ROLLBACK")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert_one_active(connection)
        assert sorted(set(in_state(connection))) in (["active", "retired"], ["active", "retired", "shadow"])


ACTIVATING = """
import sys, itertools, duckdb
from sqlml.catalog import states
with duckdb.connect(sys.argv[1]) as connection:
    print("ready", flush=True)
    for number in itertools.cycle((2, 3, 1)):
        connection.execute("BEGIN")
        states.activate(connection, "churn", number)
        connection.execute("COMMIT")
"""


def test_killed_in_the_middle_one_is_active(tmp_path: Path) -> None:
    path, chance = tmp_path / "warehouse.duckdb", random.Random(7)
    with duckdb.connect(str(path)) as connection:
        versions(connection, "active", "shadow", "shadow")
    for _ in range(int(os.environ.get("SQLML_KILLS", "5"))):
        with subprocess.Popen([sys.executable, "-c", ACTIVATING, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.001, 0.2))
            process.send_signal(signal.SIGKILL)
        with duckdb.connect(str(path)) as connection:
            assert_one_active(connection)


def test_a_state_is_changed_in_one_module_only() -> None:
    package = Path(states.__file__).parents[1]
    writers = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(f"{table} SET {column} =" in path.read_text() for table, column in WRITTEN)
    ]
    assert sorted(writers) == ["catalog/migrations.py", "catalog/states.py"]


WRITTEN = (("sqlml.versions", "state"), ("sqlml.deployments", "active_version"))


def test_states_of_an_older_catalog_are_brought_up_to_date_and_read_as_they_are(monkeypatch: Any) -> None:
    before = migrations.MIGRATIONS[: migrations.LIFECYCLE - 1]
    with duckdb.connect() as connection:
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "MIGRATIONS", before)
            versions(connection, "retired", "active", "staged", "undeployed")
            assert in_state(connection) == ["retired", "active", "planned", "undeployed"]
        columns = connection.execute("SELECT state FROM sqlml.versions ORDER BY version").fetchall()
        assert columns == [("retired",), ("active",), ("staged",), ("undeployed",)]
        assert migrations.migrate(connection) >= 1
        assert connection.execute("SELECT state, failure FROM sqlml.versions ORDER BY version").fetchall() == [
            ("retired", None),
            ("active", None),
            ("planned", None),
            ("undeployed", None),
        ]
