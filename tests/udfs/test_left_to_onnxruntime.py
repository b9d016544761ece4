"""Operators without a kernel: `sqlml_describe` names the first of them, and the answers are onnxruntime's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pytest

import sqlml
from tests.udfs.graphs import Step, answered, by_onnxruntime, graph

pytestmark = pytest.mark.native

ROWS = 5000  # three parts
NUMBERS = np.random.default_rng(0).normal(size=(ROWS, 3))
INTEGERS = np.random.default_rng(1).integers(-(2**40), 2**40, size=(ROWS, 3))
TEXTS = np.array([["a", "b c", "na\u00efve", ""][row % 4] for row in range(ROWS)], dtype=object).reshape(-1, 1)
UINT8, DOUBLE = 2, 11


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with sqlml.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("said", "steps", "feed", "constants"),
    [
        ("operator Tile", [Step("Tile", ["x", "times"], ["y"])], NUMBERS, {"times": ints(1, 2)}),
        (
            "operator Tile",
            [
                Step("Tile", ["x", "times"], ["texts"]),
                Step("Equal", ["texts", "a"], ["is"]),
                Step("Cast", ["is"], ["y"], attributes={"to": DOUBLE}),
            ],
            TEXTS,
            {"times": ints(1, 2), "a": np.array([["a", "na\u00efve"]], dtype=object)},
        ),
        ("operator Expand", [Step("Expand", ["x", "to"], ["y"])], NUMBERS[:, :1], {"to": ints(1, 4)}),
        (
            "operator Shape",
            [
                Step("Shape", ["x"], ["shape"]),
                Step("Expand", ["row", "shape"], ["rows"]),
                Step("Add", ["x", "rows"], ["y"]),
            ],
            NUMBERS,
            {"row": np.array([[0.1, 0.2, 0.3]])},
        ),
        ("a MatMul of integers", [Step("MatMul", ["x", "w"], ["y"])], INTEGERS, {"w": INTEGERS[:3]}),
        (
            "a cast to ONNX's type 2",
            [
                Step("Cast", ["x"], ["bytes"], attributes={"to": UINT8}),
                Step("Cast", ["bytes"], ["y"], attributes={"to": DOUBLE}),
            ],
            np.abs(INTEGERS) % 256,
            {},
        ),
    ],
)
def test_it_is_said_and_the_answers_are_equal(
    connection: duckdb.DuckDBPyConnection,
    said: str,
    steps: Sequence[Step],
    feed: np.ndarray[Any, Any],
    constants: Mapping[str, np.ndarray[Any, Any]],
) -> None:
    model = graph(steps, {"x": feed}, ["y"], constants)
    described, found = answered(connection, model, {"x": feed})
    first = described.splitlines()[0]
    assert first.startswith("onnxruntime "), first
    assert first.endswith(f": {said}"), first
    np.testing.assert_array_equal(found, by_onnxruntime(model, {"x": feed}))
