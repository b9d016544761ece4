"""Replaying stored predictions: computed again by the version that made them, from the inputs that they were made of.

What is recomputed is the statement that the version was deployed with, so that it makes no difference whether somebody
dropped or replaced its functions since. A prediction whose inputs are not known is never called different.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import pyfunc, sql
from sqlml.catalog import activity, collected, records
from sqlml.catalog.records import Deployment, Version
from sqlml.connecting import prepare_connection
from sqlml.convert.pyfunc import Policy
from sqlml.database import atomic, refuse_open_transaction, translated
from sqlml.errors import BindingError, DatabaseError, NotDeployed, UsageError
from sqlml.keys import key_values
from sqlml.predictions import Target, target_of, target_on
from sqlml.recomputing import (
    CHANGED,
    CHOSEN,
    DIFFERENCE,
    EQUAL,
    ID,
    NO_SOURCE,
    NOT_KEPT,
    OUTCOME,
    RECOMPUTED,
    SEEN_AT,
    STORED,
    UNEQUAL,
    WHY,
    AnswerFailed,
    Chosen,
    recomputed,
)
from sqlml.relation import Relation, table_exists, why_unreadable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SAMPLE = 1_000
LARGEST_SAMPLE = 1_000_000_000
"""What DuckDB draws at most."""
SHOWN = 20
"""Predictions that are not equal, of each version, beside the counts."""
Unread = dict[str, str]
"""Sources that cannot be read, as versions name them, and what DuckDB says."""


@dataclass(frozen=True)
class ReplayedRow:
    """One prediction: what is stored, what is computed now, and what that means. `stored` is None where it was
    overwritten since, `computed` where the inputs are not known."""

    version: int
    key: dict[str, Any]  # Any: SQL values, here and below
    outcome: str
    why: str | None
    stored: dict[str, Any] | None
    computed: dict[str, Any] | None
    scored_at: datetime
    scoring_id: str


@dataclass(frozen=True)
class ReplayedVersion:
    """The predictions of one version that were looked at, by outcome; `skipped` says why there are none."""

    version: int
    resolved: str
    keep: str
    rows: int
    outcomes: dict[str, int]
    reasons: dict[str, int]
    largest_difference: float | None
    skipped: str | None = None


@dataclass(frozen=True)
class Replay:
    """`passed`: no prediction is anything else than its version says for the same inputs."""

    deployment: str
    as_of: datetime | None
    versions: tuple[ReplayedVersion, ...]
    rows: tuple[ReplayedRow, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not any(version.outcomes.get(UNEQUAL) for version in self.versions)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return {**asdict(self), "passed": self.passed}


def replay(
    connection: Connection,
    name: str,
    *,
    key: Sequence[object] | object | None = None,
    sample: int | None = None,
    all_rows: bool = False,
    version: int | None = None,
    as_of: datetime | str | None = None,
    policy: Policy | None = None,
) -> Replay:
    """Compute stored predictions again, each by the version that made it, and compare.

    Each is equal, not equal, or cannot be compared: the inputs changed, or were not kept. Nothing is written.

    Args:
        key: Of one row, a value per key column; by default a sample.
        sample: So many predictions of each version, 1,000 by default; the same ones each time.
        all_rows: Every stored prediction.
        version: Only this deployment version; by default every one that has predictions.
        as_of: A moment in UTC (a date means its end): what `current` showed then, by the version that was active. Where
            inputs are kept, also what was overwritten since: it is recomputed.
        policy: How the process of a python_function may run.

    Raises:
        NotDeployed: there is no such deployment or version, or no prediction of this key.
        UsageError: another number of values than key columns, or options that do not go together.
    """
    refuse_open_transaction(connection)
    if (key is not None) + (sample is not None) + all_rows > 1 or (sample is not None and sample < 1):
        raise UsageError("replay takes a key, a sample of at least one row, or all rows.")
    if sample is not None and sample > LARGEST_SAMPLE:
        raise UsageError(
            f"A sample has at most {LARGEST_SAMPLE:,} rows.", hint="To replay every prediction, use --all."
        )
    if as_of is not None and version is not None:
        raise UsageError("The version that was active at a moment is known: leave the version out.")
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    moment = None if as_of is None else moment_of(as_of)
    values = None if key is None else key_values(key)
    chosen = Chosen(values, None if values is not None or all_rows else sample or SAMPLE, moment)
    versions = _versions(connection, deployment, version, moment)
    log = partial(_ignore)
    with pyfunc.askers(connection, policy, log) as askers:
        found, notes = _replay_all(connection, deployment, versions, chosen, askers)
    done, rows = [summary for summary, _ in found], [row for _, some in found for row in some]
    if values is not None and not rows and not any(v.skipped for v in done):
        raise NotDeployed(_nothing(deployment, versions, values, moment), hint="Check the key, or see sqlml status.")
    return Replay(deployment.name, moment, tuple(done), tuple(rows), tuple(notes))


def _ignore(_: str) -> None:
    """Nobody follows a replay."""


def moment_of(given: datetime | str) -> datetime:
    """In UTC, without a zone; a date is its end, and other times without a zone are UTC.

    >>> moment_of("2026-03-01")
    datetime.datetime(2026, 3, 2, 0, 0)
    >>> moment_of("2026-03-01 12:30+02:00")
    datetime.datetime(2026, 3, 1, 10, 30)
    """
    hint = "Write 2026-03-01 (its end) or 2026-03-01T12:30, in UTC."
    try:
        found = datetime.fromisoformat(given.strip()) if isinstance(given, str) else given
        if isinstance(given, str) and re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", given.strip()):
            found += timedelta(days=1)
        return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
    except ValueError as error:
        raise UsageError(f"{given!r} is no moment.", hint=hint) from error
    except OverflowError as error:  # the end of 9999-12-31, and zones that lead over an end
        raise UsageError(f"{str(given)!r} is no moment of the years 1 to 9999 in UTC.", hint=hint) from error


def _versions(
    connection: Connection, deployment: Deployment, number: int | None, moment: datetime | None
) -> list[Version]:
    if moment is not None:
        active = activity.active_at(activity.changes(connection, deployment.name), moment)
        if active is None:
            raise NotDeployed(f"No version of {deployment.name} was active at {moment} UTC, so nothing was shown.")
        number = active
    if number is not None:
        return [records.version(connection, deployment, number)]
    found = [v for v in records.versions(connection, deployment.name) if v.prediction_table is not None]
    if not found:
        raise NotDeployed(
            f"{deployment.name} stores no predictions: it was deployed without a table.",
            hint="Deploy it with --table and --key to have predictions that can be replayed.",
        )
    return found


def _replay_all(
    connection: Connection,
    deployment: Deployment,
    versions: Sequence[Version],
    chosen: Chosen,
    askers: pyfunc.Askers,
) -> tuple[list[tuple[ReplayedVersion, list[ReplayedRow]]], list[str]]:
    """In one transaction. A source that cannot be read ends it: then all of it again, without that source."""
    unread: Unread = {}
    while True:
        try:
            with atomic(connection, deployment.name):
                found = [_replay_version(connection, one, chosen, askers, unread) for one in versions]
                return found, _external(connection, deployment.name)
        except AnswerFailed as failed:
            relation = failed.relation
            problem = str(failed.error) if relation is None else why_unreadable(connection, relation)
            if problem is None:  # then it is the model's
                with translated(deployment.name):
                    raise failed.error from failed
            unread[failed.source] = problem


def _replay_version(
    connection: Connection, version: Version, chosen: Chosen, askers: pyfunc.Askers, unread: Unread
) -> tuple[ReplayedVersion, list[ReplayedRow]]:
    nothing = ReplayedVersion(version.version, version.resolved, version.keeps, 0, {}, {}, None)
    if version.prediction_table is None:
        return replace(nothing, skipped="it stores no predictions"), []
    if version.state == "undeployed":
        return replace(nothing, skipped="it was undeployed, and its functions are gone"), []
    gone = collected.of(connection, version.deployment, version.version)
    if missing := collected.in_the_way(gone, version.keeps, as_of=chosen.as_of is not None):
        return replace(nothing, skipped=f"its {missing.part} were {missing.sentence()}"), []
    if not table_exists(connection, (version.deployment, version.prediction_table)):
        return replace(nothing, skipped="somebody dropped its predictions"), []
    if chosen.key is not None and len(chosen.key) != len(version.key_columns):
        raise UsageError(
            f"The key of {version.deployment} v{version.version} is {', '.join(version.key_columns)}:"
            f" {len(version.key_columns)} values, and {len(chosen.key)} were given.",
            hint="Separate the values with commas, or name another version.",
        )
    target, problem = _target(connection, version, unread)
    with recomputed(connection, version, target, chosen, askers, source_problem=problem) as outcomes:
        summary = _summary(connection, nothing, outcomes)
        is_shown = chosen.key is not None
        rows = _rows(connection, version, target, None if is_shown else UNEQUAL)
    return summary, rows


def _target(connection: Connection, version: Version, unread: Unread) -> tuple[Target, str | None]:
    """With the source as it is, or with why it is not to be read: gone, with other columns, a view that fails."""
    source = version.source or ""
    problem = unread.get(source)
    if problem is None:
        try:
            return target_of(connection, version), None
        except BindingError as error:
            problem = error.message
        except DatabaseError as error:  # a view over what is gone
            raise AnswerFailed(source, None, error) from error
    return target_on(connection, version, Relation((source,), "missing", {})), NO_SOURCE.format(problem=problem)


def _summary(connection: Connection, nothing: ReplayedVersion, outcomes: str) -> ReplayedVersion:
    columns = [
        sql.column(OUTCOME),
        sql.column(WHY),
        sql.call("count", exp.Star()),
        sql.call("max", sql.column(DIFFERENCE)),
    ]
    query = exp.select(*columns).from_(sql.table(outcomes))
    found = connection.execute(f"{sql.render(query)} GROUP BY ALL ORDER BY ALL").fetchall()
    counted: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for outcome, why, number, _ in found:
        counted[outcome] = counted.get(outcome, 0) + number
        if why is not None:
            reasons[why] = reasons.get(why, 0) + number
    compared = [far for outcome, _, _, far in found if outcome in (EQUAL, UNEQUAL) and far is not None]
    return replace(
        nothing,
        rows=sum(counted.values()),
        outcomes=counted,
        reasons=reasons,
        largest_difference=max(compared, default=None),
    )


def _rows(connection: Connection, version: Version, target: Target, outcome: str | None) -> list[ReplayedRow]:
    p, o = "sqlml p", "sqlml o"
    columns = [sql.column(OUTCOME, o), sql.column(WHY, o), sql.column(STORED, p), sql.column(SEEN_AT, p)]
    columns += [sql.column(name, p) for name in ("scored_at", "scoring_id", *target.keys, *target.outputs)]
    columns += [sql.column(f"{OUTCOME} {n}", o) for n, _ in enumerate(target.outputs)]
    query = exp.select(*columns).from_(sql.named(sql.table(CHOSEN), p))
    query = query.join(sql.named(sql.table(OUTCOME), o), on=sql.all_of(sql.equal([ID], p, o)))
    if outcome is not None:
        query = query.where(exp.EQ(this=sql.column(OUTCOME, o), expression=sql.text(outcome)))
    query = query.order_by(sql.column(ID, p)).limit(SHOWN)
    keys, outputs = len(target.keys), len(target.outputs)
    rows = []
    for found in connection.execute(sql.render(query)).fetchall():
        decided, why, is_stored, seen_at, scored_at, scoring_id, *values = found
        said, says = values[keys : keys + outputs], values[keys + outputs :]
        knows = decided in (EQUAL, UNEQUAL, RECOMPUTED)
        rows.append(
            ReplayedRow(
                version=version.version,
                key=dict(zip(target.keys, values[:keys], strict=True)),
                outcome=decided,
                why=why,
                stored=dict(zip(target.outputs, said, strict=True)) if is_stored else None,
                computed=dict(zip(target.outputs, says, strict=True)) if knows else None,
                scored_at=scored_at if is_stored else seen_at,
                scoring_id=str(scoring_id),
            )
        )
    return rows


def _external(connection: Connection, name: str) -> list[str]:
    found = connection.execute(
        "SELECT count(*), string_agg(DISTINCT target, ', ' ORDER BY target) FROM sqlml.scorings"
        " WHERE deployment = ? AND kind = 'external'",
        [name],
    ).fetchone()
    if found is None or not found[0]:
        return []
    return [
        f"{found[0]:,} scorings of {name} went elsewhere ({found[1][:200]}): those rows are not in its prediction tables,"
        " and are not replayed"
    ]


def _nothing(
    deployment: Deployment, versions: Sequence[Version], values: Sequence[str], moment: datetime | None
) -> str:
    shown = ", ".join(f"{c} = {v}" for c, v in zip(versions[-1].key_columns, values, strict=False))
    if moment is None:
        return f"{deployment.name} has no prediction for {shown}."
    if versions[0].keeps == "inputs":
        return f"{deployment.name} showed no prediction for {shown} at {moment} UTC."
    return (
        f"{deployment.name} v{versions[0].version} was active at {moment} UTC and has no prediction for {shown} now;"
        " whether it had one then is not known, for its inputs are not kept."
    )


__all__ = [
    "CHANGED",
    "EQUAL",
    "NOT_KEPT",
    "RECOMPUTED",
    "UNEQUAL",
    "Replay",
    "ReplayedRow",
    "ReplayedVersion",
    "replay",
]
