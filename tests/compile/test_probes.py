"""The values that hostile rows are made of: thresholds as the table's columns see them, and categories."""

from __future__ import annotations

import time

import numpy as np
from onnx import TensorProto, helper

from sqlml.compile import compile_onnx, probes
from sqlml.signature import Column
from tests.compile.graphs import forest, graph

X, TEXT = Column("x", "DOUBLE", "missing"), Column("kind", "VARCHAR", "missing")


def scaled_then_split(threshold=0.3, unknown=False):
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("Equal", ["kind", "categories"], ["is"]),
        helper.make_node("Cast", ["is"], ["hot"], to=TensorProto.DOUBLE),
        helper.make_node("Concat", ["scaled", "hot"], ["given"], axis=1),
        forest([(0, threshold, (1, 0.5, (1.0, 0), (2.0, 0)), (3.0, 0))], given="given", output="raw"),
        helper.make_node(
            "TopK" if unknown else "Identity", ["raw"] + ["k"] * unknown, ["prediction"] + ["at"] * unknown
        ),
    ]
    constants = {
        "mean": np.array([[3.1]]),
        "scale": np.array([[1.7]]),
        "categories": np.array([["a", "b"]], dtype=object),
        **({"k": np.array([1])} if unknown else {}),
    }
    return graph([X, TEXT], nodes, constants)


def test_thresholds_are_found_in_units_of_the_column_with_their_neighbours():
    found = probes(scaled_then_split())
    turning = found.thresholds["x"][0]
    assert (turning - 3.1) / 1.7 <= 0.3
    assert (np.nextafter(turning, np.inf) - 3.1) / 1.7 > 0.3
    assert found.categories == {"kind": ("a", "b")}
    assert (found.thresholds_taken, found.thresholds_found, found.not_followed) == (1, 1, 0)


def test_they_are_found_where_the_graph_cannot_be_compiled():
    found = probes(scaled_then_split(unknown=True))
    assert set(found.thresholds) == {"x"}
    assert set(found.categories) == {"kind"}


def test_a_column_that_cannot_be_followed_has_none():
    nodes = [
        helper.make_node("Erf", ["x"], ["y"]),
        forest([(0, 1.0, (1.0, 0), (2.0, 0))], given="y", output="prediction"),
    ]
    found = probes(graph([X], nodes, {}))
    assert not found.thresholds
    assert found.not_followed == 1


def test_a_large_forest_is_sampled_and_costs_are_known_at_once():
    rng = np.random.default_rng(0)

    def tree(depth):
        return (1.0, 0) if depth == 0 else (0, float(rng.normal()), tree(depth - 1), tree(depth - 1))

    model = graph([X], [forest([tree(10) for _ in range(20)], output="prediction")], {})
    start = time.perf_counter()
    cost = compile_onnx(model).cost
    found = probes(model, limit=1000)
    assert time.perf_counter() - start < 5
    assert (cost.leaves, cost.leaves_per_tree) == (20 * 1024, 1024)
    assert 900 < len(found.thresholds["x"]) == found.thresholds_taken <= 1000
    assert found.thresholds_found == 20 * 1023
