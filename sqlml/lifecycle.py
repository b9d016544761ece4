"""Rolling back, undeploying, and turning live on or off: planned, transactional, logged."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlml import jobs, live, objects, pyfunc, readers, sql, writing_back
from sqlml.catalog import activity, collected, following, leases, migrations, recalls, records, states
from sqlml.catalog.collected import BYTES, PREDICTIONS
from sqlml.catalog.records import Deployment, Version
from sqlml.connecting import prepare_connection
from sqlml.convert.pyfunc import Policy
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable
from sqlml.deploy import restoring
from sqlml.deploy.rechecking import reference_of
from sqlml.deploy.state import schema_is_empty
from sqlml.deploy.switch import can_be_live, followers, switch
from sqlml.errors import BindingError, KeyRefused, NotDeployed, Refused, choices
from sqlml.kept import table_name as inputs_table
from sqlml.labels.tables import table_name
from sqlml.predictions import check_source, target_of
from sqlml.relation import find, table_exists
from sqlml.scoring import Scored, score_version

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class RolledBack:
    """`scored` is what was topped up after the switch; None for a deployment of functions only."""

    name: str
    from_version: int
    to_version: int
    scored: Scored | None
    job_id: str

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def rollback(
    connection: Connection,
    name: str,
    *,
    to: int | None = None,
    accept_recalled: bool = False,
    why: str | None = None,
    policy: Policy | None = None,
    listener: jobs.Listener | None = None,
) -> RolledBack:
    """Make an earlier version active again, at once; then score what changed since it was retired.

    `to` is a deployment version; by default the one that was active before this one. `policy` says how the process of a
    python_function may run.

    Raises:
        NotDeployed: there is no such version, or none before.
        Refused: the version is recalled, and nobody accepted that.
        BindingError: the source is gone, or has not the columns any more. Where its key has another type or is repeated, the
            version is active when that is said, or KeyRefused.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    migrations.migrate(connection)
    current = records.active(connection, deployment)
    target = records.version(connection, deployment, to) if to is not None else _before(connection, deployment, current)
    if target.version == current.version:
        raise NotDeployed(
            f"{deployment.name} v{target.version} is the active version already.",
            hint=f"sqlml score {deployment.name} scores what it has not scored yet.",
        )
    _refuse_never_active(connection, deployment, current, target)
    recalls.refuse(connection, deployment.name, target.version, accepted=accept_recalled)
    job = jobs.Job("rollback", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        if target.source is not None:  # views read it
            check_source(target, find(connection, target.source))
        _fill_again(connection, target, job, policy)
        with atomic(connection, deployment.name):
            records.begin_change(connection, deployment.name)
            fresh = records.deployment(connection, deployment.name)
            switch(
                connection,
                fresh,
                target,
                action="rollback",
                job_id=job.id,
                why=why,
                live_wanted=fresh.live and can_be_live(connection, target),
            )
        job.log("switch", f"{deployment.name}: v{current.version} -> v{target.version}")
        scored = None
        if target.prediction_table is not None:
            scored = _topped_up(connection, target, job, policy)
        writing_back.after(connection, job, deployment.name)
        return RolledBack(deployment.name, current.version, target.version, scored, job.id)


def _topped_up(connection: Connection, target: Version, job: jobs.Job, policy: Policy | None) -> Scored:
    """
    Raises:
        Refused: the source is not what it was. The rollback stands: it may be the source that somebody flees from.
    """
    try:
        with pyfunc.askers(connection, policy, partial(job.log, "score")) as askers:
            return score_version(connection, target, job, askers)
    except (BindingError, KeyRefused) as error:
        raise type(error)(
            f"{target.deployment} v{target.version} is active again, with the predictions that it has; what changed since"
            f" could not be scored. {error.message}",
            hint=error.hint,
        ) from error


def _fill_again(connection: Connection, target: Version, job: jobs.Job, policy: Policy | None) -> None:
    """What somebody dropped of it; and of a version that gc was at its predictions, before anybody reads them.

    Raises:
        NotDeployed: its model went too; what brings it back is said.
    """
    gone = collected.of(connection, target.deployment, target.version)
    if BYTES in gone:
        raise NotDeployed(
            f"The model of {target.deployment} v{target.version} was {gone[BYTES].sentence()}, and its functions with it.",
            hint=f"sqlml deploy {reference_of(target)} --name {shlex.quote(target.deployment)} fetches it from the registry, compares"
            f" the files with sha256 {target.artifact_sha256[:12]}, and makes v{target.version} active again.",
        )
    made_again = restoring.restore(connection, target)
    if made_again:
        job.log("apply", f"made again, for somebody dropped them: {', '.join(made_again)}")
    if target.prediction_table is None:
        return
    why = None
    if PREDICTIONS in gone:
        why = f"its predictions were {gone[PREDICTIONS].sentence()}"
    elif f"{target.deployment}.{target.prediction_table}" in made_again:
        why = "its predictions were dropped"
    if why is not None:
        job.log("score", f"v{target.version} is scored before it is active: {why}")
        with pyfunc.askers(connection, policy, partial(job.log, "score")) as askers:
            score_version(connection, target, job, askers)


def _refuse_never_active(connection: Connection, deployment: Deployment, current: Version, target: Version) -> None:
    if target.state not in states.CALLABLE:
        gone = {
            states.UNDEPLOYED: "was undeployed, and has no functions any more",
            states.FAILED: "never was deployed: it failed",
        }
        problem = gone[target.state]
    elif target.version in _once_active(connection, deployment):
        return
    else:
        problem = f"was never active: it is {target.state}"
    promote = f"sqlml promote {deployment.name} --version {target.version} makes it active. "
    again = f"Deploy {target.reference} again. "
    raise NotDeployed(
        f"{deployment.name} v{target.version} {problem}.",
        hint=(promote if target.state == states.SHADOW else again) + _choices(connection, deployment, current),
    )


def _once_active(connection: Connection, deployment: Deployment) -> set[int]:
    """Versions that were active once, by history; one that was only staged, or a shadow, never was."""
    rows = connection.execute(
        "SELECT DISTINCT to_version FROM sqlml.history WHERE deployment = ? AND list_contains(?, action)",
        [deployment.name, list(states.ACTIVATING)],
    ).fetchall()
    return {int(row[0]) for row in rows}


def _before(connection: Connection, deployment: Deployment, current: Version) -> Version:
    """The version that was active before the current one, by history; a staged one never was."""
    number = activity.before(connection, deployment.name, current.version)
    if number is None:
        raise NotDeployed(
            f"No version of {deployment.name} was active before v{current.version}.",
            hint=_choices(connection, deployment, current),
        )
    return records.version(connection, deployment, number)


def _choices(connection: Connection, deployment: Deployment, current: Version) -> str:
    known = records.versions(connection, deployment.name)
    once = _once_active(connection, deployment) - {current.version}
    found = [str(v.version) for v in known if v.state in states.CALLABLE and v.version in once]
    return f"Name one with --to. {choices(found)}" if found else "There is no other version to go back to."


def set_live(connection: Connection, name: str, wanted: bool, *, listener: jobs.Listener | None = None) -> None:
    """Hang the triggers on the source, or take them off.

    Raises:
        PolicyRefused: the source cannot have triggers; the reason is named.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    migrations.migrate(connection)
    version = records.active(connection, deployment)
    job = jobs.Job("live", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        if wanted:
            target = target_of(connection, version)
            upstream = live.upstream_table(connection, target.relation, version.key_columns)
            live.require(database, target.relation, upstream, version.engine)
        with atomic(connection, deployment.name):
            records.begin_change(connection, deployment.name)
            fresh = records.deployment(connection, deployment.name)
            switch(
                connection,
                fresh,
                version,
                action="live on" if wanted else "live off",
                job_id=job.id,
                why=None,
                live_wanted=wanted,
            )
        job.log("live", f"{deployment.name} is {'live' if wanted else 'no longer live'}")
        if wanted:
            with pyfunc.askers(connection, None, partial(job.log, "score")) as askers:
                score_version(connection, version, job, askers)


@dataclass(frozen=True)
class Undeployed:
    """`kept` names the tables that stay: prediction tables, unless they were to be dropped too."""

    name: str
    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    job_id: str

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def undeploy(
    connection: Connection,
    name: str,
    *,
    drop_predictions: bool = False,
    why: str | None = None,
    listener: jobs.Listener | None = None,
) -> Undeployed:
    """Remove a deployment's functions, views and triggers, by recorded name and never by CASCADE; history stays.

    Prediction tables (and `<name>.inputs`) stay unless `drop_predictions`.

    Raises:
        Refused: objects that are not ours depend on it; they are listed, and nothing is dropped.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    deployment = records.deployment(connection, name)
    migrations.migrate(connection)
    job = jobs.Job("undeploy", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        _refuse_dependents(connection, deployment, _left_over(connection, deployment) if drop_predictions else ())
        with atomic(connection, deployment.name):
            records.begin_change(connection, deployment.name)
            dropped, kept = _drop_objects(connection, deployment, drop_predictions)
            records.record_history(
                connection,
                deployment.name,
                "undeploy",
                who=jobs.user(),
                job_id=job.id,
                why=why,
                from_version=deployment.active_version,
            )
            connection.execute("DELETE FROM sqlml.objects WHERE deployment = ?", [deployment.name])
            states.end(connection, deployment.name)
            connection.execute("DELETE FROM sqlml.deployments WHERE name = ?", [deployment.name])
            following.forget(connection, deployment.name)
            leases.end_with_deployment(connection, deployment.name)
        writing_back.after(connection, job, deployment.name)
        job.log("undeploy", f"{deployment.name}: {len(dropped)} objects dropped, {len(kept)} tables kept")
    return Undeployed(deployment.name, tuple(dropped), tuple(kept), job.id)


def _drop_objects(
    connection: Connection, deployment: Deployment, drop_predictions: bool
) -> tuple[list[str], list[str]]:
    live.turn_off(connection, deployment.name)
    dropped: list[str] = []
    kept: list[str] = []
    every = _made(connection, deployment)
    for found in sorted(every, key=lambda o: ("view", "table macro", "macro", "table").index(o.kind)):
        label = f"{found.schema}.{found.name}"
        if found.kind == "table" and not drop_predictions:
            kept.append(label)
            continue
        connection.execute(found.drop_statement)
        dropped.append(label)
    if drop_predictions:
        for table in _left_over(connection, deployment):
            connection.execute(sql.drop_object("TABLE", (deployment.name, table)))
            dropped.append(f"{deployment.name}.{table}")
    if deployment.owns_source:
        if drop_predictions:
            connection.execute(sql.drop_object("TABLE", (deployment.name, "inputs")))
        (dropped if drop_predictions else kept).append(f"{deployment.name}.inputs")
    if not kept and schema_is_empty(connection, deployment.name):
        connection.execute(sql.drop_schema(deployment.name))
        dropped.append(deployment.name)
    return dropped, kept


def _left_over(connection: Connection, deployment: Deployment) -> list[str]:
    """Prediction tables, and labels and inputs kept with them, that an earlier undeployment left."""
    return [
        table
        for version in records.versions(connection, deployment.name)
        for table in (version.prediction_table, table_name(version.version), inputs_table(version.version))
        if version.state == states.UNDEPLOYED
        and table is not None
        and table_exists(connection, (deployment.name, table))
    ]


def _made(connection: Connection, deployment: Deployment) -> list[objects.DatabaseObject]:
    """What is there of a deployment: every version's own, the active one's, and what belongs to labels."""
    return [
        found
        for version in records.versions(connection, deployment.name)
        for found in objects.recorded(connection, deployment.name, version.version)
        if found.role in ("version", objects.LABELS)
        or (found.role == "active" and version.version == deployment.active_version)
    ]


def _refuse_dependents(connection: Connection, deployment: Deployment, left_over: Sequence[str]) -> None:
    """Of views and functions that nobody recorded: what sqlml made for others comes with their deployments."""
    relations: dict[str, set[str]] = {deployment.name: {"inputs", *left_over}}
    functions: dict[str, set[str]] = {}
    for made in _made(connection, deployment):
        (functions if "macro" in made.kind else relations).setdefault(made.schema, set()).add(made.name)
    ours = readers.made(connection)
    dependents = [f"deployment {follower.name}" for follower in followers(connection, deployment.name)]
    dependents += sorted(
        {
            text.label
            for text in readers.texts(connection)
            if (text.kind, text.path) not in ours
            and any(
                text.reads(schema, relations.get(schema, ()), functions.get(schema, ()))
                for schema in {*relations, *functions}
            )
        }
    )
    if dependents:
        raise Refused(
            f"{deployment.name} cannot be undeployed: {', '.join(dependents)} read it.",
            hint="Drop or change them first; sqlml never drops what it did not make.",
            dependents=dependents,
        )
