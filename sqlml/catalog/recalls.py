"""Recalls of predictions: rows of sqlml.recalls, which are only ever added to, and what stands by them now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlml.catalog import records
from sqlml.catalog.migrations import KEEPS_RECALLS, applied
from sqlml.errors import Refused

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Mark:
    """A recall that stands: of a whole version, its later predictions included, or of one scoring of it.

    `kind` and `value` are what it was asked for; `downstream`: as something that reads predictions of that.
    """

    deployment: str
    version: int
    scoring_id: str | None
    recalled_at: datetime
    kind: str
    value: str
    downstream: bool
    why: str | None
    who: str
    recall_id: str

    @property
    def subject(self) -> str:
        scoring = f", scoring {self.scoring_id}" if self.scoring_id else ""
        return f"{self.deployment} v{self.version}{scoring}"

    def sentence(self) -> str:
        """When, for what and why, for people."""
        asked = f"{self.kind} {self.value}"
        cause = f"as it reads what was recalled as {asked}" if self.downstream else f"as {asked}"
        return f"{self.recalled_at:%Y-%m-%d %H:%M:%S} UTC by {self.who}, {cause}" + (
            f": {self.why}" if self.why else ""
        )


def standing(connection: Connection, deployment: str | None = None, version: int | None = None) -> list[Mark]:
    """What is recalled now, the earliest first; of one deployment, or one version of it."""
    if applied(connection) < KEEPS_RECALLS:
        return []
    rows = connection.execute(
        "SELECT deployment, version, scoring_id::VARCHAR, recalled_at, kind, value, downstream, why, who,"
        " recall_id::VARCHAR FROM sqlml.recalled WHERE deployment = coalesce(?, deployment)"
        " AND version = coalesce(?, version) ORDER BY recalled_at, deployment, version, scoring_id",
        [deployment, version],
    ).fetchall()
    return [Mark(*row) for row in rows]


def whole(marks: Iterable[Mark], deployment: str, version: int) -> Mark | None:
    """The first of `marks` that recalls the version as a whole."""
    return next(
        (m for m in marks if (m.deployment, m.version, m.scoring_id) == (deployment, version, None)),
        None,
    )


def told(marks: Iterable[Mark], version: int) -> str | None:
    """When and why a version of one deployment was recalled, or how many of its scorings were; None where none is."""
    of_it = [mark for mark in marks if mark.version == version]
    first = next((mark for mark in of_it if mark.scoring_id is None), None)
    if first is not None:
        return first.sentence()
    scorings = {mark.scoring_id for mark in of_it}
    return f"{len(scorings)} scorings of it: {of_it[0].sentence()}" if of_it else None


def refuse(connection: Connection, deployment: str, version: int, *, accepted: bool) -> None:
    """Refuse to make a recalled version the active one.

    Raises:
        Refused: it is recalled as a whole, and nobody accepted that.
    """
    found = whole(standing(connection, deployment, version), deployment, version)
    if found is not None and not accepted:
        raise refused(f"{deployment} v{version}", found)


def refused(subject: str, mark: Mark) -> Refused:
    """That `subject` is recalled, and what to do."""
    return Refused(
        f"{subject} is recalled: {mark.sentence()}.",
        hint="Choose another version, undo the recall (sqlml recall --undo), or take it all the same with --accept-recalled.",
        recall_id=mark.recall_id,
    )


def append(connection: Connection, action: str, mark: Mark, *, why: str | None, who: str, job_id: str | None) -> None:
    """Write that `mark` is made, or undone, in the caller's transaction."""
    found = connection.execute("SELECT current_user").fetchone()
    records.insert(
        connection,
        "recalls",
        {
            "recall_id": mark.recall_id,
            "action": action,
            "deployment": mark.deployment,
            "version": mark.version,
            "scoring_id": mark.scoring_id,
            "kind": mark.kind,
            "value": mark.value,
            "downstream": mark.downstream,
            "why": why,
            "who": who,
            "database_user": None if found is None else found[0],
            "job_id": job_id,
            "happened_at": mark.recalled_at if action == "recall" else records.now(),
        },
    )


def last_undone(connection: Connection, deployment: str, version: int) -> datetime | None:
    """When a recall of the version, or of a scoring of it, was last undone; None where none was."""
    if applied(connection) < KEEPS_RECALLS:
        return None
    row = connection.execute(
        "SELECT max(happened_at) FROM sqlml.recalls WHERE deployment = ? AND version = ? AND action = 'undo'",
        [deployment, version],
    ).fetchone()
    return None if row is None else row[0]
