"""Operations on nodes: each gives the simplest node that means the same, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sqlml.compile.constants import COMPARISONS, MIRRORED, NEGATED, fold
from sqlml.compile.nodes import (
    Const,
    Dtype,
    Forest,
    Input,
    Key,
    Lookup,
    Node,
    Op,
    Select,
    Value,
    is_missing_test,
    is_op,
)
from sqlml.compile.tables import Tables, as_key, is_finite
from sqlml.compile.thresholds import Chain, chain_of, pull_back

if TYPE_CHECKING:
    from sqlml.compile.trees import TreeSet

KEEPS_NAN = frozenset({"neg", "abs", "float32", "floor", "ceil", "trunc", "round", "sign", "tanh", "sigmoid", "exp"})
"""Operations whose result is NaN exactly where their argument is."""
LARGEST = float(np.finfo(np.float64).max)


class Algebra(Tables):
    """Arithmetic, comparison and choice."""

    def __init__(self) -> None:
        super().__init__()
        self._bounds: dict[tuple[Node, bool], dict[float, float]] = {}

    def apply(self, name: str, *args: Node, dtype: Dtype = "double") -> Node:
        """An operation of `constants.py` on numbers, pushed into constants, tables and imputers."""
        same = _identity(name, args)
        if same is not None:
            return same
        moved = self.pointwise(lambda values: fold(name, values), args, dtype)
        if moved is not None:
            return moved
        branch = next((a for a in args if is_op(a, "where") and _has_constant_branch(a)), None)
        if branch is not None and all(a is branch or isinstance(a, Const) for a in args):
            again = self.compare if name in COMPARISONS else partial(self.apply, dtype=dtype)
            one, other = (again(name, *(side if a is branch else a for a in args)) for side in branch.args[1:])
            return self.where(branch.args[0], one, other)
        return self.op(name, args, dtype)

    def compare(self, name: str, a: Node, b: Node) -> Node:
        """`a name b`, false where either is missing."""
        if isinstance(a, Const) and not isinstance(b, Const):
            return self.compare(MIRRORED[name], b, a)
        if name == "==" and isinstance(a, Input) and isinstance(b, Const):
            never = isinstance(b.value, float) and np.isnan(b.value)
            return self.boolean(False) if never else self.lookup(a, {as_key(b.value): True}, False, "bool")
        if name != "==" and is_op(a, "abs") and isinstance(b, Const):
            # |a| < t is -t < a < t: each side can be pulled back.
            sides = [
                self.compare(name, a.args[0], b),
                self.compare(MIRRORED[name], a.args[0], self.double(-float(b.value))),
            ]
            return self.both(*sides) if name in ("<", "<=") else self.either(*sides)
        node = self.apply(name, a, b, dtype="bool")
        if is_op(node, *NEGATED) and isinstance(node.args[1], Const):
            return self._pulled_back(node, node.args[0], node.args[1])
        return node

    def where(self, condition: Node, a: Node, b: Node) -> Node:
        """`a` where the condition holds, else `b`; a missing value counts as it stands in each."""
        if isinstance(condition, Const):
            return a if condition.value else b
        a, b = self._given(condition, True, a), self._given(condition, False, b)
        if a is b:
            return a
        if is_op(condition, "not"):
            return self.where(condition.args[0], b, a)
        dtype = b.dtype
        moved = self.pointwise(lambda v: v[1] if v[0] else v[2], (condition, a, b), dtype)
        if moved is not None:
            return moved
        if isinstance(a, Const):
            if isinstance(b, Const):
                return self.select([(condition, a.value)], b.value, dtype)
            if isinstance(b, Select):
                return self.select([(condition, a.value), *b.cases], b.default, dtype)
        if dtype == "bool":
            return self.either(self.both(condition, a), self.both(self.negate(condition), b))
        return self.op("where", (condition, a, b), dtype)

    def both(self, *conditions: Node) -> Node:
        return self._connected("and", conditions)

    def either(self, *conditions: Node) -> Node:
        return self._connected("or", conditions)

    def is_nan(self, node: Node) -> Node:
        """Whether the number is missing."""
        if node.dtype != "double" or isinstance(node, Forest):
            return self.boolean(False)
        if isinstance(node, Input):
            return self.missing(node)
        if isinstance(node, Op):
            moving = [a for a in node.args if not is_finite(a, nonzero=node.name in ("mul", "div"))]
            if node.name in KEEPS_NAN:
                return self.is_nan(node.args[0])
            if node.name == "where":
                return self.where(node.args[0], self.is_nan(node.args[1]), self.is_nan(node.args[2]))
            passes = node.name in ("add", "sub", "mul", "sum", "min", "max") or (
                node.name == "div" and moving == [node.args[0]]
            )
            if passes and len(moving) == 1:
                return self.is_nan(moving[0])
        moved = self.pointwise(lambda v: fold("is_nan", v), (node,), "bool")
        return moved if moved is not None else self.op("is_nan", (node,), "bool")

    def is_inf(self, node: Node) -> Node:
        if node.dtype != "double" or isinstance(node, Forest):
            return self.boolean(False)
        if is_op(node, "where"):
            return self.where(node.args[0], self.is_inf(node.args[1]), self.is_inf(node.args[2]))
        if isinstance(node, Op) and chain_of(node) is not None:
            beyond = self.compare(">", node, self.double(LARGEST))
            return self.either(beyond, self.compare("<", node, self.double(-LARGEST)))
        moved = self.pointwise(lambda v: fold("is_inf", v), (node,), "bool")
        return moved if moved is not None else self.op("is_inf", (node,), "bool")

    def forest(self, trees: TreeSet, target: int, features: Sequence[Node]) -> Node:
        key = ("forest", id(trees), target, tuple(features))
        return self.once(key, lambda: Forest(trees, target, tuple(features)))

    def mapped(self, node: Node, table: dict[Key, Value], default: Value, dtype: Dtype) -> Node | None:
        """A dictionary applied to a node; None where the node is no function of constants or of one column."""
        if isinstance(node, Input):
            return self.lookup(node, table, default, dtype)
        if is_op(node, "where"):
            yes, no = (self.mapped(side, table, default, dtype) for side in node.args[1:])
            return None if yes is None or no is None else self.where(node.args[0], yes, no)
        return self.pointwise(lambda v: table.get(as_key(v[0]), default), (node,), dtype)

    def pull_back_all(self, node: Node, thresholds: Sequence[float]) -> None:
        """Find many thresholds of one node at once; `compare` with any of them is then a matter of looking it up."""
        if is_op(node, "where"):
            for side in node.args[1:]:
                self.pull_back_all(side, thresholds)
        chain = chain_of(node)
        if chain is not None and isinstance(node, Op):
            for strict in (False, True):
                self._bound(node, chain, thresholds, strict)

    def _given(self, condition: Node, holds: bool, node: Node) -> Node:
        """The node where the condition is known to hold, or not to: its first case is then decided."""
        if isinstance(node, Select) and node.cases[0][0] is condition:
            if holds:
                return self.const(node.cases[0][1], node.dtype)
            return self.select(node.cases[1:], node.default, node.dtype)
        if is_op(node, "where") and node.args[0] is condition:
            return node.args[1] if holds else node.args[2]
        return node

    def _connected(self, name: str, conditions: Sequence[Node]) -> Node:
        stops = name == "or"
        flat: list[Node] = []
        for condition in conditions:
            flat += condition.args if is_op(condition, name) else [condition]
        kept: list[Node] = []
        for condition in dict.fromkeys(flat):
            joined = condition if isinstance(condition, Const) else self._joined(name, kept, condition)
            if isinstance(joined, Const):
                if bool(joined.value) == stops:
                    return joined
            else:
                kept.append(joined)
        if not kept:
            return self.boolean(not stops)
        return kept[0] if len(kept) == 1 else self.op(name, kept, "bool")

    def _joined(self, name: str, kept: list[Node], condition: Node) -> Node:
        """The condition, joined with one of those before it where they make a simpler one; that one is taken out."""
        for i, other in enumerate(kept):
            joined = self.pointwise(lambda v: fold(name, v), (other, condition), "bool")
            joined = joined or self._with_missing(name, other, condition) or self._with_missing(name, condition, other)
            if joined is not None:
                del kept[i]
                return joined
        return condition

    def _with_missing(self, name: str, test: Node, condition: Node) -> Node | None:
        """`missing(x) or x <= t` is not (x > t), and `not missing(x) and x <= t` is x <= t alone."""
        if not is_op(condition, *NEGATED):
            return None
        column, bound = condition.args
        if not isinstance(column, Input) or not isinstance(bound, Const):
            return None
        # By what they say, not by identity: a tree is expanded long after its features were traced, by another Algebra.
        if not isinstance(test, Lookup) or test.column is not column:
            return None
        if name == "or" and is_missing_test(test):
            return self.negate(self.op(NEGATED[condition.name], condition.args, "bool"))
        return condition if name == "and" and test.table == ((None, False),) else None

    def _pulled_back(self, node: Op, function: Node, threshold: Const) -> Node:
        """`f(x) name t` as `x name t'`, or as "x is there", or as never."""
        if np.isnan(float(threshold.value)):
            return self.boolean(False)
        chain = chain_of(function)
        if chain is None or not isinstance(function, Op):
            return node
        upper = node.name in ("<", "<=")  # f(x) > t is what f(x) <= t is not, missing values aside
        given = float(threshold.value)
        bound = self._bound(function, chain, [given], node.name in ("<", ">="))[given]
        never, always = self.boolean(False), self.negate(self.missing(chain.column))
        if np.isnan(bound):  # no x satisfies f(x) <= t
            return never if upper else always
        if bound == (np.inf if chain.rises else -np.inf):
            return always if upper else never
        name = ("<=" if upper else ">") if chain.rises else (">=" if upper else "<")
        return self.op(name, (chain.column, self.double(bound)), "bool")

    def _bound(self, node: Node, chain: Chain, thresholds: Sequence[float], strict: bool) -> dict[float, float]:
        known = self._bounds.setdefault((node, strict), {})
        new = [t for t in dict.fromkeys(thresholds) if t not in known]
        if new:
            known.update(zip(new, pull_back(chain, np.array(new), strict=strict).tolist(), strict=True))
        return known


def _has_constant_branch(node: Op) -> bool:
    return any(isinstance(side, Const) for side in node.args[1:])


def _identity(name: str, args: Sequence[Node]) -> Node | None:
    """x * 1, x / 1, x - 0 and x + 0 are x."""
    if len(args) != 2 or name not in ("mul", "div", "sub", "add"):
        return None
    neutral = 1.0 if name in ("mul", "div") else 0.0
    left, right = args
    if isinstance(right, Const) and right.value == neutral:
        return left
    if isinstance(left, Const) and left.value == neutral and name in ("mul", "add"):
        return right
    return None
