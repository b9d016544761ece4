"""Runs routines on database files, each in a fork that is killed before its k-th statement or after some seconds.

A fork of a process that has everything imported: starting Python for each would take longer than all the rest.
Reads one JSON line for each run, writes one: whether it was killed, how many statements it ran, and how long it took.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlml
import sqlml.collecting
import sqlml.deploy.routine
import sqlml.labelling
import sqlml.lifecycle
import sqlml.promoting
import sqlml.syncing.acting
from sqlml import parity
from sqlml.registry import ModelVersion, Standing
from sqlml.retention import Retention
from tests.deploy.killed import KilledConnection

LONGEST_S = 120


def rolled_back(connection: Any) -> None:
    if sqlml.status(connection, "churn")[0].active_version != 1:
        sqlml.rollback(connection, "churn", to=1)


PRODUCTION = ModelVersion("churn:Production", "churn", "alias Production", "nowhere", number=2)
"""What the alias has moved to."""


def synced(connection: Any) -> None:
    """A round in which the registry says that the alias is version 2 now."""
    converted = sqlml.deploy.routine.prepare

    def prepare(connection: Any, options: Any, job: Any, *, with_reference: bool) -> Any:
        made = converted(
            connection, dataclasses.replace(options, reference="churn:2"), job, with_reference=with_reference
        )
        return dataclasses.replace(made, model=PRODUCTION)

    with (
        patch.object(sqlml.deploy.routine, "prepare", prepare),
        patch("sqlml.registry.standings", lambda questions, **_: dict.fromkeys(questions, Standing(PRODUCTION))),
        patch("sqlml.registry.tag", lambda model, tags: None),
    ):
        done = sqlml.sync(connection)
    assert [outcome.what for outcome in done.outcomes] != ["failed"], done


def labelled(connection: Any) -> None:
    sqlml.label(connection, "churn", "outcomes", label="churned", at="observed_at")


def collected(connection: Any) -> None:
    sqlml.gc(connection, retention=Retention(keep_versions=0), apply=True)


ROUTINES = {
    "gc": collected,
    "sync": synced,
    "sync of shadows": synced,
    "label": labelled,
    "deploy --shadow": lambda connection: sqlml.deploy_db(connection, "churn:2", shadow=True),
    "promote": lambda connection: sqlml.promote(connection, "churn", version=2),
    "rollback": rolled_back,
    "retire": lambda connection: sqlml.retire(connection, "churn", version=2),
    "recall": lambda connection: sqlml.recall(connection, name="churn", version=2, apply=True),
}


def main(prepared: str) -> None:
    parity.asking.LARGEST_SIZE, parity.asking.WHOLE_SIZES, parity.asking.SMALL_SIZES = 40, (), ()
    known = pickle.loads(Path(prepared).read_bytes())  # written by the test beside it
    sqlml.deploy.routine.prepare = lambda connection, options, job, with_reference: known[options.reference]  # type: ignore[assignment]
    for line in sys.stdin:
        database, routine, fail_at, seconds = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            run(database, routine, fail_at)
        status = wait(child, began + (seconds or LONGEST_S))
        took = time.monotonic() - began
        counted = Path(f"{database}.counted")
        # Killed while it wrote this, it leaves an empty file.
        number = int(counted.read_text() or 0) if counted.exists() else 0
        print(json.dumps([os.WIFSIGNALED(status), os.WEXITSTATUS(status), number, took]), flush=True)


def run(database: str, routine: str, fail_at: int) -> None:
    try:
        with sqlml.connect(database) as connection:
            counting = KilledConnection(connection, fail_at or None)
            ROUTINES[routine](counting)
        Path(f"{database}.counted").write_text(str(counting.counter[0]))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def wait(child: int, until: float) -> int:
    """The child's end, by itself or when its time is over."""
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    main(sys.argv[1])
