"""What is deployed, as it really is: the record compared with the database, not remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import live, objects, sql
from sqlml.catalog import collected, following, recalls, records, states
from sqlml.catalog.collected import Collected
from sqlml.catalog.following import Followed
from sqlml.catalog.migrations import LIFECYCLE, applied
from sqlml.catalog.records import Deployment, Version
from sqlml.errors import BindingError
from sqlml.predictions import check_key_types, check_source, stored_key_types
from sqlml.registry import StoreManifest, may_move
from sqlml.relation import find, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Status:
    """One deployment. `problems` are sentences; a deployment without any is as it was recorded.

    `artifact_store` is what the store of the active version's files had recorded of them, where it keeps such a record.
    `follows` says what `sync` compares it with, and what came of that when it looked last.
    """

    name: str
    active_version: int | None
    resolved: str | None
    engine: str | None
    source: str | None
    key_columns: tuple[str, ...]
    live: bool
    predictions: int | None
    failed: int | None
    scored_at: datetime | None
    parity: str | None
    versions: tuple[str, ...]
    problems: tuple[str, ...]
    artifact_uri: str | None = None
    artifact_store: StoreManifest | None = None
    recalled: str | None = None
    """When and why the active version, or scorings of it, were recalled."""
    keep: str | None = None
    follows: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


@dataclass(frozen=True)
class Event:
    """A row of the history. `who` is the operating system's user and `database_user` what DuckDB calls its own: claims."""

    happened_at: datetime
    deployment: str
    action: str
    from_version: int | None
    to_version: int | None
    who: str
    why: str | None
    job_id: str | None
    database_user: str | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def status(connection: Connection, name: str | None = None) -> list[Status]:
    """Every deployment, or the one named.

    Raises:
        NotDeployed: there is none of that name.
    """
    chosen = records.deployments(connection) if name is None else [records.deployment(connection, name)]
    there = present(connection) if chosen else set()
    recorded = following.rows(connection)
    return [
        _status(connection, deployment, there, [r for r in recorded if r.deployment == deployment.name])
        for deployment in chosen
    ]


def history(connection: Connection, name: str | None = None) -> list[Event]:
    """Newest first, undeployed ones included."""
    migration = applied(connection)
    if migration == 0:
        return []
    names = [field.name for field in fields(Event)]
    if migration < LIFECYCLE:
        names.remove("database_user")
    rows = connection.execute(sql.select_rows(("sqlml", "history"), names, None) + " ORDER BY rowid DESC").fetchall()
    events = sorted((Event(*row) for row in rows), key=lambda event: event.happened_at, reverse=True)
    return [event for event in events if name is None or event.deployment.lower() == name.lower()]


def _status(
    connection: Connection, deployment: Deployment, there: set[tuple[str, str, str]], followed: list[Followed]
) -> Status:
    all_versions = records.versions(connection, deployment.name)
    gone = collected.every(connection)
    active = next((v for v in all_versions if v.version == deployment.active_version), None)
    predictions, failed, scored_at = _stored(connection, active)
    marks = recalls.standing(connection, deployment.name)
    stored = None if active is None else active.artifact_store
    return Status(
        name=deployment.name,
        active_version=deployment.active_version,
        resolved=None if active is None else active.resolved,
        engine=None if active is None else active.engine,
        source=deployment.source,
        key_columns=deployment.key_columns,
        live=deployment.live,
        predictions=predictions,
        failed=failed,
        scored_at=scored_at,
        parity=_parity(connection, active),
        versions=tuple(
            _shown(v, gone.get((v.deployment, v.version), {}), recalls.whole(marks, v.deployment, v.version))
            for v in all_versions
        ),
        recalled=recalls.told(marks, active.version) if active is not None else None,
        keep=None if active is None or active.prediction_table is None else active.keeps,
        problems=(
            *problems(connection, deployment, active, all_versions, there),
            *(f"{row.reference}: {row.missing} (when sync asked last)" for row in followed if row.missing is not None),
        ),
        artifact_uri=None if active is None else active.artifact_uri,
        artifact_store=None if stored is None else StoreManifest.from_json(stored),
        follows=tuple(row.sentence() for row in followed if may_move(row.reference)),
    )


def _shown(version: Version, gone: Mapping[str, Collected], recall: recalls.Mark | None) -> str:
    """Its state, whether it is recalled as a whole, and what gc has removed of it."""
    said = f"v{version.version} {version.state}" + (", recalled" if recall else "")
    if not gone:
        return said
    last = max(gone.values(), key=lambda entry: entry.collected_at)
    return f"{said} ({', '.join(gone)} {last.sentence()})"


def _stored(connection: Connection, version: Version | None) -> tuple[int | None, int | None, datetime | None]:
    if version is None or version.prediction_table is None:
        return None, None, None
    table = (version.deployment, version.prediction_table)
    if not table_exists(connection, table):
        return None, None, None
    query = exp.select(
        sql.call("count", exp.Star()), sql.call("count", sql.column("error")), sql.call("max", sql.column("scored_at"))
    ).from_(sql.table(*table))
    row = connection.execute(sql.render(query)).fetchone()
    return row if row is not None else (None, None, None)


def _parity(connection: Connection, version: Version | None) -> str | None:
    if version is None:
        return None
    row = connection.execute(
        "SELECT passed, rows_compared, rows_set_aside, largest_difference FROM sqlml.parity"
        " WHERE deployment = ? AND version = ? ORDER BY checked_at DESC LIMIT 1",
        [version.deployment, version.version],
    ).fetchone()
    if row is None:
        return None
    passed, compared, aside, largest = row
    verdict = "checked on" if passed else "FAILED on"
    difference = "" if largest is None else f", largest difference {largest:.1e}"
    return f"{verdict} {compared:,} rows{difference}" + (f", {aside:,} set aside" if aside else "")


def problems(
    connection: Connection,
    deployment: Deployment,
    active: Version | None,
    all_versions: list[Version],
    there: set[tuple[str, str, str]],
) -> list[str]:
    """Where the database is not as it was recorded; `there` is what `present` says."""
    found: list[str] = []
    if active is None:
        found.append(
            "no version is active: the deployment was interrupted before the switch; deploy again to resume it"
        )
    for version in all_versions:
        if version.state == states.PLANNED and active is not None:
            found.append(f"v{version.version} is planned: its deployment did not finish; deploy it again, or retire it")
    for version in all_versions:
        found += _missing_objects(connection, deployment, version, there)
    if active is not None and active.source is not None:
        found += _misfits(connection, active)
    for version in all_versions:
        if version.state == states.SHADOW and version.source is not None:
            found += [f"the shadow v{version.version}: {one}" for one in _of_shadow(connection, version)]
    if deployment.live:
        hanging = live.existing(connection, deployment.name)
        expected = live.expected_triggers("hash" if active is None else active.keeps)
        if len(hanging) < expected:
            found.append(
                f"only {len(hanging)} of {expected} triggers are on the source: CREATE OR REPLACE or DROP"
                f" removed them; sqlml live {deployment.name} on hangs them again, sqlml score catches up"
            )
    if active is not None and _is_interrupted(connection, active):
        found.append(UNFINISHED)
    return found


UNFINISHED = "the last scoring did not finish: run score again, it resumes"


def _of_shadow(connection: Connection, version: Version) -> list[str]:
    unfinished = [UNFINISHED] if _is_interrupted(connection, version) else []
    return _misfits(connection, version) + unfinished


def _is_interrupted(connection: Connection, version: Version) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM sqlml.scorings WHERE deployment = $1 AND version = $2 AND state IN ('running', 'interrupted')"
        " AND kind <> 'external'"
        " AND started_at > (SELECT coalesce(max(started_at), TIMESTAMP '1970-01-01') FROM sqlml.scorings"
        " WHERE deployment = $1 AND version = $2 AND state = 'complete' AND kind <> 'external')",
        [version.deployment, version.version],
    ).fetchone()
    return row is not None and row[0] > 0


def _misfits(connection: Connection, version: Version) -> list[str]:
    try:
        source = find(connection, str(version.source))
    except BindingError:
        return [f"the source {version.source} is gone"]
    try:
        check_source(version, source)
        # A table that is gone is said of the objects.
        if table_exists(connection, (version.deployment, str(version.prediction_table))):
            check_key_types(connection, version, source, stored_key_types(connection, version))
    except BindingError as error:
        return [error.message]
    return []


def _missing_objects(
    connection: Connection, deployment: Deployment, version: Version, there: set[tuple[str, str, str]]
) -> list[str]:
    if collected.BYTES in collected.of(connection, deployment.name, version.version):
        return []  # gc has removed its functions
    missing = []
    for recorded in objects.recorded(connection, deployment.name, version.version):
        is_expected = recorded.role in ("version", objects.LABELS) or (
            recorded.role == "active" and version.version == deployment.active_version
        )
        if is_expected and (recorded.kind, recorded.schema, recorded.name) not in there:
            missing.append(f"{recorded.kind} {recorded.schema}.{recorded.name} is gone: somebody dropped it")
    return missing


PRESENT = """
SELECT 'table', schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database()
UNION ALL SELECT 'view', schema_name, view_name FROM duckdb_views() WHERE database_name = current_database()
UNION ALL SELECT replace(function_type, '_', ' '), schema_name, function_name FROM duckdb_functions()
WHERE database_name = current_database() AND function_type IN ('macro', 'table_macro')
"""


def present(connection: Connection) -> set[tuple[str, str, str]]:
    """Kind, schema and name of every table, view and macro of the current database.

    In one query for all: DuckDB writes down every function it has for each, which takes 40 ms.
    """
    return set(connection.execute(PRESENT).fetchall())


def schema_is_empty(connection: Connection, schema: str) -> bool:
    """Whether nothing is left in it, of ours or of anybody."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = $1)"
        " + (SELECT count(*) FROM duckdb_views() WHERE database_name = current_database() AND schema_name = $1)"
        " + (SELECT count(*) FROM duckdb_functions() WHERE database_name = current_database() AND schema_name = $1)",
        [schema],
    ).fetchone()
    return row is not None and row[0] == 0
