"""The parent's side of a python_function: it is loaded and asked in an isolated process, and never becomes SQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml import environments
from sqlml.convert import received
from sqlml.convert.isolation import MEMORY_BYTES, TIMEOUT_S
from sqlml.convert.process import Process, started
from sqlml.convert.received import printable
from sqlml.errors import WorkerError
from sqlml.signature import Column, Signature

if TYPE_CHECKING:
    import pyarrow as pa

# Any in this module: JSON whose shape is what is checked.
TYPES = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER", "BOOLEAN", "VARCHAR", "TIMESTAMP", "BLOB")
ANSWERS = ("DOUBLE", "BIGINT", "BOOLEAN", "VARCHAR", "TIMESTAMP", "BLOB")
# The part of MLflow that loads models; with the rest would come a web server and a database toolkit.
NEEDS = ("mlflow-skinny>=2,<4",)
SEARCH_SHARE = 0.5
"""Of the time limit of a request, what may go into finding the rows that make the model raise."""
LONGEST_ERROR = 800


@dataclass(frozen=True)
class Policy:
    """What a model's process is allowed, and where it runs; the command line takes it from the configuration."""

    allow_pickle: bool = True
    require_isolation: bool = False
    model_env: str = environments.AUTO
    timeout_s: float = TIMEOUT_S
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True)
class Form:
    """The columns of an answer and their SQL types; a plain prediction is one column without a name."""

    names: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, signature: Signature) -> Form:
        if signature.targets:
            return cls(signature.targets, signature.target_types)
        return cls(("",), (signature.prediction,))

    def on(self, signature: Signature) -> Signature:
        """The signature with predictions of this form."""
        from dataclasses import replace

        if self.names == ("",):
            return replace(signature, prediction=self.types[0], targets=(), target_types=())
        return replace(signature, prediction="STRUCT", targets=self.names, target_types=self.types)


@dataclass(frozen=True)
class Described:
    """What the model takes: `signature` has its columns, and not yet what it gives."""

    signature: Signature
    example: pa.Table | None
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class PyfuncModel:
    """A model that stays what it is: `sha256` is over its files."""

    sha256: str
    signature: Signature
    origin: Mapping[str, str]


@dataclass(frozen=True)
class Examined:
    """Which rows were asked (by position), what the model says of each (v0, v1 ..., error), and on which it contradicts
    itself: for each of them when, or None. `alone` of them were asked one by one."""

    form: Form
    rows: tuple[int, ...]
    answers: pa.Table = field(repr=False)
    unstable: tuple[str | None, ...]
    alone: int
    tolerance: float


class PyfuncWorker:
    """A python_function loaded in an isolated process. Made by `open_pyfunc`."""

    def __init__(self, process: Process, work: Path, origin: Mapping[str, str], timeout_s: float) -> None:
        self.origin = dict(origin)
        self._process = process
        self._work = work
        self._seconds = timeout_s * SEARCH_SHARE
        self._count = 0

    def describe(self, columns: Mapping[str, str] | None) -> Described:
        """What the model takes; `columns` (name -> SQL type of the table, without its key) counts where nothing else says it.

        Raises:
            UnsupportedModel: no row of a table can be what the model takes.
        """
        to = self._file()
        reply = self._call("describe", columns=None if columns is None else dict(columns), to=to.name)
        try:
            found = tuple(
                Column(_text(c["name"]), received.one_of(c["type"], TYPES), "missing") for c in list(reply["columns"])
            )
            origin = received.one_of(reply["inputs_from"], ("mlflow", "model", "table"))
            parameters = {
                printable(name, 200): printable(value, 200) for name, value in dict(reply["parameters"]).items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise WorkerError(f"The model process gave a reply that cannot be: {error}.") from error
        if not found:
            raise WorkerError("The model process says that the model takes nothing.")
        example = received.table(to) if reply.get("example") is True else None
        if example is not None and example.column_names != [column.name for column in found]:
            raise WorkerError("The model process gave an input example with other columns than the model's.")
        to.unlink(missing_ok=True)
        return Described(Signature(found, "pyfunc", "VARCHAR", origin=origin), example, parameters)

    def examine(self, rows: pa.Table, *, seconds: float) -> Examined:
        """Ask as many of these rows as fit into about `seconds`, each several times and in several companies.

        Raises:
            UnsupportedModel: the model raises for each, or no column of a table can hold its answers.
        """
        given, to = self._written(rows), self._file()
        reply = self._call("examine", rows=given.name, to=to.name, seconds=min(seconds, self._seconds))
        answers = received.table(to)
        for path in (given, to):
            path.unlink()
        try:
            names = tuple(_text(name) for name in list(reply["names"]))
            types = tuple(received.one_of(kind, ANSWERS) for kind in list(reply["types"]))
            alone, tolerance = int(reply["alone"]), float(reply["tolerance"])
            form = Form(names, types)
            asked = tuple(int(row) for row in answers.column("row").to_pylist())
            unstable = tuple(None if t is None else printable(t, 200) for t in answers.column("unstable").to_pylist())
        except (KeyError, TypeError, ValueError) as error:
            raise WorkerError(f"The model process gave a reply that cannot be: {error}.") from error
        distinct = len(set(asked)) == len(asked) and all(0 <= row < rows.num_rows for row in asked)
        if len(names) != len(types) or not names or not distinct:
            raise WorkerError("The model process gave a reply that is not of sqlml's protocol.")
        return Examined(form, asked, _checked(answers, form, len(asked)), unstable, alone, tolerance)

    def ask(self, rows: pa.Table, form: Form) -> pa.Table:
        """The model's answer to each row: columns v0, v1 ... of the form's types, and `error`.

        Raises:
            UnsupportedModel: its answers are of another form now.
            WorkerError: the process crashed, or took too long or too much memory.
        """
        given, to = self._written(rows), self._file()
        self._call(
            "ask",
            rows=given.name,
            to=to.name,
            names=list(form.names),
            types=list(form.types),
            seconds=self._seconds,
        )
        answers = received.table(to)
        for path in (given, to):
            path.unlink()
        return _checked(answers, form, rows.num_rows)

    def _call(self, act: str, **arguments: object) -> Mapping[str, Any]:
        return self._process.call("pyfunc", act=act, **arguments)

    def _written(self, rows: pa.Table) -> Path:
        import pyarrow as pa

        path = self._file()
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        return path

    def _file(self) -> Path:
        self._count += 1
        return self._work / f"{self._count}.arrow"


def _checked(answers: pa.Table, form: Form, rows: int) -> pa.Table:
    """The answers if they are what was promised; the model's error texts made printable."""
    import pyarrow as pa

    types = {
        "DOUBLE": pa.float64(),
        "BIGINT": pa.int64(),
        "BOOLEAN": pa.bool_(),
        "VARCHAR": pa.string(),
        "TIMESTAMP": pa.timestamp("us"),
        "BLOB": pa.binary(),
    }
    expected = {f"v{i}": types[kind] for i, kind in enumerate(form.types)} | {"error": pa.string()}
    found = {one.name: one.type for one in answers.schema}
    if answers.num_rows != rows or any(found.get(name) != kind for name, kind in expected.items()):
        raise WorkerError(f"The model process answered {answers.num_rows} rows of another shape than asked ({rows}).")
    errors = [None if text is None else printable(text, LONGEST_ERROR) for text in answers.column("error").to_pylist()]
    columns: Sequence[Any] = [answers.column(name) for name in expected if name != "error"]
    return pa.table([*columns, pa.array(errors, pa.string())], names=list(expected))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of text")
    if "\x00" in value:
        raise ValueError("a name with a NUL character")
    return value


@contextlib.contextmanager
def open_pyfunc(artifact: Path, policy: Policy, *, log: Callable[[str], None]) -> Iterator[PyfuncWorker]:
    """Load an MLflow model's python_function in a process of its own, confined as far as the machine can.

    Raises:
        PolicyRefused: running a model's code, or isolation that cannot be had, where the configuration forbids it.
        ArtifactError: the artifact is not whole or cannot be loaded.
        UnsupportedModel: it has no such flavor, or needs what is not installed.
        WorkerError: the process crashed, or took too long or too much memory.
    """
    with started(
        artifact,
        log=log,
        timeout_s=policy.timeout_s,
        memory_bytes=policy.memory_bytes,
        require_isolation=policy.require_isolation,
        model_env=policy.model_env,
        task="model",
        flavor="python_function",
        more=NEEDS,
    ) as (process, work, _, chosen):
        reply = process.call("pyfunc", act="load", artifact=str(artifact.resolve()), allow_pickle=policy.allow_pickle)
        origin, notes = received.loaded(reply, "model")
        for note in notes:
            log(note)
        yield PyfuncWorker(process, work, {**origin, **chosen.origin}, policy.timeout_s)
