"""Erasing a key from a deployment: its predictions, kept inputs, and what evidence and logs say about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import jobs, sql
from sqlml.catalog import leases, records
from sqlml.catalog.migrations import migrate
from sqlml.database import atomic, checkpoint, facts, refuse_open_transaction, require_writable
from sqlml.differences import GONE, TODO
from sqlml.errors import Conflict
from sqlml.forgetting import elsewhere, texts
from sqlml.forgetting.erased import Erased, Forgotten
from sqlml.forgetting.subject import KeyTable, refuse_no_key, subject_of, tables
from sqlml.keys import is_key, key_values
from sqlml.spelling import naming

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def forget(
    connection: Connection,
    name: str,
    key: Sequence[object] | object,
    *,
    why: str | None = None,
    listener: jobs.Listener | None = None,
) -> Forgotten:
    """Erase a key from everything that the database holds of a deployment, in one transaction.

    Predictions and kept inputs of every version that has the same key columns, `<name>.inputs` where sqlml made it,
    examples in the evidence, and lines of logs that name it; also after `undeploy`, which leaves the tables, and after a
    first deploy that failed. The source is not ours: a key that is still in it is predicted again by the next score.

    Args:
        key: A value per key column of the active version (or the last that had some), in their order; texts are read as
            the columns' types.
        why: Kept in the history; the key is not.

    Raises:
        NotDeployed: there is no such deployment, nor was there, and no job had the name.
        UsageError: another number of values than key columns, NULL, or values that no key of it can have.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    subject = subject_of(connection, name)
    values = key_values(key)
    every = [(table, table.in_order(subject.keys)) for table in tables(connection, subject)]
    fitting = [table for _, table in every if table is not None]
    refuse_no_key(connection, subject, fitting, values)
    migrate(connection)
    folder = jobs.folder_of(database)
    job = jobs.Job("forget", subject.name, folder, listener)
    named = naming(connection, [table.types for table in fitting], values)
    with jobs.running(connection, job), leases.lease(connection, subject.name, job.id):
        with atomic(connection, subject.name):
            if subject.is_there:
                records.begin_change(connection, subject.name)
            elif records.find_deployment(connection, subject.name) is not None:
                raise Conflict(f"{subject.name} was deployed in the meantime; nothing was erased. Run it again.")
            erased = [_delete(connection, table, values) for table in fitting]
            erased += [texts.evidence(connection, subject.name), texts.logs(connection, subject.name, named)]
            erased.append(texts.failures(connection, subject.name, named))
            records.record_history(connection, subject.name, "forget", who=jobs.user(), job_id=job.id, why=why)
        for temporary in (TODO, GONE):
            connection.execute(sql.drop_object("TABLE", ("temp", temporary)))
        files, running = texts.log_files(folder, job, named)
        erased.append(files)
        checkpoint(connection)  # so that the write-ahead log does not repeat what was erased
        in_source = elsewhere.in_source(connection, subject, values)
        left = (
            *elsewhere.of_source(subject, in_source),
            *elsewhere.of_another_key(subject, [table for table, same in every if same is None]),
            *elsewhere.of_others(connection, subject, values, in_source),
            *elsewhere.of_running(running),
            *elsewhere.of_copies(connection, subject, named, database.path),
        )
        done = Forgotten(subject.name, tuple(entry for entry in erased if entry.rows), left, in_source, job.id)
        job.log("forget", f"{done.rows:,} rows erased in {len(done.erased)} tables")
    return done


def _delete(connection: Connection, table: KeyTable, values: Sequence[str]) -> Erased:
    erase = exp.delete(sql.table(*table.path)).where(is_key(table.keys, table.types))
    row = connection.execute(sql.render(erase), list(values)).fetchone()
    return Erased(table.shown, int(row[0]) if row else 0, table.what)
