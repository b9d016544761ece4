"""Making a planned, shadow or retired version the active one: functions, views, triggers and records in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlml import jobs, live, marking, names, objects
from sqlml.catalog import records, states
from sqlml.catalog.records import Deployment, Version
from sqlml.database import facts
from sqlml.predictions import target_of
from sqlml.relation import split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def switch(
    connection: Connection,
    deployment: Deployment,
    version: Version,
    *,
    action: str,
    job_id: str,
    why: str | None,
    live_wanted: bool,
) -> None:
    """`predict`, `current` and `scored` change over together.

    Everything is what was recorded when the version was staged, so neither the model nor its converter is needed.
    """
    before = states.activate(connection, deployment.name, version.version)
    # Triggers depend on the views and functions that are about to be replaced: this deployment's, and those of live
    # deployments that follow it, which hang on its prediction table and that is another one afterwards.
    following = [follower for follower in followers(connection, deployment.name) if follower.live]
    for name in (deployment.name, *(follower.name for follower in following)):
        live.turn_off(connection, name)
    marking.refresh(connection, deployment.name, version.version)
    wanted = _active_objects(connection, deployment.name, version.version)
    function = next(((o.schema, o.name) for o in wanted if o.schema != deployment.name), None)
    if function is not None:  # it was free when the version was staged, which may be long ago
        names.refuse_taken_function(connection, function, deployment.function_name)
    kept = {(o.kind, o.schema.lower(), o.name.lower()) for o in wanted}
    if before is not None:
        for old in _active_objects(connection, deployment.name, before):
            if (old.kind, old.schema.lower(), old.name.lower()) not in kept:
                connection.execute(old.drop_statement)
    for wanted_object in wanted:
        connection.execute(wanted_object.statement)
    connection.execute(
        "UPDATE sqlml.deployments SET model = ?, source = ?, key_columns = ?, live = ?, function_name = ? WHERE name = ?",
        [
            version.model_name or version.reference,
            version.source,
            list(version.key_columns),
            live_wanted,
            None if function is None else list(function),
            deployment.name,
        ],
    )
    records.record_history(
        connection,
        deployment.name,
        action,
        who=jobs.user(),
        job_id=job_id,
        why=why,
        from_version=before,
        to_version=version.version,
    )
    if live_wanted:
        hang_triggers(connection, version, job_id)
    for follower in following:
        hang_triggers(connection, records.active(connection, follower), job_id)


def _active_objects(connection: Connection, name: str, version: int) -> list[objects.DatabaseObject]:
    return [o for o in objects.recorded(connection, name, version) if o.role == "active"]


def hang_triggers(connection: Connection, version: Version, job_id: str) -> None:
    target = target_of(connection, version)
    upstream = live.upstream_table(connection, target.relation, version.key_columns)
    live.turn_on(connection, version, target, job_id, upstream)


def can_be_live(connection: Connection, version: Version) -> bool:
    """Whether triggers can keep this version's predictions current once it is active."""
    if version.source is None:
        return False
    relation = target_of(connection, version).relation
    upstream = live.upstream_table(connection, relation, version.key_columns)
    owns = records.deployment(connection, version.deployment).owns_source
    return owns or live.why_not(facts(connection), relation, upstream, version.engine) is None


def followers(connection: Connection, upstream: str) -> list[Deployment]:
    """Deployments whose source is a view or table in the schema of `upstream`."""
    return [
        deployment
        for deployment in records.deployments(connection)
        if deployment.source is not None
        and deployment.active_version is not None
        and deployment.name != upstream
        and split_name(deployment.source)[:-1] == [upstream]
    ]
