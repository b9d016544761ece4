"""Runs routines on database files, each in a fork that is killed before its k-th statement or after some seconds.

A fork of a process that has everything imported: starting Python for each would take longer than all the rest.
Reads one JSON line for each run, writes one: whether it was killed, how many statements it ran, and how long it took.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import sqlml
import sqlml.deploy
import sqlml.lifecycle
import sqlml.promoting
from sqlml import parity
from tests.deploy.killed import KilledConnection

LONGEST_S = 120


def rolled_back(connection: Any) -> None:
    if sqlml.status(connection, "churn")[0].active_version != 1:
        sqlml.rollback(connection, "churn", to=1)


ROUTINES = {
    "deploy --shadow": lambda connection: sqlml.deploy_db(connection, "churn:2", shadow=True),
    "promote": lambda connection: sqlml.promote(connection, "churn", version=2),
    "rollback": rolled_back,
    "retire": lambda connection: sqlml.retire(connection, "churn", version=2),
}


def main(prepared: str) -> None:
    parity.asking.LARGEST_SIZE, parity.asking.WHOLE_SIZES, parity.asking.SMALL_SIZES = 40, (), ()
    known = pickle.loads(Path(prepared).read_bytes())  # written by the test beside it
    sqlml.deploy.prepare = lambda connection, options, job, with_reference: known[options.reference]  # type: ignore[assignment]
    for line in sys.stdin:
        database, routine, fail_at, seconds = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            run(database, routine, fail_at)
        status = wait(child, began + (seconds or LONGEST_S))
        took = time.monotonic() - began
        counted = Path(f"{database}.counted")
        number = int(counted.read_text()) if counted.exists() else 0
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
