"""The states of a deployment version, and the moves between them that are legal; every change of state is made here.

planned      callable as predict_vN, its predictions not complete: a deployment that has not finished
shadow       complete, and kept so by `score` beside the active one; nobody's `current` reads it
active       what `predict`, `current` and `scored` mean; one per deployment at most
retired      was active or shadow; functions and predictions are kept, so that it can come back at once
failed       an attempt whose parity or scoring failed: its number, model, reason and evidence, and no objects
undeployed   its deployment was removed, and its functions with it

All of it is part of the caller's transaction, and so is the row of the history that says who and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from sqlml.errors import Conflict, IllegalMove, NotDeployed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

PLANNED, SHADOW, ACTIVE, RETIRED = "planned", "shadow", "active", "retired"
FAILED, UNDEPLOYED = "failed", "undeployed"

FIRST = frozenset({PLANNED, FAILED})
"""What a new version may be."""
MOVES: Mapping[str, frozenset[str]] = {
    PLANNED: frozenset({SHADOW, ACTIVE, RETIRED, FAILED, UNDEPLOYED}),
    SHADOW: frozenset({ACTIVE, RETIRED, UNDEPLOYED}),
    ACTIVE: frozenset({RETIRED, UNDEPLOYED}),
    # Back by a rollback or by deploying it again, which may be as a shadow.
    RETIRED: frozenset({SHADOW, ACTIVE, UNDEPLOYED}),
    FAILED: frozenset(),
    UNDEPLOYED: frozenset(),
}
NEVER_ALONE = frozenset({(ACTIVE, RETIRED), *((state, UNDEPLOYED) for state in MOVES)})
"""Moves that a version makes only with others: retired from active when another one becomes active, undeployed with all."""
CALLABLE = frozenset({PLANNED, SHADOW, ACTIVE, RETIRED})
"""States of versions that have functions and, with a source, a prediction table."""

ACTIVATING = ("activate", "promote", "rollback")
"""Actions of the history that make `to_version` the active one."""
ENDING = "undeploy"
"""The action after which no version is active."""

OF_OLD = {"staged": PLANNED}
"""Names in catalogs of earlier formats."""

REMEDIES = {
    (ACTIVE, RETIRED): "Promote or deploy another version, or roll back: that retires it. undeploy removes all of it.",
    (ACTIVE, SHADOW): "It is what the deployment answers with; another version can be a shadow beside it.",
    (PLANNED, PLANNED): "Deploy it again to finish it.",
    (FAILED, ACTIVE): "Deploy the model again: that is another attempt, with a number of its own.",
    (FAILED, SHADOW): "Deploy the model again: that is another attempt, with a number of its own.",
    (FAILED, RETIRED): "There is nothing of it to retire: it has no functions and no predictions.",
}


def move(connection: Connection, deployment: str, version: int, to: str) -> str:
    """Change one version's state, and return the one it had; one that becomes active retires the one that was.

    Raises:
        IllegalMove: its state does not allow that.
        NotDeployed: there is no such version.
    """
    before = state_of(connection, deployment, version)
    if (before, to) in NEVER_ALONE:
        _refuse(deployment, version, before, to)
    if to != ACTIVE:
        return _write(connection, deployment, version, to)
    if ACTIVE not in MOVES[before]:
        _refuse(deployment, version, before, to)
    activate(connection, deployment, version)
    return before


def _write(connection: Connection, deployment: str, version: int, to: str) -> str:
    before = state_of(connection, deployment, version)
    if to not in MOVES[before]:
        _refuse(deployment, version, before, to)
    # The state is compared again: what another transaction has changed meanwhile is not written over.
    changed = connection.execute(
        "UPDATE sqlml.versions SET state = ? WHERE deployment = ? AND version = ? AND state = ? RETURNING version",
        [to, deployment, version, before],
    ).fetchall()
    if len(changed) != 1:
        raise Conflict(f"{deployment} v{version} was changed in the meantime; nothing was written.")
    return before


def state_of(connection: Connection, deployment: str, version: int) -> str:
    row = connection.execute(
        "SELECT state FROM sqlml.versions WHERE deployment = ? AND version = ?", [deployment, version]
    ).fetchone()
    if row is None:
        raise NotDeployed(f"{deployment} has no deployment version {version}.")
    return str(row[0])


def activate(connection: Connection, deployment: str, version: int) -> int | None:
    """Make a version the active one and retire the one that was, in this order of writes:

    the deployment's row first. It is one row, so of two transactions that activate at once, whichever versions they
    mean, DuckDB fails the second, and the two can never both commit.

    Returns:
        The version that was active before; the same one where nothing changed.

    Raises:
        IllegalMove: the version's state does not allow that.
        Conflict: the deployment is gone, or its record contradicts itself.
    """
    changed = connection.execute(
        "UPDATE sqlml.deployments SET active_version = ? WHERE name = ? RETURNING name", [version, deployment]
    ).fetchall()
    if len(changed) != 1:
        raise Conflict(f"{deployment} was undeployed in the meantime; nothing was written.")
    before = _active(connection, deployment)
    for other in before:
        if other != version:
            _write(connection, deployment, other, RETIRED)
    if version not in before:
        _write(connection, deployment, version, ACTIVE)
    if _active(connection, deployment) != [version]:
        raise Conflict(f"{deployment} has several versions {version} in sqlml.versions; nothing was written.")
    return before[0] if before else None


def _active(connection: Connection, deployment: str) -> list[int]:
    rows = connection.execute(
        "SELECT version FROM sqlml.versions WHERE deployment = ? AND state = 'active' ORDER BY version", [deployment]
    ).fetchall()
    return [int(row[0]) for row in rows]


def end(connection: Connection, deployment: str) -> None:
    """Every version that has functions is undeployed; failed attempts stay what they were."""
    rows = connection.execute(
        "SELECT version, state FROM sqlml.versions WHERE deployment = ? ORDER BY version", [deployment]
    ).fetchall()
    for version, state in rows:
        if UNDEPLOYED in MOVES[state]:
            _write(connection, deployment, version, UNDEPLOYED)


def _refuse(deployment: str, version: int, before: str, to: str) -> NoReturn:
    legal = ", ".join(sorted(state for state in MOVES[before] if (before, state) not in NEVER_ALONE)) or "nothing"
    raise IllegalMove(
        f"{deployment} v{version} is {before}, and cannot become {to}.",
        hint=REMEDIES.get((before, to), f"From {before} a version can become: {legal}."),
        version=version,
        before=before,
        to=to,
    )
