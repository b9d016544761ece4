"""Erasing a key from a deployment: its predictions, kept inputs, and what evidence and logs say about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import jobs, sql
from sqlml.catalog import following, leases, records
from sqlml.catalog.migrations import migrate
from sqlml.catalog.records import Deployment, Version
from sqlml.database import atomic, checkpoint, facts, refuse_open_transaction, require_writable
from sqlml.deploy.switch import followers
from sqlml.differences import GONE, TODO
from sqlml.errors import BindingError, Conflict, NotDeployed, UsageError
from sqlml.kept import table_name as inputs_table
from sqlml.keys import is_key, key_values
from sqlml.labels.tables import table_name as labels_table
from sqlml.relation import Relation, find, table_exists
from sqlml.spelling import naming

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

ERASED = "[erased: it named a key that was forgotten]"
TOLD = re.compile(r" First: row \d+ \(.*", re.DOTALL)
"""The example at the end of what is said about parity that failed."""
EXAMPLE = ("row", "kind", "batch", "what")
"""What stays of an example in the evidence: neither values of a row nor what was predicted for it."""
COUNTS = frozenset({"seconds", "pid", "rows", "total", "batch", "batches", "bytes"})


@dataclass(frozen=True)
class Erased:
    """Rows of a table, or parts of them (`what`)."""

    table: str
    rows: int
    what: str


@dataclass(frozen=True)
class Forgotten:
    """`left` says, in sentences, where the key may be still. `in_source`: it will be predicted again by the next score;
    None where the source could not be read."""

    deployment: str
    erased: tuple[Erased, ...]
    left: tuple[str, ...]
    in_source: bool | None
    job_id: str

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.erased)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return {**asdict(self), "rows": self.rows}


def forget(
    connection: Connection,
    name: str,
    key: Sequence[object] | object,
    *,
    why: str | None = None,
    listener: jobs.Listener | None = None,
) -> Forgotten:
    """Erase a key from everything that the database holds of a deployment, in one transaction.

    Predictions and kept inputs of every version, `<name>.inputs` where sqlml made it, examples in the evidence, and lines
    of logs that name it; also after `undeploy`, which leaves the tables. The source is not ours: a key that is still in it is predicted again by the next score.

    Args:
        key: A value per key column, in their order; texts are read as the columns' types.
        why: Kept in the history; the key is not.

    Raises:
        NotDeployed: there is no such deployment, nor was there, or it stores no predictions.
        UsageError: another number of values than key columns, NULL, or values that no key of it can have.
        Conflict: another routine works on the deployment.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    deployment, is_there = _deployment(connection, name)
    values = key_values(key)
    tables = list(_tables(connection, deployment))
    _refuse_no_key(connection, deployment, tables, values)
    migrate(connection)
    folder = jobs.folder_of(database)
    job = jobs.Job("forget", deployment.name, folder, listener)
    named = naming(connection, [table.types for table in tables], values)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        with atomic(connection, deployment.name):
            if is_there:
                records.begin_change(connection, deployment.name)
            elif records.find_deployment(connection, deployment.name) is not None:
                raise Conflict(f"{deployment.name} was deployed in the meantime; nothing was erased. Run it again.")
            erased = [_delete(connection, table, values) for table in tables]
            erased += [_evidence(connection, deployment.name), _logs(connection, deployment.name, named)]
            erased.append(_failures(connection, deployment.name, named))
            records.record_history(connection, deployment.name, "forget", who=jobs.user(), job_id=job.id, why=why)
        for temporary in (TODO, GONE):
            connection.execute(sql.drop_object("TABLE", ("temp", temporary)))
        erased.append(_log_files(folder, job, named))
        checkpoint(connection)  # so that the write-ahead log does not repeat what was erased
        in_source = _in_source(connection, deployment, values)
        left = tuple(_left(connection, deployment, tables, values, in_source, is_there, named, database.path))
        done = Forgotten(deployment.name, tuple(entry for entry in erased if entry.rows), left, in_source, job.id)
        job.log("forget", f"{done.rows:,} rows erased in {len(done.erased)} tables")
    return done


def _deployment(connection: Connection, name: str) -> tuple[Deployment, bool]:
    """The deployment, and whether it is there: of one that was undeployed, what its last version says of it."""
    known = records.name_of(connection, name)
    found = records.find_deployment(connection, known)
    if found is not None:
        return found, True
    last = records.versions(connection, known)[-1]
    model = last.model_name or last.reference
    owns = last.source == sql.quote_path(known, "inputs") and table_exists(connection, (known, "inputs"))
    at = last.deployed_at
    return Deployment(known, None, model, last.source, last.key_columns, False, owns, None, 0, at, at), False


@dataclass(frozen=True)
class _Table:
    """A table of the deployment's with key columns of these types."""

    path: tuple[str, str]
    keys: tuple[str, ...]
    types: tuple[str, ...]
    what: str


def _tables(connection: Connection, deployment: Deployment) -> Iterator[_Table]:
    """Those of undeployed versions too; what sqlml made for inputs comes last, for its triggers write to the others."""
    for version in records.versions(connection, deployment.name):
        if version.prediction_table is None:
            continue
        number = version.version
        held = ((version.prediction_table, "predictions"), (inputs_table(number), "kept inputs"))
        for table, what in (*held, (labels_table(number), "labels")):
            yield from _found(connection, version, (deployment.name, table), what)
    if deployment.owns_source and deployment.source is not None:
        relation = find(connection, deployment.source)
        types = tuple(relation.types[key] for key in deployment.key_columns)
        yield _Table((relation.parts[0], relation.parts[1]), deployment.key_columns, types, "inputs")


def _found(connection: Connection, version: Version, path: tuple[str, str], what: str) -> Iterator[_Table]:
    if table_exists(connection, path):
        types = find(connection, sql.quote_path(*path)).types
        yield _Table(path, version.key_columns, tuple(types[key] for key in version.key_columns), what)


def _refuse_no_key(
    connection: Connection, deployment: Deployment, tables: Sequence[_Table], values: Sequence[str]
) -> None:
    if not tables:
        raise NotDeployed(f"{deployment.name} stores no predictions: there is nothing to forget.")
    fitting = [table for table in tables if len(table.keys) == len(values)]
    columns = ", ".join(deployment.key_columns or tables[-1].keys)
    if not fitting:
        raise UsageError(
            f"The key of {deployment.name} is {columns}, and {len(values)} values were given.",
            hint="Separate the values with commas.",
        )
    for table in fitting:
        readable = [_reads(connection, value, kind) for value, kind in zip(values, table.types, strict=True)]
        if all(readable):
            return
    kinds = ", ".join(fitting[-1].types)
    raise UsageError(f"That is no key of {deployment.name}: {columns} is {kinds}.")


def _reads(connection: Connection, value: str, kind: str) -> bool:
    query = exp.select(exp.Not(this=exp.Is(this=sql.try_cast(sql.text(value), kind), expression=exp.Null())))
    row = connection.execute(sql.render(query)).fetchone()
    return bool(row and row[0])


def _delete(connection: Connection, table: _Table, values: Sequence[str]) -> Erased:
    shown = sql.quote_path(*table.path)
    if len(table.keys) != len(values):
        return Erased(shown, 0, table.what)
    erase = exp.delete(sql.table(*table.path)).where(is_key(table.keys, table.types))
    row = connection.execute(sql.render(erase), list(values)).fetchone()
    return Erased(shown, int(row[0]) if row else 0, table.what)


def _evidence(connection: Connection, name: str) -> Erased:
    """Examples in the evidence: made of rows of the table, and nothing says of which, so that all of them go."""
    rows = connection.execute("SELECT rowid, evidence FROM sqlml.parity WHERE deployment = ?", [name]).fetchall()
    changed = 0
    for row, text in rows:
        evidence = json.loads(text)
        if _strip(evidence):
            changed += 1
            connection.execute(
                "UPDATE sqlml.parity SET evidence = ? WHERE rowid = ?",
                [json.dumps(evidence, ensure_ascii=False), row],
            )
    return Erased("sqlml.parity", changed, "examples in the evidence, whosever they are")


def _strip(evidence: dict[str, Any]) -> bool:  # Any: JSON
    """Whether there were examples with values of a row."""
    examples = evidence.get("counter_examples") or []
    if not any("input" in example for example in examples):
        return False
    evidence["counter_examples"] = [{k: v for k, v in example.items() if k in EXAMPLE} for example in examples]
    return True


def _logs(connection: Connection, name: str, named: Callable[[str], bool]) -> Erased:
    rows = connection.execute(
        "SELECT job_id, log, error FROM sqlml.jobs WHERE deployment IS NULL OR lower(deployment) = lower(?)", [name]
    ).fetchall()
    changed = 0
    for job_id, log, error in rows:
        lines = [_cleaned(line, named) for line in log]
        said = None if error is None else _said(error, named)
        if lines != log or said != error:
            changed += 1
            connection.execute("UPDATE sqlml.jobs SET log = ?, error = ? WHERE job_id = ?", [lines, said, job_id])
    return Erased("sqlml.jobs", changed, "lines of logs that name it, by chance too")


def _failures(connection: Connection, name: str, named: Callable[[str], bool]) -> Erased:
    """Why attempts failed, in words that may be about rows."""
    changed = 0
    for version in records.versions(connection, name):
        said = None if version.failure is None else _said(version.failure, named)
        if said != version.failure:
            changed += 1
            connection.execute(
                "UPDATE sqlml.versions SET failure = ? WHERE deployment = ? AND version = ?",
                [said, name, version.version],
            )
    for row in following.rows(connection):
        said = None if row.problem is None else _said(row.problem, named)
        if row.deployment == name and said != row.problem:
            changed += 1
            following.write(connection, replace(row, problem=said))
    return Erased("sqlml.versions", changed, "what is said of rows where attempts failed")


def _said(text: str, named: Callable[[str], bool]) -> str:
    return ERASED if named(text) else TOLD.sub(" [The example was erased.]", text)


def _cleaned(line: str, named: Callable[[str], bool]) -> str:
    """A line of a log without the key, and without examples of rows."""
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError:  # half written by a process that was killed
        return ERASED if named(line) else line
    details = parsed.get("details", {})
    evidence = details.get("evidence")
    message = str(parsed.get("message", ""))
    stripped = isinstance(evidence, dict) and _strip(evidence)
    if TOLD.search(message):
        parsed["message"], stripped = _said(message, named), True
    texts = [message, *_leaves({k: v for k, v in details.items() if k not in COUNTS})]
    if named(" ".join(texts)):
        parsed["message"] = ERASED
        parsed["details"] = {k: v for k, v in details.items() if k in COUNTS or k == "state"}
        stripped = True
    return json.dumps(parsed, ensure_ascii=False, default=str) if stripped else line


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield str(name)
            yield from _leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield str(value)


def _log_files(folder: Path, own: jobs.Job, named: Callable[[str], bool]) -> Erased:
    """Logs of jobs that were killed stay files; those of jobs that run now are left alone."""
    changed = 0
    for path in sorted(folder.glob("*.jsonl")):
        if path == own.path or jobs.is_running(path):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        cleaned = [_cleaned(line, named) for line in lines]
        if cleaned != lines:
            changed += 1
            beside = path.with_suffix(".cleaned")
            beside.write_text("".join(f"{line}\n" for line in cleaned), encoding="utf-8")
            os.replace(beside, path)
    return Erased(f"{folder.name}/*.jsonl", changed, "log files of jobs that were killed")


def _in_source(connection: Connection, deployment: Deployment, values: Sequence[str]) -> bool | None:
    import duckdb

    if deployment.source is None or len(deployment.key_columns) != len(values):
        return None
    try:
        relation: Relation = find(connection, deployment.source)
        types = [relation.types[key] for key in deployment.key_columns]
        query = exp.select("1").from_(relation.node).where(is_key(deployment.key_columns, types)).limit(1)
        return connection.execute(sql.render(query), list(values)).fetchone() is not None
    except (BindingError, KeyError, duckdb.Error):  # gone, changed, or a view that fails
        return None


def _left(
    connection: Connection,
    deployment: Deployment,
    tables: Sequence[_Table],
    values: Sequence[str],
    in_source: bool | None,
    is_there: bool,
    named: Callable[[str], bool],
    path: str | None,
) -> Iterator[str]:
    source = deployment.source
    if in_source and not is_there:
        yield f"{source} has the key still."
    elif in_source:
        yield f"{source} has the key still, and the next score predicts it again: delete it there first."
    elif in_source is None and source is not None:
        yield f"{source} could not be read: if the key is still in it, the next score predicts it again."
    for table in tables:
        if len(table.keys) != len(values):
            yield f"{sql.quote_path(*table.path)} has another key ({', '.join(table.keys)}): forget that one too."
    others = [
        d.name
        for d in records.deployments(connection)
        if d.name != deployment.name and source is not None and d.source == source
    ]
    others += [d.name for d in followers(connection, deployment.name)]
    for other in dict.fromkeys(others):
        yield f"{other} predicts from the same rows: sqlml forget {other} with its own key."
    elsewhere = connection.execute(
        "SELECT DISTINCT target FROM sqlml.scorings WHERE deployment = ? AND kind = 'external' ORDER BY ALL",
        [deployment.name],
    ).fetchall()
    if elsewhere:
        yield f"Rows were scored to {', '.join(target for (target,) in elsewhere)}: sqlml does not look there."
    reasons = connection.execute("SELECT why FROM sqlml.history WHERE deployment = ?", [deployment.name]).fetchall()
    if any(text is not None and named(text) for (text,) in reasons):
        yield "A reason in sqlml.history.why seems to name it: that is a person's own words."
    yield "Published copies and backups made before have it still."
    if path is not None:
        yield (
            f"DuckDB leaves deleted bytes in {Path(path).name} until it writes over them. A copy has only what is there:"
            " sqlml publish COPY.duckdb, and put it in the place of the file (sqlml live NAME on hangs triggers again)."
        )
