"""Telling MLflow what has become of its model versions: where each is deployed, and its history there.

What a version's tags should say follows from the catalog alone, so that it can be said again at any time. What is yet to be
said is a row of sqlml.write_backs, written before the attempt and removed after it: neither a registry that is away nor a
process that is killed in between leaves MLflow with something old for good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlml import jobs, registry
from sqlml.catalog import recalls, records
from sqlml.catalog.following import wait_after
from sqlml.catalog.migrations import KEEPS_WRITE_BACKS, applied
from sqlml.catalog.records import Version
from sqlml.database import atomic, facts
from sqlml.registry import DIGEST_TAG, ModelVersion

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

LONGEST_TAG = 4_500
"""Characters: MLflow's stores take 5,000 in a model version's tag (8,000 in a run's)."""
PHASE = "write back"


@dataclass(frozen=True)
class WrittenBack:
    """Deployment versions that MLflow was told about, and those that are still to be told, each with the reason."""

    told: tuple[str, ...]
    pending: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def after(connection: Connection, job: jobs.Job, name: str, *versions: int) -> None:
    """What a routine does last: tell MLflow of what the job's history names, and of `versions`. Best effort."""
    if applied(connection) < KEEPS_WRITE_BACKS:
        return
    rows = connection.execute(
        "SELECT action, from_version, to_version FROM sqlml.history WHERE job_id = ? AND deployment = ?", [job.id, name]
    ).fetchall()
    touched = {number for _, *both in rows for number in both if number is not None} | set(versions)
    if any(action == "undeploy" for action, _, _ in rows):
        touched |= {version.version for version in records.versions(connection, name)}
    remember(connection, name, touched)
    with registry.in_passing():
        done = write_back(connection, name)
    for told in done.told:
        job.log(PHASE, f"MLflow says where {told} is deployed")
    for pending, why in done.pending:
        job.log(PHASE, f"MLflow was not told about {pending}, which is kept to be tried again: {why}")


def remember(connection: Connection, name: str, versions: Iterable[int]) -> None:
    """Note that MLflow is to be told about these versions, as far as it knows them."""
    known = {version.version: version for version in records.versions(connection, name)}
    wanted = [known[number] for number in sorted(versions) if number in known and _is_known_to_mlflow(known[number])]
    if not wanted:
        return
    with atomic(connection, name):
        for version in wanted:
            connection.execute(
                "INSERT INTO sqlml.write_backs SELECT $1, $2, 0, NULL, $3, NULL WHERE NOT EXISTS"
                " (SELECT 1 FROM sqlml.write_backs WHERE deployment = $1 AND version = $2)",
                [name, version.version, records.now()],
            )


def _is_known_to_mlflow(version: Version) -> bool:
    return version.model_version is not None or version.run_id is not None


def due(
    connection: Connection, name: str | None, *, now: datetime, everything: bool = False
) -> frozenset[tuple[str, int]]:
    """The deployment versions that are to be told about now: not those that failed a moment ago, unless `everything`."""
    if applied(connection) < KEEPS_WRITE_BACKS:
        return frozenset()
    rows = connection.execute(
        "SELECT deployment, version, tries, tried_at FROM sqlml.write_backs WHERE deployment = coalesce(?, deployment)",
        [name],
    ).fetchall()
    return frozenset(
        (deployment, version)
        for deployment, version, tries, tried_at in rows
        if everything or tried_at is None or tried_at + wait_after(tries) <= now
    )


def write_back(
    connection: Connection, name: str | None = None, *, only: Set[tuple[str, int]] | None = None
) -> WrittenBack:
    """Tell MLflow all that is pending, of one deployment or of all, or `only` of some deployment versions.

    What fails stays pending. May be repeated at will.

    A registry that did not answer is not asked again for the other versions.
    """
    if applied(connection) < KEEPS_WRITE_BACKS:
        return WrittenBack((), ())
    waiting = connection.execute(
        "SELECT deployment, version FROM sqlml.write_backs WHERE deployment = coalesce(?, deployment) ORDER BY ALL",
        [name],
    ).fetchall()
    told: list[str] = []
    pending: list[tuple[str, str]] = []
    away: dict[tuple[str | None, str | None], str] = {}
    for deployment, number in waiting:
        if only is not None and (deployment, number) not in only:
            continue
        version = next((v for v in records.versions(connection, deployment) if v.version == number), None)
        label = f"{deployment} v{number}"
        if version is None:
            _done(connection, deployment, number)
            continue
        place = version.tracking_uri, version.registry_uri
        problem = away.get(place) or _tell(connection, version)
        if problem is None:
            told.append(label)
            _done(connection, deployment, number)
        else:
            away[place] = problem
            pending.append((label, problem))
            _failed(connection, deployment, number, problem)
    return WrittenBack(tuple(told), tuple(pending))


def _done(connection: Connection, deployment: str, number: int) -> None:
    with atomic(connection, deployment):
        connection.execute("DELETE FROM sqlml.write_backs WHERE deployment = ? AND version = ?", [deployment, number])


def _failed(connection: Connection, deployment: str, number: int, problem: str) -> None:
    with atomic(connection, deployment):
        connection.execute(
            "UPDATE sqlml.write_backs SET tries = tries + 1, problem = ?, tried_at = ?"
            " WHERE deployment = ? AND version = ?",
            [problem, records.now(), deployment, number],
        )


def _tell(connection: Connection, version: Version) -> str | None:
    """Why it could not be told; None if it was."""
    model = ModelVersion(
        reference=version.reference,
        name=version.model_name or "",
        found_by="",
        location=version.artifact_uri or "",
        number=int(version.model_version) if version.model_version else None,
        run_id=version.run_id,
        tracking_uri=version.tracking_uri,
        registry_uri=version.registry_uri,
    )
    return registry.tag(model, tags(connection, version))


def tags(connection: Connection, version: Version) -> dict[str, str]:
    """What MLflow is to say about a version, on the model version and on its run.

    Of several deployment versions of one model version (with another threshold or engine) the active one counts, else
    the latest; the history is that of all.
    """
    same = [v for v in records.versions(connection, version.deployment) if _model(v) == _model(version)]
    version = next((v for v in same if v.state == "active"), same[-1] if same else version)
    database = facts(connection).name
    # MLflow allows letters, digits and these in the name of a tag.
    prefix = re.sub(r"[^\w./ -]", "_", f"sqlml.{database}.{version.deployment}")
    parity = _parity(connection, version)
    recalled = _recalled(connection, version)
    return {
        f"{prefix}.version": str(version.version),
        f"{prefix}.state": version.state,
        f"{prefix}.engine": version.engine,
        f"{prefix}.deployed_at": version.deployed_at.isoformat(timespec="seconds"),
        **({} if version.engine == "pyfunc" else {f"{prefix}.onnx_sha256": version.model_sha256}),
        **({} if parity is None else {f"{prefix}.parity": parity}),
        **({} if recalled is None else {f"{prefix}.recalled": recalled}),
        f"{prefix}.history": _history(connection, version.deployment, [v.version for v in same]),
        # Where the store keeps no hashes, the first deployment's is what every later download is compared with.
        DIGEST_TAG: version.artifact_sha256,
    }


def _parity(connection: Connection, version: Version) -> str | None:
    row = connection.execute(
        "SELECT passed, rows_compared, largest_difference FROM sqlml.parity WHERE deployment = ? AND version = ?"
        " ORDER BY checked_at DESC LIMIT 1",
        [version.deployment, version.version],
    ).fetchone()
    if row is None:
        return None
    difference = "" if row[2] is None else f", largest difference {row[2]:.1g}"
    return f"{'passed' if row[0] else 'failed'} on {row[1]} rows{difference}"


def _recalled(connection: Connection, version: Version) -> str | None:
    """When and why, or that it is no more: a tag that was set is never taken away. None where it never was."""
    standing = recalls.told(recalls.standing(connection, version.deployment), version.version)
    if standing is not None:
        return standing[:LONGEST_TAG]
    undone = recalls.last_undone(connection, version.deployment, version.version)
    return None if undone is None else f"no: undone at {undone.isoformat(timespec='seconds')}"


def _model(version: Version) -> tuple[str | None, ...]:
    return version.registry_uri, version.model_name, version.model_version, version.run_id


def _history(connection: Connection, deployment: str, versions: list[int]) -> str:
    """JSON, the latest first, as many events as there is room for."""
    rows = connection.execute(
        "SELECT happened_at, action, from_version, to_version, who, why FROM sqlml.history WHERE deployment = $1"
        " AND (list_contains($2::INTEGER[], from_version) OR list_contains($2::INTEGER[], to_version)) ORDER BY happened_at DESC LIMIT 50",
        [deployment, versions],
    ).fetchall()
    shown: list[dict[str, Any]] = []  # Any: JSON
    for at, action, before, now, who, why in rows:
        event = {"at": at.isoformat(timespec="seconds"), "action": action, "from": before, "to": now, "who": who}
        if why:
            event["why"] = why if len(why) <= 500 else why[:499] + "\u2026"
        longer = [*shown, event]
        if len(json.dumps(longer, ensure_ascii=False)) > LONGEST_TAG:
            break
        shown = longer
    return json.dumps(shown, ensure_ascii=False)
