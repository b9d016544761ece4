"""deploy_db: a model version becomes SQL in a database, or nothing changes.

reference -> model version -> ONNX -> engine -> one transaction with every object and the parity check through the very
functions just made -> scoring in short transactions -> one transaction that switches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlml import (
    comparison,
    contract,
    jobs,
    lineage,
    live,
    names,
    objects,
    openlineage,
    parity,
    pyfunc,
    sql,
    writing_back,
)
from sqlml.catalog import collected, following, leases, migrations, model_files, records, states
from sqlml.catalog.collected import BYTES
from sqlml.catalog.records import Version
from sqlml.convert.isolation import MEMORY_BYTES, TIMEOUT_S
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable
from sqlml.deploy import attempts, reasons_added, restoring, stage
from sqlml.deploy.deployment import Deployed, Options, options_from
from sqlml.deploy.prepare import Prepared, prepare
from sqlml.deploy.switch import switch
from sqlml.errors import Refused
from sqlml.scoring import Scored, score_version

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def deploy_db(
    connection: Connection,
    reference: str,
    *,
    name: str | None = None,
    table: str | None = None,
    key: str | Sequence[str] | None = None,
    engine: str = "auto",
    threshold: float | None = None,
    score: bool = True,
    shadow: bool = False,
    follow: str | None = None,
    live: bool | None = None,
    function: str | None = None,
    accept_contract_change: bool = False,
    accept_recalled: bool = False,
    why: str | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str = "auto",
    model_timeout: float = TIMEOUT_S,
    model_memory: int = MEMORY_BYTES >> 20,
    keep: str | None = None,
    wait: bool = True,
    listener: jobs.Listener | None = None,
) -> Deployed | jobs.Job:
    """Deploy a model version as functions and, with a table and its key, as stored predictions.

    Args:
        connection: An open DuckDB connection without a transaction; its current database is deployed to.
        reference: `churn:Production`, `churn@champion`, `churn:3`, `models:/...`, `runs:/...`, or a path.
        name: The deployment and its schema; the model's name by default.
        table: The table or view to score; by default the one that the deployment has. None with a typed key
            ("id BIGINT") makes `<name>.inputs`.
        key: Column or columns that identify a row of it.
        engine: "auto", "sql", "native", "python", or "pyfunc": a python_function, which no shell can call; an isolated process fills
            its prediction table. "auto" never chooses that.
        threshold: For two classes, the probability from which `predict` says the positive one; None: the model's rule.
        score: Score the table before the switch. False switches at once, and predictions come with the first `score`.
        shadow: Score it beside the active version, and stop there: `predict`, `current` and `scored` stay as they are,
            until `promote`.
        follow: What `sync` does by itself when the reference moves: "tell", "deploy" or "shadow". None keeps what was
            said before; "tell" at first.
        live: Let triggers keep the predictions current. None keeps what the deployment has.
        function: Also make a plain function of this name, such as "predict" or "main.predict"; by default the one that
            the deployment has.
        accept_recalled: Take it although it, its run, its training data or its bytes are recalled.
        accept_contract_change: Take over although inputs, types or classes differ from the active version's.
        why: Kept in the history.
        tracking_uri, registry_uri: The MLflow server or store; by default what MLflow itself would use.
        allow_pickle: False refuses a model that is a pickle.
        require_isolation: True refuses to convert where the process cannot be confined.
        model_env: The environment that the model is loaded in: "auto" is one with the versions that it was saved with
            where those differ from what runs here (built once, then cached), "current" is this one, anything else the
            path of an interpreter or a virtual environment.
        model_timeout: Seconds that the model's process may take for one request: a conversion, or a batch of rows.
        model_memory: MB that it may take.
        keep: What is kept of the inputs that predictions are made of: "none", "hash" (the default: what changed is found by
            it) or "inputs" (what was predicted on a day can be shown again). None keeps what the deployment has.
        wait: False returns a running job at once; `watch_job` streams its lines and gives its result.
        listener: Called with each line of the job's log.

    Returns:
        What was deployed, or the job with `wait=False`.

    Raises:
        SqlmlError: one of its kinds (see sqlml.errors). The database is as it was, but for a version that was staged
            completely and whose scoring did not finish: deploying it again resumes there. One whose parity failed is
            recorded as failed.
    """
    refuse_open_transaction(connection)
    options = options_from(
        reference,
        name=name,
        table=table,
        key=key,
        engine=engine,
        threshold=threshold,
        score=score,
        shadow=shadow,
        follow=follow,
        live=live,
        function=function,
        accept_contract_change=accept_contract_change,
        accept_recalled=accept_recalled,
        why=why,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        allow_pickle=allow_pickle,
        require_isolation=require_isolation,
        model_env=model_env,
        model_timeout=model_timeout,
        model_memory=model_memory,
        keep=keep,
    )
    database = facts(connection)
    require_writable(database)
    migrations.applied(connection)  # a catalog that is not ours, or too new, is refused before anything else
    job = jobs.Job("deploy", options.name, jobs.folder_of(database), listener)
    if wait:
        return _deploy(connection, options, job)
    own = connection.cursor()

    def work() -> Deployed:
        with own:
            return _deploy(own, options, job)

    return jobs.start(job, work)


def _deploy(connection: Connection, options: Options, job: jobs.Job) -> Deployed:
    began = time.monotonic()
    with jobs.running(connection, job):
        openlineage.deploy_begun(connection, job, options.reference)
        prepared = prepare(connection, options, job, with_reference=True)
        job.subject = prepared.name
        openlineage.deploy_started(job)
        migrations.migrate(connection)
        with (
            leases.lease(connection, prepared.name, job.id),
            pyfunc.askers(connection, options.policy, partial(job.log, "score")) as askers,
        ):
            reasons_added.add_missing(connection, prepared.name, job)
            version, evidence = _stage(connection, options, prepared, job, askers)
            if options.engine == "pyfunc":
                model_files.forget(connection)  # they are in the catalog by now
            score_it = _score_beside if options.shadow else _score_and_switch
            scored = score_it(connection, options, prepared, version, job, askers)
            state = states.state_of(connection, version.deployment, version.version)
            following.note(connection, version, options.reference, options.follow, shadow=options.shadow)
        writing_back.after(connection, job, prepared.name, version.version)
        deployed = Deployed(
            name=prepared.name,
            version=version.version,
            state=state,
            resolved=version.resolved,
            engine=version.engine,
            engine_why=version.engine_why,
            is_new=evidence is not None,
            evidence=None if evidence is None else evidence.summary(),
            table=None if prepared.relation is None else prepared.relation.label,
            scored=scored,
            job_id=job.id,
            seconds=round(time.monotonic() - began, 3),
        )
        job.log("done", deployed.sentence())
        openlineage.deploy_completed(connection, job, version, prepared.relation, scored)
        return deployed


def _stage(
    connection: Connection, options: Options, prepared: Prepared, job: jobs.Job, askers: pyfunc.Askers
) -> tuple[Version, parity.Evidence | None]:
    """The version with all its objects, checked; an equal one that is there already is taken up where it was left."""
    name = prepared.name
    names.check_name(connection, facts(connection), name)
    existing = records.find_deployment(connection, name)
    before = records.active(connection, existing) if existing and existing.active_version else None
    options = stage.with_kept_keep(stage.with_kept_function(options, existing), before, prepared.keys)
    version = stage.version_row(options, prepared, stage.next_number(connection, name))
    if before is not None:
        _check_contract(options, before, version, job)
    elif options.shadow:
        raise Refused(
            f"{name} has no active version that this one could be a shadow of.",
            hint="Deploy it without --shadow: the first version is active at once.",
        )
    same = stage.find_same(connection, version, options.function, prepared.relation)
    stage.refuse_recalled(connection, version, same, accepted=options.accept_recalled)
    leases.wait_for_bytes(connection)
    if same is not None and BYTES in collected.of(connection, name, same.version):
        attempts.bring_back(
            connection,
            options,
            prepared,
            replace(version, version=same.version, prediction_table=same.prediction_table),
            job,
            askers,
        )
        return same, None
    if same is not None:
        job.log("apply", f"{name} v{same.version} is this very model and engine ({same.state}): nothing to make again")
        stage.register_function(connection, prepared)
        if made_again := restoring.restore(connection, same):
            job.log("apply", f"made again, for somebody dropped them: {', '.join(made_again)}")
        return same, None
    made = stage.with_readable_reasons(connection, version.version, stage.version_objects(options, prepared, version))
    job.log("apply", f"making {sum(o.role == 'version' for o in made)} objects of {name} v{version.version}")
    stage.register_function(connection, prepared)
    try:
        evidence = _stage_new(connection, options, prepared, version, made, existing is None, job, askers)
    except attempts.Failed as failed:
        attempts.record(connection, version, failed.evidence, failed.error, job, options.why)
        raise failed.error from None
    return version, evidence


def _stage_new(
    connection: Connection,
    options: Options,
    prepared: Prepared,
    version: Version,
    made: Sequence[objects.DatabaseObject],
    is_first: bool,
    job: jobs.Job,
    askers: pyfunc.Askers,
) -> parity.Evidence:
    name = prepared.name
    with atomic(connection, name):
        if is_first:
            connection.execute(sql.create_schema(name))
            records.insert_row(connection, "deployments", _deployment_row(prepared, version))
        else:
            records.begin_change(connection, name)
        stage.store_model(connection, prepared)
        records.insert_row(connection, "versions", version)
        objects.record(connection, version.version, name, made)
        stage.make_inputs(connection, prepared)
        stage.make(connection, made)
        evidence = attempts.check_parity(connection, prepared, version, job, askers)
        stage.store_evidence(connection, version, evidence)
        lineage.record(connection, version, prepared.relation)
        records.record_history(
            connection, name, "stage", who=jobs.user(), job_id=job.id, why=options.why, to_version=version.version
        )
    return evidence


def _check_contract(options: Options, before: Version, version: Version, job: jobs.Job) -> None:
    """Nobody reads a shadow, so that what it changes is said now and has to be accepted when it is promoted.

    Raises:
        ContractChanged: the version is to take over, its contract differs, and nobody accepted that.
    """
    if options.shadow:
        for change in contract.differences(before.contract, version.contract):
            job.log("contract", f"promote will need --accept-contract-change: {change}")
        return
    for change in contract.check(
        version.deployment, before.contract, version.contract, accepted=options.accept_contract_change
    ):
        job.log("contract", f"accepted: {change}")


def _score_and_switch(
    connection: Connection,
    options: Options,
    prepared: Prepared,
    version: Version,
    job: jobs.Job,
    askers: pyfunc.Askers,
) -> Scored | None:
    scored = None
    if version.prediction_table is not None and options.score:
        with attempts.first_scoring(connection, version, job, options.why):
            scored = score_version(connection, version, job, askers, keys_checked=True)
    deployment = records.deployment(connection, version.deployment)
    wants_live = _wants_live(connection, options, prepared, deployment.live)
    if deployment.active_version not in (None, version.version):
        for sentence in comparison.told(connection, records.active(connection, deployment), version):
            job.log("compare", sentence)
    changes = deployment.active_version != version.version or wants_live != deployment.live
    if changes or restoring.is_damaged(connection, version):
        with atomic(connection, deployment.name):
            records.begin_change(connection, deployment.name)
            switch(
                connection,
                deployment,
                version,
                action="activate",
                job_id=job.id,
                why=options.why,
                live_wanted=wants_live,
            )
        job.log("switch", f"{deployment.name} v{version.version} is active" + (" and live" if wants_live else ""))
    if scored is not None:
        # What others wrote between the last look and the switch is seen by neither the scoring nor a new trigger.
        again = score_version(connection, version, job, askers)
        scored = scored if again.rows == 0 and again.removed == 0 else again
    return scored


def _score_beside(
    connection: Connection,
    options: Options,
    prepared: Prepared,
    version: Version,
    job: jobs.Job,
    askers: pyfunc.Askers,
) -> Scored | None:
    """Complete, and then a shadow, in a transaction that touches nothing of the active version."""
    deployment = records.deployment(connection, version.deployment)
    if deployment.active_version == version.version:
        job.log("shadow", f"{deployment.name} v{version.version} is the active version: it cannot be its own shadow")
        return None
    scored = None
    if version.prediction_table is not None:
        with attempts.first_scoring(connection, version, job, options.why):
            scored = score_version(connection, version, job, askers, keys_checked=True)
    for sentence in comparison.told(connection, records.active(connection, deployment), version):
        job.log("compare", sentence)
    if version.state != states.SHADOW:
        with atomic(connection, deployment.name):
            records.begin_change(connection, deployment.name)
            states.move(connection, deployment.name, version.version, states.SHADOW)
            records.record_history(
                connection,
                deployment.name,
                "shadow",
                who=jobs.user(),
                job_id=job.id,
                why=options.why,
                to_version=version.version,
            )
    job.log("shadow", f"{deployment.name} v{version.version} is a shadow of v{deployment.active_version}")
    return scored


def _wants_live(connection: Connection, options: Options, prepared: Prepared, is_live: bool) -> bool:
    if prepared.makes_inputs:
        return True
    wanted = is_live if options.live is None else options.live
    if not wanted:
        return False
    if prepared.engine.name == "native" and options.engine == "auto":
        return False  # a live deployment stays so with an engine that every shell has, or with one that was asked for
    upstream = live.upstream_table(connection, prepared.relation, prepared.keys) if prepared.relation else None
    return live.why_not(facts(connection), prepared.relation, upstream, prepared.engine.name) is None


def _deployment_row(prepared: Prepared, version: Version) -> records.Deployment:
    now = records.now()
    return records.Deployment(
        name=prepared.name,
        active_version=None,
        model=version.model_name or version.reference,
        source=version.source,
        key_columns=version.key_columns,
        live=False,
        owns_source=prepared.makes_inputs,
        function_name=None,
        changes=0,
        created_at=now,
        updated_at=now,
    )
