"""Nodes made only once, and operations moved into the values of those that list them.

This is what keeps SQL small: the one-hot of a text column, scaled and compared with 0.5, comes out as `x = 'a'`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from sqlml.compile.constants import identical
from sqlml.compile.nodes import Const, Dtype, Forest, Input, Key, Lookup, Node, NotCompilable, Op, Select, Value, is_op
from sqlml.convert.onnx_model import MISSING_TEXT

MAX_TABLE = 4_000
"""Keys of one Lookup; a column with more categories than this is no CASE expression any more."""

Function = Callable[[list[Value]], Value]


class Tables:
    """The nodes of one compilation; each method gives the simplest node that means the same."""

    def __init__(self) -> None:
        self._inputs: dict[int, Input] = {}
        self._consts: dict[Hashable, Const] = {}
        self._made: dict[Hashable, Node] = {}

    def input(self, index: int, name: str, dtype: Dtype) -> Input:
        return self._inputs.setdefault(index, Input(index, name, dtype))

    def const(self, value: Value, dtype: Dtype) -> Const:
        key = (dtype, _exact(value))
        if key not in self._consts:
            self._consts[key] = Const(value, dtype)
        return self._consts[key]

    def double(self, value: float) -> Const:
        return self.const(float(value), "double")

    def boolean(self, value: bool) -> Const:
        return self.const(bool(value), "bool")

    def missing(self, column: Input) -> Node:
        return self.lookup(column, {None: True}, False, "bool")

    def lookup(self, column: Input, table: dict[Key, Value], default: Value, dtype: Dtype) -> Node:
        kept = tuple((key, value) for key, value in table.items() if not identical(value, default))
        if not kept:
            return self.const(default, dtype)
        if len(kept) > MAX_TABLE:
            raise NotCompilable(
                f"{column.name} is compared with {len(kept)} values, and a CASE of more than {MAX_TABLE} is slow"
            )
        key = ("lookup", column, tuple((k, _exact(v)) for k, v in kept), _exact(default), dtype)
        return self.once(key, lambda: Lookup(column, kept, default, dtype))

    def select(self, cases: Sequence[tuple[Node, Value]], default: Value, dtype: Dtype) -> Node:
        kept: list[tuple[Node, Value]] = []
        for condition, value in cases:
            if isinstance(condition, Const):
                if not condition.value:
                    continue
                default = value
                break
            if all(condition is not earlier for earlier, _ in kept):
                kept.append((condition, value))
        while kept and identical(kept[-1][1], default):
            kept.pop()
        if not kept:
            return self.const(default, dtype)
        if len(kept) == 1:
            condition, value = kept[0]
            if dtype == "bool":
                return condition if value else self.negate(condition)
            if isinstance(condition, Lookup):
                return self._of_lookups(lambda v: value if v[0] else default, [condition], dtype)
        key = ("select", tuple((c, _exact(v)) for c, v in kept), _exact(default), dtype)
        return self.once(key, lambda: Select(tuple(kept), default, dtype))

    def negate(self, condition: Node) -> Node:
        if is_op(condition, "not"):
            return condition.args[0]
        moved = self.pointwise(lambda v: not v[0], (condition,), "bool")
        return moved if moved is not None else self.op("not", (condition,), "bool")

    def pointwise(self, function: Function, args: Sequence[Node], dtype: Dtype) -> Node | None:
        """A function moved into constants, into the tables of one column, or into one list of cases; None elsewhere."""
        moving = [a for a in args if not isinstance(a, Const)]
        if not moving:
            return self.const(function([a.value for a in args if isinstance(a, Const)]), dtype)
        first = moving[0]
        if isinstance(first, Lookup) and all(isinstance(a, Lookup) and a.column is first.column for a in moving):
            return self._of_lookups(function, args, dtype)
        if isinstance(first, Select):
            conditions = [c for c, _ in first.cases]
            if all(isinstance(a, Select) and [c for c, _ in a.cases] == conditions for a in moving):
                rows = [
                    (c, function([a.cases[i][1] if isinstance(a, Select) else default_of(a) for a in args]))
                    for i, c in enumerate(conditions)
                ]
                return self.select(rows, function([default_of(a) for a in args]), dtype)
        return None

    def op(self, name: str, args: Sequence[Node], dtype: Dtype) -> Node:
        return self.once((name, dtype, *args), lambda: Op(name, tuple(args), dtype))

    def once(self, key: Hashable, make: Callable[[], Node]) -> Node:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
        return found

    def _of_lookups(self, function: Function, args: Sequence[Node], dtype: Dtype) -> Node:
        tables = [dict(a.table) if isinstance(a, Lookup) else {} for a in args]
        defaults = [default_of(a) for a in args]
        keys = dict.fromkeys(key for table in tables for key in table)
        column = next(a.column for a in args if isinstance(a, Lookup))
        table = {key: function([t.get(key, d) for t, d in zip(tables, defaults, strict=True)]) for key in keys}
        return self.lookup(column, table, function(defaults), dtype)


def default_of(node: Node) -> Value:
    """The value of a constant, and what a Lookup or Select has where nothing listed applies."""
    if isinstance(node, Const):
        return node.value
    if isinstance(node, (Lookup, Select)):
        return node.default
    raise TypeError(f"{node} does not list its values")


def as_key(value: Value) -> Key:
    """A constant as the key of a table: NaN and the text that stands for a missing one are None."""
    if isinstance(value, str):
        return None if value == MISSING_TEXT else value
    return None if isinstance(value, float) and np.isnan(value) else float(value)


def is_finite(node: Node, *, nonzero: bool = False) -> bool:
    """Whether the node is a finite number in every row, whatever comes in (and never 0, if asked)."""
    if isinstance(node, Const):
        values = [node.value]
    elif isinstance(node, Lookup):
        values = [node.default, *(value for _, value in node.table)]
    elif isinstance(node, Select):
        values = [node.default, *(value for _, value in node.cases)]
    else:
        return isinstance(node, Forest) and not nonzero
    return all(np.isfinite(float(v)) and (v != 0 or not nonzero) for v in values)


def _exact(value: Value) -> Hashable:
    """Tells apart what `==` does not: 1, 1.0 and True, 0.0 and -0.0; and makes NaN equal to itself."""
    return repr(value) if isinstance(value, float) else (type(value).__name__, value)
