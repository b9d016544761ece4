"""What gc has removed of deployment versions: rows of sqlml.collected, which say what, how much, when, by whom and by which
policy, and whether it is back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlml.catalog import records
from sqlml.catalog.migrations import COLLECTS, applied
from sqlml.parsing import parsed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

PREDICTIONS, INPUTS, LABELS, BYTES = "predictions", "inputs", "labels", "bytes"
ROWS = (PREDICTIONS, INPUTS)
"""What a scoring brings back; labels come back by being labelled again, bytes with a deploy."""
PARTS = (PREDICTIONS, INPUTS, LABELS, BYTES)


@dataclass(frozen=True)
class Collected:
    """A part of a version that gc removed and nobody has brought back."""

    deployment: str
    version: int
    part: str
    what: str
    rows: int | None
    bytes: int | None
    who: str
    job_id: str
    collected_at: datetime

    def sentence(self) -> str:
        """By whom and when, to stand after "were" or "was".

        >>> Collected("churn", 1, "bytes", "ab12", None, 7, "ana", "gc-1", datetime(2026, 3, 1, 12)).sentence()
        'collected by gc at 2026-03-01 12:00:00 UTC by ana (job gc-1)'
        """
        return f"collected by gc at {self.collected_at:%Y-%m-%d %H:%M:%S} UTC by {self.who} (job {self.job_id})"


def every(connection: Connection) -> dict[tuple[str, int], dict[str, Collected]]:
    """What is missing of each version, by its part."""
    if applied(connection) < COLLECTS:
        return {}
    query = (
        'SELECT deployment, "version", part, what, "rows", bytes, who, job_id, collected_at FROM sqlml.collected'
        " WHERE restored_at IS NULL ORDER BY collected_at"
    )
    rows = connection.execute(parsed(connection, query)).fetchall()
    found: dict[tuple[str, int], dict[str, Collected]] = {}
    for row in rows:
        entry = Collected(*row)
        found.setdefault((entry.deployment, entry.version), {})[entry.part] = entry
    return found


def of(connection: Connection, deployment: str, version: int) -> dict[str, Collected]:
    """What is missing of one version, by its part; empty where it is whole."""
    return every(connection).get((deployment, version), {})


def in_the_way(gone: Mapping[str, Collected], keeps: str, *, as_of: bool) -> Collected | None:
    """What is missing to say what the version predicts, or (`as_of`, from kept inputs) predicted once; None if nothing is."""
    if BYTES in gone:
        return gone[BYTES]
    return gone.get(PREDICTIONS) if not as_of or INPUTS in gone or keeps != "inputs" else None


def record(connection: Connection, entry: Collected, policy: str) -> None:
    """In the caller's transaction, which removes it."""
    values = {name: getattr(entry, name) for name in Collected.__dataclass_fields__}
    records.insert(connection, "collected", {**values, "policy": policy})


def restored(connection: Connection, deployment: str, version: int, *parts: str) -> None:
    """In the caller's transaction, which has brought it back."""
    if applied(connection) < COLLECTS:
        return
    connection.execute(
        "UPDATE sqlml.collected SET restored_at = ? WHERE deployment = ? AND version = ? AND list_contains(?, part)"
        " AND restored_at IS NULL",
        [records.now(), deployment, version, list(parts)],
    )
