"""Runs one routine on a database file and kills itself, as the kernel would, before its k-th statement."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import sqlml
import sqlml.deploy.routine
from sqlml import parity
from tests.deploy.faults import FaultyConnection


class KilledConnection(FaultyConnection):
    def execute(self, *arguments: Any) -> Any:
        self.counter[0] += 1
        if self.counter[0] == self._fail_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._inner.execute(*arguments)

    def cursor(self) -> KilledConnection:
        return KilledConnection(self._inner.cursor(), self._fail_at, self.counter)


def main(database: str, routine: str, fail_at: int, prepared: str) -> None:
    parity.asking.LARGEST_SIZE, parity.asking.WHOLE_SIZES, parity.asking.SMALL_SIZES = 40, (), ()
    known = pickle.loads(Path(prepared).read_bytes())  # written by the test beside it
    sqlml.deploy.routine.prepare = lambda connection, options, job, with_reference: known[options.reference]  # type: ignore[assignment]
    with sqlml.connect(database) as connection:
        counting = KilledConnection(connection, fail_at or None)
        ROUTINES[routine](counting)
        print(counting.counter[0])


ROUTINES = {
    "deploy": lambda connection: sqlml.deploy_db(connection, "churn:2", table="customers", key="customer_id"),
    "score": lambda connection: sqlml.score(connection, "churn"),
    "rollback": lambda connection: sqlml.rollback(connection, "churn"),
    "undeploy": lambda connection: sqlml.undeploy(connection, "churn", drop_predictions=True),
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
