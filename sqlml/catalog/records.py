"""Rows of the catalog as dataclasses, and reading and writing them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlml import sql
from sqlml.catalog import states
from sqlml.catalog.migrations import KEEPS_INPUTS, LIFECYCLE, applied
from sqlml.errors import Conflict, NotDeployed, choices
from sqlml.parsing import parsed
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


SINCE = "since"
"""Of a field: the number of the migration that added its column."""


def now() -> datetime:
    """The time in UTC, without a zone, as the catalog stores it."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Deployment:
    """A row of sqlml.deployments."""

    name: str
    active_version: int | None
    model: str
    source: str | None
    key_columns: tuple[str, ...]
    live: bool
    owns_source: bool
    function_name: tuple[str, ...] | None
    changes: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Version:
    """A row of sqlml.versions: one model version with its engine and options."""

    deployment: str
    version: int
    state: str
    reference: str
    resolved: str
    model_name: str | None
    model_version: str | None
    model_id: str | None
    run_id: str | None
    tracking_uri: str | None
    registry_uri: str | None
    artifact_uri: str | None
    artifact_sha256: str
    artifact_files: str
    run: str | None
    model_sha256: str
    signature: str
    engine: str
    engine_why: str
    threshold: float | None
    prediction_table: str | None
    source: str | None
    key_columns: tuple[str, ...]
    sqlml_version: str
    duckdb_version: str
    deployed_by: str
    deployed_at: datetime
    # A file that no deploy has brought up to date is read as it is: its table has no such column yet.
    artifact_store: str | None = field(default=None, metadata={SINCE: 2})
    model_env: str | None = field(default=None, metadata={SINCE: 3})
    failure: str | None = field(default=None, metadata={SINCE: LIFECYCLE})
    keep: str | None = field(default=None, metadata={SINCE: KEEPS_INPUTS})

    @property
    def contract(self) -> Signature:
        return Signature.from_json(self.signature)

    @property
    def keeps(self) -> str:
        """none, hash or inputs."""
        return self.keep or "hash"


Row = TypeVar("Row", Deployment, Version)


def _columns(kind: type[Deployment | Version], migration: int) -> list[str]:
    """The fields that the table has in a catalog that was brought to this migration."""
    return [known.name for known in dataclasses.fields(kind) if known.metadata.get(SINCE, 1) <= migration]


def _read(
    connection: Connection, kind: type[Row], table: str, values: Sequence[Any], *, migration: int, deployment: bool
) -> list[Row]:
    """Rows as dataclasses; of one deployment (the only value) or of all."""  # Any: DuckDB parameters
    names = _columns(kind, migration)
    query = sql.select_rows(("sqlml", table), names, "deployment" if deployment else None)
    rows = connection.execute(parsed(connection, query), list(values))
    made: list[Row] = []
    for row in rows.fetchall():
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in zip(names, row, strict=True)}
        if kind is Version:
            fields["state"] = states.OF_OLD.get(fields["state"], fields["state"])
        made.append(kind(**fields))  # Any: DuckDB's values, of the types that the migration gives the columns
    return made


def deployments(connection: Connection) -> list[Deployment]:
    migration = applied(connection)
    if migration == 0:
        return []
    found = _read(connection, Deployment, "deployments", [], migration=migration, deployment=False)
    return sorted(found, key=lambda d: d.name)


def find_deployment(connection: Connection, name: str) -> Deployment | None:
    """The deployment of this name, matched without regard to case; None if there is none."""
    return next((d for d in deployments(connection) if d.name.lower() == name.lower()), None)


def deployment(connection: Connection, name: str) -> Deployment:
    """The deployment of this name.

    Raises:
        NotDeployed: there is none; the existing ones are listed.
    """
    found = find_deployment(connection, name)
    if found is None:
        names = [d.name for d in deployments(connection)]
        raise NotDeployed(f"There is no deployment {name!r} in this database.", hint=choices(names, wrong=name))
    return found


def name_of(connection: Connection, name: str) -> str:
    """The name as it is spelled, also of a deployment that was undeployed: its predictions may be there still.

    Raises:
        NotDeployed: there is none, nor was there.
    """
    if find_deployment(connection, name) is None and applied(connection):
        row = connection.execute(
            "SELECT deployment FROM sqlml.versions WHERE lower(deployment) = lower(?) LIMIT 1", [name]
        ).fetchone()
        if row:
            return str(row[0])
    return deployment(connection, name).name


def versions(connection: Connection, name: str) -> list[Version]:
    """All versions of a deployment, in order, also after it was undeployed."""
    migration = applied(connection)
    if migration == 0:
        return []
    found = _read(connection, Version, "versions", [name], migration=migration, deployment=True)
    return sorted(found, key=lambda v: v.version)


def version(connection: Connection, of: Deployment, number: int) -> Version:
    """One version of a deployment.

    Raises:
        NotDeployed: there is no such version; the existing ones are listed.
    """
    all_versions = versions(connection, of.name)
    for found in all_versions:
        if found.version == number:
            return found
    raise NotDeployed(
        f"{of.name} has no deployment version {number}.", hint=choices([str(v.version) for v in all_versions])
    )


def active(connection: Connection, of: Deployment) -> Version:
    """The active version.

    Raises:
        NotDeployed: none is active yet.
    """
    if of.active_version is None:
        raise NotDeployed(
            f"{of.name} has no active version: its deployment was interrupted before the switch.",
            hint="Deploy again to resume it, or undeploy it.",
        )
    return version(connection, of, of.active_version)


def active_or(connection: Connection, of: Deployment, number: int | None) -> Version:
    """The version of this number, the active one for None.

    Raises:
        NotDeployed: there is no such version, or none is active yet.
    """
    return active(connection, of) if number is None else version(connection, of, number)


def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:  # Any: DuckDB parameters
    values = [list(v) if isinstance(v, tuple) else v for v in row.values()]
    connection.execute(sql.insert_statement(("sqlml", table), list(row)), values)


def insert_row(connection: Connection, table: str, row: Deployment | Version) -> None:
    """A row of a catalog that need not be up to date: `plan` only looks, so it must not change the tables first."""
    insert(connection, table, {name: getattr(row, name) for name in _columns(type(row), applied(connection))})


def begin_change(connection: Connection, name: str) -> None:
    """First statement of every transaction that writes for a deployment: a second one at the same time conflicts here.

    Raises:
        Conflict: the deployment is gone.
    """
    changed = connection.execute(
        "UPDATE sqlml.deployments SET changes = changes + 1, updated_at = ? WHERE name = ? RETURNING name",
        [now(), name],
    ).fetchall()
    if not changed:
        raise Conflict(f"{name} was undeployed in the meantime; nothing was written.")


def record_history(
    connection: Connection,
    name: str,
    action: str,
    *,
    who: str,
    job_id: str | None,
    from_version: int | None = None,
    to_version: int | None = None,
    why: str | None = None,
) -> None:
    """Append a row, in the caller's transaction: rows of the history are never changed. `who` and what the database
    calls its user are claims, not proofs: whoever may write to the file may write anything there."""
    found = connection.execute("SELECT current_user").fetchone()
    insert(
        connection,
        "history",
        {
            "deployment": name,
            "action": action,
            "from_version": from_version,
            "to_version": to_version,
            "why": why,
            "who": who,
            "job_id": job_id,
            "happened_at": now(),
            # A file whose catalog is an older one has no such column.
            **({"database_user": None if found is None else found[0]} if applied(connection) >= LIFECYCLE else {}),
        },
    )
