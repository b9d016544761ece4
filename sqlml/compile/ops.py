"""ONNX operators on symbolic tensors: each is a function (algebra, attributes, inputs) -> output.

A `Tensor` is [N, k]: one node per column. Constants are numpy arrays until an operator needs them as nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sqlml.compile import moves, rows, trees
from sqlml.compile.algebra import Algebra
from sqlml.compile.nodes import Key, Node, NotCompilable, Op, Value
from sqlml.compile.tables import as_key, is_finite
from sqlml.compile.tensors import Array, Kind, Operand, Tensor, broadcast, constant, dtype_of, kind_of, plain, tensor

Attributes = Mapping[str, Any]  # Any: protobuf, already turned into Python values and arrays

MAX_TERMS = 50_000
"""Terms of a matrix product; more is megabytes of SQL, and minutes."""

Operator = Callable[[Algebra, Attributes, Sequence[Operand]], Operand]


def run(algebra: Algebra, name: str, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    """The output of one operator; raises `NotCompilable` with its name."""
    found = OPERATORS.get(name)
    if found is None:
        raise NotCompilable(f"the operator {name} has no translation to SQL", operator=name)
    try:
        return found(algebra, attributes, inputs)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise NotCompilable(
            f"the operator {name} is used in a way that has no translation: {error}", operator=name
        ) from error


def _arithmetic(name: str) -> Operator:
    def run_it(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
        columns, kinds = broadcast(algebra, inputs)
        listed = list(zip(*columns, strict=True))
        if set(kinds) == {"int"}:
            return Tensor(tuple(_of_integers(algebra, name, row) for row in listed), "int")
        _only_double(kinds)
        return Tensor(tuple(_fold_left(algebra, name, row) for row in listed), "double")

    return run_it


def _of_integers(algebra: Algebra, name: str, row: Sequence[Node]) -> Node:
    """Codes and class indices: their values are listed in the nodes, and computed here."""
    exact: dict[str, Callable[[int, int], int]] = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}
    made = algebra.pointwise(lambda values: exact[name](int(values[0]), int(values[1])), row, "int")
    if made is None:
        raise ValueError("it computes with integers that are not listed")
    return made


def _fold_left(algebra: Algebra, name: str, row: Sequence[Node]) -> Node:
    if name == "pow":
        return _power(algebra, row[0], row[1])
    if name == "add":
        return algebra.apply("add", *row) if len(row) == 2 and not _is_sum(row[0]) else rows.in_order(algebra, row)
    made = row[0]
    for other in row[1:]:
        made = algebra.apply(name, made, other)
    return made


def _is_sum(node: Node) -> bool:
    return isinstance(node, Op) and node.name == "sum"


def _power(algebra: Algebra, base: Node, exponent: Node) -> Node:
    """x ** 2 is x * x, as numpy computes it."""
    if exponent is algebra.double(2.0):
        return algebra.apply("mul", base, base)
    if exponent is algebra.double(1.0):
        return base
    return algebra.apply("pow", base, exponent)


def _only_double(kinds: Sequence[Kind]) -> None:
    if any(kind != "double" for kind in kinds):
        wrong = next(kind for kind in kinds if kind != "double")
        raise NotCompilable(f"arithmetic in {wrong} would round differently in SQL, which has double")


def _unary(name: str) -> Operator:
    def run_it(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
        given = tensor(algebra, inputs[0])
        if not (given.kind == "float" and name in ("neg", "abs")):
            _only_double([given.kind])
        return Tensor(tuple(algebra.apply(name, node) for node in given.elements), given.kind)

    return run_it


def _comparison(name: str) -> Operator:
    def run_it(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
        columns, _ = broadcast(algebra, inputs)
        return Tensor(tuple(algebra.compare(name, a, b) for a, b in zip(*columns, strict=True)), "bool")

    return run_it


def _both(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    columns, _ = broadcast(algebra, inputs)
    return Tensor(tuple(algebra.both(a, b) for a, b in zip(*columns, strict=True)), "bool")


def _either(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    columns, _ = broadcast(algebra, inputs)
    return Tensor(tuple(algebra.either(a, b) for a, b in zip(*columns, strict=True)), "bool")


def _not(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    return Tensor(tuple(algebra.negate(node) for node in tensor(algebra, inputs[0]).elements), "bool")


def _is_nan(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    return Tensor(tuple(algebra.is_nan(node) for node in tensor(algebra, inputs[0]).elements), "bool")


def _is_inf(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    if not (attributes.get("detect_negative", 1) and attributes.get("detect_positive", 1)):
        raise ValueError("it looks for one sign only")
    return Tensor(tuple(algebra.is_inf(node) for node in tensor(algebra, inputs[0]).elements), "bool")


def _where(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    (conditions, yes, no), kinds = broadcast(algebra, inputs)
    made = tuple(algebra.where(c, a, b) for c, a, b in zip(conditions, yes, no, strict=True))
    return Tensor(made, kinds[2])


# ONNX numbers of tensor element types
_CAST_TO: dict[int, Kind] = {1: "float", 6: "int", 7: "int", 9: "bool", 11: "double"}


def _cast(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    given = tensor(algebra, inputs[0])
    to = _CAST_TO.get(int(attributes["to"]))
    if to is None:
        raise ValueError(f"it casts to type {attributes['to']}")
    return Tensor(tuple(_cast_one(algebra, node, given.kind, to) for node in given.elements), to)


def _cast_one(algebra: Algebra, node: Node, kind: Kind, to: Kind) -> Node:
    if kind == to or (kind == "float" and to == "double"):
        return node
    if kind == "double" and to == "float":
        return algebra.apply("float32", node)
    if kind == "bool":
        one, zero = (algebra.const(plain(v, dtype_of(to)), dtype_of(to)) for v in (1, 0))
        return algebra.where(node, one, zero)
    if kind == "int" and to in ("double", "float"):
        made = algebra.pointwise(lambda v: float(v[0]), [node], "double")
    elif to == "int" and kind in ("double", "float"):
        made = algebra.pointwise(lambda v: int(float(v[0])), [node], "int")
    elif to == "bool":
        return algebra.negate(algebra.compare("==", node, algebra.const(plain(0, node.dtype), node.dtype)))
    else:
        made = None
    if made is None:
        raise ValueError(f"it casts {kind} to {to} where the values are not listed")
    return made


def _matmul(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    left, right = tensor(algebra, inputs[0]), constant(inputs[1])
    return _product(algebra, left, right, None)


def _gemm(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or attributes.get("transA", 0):
        raise ValueError("alpha, beta or transA")
    right = constant(inputs[1])
    bias = tensor(algebra, inputs[2]) if len(inputs) > 2 else None
    return _product(algebra, tensor(algebra, inputs[0]), right.T if attributes.get("transB", 0) else right, bias)


def _product(algebra: Algebra, left: Tensor, right: Array, bias: Tensor | None) -> Tensor:
    _only_double([left.kind, kind_of(right)])
    if right.ndim == 1:
        right = right.reshape(-1, 1)
    if np.count_nonzero(right) > MAX_TERMS:
        raise NotCompilable(f"a matrix of {right.size} numbers is too much SQL", operator="MatMul")
    made = []
    for j in range(right.shape[1]):
        weighted = [
            algebra.apply("mul", node, algebra.double(float(weight)))
            for node, weight in zip(left.elements, right[:, j], strict=True)
            if weight != 0 or not is_finite(node)
        ]
        made.append(rows.total(algebra, [*weighted, *_bias(bias, j)] or [algebra.double(0.0)]))
    return Tensor(tuple(made), "double")


def _bias(bias: Tensor | None, j: int) -> list[Node]:
    return [] if bias is None else [bias.elements[j if len(bias.elements) > 1 else 0]]


def _sigmoid(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    return _unary("sigmoid")(algebra, attributes, inputs)


def _relu(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    given = tensor(algebra, inputs[0])
    _only_double([given.kind])
    zero = algebra.double(0.0)
    return Tensor(tuple(algebra.apply("max", node, zero) for node in given.elements), "double")


def _clip(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    made = inputs[0]
    for name, bound in zip(("max", "min"), inputs[1:], strict=False):
        if np.asarray(bound).size:  # a bound that was left out is empty
            made = _arithmetic(name)(algebra, attributes, [made, bound])
    return made


def _softmax(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    given = tensor(algebra, inputs[0])
    _only_double([given.kind])
    moves.is_axis_1(attributes.get("axis", -1))
    top = rows.greatest(algebra, given.elements)
    raised = [algebra.apply("exp", algebra.apply("sub", node, top)) for node in given.elements]
    total = rows.in_order(algebra, raised)
    return Tensor(tuple(algebra.apply("div", node, total) for node in raised), "double")


def _reduce(combine: Callable[[Algebra, Sequence[Node]], Node]) -> Operator:
    def run_it(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
        axes = constant(inputs[1]).ravel() if len(inputs) > 1 else attributes.get("axes", [1])
        if len(axes) != 1:
            raise ValueError("it reduces several axes")
        moves.is_axis_1(int(axes[0]))
        given = tensor(algebra, inputs[0])
        return Tensor((combine(algebra, given.elements),), given.kind)

    return run_it


def _sum_row(algebra: Algebra, row: Sequence[Node]) -> Node:
    """In order: a sum over columns may be a sum over trees."""
    return rows.in_order(algebra, row) if len(row) > 1 else row[0]


def _mean_row(algebra: Algebra, row: Sequence[Node]) -> Node:
    return algebra.apply("div", rows.in_order(algebra, row), algebra.double(float(len(row))))


def _argmax(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    moves.is_axis_1(attributes.get("axis", 0))
    if attributes.get("select_last_index", 0):
        raise ValueError("it takes the last of equals")
    return Tensor((rows.first_max(algebra, tensor(algebra, inputs[0]).elements),), "int")


def _tree_ensemble(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    found = trees.read(attributes)
    given = tensor(algebra, inputs[0])
    if given.kind != ("float" if found.single else "double"):
        raise ValueError(f"its trees are given {given.kind}")
    made = tuple(algebra.forest(found, target, given.elements) for target in range(found.targets))
    return Tensor(made, given.kind)


def _label_encoder(algebra: Algebra, attributes: Attributes, inputs: Sequence[Operand]) -> Operand:
    keys, key_kind = _listed(attributes, "keys_")
    values, value_kind = _listed(attributes, "values_")
    default = _default(attributes, value_kind)
    table: dict[Key, Value] = {}
    for key, value in zip(keys, values, strict=True):
        table.setdefault(as_key(plain(key, dtype_of(key_kind))), plain(value, dtype_of(value_kind)))
    made = []
    for node in tensor(algebra, inputs[0]).elements:
        mapped = algebra.mapped(node, table, default, dtype_of(value_kind))
        if mapped is None:
            raise ValueError("it encodes what is no column")
        made.append(mapped)
    return Tensor(tuple(made), value_kind)


def _listed(attributes: Attributes, prefix: str) -> tuple[list[Any], Kind]:
    if prefix + "tensor" in attributes:
        array = np.asarray(attributes[prefix + "tensor"])
        return array.ravel().tolist(), kind_of(array)
    kinds: tuple[tuple[str, Kind], ...] = (("strings", "text"), ("int64s", "int"), ("floats", "float"))
    for suffix, kind in kinds:
        if prefix + suffix in attributes:
            return list(attributes[prefix + suffix]), kind
    raise ValueError(f"it has no {prefix}*")


def _default(attributes: Attributes, kind: Kind) -> Value:
    if "default_tensor" in attributes:
        return plain(np.asarray(attributes["default_tensor"]).ravel().tolist()[0], dtype_of(kind))
    name, otherwise = {"text": ("default_string", "_Unused"), "int": ("default_int64", -1)}.get(
        kind, ("default_float", 0.0)
    )
    return plain(attributes.get(name, otherwise), dtype_of(kind))


OPERATORS: dict[str, Operator] = {
    "Abs": _unary("abs"),
    "Add": _arithmetic("add"),
    "And": _both,
    "ArgMax": _argmax,
    "Cast": _cast,
    "Ceil": _unary("ceil"),
    "Clip": _clip,
    "Concat": moves.concat,
    "Cos": _unary("cos"),
    "Div": _arithmetic("div"),
    "Equal": _comparison("=="),
    "Exp": _unary("exp"),
    "Floor": _unary("floor"),
    "Gather": moves.gather,
    "Gemm": _gemm,
    "Greater": _comparison(">"),
    "GreaterOrEqual": _comparison(">="),
    "Identity": moves.same,
    "IsInf": _is_inf,
    "IsNaN": _is_nan,
    "LabelEncoder": _label_encoder,
    "Less": _comparison("<"),
    "LessOrEqual": _comparison("<="),
    "Log": _unary("log"),
    "MatMul": _matmul,
    "Max": _arithmetic("max"),
    "Min": _arithmetic("min"),
    "Mul": _arithmetic("mul"),
    "Neg": _unary("neg"),
    "Not": _not,
    "Or": _either,
    "Pow": _arithmetic("pow"),
    "ReduceMax": _reduce(lambda algebra, row: rows.greatest(algebra, row)),
    "ReduceMean": _reduce(_mean_row),
    "ReduceMin": _reduce(lambda algebra, row: rows.smallest(algebra, row)),
    "ReduceSum": _reduce(_sum_row),
    "Relu": _relu,
    "Reshape": moves.reshape,
    "Round": _unary("round"),
    "Sigmoid": _sigmoid,
    "Sign": _unary("sign"),
    "Sin": _unary("sin"),
    "Slice": moves.cut,
    "Softmax": _softmax,
    "Sqrt": _unary("sqrt"),
    "Squeeze": moves.same,
    "Sub": _arithmetic("sub"),
    "Sum": _arithmetic("add"),
    "Tanh": _unary("tanh"),
    "TreeEnsemble": _tree_ensemble,
    "Unsqueeze": moves.same,
    "Where": _where,
}
