"""Scoring rows from anywhere DuckDB reads to anywhere it writes, with the same row stamp and a row in sqlml.scorings."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from sqlml import jobs, objects, openlineage, placing, pyfunc, sql
from sqlml.binding import bind
from sqlml.catalog import leases, records
from sqlml.catalog.records import Version
from sqlml.connecting import prepare_connection
from sqlml.convert.pyfunc import Policy
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable, translated
from sqlml.engines.pyfunc import asked_names, value_name
from sqlml.engines.surface import output_columns
from sqlml.errors import BindingError, UsageError
from sqlml.kept import typed_value
from sqlml.predictions import hash_check
from sqlml.relation import Relation, check_keys, count, find, find_or_file, resolve_columns, schema_exists, split_name
from sqlml.scoring import Scored, summary
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

FORMATS = {".parquet": "PARQUET", ".csv": "CSV", ".json": "JSON", ".jsonl": "JSON"}


def score_to(
    connection: Connection,
    name: str,
    source: str,
    target: str,
    *,
    key: Sequence[str],
    where: str | None = None,
    partition_by: Sequence[str] = (),
    policy: Policy | None = None,
    listener: jobs.Listener | None = None,
) -> Scored:
    """Score `source` (a table, view or path) with the active version into `target` (a new table, a file, or a folder).

    The result has the key columns, the predictions, `error`, `input_hash`, `scoring_id`, `scored_at` and
    `deployment_version`; of a deployment that keeps its inputs also these, each as `input_<column>`. `where` is SQL, run with the caller's rights. A target is complete or not there. `policy` says
    how the process of a python_function may run.

    Raises:
        BindingError: the source does not fit the model.
        KeyRefused: keys are NULL or repeated.
        UsageError: the target is there already, or its kind cannot be told.
    """
    refuse_open_transaction(connection)
    database = facts(connection)
    require_writable(database)
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    version = records.active(connection, deployment)
    relation = find_or_file(connection, source)
    keys = resolve_columns(relation, key, "key")
    bound = bind(version.contract, relation)
    _refuse_own_source(relation, target)
    rows = _rows(relation, [*keys, *(b.source for b in bound)], where, partition_by)
    job = jobs.Job("score", deployment.name, jobs.folder_of(database), listener)
    with jobs.running(connection, job), leases.lease(connection, deployment.name, job.id):
        began = time.monotonic()
        total = count(connection, relation)
        scoring_id = str(uuid.uuid4())
        openlineage.scoring_started(connection, job, version, scoring_id, relation, total, target)
        condition = rows.args.get("where")
        with translated("--where" if where is not None else relation.label):
            check_keys(connection, relation, keys, total, None if condition is None else condition.this)
        job.log("score", f"{total:,} rows of {relation.label} -> {target}")
        _record(connection, version, relation, target, scoring_id, job)
        kept = [*keys, *(p for p in partition_by if p.lower() not in {k.lower() for k in keys})]
        with (
            _nothing_left(connection, version, target, scoring_id),
            translated(target),
            _answers(connection, version, rows, kept, policy, job) as answers,
        ):
            query = _stamped(version, answers, kept, scoring_id)
            written, failed = _write(connection, version, query, target, partition_by)
        with atomic(connection, deployment.name):
            records.begin_change(connection, deployment.name)
            connection.execute(
                "UPDATE sqlml.scorings SET state = 'complete', rows_scored = ?, rows_failed = ?, finished_at = ?"
                " WHERE scoring_id = ?",
                [written, failed, records.now(), scoring_id],
            )
        scored = Scored(
            scoring_id,
            deployment.name,
            version.version,
            "external",
            relation.label,
            target,
            written,
            failed,
            0,
            0,
            round(time.monotonic() - began, 3),
        )
        job.log("score", summary(scored), **scored.to_dict())
        openlineage.scoring_completed(scored)
        return scored


def _refuse_own_source(relation: Relation, target: str) -> None:
    """A file that is read would be replaced by its predictions, and its columns be gone."""
    if relation.kind != "file" or "://" in target or not os.path.exists(target):
        return
    read = glob.glob(relation.parts[0], recursive=True)
    if any(os.path.samefile(path, target) for path in read if os.path.exists(path)):
        raise UsageError(
            f"{target} is read by --from, and would be replaced by its predictions.",
            hint="Name another file with --to.",
        )


def _rows(relation: Relation, columns: Sequence[str], where: str | None, partition_by: Sequence[str]) -> exp.Select:
    named = dict.fromkeys([*columns, *resolve_columns(relation, partition_by, "partition column")])
    rows = exp.select(*(sql.column(name) for name in named)).from_(relation.node)
    if where is None:
        return rows
    if not where.strip():
        raise UsageError("--where is empty.", hint="Leave it out to score all rows.")
    try:
        parsed = sqlglot.parse_one(f"SELECT 1 WHERE {where}", dialect=sql.DIALECT)
    except sqlglot.errors.ParseError as error:
        raise UsageError(f"--where {where!r} is not an SQL condition: {error.errors[0]['description']}.") from error
    condition = parsed.args.get("where")
    if (
        not isinstance(parsed, exp.Select)
        or condition is None
        or {k for k, v in parsed.args.items() if v} - {"expressions", "where"}
    ):
        raise UsageError(f"--where {where!r} is more than one SQL condition.")
    return rows.where(condition.this)


@contextlib.contextmanager
def _answers(
    connection: Connection,
    version: Version,
    rows: exp.Select,
    kept: Sequence[str],
    policy: Policy | None,
    job: jobs.Job,
) -> Iterator[str]:
    """SQL text with the kept columns of the rows, their predictions and `input_hash`."""
    recorded = objects.recorded_queries(connection, version.deployment, version.version)["rows"]
    found = sql.with_source(objects.SOURCE, sql.render(rows), recorded)
    columns: list[exp.Expression] = [sql.alias(sql.field(sql.column(objects.ROW), name), name) for name in kept]
    keeps_inputs = version.keeps == "inputs"
    if version.engine != "pyfunc":
        columns += [sql.column(name) for name, _ in output_columns(version.contract)]
        columns.append(sql.column("input_hash"))
        if keeps_inputs:
            columns += [sql.column(value_name(position)) for position, _ in enumerate(version.contract.columns)]
        yield sql.select_from(sql.render(exp.select(*columns)), found)
        return
    everything = sql.render(exp.select(exp.Star(except_=[sql.identifier(objects.ROW)]), *columns))
    with (
        pyfunc.askers(connection, policy, partial(job.log, "score")) as askers,
        pyfunc.answered(
            connection,
            lambda: askers.worker(version),
            version.contract,
            sql.select_from(everything, found),
            [*kept, *(asked_names(version.contract) if keeps_inputs else ())],
            job,
        ) as answers,
    ):
        yield answers


def _stamped(version: Version, answers: str, kept: Sequence[str], scoring_id: str) -> str:
    columns = [sql.column(name) for name in kept]
    columns += [sql.column(name) for name, _ in output_columns(version.contract)]
    if version.keeps == "inputs":
        asked = version.engine == "pyfunc"
        features = [typed_value(i, c, is_asked=asked) for i, c in enumerate(version.contract.columns)]
        columns += [
            sql.alias(value, f"input_{c.name}") for value, c in zip(features, version.contract.columns, strict=True)
        ]
    columns += [
        sql.column("input_hash"),
        sql.alias(sql.cast(sql.text(scoring_id), "UUID"), "scoring_id"),
        sql.alias(sql.UTC_NOW.copy(), "scored_at"),
        sql.alias(sql.cast(sql.integer(version.version), "INTEGER"), "deployment_version"),
    ]
    return sql.select_from(sql.render(exp.select(*columns)), answers)


def _record(
    connection: Connection, version: Version, relation: Relation, target: str, scoring_id: str, job: jobs.Job
) -> None:
    import duckdb

    with atomic(connection, version.deployment):
        records.begin_change(connection, version.deployment)
        records.insert(
            connection,
            "scorings",
            {
                "scoring_id": scoring_id,
                "deployment": version.deployment,
                "version": version.version,
                "kind": "external",
                "source": relation.name,
                "target": target,
                "state": "running",
                "hash_check": hash_check(connection),
                "duckdb_version": duckdb.__version__,
                "sqlml_version": __version__,
                "who": jobs.user(),
                "job_id": job.id,
                "started_at": records.now(),
            },
        )


@contextlib.contextmanager
def _nothing_left(connection: Connection, version: Version, target: str, scoring_id: str) -> Iterator[None]:
    """Of a scoring that could not be written its record goes too: it says that rows are there, which keep the model's
    bytes from gc. An object store may have a part of them."""
    try:
        yield
    except BaseException:
        if "://" not in target:
            with contextlib.suppress(Exception), atomic(connection, version.deployment):  # what was raised is said
                records.begin_change(connection, version.deployment)
                connection.execute("DELETE FROM sqlml.scorings WHERE scoring_id = ?", [scoring_id])
        raise


def _write(
    connection: Connection, version: Version, query: str, target: str, partition_by: Sequence[str]
) -> tuple[int, int]:
    suffix = Path(target).suffix.lower()
    is_path = suffix in FORMATS or partition_by or "/" in target or target.endswith(os.sep)
    if not is_path:
        return _to_table(connection, version, query, target)
    if "://" in target:  # an object store shows an object only when it is complete
        connection.execute(sql.copy_to(query, target, FORMATS.get(suffix, "PARQUET"), partition_by))
        return _counts(connection, sql.read_path(_pattern(target, partition_by)))
    return _to_path(connection, query, Path(target), FORMATS.get(suffix, "PARQUET"), partition_by)


def _to_table(connection: Connection, version: Version, query: str, target: str) -> tuple[int, int]:
    parts = split_name(target)
    schema = parts[-2] if len(parts) > 1 else "main"
    if len(parts) < 3 and not schema_exists(connection, schema):
        raise UsageError(
            f"{target!r} is neither a table of an existing schema nor a file of a known kind.",
            hint=f"Files end in {', '.join(FORMATS)}; a folder is named with a slash at its end, or with --partition-by.",
        )
    try:
        taken = find(connection, target)
    except BindingError:
        taken = None
    if taken is not None:
        raise UsageError(f"There is a {taken.kind} {target!r} already.", hint="Name a new table with --to.")
    with atomic(connection, version.deployment):
        records.begin_change(connection, version.deployment)
        connection.execute(sql.create_table_as(parts, query))
        return _counts(connection, sql.render(exp.select("*").from_(sql.table(*parts))))


def _to_path(
    connection: Connection, query: str, target: Path, file_format: str, partition_by: Sequence[str]
) -> tuple[int, int]:
    """Written beside the target under another name and renamed when complete."""
    if target.exists() and (target.is_dir() or partition_by):
        raise UsageError(f"{target} is there already.", hint="Name a new folder with --to; a file would be replaced.")
    # The suffix stays last: DuckDB reads the file back by it.
    placing.check_folder(target)
    beside = placing.new_name(target)
    beside = beside.with_name(beside.name + target.suffix)
    placing.remove_leftovers(target)
    is_folder = bool(partition_by) or not target.suffix
    try:
        if is_folder and not partition_by:
            beside.mkdir()
        place = beside / "part-0.parquet" if is_folder and not partition_by else beside
        connection.execute(sql.copy_to(query, str(place), file_format, partition_by))
        counts = _counts(
            connection, sql.read_path(_pattern(str(beside), partition_by or (("x",) if is_folder else ()), file_format))
        )
        os.replace(beside, target)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        beside.unlink(missing_ok=True)
    return counts


def _pattern(target: str, partition_by: Sequence[str], file_format: str = "PARQUET") -> str:
    return f"{target}/**/*.{file_format.lower()}" if partition_by else target


def _counts(connection: Connection, query: str) -> tuple[int, int]:
    row = connection.execute(sql.select_from('SELECT count(*), count("error")', query)).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
