"""The gate, and attempts that failed: recorded with their number, model, reason and evidence, and without objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlml import jobs, objects, parity, pyfunc
from sqlml.catalog import collected, records, states
from sqlml.catalog.collected import BYTES
from sqlml.catalog.records import Version
from sqlml.database import atomic
from sqlml.deploy import stage
from sqlml.deploy.deployment import Options
from sqlml.deploy.prepare import Prepared
from sqlml.errors import ParityFailed, SqlmlError, UnsupportedModel

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

BY_THE_MODEL = (UnsupportedModel,)
"""What ends a first scoring for good: the model gives what it may not give, and would again. Whatever else stops one (a
full disk, a process out of time or memory, Ctrl-C) leaves a planned version, and deploying it again goes on there."""


class Failed(Exception):
    """Leaves the transaction of a version whose parity failed."""

    def __init__(self, evidence: parity.Evidence, error: ParityFailed) -> None:
        super().__init__(error.message)
        self.evidence = evidence
        self.error = error


def check_parity(
    connection: Connection, prepared: Prepared, version: Version, job: jobs.Job, askers: pyfunc.Askers
) -> parity.Evidence:
    """Through the functions just made, inside the transaction that made them.

    Raises:
        Failed: they do not give the model's own answers; the transaction rolls back.
    """
    assert prepared.questions is not None  # asked before the transaction, by every deployment
    if isinstance(prepared.questions, pyfunc.Questions):
        asked = pyfunc.check(connection, version, prepared.questions, lambda: askers.worker(version))
        job.log("parity", asked.summary(), evidence=asked.to_dict())
        if not asked.passed:
            error = ParityFailed(
                f"{version.resolved} was not deployed: a stored prediction of it would mean nothing. {asked.summary()}",
                hint="Nothing was changed but the history. Let predict answer each row from that row alone, and the same every time"
                " (a fixed seed, no state, no statistics over the rows it is given).",
                evidence=asked.to_dict(),
            )
            raise Failed(asked, error)
        return asked
    functions = parity.functions(version.deployment, prepared.content.signature, f"_v{version.version}")
    evidence = parity.check(connection, prepared.questions, functions, threshold=version.threshold)
    job.log("parity", evidence.summary(), evidence=evidence.to_dict())
    if not evidence.passed:
        error = ParityFailed(
            f"{version.resolved} was not deployed: its SQL does not give the model's own answers. {evidence.summary()}",
            hint="Nothing was changed but the history. Another engine may be exact (--engine python); the evidence is in"
            " sqlml.parity and in the job's log.",
            evidence=evidence.to_dict(),
        )
        raise Failed(evidence, error)
    return evidence


def record(
    connection: Connection,
    version: Version,
    evidence: parity.Evidence,
    error: SqlmlError,
    job: jobs.Job,
    why: str | None,
) -> None:
    """The version whose parity failed, after its transaction was rolled back."""
    failed = replace(version, state=states.FAILED, failure=error.message, prediction_table=None)
    with atomic(connection, version.deployment):
        if records.find_deployment(connection, version.deployment) is not None:
            records.begin_change(connection, version.deployment)
        records.insert_row(connection, "versions", failed)
        stage.store_evidence(connection, failed, evidence)
        _say(connection, failed, job, why)


def bring_back(
    connection: Connection,
    options: Options,
    prepared: Prepared,
    version: Version,
    job: jobs.Job,
    askers: pyfunc.Askers,
) -> None:
    """The functions and the bytes of a version that gc removed them of, checked as those of a new one."""
    name, number = version.deployment, version.version
    job.log("apply", f"making the functions of {name} v{number} again, which gc removed with its model")
    stage.register_function(connection, prepared)
    made = stage.version_objects(options, prepared, version)
    try:
        with atomic(connection, name):
            records.begin_change(connection, name)
            stage.store_model(connection, prepared)
            objects.replace_functions(connection, number, name, made)
            stage.make(connection, [item for item in made if item.kind != "table"])
            evidence = check_parity(connection, prepared, version, job, askers)
            stage.store_evidence(connection, version, evidence)
            collected.restored(connection, name, number, BYTES)
            records.record_history(
                connection, name, "restore", who=jobs.user(), job_id=job.id, why=options.why, to_version=number
            )
    except Failed as failed:
        attempt = replace(version, version=stage.next_number(connection, name))
        record(connection, attempt, failed.evidence, failed.error, job, options.why)
        raise failed.error from None


@contextmanager
def first_scoring(connection: Connection, version: Version, job: jobs.Job, why: str | None) -> Iterator[None]:
    """What the block scores is complete at its end, or the version has failed where the model is to blame.

    Raises:
        SqlmlError: what the block raised. A version that was active, retired or a shadow stays what it is.
    """
    try:
        yield
    except BY_THE_MODEL as error:
        if version.state == states.PLANNED:
            _give_up(connection, version, error, job, why)
        raise


def _give_up(connection: Connection, version: Version, error: SqlmlError, job: jobs.Job, why: str | None) -> None:
    with atomic(connection, version.deployment):
        records.begin_change(connection, version.deployment)
        states.move(connection, version.deployment, version.version, states.FAILED)
        for item in objects.recorded(connection, version.deployment, version.version):
            if item.role == "version":
                connection.execute(item.drop_statement)
        connection.execute(
            "DELETE FROM sqlml.objects WHERE deployment = ? AND version = ?", [version.deployment, version.version]
        )
        connection.execute(
            "UPDATE sqlml.versions SET failure = ?, prediction_table = NULL WHERE deployment = ? AND version = ?",
            [error.message, version.deployment, version.version],
        )
        _say(connection, version, job, why)


def _say(connection: Connection, version: Version, job: jobs.Job, why: str | None) -> None:
    records.record_history(
        connection,
        version.deployment,
        "fail",
        who=jobs.user(),
        job_id=job.id,
        why=why,
        to_version=version.version,
    )
    job.log("failed", f"{version.deployment} v{version.version} has failed; the history has the attempt")
