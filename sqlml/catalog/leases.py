"""One routine at a time per deployment, also across the many short transactions of a long scoring.

A lease is a row whose primary key makes a second holder fail. DuckDB lets one process write to a file, so a lease of
another process is stale by itself: that process was killed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sqlml.catalog.records import now
from sqlml.database import atomic
from sqlml.errors import Conflict, DatabaseError
from sqlml.processes import this_process

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_live_jobs: set[str] = (
    set()
)  # of this process; a lease of a job that is not here was left by an injected failure or a crash
_lock = threading.Lock()
TRIES = 3


MODEL_BYTES = "sqlml"
"""What is held while model bytes are removed: no deployment can have this name."""
SECONDS_FOR_BYTES = 30.0
DEPLOYING = ("deploy", "sync")
"""Jobs that store models."""


@contextmanager
def lease(connection: Connection, name: str, job_id: str) -> Iterator[None]:
    """Hold the deployment for the length of the block.

    Raises:
        Conflict: another job of this process holds it; it is named.
    """
    with _lock:
        _live_jobs.add(job_id)
    try:
        _take_at_last(connection, name, job_id)
        try:
            yield
        finally:
            _release(connection, name.lower(), job_id)
    finally:
        with _lock:
            _live_jobs.discard(job_id)


def deploying(connection: Connection) -> list[str]:
    """Jobs of this process that store a model now; another process cannot write meanwhile."""
    rows = connection.execute("SELECT job_id, process FROM sqlml.leases ORDER BY job_id").fetchall()
    with _lock:
        return [job for job, process in rows if job.split("-")[0] in DEPLOYING and _is_live(job, process)]


def end_dead(connection: Connection, job_id: str) -> None:
    """Take and give back what jobs left that were killed: nobody needs it, and nothing else takes it away."""
    rows = connection.execute("SELECT deployment, job_id, process FROM sqlml.leases").fetchall()
    with _lock:
        dead = [name for name, *holder in rows if not _is_live(*holder)]
    for name in dead:
        with suppress(Conflict), lease(connection, name, job_id):
            pass  # somebody else may have been quicker


def wait_for_bytes(connection: Connection) -> None:
    """Wait until nobody removes model bytes; for who has a lease and is about to store a model.

    Raises:
        Conflict: it takes too long.
    """
    until = time.monotonic() + SECONDS_FOR_BYTES
    while True:
        query = "SELECT job_id, process FROM sqlml.leases WHERE deployment = ?"
        row = connection.execute(query, [MODEL_BYTES]).fetchone()
        with _lock:
            if row is None or not _is_live(*row):
                return
        if time.monotonic() > until:
            raise Conflict(f"Job {row[0]} removes model bytes.", hint="Run this again when it has finished.")
        time.sleep(0.05)


def _is_live(job_id: str, process: str) -> bool:
    """With the lock held."""
    return process == this_process() and job_id in _live_jobs


def _take_at_last(connection: Connection, name: str, job_id: str) -> None:
    """Take it, or be told who has it. Two that insert at once may both fail on the key: then nobody has it, and one of
    them succeeds when it tries again."""
    for tries_left in reversed(range(TRIES)):
        try:
            return _take(connection, name.lower(), job_id)
        except DatabaseError as error:
            if not _is_duplicate(error):
                raise
            if tries_left == 0:
                raise Conflict(
                    f"Another job has taken {name} at this very moment.", hint="Run this again when it has finished."
                ) from error


def _take(connection: Connection, name: str, job_id: str) -> None:
    with atomic(connection, name):
        row = connection.execute("SELECT job_id, process FROM sqlml.leases WHERE deployment = ?", [name]).fetchone()
        if row is None:
            connection.execute("INSERT INTO sqlml.leases VALUES (?, ?, ?, ?)", [name, job_id, this_process(), now()])
            return
        holder, process = row
        with _lock:
            is_held = _is_live(holder, process)
        if is_held:
            raise Conflict(
                f"{name} is being worked on by job {holder}.",
                hint=f"Follow it with: sqlml logs {holder} --follow. Run this again when it has finished.",
                job_id=holder,
            )
        connection.execute(
            "UPDATE sqlml.leases SET job_id = ?, process = ?, taken_at = ? WHERE deployment = ?",
            [job_id, this_process(), now(), name],
        )
        _mark_interrupted(connection, name)


def _is_duplicate(error: DatabaseError) -> bool:
    """Whether two took it at once: DuckDB finds that at the INSERT or only at the COMMIT."""
    import duckdb

    found = isinstance(error.__cause__, duckdb.ConstraintException | duckdb.TransactionException)
    return found and "duplicate key" in str(error.__cause__).lower()


def _mark_interrupted(connection: Connection, name: str) -> None:
    """The former holder died: its scoring will not be finished by it."""
    connection.execute(
        "UPDATE sqlml.scorings SET state = 'interrupted' WHERE lower(deployment) = ? AND state = 'running'", [name]
    )


def end_with_deployment(connection: Connection, name: str) -> None:
    """The lease goes in the transaction that removes the deployment; part of that transaction."""
    connection.execute("DELETE FROM sqlml.leases WHERE deployment = ?", [name.lower()])


def _release(connection: Connection, name: str, job_id: str) -> None:
    with atomic(connection, name):
        connection.execute("DELETE FROM sqlml.leases WHERE deployment = ? AND job_id = ?", [name, job_id])
