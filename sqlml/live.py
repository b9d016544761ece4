"""Triggers that keep a prediction table current while its source is written to.

Per event a DELETE and an INSERT trigger (a MERGE cannot write to a table that has triggers itself, so chains would
break), named so that they fire in that order: DuckDB fires the triggers of one event alphabetically. NULL keys are
skipped; `verify` counts them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import jobs, objects, sql
from sqlml.catalog import records
from sqlml.catalog.records import Version
from sqlml.database import DatabaseFacts
from sqlml.errors import PolicyRefused
from sqlml.kept import KeptInputs
from sqlml.predictions import Target, hash_check, insert_predictions
from sqlml.relation import Relation
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

NEW_ROWS = "sqlml new rows"
OLD_ROWS = "sqlml old rows"

REFUSED_BY_DUCKDB = (
    "While a table is live, DuckDB refuses MERGE INTO and upserts on it, and dropping, renaming or retyping its columns;"
    " CREATE OR REPLACE TABLE drops the triggers (sqlml status notices)."
)


@dataclass(frozen=True)
class Trigger:
    name: str
    table: tuple[str, ...]
    statement: str

    @property
    def drop_statement(self) -> str:
        return sql.drop_trigger(self.name, self.table)


def why_not(
    database: DatabaseFacts, relation: Relation | None, upstream: tuple[str, str] | None, engine: str
) -> str | None:
    """Why this source cannot be live, as a sentence; None if it can."""
    if not database.has_triggers:
        return (
            "This database file has no triggers: they need DuckDB 2 and storage v2.0.0."
            " Call score instead, or deploy into a new file."
        )
    if relation is None:
        return "A deployment without a table has nothing to follow."
    if upstream is None and not relation.is_local_table:
        return (
            f"{relation.label} is a {relation.kind} or in another database, which has no triggers: call score instead."
        )
    if engine == "pyfunc":
        return (
            "A python_function is asked in a process of its own, which no trigger can start. Call score when the source"
            " has changed."
        )
    if engine == "python":
        return (
            "The python engine computes only in connections from sqlml.connect: a trigger would make every INSERT from"
            " another shell fail. Call score instead."
        )
    return None


def require(
    database: DatabaseFacts,
    relation: Relation | None,
    upstream: tuple[str, str] | None,
    engine: str,
    *,
    asked_for: bool = True,
) -> None:
    """Refuse what `why_not` names, and the native engine where nobody asked for it by name.

    Raises:
        PolicyRefused: with the reason.
    """
    reason = why_not(database, relation, upstream, engine)
    if reason is None and engine == "native" and not asked_for:
        reason = (
            "Only the native engine can compute this model, and an INSERT from a shell that has not loaded the extension"
            " would fail. Ask for it by name (--engine native) if every shell that writes here has it, or call score instead."
        )
    if reason is not None:
        raise PolicyRefused(f"This deployment cannot be live. {reason}")


def require_triggers(database: DatabaseFacts) -> None:
    """Refuse a file that cannot have triggers, which <deployment>.inputs needs.

    Raises:
        PolicyRefused: with what to do.
    """
    if not database.has_triggers:
        raise PolicyRefused(
            "A table for inputs needs triggers, and this database file has none: they come with DuckDB 2 and storage v2.0.0.",
            hint="Deploy into a new file, or name a table of yours with --table and call score.",
        )


def triggers(target: Target, scoring_id: str, upstream: tuple[str, str] | None = None) -> tuple[Trigger, ...]:
    """The triggers of a target: on its source table, or on the prediction table of the deployment that it follows.

    With `upstream` (a prediction table with the same key columns) the rows come from the target's own source, a view
    over that table, for the keys that were written.
    """
    table = upstream or target.relation.parts
    made = [
        _trigger(target, table, "insert", 1, ("NEW",), _delete(target, (NEW_ROWS,))),
        _trigger(target, table, "insert", 2, ("NEW",), _insert(target, scoring_id, upstream)),
        _trigger(target, table, "update", 1, ("OLD", "NEW"), _delete(target, (OLD_ROWS, NEW_ROWS))),
        _trigger(target, table, "update", 2, ("OLD", "NEW"), _insert(target, scoring_id, upstream)),
        _trigger(target, table, "delete", 1, ("OLD",), _delete(target, (OLD_ROWS,))),
    ]
    if target.kept is not None:
        made += _keeping(target, target.kept, table, scoring_id, upstream)
    return tuple(made)


def _keeping(
    target: Target, inputs: KeptInputs, table: tuple[str, ...], scoring_id: str, upstream: tuple[str, str] | None
) -> list[Trigger]:
    """What keeps the inputs of what was written, and which keys are gone; after the predictions."""
    keys = exp.select(*(sql.column(key) for key in target.keys))
    new, old = (keys.from_(sql.table(name)) for name in (NEW_ROWS, OLD_ROWS))
    kept = inputs.insert(target.keyed(_written(target, upstream)), scoring_id, sql.render(new), where=_keyed(target))
    left = sql.render(exp.except_(old, new.copy(), distinct=True))
    return [
        _trigger(target, table, "insert", 3, ("NEW",), kept),
        _trigger(target, table, "update", 3, ("OLD", "NEW"), inputs.insert_removed(left, scoring_id)),
        _trigger(target, table, "update", 4, ("OLD", "NEW"), kept),
        _trigger(target, table, "delete", 2, ("OLD",), inputs.insert_removed(sql.render(old), scoring_id)),
    ]


def _trigger(
    target: Target, table: tuple[str, ...], event: str, order: int, tables: Sequence[str], action: str
) -> Trigger:
    name = f"sqlml {target.deployment} {event} {order}"
    names = {"NEW": NEW_ROWS, "OLD": OLD_ROWS}
    transition = " ".join(f"{which} TABLE AS {sql.quote(names[which])}" for which in tables)
    return Trigger(name, table, sql.create_trigger(name, table, event, transition, action))


def _delete(target: Target, row_tables: Sequence[str]) -> str:
    keys = [sql.column(key) for key in target.keys]
    parts = [exp.select(*(key.copy() for key in keys)).from_(sql.table(name)) for name in row_tables]
    listed: exp.Query = parts[0]
    for part in parts[1:]:
        listed = exp.union(listed, part, distinct=False)
    return sql.delete_matching(target.table, target.keys, sql.render(listed))


def _insert(target: Target, scoring_id: str, upstream: tuple[str, str] | None) -> str:
    return insert_predictions(target, scoring_id, target.keyed(_written(target, upstream)), where=_keyed(target))


def _keyed(target: Target) -> exp.Expression:
    return sql.all_of([exp.Not(this=exp.Is(this=sql.column(key), expression=exp.Null())) for key in target.keys])


def _written(target: Target, upstream: tuple[str, str] | None) -> exp.Select:
    """The rows of the target's source for the keys that were written."""
    rows = exp.select("*").from_(sql.table(NEW_ROWS))
    if upstream is not None:
        matches = [
            exp.EQ(this=sql.column(key, "sqlml n"), expression=sql.column(key, "sqlml s")) for key in target.keys
        ]
        new = exp.select("1").from_(sql.named(sql.table(NEW_ROWS), "sqlml n")).where(sql.all_of(matches))
        source = sql.named(target.relation.node, "sqlml s")
        rows = exp.select("*").from_(source).where(exp.Exists(this=new))
    return rows


def turn_on(
    connection: Connection, version: Version, target: Target, job_id: str, upstream: tuple[str, str] | None
) -> None:
    """Make the triggers, and the scoring that their rows are stamped with; inside the caller's transaction."""
    import duckdb

    scoring_id = str(uuid.uuid4())
    records.insert(
        connection,
        "scorings",
        {
            "scoring_id": scoring_id,
            "deployment": version.deployment,
            "version": version.version,
            "kind": "live",
            "source": target.relation.name,
            "target": sql.quote_path(*target.table),
            "state": "live",
            "hash_check": hash_check(connection),
            "duckdb_version": duckdb.__version__,
            "sqlml_version": __version__,
            "who": jobs.user(),
            "job_id": job_id,
            "started_at": records.now(),
        },
    )
    for trigger in triggers(target, scoring_id, upstream):
        connection.execute(trigger.statement)


def turn_off(connection: Connection, deployment: str) -> None:
    """Drop the deployment's triggers, whatever table they hang on, and end its live scorings."""
    for trigger in existing(connection, deployment):
        connection.execute(trigger.drop_statement)
    connection.execute(
        "UPDATE sqlml.scorings SET state = 'complete', finished_at = ? WHERE deployment = ? AND state = 'live'",
        [records.now(), deployment],
    )


def existing(connection: Connection, deployment: str) -> list[Trigger]:
    """The deployment's triggers that are there."""
    import duckdb

    if int(duckdb.__version__.split(".")[0]) < 2:
        return []  # duckdb_triggers() came with 2.0
    rows = connection.execute(
        "SELECT trigger_name, schema_name, table_name, sql FROM duckdb_triggers()"
        " WHERE database_name = current_database() AND starts_with(trigger_name, ?)",
        [f"sqlml {deployment} "],
    ).fetchall()
    events = {f"sqlml {deployment} {event}" for event in (*EVENTS, *KEEPING_EVENTS)}
    return [Trigger(name, (schema, table), text) for name, schema, table, text in rows if name in events]


EVENTS = ("insert 1", "insert 2", "update 1", "update 2", "delete 1")
KEEPING_EVENTS = ("insert 3", "update 3", "update 4", "delete 2")


def expected_triggers(keep: str) -> int:
    """How many there are of a version that keeps its inputs, or does not."""
    return len(EVENTS) + (len(KEEPING_EVENTS) if keep == "inputs" else 0)


def upstream_table(connection: Connection, relation: Relation, keys: Sequence[str]) -> tuple[str, str] | None:
    """The active prediction table of the live deployment that `relation` is a view of, if its keys are the same.

    Only <deployment>.scored and <deployment>.current are known to have one row per key of that table.
    """
    if relation.kind != "view" or len(relation.parts) != 2 or relation.parts[1] not in {"scored", "current"}:
        return None
    upstream = records.find_deployment(connection, relation.parts[0])
    if upstream is None or not upstream.live or upstream.active_version is None:
        return None
    if {key.lower() for key in upstream.key_columns} != {key.lower() for key in keys}:
        return None
    return upstream.name, objects.prediction_table_name(upstream.active_version)
