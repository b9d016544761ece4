"""The graph builder: sums in numpy's order, names nobody else has, and errors in pipeline order."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.bayes import row_sum
from sqlml.convert.isolated.table import FLOAT64, Feature, beside, table_of
from tests.convert.sklearn_parity import session_of


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 23, 128, 129, 300])
def test_row_sums_have_numpys_last_bit(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.normal(size=(50, width)) * 10.0 ** rng.integers(-8, 8, (50, width))
    graph = Graph()
    graph.inputs.append(helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", width]))
    graph.reserve(["x", "y"])
    graph.named(row_sum(graph, "x", width), "y")

    (sums,) = session_of(graph.model([("y", TensorProto.DOUBLE, 1)])).run(None, {"x": rows})

    assert sums.ravel().tolist() == rows.sum(axis=1).tolist()


def test_the_first_step_that_raises_gives_the_reason() -> None:
    graph = Graph()
    graph.reserve(["error"])
    table = beside(
        [
            table_of(graph.input(name, text=False), [Feature(FLOAT64, sources=(name,), missing=frozenset([name]))])
            for name in "ab"
        ]
    )
    table = graph.refuse_infinite(table, "First")
    table = graph.refuse_missing(table, "Second")
    assert graph.refuse_missing(table, "Third") == table
    graph.finish_error()

    session = session_of(graph.model([("error", TensorProto.INT64, 1)]))
    feed = {"a": np.array([[1.0], [np.nan], [np.nan], [2.0]]), "b": np.array([[1.0], [np.inf], [3.0], [np.nan]])}
    (codes,) = session.run(None, feed)

    said = [graph.reasons[c - 1] if c else "" for c in codes.ravel()]
    assert said == [
        "",
        "b is infinite, and First does not accept that",
        "a is missing, and Second does not accept missing values",
        "b is missing, and Second does not accept missing values",
    ]
    assert graph.refused == {"a", "b"}


def test_names_do_not_collide_with_columns() -> None:
    graph = Graph()
    graph.reserve(["add_1", "add_2"])

    assert graph.fresh("add") not in ("add_1", "add_2")
