"""The deployed functions are called as anybody would: by name, over tables of many sizes, rows known by an id."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import sql
from sqlml.engines.surface import class_fields
from sqlml.parity.comparison import Answers, label_codes
from sqlml.parity.rows import HostileRows
from sqlml.signature import Signature
from sqlml.silence import no_warnings

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection

ID = "sqlml row"
TABLE = "sqlml parity"
ARROW = "sqlml parity arrow"
ROW = "sqlml t"

LARGEST_SIZE = 5000
WHOLE_SIZES = (2047, 2048, 2049)
SMALL_SIZES = (1, 2)
STREAMED_ROWS = 64
"""Rows that arrive one and two at a time within one query; each is a call of its own for an Arrow function."""


@dataclass(frozen=True)
class Functions:
    """The macros of one deployment version, each as (schema, name)."""

    predict: tuple[str, str]
    error: tuple[str, str]
    predict_proba: tuple[str, str] | None = None
    probability: tuple[str, str] | None = None
    predict_values: tuple[str, str] | None = None


@dataclass(frozen=True)
class Batch:
    """Rows asked about in one query. `by_values` calls the function that takes features as arguments."""

    what: str
    size: int
    ids: tuple[int, ...]
    streamed: bool = False
    reordered: bool = False
    by_values: bool = False
    every_function: bool = False
    """`probability` too, which says once more what `predict_proba` says and costs as much."""


def functions(schema: str, signature: Signature, suffix: str = "") -> Functions:
    """The names that `engines.surface.macros` gives with the same suffix."""
    binary = signature.probabilities and signature.is_binary
    return Functions(
        predict=(schema, "predict" + suffix),
        error=(schema, "error" + suffix),
        predict_proba=(schema, "predict_proba" + suffix) if signature.probabilities else None,
        probability=(schema, "probability" + suffix) if binary else None,
        predict_values=(schema, "predict_values" + suffix),
    )


def batches(rows: int, seed: int) -> Iterator[Batch]:
    """Every row in a table of 5000; some shuffled, in tables of each other size, alone and by arguments.

    Each batch is a query, and a query over a large model takes DuckDB longer to plan than to run: hence as few as show
    all that is to be shown.
    """
    rng = random.Random(seed)
    for number, start in enumerate(range(0, rows, LARGEST_SIZE)):
        # The first one is full, whatever there is to fill it with; the last one only as long as it has to be.
        size = LARGEST_SIZE if number == 0 else min(LARGEST_SIZE, rows - start)
        ids = tuple((start + i) % rows for i in range(size))
        yield Batch(f"table of {size} rows, number {number + 1}", size, ids, every_function=number == 0)
    some = rng.sample(range(rows), rows)
    shuffled = tuple((some * -(-LARGEST_SIZE // rows))[:LARGEST_SIZE])
    yield Batch("shuffled, columns in another order", LARGEST_SIZE, shuffled, reordered=True)
    for size in WHOLE_SIZES:
        start = rng.randrange(rows)
        yield Batch(f"table of {size} rows", size, tuple((start + i) % rows for i in range(size)))
    yield Batch("features as arguments", 2048, tuple((some * -(-2048 // rows))[:2048]), by_values=True)
    for size in SMALL_SIZES:
        yield Batch(f"streamed by {size}", size, tuple(some[:STREAMED_ROWS]), streamed=True, every_function=True)
        yield Batch(f"table of {size} rows", size, tuple((some * 2)[-size:]))


def ask_functions(
    connection: Connection, signature: Signature, functions: Functions, rows: HostileRows, batch: Batch
) -> Answers:
    """What the functions say about the rows of one batch."""
    import duckdb
    import pyarrow as pa

    table = rows.features.take(list(batch.ids))
    table = table.append_column(ID, pa.array(batch.ids, pa.int64()))
    if batch.reordered:
        names = [*reversed(table.column_names)]
        table = table.select(names)
    if batch.streamed:
        table = pa.Table.from_batches(table.combine_chunks().to_batches(max_chunksize=batch.size))
    connection.register(ARROW, table)
    try:
        answered = _asked(connection, signature, functions, batch)
    except duckdb.Error:
        with contextlib.suppress(duckdb.Error):  # the transaction is aborted, and takes the view with it
            connection.unregister(ARROW)
        raise
    connection.unregister(ARROW)
    return _answers(signature, answered, batch)


def _asked(connection: Connection, signature: Signature, functions: Functions, batch: Batch) -> pa.Table:
    source = ARROW
    if not batch.streamed:
        # A table, not the Arrow data: only tables have statistics for DuckDB to reason from.
        connection.execute(sql.create_temporary(TABLE, sql.render(exp.select("*").from_(sql.table(ARROW))))).fetchall()
        source = TABLE
    query = _question(signature, functions, source, batch)
    # DuckDB 2 warns that execute() copies the rows once more than sql() does; but sql() binds the query three times.
    with no_warnings():
        return connection.execute(sql.render(query)).to_arrow_table()


def forget(connection: Connection) -> None:
    """Leave no temporary table behind."""
    connection.execute(sql.drop_object("TABLE", ("temp", TABLE))).fetchall()


def _question(signature: Signature, functions: Functions, source: str, batch: Batch) -> exp.Select:
    row = sql.column(ROW)
    asked: dict[str, exp.Expression] = {ID: sql.column(ID, ROW)}
    if batch.by_values and functions.predict_values is not None:
        given = [
            exp.PropertyEQ(this=sql.identifier(column.name), expression=sql.column(column.name, ROW))
            for column in signature.columns
        ]
        asked["prediction"] = _called(functions.predict_values, *given)
    else:
        asked["prediction"] = _called(functions.predict, row)
    asked["error"] = _called(functions.error, row)
    if functions.predict_proba is not None:
        asked["scores"] = _called(functions.predict_proba, row)
    if functions.probability is not None and batch.every_function:
        asked["positive"] = _called(functions.probability, row)
    columns = [sql.alias(node, name) for name, node in asked.items()]
    return exp.select(*columns).from_(sql.named(sql.table(source), ROW))


def _called(function: tuple[str, str], *arguments: exp.Expression) -> exp.Expression:
    schema, name = function
    copies = [argument.copy() for argument in arguments]
    return exp.Dot(this=sql.identifier(schema), expression=sql.call_quoted(name, *copies))


def _answers(signature: Signature, answered: pa.Table, batch: Batch) -> Answers:
    import numpy as np
    import pyarrow.compute as pc

    count = answered.num_rows
    if sorted(answered.column(ID).to_pylist()) != sorted(batch.ids):
        raise RuntimeError(f"{batch.what}: {len(batch.ids)} rows were asked about and {count} answered")
    prediction = answered.column("prediction")
    numbers: list[Any] = []  # Any: Arrow arrays
    labels = np.full(count, -1, dtype=np.int64)
    if signature.kind == "classifier":
        labels = label_codes(signature, prediction.to_pylist())
    elif signature.targets:
        numbers = _fields(prediction, signature.targets)
    else:
        numbers = [prediction]
    absent = pc.is_null(prediction).to_numpy(zero_copy_only=False)
    if "scores" in answered.column_names:
        numbers = _fields(answered.column("scores"), class_fields(signature))
    partly = np.zeros(count, dtype=bool)
    for column in numbers:
        partly |= column.is_null().to_numpy(zero_copy_only=False) != absent
    matrix = np.column_stack([_doubles(column) for column in numbers]) if numbers else np.empty((count, 0))
    if "positive" in answered.column_names:
        # One number said twice: where the two differ, the other one is compared.
        positive = _doubles(answered.column("positive"))
        differs = ~((positive == matrix[:, 1]) | (np.isnan(positive) & np.isnan(matrix[:, 1])))
        differs &= ~numbers[1].is_null().to_numpy(zero_copy_only=False)
        matrix[differs, 1] = positive[differs]
    texts = answered.column("error").to_pylist()
    return Answers(
        ids=answered.column(ID).to_numpy(),
        labels=labels,
        numbers=matrix,
        missing=absent,
        partly=partly,
        errors=np.array([text is not None for text in texts], dtype=bool),
        texts=texts,
    )


def _fields(structs: pa.ChunkedArray, names: Sequence[str]) -> list[Any]:  # Any: Arrow arrays
    """The struct's fields under these names, NULL where the struct is."""
    import pyarrow as pa

    whole = structs.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no chunk, when there is no row
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    found = [field.name for field in whole.type]
    if found != list(names):
        raise RuntimeError(f"the function answers with fields {found}, and the model has {list(names)}")
    return list(whole.flatten())


def _doubles(column: Any) -> Any:  # Any: an Arrow array in, a numpy array out
    import pyarrow as pa

    return column.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
