"""Operations over a row of nodes: sums, extremes, and which one is the greatest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqlml.compile.algebra import Algebra
from sqlml.compile.constants import fold
from sqlml.compile.nodes import Const, Key, Lookup, Node, Select, Value, is_op
from sqlml.compile.tables import Function


def total(algebra: Algebra, terms: Sequence[Node]) -> Node:
    """The sum; terms that depend on one and the same column's categories become one table, constants one constant.

    Only for sums whose order the original leaves to its linear algebra library.
    """
    groups: dict[object, list[Node]] = {}
    for term in terms:
        group: object = term
        if isinstance(term, Lookup):
            group = term.column
        elif isinstance(term, Select):
            group = tuple(condition for condition, _ in term.cases)
        elif isinstance(term, Const):
            group = "constants"
        groups.setdefault(group, []).append(term)
    constants = groups.pop("constants", [])
    merged = [_added(algebra, group) for group in groups.values()]
    if constants:
        merged.append(_added(algebra, constants))
    return in_order(algebra, merged)


def in_order(algebra: Algebra, terms: Sequence[Node]) -> Node:
    """The sum from left to right."""
    flat = [*terms[0].args, *terms[1:]] if is_op(terms[0], "sum") else list(terms)
    if len(flat) == 1:
        return flat[0]
    if all(isinstance(term, Const) for term in flat):
        return algebra.double(float(fold("sum", [term.value for term in flat if isinstance(term, Const)])))
    return algebra.op("sum", flat, "double")


def smallest(algebra: Algebra, terms: Sequence[Node]) -> Node:
    """The minimum; over constants behind conditions (the codes of errors) it is one ordered CASE."""
    cases: list[tuple[Node, Value]] = []
    defaults: list[float] = []
    for term in terms:
        found = _as_ascending(algebra, term)
        if found is None:
            return _extreme(algebra, "min", terms)
        cases += found[0]
        defaults.append(found[1])
    least = min(defaults)
    cases.sort(key=lambda case: float(case[1]))
    dtype = terms[0].dtype
    default: Value = int(least) if dtype == "int" else least
    return algebra.select([c for c in cases if float(c[1]) < least], default, dtype)


def greatest(algebra: Algebra, terms: Sequence[Node]) -> Node:
    return _extreme(algebra, "max", terms)


def first_max(algebra: Algebra, scores: Sequence[Node]) -> Node:
    """The position of the greatest, the first of equals; NaN is greater than anything, as numpy has it."""
    if all(isinstance(score, Const) for score in scores):
        values = [float(score.value) for score in scores if isinstance(score, Const)]
        return algebra.const(int(np.argmax(values)), "int")
    position = [algebra.const(i, "int") for i in range(len(scores))]
    tops = [algebra.op("first_max", (*scores, at), "bool") for at in position[:-1]]
    return algebra.select([(top, i) for i, top in enumerate(tops)], len(scores) - 1, "int")


def _added(algebra: Algebra, terms: Sequence[Node]) -> Node:
    if len(terms) == 1:
        return terms[0]
    tables = [term for term in terms if isinstance(term, Lookup) and term.default == 0]
    if len(tables) == len(terms):
        # Tables that are mostly 0, as one-hot columns are: adding 0 changes nothing.
        sums: dict[Key, Value] = {}
        for table in tables:
            for key, value in table.table:
                sums[key] = float(sums.get(key, 0.0)) + float(value)
        return algebra.lookup(tables[0].column, sums, 0.0, "double")
    merged = algebra.pointwise(lambda values: fold("sum", values), terms, "double")
    return merged if merged is not None else in_order(algebra, terms)


def _extreme(algebra: Algebra, name: str, terms: Sequence[Node]) -> Node:
    distinct = list(dict.fromkeys(terms))
    if len(distinct) == 1:
        return distinct[0]
    return algebra.apply(name, *distinct) if len(distinct) == 2 else algebra.op(name, distinct, "double")


def _as_ascending(algebra: Algebra, term: Node) -> tuple[list[tuple[Node, Value]], float] | None:
    """(cases, default) such that the first case that holds has the smallest value of those that hold."""
    if isinstance(term, Const):
        return [], float(term.value)
    if isinstance(term, Select):
        values = [float(value) for value in (*(value for _, value in term.cases), term.default)]
        return (list(term.cases), values[-1]) if values == sorted(values) else None
    if isinstance(term, Lookup):
        listed = sorted({float(value) for value in (*(value for _, value in term.table), term.default)})
        cases: list[tuple[Node, Value]] = []
        for wanted in listed[:-1]:
            condition = algebra.pointwise(_equals(wanted), (term,), "bool")
            if condition is not None:
                cases.append((condition, int(wanted) if term.dtype == "int" else wanted))
        return cases, listed[-1]
    return None


def _equals(wanted: float) -> Function:
    return lambda values: float(values[0]) == wanted
