"""What one element of a tensor is, as a function of one row: small symbolic nodes.

Nodes are compared by identity; `Algebra` makes equal nodes the same object. A number may be missing (NULL in SQL,
NaN in ONNX): comparisons with it are false, arithmetic passes it on, `missing` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard

if TYPE_CHECKING:
    from sqlml.compile.trees import TreeSet

Dtype = Literal["double", "int", "bool", "text"]
Value = float | int | bool | str
Key = float | str | None
"""What a column is compared with; None stands for a missing value."""


class NotCompilable(Exception):
    """This graph has no SQL of ours: not an error of the user, but a reason to choose another engine.

    `operator` names the ONNX operator that stopped it, where one did.
    """

    def __init__(self, message: str, *, operator: str | None = None) -> None:
        super().__init__(message)
        self.operator = operator


@dataclass(frozen=True, eq=False)
class Input:
    """A column of the signature."""

    index: int
    name: str
    dtype: Dtype


@dataclass(frozen=True, eq=False)
class Const:
    value: Value
    dtype: Dtype


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function of one column that has one value per listed key and `default` for everything else."""

    column: Input
    table: tuple[tuple[Key, Value], ...]
    default: Value
    dtype: Dtype


@dataclass(frozen=True, eq=False)
class Select:
    """The value of the first condition that holds, else `default`: an ordered CASE over constants."""

    cases: tuple[tuple[Node, Value], ...]
    default: Value
    dtype: Dtype


@dataclass(frozen=True, eq=False)
class Forest:
    """One target of a tree ensemble: the sum of its trees' leaves, tree after tree."""

    trees: TreeSet
    target: int
    features: tuple[Node, ...]
    dtype: Dtype = "double"


@dataclass(frozen=True, eq=False)
class Op:
    """Anything else: `name` is one of `UNARY`, `BINARY`, `COMPARISONS`, or of the names below.

    sum(a, b, ...) from left to right, min(...), max(...) with NaN winning, where(condition, a, b), and(...), or(...),
    not(a), is_nan(a), is_inf(a), first_max(a, b, ..., i): a is the first of the greatest, i its position.
    """

    name: str
    args: tuple[Node, ...]
    dtype: Dtype


Node = Input | Const | Lookup | Select | Forest | Op


def is_op(node: Node, *names: str) -> TypeGuard[Op]:
    return isinstance(node, Op) and node.name in names


def is_missing_test(node: Node) -> TypeGuard[Lookup]:
    """Whether the node says "this column is missing" and nothing else."""
    return isinstance(node, Lookup) and node.table == ((None, True),) and node.default is False


def children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Op):
        return node.args
    if isinstance(node, Lookup):
        return (node.column,)
    if isinstance(node, Select):
        return tuple(condition for condition, _ in node.cases)
    if isinstance(node, Forest):
        return node.features
    return ()
