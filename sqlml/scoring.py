"""Filling a prediction table: incrementally, in short transactions, with memory that does not grow with the rows."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import jobs, openlineage, pyfunc, readers, sql
from sqlml.catalog import collected, leases, records, states
from sqlml.catalog.records import Deployment, Version
from sqlml.connecting import prepare_connection
from sqlml.convert.pyfunc import Policy
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable, translated
from sqlml.differences import GONE, NUMBER, TODO, agrees, find_differences
from sqlml.engines.pyfunc import asked_names
from sqlml.errors import Conflict, SqlmlError
from sqlml.predictions import Target, hash_check, holds_rows, insert_predictions, stored_rows, target_of
from sqlml.relation import Relation, check_keys, count
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

BATCH_ROWS = 40 * 122_880
"""Rows a transaction: whole row groups, so that each batch is read once and written without a rewrite."""
ASKED_ROWS = 24_576
"""Of a model that is asked and may take a second a row: what a scoring that is stopped has to ask again."""
MAX_PASSES = 4
"""How often a scoring looks again for what others wrote meanwhile before it says that they write faster."""


@dataclass(frozen=True)
class Scored:
    """What a scoring did. Rows are counted: written, of those without a prediction, removed (key left the source),
    and found unchanged. `shadows` are the versions that were scored beside it."""

    scoring_id: str
    deployment: str
    version: int
    kind: str
    source: str
    target: str
    rows: int
    failed: int
    removed: int
    unchanged: int
    seconds: float
    shadows: tuple[Scored, ...] = ()

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def score(
    connection: Connection,
    name: str,
    *,
    all_rows: bool = False,
    policy: Policy | None = None,
    listener: jobs.Listener | None = None,
) -> Scored:
    """Bring a deployment's current predictions up to date with its source, and then those of its shadows; `all_rows`
    computes every one again.

    A shadow that cannot be scored keeps nobody from the active version's predictions: the log and `status` say so.

    `policy` says how the process of a python_function may run; other engines need none.

    Raises:
        NotDeployed: no such deployment, or nothing active.
        KeyRefused: keys are NULL or repeated; nothing was written.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    version = records.active(connection, deployment)
    job = jobs.Job("score", deployment.name, jobs.folder_of(database), listener)
    with (
        jobs.running(connection, job),
        leases.lease(connection, deployment.name, job.id),
        pyfunc.askers(connection, policy, partial(job.log, "score")) as askers,
    ):
        scored = score_version(connection, version, job, askers, all_rows=all_rows)
        return replace(scored, shadows=_score_shadows(connection, deployment, job, askers, all_rows=all_rows))


def _score_shadows(
    connection: Connection, deployment: Deployment, job: jobs.Job, askers: pyfunc.Askers, *, all_rows: bool
) -> tuple[Scored, ...]:
    scored: list[Scored] = []
    for version in records.versions(connection, deployment.name):
        if version.state != states.SHADOW or version.prediction_table is None:
            continue
        subject = f"the shadow {deployment.name} v{version.version}"
        try:
            with translated(subject):
                scored.append(score_version(connection, version, job, askers, all_rows=all_rows))
        except SqlmlError as error:
            job.log("shadow", f"{subject} was not scored: {error.message}")
    return tuple(scored)


def score_all_deployments(
    connection: Connection,
    *,
    all_rows: bool = False,
    policy: Policy | None = None,
    listener: jobs.Listener | None = None,
) -> list[Scored]:
    """Every deployment with a source, each after those whose predictions it reads, through views of anybody's too."""
    return [
        score(connection, deployment.name, all_rows=all_rows, policy=policy, listener=listener)
        for deployment in readers.in_order(connection, records.deployments(connection))
        if deployment.source is not None and deployment.active_version is not None
    ]


def score_version(
    connection: Connection,
    version: Version,
    job: jobs.Job,
    askers: pyfunc.Askers,
    *,
    all_rows: bool = False,
    keys_checked: bool = False,
) -> Scored:
    """Score one version under a lease that the caller holds, until the source and the predictions agree. `askers` has the
    process of a python_function, if it comes to that. `keys_checked`: the keys are there and unique."""
    began = time.monotonic()
    target = target_of(connection, version)
    scoring_id = str(uuid.uuid4())
    total = count(connection, target.relation)
    stored = stored_rows(connection, target)
    is_first, keeps = stored == 0, target.kept is not None and holds_rows(connection, target.kept.path)
    state = _State(connection, version, target, job, askers, scoring_id, total, keeps_already=keeps)
    openlineage.scoring_started(connection, job, version, scoring_id, target.relation, total)
    if not is_first and not all_rows and agrees(connection, target):
        kind, unchanged = "incremental", total
        if records.deployment(connection, version.deployment).live:  # a trigger predicts a repeated key as often
            check_keys(connection, target.relation, target.keys, total)
        _begin(state, kind)
    else:
        if not keys_checked:
            check_keys(connection, target.relation, target.keys, total)
        kind = "full" if is_first or all_rows else "incremental"
        if state.is_asked and total:
            askers.worker(version)  # a model that may not run here, or cannot, leaves no scoring that did not finish
        _begin(state, kind)
        if kind == "full":
            _write_everything(state, replace=not is_first)
        for passes in range(MAX_PASSES):
            if (passes or kind == "full") and agrees(connection, target, keys_only=True):
                break
            _write_differences(state)
        else:
            job.log("score", "The source is being written faster than it is scored; run score again later.")
        unchanged = max(0, total - state.written) if kind == "incremental" else 0
    return _finish(state, kind, unchanged, time.monotonic() - began)


@dataclass
class _State:
    connection: Connection
    version: Version
    target: Target
    job: jobs.Job
    askers: pyfunc.Askers
    scoring_id: str
    total: int
    written: int = 0
    removed: int = 0
    keeps_already: bool = False

    @property
    def is_asked(self) -> bool:
        return self.version.engine == "pyfunc"

    @property
    def batch_rows(self) -> int:
        """Rows a transaction; each part of a view is a scan of all of it, so that those are fewer."""
        if not self.is_asked:
            return BATCH_ROWS
        return ASKED_ROWS if self.target.relation.is_local_table else 5 * ASKED_ROWS


def _begin(state: _State, kind: str) -> None:
    import duckdb

    target = state.target
    with atomic(state.connection, target.deployment):
        records.begin_change(state.connection, target.deployment)
        records.insert(
            state.connection,
            "scorings",
            {
                "scoring_id": state.scoring_id,
                "deployment": target.deployment,
                "version": target.version,
                "kind": kind,
                "source": target.relation.name,
                "target": sql.quote_path(*target.table),
                "state": "running",
                "hash_check": hash_check(state.connection),
                "duckdb_version": duckdb.__version__,
                "sqlml_version": __version__,
                "who": jobs.user(),
                "job_id": state.job.id,
                "started_at": records.now(),
            },
        )


def _write_everything(state: _State, *, replace: bool) -> None:
    """Every row of the source, batch after batch; `replace` deletes the batch's old predictions first."""
    batches = _batches(state.connection, state.target.relation, state.target.keys, state.total, state.batch_rows)
    for number, rows in enumerate(batches, start=1):
        _write(state, rows, replace=replace)
        done = min(state.total, state.written)
        state.job.log(
            "score",
            f"{done:,} of {state.total:,} rows",
            rows=state.written,
            total=state.total,
            batch=number,
            batches=len(batches),
        )


def _batches(
    connection: Connection, relation: Relation, keys: Sequence[str], total: int, size: int
) -> list[exp.Select]:
    """Disjoint parts of the relation that cover it: ranges of row ids for a table, buckets of key hashes for the rest."""
    everything = exp.select("*").from_(relation.node)
    if total <= size:
        return [everything]
    if relation.is_local_table and "rowid" not in {name.lower() for name in relation.types}:
        row = connection.execute(sql.render(exp.select("max(rowid)").from_(relation.node))).fetchone()
        last = int(row[0] or 0) if row else 0
        rowid = exp.column("rowid")
        return [
            everything.where(
                sql.all_of(
                    [
                        exp.GTE(this=rowid.copy(), expression=sql.integer(first)),
                        exp.LT(this=rowid.copy(), expression=sql.integer(first + size)),
                    ]
                )
            )
            for first in range(0, last + 1, size)
        ]
    parts = -(-total // size)
    bucket = exp.Mod(this=sql.call("hash", *(sql.column(key) for key in keys)), expression=sql.integer(parts))
    return [everything.where(exp.EQ(this=bucket.copy(), expression=sql.integer(part))) for part in range(parts)]


def _write(state: _State, rows: exp.Select, *, replace: bool, removed_query: str | None = None) -> None:
    """One transaction: the old predictions of these rows out, the new ones in."""
    target, connection = state.target, state.connection
    with _predicted(state, rows) as (these, keyed), atomic(connection, target.deployment):
        records.begin_change(connection, target.deployment)
        if replace:
            connection.execute(sql.delete_matching(target.table, target.keys, these))
        if removed_query is not None:
            removed = connection.execute(sql.delete_matching(target.table, target.keys, removed_query)).fetchone()
            state.removed += int(removed[0]) if removed else 0
            if target.kept is not None:
                connection.execute(target.kept.insert_removed(removed_query, state.scoring_id))
        written = connection.execute(insert_predictions(target, state.scoring_id, keyed)).fetchone()
        state.written += int(written[0]) if written else 0
        if target.kept is not None:  # compared with what was kept last, if anything was
            compared = these if replace or state.keeps_already else None
            connection.execute(target.kept.insert(keyed, state.scoring_id, compared))


@contextlib.contextmanager
def _predicted(state: _State, rows: exp.Select) -> Iterator[tuple[str, str]]:
    """Queries of the keys of these rows, and of the keys with predictions and input_hash.

    A model that is asked has answered before the block begins, so that no transaction is as long as it thinks.
    """
    target = state.target
    head = exp.select(*(sql.column(key) for key in target.keys))
    if not state.is_asked:
        yield sql.render(head.from_(rows.subquery(alias="b"))), target.keyed(rows)
        return
    with pyfunc.answered(
        state.connection,
        lambda: state.askers.worker(state.version),
        state.version.contract,
        target.keyed(rows),
        [*target.keys, *(asked_names(state.version.contract) if target.kept is not None else ())],
        state.job,
    ) as keyed:
        yield sql.select_from(sql.render(head), keyed), keyed


def _write_differences(state: _State) -> None:
    """New keys, changed inputs and keys that left the source."""
    connection, target = state.connection, state.target
    find_differences(connection, target)
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(TODO)))).fetchone()
    todo = int(row[0]) if row else 0
    gone = sql.render(exp.select(*(sql.column(key) for key in target.keys)).from_(sql.table(GONE)))
    for first in range(0, max(1, todo), state.batch_rows):
        number = sql.column(NUMBER, "sqlml t")
        chunk = sql.all_of(
            [
                exp.GT(this=number, expression=sql.integer(first)),
                exp.LTE(this=number.copy(), expression=sql.integer(first + state.batch_rows)),
                *(
                    exp.EQ(this=sql.column(key, "sqlml t"), expression=sql.column(key, "sqlml s"))
                    for key in target.keys
                ),
            ]
        )
        listed = exp.select("1").from_(sql.named(sql.table(TODO), "sqlml t")).where(chunk)
        source = sql.named(target.relation.node, "sqlml s")
        rows = exp.select("*").from_(source).where(exp.Exists(this=listed))
        _write(state, rows, replace=True, removed_query=gone if first == 0 else None)
        state.job.log("score", f"{state.written:,} changed or new rows, {state.removed:,} removed", rows=state.written)


def _finish(state: _State, kind: str, unchanged: int, seconds: float) -> Scored:
    connection, target = state.connection, state.target
    stamped = exp.EQ(this=sql.column("scoring_id"), expression=sql.cast(sql.text(state.scoring_id), "UUID"))
    without = exp.Not(this=exp.Is(this=sql.column("error"), expression=exp.Null()))
    failing = exp.select("count(*)").from_(sql.table(*target.table)).where(stamped, without)
    row = connection.execute(sql.render(failing)).fetchone()
    failed = int(row[0]) if row else 0
    with atomic(connection, target.deployment):
        records.begin_change(connection, target.deployment)
        ended = connection.execute(
            "UPDATE sqlml.scorings SET state = 'complete', rows_scored = ?, rows_failed = ?, rows_removed = ?,"
            " rows_unchanged = ?, finished_at = ? WHERE scoring_id = ? RETURNING scoring_id",
            [state.written, failed, state.removed, unchanged, records.now(), state.scoring_id],
        )
        if not ended.fetchall():
            raise Conflict(f"The record of this scoring of {target.deployment} is gone; it was undeployed meanwhile.")
        collected.restored(connection, target.deployment, target.version, *collected.ROWS)
    scored = Scored(
        state.scoring_id,
        target.deployment,
        target.version,
        kind,
        target.relation.label,
        sql.quote_path(*target.table),
        state.written,
        failed,
        state.removed,
        unchanged,
        round(seconds, 3),
    )
    state.job.log("score", summary(scored), **scored.to_dict())
    openlineage.scoring_completed(scored)
    return scored


def summary(scored: Scored) -> str:
    """One sentence for people."""
    parts = [f"{scored.rows:,} rows scored"]
    if scored.failed:
        parts.append(f"{scored.failed:,} of them without a prediction (see the error column)")
    if scored.removed:
        parts.append(f"{scored.removed:,} removed")
    if scored.kind == "incremental":
        parts.append(f"{scored.unchanged:,} unchanged")
    speed = f", {scored.rows / scored.seconds:,.0f} rows/s" if scored.rows and scored.seconds else ""
    return f"{', '.join(parts)} in {scored.seconds:.2f} s{speed}"
