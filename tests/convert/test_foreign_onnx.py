"""Any .onnx file: brought into sqlml's form and compared with the file itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
import yaml
from onnx import TensorProto, helper

from sqlml.convert import open_worker
from sqlml.convert.isolated import foreign_graph, foreign_onnx
from sqlml.convert.isolated.foreign_reference import ForeignOriginal
from tests.convert.foreign_models import (
    DOUBLE,
    FLOAT,
    answers,
    classifier,
    linear,
    mixed,
    model,
    normalised,
    refused,
    value,
)


@pytest.fixture
def bare(tmp_path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        (tmp_path / "model.onnx").write_bytes(content)
        return tmp_path / "model.onnx"

    return write


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("labels", [("no", "yes"), (7, 3)])
def test_a_classifier_gives_the_file_s_own_labels_and_probabilities(bare, zipmap, labels):
    rows = pa.table({"f0": [1.0, -1.0, 0.0, None], "f1": [0.0, 2.0, 0.5, 1.0]})

    with open_worker(bare(classifier(zipmap=zipmap, labels=labels)), log=lambda line: None) as worker:
        converted = worker.convert()
        reference = worker.reference(rows)
    found = answers(converted, rows)

    assert converted.signature.classes == labels
    assert converted.signature.origin == "onnx"
    assert converted.precision == "float"
    assert reference.error[:3] == [None] * 3
    assert reference.error[3] == converted.reasons[found["error"][3, 0] - 1]
    assert [labels[i] for i in found["prediction"][:3, 0]] == reference.prediction[:3]
    np.testing.assert_array_equal(found["probabilities"][:3], reference.scores[:3])
    assert found["error"][:, 0].tolist() == [0, 0, 0, 1]


def test_one_tensor_per_column_with_every_way_to_be_wrong(bare):
    rows = pa.table(
        {
            "amount": [1.5, None, 1.5, 1.5, 1.5, 1.5, 1.5],
            "count": [2.0, 2.0, 2.5, None, 2.0, 2.0, 2.0**60],
            "flag": pa.array([1.0, 1.0, 0.0, 1.0, 0.5, 0.0, 0.0]),
            "plan": ["a", "a", "b", "a", "a", None, "b"],
        }
    )

    with open_worker(bare(mixed()), log=lambda line: None) as worker:
        converted = worker.convert()
        reference = worker.reference(rows)
    found = answers(converted, rows)

    assert [(c.name, c.type) for c in converted.signature.columns] == [
        ("amount", "DOUBLE"),
        ("count", "BIGINT"),
        ("flag", "BOOLEAN"),
        ("plan", "VARCHAR"),
    ]
    assert converted.precision == "double"
    assert found["prediction"][0, 0] == reference.prediction[0, 0] == 1.5 + 2 + 1 + 10
    said = [None if code == 0 else converted.reasons[code - 1] for code in found["error"][:, 0]]
    assert said == reference.error
    assert said == [
        None,
        "amount is NULL, and the ONNX model has no signature that allows it",
        "count is not a whole number that the ONNX model can take",
        "count is NULL, and the ONNX model has no missing value for it",
        "flag is neither true nor false",
        "plan is NULL, and the ONNX model has no missing value for it",
        "count is not a whole number that the ONNX model can take",
    ]


@pytest.mark.parametrize("opset", [9, 12, 17, 18, 21])
@pytest.mark.parametrize("element", [FLOAT, DOUBLE])
def test_a_score_alone_is_a_regressor_in_every_opset(element, opset):
    converted = normalised(linear(element, opset=opset))

    session = onnxruntime.InferenceSession(converted.onnx)
    feed = {"f0": np.array([[1.0], [np.nan]]), "f1": np.array([[4.0], [1.0]])}
    prediction, error = session.run(["prediction", "error"], feed)

    assert converted.kind == "regressor"
    assert converted.targets == 1
    assert converted.precision == ("float" if element == FLOAT else "double")
    assert prediction[0, 0] == -1.0
    assert error.tolist() == [[0], [1]]


def of_element(element: int, *, rank: int) -> bytes:
    """One value of any element type, as a DOUBLE."""
    shape = ["N"] if rank == 1 else ["N", 1]
    nodes = [helper.make_node("Cast", ["X"], ["score"], to=DOUBLE)]
    return model(nodes, [value("X", element, shape)], [value("score", DOUBLE, shape)], opset=21)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    ("element", "fits", "not_"),
    [
        ("FLOAT16", [0.1, 65504.0, -6e-8, 2049.0, 70000.0], []),
        ("INT8", [-128.0, 127.0], [-129.0, 128.0, 0.5]),
        ("INT16", [-32768.0, 32767.0], [32768.0, -1e300]),
        ("UINT8", [0.0, 255.0], [-1.0, 256.0]),
        ("UINT16", [0.0, 65535.0], [-1.0, 65536.0]),
        ("UINT32", [0.0, 4294967295.0], [-1.0, 4294967296.0]),
        ("UINT64", [0.0, 9007199254740992.0], [-1.0, 1e19]),
    ],
)
def test_every_element_type_holds_what_it_can_and_refuses_the_rest(element, fits, not_, rank):
    content = of_element(getattr(TensorProto, element), rank=rank)
    foreign = foreign_onnx.read(content)
    inputs = foreign_onnx.inputs_of(foreign, None)
    converted = foreign_graph.normalise(foreign, inputs)
    values = np.array([*fits, *not_, np.nan])

    prediction, error = onnxruntime.InferenceSession(converted.onnx).run(
        ["prediction", "error"], {"X": values.reshape(-1, 1)}
    )
    own = ForeignOriginal(content, foreign).group([np.array(fits)], np.arange(len(fits))).ask(np.arange(len(fits)))[0]

    assert (error[:, 0] == 0).tolist() == [True] * len(fits) + [False] * (len(not_) + 1)
    assert [text is None for text in foreign_graph.refusals(foreign, inputs, [values])] == (error[:, 0] == 0).tolist()
    np.testing.assert_array_equal(prediction[: len(fits)], own)
    if element != "FLOAT16":
        assert own[:, 0].tolist() == fits


def test_several_scores_of_any_width_are_targets_by_their_own_names():
    nodes = [
        helper.make_node("ReduceSum", ["X", "one"], ["total"], keepdims=0),
        helper.make_node("Identity", ["X"], ["parts"]),
    ]
    outputs = [value("total", FLOAT, ["N"]), value("parts", FLOAT, ["N", 2])]
    converted = normalised(model(nodes, [value("X", FLOAT, ["N", 2])], outputs, {"one": np.array([1])}))

    feed = {"f0": np.array([[1.0], [2.0]]), "f1": np.array([[10.0], [20.0]])}
    (prediction,) = onnxruntime.InferenceSession(converted.onnx).run(["prediction"], feed)

    assert (converted.targets, converted.names) == (3, ("total", "parts_0", "parts_1"))
    assert prediction.tolist() == [[11.0, 1.0, 10.0], [22.0, 2.0, 20.0]]


def test_a_batch_fixed_to_one_row_is_opened_and_the_file_itself_still_answers_row_by_row(bare):
    rows = pa.table({"f0": [1.0, -1.0, 0.5], "f1": [0.0, 2.0, 0.5]})

    with open_worker(bare(linear(shape=(1, 2))), log=lambda line: None) as worker:
        converted = worker.convert()
        reference = worker.reference(rows)

    assert reference.prediction[:, 0].tolist() == [3.0, -3.0, 1.5]
    np.testing.assert_array_equal(answers(converted, rows)["prediction"], reference.prediction)


def test_a_batch_that_the_graph_computes_with_is_not_opened():
    nodes = [helper.make_node("Reshape", ["X", "two"], ["score"])]
    content = model(nodes, [value("X", FLOAT, [1, 2])], [value("score", FLOAT, [1, 2])], {"two": np.array([1, 2])})

    assert "fixed batch size of 1, which it computes with" in refused(content)


def test_layers_that_are_functions_of_standard_operators_are_written_out():
    node = helper.make_node("Layer", ["X"], ["score"], domain="pkg")
    twice = helper.make_node("Add", ["a", "a"], ["b"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("pkg", 1)]
    layer = helper.make_function("pkg", "Layer", ["a"], ["b"], [twice], [helper.make_opsetid("", 17)])
    graph = helper.make_graph([node], "g", [value("X", FLOAT, ["N", 1])], [value("score", FLOAT, ["N", 1])])
    content = helper.make_model(graph, opset_imports=opsets, functions=[layer], ir_version=8).SerializeToString()
    converted = normalised(content)

    (prediction,) = onnxruntime.InferenceSession(converted.onnx).run(["prediction"], {"X": np.array([[1.5]])})

    assert prediction.tolist() == [[3.0]]


def test_a_single_column_keeps_the_name_of_its_input():
    content = linear(DOUBLE, width=1, shape=("N", 1))

    assert foreign_onnx.inputs_of(foreign_onnx.read(content), None).names == ["X"]


def test_an_optional_column_reaches_the_model_as_nan():
    signature = [{"name": "a", "type": "double", "required": False}, {"name": "b", "type": "long"}]

    converted = normalised(linear(DOUBLE), signature)
    feed = {"a": np.array([[np.nan]]), "b": np.array([[1.0]])}
    prediction, error = onnxruntime.InferenceSession(converted.onnx).run(["prediction", "error"], feed)

    assert converted.nulls == ("missing", "refused")
    assert np.isnan(prediction[0, 0])
    assert error[0, 0] == 0


def test_without_any_check_the_error_is_zero():
    signature = [{"name": n, "type": "double", "required": False} for n in "ab"]

    converted = normalised(linear(DOUBLE), signature)
    feed = {"a": np.array([[np.nan], [1.0]]), "b": np.array([[1.0], [1.0]])}

    assert converted.reasons == ()
    assert onnxruntime.InferenceSession(converted.onnx).run(["error"], feed)[0].tolist() == [[0], [0]]


def test_several_scores_are_targets_and_names_do_not_collide():
    nodes = [helper.make_node("Mul", ["X", "f0"], ["f1"])]
    content = model(nodes, [value("X", DOUBLE, ["N", 3])], [value("f1", DOUBLE, ["N", 3])], {"f0": np.array(2.0)})

    converted = normalised(content)
    feed = {f"f{i}": np.array([[float(i)]]) for i in range(3)}

    assert converted.targets == 3
    assert onnxruntime.InferenceSession(converted.onnx).run(["prediction"], feed)[0].tolist() == [[0.0, 2.0, 4.0]]


def test_a_signature_names_the_columns_of_an_mlflow_artifact_whose_weights_lie_beside_it(tmp_path):
    weights = np.arange(512.0, dtype=np.float64).reshape(2, 256)
    nodes = [helper.make_node("MatMul", ["X", "w"], ["z"]), helper.make_node("ReduceSum", ["z", "one"], ["score"])]
    constants = {"w": weights, "one": np.array([1])}
    content = model(nodes, [value("X", DOUBLE, ["N", 2])], [value("score", DOUBLE, ["N", 1])], constants)
    onnx.save_model(
        onnx.load_model_from_string(content), tmp_path / "model.onnx", save_as_external_data=True, location="w.data"
    )
    signature = {"inputs": json.dumps([{"name": "my age", "type": "double"}, {"name": "select", "type": "long"}])}
    mlmodel = {"flavors": {"onnx": {"data": "model.onnx", "onnx_version": "1.0"}}, "signature": signature}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    lines = []

    with open_worker(tmp_path, log=lines.append) as worker:
        converted = worker.convert()
        reference = worker.reference(pa.table({"MY AGE": [1.0], "select": [2]}))

    assert [(c.name, c.type) for c in converted.signature.columns] == [("my age", "DOUBLE"), ("select", "BIGINT")]
    assert reference.prediction[0, 0] == (np.array([[1.0, 2.0]]) @ weights).sum()
    assert len(converted.origin["w.data sha256"]) == 64
    assert any(line.startswith("trained with onnx 1.0, converted with ") for line in lines)
