"""The evidence for a model that is asked and not converted: no second implementation exists to compare it with.

So what is checked is what a prediction table relies on: that a row's answer depends on that row alone, that it is the same
the next time, and that what is stored is what the model said.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import objects, sql
from sqlml.catalog.records import Version
from sqlml.convert.pyfunc import Described, Examined, PyfuncWorker
from sqlml.engines.pyfunc import asked_select
from sqlml.engines.surface import CAST
from sqlml.errors import EngineUnavailable, UnsupportedModel
from sqlml.parity import Evidence
from sqlml.pyfunc.answering import answered, arrow, features
from sqlml.signature import Signature

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection

EXAMPLE, QUESTIONS, NUMBER = "sqlml example", "sqlml questions", "sqlml number"
SECONDS = 20.0
"""About how long the model is asked before it is deployed."""
MOST_UNSTABLE = 0.01
"""The share of rows on which a model may contradict itself; past it, stored predictions would mean nothing."""
COLUMNS_MISSING = 50
"""For up to so many columns a row is asked in which this one is NULL."""
ASK_IT = "Or fill a prediction table without any SQL function: --engine pyfunc asks the model itself, in an isolated process."
CONTRADICTS = "the model contradicts itself"
STORED_OTHERWISE = "what is stored is not what the model says"
LIBRARIES = ("duckdb", "pyarrow", "sqlglot")


@dataclass(frozen=True)
class Questions:
    """Rows as the model is asked, where each comes from, and what it says of those that there was time for."""

    rows: pa.Table
    kinds: tuple[str, ...]
    examined: Examined
    origin: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Asked(Evidence):
    """Evidence that comes from asking the model several times; the counts mean what they do elsewhere."""

    unstable: Mapping[str, int] = field(default_factory=dict)
    """Rows on which the model contradicts itself, by when it did."""
    errors: int = 0
    """Rows for which the model raises or gives nothing: they have an error instead of a prediction."""

    def summary(self) -> str:
        said = f"{self.rows:,} rows were asked twice, in another order, in smaller tables and {self.alone_checked:,} of them alone"
        if self.failed:
            wrong = "; ".join(f"{count:,} rows: {what}" for what, count in self.failed.items())
            when = "".join(f" {count:,} when {what}." for what, count in self.unstable.items())
            return f"{said}: {wrong}.{when}"
        aside = "".join(f" {count:,} set aside: {what}." for what, count in self.set_aside.items())
        failing = f" For {self.errors:,} of them the model has an error and no answer." if self.errors else ""
        return (
            f"There is no second implementation of a python_function to compare with. {said}: the same answers within"
            f" {self.tolerance:g}, and what is stored is what the model says.{failing}{aside}"
        )


def ask(
    connection: Connection, worker: PyfuncWorker, described: Described, sample: str, *, thorough: bool = True
) -> Questions:
    """Ask the model about rows of `sample` (a query over the table), of its input example, and with missing values.

    Raises:
        UnsupportedModel: there is no row to ask, or the model has no answer that a table can hold.
    """
    signature = described.signature
    started = time.perf_counter()
    parts: list[tuple[str, pa.Table]] = []
    if described.example is not None:
        connection.register(EXAMPLE, described.example)
        try:
            parts.append(("example", _readable(connection, signature, sql.read_path(EXAMPLE))))
        finally:
            connection.unregister(EXAMPLE)
    parts.append(("table", _readable(connection, signature, sample)))
    parts = [(kind, rows) for kind, rows in parts if rows.num_rows]
    if not parts:
        raise UnsupportedModel(
            "There is no row to ask the model about: the table is empty, and no input example was logged with it.",
            hint="Log the model with input_example=, or fill the table first.",
        )
    parts.append(("missing values", _with_missing(parts[-1][1])))
    rows = _together([rows for _, rows in parts])
    kinds = tuple(kind for kind, part in parts for _ in range(part.num_rows))
    examined = worker.examine(rows, seconds=SECONDS if thorough else SECONDS / 4)
    return Questions(rows, kinds, examined, worker.origin, time.perf_counter() - started)


def notes(described: Described) -> list[str]:
    """What a person should know about how the model is asked."""
    found = []
    if described.signature.origin == "table":
        found.append("The model has no signature: it is given every column of the table but the key.")
    if described.signature.origin == "model":
        found.append("The model has no signature: it is given the columns of its input example.")
    if described.parameters:
        shown = ", ".join(f"{name} = {value}" for name, value in described.parameters.items())
        found.append(f"The model is asked with its parameters' defaults: {shown}.")
    return found


@contextlib.contextmanager
def named_as_way_out(flavors: Mapping[str, object]) -> Iterator[None]:
    """A model that cannot become SQL can still be asked: its refusal says so, where MLflow knows how."""
    try:
        yield
    except EngineUnavailable:  # it did become what another engine computes
        raise
    except UnsupportedModel as error:
        if "python_function" in flavors:
            error.hint = f"{error.hint} {ASK_IT}" if error.hint else ASK_IT
        raise


def _readable(connection: Connection, signature: Signature, rows: str) -> pa.Table:
    """Rows as the model is asked; those with a value that cannot be read are left out."""
    query = sql.with_source(objects.SOURCE, rows, sql.render(asked_select(signature, sql.table(objects.SOURCE))))
    found = arrow(connection, query)
    return features(signature, found.filter(found.column(CAST).is_null()))


def _with_missing(rows: pa.Table) -> pa.Table:
    """The first row again, with each column missing in turn, and with all of them."""
    import pyarrow as pa

    first = rows.slice(0, 1)
    made = []
    for position in range(min(rows.num_columns, COLUMNS_MISSING)):
        missing = pa.nulls(1, first.schema.field(position).type)
        made.append(first.set_column(position, first.schema.field(position), missing))
    if rows.num_columns > 1:
        made.append(pa.table([pa.nulls(1, one.type) for one in first.schema], schema=first.schema))
    return pa.concat_tables(made)


def _together(tables: list[pa.Table]) -> pa.Table:
    """One table; a column of integers that one of them has as numbers is of numbers."""
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def check(
    connection: Connection, version: Version, questions: Questions, ask_worker: Callable[[], PyfuncWorker]
) -> Asked:
    """Store the same rows the way a scoring does, shuffled and by the process that scores, and compare.

    Uses temporary tables of the connection, and works inside its transaction.
    """
    started = time.perf_counter()
    examined = questions.examined
    stored = _stored(connection, version, questions, ask_worker)
    unstable = list(examined.unstable)
    outcomes: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {}
    when: Counter[str] = Counter()
    examples: list[dict[str, Any]] = []
    largest, errors = 0.0, 0
    answers = _rows(examined.answers)
    for position, (row, said) in enumerate(zip(examined.rows, answers, strict=True)):
        distance = apart(said, stored[row])
        errors += said[-1] is not None
        if unstable[position] is not None:
            outcome = "contradicts itself"
            when[str(unstable[position]).partition(":")[0]] += 1
        elif distance <= examined.tolerance:
            outcome = "agrees" if said[-1] is None else "raises"
            largest = max(largest, distance)
        else:
            outcome = STORED_OTHERWISE
        if outcome in ("contradicts itself", STORED_OTHERWISE) and len(examples) < 5:
            given = {name: str(value) for name, value in questions.rows.slice(row, 1).to_pylist()[0].items()}
            examples.append({"row": row, "kind": questions.kinds[row], "what": unstable[position] or outcome, "input": given,
                             "expected": [str(value) for value in said], "got": [str(value) for value in stored[row]]})  # fmt: skip
        outcomes[outcome] += 1
        kind = (
            "compared" if outcome in ("agrees", "raises") else "wrong" if outcome == STORED_OTHERWISE else "set aside"
        )
        by_kind.setdefault(questions.kinds[row], Counter())[kind] += 1
    asked = len(examined.rows)
    contradicting, wrong = outcomes["contradicts itself"], outcomes[STORED_OTHERWISE]
    is_common = contradicting > MOST_UNSTABLE * asked
    failed = {CONTRADICTS: contradicting} if is_common else {}
    return Asked(
        rows=asked,
        compared=outcomes["agrees"] + outcomes["raises"],
        set_aside={CONTRADICTS: contradicting} if contradicting and not is_common else {},
        failed=failed | ({STORED_OTHERWISE: wrong} if wrong else {}),
        outcomes=dict(outcomes),
        by_kind={kind: dict(counts) for kind, counts in by_kind.items()},
        largest_difference=largest,
        largest=(),
        counter_examples=tuple(examples),
        batches=({"what": "asked twice, shuffled, in halves and alone", "rows": asked, "batches": 5},),
        tolerance=examined.tolerance,
        alone_checked=examined.alone,
        versions=dict(questions.origin)
        | {name: version_of(name) for name in LIBRARIES}
        | {"python": platform.python_version()},
        seconds_original=round(questions.seconds, 3),
        seconds_sql=round(time.perf_counter() - started, 3),
        unstable=dict(when),
        errors=errors,
    )


def _stored(
    connection: Connection, version: Version, questions: Questions, ask_worker: Callable[[], PyfuncWorker]
) -> dict[int, tuple[Any, ...]]:
    """What a scoring would store for the rows that were examined, by their position."""
    import numpy as np
    import pyarrow as pa

    signature = version.contract
    order = np.random.default_rng(2).permutation(np.array(questions.examined.rows, dtype=np.int64))
    shuffled = questions.rows.take(pa.array(order))
    recorded = objects.recorded_queries(connection, version.deployment, version.version)["rows"]
    connection.register(QUESTIONS, shuffled.append_column(NUMBER, pa.array(order)))
    try:
        rows = sql.with_source(objects.SOURCE, sql.render(exp.select("*").from_(sql.table(QUESTIONS))), recorded)
        number = sql.alias(sql.field(sql.column(objects.ROW), NUMBER), NUMBER)
        query = sql.select_from(sql.render(exp.select(exp.Star(), number)), rows)
        with answered(connection, ask_worker, signature, query, [NUMBER]) as found:
            table = arrow(connection, found)
    finally:
        connection.unregister(QUESTIONS)
    found_rows = unpacked(signature, table.column("prediction"), table.column("error"))
    return dict(zip(table.column(NUMBER).to_pylist(), found_rows, strict=True))


def unpacked(signature: Signature, predictions: pa.ChunkedArray, errors: pa.ChunkedArray) -> list[tuple[Any, ...]]:
    """Per row its values, a STRUCT's one by one, and its error."""
    values: list[tuple[Any, ...]] = [(value,) for value in predictions.to_pylist()]
    if signature.targets:
        values = [tuple((one or {}).get(name) for name in signature.targets) for (one,) in values]
    return [(*value, error) for value, error in zip(values, errors.to_pylist(), strict=True)]


def _rows(answers: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(answers.column(name).to_pylist() for name in answers.column_names), strict=True))


def apart(said: tuple[Any, ...], stored: tuple[Any, ...]) -> float:
    """How far two rows are from each other, as gates measure it; infinity where they are not comparable.

    The texts of errors may hold a row's position, so that there is one is what is compared.
    """
    if (said[-1] is None) != (stored[-1] is None):
        return float("inf")
    return max((_distance(a, b) for a, b in zip(said[:-1], stored[:-1], strict=True)), default=0.0)


def _distance(a: Any, b: Any) -> float:
    if a == b or (a != a and b != b):
        return 0.0
    if isinstance(a, float) and isinstance(b, float) and abs(a) != float("inf") and abs(b) != float("inf"):
        return abs(a - b) / max(1.0, abs(a), abs(b))
    return float("inf")
