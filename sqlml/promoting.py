"""From shadow to active, and from shadow or planned to retired: transactional, logged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlml import comparison, contract, jobs, pyfunc, writing_back
from sqlml.catalog import leases, migrations, recalls, records, states
from sqlml.catalog.records import Deployment, Version
from sqlml.connecting import prepare_connection
from sqlml.convert.pyfunc import Policy
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable
from sqlml.deploy import restoring
from sqlml.deploy.switch import can_be_live, switch
from sqlml.errors import IllegalMove, NotDeployed, UsageError
from sqlml.scoring import Scored, score_version

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Promoted:
    """`from_version` is what was active before, `changes` what that means for readers, in sentences; `scored` is None for
    a deployment of functions only. The two versions are the same where there was nothing to promote any more."""

    name: str
    from_version: int
    to_version: int
    changes: tuple[str, ...]
    scored: Scored | None
    job_id: str

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def promote(
    connection: Connection,
    name: str,
    *,
    version: int | None = None,
    accept_contract_change: bool = False,
    accept_recalled: bool = False,
    why: str | None = None,
    policy: Policy | None = None,
    listener: jobs.Listener | None = None,
) -> Promoted:
    """Make a shadow the active version: scored up to now, compared, switched to in one transaction.

    `version` may be left out where there is one shadow. A version that is active already is scored up to now, so that a
    promotion that was interrupted after the switch can be repeated. `policy` says how the process of a python_function
    may run.

    Raises:
        NotDeployed: there is no such version, or no shadow.
        Refused: the version is recalled, and nobody accepted that.
        IllegalMove: the version is not a shadow; what to do is said.
        ContractChanged: its inputs, types or classes differ from the active version's, and nobody accepted that.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    migrations.migrate(connection)
    job = jobs.Job("promote", deployment.name, jobs.folder_of(database), listener)
    with (
        jobs.running(connection, job),
        leases.lease(connection, deployment.name, job.id),
        pyfunc.askers(connection, policy, partial(job.log, "score")) as askers,
    ):
        deployment = records.deployment(connection, name)  # as it is now that nobody else works on it
        chosen = _chosen(connection, deployment, version)
        before = records.active(connection, deployment)
        changes: tuple[str, ...] = ()
        if chosen.version != before.version:
            recalls.refuse(connection, deployment.name, chosen.version, accepted=accept_recalled)
            changes = _switch(connection, deployment, before, chosen, job, askers, accept_contract_change, why)
        scored = None
        if chosen.prediction_table is not None:
            # What others wrote before the switch is seen by neither the scoring before it nor a new trigger.
            scored = score_version(connection, chosen, job, askers)
        writing_back.after(connection, job, deployment.name)
        return Promoted(deployment.name, before.version, chosen.version, changes, scored, job.id)


def _chosen(connection: Connection, deployment: Deployment, number: int | None) -> Version:
    if number is not None:
        version = records.version(connection, deployment, number)
        if version.state in (states.SHADOW, states.ACTIVE):
            return version
        raise IllegalMove(
            f"{deployment.name} v{number} is {version.state}, and only a shadow can be promoted.",
            hint=HOW_TO_ACTIVE[version.state],
            version=number,
            before=version.state,
            to=states.ACTIVE,
        )
    shadows = [v for v in records.versions(connection, deployment.name) if v.state == states.SHADOW]
    if not shadows:
        raise NotDeployed(
            f"{deployment.name} has no shadow to promote.", hint="Deploy one: sqlml deploy REFERENCE --shadow."
        )
    if len(shadows) > 1:
        listed = ", ".join(str(v.version) for v in shadows)
        raise UsageError(f"{deployment.name} has several shadows.", hint=f"Name one with --version: {listed}.")
    return shadows[0]


HOW_TO_ACTIVE = {
    states.PLANNED: "Its deployment did not finish: deploy it again, with --shadow or without.",
    states.RETIRED: "If it was active once, sqlml rollback --to brings it back; deploying it again does always.",
    states.FAILED: "Deploy the model again: that is another attempt, with a number of its own.",
    states.UNDEPLOYED: "It has no functions any more: deploy the model again.",
}


def _switch(
    connection: Connection,
    deployment: Deployment,
    before: Version,
    chosen: Version,
    job: jobs.Job,
    askers: pyfunc.Askers,
    accepted: bool,
    why: str | None,
) -> tuple[str, ...]:
    for change in contract.check(deployment.name, before.contract, chosen.contract, accepted=accepted):
        job.log("contract", f"accepted: {change}")
    if made_again := restoring.restore(connection, chosen):
        job.log("apply", f"made again, for somebody dropped them: {', '.join(made_again)}")
    if chosen.prediction_table is not None:
        score_version(connection, chosen, job, askers)
    changes = tuple(comparison.told(connection, before, chosen))
    for sentence in changes:
        job.log("compare", sentence)
    with atomic(connection, deployment.name):
        records.begin_change(connection, deployment.name)
        switch(
            connection,
            deployment,
            chosen,
            action="promote",
            job_id=job.id,
            why=why,
            live_wanted=deployment.live and can_be_live(connection, chosen),
        )
    job.log("switch", f"{deployment.name}: v{before.version} -> v{chosen.version}")
    return changes


@dataclass(frozen=True)
class Retired:
    """`from_state` is what the version was: shadow or planned, or retired where nothing was left to do."""

    name: str
    version: int
    from_state: str
    job_id: str

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def retire(
    connection: Connection,
    name: str,
    *,
    version: int,
    why: str | None = None,
    listener: jobs.Listener | None = None,
) -> Retired:
    """Take a shadow, or a version whose deployment did not finish, out of the running: `score` passes it by.

    Its functions and its predictions are kept. One that is retired already stays that, and nothing is recorded.

    Raises:
        NotDeployed: there is no such version.
        IllegalMove: it is active, which another version's promotion or a rollback ends; or has failed or is undeployed.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    deployment = records.deployment(connection, name)
    migrations.migrate(connection)
    job = jobs.Job("retire", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        found = records.version(connection, deployment, version)
        if found.state != states.RETIRED:
            with atomic(connection, deployment.name):
                records.begin_change(connection, deployment.name)
                states.move(connection, deployment.name, version, states.RETIRED)
                records.record_history(
                    connection,
                    deployment.name,
                    "retire",
                    who=jobs.user(),
                    job_id=job.id,
                    why=why,
                    from_version=version,
                )
        job.log("retire", f"{deployment.name} v{version} is retired (it was {found.state})")
        writing_back.after(connection, job, deployment.name)
        return Retired(deployment.name, version, found.state, job.id)
