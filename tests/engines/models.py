"""Small models whose SQL is worth reading."""

from __future__ import annotations

import itertools

import numpy as np
from onnx import TensorProto, helper

from sqlml.convert.onnx_model import OnnxModel
from sqlml.signature import Column
from tests.compile.graphs import forest, graph


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], **attributes)


def refusing(columns: int) -> list:
    """Nodes that make a missing number an error, as our converters write them."""
    return [
        node("IsNaN", ["numbers"], "gaps"),
        node("Where", ["gaps", "codes", "big"], "candidates"),
        node("ReduceMin", ["candidates", "axis"], "code", keepdims=1),
        node("Equal", ["code", "big"], "none"),
        node("Where", ["none", "zero", "code"], "error"),
    ]


CHECKS = {"big": np.array([[2**31 - 1]]), "zero": np.array([[0]]), "axis": np.array([1])}


def logistic() -> OnnxModel:
    """Two numbers that may not be missing, a text one-hot encoded; classes No and Yes."""
    columns = [Column("age", "DOUBLE"), Column('monthly "fee"', "DOUBLE"), Column("contract", "VARCHAR", "missing")]
    nodes = [
        node("Concat", ["age", 'monthly "fee"'], "numbers", axis=1),
        *refusing(2),
        node("Sub", ["numbers", "mean"], "centred"),
        node("Div", ["centred", "scale"], "scaled"),
        node("Equal", ["contract", "categories"], "is"),
        node("Cast", ["is"], "hot", to=TensorProto.DOUBLE),
        node("Concat", ["scaled", "hot"], "all", axis=1),
        node("MatMul", ["all", "w"], "product"),
        node("Add", ["product", "bias"], "score"),
        node("Sigmoid", ["score"], "yes"),
        node("Sub", ["unit", "yes"], "no"),
        node("Concat", ["no", "yes"], "probabilities", axis=1),
        node("Greater", ["score", "nothing"], "is_yes"),
        node("Cast", ["is_yes"], "prediction", to=TensorProto.INT64),
    ]
    constants = {
        **CHECKS,
        "codes": np.array([[1, 2]]),
        "mean": np.array([[40.0, 70.5]]),
        "scale": np.array([[10.0, 30.25]]),
        "categories": np.array([["month", "two years", "it's"]], dtype=object),
        "w": np.array([[-0.5], [0.25], [1.0], [-1.5], [0.125]]),
        "bias": np.array([[-0.75]]),
        "unit": np.array([[1.0]]),
        "nothing": np.array([[0.0]]),
    }
    reasons = ["age is missing", 'monthly "fee" is missing']
    return graph(columns, nodes, constants, classes=["No", "Yes"], probabilities=True, reasons=reasons, checked=True)


def boosted() -> OnnxModel:
    """Trees over float32 that know missing values; a regressor."""
    columns = [Column("age", "DOUBLE", "missing"), Column("fee", "DOUBLE", "missing")]
    nodes = [
        node("Concat", ["age", "fee"], "numbers", axis=1),
        node("Cast", ["numbers"], "f", to=TensorProto.FLOAT),
        node("Cast", ["f"], "x32", to=TensorProto.DOUBLE),
        forest([(10.5, 0), (0, 30.5, (1, 70.1, (-0.5, 0), (0.25, 0)), (1.5, 0))], given="x32", output="low"),
        forest([(1, 20.0, (0.125, 0), (-0.25, 0))], given="x32", output="high", missing_true=True),
        node("Add", ["low", "high"], "prediction"),
    ]
    return graph(columns, nodes, {})


def perceptron(width: int = 6, layers: int = 3) -> OnnxModel:
    """A dense network of three classes: every layer uses the one before `width` times."""
    rng = np.random.default_rng(3)
    columns = [Column(f"x{i}", "DOUBLE", "missing") for i in range(4)]
    nodes = [node("Concat", [c.name for c in columns], "h0", axis=1)]
    constants = {}
    sizes = [4, *[width] * layers, 3]
    for i, (rows, outputs) in enumerate(itertools.pairwise(sizes)):
        constants |= {f"w{i}": rng.normal(size=(rows, outputs)), f"b{i}": rng.normal(size=(1, outputs))}
        nodes += [node("MatMul", [f"h{i}", f"w{i}"], f"m{i}"), node("Add", [f"m{i}", f"b{i}"], f"a{i}")]
        nodes.append(node("Relu", [f"a{i}"], f"h{i + 1}"))
    last = len(sizes) - 2
    nodes[-1] = node("Softmax", [f"a{last}"], "probabilities", axis=1)
    nodes.append(node("ArgMax", ["probabilities"], "prediction", axis=1, keepdims=1))
    return graph(columns, nodes, constants, classes=["a", "b", "c"], probabilities=True)


MODELS = {"logistic": logistic, "boosted": boosted}
