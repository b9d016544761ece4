"""Asking a python_function: rows that make it raise are found and get its error; rows it contradicts itself on are found."""

from __future__ import annotations

import errno
import socket
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from sqlml.convert.isolated.pyfunc import forms
from sqlml.convert.isolated.pyfunc.answers import Answered, answered, same
from sqlml.convert.isolated.pyfunc.columns import Taken
from sqlml.convert.isolated.pyfunc.forms import Form
from sqlml.convert.isolated.pyfunc.rows import Group, groups, handed
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: numpy arrays of several dtypes, models without types.
LONGEST_REASON = 500
TOLERANCE = {False: 1e-6, True: 1e-5}
"""Within which two answers to one row are one: a sum's order may differ with the batch. Wider for float32."""
NO_ANSWER = "the model gave no answer (a missing value)"
ISOLATED = (
    "the model runs isolated: it has no network, starts no processes, and reads no files but its own and its libraries'."
    " sqlml has no switch for that"
)
CLOSED = (errno.EPERM, errno.EACCES, errno.ENETUNREACH, errno.ENOSYS)
FIRST_ROWS = 8
PASSES = 5

Predict = Callable[[Any], Any]


@dataclass
class Said:
    """Per row of a table: which answer holds it and where, or why there is none."""

    parts: list[Answered] = field(default_factory=list)
    part: Any = None
    place: Any = None
    errors: list[str | None] = field(default_factory=list)

    @classmethod
    def of(cls, size: int) -> Said:
        return cls([], np.full(size, -1), np.zeros(size, dtype=np.int64), [None] * size)

    def form(self) -> Form | None:
        return forms.merged([part.form for part in self.parts]) if self.parts else None

    def columns(self, form: Form) -> list[pa.Array]:
        """Values per column of the form, NULL where a row has an error."""
        pieces = [forms.arrays(form, part.form, part.columns) for part in self.parts]
        starts = np.cumsum([0, *(len(part.columns[0]) for part in self.parts)])
        index = pa.array(starts[self.part] + self.place, mask=self.part < 0)
        made = []
        for i, kind in enumerate(form.types):
            chunks = [piece[i] for piece in pieces]
            whole = pa.concat_arrays(chunks) if chunks else pa.nulls(0, forms.ARROW[kind])
            made.append(whole.take(index))
        return made


def ask(predict: Predict, taken: Taken, table: pa.Table, seconds: float, rows: Any = None) -> Said:
    """The model's answer to each row (of those named); one batch, halved while it raises.

    Raises:
        Refusal: the rows that make it raise were not found in `seconds`; or its answers are of no form that SQL has.
    """
    said = Said.of(table.num_rows)
    wanted = np.ones(table.num_rows, dtype=bool)
    if rows is not None:
        wanted[:] = False
        wanted[rows] = True
    deadline = time.monotonic() + seconds
    for group in groups(taken, table):
        _search(predict, taken, said, group, np.flatnonzero(wanted[group.rows]), deadline)
    return said


def _search(predict: Predict, taken: Taken, said: Said, group: Group, positions: Any, deadline: float) -> None:
    """k rows that raise cost about k log n calls."""
    pending = [positions] if len(positions) else []
    while pending:
        part = pending.pop()
        if time.monotonic() > deadline:
            known = [text for text in said.errors if text is not None]
            raise unsupported(
                f"The model raises for so many rows that there was no time to ask each alone; {len(known)} were found,"
                f" the first: {known[0] if known else 'none alone, only together'}.",
                "Let predict give a missing value for a row that it cannot answer, or raise the time limit.",
            )
        try:
            found = call(predict, taken, group, part)
        except (MemoryError, Refusal):
            raise
        except Exception as error:  # the model may raise anything: that is its answer
            if len(part) == 1:
                said.errors[group.rows[part[0]]] = reason(error)
            else:
                half = len(part) // 2
                pending += [part[half:], part[:half]]
            continue
        said.part[group.rows[part]] = len(said.parts)
        said.place[group.rows[part]] = np.arange(len(part))
        said.parts.append(found)


def call(predict: Predict, taken: Taken, group: Group, positions: Any) -> Answered:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return answered(predict(handed(taken, group, positions)), len(positions))


def reason(error: BaseException) -> str:
    """The model's error as a row's: its kind and text, and what the isolation has to do with it."""
    text = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
    return f"{text} ({ISOLATED})" if _by_isolation(error) else text


def _by_isolation(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # A name cannot be resolved without a network, whatever the reason that the resolver gives.
        if isinstance(error, socket.gaierror) or (isinstance(error, OSError) and error.errno in CLOSED):
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True)
class Examined:
    """Some rows of a table (`rows`, by position) with the model's answers, and on which it contradicts itself, when."""

    rows: Any
    said: Said
    unstable: list[str | None]
    alone: int
    single: bool


def examine(predict: Predict, taken: Taken, table: pa.Table, seconds: float) -> Examined:
    """Ask each row several times: in one table, again, in another order, in two halves, and alone while there is time.

    As many of the rows as fit into the time.
    """
    rows = _affordable(predict, taken, table, seconds)
    said = ask(predict, taken, table, seconds, rows)
    unstable: list[str | None] = [None] * table.num_rows
    single = any(part.single for part in said.parts)
    generator = np.random.default_rng(0)
    until = time.monotonic() + seconds
    alone = 0
    for group in groups(taken, table):
        of = np.flatnonzero(np.isin(group.rows, rows) & (said.part[group.rows] >= 0))
        if not len(of):
            continue
        batches = [("asked twice", of), ("in another order", generator.permutation(of))]
        batches += [("in a smaller table", half) for half in (of[::2], of[1::2]) if len(half)]
        for when, part in batches:
            _compare(predict, taken, group, part, said, unstable, when, TOLERANCE[single])
        for position in generator.permutation(of):
            if time.monotonic() > until and alone >= FIRST_ROWS:
                break
            _compare(predict, taken, group, np.array([position]), said, unstable, "asked alone", TOLERANCE[single])
            alone += 1
    return Examined(rows, said, unstable, alone, single)


def _affordable(predict: Predict, taken: Taken, table: pa.Table, seconds: float) -> Any:
    order = np.random.default_rng(1).permutation(table.num_rows)
    first = np.sort(order[:FIRST_ROWS])
    if table.num_rows <= FIRST_ROWS:
        return first
    began = time.monotonic()
    ask(predict, taken, table, seconds, first)
    each = (time.monotonic() - began) / len(first)
    number = int(seconds / PASSES / max(each, 1e-9))
    return np.sort(order[: max(FIRST_ROWS, min(number, table.num_rows))])


def _compare(
    predict: Predict,
    taken: Taken,
    group: Group,
    part: Any,
    said: Said,
    unstable: list[str | None],
    when: str,
    tolerance: float,
) -> None:
    try:
        again = call(predict, taken, group, part)
    except (MemoryError, Refusal):
        raise
    except Exception as error:  # raised now and not before: a contradiction
        for row in group.rows[part]:
            unstable[row] = unstable[row] or f"{when}: {reason(error)}"
        return
    for i, row in enumerate(group.rows[part]):
        before = said.parts[said.part[row]]
        if unstable[row] is None and not same(before, int(said.place[row]), again, i, tolerance):
            unstable[row] = when


def written(said: Said, form: Form, rows: Any = None, more: Mapping[str, pa.Array] | None = None) -> pa.Table:
    """Columns v0, v1 ... and error; a row whose answer is missing has an error that says so."""
    columns = said.columns(form)
    absent = np.ones(len(said.errors), dtype=bool)
    for column in columns:
        absent &= column.is_null().to_numpy(zero_copy_only=False)
    errors = [NO_ANSWER if text is None and gone else text for text, gone in zip(said.errors, absent.tolist())]
    made = {f"v{i}": column for i, column in enumerate(columns)}
    table = pa.table({**made, "error": pa.array(errors, pa.string()), **(more or {})})
    return table if rows is None else table.take(pa.array(rows))
