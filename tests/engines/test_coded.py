"""Text columns become codes only where nothing but comparisons with constants reads them, and no answer changes."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.engines.coded import code_texts

TEXTS = ["a", "b", "A", "", "a ", "it's", "naïve", "nai\u0308ve", "a\0", "unseen", None]


def graph(nodes: list, outputs: dict[str, int], **constants: list[str]) -> bytes:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.STRING, ["N", 1]) for name in ("plan", "city")],
        [helper.make_tensor_value_info(name, kind, ["N", None]) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.array([texts], dtype=object), name) for name, texts in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()


def run(onnx: bytes, **feeds: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(onnx, providers=["CPUExecutionProvider"]).run(None, feeds)


def as_texts(values: list[str | None]) -> np.ndarray:
    return np.array([[MISSING_TEXT if v is None else v] for v in values], dtype=object)


@pytest.mark.parametrize("known", [["a", "b"], ["b", "naïve", ""], ["a", MISSING_TEXT], ["a\0", "a"], ["zz"]])
def test_codes_answer_as_texts_do(known):
    nodes = [
        helper.make_node("Equal", ["plan", "known"], ["one"]),
        helper.make_node("Equal", ["others", "plan"], ["two"]),
        helper.make_node("Equal", ["city", "known"], ["three"]),  # a constant that two columns share
    ]
    outputs = dict.fromkeys(("one", "two", "three"), TensorProto.BOOL)
    onnx = graph(nodes, outputs, known=known, others=["A", "it's"])
    coded, codes = code_texts(onnx)
    plan, city = TEXTS, TEXTS[::-1]
    expected = run(onnx, plan=as_texts(plan), city=as_texts(city))
    feeds = {name: codes[name].encode(pa.array(v, pa.string())) for name, v in (("plan", plan), ("city", city))}
    for ours, theirs in zip(run(coded, **feeds), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_column_that_something_else_reads_stays_text():
    nodes = [
        helper.make_node("Equal", ["plan", "known"], ["one"]),
        helper.make_node("LabelEncoder", ["plan"], ["two"], domain="ai.onnx.ml", keys_strings=["a"], values_int64s=[1]),
        helper.make_node("Equal", ["city", "city"], ["three"]),
    ]
    outputs = {"one": TensorProto.BOOL, "two": TensorProto.INT64, "three": TensorProto.BOOL}
    onnx = graph(nodes, outputs, known=["a"])
    assert code_texts(onnx) == (onnx, {})
