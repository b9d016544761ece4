"""The isolated process: confines itself, then answers one request after the other until its input closes.

`python -m sqlml.convert.isolated.worker` is not how it is started: the parent passes two pipes (see convert/process.py).
Requests and replies are lines of JSON; rows and answers are Arrow files, and the graph is a file, in the work directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml.convert.isolated.confine import Bounds, confine
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.unsupported import Unsupported

if TYPE_CHECKING:
    from sqlml.convert.isolated.artifact import Artifact
    from sqlml.convert.isolated.inputs import Inputs

# Any in this module: JSON from the parent, which is trusted, and what the other modules leave untyped.
# Heavy libraries load inside the functions: a .onnx file needs no scikit-learn, `doctor` needs neither.
Reply = dict[str, Any]


class Session:
    """The artifact and its conversion, between requests."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.artifact: Artifact | None = None
        self.inputs: Inputs | None = None
        self.converted: Any = None
        self.foreign: Any = None
        self.asked: Any = None

    def load(self, request: Mapping[str, Any]) -> Reply:
        from sqlml.convert.isolated import loading

        self.artifact = loading.load(Path(request["artifact"]), allow_pickle=request["allow_pickle"])
        if self.artifact.onnx:
            from sqlml.convert.isolated import foreign_onnx

            self.foreign = foreign_onnx.read(self.artifact.onnx)
        return {"origin": dict(self.artifact.origin), "notes": list(self.artifact.notes)}

    def convert(self, request: Mapping[str, Any]) -> Reply:
        from sqlml.convert.isolated.loading import installed_versions

        artifact = self._artifact()
        if artifact.onnx:
            from sqlml.convert.isolated import foreign_graph, foreign_onnx

            self.inputs = foreign_onnx.inputs_of(self.foreign, artifact.inputs)
            self.converted = foreign_graph.normalise(self.foreign, self.inputs)
        else:
            from sqlml.convert.isolated import inputs, libraries
            from sqlml.convert.isolated.sklearn.convert import convert_sklearn

            found = libraries.of(artifact.estimator)
            if found is None:
                self.inputs = inputs.of_estimator(artifact.estimator, artifact.inputs, request["columns"])
            else:
                library, model = found
                self.inputs = library.inputs_of(model, artifact.inputs, request["columns"])
            self.converted = convert_sklearn(artifact.estimator, self.inputs.columns)
        self._output(request["to"]).write_bytes(self.converted.onnx)
        return {
            "columns": [
                {"name": column.name, "type": column.type, "nulls": nulls}
                for column, nulls in zipped(self.inputs.columns, self.converted.nulls)
            ],
            "inputs_from": self.inputs.origin,
            "kind": self.converted.kind,
            "classes": list(self.converted.classes),
            "probabilities": self.converted.probabilities,
            "targets": _target_names(self.converted, artifact),
            "reasons": list(self.converted.reasons),
            "precision": self.converted.precision,
            "versions": installed_versions(),
        }

    def example(self, request: Mapping[str, Any]) -> Reply:
        from sqlml.convert.isolated import example

        table = example.read(self._artifact().example, self._inputs())
        if table is not None:
            example.write(table, self._output(request["to"]))
        return {"found": table is not None}

    def reference(self, request: Mapping[str, Any]) -> Reply:
        from sqlml.convert.isolated import answers

        labels = answers.compute(
            self._artifact(),
            self._inputs(),
            self.converted,
            self.foreign,
            rows=self.work / request["rows"],
            to=self._output(request["to"]),
            alone_seconds=float(request["alone_seconds"]),
        )
        return labels

    def pyfunc(self, request: Mapping[str, Any]) -> Reply:
        """A python_function is asked, not converted: it has requests of its own."""
        from sqlml.convert.isolated.pyfunc.session import Session as Asked

        self.asked = self.asked or Asked(self.work)
        found: Reply = self.asked.answer(request)
        return found

    def _artifact(self) -> Artifact:
        if self.artifact is None:
            raise Refusal("usage", "The worker was asked before it had loaded the model.")
        return self.artifact

    def _inputs(self) -> Inputs:
        if self.inputs is None:
            raise Refusal("usage", "The worker was asked before it had converted the model.")
        return self.inputs

    def _output(self, name: str) -> Path:
        return self.work / name


def _target_names(converted: Any, artifact: Artifact) -> list[str]:
    """Names of a regressor's several outputs: from the signature where it names as many, else its own, else numbered."""
    if converted.kind != "regressor" or converted.targets == 1:
        return []
    if len(artifact.outputs) == converted.targets and len({n.lower() for n in artifact.outputs}) == converted.targets:
        return list(artifact.outputs)
    own = getattr(converted, "names", ())
    return list(own) or [f"target_{i}" for i in range(converted.targets)]


def answer(act: Callable[[Mapping[str, Any]], Reply], request: Mapping[str, Any]) -> Reply:
    """The reply to one request; what the model or its conversion refuses is a reply too."""
    try:
        return {"ok": True, **act(request)}
    except Refusal as error:
        return {"ok": False, "kind": error.kind, "message": error.message, "hint": error.hint}
    except Unsupported as error:
        return {"ok": False, "kind": "unsupported", "message": str(error), "hint": None}
    except MemoryError:
        return {"ok": False, "kind": "memory", "message": "The model needs more memory than allowed.", "hint": None}


def main(request_fd: int, reply_fd: int) -> None:
    """Serve requests. An unexpected error ends the process, with its traceback on stderr for the parent's message."""
    with open(request_fd, encoding="utf-8") as requests, open(reply_fd, "w", encoding="utf-8") as replies:
        first = json.loads(requests.readline())
        bounds = Bounds(**{**first["bounds"], "readable": tuple(first["bounds"]["readable"])})
        os.chdir(bounds.work)
        features = confine(bounds)
        if os.getppid() != first["parent"]:
            return  # the parent died before its death could be noticed
        session = Session(Path(bounds.work))
        acts = (session.load, session.convert, session.example, session.reference, session.pyfunc)
        calls = {call.__name__: call for call in acts}
        _send(replies, {"ok": True, "features": features})
        for line in requests:
            request = json.loads(line)
            _send(replies, answer(calls[request["call"]], request))


def _send(replies: Any, reply: Reply) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()
