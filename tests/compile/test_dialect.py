"""Every operator of the dialect: SQL and onnxruntime agree on hostile rows."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from sqlml import sql
from sqlml.compile import NotCompilable, compile_onnx
from sqlml.compile.algebra import Algebra
from sqlml.compile.nodes import children
from sqlml.compile.trees import terms
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros
from sqlml.signature import Column
from tests.compile.graphs import assert_agree, forest, graph, in_onnxruntime, in_sql, rows_of

X = Column("x", "DOUBLE", "missing")
Y = Column("y", "DOUBLE", "missing")
TEXT = Column("kind", "VARCHAR", "missing")
ROW = np.array([[2.5]])


def node(op, inputs, output, **attributes):
    domain = "ai.onnx.ml" if op == "LabelEncoder" else ""
    return helper.make_node(op, inputs, [output], domain=domain, **attributes)


def chosen(condition):
    """1.0 where the condition holds, else 0.0: makes a prediction of a boolean."""
    return node("Cast", [condition], "prediction", to=TensorProto.DOUBLE)


@pytest.mark.parametrize(
    "op",
    [
        "Identity",
        "Neg",
        "Abs",
        "Exp",
        "Log",
        "Sqrt",
        "Tanh",
        "Sigmoid",
        "Relu",
        "Sign",
        "Floor",
        "Ceil",
        "Round",
        "Cos",
        "Sin",
    ],
)
def test_functions_of_one_number(op):
    assert_agree(graph([X], [node(op, ["x"], "prediction")], {}), rows_of([X]))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
def test_arithmetic_with_a_constant_and_with_a_column(op):
    for inputs in (["x", "c"], ["c", "x"], ["x", "y"]):
        assert_agree(graph([X, Y], [node(op, inputs, "prediction")], {"c": ROW}), rows_of([X, Y]))


@pytest.mark.parametrize("exponent", [2.0, 1.0, 3.0, -1.0, 0.5])
def test_powers(exponent):
    assert_agree(graph([X], [node("Pow", ["x", "c"], "prediction")], {"c": np.array([[exponent]])}), rows_of([X]))


@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
@pytest.mark.parametrize("made", ["x", "sum", "scaled"])
def test_comparisons_are_false_where_a_value_is_missing(op, made):
    nodes = [node("Add", ["x", "y"], "sum"), node("Mul", ["x", "minus"], "scaled"), node(op, [made, "c"], "is")]
    constants = {"c": ROW, "minus": np.array([[-3.0]])}
    assert_agree(graph([X, Y], [*nodes, chosen("is")], constants), rows_of([X, Y]))
    negated = [*nodes, node("Not", ["is"], "is_not"), chosen("is_not")]
    assert_agree(graph([X, Y], negated, constants), rows_of([X, Y]))


@pytest.mark.parametrize("op", ["IsNaN", "IsInf"])
def test_missing_and_infinite(op):
    for made in ("x", "difference", "scaled", "filled"):
        nodes = [
            node("Sub", ["x", "y"], "difference"),
            node("Div", ["x", "c"], "scaled"),
            node("IsNaN", ["x"], "gap"),
            node("Where", ["gap", "c", "scaled"], "filled"),
            node(op, [made], "is"),
            node("Not", ["is"], "is_not"),
        ]
        for condition in ("is", "is_not"):
            assert_agree(graph([X, Y], [*nodes, chosen(condition)], {"c": ROW}), rows_of([X, Y]))


@pytest.mark.parametrize("op", ["And", "Or"])
def test_three_valued_logic_never_shows(op):
    nodes = [
        node("Less", ["x", "c"], "a"),
        node("Greater", ["y", "c"], "b"),
        node(op, ["a", "b"], "both"),
        node("Not", ["both"], "neither"),
        node("Where", ["neither", "x", "y"], "prediction"),
    ]
    assert_agree(graph([X, Y], nodes, {"c": ROW}), rows_of([X, Y]))


def test_clip_keeps_a_missing_value_missing():
    nodes = [node("Clip", ["x", "low", "high"], "prediction")]
    assert_agree(graph([X], nodes, {"low": np.array(-1.0), "high": np.array(2.0)}), rows_of([X]))


def test_a_cast_to_float32_overflows_to_infinity_instead_of_raising():
    nodes = [node("Cast", ["x"], "f", to=TensorProto.FLOAT), node("Cast", ["f"], "prediction", to=TensorProto.DOUBLE)]
    assert_agree(graph([X], nodes, {}), rows_of([X]))


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
def test_reductions_over_columns(op):
    nodes = [node("Concat", ["x", "y"], "xy", axis=1), node(op, ["xy", "axis"], "prediction", keepdims=1)]
    # onnxruntime's extremes pass over NaN or not, as the compiler of the day had it; numpy's never do, nor do ours.
    values = None if op in ("ReduceSum", "ReduceMean") else (-1.0, 0.0, 3.5, 1e308, np.inf, -np.inf)
    assert_agree(graph([X, Y], nodes, {"axis": np.array([1])}), rows_of([X, Y], values))


def test_moves_of_columns():
    nodes = [
        node("Concat", ["x", "y"], "xy", axis=1),
        node("Gather", ["xy", "swap"], "yx", axis=1),
        node("Slice", ["yx", "from", "to", "axes"], "only_x"),
        node("Reshape", ["only_x", "shape"], "prediction"),
    ]
    constants = {
        "swap": np.array([1, 0]),
        "from": np.array([1]),
        "to": np.array([2]),
        "axes": np.array([1]),
        "shape": np.array([-1, 1]),
    }
    assert_agree(graph([X, Y], nodes, constants), rows_of([X, Y]))


def test_several_targets_are_a_struct():
    nodes = [node("Concat", ["x", "y"], "xy", axis=1), node("MatMul", ["xy", "w"], "prediction")]
    model = graph([X, Y], nodes, {"w": np.array([[1.0, 2.0], [0.0, -1.0]])}, targets=["select", 'a"b'])
    assert_agree(model, rows_of([X, Y], values=(None, 1.0, 1e300, -7.25)))


def test_one_hot_and_a_linear_model_are_one_case_expression_per_column():
    nodes = [
        node("Equal", ["kind", "categories"], "is"),
        node("Cast", ["is"], "hot", to=TensorProto.DOUBLE),
        node("Sub", ["hot", "mean"], "centred"),
        node("Concat", ["x", "centred"], "all", axis=1),
        node("MatMul", ["all", "w"], "prediction"),
    ]
    constants = {
        "categories": np.array([["a", "b", "it's"]], dtype=object),
        "mean": np.array([[0.25, 0.5, 0.0]]),
        "w": np.array([[0.5], [1.0], [-2.0], [4.0]]),
    }
    model = graph([X, TEXT], nodes, constants)
    assert_agree(model, rows_of([X, TEXT]))
    (score,) = compile_onnx(model).prediction
    assert [type(term).__name__ for term in score.args] == ["Op", "Lookup"]


def test_label_encoder_reads_missing_text_and_unknown_text():
    from sqlml.convert.onnx_model import MISSING_TEXT

    encoder = node(
        "LabelEncoder",
        ["kind"],
        "prediction",
        keys_tensor=helper.make_tensor(
            "k", TensorProto.STRING, [3], [s.encode() for s in ("a", "naïve", MISSING_TEXT)]
        ),
        values_tensor=helper.make_tensor("v", TensorProto.DOUBLE, [3], [1.0, 2.0, 7.0]),
        default_tensor=helper.make_tensor("d", TensorProto.DOUBLE, [1], [-1.0]),
    )
    assert_agree(graph([TEXT], [encoder], {}), rows_of([TEXT]))


def test_softmax_and_argmax_give_labels():
    for width in (2, 3, 5):
        nodes = [
            node("Concat", ["x", "y"], "xy", axis=1),
            node("MatMul", ["xy", "w"], "scores"),
            node("Softmax", ["scores"], "probabilities", axis=1),
            node("ArgMax", ["scores"], "prediction", axis=1, keepdims=1),
        ]
        w = np.random.default_rng(width).normal(size=(2, width))
        classes = [f"class {i}" for i in range(width)]
        model = graph([X, Y], nodes, {"w": w}, classes=classes, probabilities=True)
        # Where the scores are NaN, numpy's argmax and onnxruntime's differ; the converters check for that first.
        assert_agree(model, rows_of([X, Y], values=(-1.0, 0.0, 2.5, 30.0, -700.0)))


def test_ties_go_to_the_first_class():
    nodes = [node("Concat", ["x", "y", "x"], "s", axis=1), node("ArgMax", ["s"], "prediction", axis=1, keepdims=1)]
    model = graph([X, Y], nodes, {}, classes=[10, 20, 30])
    assert_agree(model, rows_of([X, Y], values=(1.5, 1.0, 2.0)))


def test_errors_come_in_the_order_of_their_codes():
    nodes = [
        node("Concat", ["x", "y"], "xy", axis=1),
        node("IsInf", ["xy"], "infinite"),
        node("IsNaN", ["xy"], "missing"),
        node("Where", ["infinite", "codes_2", "big"], "second"),
        node("Where", ["missing", "codes_1", "big"], "first"),
        node("Concat", ["second", "first"], "candidates", axis=1),
        node("ReduceMin", ["candidates", "axis"], "code", keepdims=1),
        node("Equal", ["code", "big"], "none"),
        node("Where", ["none", "zero", "code"], "error"),
        node("Add", ["x", "y"], "prediction"),
    ]
    constants = {
        "codes_1": np.array([[1, 2]]),
        "codes_2": np.array([[3, 4]]),
        "big": np.array([[2**31 - 1]]),
        "zero": np.array([[0]]),
        "axis": np.array([1]),
    }
    reasons = ["x is missing", "y is missing", "x is infinite", "y is infinite"]
    assert_agree(graph([X, Y], nodes, constants, reasons=reasons, checked=True), rows_of([X, Y]))


TREES = [
    (0, 1.5, (0.25, 0), (1, -2.0, (1.0, 0), (-1.0, 0))),
    (1, 0.5, (0, 1.0, (0.125, 0), (0.5, 0)), (3.0, 0)),
    (7.5, 0),
]


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("missing_true", [False, True])
@pytest.mark.parametrize("rounded", [False, True])
def test_trees_with_every_comparison_and_direction_of_missing_values(mode, missing_true, rounded):
    nodes = [node("Concat", ["x", "y"], "given", axis=1)]
    if rounded:
        nodes += [node("Cast", ["given"], "f", to=TensorProto.FLOAT), node("Cast", ["f"], "x32", to=TensorProto.DOUBLE)]
    trees = forest(
        TREES, given="x32" if rounded else "given", output="prediction", mode=mode, missing_true=missing_true
    )
    beside = [float(np.nextafter(t, side)) for t in (1.5, -2.0, 0.5, 1.0) for side in (-np.inf, np.inf)]
    values = (None, np.inf, -np.inf, 1.5, -2.0, 0.5, 1.0, *beside, 1e300, 1.5 + 2**-25)
    assert_agree(graph([X, Y], [*nodes, trees], {}), rows_of([X, Y], values), tolerance=0.0)


def test_trees_of_several_targets():
    trees = forest([(0, 0.0, (1.0, 0), (2.0, 1)), (0, 1.0, (4.0, 1), (8.0, 2))], output="prediction", targets=3)
    model = graph([X], [node("Identity", ["x"], "x1"), trees], {}, targets=["a", "b", "c"])
    rows = rows_of([X], values=(-1.0, 0.0, 0.5, 1.0, 2.0))
    assert in_sql(model, rows)[0]["prediction"] == {"a": 0.0, "b": 2.0, "c": 8.0}
    assert in_onnxruntime(model, rows)["prediction"][0].tolist() == [0.0, 2.0, 8.0]
    assert_agree(model, rows, tolerance=0.0)


def test_trees_of_float_are_added_in_float_one_after_the_other():
    leaves = [float(np.float32(v)) for v in np.random.default_rng(0).normal(size=40)]
    trees = [(1e6, 0), *((0, float(np.float32(k / 7)), (a, 0), (-a, 0)) for k, a in enumerate(leaves))]
    nodes = [
        node("Cast", ["x"], "x32", to=TensorProto.FLOAT),
        forest(trees, given="x32", output="sum", real=np.float32),
        node("Cast", ["sum"], "prediction", to=TensorProto.DOUBLE),
    ]
    model = graph([X], nodes, {})
    rows = rows_of([X], values=[None, np.inf, -np.inf, *(k / 7 for k in range(40)), 1e300])

    assert_agree(model, rows, tolerance=0.0)
    assert in_onnxruntime(model, rows)["prediction"][0, 0] != 1e6 + sum(
        a if k / 7 >= 1.5 else -a for k, a in enumerate(leaves)
    )


def test_roundings_to_float_that_follow_each_other_stay_short():
    nodes, last = [], "x"
    for k in range(12):
        nodes += [
            node("Mul" if k % 2 else "Add", [last, "c"], f"d{k}"),
            node("Cast", [f"d{k}"], f"f{k}", to=TensorProto.FLOAT),
            node("Cast", [f"f{k}"], f"r{k}", to=TensorProto.DOUBLE),
        ]
        last = f"r{k}"
    model = graph([X], [*nodes, node("Identity", [last], "prediction")], {"c": np.array([[float(np.float32(1.7))]])})

    assert_agree(model, rows_of([X]), tolerance=0.0)
    body = macros(model.signature, SqlEngine(model))[0]
    assert len(sql.macro_text(body.overloads)) < 6000


def test_a_tree_over_an_imputed_scaled_and_encoded_row_compares_the_columns_themselves():
    nodes = [
        node("IsNaN", ["x"], "gap"),
        node("Where", ["gap", "filler", "x"], "filled"),
        node("Sub", ["filled", "mean"], "centred"),
        node("Div", ["centred", "scale"], "scaled"),
        node("Cast", ["scaled"], "f", to=TensorProto.FLOAT),
        node("Cast", ["f"], "x32", to=TensorProto.DOUBLE),
        node("Equal", ["kind", "categories"], "is"),
        node("Cast", ["is"], "hot", to=TensorProto.DOUBLE),
        node("Concat", ["x32", "hot"], "given", axis=1),
        forest(
            [(0, 0.3, (1, 0.5, (1.0, 0), (2.0, 0)), (2, 0.5, (4.0, 0), (8.0, 0)))], given="given", output="prediction"
        ),
    ]
    constants = {
        "filler": np.array([[3.7]]),
        "mean": np.array([[3.1]]),
        "scale": np.array([[1.7]]),
        "categories": np.array([["a", "b"]], dtype=object),
    }
    model = graph([X, TEXT], nodes, constants)
    (tree,) = [term for forest in compile_onnx(model).prediction for term in terms(Algebra(), forest)]
    assert {type(node.args[0]).__name__ for node in comparisons(tree)} == {"Input"}
    near = 0.3 * 1.7 + 3.1
    values = [None, 3.7, 3.1, *(near + step * 2.0**-30 for step in range(-20, 20)), 1e308, -1e308, np.inf]
    assert_agree(model, rows_of([X, TEXT], values), tolerance=0.0)


def comparisons(node):
    found = [node] if getattr(node, "name", "") in ("<", "<=", ">", ">=") else []
    assert getattr(node, "name", "") != "or"  # "missing or at most t" is the other side of "more than t"
    return found + [c for child in children(node) for c in comparisons(child)]


def test_what_has_no_translation_names_its_operator():
    with pytest.raises(NotCompilable, match="TopK") as caught:
        compile_onnx(
            graph([X], [helper.make_node("TopK", ["x", "k"], ["prediction", "at"], axis=1)], {"k": np.array([1])})
        )
    assert caught.value.operator == "TopK"


def test_arithmetic_in_float32_is_left_to_another_engine():
    nodes = [
        node("Cast", ["x"], "f", to=TensorProto.FLOAT),
        node("Add", ["f", "f"], "sum"),
        node("Cast", ["sum"], "prediction", to=TensorProto.DOUBLE),
    ]
    with pytest.raises(NotCompilable, match="float"):
        compile_onnx(graph([X], nodes, {}))
