"""Filling a prediction table: incrementally, in short transactions, with memory that does not grow with the rows.

What is current is found by comparing hashes of the bound features. A sum over hash(key, input_hash) on both sides tells
in two scans that nothing changed; only otherwise are keys joined.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import jobs, objects, sql
from sqlml.catalog import leases, records
from sqlml.catalog.records import Deployment, Version
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable
from sqlml.errors import Conflict, UsageError
from sqlml.relation import Relation, check_keys, count, find, split_name
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

BATCH_ROWS = 40 * 122_880
"""Rows a transaction: whole row groups, so that each batch is read once and written without a rewrite."""
MAX_PASSES = 4
"""How often a scoring looks again for what others wrote meanwhile before it says that they write faster."""
TODO = "sqlml todo"
GONE = "sqlml gone"
NUMBER = "sqlml number"


@dataclass(frozen=True)
class Scored:
    """What a scoring did. Rows are counted: written, of those without a prediction, removed (key left the source),
    and found unchanged."""

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

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


@dataclass(frozen=True)
class Target:
    """One version's prediction table and the relation it follows."""

    deployment: str
    version: int
    table: tuple[str, str]
    relation: Relation
    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    """As they are stored; the source's may have changed since, and DuckDB's hash of 5 depends on its type."""
    outputs: tuple[str, ...]
    keyed_query: str

    def keyed(self, rows: exp.Query) -> str:
        """Keys, predictions and input_hash over rows of the source, as SQL text."""
        return sql.with_source(objects.SOURCE, sql.render(rows), self.keyed_query)

    def all_rows(self) -> exp.Select:
        return exp.select("*").from_(self.relation.node)


def score(
    connection: Connection, name: str, *, all_rows: bool = False, listener: jobs.Listener | None = None
) -> Scored:
    """Bring a deployment's current predictions up to date with its source; `all_rows` computes every one again.

    Raises:
        NotDeployed: no such deployment, or nothing active.
        KeyRefused: keys are NULL or repeated; nothing was written.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    deployment = records.deployment(connection, name)
    version = records.active(connection, deployment)
    job = jobs.Job("score", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        return score_version(connection, version, job, all_rows=all_rows)


def score_all_deployments(
    connection: Connection, *, all_rows: bool = False, listener: jobs.Listener | None = None
) -> list[Scored]:
    """Every deployment with a source, each after those whose predictions it reads."""
    return [
        score(connection, deployment.name, all_rows=all_rows, listener=listener)
        for deployment in in_order(records.deployments(connection))
        if deployment.source is not None and deployment.active_version is not None
    ]


def in_order(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Upstream first: a deployment whose source lies in another one's schema comes after it."""
    by_name = {d.name.lower(): d for d in deployments}
    ordered: list[Deployment] = []
    visiting: set[str] = set()

    def visit(deployment: Deployment) -> None:
        key = deployment.name.lower()
        if deployment in ordered or key in visiting:
            return
        visiting.add(key)
        upstream = split_name(deployment.source)[0].lower() if deployment.source else None
        if upstream in by_name and upstream != key:
            visit(by_name[upstream])
        visiting.discard(key)
        ordered.append(deployment)

    for deployment in deployments:
        visit(deployment)
    return ordered


def target_of(connection: Connection, version: Version) -> Target:
    """The prediction table of a version with its source as it is now.

    Raises:
        UsageError: the deployment has functions only.
        BindingError: the source is gone.
    """
    if version.source is None or version.prediction_table is None:
        raise UsageError(
            f"{version.deployment} has no source table: it was deployed as functions only.",
            hint="Deploy it with --table and --key, or score other rows with --from and --to.",
        )
    from sqlml.engines.surface import output_columns

    stored = find(connection, sql.quote_path(version.deployment, version.prediction_table))
    return Target(
        deployment=version.deployment,
        version=version.version,
        table=(version.deployment, version.prediction_table),
        relation=find(connection, version.source),
        keys=version.key_columns,
        key_types=tuple(stored.types[key] for key in version.key_columns),
        outputs=tuple(name for name, _ in output_columns(version.contract)),
        keyed_query=objects.recorded_query(connection, version.deployment, version.version, "keyed"),
    )


def score_version(
    connection: Connection, version: Version, job: jobs.Job, *, all_rows: bool = False, keys_checked: bool = False
) -> Scored:
    """Score one version under a lease that the caller holds; repeats until the source and the predictions agree.

    `keys_checked` says that the caller has just made sure that the keys are there and unique.
    """
    began = time.monotonic()
    target = target_of(connection, version)
    scoring_id = str(uuid.uuid4())
    total = count(connection, target.relation)
    stored = _stored(connection, target)
    is_first = stored == 0
    state = _State(connection, target, job, scoring_id, total)
    if not is_first and not all_rows and _agrees(connection, target):
        kind, unchanged = "incremental", total
        _begin(state, kind)
    else:
        if not keys_checked:
            check_keys(connection, target.relation, target.keys, total)
        kind = "full" if is_first or all_rows else "incremental"
        _begin(state, kind)
        if kind == "full":
            _write_everything(state, replace=not is_first)
        for _ in range(MAX_PASSES):
            if _agrees(connection, target):
                break
            _write_differences(state)
        else:
            job.log("score", "The source is being written faster than it is scored; run score again later.")
        unchanged = max(0, total - state.written) if kind == "incremental" else 0
    return _finish(state, kind, unchanged, time.monotonic() - began)


@dataclass
class _State:
    connection: Connection
    target: Target
    job: jobs.Job
    scoring_id: str
    total: int
    written: int = 0
    removed: int = 0


def hash_check(connection: Connection) -> int:
    """DuckDB's hash of a fixed row: where two are equal, stored hashes of two DuckDB versions are comparable."""
    row = connection.execute("SELECT hash(1.5e0, 'sqlml', NULL::VARCHAR, 42::BIGINT)").fetchone()
    return int(row[0]) if row else 0


def _stored(connection: Connection, target: Target) -> int:
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(*target.table)))).fetchone()
    return int(row[0]) if row else 0


def _fingerprint(connection: Connection, target: Target, rows: str) -> tuple[int, int | None]:
    keys = [sql.cast(sql.column(key), kind) for key, kind in zip(target.keys, target.key_types, strict=True)]
    hashed = sql.call("hash", *keys, sql.column("input_hash"))
    query = exp.select(sql.call("count", exp.Star()), sql.call("sum", hashed))
    found = connection.execute(sql.select_from(sql.render(query), rows)).fetchone()
    assert found is not None  # an aggregate without GROUP BY always gives one row
    return found[0], found[1]


def _agrees(connection: Connection, target: Target) -> bool:
    """Whether keys and input hashes of source and predictions are the same multiset.

    The sums of 64-bit hashes differ by chance in one of 2^64 cases; comparing input_hash itself is no stronger.
    """
    if _stamped_by_another_hash(connection, target):
        return False
    stored = exp.select(*(sql.column(key) for key in target.keys), sql.column("input_hash")).from_(
        sql.table(*target.table)
    )
    there = _fingerprint(connection, target, sql.render(stored))
    return there == _fingerprint(connection, target, target.keyed(target.all_rows()))


def _stamped_by_another_hash(connection: Connection, target: Target) -> bool:
    """Whether a stored prediction's hash was made by a DuckDB whose hash function differs from this one's."""
    row = connection.execute(
        "SELECT count(*) FROM sqlml.scorings WHERE deployment = ? AND version = ? AND hash_check <> ?",
        [target.deployment, target.version, hash_check(connection)],
    ).fetchone()
    if row is None or row[0] == 0:
        return False
    foreign = exp.Not(this=exp.In(this=sql.column("scoring_id"), query=_comparable(connection).subquery()))
    query = exp.select("1").from_(sql.table(*target.table)).where(foreign).limit(1)
    return connection.execute(sql.render(query)).fetchone() is not None


def _comparable(connection: Connection) -> exp.Select:
    """Scorings whose input hashes can be compared with hashes made now."""
    same_hash = exp.EQ(this=sql.column("hash_check"), expression=sql.integer(hash_check(connection)))
    return exp.select(sql.column("scoring_id")).from_(sql.table("sqlml", "scorings")).where(same_hash)


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
    batches = _batches(state.connection, state.target.relation, state.target.keys, state.total)
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


def _batches(connection: Connection, relation: Relation, keys: Sequence[str], total: int) -> list[exp.Select]:
    """Disjoint parts of the relation that cover it: ranges of row ids for a table, buckets of key hashes for the rest."""
    everything = exp.select("*").from_(relation.node)
    if total <= BATCH_ROWS:
        return [everything]
    if relation.is_local_table and "rowid" not in {name.lower() for name in relation.types}:
        row = connection.execute(sql.render(exp.select("max(rowid)").from_(relation.node))).fetchone()
        last = int(row[0]) if row and row[0] is not None else 0
        rowid = exp.column("rowid")
        return [
            everything.where(
                sql.all_of(
                    [
                        exp.GTE(this=rowid.copy(), expression=sql.integer(first)),
                        exp.LT(this=rowid.copy(), expression=sql.integer(first + BATCH_ROWS)),
                    ]
                )
            )
            for first in range(0, last + 1, BATCH_ROWS)
        ]
    parts = -(-total // BATCH_ROWS)
    bucket = exp.Mod(this=sql.call("hash", *(sql.column(key) for key in keys)), expression=sql.integer(parts))
    return [everything.where(exp.EQ(this=bucket.copy(), expression=sql.integer(part))) for part in range(parts)]


def _write(state: _State, rows: exp.Select, *, replace: bool, removed_query: str | None = None) -> None:
    """One transaction: the old predictions of these rows out, the new ones in."""
    target, connection = state.target, state.connection
    keys = [sql.column(key) for key in target.keys]
    with atomic(connection, target.deployment):
        records.begin_change(connection, target.deployment)
        if replace:
            these = sql.render(exp.select(*keys).from_(rows.subquery(alias="b")))
            connection.execute(sql.delete_matching(target.table, target.keys, these))
        if removed_query is not None:
            removed = connection.execute(sql.delete_matching(target.table, target.keys, removed_query)).fetchone()
            state.removed += int(removed[0]) if removed else 0
        written = connection.execute(insert_predictions(target, state.scoring_id, target.keyed(rows))).fetchone()
        state.written += int(written[0]) if written else 0


def insert_predictions(target: Target, scoring_id: str, keyed: str, where: exp.Expression | None = None) -> str:
    """INSERT of keyed predictions with their stamp, columns named; also what a trigger does."""
    named = [*target.keys, *target.outputs, "input_hash"]
    stamp = [sql.cast(sql.text(scoring_id), "UUID"), sql.UTC_NOW.copy()]
    head = exp.select(*(sql.column(name) for name in named), *stamp)
    query = sql.select_from(sql.render(head), keyed, where=None if where is None else sql.render(where))
    return sql.insert_select(target.table, [*named, "scoring_id", "scored_at"], query)


def _write_differences(state: _State) -> None:
    """New keys, changed inputs and keys that left the source."""
    connection, target = state.connection, state.target
    _find_differences(connection, target)
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(TODO)))).fetchone()
    todo = int(row[0]) if row else 0
    gone = sql.render(exp.select(*(sql.column(key) for key in target.keys)).from_(sql.table(GONE)))
    for first in range(0, max(1, todo), BATCH_ROWS):
        number = sql.column(NUMBER, "t")
        chunk = sql.all_of(
            [
                exp.GT(this=number, expression=sql.integer(first)),
                exp.LTE(this=number.copy(), expression=sql.integer(first + BATCH_ROWS)),
                *(exp.EQ(this=sql.column(key, "t"), expression=sql.column(key, "s")) for key in target.keys),
            ]
        )
        listed = exp.select("1").from_(sql.named(sql.table(TODO), "t")).where(chunk)
        source = sql.named(target.relation.node, "s")
        rows = exp.select("*").from_(source).where(exp.Exists(this=listed))
        _write(state, rows, replace=True, removed_query=gone if first == 0 else None)
        state.job.log("score", f"{state.written:,} changed or new rows, {state.removed:,} removed", rows=state.written)


def _find_differences(connection: Connection, target: Target) -> None:
    matches = [exp.EQ(this=sql.column(key, "p"), expression=sql.column(key, "k")) for key in target.keys]
    fresh = [
        exp.EQ(this=sql.column("input_hash", "p"), expression=sql.column("input_hash", "k")),
        exp.In(this=sql.column("scoring_id", "p"), query=_comparable(connection).subquery()),
    ]
    stored = sql.named(sql.table(*target.table), "p")
    up_to_date = exp.select("1").from_(stored).where(sql.all_of([*matches, *fresh]))
    keys = [sql.column(key, "k") for key in target.keys]
    number = sql.alias(exp.Window(this=sql.call("row_number")), NUMBER)
    head = sql.render(exp.select(*keys, number))
    missing = exp.Not(this=exp.Exists(this=up_to_date))
    query = sql.select_from(head, target.keyed(target.all_rows()), alias="k", where=sql.render(missing))
    connection.execute(sql.create_temporary(TODO, query))
    _add_repeated(connection, target)
    source = sql.named(target.relation.node, "k")
    there = exp.select("1").from_(source).where(sql.all_of([m.copy() for m in matches]))
    gone = exp.select(*(sql.column(key, "p") for key in target.keys)).from_(stored.copy())
    connection.execute(sql.create_temporary(GONE, sql.render(gone.where(exp.Not(this=exp.Exists(this=there))))))


def _add_repeated(connection: Connection, target: Target) -> None:
    """Keys predicted twice: a write to the source raced with a scoring. They are written anew, once."""
    keys = [sql.column(key) for key in target.keys]
    once = exp.select(sql.call("count", exp.Star())).from_(
        exp.select(*keys).from_(sql.table(*target.table)).distinct().subquery(alias="d")
    )
    distinct = connection.execute(sql.render(once)).fetchone()
    if distinct is None or distinct[0] == _stored(connection, target):
        return
    repeated = (
        exp.select(*keys)
        .from_(sql.table(*target.table))
        .group_by(*(k.copy() for k in keys))
        .having(exp.GT(this=sql.call("count", exp.Star()), expression=sql.integer(1)))
    )
    known = exp.select(*(k.copy() for k in keys)).from_(sql.table(TODO))
    new = exp.Except(this=repeated, expression=known, distinct=True)
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(TODO)))).fetchone()
    offset = int(row[0]) if row else 0
    numbered = exp.Add(this=exp.Window(this=sql.call("row_number")), expression=sql.integer(offset))
    query = exp.select(*(k.copy() for k in keys), numbered).from_(new.subquery(alias="n"))
    connection.execute(sql.insert_select((TODO,), [*target.keys, NUMBER], sql.render(query)))


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
        ).fetchall()
        if not ended:
            raise Conflict(f"The record of this scoring of {target.deployment} is gone; it was undeployed meanwhile.")
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
