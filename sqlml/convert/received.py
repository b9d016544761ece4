"""What comes back from the isolated process is untrusted: sizes and types are checked here before anything uses it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml.convert.onnx_model import OnnxModel
from sqlml.errors import WorkerError
from sqlml.signature import Column, Label, Signature

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# Any in this module: JSON whose shape is what is checked.
LARGEST_ONNX = 2 << 30
LARGEST_ARROW = 2 << 30
LARGEST_EXAMPLES = 5
TYPES = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER", "BOOLEAN", "VARCHAR")


@dataclass(frozen=True)
class Reference:
    """The original's own answers, one per row asked.

    Where `error` says why the original has no answer, the prediction is None (NaN for a regressor) and scores are NaN.
    A row is `unstable` when the original answers differently alone, in a batch or in another order, or when the time to
    find out whether it raises had passed: such a row proves nothing either way.
    """

    prediction: list[Label | None] | NDArray[np.float64]
    """A classifier's labels; a regressor's values as an array [n, T]."""
    scores: NDArray[np.float64] | None
    """Probabilities [n, K] in the order of the signature's classes, where the model has them."""
    error: list[str | None]
    unstable: NDArray[np.bool_] = field(repr=False)
    alone_checked: int = 0
    """How many rows were also asked one by one."""
    seconds: float = 0.0
    again: Sequence[int] = field(default=(), repr=False)
    """Rows that were asked a second time, alone or among others, and got an answer both times or the first time."""
    differs: Sequence[int] = field(default=(), repr=False)
    """Of those, the rows with another answer then."""
    contradictions: tuple[Contradiction, ...] = ()
    """Some of these."""


@dataclass(frozen=True)
class Contradiction:
    """A row to which the original said one thing and then another: `how` it was asked the second time."""

    row: int
    how: str
    first: str
    second: str


def onnx_model(reply: Mapping[str, Any], content: bytes, origin: Mapping[str, str]) -> OnnxModel:
    """The conversion's result, if it is what OnnxModel promises."""
    try:
        signature = _signature(reply)
        reasons = tuple(_text(reason) for reason in _list(reply["reasons"]))
        precision = one_of(reply["precision"], ("double", "float"))
        versions = {_text(name): _text(version) for name, version in dict(reply["versions"]).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerError(f"The conversion process gave a reply that cannot be: {error}.") from error
    _check_graph(content, signature)
    return OnnxModel(
        onnx=content,
        sha256=hashlib.sha256(content).hexdigest(),
        signature=signature,
        reasons=reasons,
        precision=precision,  # type: ignore[arg-type]  # checked above
        origin={**origin, **{f"converted with {name}": version for name, version in versions.items()}},
    )


def loaded(reply: Mapping[str, Any], task: str = "conversion") -> tuple[dict[str, str], list[str]]:
    """What a worker says of the model that it has loaded: facts by name, and what is worth a line in the log."""
    try:
        origin = {printable(name, 200): printable(value, 400) for name, value in dict(reply["origin"]).items()}
        return origin, [printable(note, 400) for note in list(reply["notes"])[:20]]
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerError(f"The {task} process gave a reply that is not of sqlml's protocol.") from error


def _signature(reply: Mapping[str, Any]) -> Signature:
    columns = tuple(
        Column(_text(c["name"]), one_of(c["type"], TYPES), one_of(c["nulls"], ("missing", "refused")))  # type: ignore[arg-type]  # checked
        for c in _list(reply["columns"])
    )
    kind = one_of(reply["kind"], ("classifier", "regressor"))
    classes = tuple(_label(label) for label in _list(reply["classes"]))
    if (kind == "classifier") != bool(classes) or not columns:
        raise ValueError(f"a {kind} of {len(columns)} columns and {len(classes)} classes")
    return Signature(
        columns=columns,
        kind=kind,  # type: ignore[arg-type]  # checked above
        prediction=_prediction_type(classes) if classes else "DOUBLE",
        classes=classes,
        probabilities=reply["probabilities"] is True,
        targets=tuple(_text(name) for name in _list(reply["targets"])),
        origin=one_of(reply["inputs_from"], ("mlflow", "model", "onnx", "table")),
    )


def _prediction_type(classes: Sequence[Label]) -> str:
    for kind, name in ((bool, "BOOLEAN"), (int, "BIGINT"), (float, "DOUBLE"), (str, "VARCHAR")):
        if all(type(label) is kind for label in classes):
            return name
    raise ValueError("class labels of several types")


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and, at every depth, the bodies of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _check_graph(content: bytes, signature: Signature) -> None:
    """onnxruntime will run this graph here: it must be closed in itself and have the promised shape."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises several kinds
        raise WorkerError("The conversion process gave a file that is not ONNX.") from error
    graphs = list(_graphs(model.graph))
    nodes = [node for graph in graphs for node in graph.node]
    tensors = [tensor for graph in graphs for tensor in graph.initializer]
    tensors += [tensor for node in nodes for a in node.attribute for tensor in (a.t, *a.tensors)]
    sparse = [held for graph in graphs for held in graph.sparse_initializer]
    sparse += [held for node in nodes for a in node.attribute for held in (a.sparse_tensor, *a.sparse_tensors)]
    tensors += [tensor for held in sparse for tensor in (held.values, held.indices)]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        raise WorkerError("The conversion process gave a graph that reads other files.")
    if model.functions or any(node.domain not in ("", "ai.onnx", "ai.onnx.ml") for node in nodes):
        raise WorkerError("The conversion process gave a graph with operators of its own.")
    expected = [(c.name, onnx.TensorProto.STRING if c.is_text else onnx.TensorProto.DOUBLE) for c in signature.columns]
    if [(value.name, value.type.tensor_type.elem_type) for value in model.graph.input] != expected:
        raise WorkerError("The conversion process gave a graph whose inputs are not its signature's columns.")
    outputs = {"prediction", "error"} | ({"probabilities"} if signature.probabilities else set())
    if {value.name for value in model.graph.output} != outputs:
        raise WorkerError("The conversion process gave a graph without the promised outputs.")


def table(path: Path) -> pa.Table:
    """An Arrow file of the worker's, fully validated."""
    import pyarrow as pa

    content = file(path, LARGEST_ARROW)
    try:
        found = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        found.validate(full=True)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise WorkerError("The isolated process gave rows that are not an Arrow file.") from error
    return found


def file(path: Path, largest: int) -> bytes:
    """A regular file in the worker's directory: never a link, a pipe, or more than expected."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as opened:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > largest:
                raise WorkerError(f"The isolated process left something unexpected as {path.name}.")
            return opened.read(largest + 1)
    except OSError as error:
        raise WorkerError(f"The isolated process did not leave the promised file {path.name}.") from error


def reference(
    reply: Mapping[str, Any], answers: pa.Table, signature: Signature, rows: int, seconds: float
) -> Reference:
    """The answers to one request, if they have the promised columns and as many rows as were asked."""
    import numpy as np
    import pyarrow as pa

    width = max(1, len(signature.targets))
    values = {f"value_{i}": pa.float64() for i in range(width)}
    scores = {f"score_{i}": pa.float64() for i in range(len(signature.classes))} if signature.probabilities else {}
    rest = values if signature.kind == "regressor" else {"label": pa.int64(), **scores}
    expected = {"error": pa.string(), "unstable": pa.bool_(), **rest}
    found = {field.name: field.type for field in answers.schema}
    if found != expected or answers.num_rows != rows or answers.column("unstable").null_count:
        raise WorkerError(
            f"The conversion process answered {answers.num_rows} rows of another shape than asked ({rows})."
        )
    try:
        labels = [_label(label) for label in _list(reply["labels"])]
        alone, again, differs = (_rows(reply[name], rows) for name in ("alone", "again", "differs"))
        contradictions = tuple(_contradiction(one, rows) for one in _list(reply["contradictions"])[:LARGEST_EXAMPLES])
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerError(f"The conversion process gave a reply that cannot be: {error}.") from error

    def matrix(names: Mapping[str, Any]) -> NDArray[np.float64]:
        parts = [answers.column(name).to_numpy().astype(np.float64) for name in names]
        return np.column_stack(parts) if parts else np.empty((rows, 0))

    prediction: list[Label | None] | NDArray[np.float64]
    if signature.kind == "regressor":
        prediction = matrix(values)
    else:
        indices = answers.column("label").to_pylist()
        if any(index is not None and not 0 <= index < len(labels) for index in indices):
            raise WorkerError("The conversion process answered with a label that it does not name.")
        prediction = [None if index is None else labels[index] for index in indices]
    return Reference(
        prediction=prediction,
        scores=matrix(scores) if signature.probabilities else None,
        error=[None if text is None else _text(text) for text in answers.column("error").to_pylist()],
        unstable=answers.column("unstable").to_numpy(),
        alone_checked=len(alone),
        seconds=seconds,
        again=sorted({*again, *alone}),
        differs=differs,
        contradictions=contradictions,
    )


def _rows(value: Any, size: int) -> list[int]:
    found = _list(value)
    if any(type(row) is not int or not 0 <= row < size for row in found):
        raise ValueError("a row that nobody asked about")
    return found


def _contradiction(value: Any, size: int) -> Contradiction:
    [row] = _rows([value["row"]], size)
    how, first, second = (printable(_text(value[name]), 200) for name in ("how", "first", "second"))
    return Contradiction(row, how, first, second)


def printable(text: object, longest: int = 4000) -> str:
    """Text of the model's making for a terminal: without control characters, and not endless."""
    kept = "".join(c if c.isprintable() or c == "\n" else " " for c in str(text)[: longest + 1])
    return kept[:longest] + ("..." if len(kept) > longest else "")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of text")
    return value


def one_of(value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{printable(value, 40)!r} is none of {', '.join(allowed)}")
    return str(value)


def _label(value: Any) -> Label:
    if not isinstance(value, str | int | float):  # bool is an int
        raise TypeError(f"a class label of type {type(value).__name__}")
    return value
