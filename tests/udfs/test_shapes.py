"""Operators that move values, and those that pick them by the row, against onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pytest

import sqlml
from tests.udfs.graphs import Step, check, graph

pytestmark = pytest.mark.native

Array = np.ndarray[Any, Any]
X = np.arange(60, dtype=np.float64).reshape(10, 6) - 30.5


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with sqlml.connect() as connection:
        yield connection


def same(
    connection: duckdb.DuckDBPyConnection,
    steps: Sequence[Step],
    outputs: Sequence[str],
    constants: Mapping[str, Array],
    feeds: Mapping[str, Array] | None = None,
) -> None:
    feeds = feeds or {"x": X}
    check(connection, graph(steps, feeds, outputs, constants), feeds, 0)


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(0, 6, 1), (1, -1, 1), (-3, 100, 1), (0, 6, 2), (5, 0, -1), (-1, -100, -1), (4, 4, 1)],
)
def test_slices(connection: duckdb.DuckDBPyConnection, start: int, end: int, step: int) -> None:
    # Beside the columns themselves: a slice of nothing alone is no output.
    steps = [
        Step("Slice", ["x", "start", "end", "axis", "step"], ["part"]),
        Step("Concat", ["part", "x"], ["y"], attributes={"axis": 1}),
    ]
    constants = {"start": ints(start), "end": ints(end), "axis": ints(1), "step": ints(step)}
    same(connection, steps, ["y"], constants)


@pytest.mark.parametrize("shape", [(-1, 6), (0, 6), (0, -1), (0, 2, 3), (-1, 3, 2), (0, 3, -1)])
def test_reshapes(connection: duckdb.DuckDBPyConnection, shape: tuple[int, ...]) -> None:
    same(connection, [Step("Reshape", ["x", "shape"], ["y"])], ["y"], {"shape": ints(*shape)})


def test_dimensions_change_places(connection: duckdb.DuckDBPyConnection) -> None:
    steps = [
        Step("Reshape", ["x", "shape"], ["cube"]),
        Step("Transpose", ["cube"], ["turned"], attributes={"perm": [0, 2, 1]}),
        Step("Unsqueeze", ["turned", "two"], ["more"]),
        Step("Squeeze", ["more", "two"], ["less"]),
        Step("Gather", ["less", "places"], ["picked"], attributes={"axis": 2}),
        Step("Flatten", ["picked"], ["y"]),
    ]
    constants = {"shape": ints(0, 2, 3), "two": ints(2), "places": ints(1, 0, 1, -1)}
    same(connection, steps, ["y"], constants)


def test_splits(connection: duckdb.DuckDBPyConnection) -> None:
    steps = [
        Step("Split", ["x", "sizes"], ["a", "b", "c"], attributes={"axis": 1}),
        Step("Concat", ["c", "a", "b"], ["y"], attributes={"axis": -1}),
    ]
    same(connection, steps, ["y"], {"sizes": ints(1, 3, 2)})


@pytest.mark.parametrize("places", [ints(2), ints(0, 0, -1), np.array(3)])
def test_columns_are_picked(connection: duckdb.DuckDBPyConnection, places: Array) -> None:
    same(connection, [Step("Gather", ["x", "places"], ["y"], attributes={"axis": 1})], ["y"], {"places": places})


@pytest.mark.parametrize("data", [np.arange(4.0), np.arange(12.0).reshape(4, 3), np.arange(4)])
def test_constants_are_picked_by_the_row(connection: duckdb.DuckDBPyConnection, data: Array) -> None:
    places = np.array([[0, 3], [1, -1], [-4, 2]], dtype=np.int64)
    same(connection, [Step("Gather", ["data", "i"], ["y"])], ["y"], {"data": data}, {"i": places})


def test_a_place_that_is_not_there_is_an_error(connection: duckdb.DuckDBPyConnection) -> None:
    model = graph([Step("Gather", ["data", "i"], ["y"])], {"i": ints(0)[:, None]}, ["y"], {"data": np.arange(4.0)})
    with pytest.raises(duckdb.Error, match="place 4 of 4"):
        check(connection, model, {"i": ints(1, 4)[:, None]}, 0, np.zeros((2, 1)))


def test_elements_by_the_row(connection: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(1)
    feeds = {
        "x": X,
        "i": rng.integers(-6, 6, (10, 4)),
        "j": np.array([rng.permutation(6)[:3] for _ in range(10)], dtype=np.int64),
    }
    steps = [
        Step("GatherElements", ["x", "i"], ["picked"], attributes={"axis": 1}),
        Step("Slice", ["picked", "zero", "three", "one"], ["updates"]),
        Step("ScatterElements", ["x", "j", "updates"], ["put"], attributes={"axis": 1}),
        Step("Concat", ["picked", "put"], ["y"], attributes={"axis": 1}),
    ]
    same(connection, steps, ["y"], {"zero": ints(0), "three": ints(3), "one": ints(1)}, feeds)


@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_comparisons(connection: duckdb.DuckDBPyConnection, op: str, kind: Any) -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-2, 3, (50, 3)).astype(kind) for _ in range(2))
    steps = [Step(op, ["a", "b"], ["c"]), Step("Cast", ["c"], ["y"], attributes={"to": 11})]
    same(connection, steps, ["y"], {}, {"a": a, "b": b})


@pytest.mark.parametrize("shape", [(), (1,), (6,), (1, 6), (1, 1)])
def test_constants_are_broadcast(connection: duckdb.DuckDBPyConnection, shape: tuple[int, ...]) -> None:
    constant = np.asarray(np.random.default_rng(3).normal(size=shape))
    steps = [
        Step("Less", ["x", "c"], ["low"]),
        Step("Sub", ["c", "x"], ["difference"]),
        Step("Where", ["low", "difference", "c"], ["y"]),
    ]
    same(connection, steps, ["y"], {"c": constant})


def test_remainders(connection: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(-9, 10, (50, 2)), rng.choice([-4, -3, 2, 5], (50, 2))
    steps = [
        Step("Mod", ["a", "b"], ["floor"]),
        Step("Mod", ["a", "b"], ["rest"], attributes={"fmod": 1}),
        Step("Div", ["a", "b"], ["quotient"]),
        Step("Concat", ["floor", "rest", "quotient"], ["y"], attributes={"axis": 1}),
    ]
    same(connection, steps, ["y"], {}, {"a": a, "b": b})
