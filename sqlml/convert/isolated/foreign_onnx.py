"""Any .onnx file: what it takes and gives, or why it cannot be a model in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sqlml.convert.isolated.foreign_session import EXPORT_AGAIN, open_batch, session_of
from sqlml.convert.isolated.inputs import Input, Inputs, Tensor, distinct
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: protobuf messages without types, and numpy arrays of any dtype.
# Element type of an input -> the SQL type of its columns, and the numpy type that onnxruntime is fed with.
ELEMENTS: dict[int, tuple[str, Any]] = {
    TensorProto.FLOAT: ("FLOAT", np.float32),
    TensorProto.DOUBLE: ("DOUBLE", np.float64),
    TensorProto.INT64: ("BIGINT", np.int64),
    TensorProto.INT32: ("INTEGER", np.int32),
    TensorProto.BOOL: ("BOOLEAN", np.bool_),
    TensorProto.STRING: ("VARCHAR", object),
    TensorProto.FLOAT16: ("FLOAT", np.float16),
    TensorProto.INT8: ("INTEGER", np.int8),
    TensorProto.INT16: ("INTEGER", np.int16),
    TensorProto.UINT8: ("INTEGER", np.uint8),
    TensorProto.UINT16: ("INTEGER", np.uint16),
    TensorProto.UINT32: ("BIGINT", np.uint32),
    TensorProto.UINT64: ("BIGINT", np.uint64),
}
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# Control flow can make a row depend on its neighbours; random ones give another answer each time.
REFUSED_OPS = {
    "Bernoulli",
    "If",
    "Loop",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Scan",
    "SequenceMap",
}
PASSING = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
OLDEST_OPSET = 9


@dataclass(frozen=True)
class Port:
    """One input of the file: a tensor [N] or [N, width] of one element type."""

    name: str
    element: int
    width: int
    rank: int


@dataclass(frozen=True)
class Foreign:
    """An .onnx file that has the shape of a model: its input ports, and which tensors carry what."""

    model: Any = field(repr=False)
    """The parsed file, without ZipMap."""
    ports: tuple[Port, ...]
    kind: Literal["classifier", "regressor"]
    answers: tuple[str, ...]
    """The label tensor of a classifier, the values of a regressor, which may be several tensors."""
    widths: tuple[int, ...]
    """How many values a row each of them has."""
    scores: str | None
    classes: tuple[str | int, ...]
    targets: int
    precision: Literal["double", "float"]
    names: tuple[str, ...] = ()
    """Of a regressor's several outputs, where the file has a name for each."""
    one_by_one: bool = False
    """The file takes one row at a time; `model` has had its batch opened, and gives the same answers."""


def read(content: bytes) -> Foreign:
    """Check the file and find its inputs, outputs and class labels."""
    model = _parse(content)
    graph = model.graph
    _refuse_operators(model)
    session_of(content)  # the reference will be this very file
    constants = {tensor.name for tensor in (*graph.initializer,)} | {s.values.name for s in graph.sparse_initializer}
    ports = tuple(_port(value) for value in graph.input if value.name not in constants)
    if not ports:
        raise unsupported("The ONNX model has no inputs.")
    named = _strip_zipmap(graph)
    fixed = open_batch(
        model, content, [(p.name, (p.width,) if p.rank == 2 else (), ELEMENTS[p.element][1]) for p in ports]
    )
    elements, widths = _trial(model, ports)
    texts_or_ints = [n for n in widths if elements[n] in (TensorProto.INT64, TensorProto.STRING, TensorProto.INT32)]
    floats = [name for name in widths if elements[name] in FLOATS]
    shown = ", ".join(f"{name} ({TensorProto.DataType.Name(elements[name]).lower()})" for name in widths)
    several = not texts_or_ints and len(floats) == len(widths)
    if not several and (len(texts_or_ints) > 1 or len(floats) > 1 or len(texts_or_ints) + len(floats) != len(widths)):
        raise unsupported(f"The ONNX model gives {shown}; expected labels and probabilities, or scores alone.")
    scores = floats[0] if floats else None
    inputs_double = all(port.element not in (TensorProto.FLOAT, TensorProto.FLOAT16) for port in ports)
    double = inputs_double and all(elements[name] == TensorProto.DOUBLE for name in floats)
    precision: Literal["double", "float"] = "double" if double else "float"
    if not texts_or_ints:
        if scores is None:
            raise unsupported("The ONNX model has no outputs.")
        targets = sum(widths[name] for name in floats)
        names = tuple(
            name if widths[name] == 1 else f"{name}_{i}" for name in floats for i in range(widths[name])
        ) if len(floats) > 1 else ()  # fmt: skip
        if len({name.lower() for name in names}) != len(names):
            names = ()
        return Foreign(
            model,
            ports,
            "regressor",
            tuple(floats),
            tuple(widths[name] for name in floats),
            None,
            (),
            targets,
            precision,
            names,
            fixed,
        )
    label = texts_or_ints[0]
    if widths[label] != 1:
        raise unsupported(f"The ONNX model gives {widths[label]} labels a row ({label}).")
    classes = named or _classes(graph, label, widths.get(scores) if scores else None)
    if len(set(classes)) != len(classes) or not classes:
        raise unsupported(f"The ONNX model's class labels are not distinct: {list(classes)[:10]}.")
    if scores is not None and widths[scores] != len(classes):
        raise unsupported(
            f"The ONNX model has {len(classes)} classes and gives {widths[scores]} scores a row ({scores})."
        )
    return Foreign(model, ports, "classifier", (label,), (1,), scores, classes, 0, precision, one_by_one=fixed)


def inputs_of(foreign: Foreign, signature: tuple[Input, ...] | Tensor | None) -> Inputs:
    """The columns: from the MLflow signature by name or position, else from the names in the file."""
    own = [
        Input(
            port.name if port.width == 1 and len(foreign.ports) > 1 else _numbered(foreign, port, i),
            ELEMENTS[port.element][0],
        )
        for port in foreign.ports
        for i in range(port.width)
    ]
    if len(own) == 1:
        own = [Input(foreign.ports[0].name, own[0].type)]
    if not isinstance(signature, tuple):
        return Inputs(distinct(own), "onnx")
    by_name = {column.name: column for column in signature}
    if all(column.name in by_name for column in own) and len(signature) == len(own):
        columns = [by_name[column.name] for column in own]
    elif len(foreign.ports) == 1 and len(signature) == len(own):
        columns = list(signature)
    else:
        raise unsupported(
            f"The ONNX model takes {_listed(own)}, and its signature names {_listed(signature)}.",
            "Log the model with a signature that has one column for each input, named as the input.",
        )
    for column, input in zipped(columns, own):
        if column.is_text != input.is_text:
            raise unsupported(
                f"Column '{column.name}' is {column.type} in the signature and {input.type} in the ONNX model."
            )
    return Inputs(distinct(columns), "mlflow")


def feeds(foreign: Foreign, columns: Sequence[Any]) -> dict[str, Any]:
    """What onnxruntime is fed with, from one numpy array per column (float64 or str), in order."""
    fed, start = {}, 0
    for port in foreign.ports:
        dtype = ELEMENTS[port.element][1]
        parts = [_as_element(np.asarray(column), dtype) for column in columns[start : start + port.width]]
        fed[port.name] = parts[0] if port.rank == 1 else np.column_stack(parts)
        start += port.width
    return fed


def _as_element(values: Any, dtype: Any) -> Any:
    """By way of float32 to float16, as a FLOAT column and onnxruntime's own cast have it."""
    return values.astype(np.float32).astype(dtype) if dtype is np.float16 else values.astype(dtype)


def _parse(content: bytes) -> Any:
    try:
        model = onnx.load_model_from_string(content)
        external = next(_external(model.graph), None)
        if external is not None:
            raise unsupported(f"The ONNX model keeps '{external.name}' in an external file.", "Save it as one file.")
        onnx.checker.check_model(model)
        if model.functions:  # PyTorch's exporter writes its layers as functions of standard operators
            from onnx import inliner  # of onnx 1.15 and later

            model = inliner.inline_local_functions(model)
    except Refusal:
        raise
    except Exception as error:  # protobuf and the checker raise many kinds, all of which mean the same here
        raise Refusal(
            "artifact", f"The file is not a valid ONNX model: {str(error).strip() or type(error).__name__}"
        ) from error
    return model


def _external(graph: Any) -> Iterator[Any]:
    attributes = [a for node in graph.node for a in node.attribute]
    tensors = [
        *graph.initializer,
        *(a.t for a in attributes if a.HasField("t")),
        *(t for a in attributes for t in a.tensors),
    ]
    return (tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data)


def external_files(content: bytes) -> list[str]:
    """The files beside it that the model keeps tensors in."""
    try:
        graph = onnx.load_model_from_string(content).graph
    except Exception as error:  # protobuf raises several kinds
        raise Refusal("artifact", f"The file is not a valid ONNX model: {error}") from error
    entries = (entry for tensor in _external(graph) for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _refuse_operators(model: Any) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in DOMAINS})
    if foreign or model.functions:
        names = ", ".join(foreign or [function.name for function in model.functions])
        raise unsupported(f"The ONNX model uses operators of its own: {names}.", "Export it with standard operators.")
    for node in model.graph.node:
        subgraph = any(a.HasField("g") or a.graphs for a in node.attribute)
        if node.op_type in REFUSED_OPS or subgraph:
            raise unsupported(
                f"The ONNX model uses {node.op_type} ('{node.name}'), which has no exact meaning row by row."
            )
    versions = opsets(model)
    if versions.get("", OLDEST_OPSET) < OLDEST_OPSET:
        raise unsupported(
            f"The ONNX model is of opset {versions['']}.", f"Export it with opset {OLDEST_OPSET} or later."
        )
    if versions.get("ai.onnx.ml", 2) < 2 and any(node.op_type == "LabelEncoder" for node in model.graph.node):
        raise unsupported("The ONNX model uses LabelEncoder of ai.onnx.ml 1.", "Export it with ai.onnx.ml 2 or later.")


def opsets(model: Any) -> dict[str, int]:
    return {"" if entry.domain == "ai.onnx" else entry.domain: int(entry.version) for entry in model.opset_import}


def _port(value: Any) -> Port:
    if not value.type.HasField("tensor_type"):
        raise unsupported(f"Input '{value.name}' of the ONNX model is not a tensor.", EXPORT_AGAIN)
    tensor = value.type.tensor_type
    if tensor.elem_type not in ELEMENTS:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise unsupported(
            f"Input '{value.name}' of the ONNX model is a tensor of {kind}.", "Use float, double, int64 or string."
        )
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    shown = "[" + ", ".join("?" if size is None else str(size) for size in sizes) + "]"
    if not tensor.HasField("shape") or len(sizes) not in (1, 2):
        raise unsupported(
            f"Input '{value.name}' of the ONNX model has shape {shown}, not one row of columns.", EXPORT_AGAIN
        )
    if sizes[0] and sizes[0] != 1:
        raise unsupported(f"Input '{value.name}' of the ONNX model has a fixed batch size: {shown}.", EXPORT_AGAIN)
    width = sizes[1] if len(sizes) == 2 else 1
    if not width:
        raise unsupported(
            f"Input '{value.name}' of the ONNX model has an open number of columns: {shown}.", EXPORT_AGAIN
        )
    return Port(value.name, tensor.elem_type, width, len(sizes))


def _strip_zipmap(graph: Any) -> tuple[str | int, ...]:
    """Without ZipMap nodes, their input is the output; returns the class labels that they carried."""
    labels: tuple[str | int, ...] = ()
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        found = _label_attribute(node, ("classlabels_strings", "classlabels_int64s"))
        outputs = [output for output in graph.output if output.name == node.output[0]]
        if labels or len(outputs) != 1 or not found:
            raise unsupported(f"The ONNX model uses ZipMap in a way that is not understood ('{node.name}').")
        labels = found
        graph.node.remove(node)
        outputs[0].CopyFrom(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None))
    return labels


def _label_attribute(node: Any, names: Sequence[str]) -> tuple[str | int, ...]:
    for attribute in node.attribute:
        if attribute.name in names and (attribute.strings or attribute.ints):
            return tuple(text.decode() for text in attribute.strings) or tuple(int(i) for i in attribute.ints)
    return ()


def _classes(graph: Any, label: str, width: int | None) -> tuple[str | int, ...]:
    """The labels in the order of the scores, from the node that makes the label."""
    makers = {output: node for node in graph.node for output in node.output}
    constants: Mapping[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
    name = label
    while (node := makers.get(name)) is not None:
        found = _label_attribute(node, ("classlabels_strings", "classlabels_int64s", "classlabels_ints"))
        if found:
            return found
        if node.op_type == "ArrayFeatureExtractor" and node.input[0] in constants:
            values = numpy_helper.to_array(constants[node.input[0]]).ravel()
            return tuple(
                v.decode() if isinstance(v, bytes) else str(v) if isinstance(v, str) else int(v) for v in values
            )
        if node.op_type == "ArgMax" and width:
            return tuple(range(width))
        if node.op_type not in PASSING:
            break
        name = node.input[0]
    raise unsupported(
        f"The ONNX model does not say which labels its output '{label}' can take.",
        "Export it with a classifier operator or a ZipMap, or give its scores alone.",
    )


def _trial(model: Any, ports: Sequence[Port]) -> tuple[dict[str, int], dict[str, int]]:
    """Element type and width of each output, by running the model on batches of two and three rows."""
    session = session_of(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    elements: dict[str, int] = {}
    widths: dict[str, int] = {}
    for rows in (2, 3):
        fed = {port.name: _zeros(port, rows) for port in ports}
        try:
            answers = session.run(names, fed)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise unsupported(f"onnxruntime cannot run the model on {rows} rows of zeros: {error}") from error
        for name, values in zipped(names, answers):
            if not isinstance(values, np.ndarray) or values.ndim not in (1, 2) or values.shape[0] != rows:
                shape = values.shape if isinstance(values, np.ndarray) else type(values).__name__
                raise unsupported(
                    f"Output '{name}' of the ONNX model is {shape} for {rows} rows, not one row each.", EXPORT_AGAIN
                )
            elements[name] = (
                TensorProto.STRING if values.dtype == object else helper.np_dtype_to_tensor_dtype(values.dtype)
            )
            widths[name] = values.shape[1] if values.ndim == 2 else 1
    return elements, widths


def _zeros(port: Port, rows: int) -> Any:
    dtype = ELEMENTS[port.element][1]
    return np.full((rows, port.width) if port.rank == 2 else rows, "" if dtype is object else 0, dtype=dtype)


def _numbered(foreign: Foreign, port: Port, position: int) -> str:
    return f"f{position}" if len(foreign.ports) == 1 else f"{port.name}_{position}"


def _listed(columns: Sequence[Input]) -> str:
    names = [column.name for column in columns]
    return f"{len(names)} columns ({', '.join(names[:8])}{' ...' if len(names) > 8 else ''})"
