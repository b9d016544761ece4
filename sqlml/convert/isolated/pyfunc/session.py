"""What a worker does with a python_function: load it, say what it takes, examine it, and ask it row by row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sqlml.convert.isolated.pyfunc import asking, columns, example, forms
from sqlml.convert.isolated.pyfunc.columns import Taken
from sqlml.convert.isolated.pyfunc.forms import Form
from sqlml.convert.isolated.pyfunc.loading import Pyfunc, load
from sqlml.convert.isolated.refusal import Refusal

# Any in this module: JSON from the parent, which is trusted.
Reply = dict[str, Any]


class Session:
    """The model between requests."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.loaded: Pyfunc | None = None
        self.taken: Taken | None = None

    def answer(self, request: Mapping[str, Any]) -> Reply:
        acts = {"load": self.load, "describe": self.describe, "examine": self.examine, "ask": self.ask}
        return acts[request["act"]](request)

    def load(self, request: Mapping[str, Any]) -> Reply:
        from sqlml.convert.isolated.loading import mlmodel

        root = Path(request["artifact"])
        if not root.is_dir():
            raise Refusal("usage", f"{root.name} is a file; a python_function is an MLflow model.")
        document = mlmodel(root.resolve())
        self.loaded = load(root.resolve(), document, allow_pickle=request["allow_pickle"])
        return {"origin": dict(self.loaded.origin), "notes": list(self.loaded.notes)}

    def describe(self, request: Mapping[str, Any]) -> Reply:
        """The columns that the model takes; its input example goes to a file."""
        loaded = self._loaded()
        self.taken = columns.taken(loaded.document, example.types(loaded.example), request["columns"])
        found = None if loaded.example is None else example.table(loaded.example, self.taken)
        if found is not None:
            _write(found, self.work / request["to"])
        return {
            "columns": [{"name": column.name, "type": column.type} for column in self.taken.columns],
            "inputs_from": self.taken.origin,
            "example": found is not None,
            "parameters": {name: repr(value) for name, value in columns.parameters(loaded.document).items()},
        }

    def examine(self, request: Mapping[str, Any]) -> Reply:
        loaded, taken = self._loaded(), self._taken()
        rows = _read(self.work / request["rows"])
        found = asking.examine(loaded.model.predict, taken, rows, float(request["seconds"]))
        form = found.said.form()
        if form is None:
            first = next((text for text in found.said.errors if text is not None), "it gave no answer")
            raise Refusal("unsupported", f"The model raises for every row that it was asked: {first}", None)
        form = forms.chosen(form, columns.given(loaded.document))
        more = {
            "row": pa.array(range(rows.num_rows), pa.int64()),
            "unstable": pa.array(found.unstable, pa.string()),
        }
        _write(asking.written(found.said, form, found.rows, more), self.work / request["to"])
        return {
            "names": list(form.names),
            "types": list(form.types),
            "alone": found.alone,
            "tolerance": asking.TOLERANCE[found.single],
        }

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """Answers to rows in a form that is settled, row for row."""
        form = Form(tuple(request["names"]), tuple(request["types"]))
        rows = _read(self.work / request["rows"])
        said = asking.ask(self._loaded().model.predict, self._taken(), rows, float(request["seconds"]))
        _write(asking.written(said, form), self.work / request["to"])
        return {}

    def _loaded(self) -> Pyfunc:
        if self.loaded is None:
            raise Refusal("usage", "The worker was asked before it had loaded the model.")
        return self.loaded

    def _taken(self) -> Taken:
        if self.taken is None:
            raise Refusal("usage", "The worker was asked before it had said what the model takes.")
        return self.taken


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
