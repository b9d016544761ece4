"""Rows of a query are given to the model in bounded batches, and its answers become rows of a temporary table.

Nothing of a deployment is written here: who asks inserts the answers in a transaction of its own.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import jobs, sql
from sqlml.catalog import model_files
from sqlml.catalog.records import Version
from sqlml.convert.pyfunc import Form, Policy, PyfuncWorker, open_pyfunc
from sqlml.engines.pyfunc import INPUT_HASH, WHOLE, asked_names, value_name, whole_name
from sqlml.engines.surface import CAST, output_columns
from sqlml.errors import WorkerError
from sqlml.signature import Signature
from sqlml.silence import no_warnings

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection

ASKED = "sqlml asked"
ANSWERS = "sqlml answers"
GIVEN = "sqlml answers given"
ID = "sqlml id"
FIRST_ROWS, FEWEST_ROWS, MOST_ROWS = 256, 16, 16_384
LONG_S, SHORT_S = 8.0, 1.0
"""A request that took longer than the one is followed by a smaller one, shorter than the other by a larger one."""
PROGRESS_S = 5.0

Log = Callable[[str], None]


class Askers:
    """The model's process, opened when the first row is to be asked, and kept until the routine ends.

    It must be used by one thread: the process ends with the thread that started it.
    """

    def __init__(self, connection: Connection, policy: Policy, log: Log, stack: contextlib.ExitStack) -> None:
        self.policy = policy
        self._connection = connection
        self._log = log
        self._stack = stack
        self._open: dict[tuple[str, int], PyfuncWorker] = {}

    def worker(self, version: Version) -> PyfuncWorker:
        """The process that has the version's model, from the files that the database keeps.

        Raises:
            ArtifactError: the files are damaged.
            SqlmlError: as `open_pyfunc` does.
        """
        key = (version.deployment, version.version)
        if key not in self._open:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sqlml-")))
            model_files.restore(self._connection, version, folder)
            policy = replace(self.policy, model_env=version.model_env or self.policy.model_env)
            worker = self._stack.enter_context(open_pyfunc(folder, policy, log=self._log))
            contract = version.contract
            described = worker.describe({column.name: column.type for column in contract.columns})
            if described.signature.columns != contract.columns:
                raise WorkerError(
                    f"The model of {version.deployment} v{version.version} takes other columns than it did."
                )
            self._open[key] = worker
        return self._open[key]


@contextlib.contextmanager
def askers(connection: Connection, policy: Policy | None, log: Log) -> Iterator[Askers]:
    """No process yet: versions of other engines need none."""
    with contextlib.ExitStack() as stack:
        yield Askers(connection, policy or Policy(), log, stack)


@contextlib.contextmanager
def answered(
    connection: Connection,
    ask: Callable[[], PyfuncWorker],
    signature: Signature,
    query: str,
    kept: Sequence[str],
    job: jobs.Job | None = None,
) -> Iterator[str]:
    """SQL text with the kept columns of `query`, the predictions of its rows, and their `input_hash`.

    `query` is one of `asked_select`. It is run once; the answers wait in a temporary table until the block ends.
    `ask` gives the process, and is called only where there is a row to ask.
    """
    import duckdb

    try:
        # Not row ids: those of a transaction's own rows begin at 2^55.
        numbered = exp.select(exp.Star(), sql.alias(exp.Window(this=sql.call("row_number")), ID))
        connection.execute(sql.create_temporary(ASKED, sql.select_from(sql.render(numbered), query)))
        connection.execute(sql.create_temporary(ANSWERS, _no_answers(signature)))
        _answer_all(connection, ask, signature, job)
        yield _joined(signature, kept)
    finally:
        for name in (ASKED, ANSWERS):
            with contextlib.suppress(duckdb.Error):  # the transaction is aborted, and takes them with it
                connection.execute(sql.drop_object("TABLE", ("temp", name)))


def _no_answers(signature: Signature) -> str:
    columns = [(ID, "BIGINT"), *_predicted(signature)]
    nothing = exp.select(*(sql.alias(sql.null(kind), name) for name, kind in columns)).where(exp.false())
    return sql.render(nothing)


def _predicted(signature: Signature) -> tuple[tuple[str, str], ...]:
    return output_columns(signature)


def _answer_all(
    connection: Connection, ask: Callable[[], PyfuncWorker], signature: Signature, job: jobs.Job | None
) -> None:
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(ASKED)))).fetchone()
    total = int(row[0]) if row else 0
    done, size, said = 0, FIRST_ROWS, time.monotonic()
    form = Form.of(signature)
    while done < total:
        rows = _batch(connection, signature, done, size)
        askable = rows.filter(rows.column(CAST).is_null())
        began = time.monotonic()
        if askable.num_rows:
            answers = ask().ask(features(signature, askable), form)
            _insert(connection, signature, askable.column(ID), answers)
        seconds = time.monotonic() - began
        done += size
        if seconds > LONG_S:
            size = max(FEWEST_ROWS, size // 4)
        elif seconds < SHORT_S:
            size = min(MOST_ROWS, size * 2)
        if job is not None and time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            job.log("score", f"the model has answered {min(done, total):,} of {total:,} rows", asked=done, of=total)


def _batch(connection: Connection, signature: Signature, first: int, size: int) -> pa.Table:
    """Some of the rows to ask, after the first ones."""
    named = [sql.column(ID), *(sql.column(name) for name in asked_names(signature))]
    within = [
        exp.GT(this=sql.column(ID), expression=sql.integer(first)),
        exp.LTE(this=sql.column(ID), expression=sql.integer(first + size)),
    ]
    query = exp.select(*named).from_(sql.table(ASKED)).where(sql.all_of(within))
    return arrow(connection, sql.render(query))


def arrow(connection: Connection, query: str) -> pa.Table:
    # DuckDB 2 warns that execute() copies the rows once more than sql() does; but sql() refuses while a result of an earlier
    # execute() has not been read to its end.
    with no_warnings():
        return connection.execute(query).to_arrow_table()


def features(signature: Signature, rows: pa.Table) -> pa.Table:
    """What the worker is given: one column for each of the model's, integers exact where all of the batch are."""
    import pyarrow as pa

    columns = []
    for position, column in enumerate(signature.columns):
        values = rows.column(value_name(position))
        if column.type in WHOLE:
            whole = rows.column(whole_name(position))
            values = whole if whole.null_count == values.null_count else values
        elif column.type == "VARCHAR":
            values = values.cast(pa.string())  # views, if the caller has set produce_arrow_string_view
        elif column.type == "TIMESTAMP":
            values = values.cast(pa.timestamp("us"))
        elif column.type == "BLOB":
            values = values.cast(pa.binary())
        columns.append(values)
    return pa.table(columns, names=[column.name for column in signature.columns])


def _insert(connection: Connection, signature: Signature, ids: pa.ChunkedArray, answers: pa.Table) -> None:
    connection.register(GIVEN, answers.append_column(ID, ids))
    try:
        if signature.targets:
            fields = {name: sql.column(f"v{i}") for i, name in enumerate(signature.targets)}
            fine = exp.Is(this=sql.column("error"), expression=exp.Null())
            prediction = sql.case([(fine, sql.struct(fields))])
        else:
            prediction = sql.column("v0")
        query = exp.select(sql.column(ID), prediction, sql.column("error")).from_(sql.table(GIVEN))
        connection.execute(sql.insert_select((ANSWERS,), [ID, "prediction", "error"], sql.render(query)))
    finally:
        connection.unregister(GIVEN)


def _joined(signature: Signature, kept: Sequence[str]) -> str:
    """A row that could not be read was not asked: its error is why."""
    error = sql.call("coalesce", sql.column(CAST, "sqlml q"), sql.column("error", "sqlml a"))
    columns = [sql.column(name, "sqlml q") for name in kept]
    columns += [sql.column("prediction", "sqlml a"), sql.alias(error, "error"), sql.column(INPUT_HASH, "sqlml q")]
    matches = exp.EQ(this=sql.column(ID, "sqlml q"), expression=sql.column(ID, "sqlml a"))
    asked, answers = sql.named(sql.table(ASKED), "sqlml q"), sql.named(sql.table(ANSWERS), "sqlml a")
    return sql.render(exp.select(*columns).from_(asked).join(answers, on=matches, join_type="left"))
