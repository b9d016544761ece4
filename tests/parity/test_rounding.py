"""The error bound holds for every correct computation, and is no wider than rounding can explain."""

from __future__ import annotations

import hashlib
import math
import random
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from sqlml.convert import OnnxModel
from sqlml.parity.comparison import Answers, Expected, Verdict, judge
from sqlml.parity.rounding import rounding
from sqlml.signature import Column, Signature

NAMES = ("a", "b", "c", "d")
WEIGHTS = [0.1, -0.3, 0.7, -0.5]
REGRESSOR = Signature(tuple(Column(name, "DOUBLE") for name in NAMES), "regressor", "DOUBLE")
CLASSIFIER = Signature(REGRESSOR.columns, "classifier", "BIGINT", (0, 1), True)


def linear(signature: Signature, weights: list[float] = WEIGHTS, intercept: float = 0.0) -> OnnxModel:
    node, double = helper.make_node, TensorProto.DOUBLE
    constants = {
        "w": [[w] for w in weights],
        "intercept": [[intercept]],
        "mean": [[0.5] * 4],
        "one": [[1.0]],
        "zero": [[0.0]],
    }
    nodes = [
        node("Concat", [*NAMES], ["x"], axis=1),
        node("Sub", ["x", "mean"], ["centred"]),
        node("MatMul", ["centred", "w"], ["sum"]),
        node("Add", ["sum", "intercept"], ["z" if signature.classes else "prediction"]),
        node("IsNaN", ["a"], ["bad"]),
        node("Cast", ["bad"], ["error"], to=TensorProto.INT64),
    ]
    outputs = [("prediction", double), ("error", TensorProto.INT64)]
    if signature.classes:
        nodes += [
            node("Sigmoid", ["z"], ["p"]),
            node("Sub", ["one", "p"], ["q"]),
            node("Concat", ["q", "p"], ["probabilities"], axis=1),
            node("Greater", ["z", "zero"], ["yes"]),
            node("Cast", ["yes"], ["prediction"], to=TensorProto.INT64),
        ]
        outputs = [("prediction", TensorProto.INT64), ("error", TensorProto.INT64), ("probabilities", double)]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, double, ["N", 1]) for name in NAMES],
        [helper.make_tensor_value_info(name, kind, ["N", None]) for name, kind in outputs],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    onnx = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    return OnnxModel(onnx, hashlib.sha256(onnx).hexdigest(), signature, (), "double", {})


def rows(values: list[list[float]]) -> pa.Table:
    return pa.table({name: [row[i] for row in values] for i, name in enumerate(NAMES)})


def cancelling(count: int) -> list[list[float]]:
    """Rows whose terms are of 1e15 and whose sum is small."""
    rng = random.Random(0)
    made = []
    for _ in range(count):
        x = [rng.uniform(-1, 1) * 10 ** rng.uniform(0, 16) for _ in range(3)]
        made.append([*x, (0.1 * x[0] - 0.3 * x[1] + 0.7 * x[2]) / 0.5])
    return made


def exactly(row: list[float]) -> float:
    return float(sum((Fraction(x) - Fraction(0.5)) * Fraction(w) for x, w in zip(row, WEIGHTS, strict=True)))


def backwards(row: list[float]) -> float:
    total = 0.0
    for x, w in reversed(list(zip(row, WEIGHTS, strict=True))):
        total += (x - 0.5) * w
    return total


def test_every_order_of_a_cancelling_sum_lies_within_the_bound():
    values = cancelling(300)
    bound = rounding(linear(REGRESSOR), rows(values)).numbers[:, 0]
    off = np.array([abs(backwards(row) - exactly(row)) for row in values])
    assert (off <= bound).all()
    assert off.max() > 1e-9, "the rows must be such that the plain tolerance would not do"


def test_the_bound_is_no_wider_than_rounding():
    values = [[1.0, 2.0, 3.0, 4.0], [1e15, 1e15, 1e15, 1e15]]
    bound = rounding(linear(REGRESSOR), rows(values)).numbers[:, 0]
    assert bound[0] < 1e-14
    assert bound[1] < 1e15 * 1e-14


def test_a_probability_moves_at_most_a_quarter_as_far_as_its_argument():
    slack = rounding(linear(CLASSIFIER), rows([[1e15, 1e15, 0.0, -0.4e15], [1.0, 2.0, 3.0, 4.0]]))
    assert slack.numbers.shape == (2, 2)
    assert 1e-3 < slack.numbers[0].max() <= 1.1
    assert slack.numbers[1].max() < 1e-14


def test_the_label_of_a_cancelling_sum_is_undecided_and_no_other():
    slack = rounding(linear(CLASSIFIER), rows([*cancelling(50), [1.0, 2.0, 3.0, 4.0]]))
    assert slack.undecided[:50].mean() > 0.5
    assert not slack.undecided[50]


def judged(wanted: float, got: float, row: list[float]) -> Verdict:
    one = np.array([0])
    no = np.zeros(1, dtype=bool)
    expected = Expected(REGRESSOR, 1e-9, np.array([-1]), np.array([[wanted]]), no, no, no, None)
    answers = Answers(one, np.array([-1]), np.array([[got]]), no, no, no, [None])
    verdicts, _ = judge(expected, answers, rounding(linear(REGRESSOR), rows([row])))
    return Verdict(verdicts[0])


@pytest.mark.parametrize(
    ("wanted", "got", "row", "verdict"),
    [
        (1.0, 1.0 + 1e-10, [1.0, 1.0, 1.0, 1.0], Verdict.AGREES),
        (1.0, 1.0 + 1e-8, [1.0, 1.0, 1.0, 1.0], Verdict.SCORE),
        (1.0, 1.4, [1e15, 1e15, 0.0, -0.4e15], Verdict.ROUNDING),
        (1.0, 1e4, [1e15, 1e15, 0.0, -0.4e15], Verdict.SCORE),
        (math.inf, math.nan, [1e308, 1e308, 1e308, 1e308], Verdict.SCORE),
        (math.inf, math.nan, [1.7e308, -1.7e308, 1.7e308, 1.7e308], Verdict.OVERFLOW),
        (math.inf, math.nan, [math.inf, 1.0, 1.0, 1.0], Verdict.SCORE),
        (math.nan, 1.0, [math.nan, 1.0, 1.0, 1.0], Verdict.SCORE),
        (math.nan, math.nan, [1.0, 1.0, 1.0, 1.0], Verdict.AGREES),
        (math.inf, math.inf, [1.0, 1.0, 1.0, 1.0], Verdict.AGREES),
        (math.inf, -math.inf, [1.0, 1.0, 1.0, 1.0], Verdict.SCORE),
        (math.nan, 1.0, [1.0, 1.0, 1.0, 1.0], Verdict.SCORE),
        (1.0, math.nan, [1.0, 1.0, 1.0, 1.0], Verdict.SCORE),
    ],
)
def test_a_difference_is_judged_by_what_rounding_explains(wanted, got, row, verdict):
    assert judged(wanted, got, row) is verdict


def test_terms_that_overflow_and_cancel_excuse_whatever_comes_of_them() -> None:
    """SQL has inf - inf = NaN where BLAS, with fused multiply-add, keeps the first infinity: this was held against a
    logistic regression with weights above 1.8."""
    model = linear(CLASSIFIER, weights=[8.0, 7.9, 0.5, 0.5], intercept=-12.0)
    slack = rounding(model, rows([[1e308, -1e308, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [1e300, 0.0, 0.0, 0.0]]))

    assert np.isinf(slack.numbers[0]).all()
    assert slack.undecided.tolist() == [True, False, False]
    assert (slack.numbers[1] < 1e-12).all()
    assert np.isfinite(slack.numbers[2]).all()


def test_an_infinite_input_is_no_overflow() -> None:
    model = linear(CLASSIFIER, weights=[8.0, 7.9, 0.5, 0.5])
    slack = rounding(model, rows([[math.inf, -1e308, 0.1, 0.1]]))

    assert slack.numbers.tolist() == [[0.0, 0.0]]
    assert slack.undecided.tolist() == [False]


def test_a_neighbour_at_the_very_radius_hangs_on_rounding_where_distances_are_rounded() -> None:
    """|x|^2 - 2xy + |y|^2 is rounded: whether a row at the radius lies within is decided by the last bit."""
    import pandas as pd
    from sklearn.neighbors import KNeighborsRegressor, RadiusNeighborsRegressor

    from sqlml.convert.isolated.sklearn.convert import convert_sklearn

    kept = pd.DataFrame({"x": [0.1, 7.3, 30.7]})
    signature = Signature(columns=(Column("x", "DOUBLE"),), kind="regressor", prediction="DOUBLE")
    rows = pa.table({"x": [0.3, 0.30001, 7.3, 3.7]})  # at the radius, beyond it, at a row, midway between two
    expected = {
        RadiusNeighborsRegressor(0.2, algorithm="brute"): [True, False, False, False],
        KNeighborsRegressor(1, algorithm="brute"): [False, False, False, True],
    }
    for model, hangs in expected.items():
        converted = convert_sklearn(model.fit(kept, kept.x), signature.columns)
        slack = rounding(OnnxModel(converted.onnx, "", signature, converted.reasons, "double", {}), rows)

        assert (slack.numbers[:, 0] > 1e200).tolist() == hangs
        assert slack.undecided.tolist() == hangs
