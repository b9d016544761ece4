"""Every operator of ONNX itself that the extension runs, on ordinary and hostile numbers, in float32 and float64.

The reference is numpy (or scipy) where the operator is a function of numpy's, for onnxruntime has errors of its own there:
its double Sigmoid ends at 1e-16, its Sign of NaN is 0, its Where and Relu lose the sign of -0.0. Otherwise it is onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy import special

import sqlml
from tests.udfs.graphs import Step, check, graph, numbers, product

pytestmark = pytest.mark.native

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with sqlml.connect() as connection:
        yield connection


UNARY: dict[str, Callable[[Array], Array]] = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Erf": special.erf,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.where(x < 0, 0, x),
    "Round": np.rint,
    "Sigmoid": special.expit,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tan": np.tan,
    "Tanh": np.tanh,
    "Elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "LeakyRelu": lambda x: np.where(x < 0, np.float64(np.float32(0.01)) * x, x),
    "HardSigmoid": lambda x: np.clip(np.float64(np.float32(0.2)) * x + 0.5, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Celu": lambda x: np.where(x < 0, np.expm1(x), x),
    "ThresholdedRelu": lambda x: np.where(x > 1, x, 0),
}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("op", sorted(UNARY))
def test_functions_of_one_number(connection: duckdb.DuckDBPyConnection, op: str, kind: Any) -> None:
    x = numbers(kind, 1)
    with np.errstate(all="ignore"):
        expected = UNARY[op](x.astype(np.float64)).astype(kind)
    # float32 has no sign of a rounding in the middle: the operator in float64, rounded once.
    tolerance = 4e-16 if kind == np.float64 else 6e-8
    composed = op in {"HardSigmoid", "HardSwish", "Softsign", "LeakyRelu", "Celu", "Elu", "Softplus"}
    check(
        connection,
        graph([Step(op, ["x"], ["y"])], {"x": x}, ["y"]),
        {"x": x},
        max(tolerance * (4 if composed else 2), 1e-15),
        expected.astype(float),
        floor=1.0 if composed else 0.0,
    )


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
        ("Selu", {}),
        ("Mish", {}),
        ("Shrink", {"bias": 0.25, "lambd": 0.75}),
    ],
)
def test_activations(connection: duckdb.DuckDBPyConnection, op: str, attributes: dict[str, Any], kind: Any) -> None:
    x = numbers(kind, 1, hostile=False)
    model = graph([Step(op, ["x"], ["y"], attributes=attributes)], {"x": x}, ["y"])
    double = x.astype(np.float64)
    cubic = np.sqrt(2 / np.pi) * (double + 0.044715 * double**3)
    selu = np.where(double < 0, np.float64(np.float32(1.67326319)) * np.expm1(double), double)
    expected = {
        "Gelu": double * (special.expit(2 * cubic) if attributes else special.ndtr(double)),
        "Selu": np.float64(np.float32(1.05070102)) * selu,
        "Mish": double * np.tanh(np.log1p(np.exp(double))),
        "Shrink": np.where(double < -0.75, double + 0.25, np.where(double > 0.75, double - 0.25, 0)),
    }[op]
    tolerance = 2e-13 if kind == np.float64 else 1e-6
    check(connection, model, {"x": x}, tolerance, expected.astype(kind).astype(float))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("op", ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"])
def test_reductions(connection: duckdb.DuckDBPyConnection, op: str, kind: Any, keep: int) -> None:
    if kind == np.int64 and op in {"L2", "LogSum", "LogSumExp", "Mean"}:
        pytest.skip("of floating-point numbers only")
    wide = np.float64 if kind == np.float32 else kind
    x = np.random.default_rng(1).integers(-(2**40), 2**40, (200, 4)) if kind == np.int64 else numbers(kind, 4)
    with np.errstate(all="ignore"):
        y = x.astype(wide)
        expected = {
            "L1": lambda: np.abs(y).sum(axis=1),
            "L2": lambda: np.sqrt((y * y).sum(axis=1)),
            "LogSum": lambda: np.log(y.sum(axis=1)),
            "LogSumExp": lambda: special.logsumexp(y, axis=1),
            "Max": lambda: y.max(axis=1),
            "Mean": lambda: y.mean(axis=1),
            "Min": lambda: y.min(axis=1),
            "Prod": lambda: y.prod(axis=1),
            "Sum": lambda: y.sum(axis=1),
            "SumSquare": lambda: (y * y).sum(axis=1),
        }[op]()
        expected = expected.astype(kind).astype(float)[:, None]
    axes = np.array([1], dtype=np.int64)
    model = graph(
        [Step(f"Reduce{op}", ["x", "axes"], ["y"], attributes={"keepdims": keep})], {"x": x}, ["y"], {"axes": axes}
    )
    # LogSum and LogSumExp near 1 lose what the sum has lost.
    check(connection, model, {"x": x}, 1e-12 if kind != np.float32 else 2e-7, expected)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("op", ["L2", "LogSumExp", "Max", "Mean", "Sum"])
def test_reductions_of_constants(connection: duckdb.DuckDBPyConnection, op: str, axis: int) -> None:
    """As skl2onnx writes BernoulliNB: sums of what was learned, beside the row."""
    table = np.arange(9.0).reshape(3, 3) - 1.5
    x = np.array([[0.0, 1.0, -1.0], [0.25, 1e30, -2.5]])
    steps = [
        Step(f"Reduce{op}", ["table", "axes"], ["reduced"], attributes={"keepdims": 0}),
        Step("Add", ["x", "reduced"], ["y"]),
    ]
    model = graph(steps, {"x": x}, ["y"], {"table": table, "axes": np.array([axis], dtype=np.int64)})
    check(connection, model, {"x": x}, 1e-14)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_places_of_extremes(connection: duckdb.DuckDBPyConnection, op: str, kind: Any, last: int) -> None:
    x = np.random.default_rng(2).integers(-3, 4, (500, 5)).astype(kind)
    model = graph([Step(op, ["x"], ["y"], attributes={"axis": 1, "select_last_index": last})], {"x": x}, ["y"])
    check(connection, model, {"x": x}, 0)
    if kind != np.int64 and not last:  # numpy's: a NaN is beyond all; onnxruntime's depends on where it stands
        x = numbers(kind, 5)
        expected = (x.argmax(axis=1) if op == "ArgMax" else x.argmin(axis=1))[:, None].astype(float)
        model = graph([Step(op, ["x"], ["y"], attributes={"axis": 1})], {"x": x}, ["y"])
        check(connection, model, {"x": x}, 0, expected)


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_the_first_k(connection: duckdb.DuckDBPyConnection, kind: Any, largest: int, k: int) -> None:
    x = np.random.default_rng(3).integers(-5, 6, (400, 7)).astype(kind)
    step = Step("TopK", ["x", "k"], ["values", "places"], attributes={"axis": 1, "largest": largest})
    model = graph([step], {"x": x}, ["values", "places"], {"k": np.array([k], dtype=np.int64)})
    check(connection, model, {"x": x}, 0)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax(connection: duckdb.DuckDBPyConnection, op: str, kind: Any) -> None:
    x = numbers(kind, 3)
    with np.errstate(all="ignore"):
        expected = (special.softmax if op == "Softmax" else special.log_softmax)(x.astype(np.float64), axis=1)
        if op == "LogSoftmax":  # scipy gives 0 for a single infinity; the definition inf - inf
            expected[np.isposinf(x).any(axis=1)] = np.nan
        expected = expected.astype(kind).astype(float)
    model = graph([Step(op, ["x"], ["y"], attributes={"axis": -1})], {"x": x}, ["y"])
    check(connection, model, {"x": x}, 2e-13 if kind == np.float64 else 2e-7, expected)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(("inner", "outer"), [(1, 1), (3, 1), (9, 2), (5, 4), (40, 17), (300, 3), (270, 9)])
def test_products(connection: duckdb.DuckDBPyConnection, inner: int, outer: int, kind: Any) -> None:
    rng = np.random.default_rng(inner * 100 + outer)
    x, w = numbers(kind, inner, hostile=False), rng.normal(size=(inner, outer)).astype(kind)
    model = graph([Step("MatMul", ["x", "w"], ["y"])], {"x": x}, ["y"], {"w": w})
    check(connection, model, {"x": x}, 0, product(x, w).astype(kind).astype(float))


def test_products_of_hostile_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    x, w = numbers(np.float64, 3), np.array([[1.0, 0.0, -2.0, 1e300], [0.0, 1.0, 1e-300, 0.0], [0.5, 0.0, 0.0, 1e308]])
    model = graph([Step("MatMul", ["x", "w"], ["y"])], {"x": x}, ["y"], {"w": w})
    check(connection, model, {"x": x}, 0, product(x, w))


@pytest.mark.parametrize("shape", ["one", "row", "scalar", "none"])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_gemm(
    connection: duckdb.DuckDBPyConnection, kind: Any, alpha: float, beta: float, transposed: int, shape: str
) -> None:
    rng = np.random.default_rng(5)
    x = numbers(kind, 6, hostile=False)
    constants = {"w": rng.normal(size=(4, 6) if transposed else (6, 4)).astype(kind)}
    inputs = ["x", "w"]
    if shape != "none":
        dims = {"one": (4,), "row": (1, 4), "scalar": ()}[shape]
        constants["c"] = np.asarray(rng.normal(size=dims)).astype(kind)
        inputs.append("c")
    step = Step("Gemm", inputs, ["y"], attributes={"alpha": alpha, "beta": beta, "transB": transposed})
    model = graph([step], {"x": x}, ["y"], constants)
    w = constants["w"].T if transposed else constants["w"]
    expected = alpha * (x.astype(float) @ w.astype(float)) + beta * constants.get("c", np.zeros(1)).astype(float)
    tolerance = 1e-14 if kind == np.float64 else 5e-7
    check(connection, model, {"x": x}, tolerance, expected.astype(kind).astype(float), floor=10.0)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_batch_normalisation(connection: duckdb.DuckDBPyConnection, kind: Any) -> None:
    x, rng = numbers(kind, 3, hostile=False), np.random.default_rng(6)
    parameters = {name: rng.uniform(0.5, 2, 3).astype(kind) for name in ("s", "b", "m", "v")}
    step = Step("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], attributes={"epsilon": 1e-3})
    s, b, m, v = (values.astype(float) for values in parameters.values())
    expected = (x.astype(float) - m) / np.sqrt(v + np.float64(np.float32(1e-3))) * s + b
    tolerance = 1e-15 if kind == np.float64 else 5e-7
    model = graph([step], {"x": x}, ["y"], parameters)
    check(connection, model, {"x": x}, tolerance, expected.astype(kind).astype(float), floor=1.0)


@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
def test_running_sums(connection: duckdb.DuckDBPyConnection, attributes: dict[str, int]) -> None:
    x = numbers(np.float64, 5, hostile=False)
    model = graph([Step("CumSum", ["x", "axis"], ["y"], attributes=attributes)], {"x": x}, ["y"], {"axis": np.int64(1)})
    check(connection, model, {"x": x}, 1e-9)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_one_hot_columns_in_a_product(connection: duckdb.DuckDBPyConnection, kind: Any) -> None:
    """Lookups have the bits of the dense sum, whatever stands around them."""
    rng = np.random.default_rng(8)
    text = rng.choice(np.array(["a", "b", "", "unknown", "ß"], dtype=object), (500, 1))
    x = rng.normal(size=(500, 2)).astype(kind)
    categories = np.array([["a", "b", "", "ß", "never"]], dtype=object)
    steps = [
        Step("Equal", ["t", "categories"], ["hot"]),
        Step("Cast", ["hot"], ["numbers"], attributes={"to": 11 if kind == np.float64 else 1}),
        Step("Concat", ["x", "numbers", "x"], ["all"], attributes={"axis": 1}),
        Step("MatMul", ["all", "w"], ["y"]),
    ]
    for outputs in (1, 2, 7):
        w = rng.normal(size=(9, outputs)).astype(kind)
        model = graph(steps, {"t": text, "x": x}, ["y"], {"categories": categories, "w": w})
        hot = (text == categories).astype(float)
        every = np.concatenate([x, hot, x], axis=1).astype(float)
        expected = product(every, w).astype(kind).astype(float)
        check(connection, model, {"t": text, "x": x}, 0, expected)
