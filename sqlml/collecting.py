"""gc: removing what a policy lets go of old deployment versions, each in one transaction, with a record of what went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import jobs, objects, retention, sql, writing_back
from sqlml.catalog import collected, leases, migrations, records
from sqlml.catalog.collected import BYTES, Collected
from sqlml.catalog.records import Version
from sqlml.database import atomic, checkpoint, facts, refuse_open_transaction, require_writable
from sqlml.deploy.state import schema_is_empty
from sqlml.errors import Conflict, NotDeployed, choices
from sqlml.relation import split_name
from sqlml.retention import Removal, Retention, Spared

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Space:
    """Bytes of the database file, and of those what DuckDB will write to before the file grows; 0 in memory."""

    file: int
    free: int


@dataclass(frozen=True)
class Collection:
    """What went, or without `applied` what would. `spared` says of each version that stays why; `waiting` names
    deployments that another job works on, to be collected by the next gc."""

    applied: bool
    removed: tuple[Removal, ...]
    spared: tuple[Spared, ...]
    waiting: tuple[str, ...]
    before: Space
    after: Space
    job_id: str | None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def gc(
    connection: Connection,
    name: str | None = None,
    *,
    retention: Retention | Mapping[str, Retention],
    apply: bool = False,
    why: str | None = None,
    listener: jobs.Listener | None = None,
) -> Collection:
    """Remove predictions, kept inputs and model bytes of versions that nothing needs any more, as a policy says.

    Without `apply` nothing is changed, and what would go is told. Scorings, history, evidence and lineage stay always.

    Args:
        name: One deployment; by default all, those that were undeployed too.
        retention: The policy, or one for each deployment; what has none is left alone.
        why: Kept in the history.

    Raises:
        NotDeployed: there is no such deployment, nor was there.
        Conflict: another routine works on the one deployment that was named.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    if apply:
        require_writable(database)
    policies = _policies(connection, name, retention)
    before = _space(connection)
    if not apply or not policies:
        decision = _decided(connection, policies)
        return Collection(False, decision.removals, decision.spared, (), before, before, None)
    migrations.migrate(connection)
    job = jobs.Job("gc", name, jobs.folder_of(database), listener)
    removed: list[Removal] = []
    waiting: list[str] = []
    with jobs.running(connection, job):
        for deployment in policies:
            if not any(r.deployment == deployment for r in _decided(connection, policies).removals):
                continue
            try:
                removed += _collect(connection, deployment, policies, job, why)
            except Conflict as conflict:
                if name is not None:
                    raise
                waiting.append(deployment)
                job.log("gc", f"{deployment} is left for the next time: {conflict.message}")
        leases.end_dead(connection, job.id)
        checkpoint(connection)
        after = _space(connection)
        job.log("gc", f"{len(removed)} parts removed", rows=sum(r.rows or 0 for r in removed))
    left = _decided(connection, policies)
    return Collection(True, tuple(removed), left.spared, tuple(waiting), before, after, job.id)


def _policies(
    connection: Connection, name: str | None, given: Retention | Mapping[str, Retention]
) -> dict[str, Retention]:
    known = retention.names(connection) if migrations.applied(connection) else []
    found = [one for one in known if name is None or one.lower() == name.lower()]
    if name is not None and not found:
        raise NotDeployed(f"There is no deployment {name!r} in this database.", hint=choices(known, wrong=name))
    if isinstance(given, Retention):
        return dict.fromkeys(found, given)
    return {one: given[one] for one in found if one in given}


def _decided(connection: Connection, policies: Mapping[str, Retention]) -> retention.Decision:
    if not policies:
        return retention.Decision((), ())
    with atomic(connection, "the database"):  # all of it by one snapshot
        return retention.decide(connection, policies)


def _collect(
    connection: Connection, name: str, policies: Mapping[str, Retention], job: jobs.Job, why: str | None
) -> list[Removal]:
    """Decided again when nobody else works on it: each version in a transaction of its own."""
    done: list[Removal] = []
    with leases.lease(connection, name, job.id):
        found = [r for r in _decided(connection, policies).removals if r.deployment == name]
        for number in sorted({r.version for r in found}):
            parts = [r for r in found if r.version == number]
            version = next(v for v in records.versions(connection, name) if v.version == number)
            with _nobody_deploys(connection, job, parts) as these, atomic(connection, name):
                _remove(connection, version, these, policies[name], job, why)
            done += these
            said = ", ".join(r.part for r in these)
            job.log("gc", f"{name} v{number}: {said} removed", removed=[asdict(r) for r in these])
        _drop_schema(connection, name)
        if records.find_deployment(connection, name) is not None:
            writing_back.after(connection, job, name)
    return done


@contextmanager
def _nobody_deploys(connection: Connection, job: jobs.Job, parts: Sequence[Removal]) -> Iterator[list[Removal]]:
    """Without the bytes while something is being deployed: that may be the same model, which is there once.

    Each says first what it does and looks then for the other (`leases.wait_for_bytes`), so that one of them sees it.
    """
    if not any(r.part == BYTES for r in parts):
        yield list(parts)
        return
    with leases.lease(connection, leases.MODEL_BYTES, job.id):
        if holders := leases.deploying(connection):
            job.log("gc", f"model bytes are left for the next time: {', '.join(holders)} may be of the same model")
            yield [r for r in parts if r.part != BYTES]
        else:
            yield list(parts)


def _remove(
    connection: Connection,
    version: Version,
    parts: Sequence[Removal],
    policy: Retention,
    job: jobs.Job,
    why: str | None,
) -> None:
    if not parts:
        return
    name, number = version.deployment, version.version
    is_there = records.find_deployment(connection, name) is not None
    if is_there:
        records.begin_change(connection, name)
    now, who = records.now(), jobs.user()
    for removal in parts:
        if removal.part == BYTES:
            _remove_bytes(connection, version)
        else:
            _remove_rows(connection, version, removal, is_there=is_there)
        entry = Collected(name, number, removal.part, removal.what, removal.rows, removal.bytes, who, job.id, now)
        collected.record(connection, entry, policy.to_json())
    records.record_history(connection, name, "gc", who=who, job_id=job.id, why=why, from_version=number)


def _remove_rows(connection: Connection, version: Version, removal: Removal, *, is_there: bool) -> None:
    """Of a version that can be called the table stays, empty: it is what a rollback fills again, and it has its indexes."""
    path = split_name(removal.what)
    if retention.is_left_over(version, removal.part, is_there=is_there):
        connection.execute(sql.drop_object("TABLE", path))
    else:
        connection.execute(sql.render(exp.TruncateTable(expressions=[sql.table(*path)])))


def _remove_bytes(connection: Connection, version: Version) -> None:
    """With the functions, which are the model over again; deploying it again makes them again."""
    others = [
        v
        for v in retention.users(connection, version)
        if v.version != version.version or v.deployment != version.deployment
    ]
    for made in objects.recorded(connection, version.deployment, version.version):
        if made.role == "version" and made.kind in retention.FUNCTIONS:
            connection.execute(made.drop_statement)
    connection.execute(
        "UPDATE sqlml.objects SET statement = '' WHERE deployment = ? AND version = ?"
        " AND kind IN ('macro', 'table macro', 'query')",
        [version.deployment, version.version],
    )
    table, sha256 = retention.content(version)
    if not others:
        statement = {
            "models": "DELETE FROM sqlml.models WHERE sha256 = ?",
            "model_files": "DELETE FROM sqlml.model_files WHERE artifact_sha256 = ?",
        }[table]
        connection.execute(statement, [sha256])
        connection.execute("DELETE FROM sqlml.turning_points WHERE model_sha256 = ?", [sha256])


def _drop_schema(connection: Connection, name: str) -> None:
    """Of a deployment that is gone, once nothing is left in it."""
    there = connection.execute(
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name = ?", [name]
    ).fetchone()
    if there is None or records.find_deployment(connection, name) is not None:
        return
    with atomic(connection, name):
        if schema_is_empty(connection, name):
            connection.execute(sql.drop_schema(name))


def _space(connection: Connection) -> Space:
    row = connection.execute(
        "SELECT total_blocks * block_size, free_blocks * block_size FROM pragma_database_size()"
        " WHERE database_name = current_database()"
    ).fetchone()
    return Space(0, 0) if row is None else Space(int(row[0]), int(row[1]))
