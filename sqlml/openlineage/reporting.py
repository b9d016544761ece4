"""The four moments that are reported. None of them raises: lineage never stops what it is about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, Protocol

from sqlml import jobs
from sqlml.catalog.records import Version
from sqlml.openlineage import sending
from sqlml.openlineage.configuration import is_configured, why_not_sent
from sqlml.openlineage.described import Dataset, JobName, RunEvent
from sqlml.relation import Relation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

P = ParamSpec("P")
ANSWER_IS_LATE_S = 0.05
PHASE = "openlineage"

log = logging.getLogger(__name__)


class Counted(Protocol):
    """What a scoring says about itself when it is done."""

    @property
    def scoring_id(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def failed(self) -> int: ...


@dataclass
class _Run:
    id: str
    database: str
    name: JobName
    began: str
    parent: tuple[str, JobName] | None = None
    has_started: bool = False
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()

    def start(self) -> None:
        self.has_started = True
        self._send("START", self.began)

    def end(self, state: str, error: str | None = None) -> None:
        if not self.has_started:
            self.start()
        self._send(state, _now(), error)

    def _send(self, state: str, time: str, error: str | None = None) -> None:
        sending.emit(RunEvent(state, time, self.id, self.name, self.inputs, self.outputs, self.parent, error))


_open: dict[str, _Run] = {}
"""Runs that have started and not ended."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _when_configured(report: Callable[P, None]) -> Callable[P, None]:
    @wraps(report)
    def careful(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if is_configured() and why_not_sent() is None:
                report(*args, **kwargs)
        except Exception:  # whatever a name, a configuration or a catalog holds that we did not expect
            log.debug("an OpenLineage event was not made", exc_info=True)

    return careful


def _ends_with(job: jobs.Job, run: _Run) -> None:
    """A run that is still open when its job ends has failed; and the job's log says what was lost."""
    _open[run.id] = run

    def at_end() -> None:
        left = _open.pop(run.id, None)
        if left is not None:
            left.outputs = ()
            left.end("ABORT" if job.state == "interrupted" else "FAIL", str(job.error or "") or "it did not end")

    job.at_end.append(at_end)


def _tell(job: jobs.Job) -> None:
    """Last of what a job does at its end: say once what is known of the events by then."""

    def at_end() -> None:
        problem = sending.told()
        if problem is None and sending.unanswered() > ANSWER_IS_LATE_S:
            problem = "the receiver of OpenLineage events has not answered yet; they may be lost"
        if problem is not None:
            job.log(PHASE, problem)

    job.at_end.append(at_end)


def deploy_begun(connection: Connection, job: jobs.Job, reference: str) -> None:
    """First of all in a deploy. A configuration that cannot work is said in its log."""
    if is_configured() and (problem := why_not_sent()) is not None:
        job.log(PHASE, f"OpenLineage: {problem}")
    _deploy_begun(connection, job, reference)


@_when_configured
def _deploy_begun(connection: Connection, job: jobs.Job, reference: str) -> None:
    from sqlml.openlineage import naming
    from sqlml.openlineage.describing import Places

    home = Places(connection).home
    run = _Run(naming.run_id(job.id), home, naming.job_name(home, str(job.subject or reference), "DEPLOY"), _now())
    _tell(job)
    _ends_with(job, run)


@_when_configured
def deploy_started(job: jobs.Job) -> None:
    """As soon as the deployment has a name: the model's, where none was given."""
    from sqlml.openlineage import naming

    run = _open.get(naming.run_id(job.id))
    if run is not None:
        run.name = naming.job_name(run.database, str(job.subject), "DEPLOY")
        run.start()


@_when_configured
def deploy_completed(
    connection: Connection, job: jobs.Job, version: Version, relation: Relation | None, scored: Counted | None
) -> None:
    from sqlml.openlineage import naming
    from sqlml.openlineage.describing import described

    run = _open.pop(naming.run_id(job.id), None)
    if run is not None:
        run.inputs, run.outputs = described(connection, version, relation, None)
        run.end("COMPLETE")


@_when_configured
def scoring_started(
    connection: Connection,
    job: jobs.Job,
    version: Version,
    scoring_id: str,
    relation: Relation,
    rows: int,
    target: str | None = None,
) -> None:
    """Before anything is checked. `target` is where it writes, if not to the version's own prediction table."""
    from sqlml.openlineage import naming
    from sqlml.openlineage.describing import Places, described

    home = Places(connection).home
    run = _Run(scoring_id, home, naming.job_name(home, version.deployment, "SCORE"), _now())
    if job.kind == "deploy":
        run.parent = naming.run_id(job.id), naming.job_name(home, version.deployment, "DEPLOY")
    run.inputs, run.outputs = described(connection, version, relation, target)
    run.inputs = (replace(run.inputs[0], rows=rows), *run.inputs[1:])
    if job.kind != "deploy":
        _tell(job)
    _ends_with(job, run)
    run.start()


@_when_configured
def scoring_completed(scored: Counted) -> None:
    run = _open.pop(scored.scoring_id, None)
    if run is not None:
        nulls: Mapping[str, int] = {
            name: scored.failed if name != "error" else scored.rows - scored.failed
            for name, _ in run.outputs[0].fields
            if name in ("prediction", "error")
        }
        run.outputs = (replace(run.outputs[0], rows=scored.rows, nulls=nulls, written=scored.rows),)
        run.end("COMPLETE")
