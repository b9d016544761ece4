"""A foreign ONNX graph brought into sqlml's form: one input per column, doubles out, errors as codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx.compose
from onnx import TensorProto, helper, numpy_helper

from sqlml.convert.isolated.foreign_onnx import FLOATS, OLDEST_OPSET, Foreign, Port, opsets
from sqlml.convert.isolated.graph import MISSING_TEXT, NO_ERROR
from sqlml.convert.isolated.inputs import Input, Inputs
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.refusal import unsupported

INSIDE = "sqlml foreign/"
OUTPUTS = ("prediction", "probabilities", "error")
# Whole numbers from here on are not all doubles, so what a table holds may not be what the model would get.
WHOLE: dict[int, tuple[float, float]] = {
    TensorProto.INT64: (-(2.0**53), 2.0**53),
    TensorProto.INT32: (1 - 2.0**31, 2.0**31 - 1),
    TensorProto.INT16: (-(2.0**15), 2.0**15 - 1),
    TensorProto.INT8: (-(2.0**7), 2.0**7 - 1),
    TensorProto.UINT64: (0.0, 2.0**53),
    TensorProto.UINT32: (0.0, 2.0**32 - 1),
    TensorProto.UINT16: (0.0, 2.0**16 - 1),
    TensorProto.UINT8: (0.0, 2.0**8 - 1),
    TensorProto.BOOL: (0.0, 1.0),
}


@dataclass(frozen=True)
class Normalised:
    """The same fields as the scikit-learn converters give."""

    onnx: bytes
    kind: Literal["classifier", "regressor"]
    classes: tuple[str | int, ...]
    probabilities: bool
    targets: int
    reasons: tuple[str, ...]
    precision: Literal["double", "float"]
    nulls: tuple[Literal["missing", "refused"], ...]
    missing_as: Mapping[str, str]
    names: tuple[str, ...] = ()


class Surgery:
    """The nodes and constants put around the foreign graph, and the reasons why a row has no prediction."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.reasons: list[str] = []
        self.candidates: list[str] = []
        self.nodes: list[Any] = []  # Any: protobuf messages without types
        self.constants: list[Any] = []
        self.count = 0

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:  # Any: ONNX attributes
        self.count += 1
        output = output or f"sqlml {kind} {self.count}"
        domain = "ai.onnx.ml" if kind == "LabelEncoder" else ""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def join(self, columns: Sequence[str]) -> str:
        return columns[0] if len(columns) == 1 else self.op("Concat", *columns, axis=1)

    def check(self, bad: str, reasons: Sequence[str]) -> None:
        """Rows where column i of `bad` is true have no prediction, because of reasons[i]."""
        first = len(self.reasons) + 1
        self.reasons.extend(reasons)
        codes = self.constant([list(range(first, first + len(reasons)))], np.int64)
        self.candidates.append(self.op("Where", bad, codes, self.constant([[NO_ERROR]], np.int64)))

    def constant(self, values: Any, dtype: Any) -> str:  # Any: whatever numpy takes
        self.count += 1
        name = f"sqlml constant {self.count}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name


def normalise(foreign: Foreign, inputs: Inputs) -> Normalised:
    """The file's graph behind one input per column, with the outputs that OnnxModel describes."""
    taken = [column.name for column in inputs.columns if column.name in OUTPUTS]
    if taken:
        raise unsupported(f"The input column '{taken[0]}' has the name of an output.", "Rename it and export again.")
    inner = onnx.compose.add_prefix(foreign.model, INSIDE)
    versions = {"": OLDEST_OPSET, **opsets(foreign.model)}
    versions["ai.onnx.ml"] = max(2, versions.get("ai.onnx.ml", 3))
    surgery, columns = Surgery(versions[""]), list(inputs.columns)
    for port in foreign.ports:
        _feed(surgery, port, [columns.pop(0) for _ in range(port.width)], inputs.origin)
    surgery.nodes.extend(inner.graph.node)
    outputs = _outputs(surgery, foreign)
    _error(surgery, inputs.columns[0])
    outputs.append(helper.make_tensor_value_info("error", TensorProto.INT64, ["N", 1]))
    graph = helper.make_graph(
        surgery.nodes,
        "sqlml",
        [
            helper.make_tensor_value_info(c.name, TensorProto.STRING if c.is_text else TensorProto.DOUBLE, ["N", 1])
            for c in inputs.columns
        ],
        outputs,
        [*surgery.constants, *inner.graph.initializer],
        sparse_initializer=list(inner.graph.sparse_initializer),
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model = helper.make_model(
        graph, opset_imports=imports, ir_version=max(foreign.model.ir_version, 7), producer_name="sqlml"
    )
    allowed = _optional(foreign.ports, inputs.columns)
    return Normalised(
        onnx=bytes(model.SerializeToString()),
        kind=foreign.kind,
        classes=foreign.classes,
        probabilities=foreign.kind == "classifier" and foreign.scores is not None,
        targets=foreign.targets,
        reasons=tuple(surgery.reasons),
        precision=foreign.precision,
        nulls=tuple("missing" if optional else "refused" for optional in allowed),
        missing_as={column.name: "nan" for column in inputs.columns if column.is_text},
        names=foreign.names,
    )


def refusals(foreign: Foreign, inputs: Inputs, values: Sequence[Any]) -> list[str | None]:
    """Per row, why the original cannot be given it (`values`: one numpy array per column); None where it can."""
    said: list[str | None] = [None] * (len(values[0]) if values else 0)
    columns = zipped(_elements(foreign.ports), inputs.columns, values)
    for element, column, array in reversed(list(columns)):
        for bad, reason in reversed(_rules(element, column, array, inputs.origin)):
            for row in np.flatnonzero(bad):
                said[row] = reason
    return said


def _elements(ports: Sequence[Port]) -> list[int]:
    return [port.element for port in ports for _ in range(port.width)]


def _optional(ports: Sequence[Port], columns: Sequence[Input]) -> list[bool]:
    return [element in FLOATS and not column.required for element, column in zipped(_elements(ports), columns)]


def _reasons(element: int, column: Input, origin: str) -> tuple[str, str]:
    """What is said of a missing value, and of one that the element type cannot hold."""
    why = (
        "the model's signature requires it" if origin == "mlflow" else "the ONNX model has no signature that allows it"
    )
    if element not in FLOATS:
        why = "the ONNX model has no missing value for it"
    missing = f"{column.name} is NULL, and {why}"
    if element == TensorProto.BOOL:
        return missing, f"{column.name} is neither true nor false"
    return missing, f"{column.name} is not a whole number that the ONNX model can take"


def _rules(element: int, column: Input, values: Any, origin: str) -> list[tuple[Any, str]]:
    missing, odd = _reasons(element, column, origin)
    if element == TensorProto.STRING:
        return [(np.array([value is None for value in values], dtype=bool), missing)]
    found = [] if element in FLOATS and not column.required else [(np.isnan(values), missing)]
    with np.errstate(invalid="ignore"):
        if element in WHOLE:
            lowest, largest = WHOLE[element]
            whole = np.floor(values) == values
            found.append((~np.isnan(values) & ~(whole & (values >= lowest) & (values <= largest)), odd))
    return found


def _feed(surgery: Surgery, port: Port, columns: Sequence[Input], origin: str) -> None:
    """The input tensor of the file from the columns; rows that it cannot hold are marked, and given something harmless."""
    if port.element in FLOATS:
        whole = _floats(surgery, port, columns, origin)
    else:
        make = _text if port.element == TensorProto.STRING else _whole
        whole = surgery.join([make(surgery, port.element, column, origin) for column in columns])
    name = INSIDE + port.name
    if port.rank == 1:
        surgery.op("Reshape", whole, surgery.constant([-1], np.int64), output=name)
    else:
        surgery.op("Identity", whole, output=name)


def _floats(surgery: Surgery, port: Port, columns: Sequence[Input], origin: str) -> str:
    required = [column for column in columns if column.required]
    if required:
        missing = surgery.op("IsNaN", surgery.join([column.name for column in required]))
        surgery.check(missing, [_reasons(port.element, column, origin)[0] for column in required])
    whole = surgery.join([column.name for column in columns])
    if port.element == TensorProto.DOUBLE:
        return whole
    single = surgery.op("Cast", whole, to=TensorProto.FLOAT)
    return single if port.element == TensorProto.FLOAT else surgery.op("Cast", single, to=port.element)


def _text(surgery: Surgery, element: int, column: Input, origin: str) -> str:
    keys: dict[str, Any] = {"keys_strings": [MISSING_TEXT], "values_int64s": [1], "default_int64": 0}
    missing = surgery.op("Cast", surgery.op("LabelEncoder", column.name, **keys), to=TensorProto.BOOL)
    surgery.check(missing, [_reasons(element, column, origin)[0]])
    return column.name


def _whole(surgery: Surgery, element: int, column: Input, origin: str) -> str:
    """An integer or boolean column; only with what every opset from 9 on knows (Equal of doubles is younger)."""
    zero = surgery.constant([[0.0]], np.float64)
    lowest, largest = (surgery.constant([[bound]], np.float64) for bound in WHOLE[element])
    missing = surgery.op("IsNaN", column.name)
    rest = surgery.op("Abs", surgery.op("Sub", column.name, surgery.op("Floor", column.name)))
    outside = surgery.op("Or", surgery.op("Greater", column.name, largest), surgery.op("Less", column.name, lowest))
    odd = surgery.op("Or", surgery.op("Greater", rest, zero), outside)
    for bad, reason in zipped((missing, odd), _reasons(element, column, origin)):
        surgery.check(bad, [reason])
    harmless = surgery.op("Where", surgery.op("Or", missing, odd), zero, column.name)
    return surgery.op("Cast", harmless, to=element)


def _outputs(surgery: Surgery, foreign: Foreign) -> list[Any]:
    answer = INSIDE + foreign.answers[0]
    if foreign.kind == "regressor":
        whole = answer
        if len(foreign.answers) > 1:
            columns = []
            for name, width in zipped(foreign.answers, foreign.widths):
                double = surgery.op("Cast", INSIDE + name, to=TensorProto.DOUBLE)
                columns.append(surgery.op("Reshape", double, surgery.constant([-1, width], np.int64)))
            whole = surgery.op("Concat", *columns, axis=1)
        _matrix(surgery, whole, foreign.targets, "prediction")
        return [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["N", foreign.targets])]
    keys = "keys_strings" if isinstance(foreign.classes[0], str) else "keys_int64s"
    if keys == "keys_int64s":
        answer = surgery.op("Cast", answer, to=TensorProto.INT64)
    positions = list(range(len(foreign.classes)))
    table: dict[str, Any] = {keys: list(foreign.classes), "values_int64s": positions, "default_int64": -1}
    index = surgery.op("LabelEncoder", answer, **table)
    surgery.op("Reshape", index, surgery.constant([-1, 1], np.int64), output="prediction")
    outputs = [helper.make_tensor_value_info("prediction", TensorProto.INT64, ["N", 1])]
    if foreign.scores is not None:
        _matrix(surgery, INSIDE + foreign.scores, len(foreign.classes), "probabilities")
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["N", len(foreign.classes)]))
    return outputs


def _matrix(surgery: Surgery, tensor: str, width: int, output: str) -> None:
    double = surgery.op("Cast", tensor, to=TensorProto.DOUBLE)
    surgery.op("Reshape", double, surgery.constant([-1, width], np.int64), output=output)


def _error(surgery: Surgery, column: Input) -> None:
    """The number of the first reason that holds, 0 where none does."""
    if not surgery.candidates:  # then every column is a number that may be missing; any of them gives the rows
        rows = surgery.op("Cast", surgery.op("IsNaN", column.name), to=TensorProto.INT64)
        surgery.op("Mul", rows, surgery.constant([[0]], np.int64), output="error")
        return
    every = surgery.join(surgery.candidates)
    if surgery.opset >= 18:
        first = surgery.op("ReduceMin", every, surgery.constant([1], np.int64), keepdims=1)
    else:
        first = surgery.op("ReduceMin", every, axes=[1], keepdims=1)
    none = surgery.op("Equal", first, surgery.constant([[NO_ERROR]], np.int64))
    surgery.op("Where", none, surgery.constant([[0]], np.int64), first, output="error")
