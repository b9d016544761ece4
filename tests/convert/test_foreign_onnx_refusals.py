"""What of an .onnx file is refused, and in which words."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sqlml.convert import open_worker
from sqlml.errors import ArtifactError, UnsupportedModel
from tests.convert.foreign_models import (
    FLOAT,
    INT64,
    linear,
    model,
    refused,
    value,
)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname"])
def test_weights_outside_of_the_artifact_are_refused(tmp_path, location):
    content = onnx.load_model_from_string(linear())
    onnx.external_data_helper.set_external_data(content.graph.initializer[0], location)
    content.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "model.onnx").write_bytes(content.SerializeToString())
    (tmp_path / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")

    with pytest.raises(ArtifactError, match="outside of its own directory"), open_worker(tmp_path, log=print):
        pass
    with pytest.raises(UnsupportedModel, match="keeps 'w' in"), open_worker(tmp_path / "model.onnx", log=print):
        pass


def one_node(kind: str, *, domain: str = "", **attributes: object) -> bytes:
    nodes = [helper.make_node(kind, ["X"], ["score"], domain=domain, **attributes)]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    graph = helper.make_graph(nodes, "g", [value("X", FLOAT, ["N", 2])], [value("score", FLOAT, ["N", 2])])
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (linear(shape=("N", "M")), r"open number of columns: \[\?, \?\]"),
        (linear(shape=(3, 2)), r"fixed batch size: \[3, 2\]"),
        (linear(shape=("N", 2, 2)), r"shape \[\?, 2, 2\], not one row of columns"),
        (linear(TensorProto.BFLOAT16), "cannot load the model"),
        (linear(opset=8), "is of opset 8"),
        (one_node("Strange", domain="mine"), "operators of its own: mine.Strange"),
        (one_node("RandomNormalLike"), "uses RandomNormalLike"),
        (one_node("ReduceSum", keepdims=0), "not one row each"),
        (one_node("Multinomial", dtype=INT64), "Multinomial"),
        (one_node("Shape"), "cannot load the model"),
        (b"", "not a valid ONNX model"),
        (b"garbage", "not a valid ONNX model"),
    ],
    ids=range(12),
)
def test_what_cannot_be_a_model_is_refused_by_name(content, said):
    assert re.search(said, refused(content))


def test_control_flow_is_refused():
    branch = helper.make_graph([helper.make_node("Identity", ["X"], ["y"])], "b", [], [value("y", FLOAT, ["N", 2])])
    nodes = [helper.make_node("If", ["yes"], ["score"], then_branch=branch, else_branch=branch, name="choice")]
    constants = {"yes": np.array(True)}
    content = model(nodes, [value("X", FLOAT, ["N", 2])], [value("score", FLOAT, ["N", 2])], constants)

    assert "uses If ('choice')" in refused(content)


def test_labels_that_nobody_names_are_refused():
    nodes = [helper.make_node("Cast", ["X"], ["label"], to=INT64)]
    content = model(nodes, [value("X", FLOAT, ["N", 1])], [value("label", INT64, ["N", 1])])

    assert "does not say which labels its output 'label' can take" in refused(content)


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ([{"name": "a", "type": "double"}], "takes 2 columns (f0, f1), and its signature names 1 columns (a)"),
        (
            [{"name": "a", "type": "double"}, {"name": "b", "type": "string"}],
            "'b' is VARCHAR in the signature and FLOAT",
        ),
        ([{"name": "error", "type": "double"}, {"name": "b", "type": "double"}], "'error' has the name of an output"),
    ],
)
def test_signatures_that_do_not_fit_the_file_are_refused(signature, said):
    assert said in refused(linear(), signature)


def test_inputs_that_differ_in_case_only_are_refused():
    nodes = [helper.make_node("Add", ["a", "A"], ["score"])]
    content = model(
        nodes, [value("a", FLOAT, ["N", 1]), value("A", FLOAT, ["N", 1])], [value("score", FLOAT, ["N", 1])]
    )

    assert "'a', 'A' differ only in case" in refused(content)
