"""A model whose answer to a row depends on other rows, or on chance: rows are left out, and where it is common, it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from sqlml import parity
from sqlml.convert import Reference, open_worker
from sqlml.convert.isolated import reference
from sqlml.convert.received import Contradiction
from sqlml.errors import UnsupportedModel
from sqlml.parity.contradictions import COMMON
from tests.parity.test_gate import Original, check, con, deploy, onnx_model  # noqa: F401

ROWS = np.arange(600.0)


def asked(answer: Any, alone_seconds: float = 1.0) -> reference.Answers:
    group = reference.Group(np.arange(len(ROWS)), lambda positions: (answer(ROWS[positions]), None))
    suspect = np.zeros(len(ROWS), dtype=bool)
    return reference.answer_all(len(ROWS), [group], suspect, precision="double", alone_seconds=alone_seconds)


def test_what_is_normalised_over_the_batch_is_found_without_asking_rows_alone():
    found = asked(lambda x: x - x.mean(), alone_seconds=0.0)
    assert len(found.differs) > 0.9 * len(ROWS)
    assert found.alone_checked == 0
    assert found.examples[0]["how"] == "among other rows"


def test_what_only_a_row_by_itself_shows_is_found():
    found = asked(lambda x: x + (len(x) == 1))
    assert found.alone_checked > 100
    assert found.differs == set(found.alone)
    assert found.examples[0]["how"] == "alone"


def test_a_model_that_rolls_dice_is_found():
    rng = np.random.default_rng(0)
    assert len(asked(lambda x: x + rng.integers(0, 2, len(x)), alone_seconds=0.0).differs) > 200


def test_a_model_that_answers_row_by_row_contradicts_itself_nowhere():
    found = asked(lambda x: np.sin(x))
    assert not found.differs
    assert sorted(found.again) == list(range(len(ROWS)))


def contradicting(share: float) -> Original:
    def change(found: Reference, rows: Any) -> Reference:
        again = [row for row, error in enumerate(found.error) if error is None]
        differs = again[: int(share * len(again))]
        found.unstable[differs] = True
        shown = tuple(Contradiction(row, "alone", "['No']", "['Yes']") for row in differs[:2])
        values = {**vars(found), "again": again, "differs": differs, "contradictions": shown}
        return Reference(**values)

    return Original(change)


def test_a_model_that_often_contradicts_itself_is_refused_with_examples():
    with pytest.raises(UnsupportedModel, match=r"contradicts itself: of .* asked twice.*alone \['Yes'\]") as caught:
        parity.ask(contradicting(0.2), onnx_model())
    first = caught.value.details["examples"][0]
    assert first["first"] == "['No']"
    assert first["alone"] == "['Yes']"
    assert set(first["input"]) == {"age", "plan"}
    assert "rows beside" in str(caught.value.hint)


def test_few_contradictions_are_set_aside_and_counted(con):  # noqa: F811
    deploy(con)
    evidence = check(con, contradicting(COMMON / 2))
    assert evidence.passed
    [(reason, count)] = evidence.set_aside.items()
    assert "contradicts itself" in reason
    assert 0 < count < COMMON * evidence.rows


def test_an_onnx_file_that_subtracts_the_mean_of_its_batch_is_refused(tmp_path):
    """As a layer that normalises over the batch does when it was exported in training mode."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [tensor("x", TensorProto.FLOAT, ["N", 1])], [tensor("y", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    with (
        pytest.raises(UnsupportedModel, match="contradicts itself"),
        open_worker(path, log=lambda line: None) as worker,
    ):
        parity.ask(worker, worker.convert())
