"""Joining labels that were observed to the predictions that were current at that time."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlml import jobs, objects, sql
from sqlml.catalog import activity, collected, leases, records
from sqlml.catalog.collected import LABELS, PREDICTIONS
from sqlml.catalog.migrations import migrate
from sqlml.catalog.records import Deployment, Version
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable, translated
from sqlml.deploy.state import present
from sqlml.engines.surface import label_text
from sqlml.errors import KeyRefused, Refused, UsageError, choices
from sqlml.labels import reading
from sqlml.labels.joining import Joining
from sqlml.labels.kinds import classes_of, require_measurable
from sqlml.labels.reading import Given, given
from sqlml.labels.tables import existing, label_table, table_name
from sqlml.labels.views import label_views
from sqlml.relation import find, find_or_file, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

UNKNOWN, CONTRADICTING, REPEATED = "none of the model's labels", "two labels of one key and time", "repeated"
NEVER_PREDICTED, PREDICTED_LATER = "no prediction of this key", "predicted only later"
PREDICTIONS_GONE, ANOTHER_KEY = "predictions of then are gone", "the version of then has another key"
SHOWN = 5


@dataclass(frozen=True)
class Labelled:
    """What a labelling did. Every row of the source is added, corrected (another label of the same key and time),
    unchanged (known already) or left out; `left_out` says why, and how many. `unpredicted` of the added and corrected
    ones have a prediction that is an error. `versions` has how many labels each deployment version got."""

    labelling_id: str
    deployment: str
    source: str
    read: int
    added: int
    corrected: int
    unchanged: int
    left_out: dict[str, int]
    unknown: dict[str, int]
    unpredicted: int
    versions: dict[int, int]
    seconds: float
    job_id: str

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)

    def sentences(self) -> list[str]:
        """What was done, for people."""
        by_version = ", ".join(f"v{version}: {rows:,}" for version, rows in self.versions.items() if rows)
        parts = [f"{self.added:,} labels added{f' ({by_version})' if by_version else ''}"]
        parts += [f"{self.corrected:,} corrected"] if self.corrected else []
        parts += [f"{self.unchanged:,} known already"] if self.unchanged else []
        lines = [f"{', '.join(parts)}, of {self.read:,} rows of {self.source}"]
        lines += [f"left out: {rows:,} {why}" for why, rows in self.left_out.items()]
        if self.unknown:
            lines.append(f"not the model's: {_listed(self.unknown)}")
        if self.unpredicted:
            lines.append(f"{self.unpredicted:,} of them have an error instead of a prediction")
        return lines


@dataclass
class _Counts:
    read: int = 0
    unchanged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


def label(
    connection: Connection,
    name: str,
    source: str,
    *,
    label: str,
    at: str,
    key: Sequence[str] = (),
    skip_unknown: bool = False,
    listener: jobs.Listener | None = None,
) -> Labelled:
    """Keep each label of `source` (a table, view or path) beside the prediction that was current at the time `at`.

    That is the one of the version that was active then, by `sqlml.history`, made before that moment; a label without one
    is left out and counted. Times are UTC. `key` names the source's key columns, where they are not called as the
    deployment's are. The same row twice changes nothing; another label of the same key and time supersedes the one before,
    and both are kept. All or nothing is written. `skip_unknown` leaves out labels that are none of the model's.

    Raises:
        NotDeployed: no such deployment.
        BindingError: a column is missing, or of a type that cannot be a label or a time.
        Refused: labels that are none of the model's; they are listed.
        KeyRefused: a live table predicted a key more than once.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    deployment = records.deployment(connection, name)
    if not deployment.key_columns:
        raise UsageError(
            f"{deployment.name} stores no predictions: it was deployed as functions only.",
            hint="Deploy it with --table and --key; labels of later times can then be joined.",
        )
    found = given(find_or_file(connection, source), deployment.key_columns, key, label, at)
    migrate(connection)
    job = jobs.Job("label", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        joinings: list[Joining] = []
        try:
            with translated(found.relation.label):
                return _label(connection, deployment, found, job, joinings, skip_unknown=skip_unknown)
        finally:
            _forget(connection, joinings)


def _label(
    connection: Connection,
    deployment: Deployment,
    found: Given,
    job: jobs.Job,
    joinings: list[Joining],
    *,
    skip_unknown: bool,
) -> Labelled:
    """`joinings` is filled with those whose temporary tables are to go in the end."""
    began, started_at = time.monotonic(), records.now()
    counts = _Counts()
    for version, rows in _read(connection, deployment, found, counts).items():
        joining = _joining(connection, deployment, version, found)
        if isinstance(joining, str):
            counts.left_out[joining] += rows
            continue
        joinings.append(joining)
        _join(connection, joining, counts, skip_unknown=skip_unknown)
        job.log("label", f"v{version.version}: {rows:,} of {counts.read:,} rows joined", rows=rows, total=counts.read)
    labelling_id = str(uuid.uuid4())
    with atomic(connection, deployment.name):
        records.begin_change(connection, deployment.name)
        added = {joining.table.version: _write(connection, joining, labelling_id) for joining in joinings}
        for number, (new, again, _) in added.items():
            if new or again:
                collected.restored(connection, deployment.name, number, LABELS)
        _refresh_views(connection, deployment)
        done = Labelled(
            labelling_id=labelling_id,
            deployment=deployment.name,
            source=found.relation.label,
            read=counts.read,
            added=sum(new for new, _, _ in added.values()),
            corrected=sum(again for _, again, _ in added.values()),
            unchanged=counts.unchanged,
            left_out={why: rows for why, rows in counts.left_out.items() if rows},
            unknown=dict(counts.unknown),
            unpredicted=sum(without for _, _, without in added.values()),
            versions={version: new + again for version, (new, again, _) in added.items()},
            seconds=round(time.monotonic() - began, 3),
            job_id=job.id,
        )
        _record(connection, done, found, started_at)
    for sentence in done.sentences():
        job.log("label", sentence)
    return done


def _read(connection: Connection, deployment: Deployment, found: Given, counts: _Counts) -> dict[Version, int]:
    """The rows that say something, by the version that was active then."""
    connection.execute(reading.read(found, activity.changes(connection, deployment.name)))
    wanted = {}
    for why, number, rows in connection.execute(reading.counts()).fetchall():
        counts.read += rows
        if why is None:
            wanted[records.version(connection, deployment, int(number))] = rows
        else:
            counts.left_out[why] += rows
    return wanted


def _joining(connection: Connection, deployment: Deployment, version: Version, found: Given) -> Joining | str:
    """A text says why nothing can be joined to the version."""
    require_measurable(version.contract, f"{version.deployment} v{version.version}")
    table = version.prediction_table
    if table is None or not table_exists(connection, (version.deployment, table)):
        return PREDICTIONS_GONE
    known = table_exists(connection, (version.deployment, table_name(version.version)))
    gone = PREDICTIONS in collected.of(connection, version.deployment, version.version)
    if gone and not known:
        return PREDICTIONS_GONE
    places = [key.lower() for key in deployment.key_columns]
    if {key.lower() for key in version.key_columns} != set(places):
        return ANOTHER_KEY
    types = find(connection, sql.quote_path(version.deployment, table)).types
    labels = label_table(version, tuple(types[key] for key in version.key_columns))
    positions = tuple(places.index(key.lower()) for key in version.key_columns)
    return Joining(found, labels, (version.deployment, table), known, gone, positions)


def _join(connection: Connection, joining: Joining, counts: _Counts, *, skip_unknown: bool) -> None:
    unknown = dict(connection.execute(joining.unknown()).fetchall())
    if unknown and not skip_unknown:
        _refuse_unknown(joining, unknown)
    counts.unknown.update(unknown)
    connection.execute(joining.ask())
    unread, contradicting, repeated, labels = _row(connection, joining.asked())
    connection.execute(joining.join())
    new, none, later = _row(connection, joining.joined())
    if new > labels:  # triggers of a live table predict a repeated key as often
        table = sql.quote_path(*joining.predictions)
        raise KeyRefused(
            f"{table} has several predictions of one key: which of them a label belongs to, nobody knows.",
            hint="Run sqlml score: it names the key that the source has more than once.",
        )
    if joining.known:
        connection.execute(joining.keep())
        kept_none, kept_later = _row(connection, joining.kept())
        none, later = none - kept_none, later - kept_later
    counts.unchanged += labels - new
    counts.left_out.update(
        {
            UNKNOWN: sum(unknown.values()),
            CONTRADICTING: contradicting,
            REPEATED: repeated,
            NEVER_PREDICTED: unread + (0 if joining.gone else none),
            PREDICTIONS_GONE: none if joining.gone else 0,
            PREDICTED_LATER: later,
        }
    )


def _row(connection: Connection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # an aggregate without GROUP BY always gives one row
    return row


def _refuse_unknown(joining: Joining, unknown: dict[str, int]) -> None:
    table = joining.table
    labels = [label_text(known) for known in classes_of(table.signature)]
    raise Refused(
        f"{sum(unknown.values()):,} labels are none of {table.deployment} v{table.version}'s: {_listed(unknown)}.",
        hint=f"{choices(labels, wrong=next(iter(unknown)))} Correct them in a view, or leave such rows out (--skip-unknown).",
        unknown=unknown,
    )


def _listed(unknown: dict[str, int]) -> str:
    shown = [f"{text!r} ({rows:,})" for text, rows in list(unknown.items())[:SHOWN]]
    return ", ".join(shown) + (f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else "")


def _write(connection: Connection, joining: Joining, labelling_id: str) -> tuple[int, int, int]:
    """How many labels are new, how many corrected, how many of both have no prediction."""
    table = joining.table
    if not joining.known:
        connection.execute(table.create())
        made = objects.DatabaseObject(objects.LABELS, "table", *table.path, table.create())
        objects.record(connection, table.version, table.deployment, [made])
    for statement in joining.insert(labelling_id):
        connection.execute(statement)
    new, corrected, without = _row(connection, joining.added(labelling_id))
    return new, corrected, without


def _refresh_views(connection: Connection, deployment: Deployment) -> None:
    """Make the views over all versions that have labels, unless they are what was recorded and are there."""
    tables = existing(connection, deployment.name)
    if not tables:
        return
    wanted = [
        objects.DatabaseObject(objects.LABELS, kind, deployment.name, name, text)
        for kind, name, text in label_views(tuple(tables))
    ]
    newest = tables[-1].version
    recorded = [
        found
        for table in tables
        for found in objects.recorded(connection, deployment.name, table.version)
        if found.role == objects.LABELS and found.kind != "table"
    ]
    if recorded == wanted and {(o.kind, o.schema, o.name) for o in wanted} <= present(connection):
        return
    for made in wanted:
        connection.execute(made.statement)
    connection.execute(
        "DELETE FROM sqlml.objects WHERE deployment = ? AND role = ? AND kind <> 'table'",
        [deployment.name, objects.LABELS],
    )
    objects.record(connection, newest, deployment.name, wanted)


def _record(connection: Connection, done: Labelled, found: Given, started_at: datetime) -> None:
    records.insert(
        connection,
        "labellings",
        {
            "labelling_id": done.labelling_id,
            "deployment": done.deployment,
            "source": found.relation.name,
            "key_columns": found.keys,
            "label_column": found.label,
            "time_column": found.at,
            "rows_read": done.read,
            "rows_added": done.added,
            "rows_corrected": done.corrected,
            "rows_unchanged": done.unchanged,
            "rows_left_out": sum(done.left_out.values()),
            "left_out": json.dumps(done.left_out),
            "versions": json.dumps(done.versions),
            "who": jobs.user(),
            "job_id": done.job_id,
            "started_at": started_at,
            "finished_at": records.now(),
        },
    )


def _forget(connection: Connection, joinings: Sequence[Joining]) -> None:
    """The temporary tables; where the connection is broken they are gone with it."""
    import duckdb

    with suppress(duckdb.Error):
        for name in (reading.READ, *(name for joining in joinings for name in joining.temporary)):
            connection.execute(sql.drop_object("TABLE", ("temp", name)))
