"""Recalling predictions: counted and listed, marked, and the marks taken off again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlml import jobs, live, marking, writing_back
from sqlml.catalog import leases, migrations, recalls, records
from sqlml.catalog.recalls import Mark
from sqlml.connecting import prepare_connection
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable
from sqlml.deploy.switch import followers
from sqlml.errors import Conflict, NotDeployed, UsageError, choices
from sqlml.lineage.dependents import Dependent, Dependents, dependents

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

KINDS = ("run", "dataset", "model", "version", "scoring")
"""What can be recalled: a column is no reason by itself."""


@dataclass(frozen=True)
class Recalled:
    """What a recall found and did: `marked` are versions (or scorings) that were marked now, or whose mark was taken off;
    `already` were marked for the very same before; `still` are those that another recall marks too, and how.

    With neither `apply` nor `undo` nothing was done, and there is no job.
    """

    dependents: Dependents
    action: str | None
    marked: tuple[str, ...]
    already: tuple[str, ...]
    still: tuple[str, ...]
    active: tuple[str, ...]
    recall_id: str | None
    job_id: str | None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def depends(
    connection: Connection,
    *,
    run: str | None = None,
    dataset: str | None = None,
    column: str | None = None,
    model: str | None = None,
    name: str | None = None,
    version: int | None = None,
    scoring: str | None = None,
) -> Dependents:
    """Every deployment version that depends on one of these, and how many of its prediction rows.

    Those that read predictions of such a version are listed too, through views and through each other, and so are those of
    which nobody can know.

    Args:
        run: An MLflow run's id.
        dataset: A training dataset's name, digest, `name (digest)` or source.
        column: `table.column`, in any case, with schema and database where they are needed.
        model: The first digits of a sha256: of the ONNX bytes, or of the model's files.
        name, version: A deployment version; `name` may be left out where one thing is deployed.
        scoring: A scoring's id.

    Raises:
        UsageError: none of them, several, or one that is not one thing.
        BindingError: there is no such column.
        NotDeployed: there is no such deployment, version or scoring.
    """
    return dependents(
        connection,
        *_asked(connection, name, version, run=run, dataset=dataset, column=column, model=model, scoring=scoring),
    )


def recall(
    connection: Connection,
    *,
    run: str | None = None,
    dataset: str | None = None,
    model: str | None = None,
    name: str | None = None,
    version: int | None = None,
    scoring: str | None = None,
    apply: bool = False,
    undo: bool = False,
    downstream: bool = False,
    why: str | None = None,
    listener: jobs.Listener | None = None,
) -> Recalled:
    """Count and list the predictions that depend on a run, a dataset, a model, a version or a scoring; `apply` marks them.

    Marked predictions have a time in the column `recalled_at` of `current` and `scored`: all of a version, those scored
    later too, or those of one scoring. Nothing else changes: `predict` answers, `score` scores. A recalled version becomes
    active again only where that is accepted by name. `undo` takes off the marks of recalls for the same thing; both stay
    in sqlml.recalls and in the history. Doing either twice does nothing more. Where no version is known to depend on it,
    nothing is recorded, and a later deploy of it is not refused.

    `downstream` marks those as well that read the predictions: what they scored while they read them, and the whole version
    where it reads them still.

    Raises:
        UsageError: none of the things to recall, several, or one that is not one thing.
        NotDeployed: there is no such deployment, version or scoring.
        Conflict: another routine works on one of the deployments.
    """
    if apply and undo:
        raise UsageError("A recall is applied or undone, not both.", hint="Give --apply or --undo.")
    kind, value = _asked(connection, name, version, run=run, dataset=dataset, column=None, model=model, scoring=scoring)
    if not apply and not undo:
        return _told(connection, dependents(connection, kind, value))
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    prepare_connection(connection)
    migrations.migrate(connection)
    names = _touched(connection, kind, value)
    job = jobs.Job("recall", names[0] if len(names) == 1 else None, jobs.folder_of(database), listener)
    with jobs.running(connection, job), ExitStack() as held:
        for one in names:  # in order: of two recalls that need the same ones, none waits for the other
            held.enter_context(leases.lease(connection, one, job.id))
        if _touched(connection, kind, value) != names:
            raise Conflict(
                f"What depends on {kind} {value} has changed at this very moment; nothing was marked.",
                hint="Run it again.",
            )
        found = dependents(connection, kind, value)
        if apply:
            done = _apply(connection, found, job, downstream=downstream, why=why)
        else:
            done = _undo(connection, found, job, why=why)
        for one in names:
            writing_back.after(connection, job, one)
        return done


def _asked(connection: Connection, name: str | None, version: int | None, **given: str | None) -> tuple[str, str]:
    """The kind and the value of the one thing that was asked for."""
    chosen = [(kind, value) for kind, value in given.items() if value is not None]
    if len(chosen) + (version is not None) != 1 or (name is not None and version is None):
        kinds = ", ".join(f"--{kind}" for kind in given if kind != "column")
        raise UsageError(
            f"Name one thing: {kinds}, or --version with a deployment.",
            hint="For example: sqlml recall --run ID, or sqlml recall churn --version 2.",
        )
    if version is None:
        return chosen[0]
    if name is None:
        names = [d.name for d in records.deployments(connection)]
        if len(names) != 1:
            raise UsageError(
                "--version needs the deployment whose version it is.",
                hint=f"For example: sqlml recall {(names or ['churn'])[0]} --version 1",
            )
        name = names[0]
    known = records.name_of(connection, name)
    numbers = [v.version for v in records.versions(connection, known)]
    if version not in numbers:
        raise NotDeployed(f"{known} has no deployment version {version}.", hint=choices([str(n) for n in numbers]))
    return "version", f"{known} v{version}"


def _told(connection: Connection, found: Dependents) -> Recalled:
    standing = recalls.standing(connection)
    already = tuple(m.subject for m in standing if (m.kind, m.value) == (found.kind, found.value))
    still = tuple(f"{m.subject}: {m.sentence()}" for m in _others(standing, found))
    return Recalled(found, None, (), already, still, _active(found), None, None)


def _others(standing: Sequence[Mark], found: Dependents) -> list[Mark]:
    """Recalls of the same versions for something else."""
    names = {(one.deployment, one.version) for one in found.found}
    return [
        m for m in standing if (m.deployment, m.version) in names and (m.kind, m.value) != (found.kind, found.value)
    ]


def _active(found: Dependents) -> tuple[str, ...]:
    return tuple(one.name for one in found.found if one.state == "active")


def _touched(connection: Connection, kind: str, value: str) -> list[str]:
    """Deployments that a recall may write for, in the order in which their leases are taken."""
    found = dependents(connection, kind, value)
    names = {one.deployment for one in (*found.found, *found.downstream)}
    names |= {m.deployment for m in recalls.standing(connection) if (m.kind, m.value) == (kind, found.value)}
    return sorted(names)


def _apply(connection: Connection, found: Dependents, job: jobs.Job, *, downstream: bool, why: str | None) -> Recalled:
    recall_id, moment = str(uuid.uuid4()), records.now()
    known = {
        (m.deployment, m.version, m.scoring_id): m
        for m in recalls.standing(connection)
        if (m.kind, m.value) == (found.kind, found.value)
    }
    scoring = found.value if found.kind == "scoring" else None
    wanted = [(one, scoring, False) for one in found.found]
    if downstream:
        wanted += [(one, part, True) for one in found.downstream for part in _parts(one)]
    new = [
        Mark(one.deployment, one.version, part, moment, found.kind, found.value, after, why, jobs.user(), recall_id)
        for one, part, after in wanted
        if (one.deployment, one.version, part) not in known
    ]
    _write(connection, "recall", new, job, why)
    job.log("recall", f"{len(new)} marked, {len(known)} were before", rows=found.rows)
    return Recalled(
        dependents=dependents(connection, found.kind, found.value),
        action="recall",
        marked=tuple(m.subject for m in new),
        already=tuple(m.subject for m in known.values()),
        still=(),
        active=_active(found),
        recall_id=recall_id if new else None,
        job_id=job.id,
    )


def _parts(one: Dependent) -> Sequence[str | None]:
    """What of a reader is marked: the whole version where it still reads, else the scorings that did."""
    return [None] if one.is_reading and one.state == "active" else list(one.scorings)


def _undo(connection: Connection, found: Dependents, job: jobs.Job, *, why: str | None) -> Recalled:
    standing = recalls.standing(connection)
    ended = [m for m in standing if (m.kind, m.value) == (found.kind, found.value)]
    _write(connection, "undo", ended, job, why)
    still = [f"{m.subject}: {m.sentence()}" for m in _others(standing, found)]
    job.log("recall", f"{len(ended)} recalls undone")
    return Recalled(
        dependents=dependents(connection, found.kind, found.value),
        action="undo",
        marked=tuple(m.subject for m in ended),
        already=(),
        still=tuple(still),
        active=_active(found),
        recall_id=None,
        job_id=job.id,
    )


def _write(connection: Connection, action: str, marks: Sequence[Mark], job: jobs.Job, why: str | None) -> None:
    """All of them, with the history and the views that show them, or nothing."""
    names = sorted({m.deployment for m in marks})
    if not names:
        return
    with atomic(connection, ", ".join(names)):
        there = [d for d in (records.find_deployment(connection, name) for name in names) if d is not None]
        for deployment in there:
            records.begin_change(connection, deployment.name)
        for mark in marks:
            recalls.append(connection, action, mark, why=why, who=jobs.user(), job_id=job.id)
            asked = f"{mark.kind} {mark.value}" + (
                f", scoring {mark.scoring_id}" if mark.scoring_id and mark.kind != "scoring" else ""
            )
            records.record_history(
                connection,
                mark.deployment,
                "recall" if action == "recall" else "undo recall",
                who=jobs.user(),
                job_id=job.id,
                from_version=mark.version,
                why=f"{asked}: {why}" if why else asked,
            )
        for deployment in there:
            for number in sorted({m.version for m in marks if m.deployment == deployment.name}):
                changed = marking.refresh(connection, deployment.name, number)
                if changed and number == deployment.active_version:
                    _show(connection, deployment.name, [found.statement for found in changed])


def _show(connection: Connection, name: str, statements: Sequence[str]) -> None:
    """Replace the views. Triggers of live deployments that follow depend on them: these are put back as they were."""
    hanging = [trigger for d in followers(connection, name) if d.live for trigger in live.existing(connection, d.name)]
    for trigger in hanging:
        connection.execute(trigger.drop_statement)
    for statement in statements:
        connection.execute(statement)
    for trigger in hanging:
        connection.execute(trigger.statement)
