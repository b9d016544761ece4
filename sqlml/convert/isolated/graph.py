"""Building an ONNX graph in sqlml's dialect: double tensors, constant right operands, errors collected on the way.

A table's tensors are [N, k]; text is tensor(string). Every check ("the original raises here") becomes error codes;
they ascend in pipeline order, so the smallest one of a row is what the original would have raised first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sqlml.convert.isolated.table import FLOAT32, LARGEST, Feature, Segment, Table

# The same constant as sqlml.convert.onnx_model.MISSING_TEXT, which isolated code cannot import (a test compares them).
MISSING_TEXT = "\U0010ffffmissing\U0010ffff"

# A double from here on rounds to a float32 infinity: half-way between the largest float32 and 2**128.
FLOAT32_OVERFLOW = float.fromhex("0x1.ffffffp+127")

# Measured: ReduceMin over int64 in onnxruntime 1.31.1 takes 2**31 for smaller than 1 (974 of 1292 rows wrong).
NO_ERROR = 2**31 - 1
OPSETS = {"": 21, "ai.onnx.ml": 5}
IR_VERSION = 10

Array = np.ndarray[Any, np.dtype[Any]]  # Any: shape and dtype are known only at run time


class Graph:
    """Nodes, constants and error candidates of one graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.reasons: list[str] = []
        self.refused: set[str] = set()
        """Input columns in which NULL is certain to be an error."""
        self.missing_as: dict[str, str] = {}
        """What a missing text must be for the original: "nan" (the default) or "none"."""
        self.wishes: dict[str, str] = {}
        """What the steps were fitted on, per text column: the first one that cares decides."""
        self.notes: dict[str, str] = {}
        """What an explanation needs beside the graph, as metadata of the model: see explaining.py."""
        self.single = False
        """Does a part of it compute in float32, as the original does?"""
        self._candidates: list[str] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._joined: dict[tuple[Segment, ...], str] = {}
        self._checked: set[tuple[str, str, int]] = set()
        self._missing_in: dict[str, str] = {}
        self._only: str | None = None
        self._computed: dict[bytes, str] = {}
        self._producers: dict[str, onnx.NodeProto] = {}
        self._taken: set[str] = set()
        self._count = 0

    def input(self, name: str, *, text: bool) -> str:
        kind = TensorProto.STRING if text else TensorProto.DOUBLE
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["N", 1]))
        self._taken.add(name)
        return name

    def fresh(self, stem: str) -> str:
        """A name no other value of the graph has, not even a column that somebody called "add_3"."""
        while True:
            self._count += 1
            name = f"{stem}_{self._count}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def reserve(self, names: Sequence[str]) -> None:
        self._taken.update(names)

    def inner(self) -> Graph:
        """An empty graph for the body of a loop or a branch: no name of it is also one of ours."""
        made = Graph()
        made.inputs, made._taken, made._count = self.inputs, self._taken, self._count
        return made

    def several(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:  # Any: ONNX attributes
        """The outputs of an operator that has several."""
        outputs = [self.fresh(kind.lower()) for _ in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, values: Array) -> str:
        if values.dtype == object:
            raw = repr(values.tolist()).encode("utf-8", "backslashreplace")
        else:
            raw = np.ascontiguousarray(values).tobytes()
        key = (str(values.dtype), values.shape, raw)
        if key not in self._constants:
            name = self.fresh("const")
            self.initializers[name] = numpy_helper.from_array(values, name)
            self._constants[key] = name
        return self._constants[key]

    def double(self, values: Any) -> str:  # Any: whatever numpy takes
        """A constant of doubles: a scalar, or [1, k] from a flat sequence, or a matrix as it is."""
        array = np.asarray(values, dtype=np.float64)
        return self.constant(array.reshape(1, -1) if array.ndim == 1 else array)

    def ints(self, values: Any) -> str:  # Any: whatever numpy takes
        return self.constant(np.asarray(values, dtype=np.int64))

    def texts(self, values: Sequence[str]) -> str:
        return self.constant(np.array([list(values)], dtype=object))

    def scalar(self, tensor: str) -> float | None:
        """The value of a constant of one element."""
        held = self.initializers.get(tensor)
        if held is None or held.data_type != TensorProto.DOUBLE:
            return None
        values = numpy_helper.to_array(held)
        return float(values.reshape(-1)[0]) if values.size == 1 else None

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes the tensor, past those that change nothing and that an optimiser removes."""
        node = self._producers.get(tensor)
        while node is not None and node.op_type in ("Add", "Sub", "Mul", "Div", "Identity"):
            neutral = 0.0 if node.op_type in ("Add", "Sub") else 1.0
            if node.op_type != "Identity" and self.scalar(node.input[1]) != neutral:
                break
            node = self._producers.get(node.input[0])
        return node

    def matmul(self, tensor: str, weights: Array) -> str:
        """tensor @ weights, so that onnxruntime computes it in double.

        Measured (1.31.1): its MatMulScaleFusion makes a factor or divisor of one element beside a MatMul an attribute
        of the fused node, and attributes are float32: 1e-8 off. So there is no MatMul of one column, and no such factor.
        """
        rows = weights.shape[0]
        if rows == 1:
            return self.op("Mul", tensor, self.double(weights))
        before = self.producer(tensor)
        if before is not None and before.op_type in ("Mul", "Div"):
            factor = self.scalar(before.input[1])
            if factor is not None:
                tensor = self.op(before.op_type, before.input[0], self.double([factor] * rows))
        return self.op("MatMul", tensor, self.double(weights))

    def scaled(self, kind: str, tensor: str, factor: str) -> str:
        """`kind` is Mul or Div; a factor of one element beside a MatMul becomes a column (see `matmul`)."""
        value, before = self.scalar(factor), self.producer(tensor)
        if value is not None and before is not None and before.op_type == "MatMul":
            factor = self.rows([value])
        return self.emit(kind, tensor, factor)

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # Any: ONNX attributes
        if kind in ("Mul", "Div") and self.scalar(inputs[0]) is None:
            return self.scaled(kind, *inputs)
        return self.emit(kind, *inputs, domain=domain, **attributes)

    def emit(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # Any: ONNX attributes
        node = helper.make_node(kind, list(inputs), [], domain=domain, **attributes)
        # The members of an ensemble ask for the same things: what was computed once is not computed again.
        key = sha256(node.SerializeToString(deterministic=True)).digest()
        if key not in self._computed:
            self._computed[key] = self.fresh(kind.lower())
            node.output.append(self._computed[key])
            self._producers[node.output[0]] = node
            self.nodes.append(node)
        return self._computed[key]

    def named(self, tensor: str, name: str) -> None:
        """The tensor under a final output's name."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))

    # Small idioms -----------------------------------------------------------------------------------------------

    def as_double(self, tensor: str) -> str:
        return self.op("Cast", tensor, to=TensorProto.DOUBLE)

    def as_int(self, tensor: str) -> str:
        return self.op("Cast", tensor, to=TensorProto.INT64)

    def round32(self, tensor: str) -> str:
        """The double rounded to float32 and back: what storing it in a float32 array does."""
        return self.op("Cast", self.op("Cast", tensor, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)

    def settle(self, tensor: str, dtype: np.dtype[Any]) -> str:
        return self.round32(tensor) if dtype == FLOAT32 else tensor

    def join(self, tensors: Sequence[str]) -> str:
        return tensors[0] if len(tensors) == 1 else self.op("Concat", *tensors, axis=1)

    def gather(self, tensor: str, indices: Sequence[int]) -> str:
        return self.op("Gather", tensor, self.ints(list(indices)), axis=1)

    def reduce(self, kind: str, tensor: str) -> str:
        return self.op(f"Reduce{kind}", tensor, self.ints([1]), keepdims=1)

    def argmax(self, tensor: str) -> str:
        return self.op("ArgMax", tensor, axis=1, keepdims=1, select_last_index=0)

    def tensor(self, table: Table) -> str:
        """The table as one tensor [N, K]; all its columns are numbers, or all are text."""
        if table.segments not in self._joined:
            parts = [s.tensor if s.whole else self.gather(s.tensor, s.picks) for s in table.segments]
            self._joined[table.segments] = self.join(parts)
        return self._joined[table.segments]

    def column(self, table: Table, index: int) -> str:
        return self.tensor(table.select([index]))

    # What the original refuses ----------------------------------------------------------------------------------

    def error(self, bad: str, reasons: Sequence[str]) -> None:
        """Rows where column i of `bad` (boolean [N, k]) is true have no prediction, because of reasons[i]."""
        if self._only is not None:
            bad = self.op("And", bad, self._only)
        first = len(self.reasons) + 1
        self.reasons.extend(reasons)
        codes = self.ints([list(range(first, first + len(reasons)))])
        self._candidates.append(self.op("Where", bad, codes, self.ints([[NO_ERROR]])))

    @contextmanager
    def errors_only(self, where: str) -> Iterator[None]:
        """What is refused inside counts only in the rows where the condition holds; the others are not asked."""
        outer, checked = self._only, set(self._checked)
        self._only = where if outer is None else self.op("And", outer, where)
        yield
        self._only, self._checked = outer, checked

    def unchecked(self, kind: str, table: Table, at_risk: Sequence[int]) -> list[int]:
        """Those columns that no earlier step has checked in the same way: their bad rows are errors already."""
        new = [i for i in at_risk if (kind, *table.places[i]) not in self._checked]
        self._checked.update((kind, *table.places[i]) for i in at_risk)
        return new

    def same_missing(self, made: str, source: str) -> None:
        """Column by column, `made` is NaN exactly where `source` is: whoever asks for NaN need not look through it."""
        self._missing_in[made] = self._missing_in.get(source, source)

    def refuse_missing(self, table: Table, who: str) -> Table:
        """NaN raises here. Returns the table with that known."""
        given = table
        segments = [replace(s, tensor=self._missing_in.get(s.tensor, s.tensor)) for s in table.segments]
        table = replace(table, segments=tuple(segments))
        at_risk = self.unchecked("missing", table, [i for i, f in enumerate(table.features) if f.nan])
        if at_risk:
            picked = table.select(at_risk)
            self.refused.update(*(f.missing for f in picked.features))
            reasons = [
                f"{f.label} is {'missing' if f.direct else 'not a number'}, and {who} does not accept missing values"
                for f in picked.features
            ]
            self.error(self.op("IsNaN", self.tensor(picked)), reasons)
        return given.with_features([replace(f, nan=False, missing=frozenset()) for f in given.features])

    def refuse_infinite(self, table: Table, who: str) -> Table:
        """Infinities raise here. Returns the table with that known."""
        at_risk = self.unchecked("infinite", table, [i for i, f in enumerate(table.features) if f.infinite])
        if at_risk:
            picked = table.select(at_risk)
            reasons = [f"{f.label} is infinite, and {who} does not accept that" for f in picked.features]
            self.error(self.op("IsInf", self.tensor(picked)), reasons)
        return table.with_features([finite(f) for f in table.features])

    def refuse_beyond_float32(self, table: Table, who: str) -> Table:
        """What becomes infinite as a float32 raises here."""
        over = [i for i, f in enumerate(table.features) if not -FLOAT32_OVERFLOW < f.low <= f.high < FLOAT32_OVERFLOW]
        at_risk = self.unchecked("float32", table, over)
        if at_risk:
            picked = table.select(at_risk)
            reasons = [
                f"{f.label} is infinite or too large for {who}, which computes in float32" for f in picked.features
            ]
            size = self.op("Abs", self.tensor(picked))
            self.error(self.op("GreaterOrEqual", size, self.double(FLOAT32_OVERFLOW)), reasons)
        largest = float(np.finfo(np.float32).max)
        return table.with_features(
            [replace(f, low=max(f.low, -largest), high=min(f.high, largest)) for f in table.features]
        )

    def rows(self, values: Any) -> str:  # Any: whatever numpy takes
        """The same doubles [N, k] in every row."""
        seed = self.inputs[0].name
        nothing = self.op("Mul", self.as_double(self.op("Equal", seed, seed)), self.double([0.0]))
        return self.op("Add", nothing, self.double(values))

    # The end ----------------------------------------------------------------------------------------------------

    def finish_error(self) -> None:
        """The output "error": the first candidate of each row, 0 where there is none."""
        if not self._candidates:
            # An initializer has no rows: any input gives their number.
            seed = self.inputs[0]
            equal = self.op("Equal", seed.name, seed.name)
            self.named(self.op("Mul", self.as_int(equal), self.ints([[0]])), "error")
            return
        first = self.reduce("Min", self.join(self._candidates))
        none = self.op("Equal", first, self.ints([[NO_ERROR]]))
        self.named(self.op("Where", none, self.ints([[0]]), first), "error")

    def model(self, outputs: Sequence[tuple[str, int, int]]) -> bytes:
        """The finished model; `outputs` are (name, element type, width)."""
        graph = helper.make_graph(
            self.nodes,
            "sqlml",
            self.inputs,
            [helper.make_tensor_value_info(name, kind, ["N", width]) for name, kind, width in outputs],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="sqlml")
        helper.set_model_props(model, self.notes)
        return bytes(model.SerializeToString())


def finite(feature: Feature) -> Feature:
    return replace(feature, low=max(feature.low, -LARGEST), high=min(feature.high, LARGEST))
