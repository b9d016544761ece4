"""Operators and functions of nodes as SQL, with the guards that keep a row from raising."""

from __future__ import annotations

import math
from collections.abc import Callable

from sqlglot import exp

from sqlml import sql

BARE = (exp.Column, exp.Literal, exp.Paren, exp.Func, exp.Case, exp.Cast, exp.Boolean, exp.Null, exp.Dot, exp.Anonymous)
FLOAT32_OVERFLOW = 3.4028235677973366e38
"""The smallest double that rounds to an infinite float32 (half a step above the largest)."""

ARITHMETIC: dict[str, type[exp.Expression]] = {"add": exp.Add, "sub": exp.Sub, "mul": exp.Mul, "div": exp.Div}
COMPARED: dict[str, type[exp.Expression]] = {"<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE, "==": exp.EQ}


def _float32(x: exp.Expression) -> exp.Expression:
    """A cast that overflows to infinity, as ONNX's does; DuckDB's own raises."""
    bound = sql.double(FLOAT32_OVERFLOW)
    too_large = exp.GTE(this=sql.call("abs", x.copy()), expression=bound)
    infinite = exp.Mul(this=wrapped(x.copy()), expression=sql.double(math.inf))
    return sql.case([(too_large, infinite)], sql.cast(sql.cast(x, "FLOAT"), "DOUBLE"))


def _sigmoid(x: exp.Expression) -> exp.Expression:
    one = sql.double(1.0)
    return exp.Div(
        this=one, expression=exp.Paren(this=exp.Add(this=one.copy(), expression=sql.call("exp", negative(x))))
    )


def _log(x: exp.Expression) -> exp.Expression:
    """DuckDB before 2.0 raises for what is not positive; 2.0 answers -inf and NaN, as everything else does."""
    zero = sql.double(0.0)
    cases: list[tuple[exp.Expression, exp.Expression]] = [
        (exp.GT(this=x.copy(), expression=zero), sql.call("ln", x.copy())),
        (exp.EQ(this=x.copy(), expression=zero.copy()), sql.double(-math.inf)),
        (exp.LT(this=x.copy(), expression=zero.copy()), sql.double(math.nan)),
    ]
    return sql.case(cases)


def _sqrt(x: exp.Expression) -> exp.Expression:
    zero = sql.double(0.0)
    cases: list[tuple[exp.Expression, exp.Expression]] = [
        (exp.GTE(this=x.copy(), expression=zero), sql.call("sqrt", x.copy())),
        (exp.LT(this=x.copy(), expression=zero.copy()), sql.double(math.nan)),
    ]
    return sql.case(cases)


def _wave(name: str) -> Callable[[exp.Expression], exp.Expression]:
    """Sine and cosine, for which DuckDB before 2.0 raises where the argument is infinite."""

    def of(x: exp.Expression) -> exp.Expression:
        finite = exp.LT(this=sql.call("abs", x.copy()), expression=sql.double(math.inf))
        never = exp.EQ(this=sql.call("abs", x.copy()), expression=sql.double(math.inf))
        return sql.case([(finite, sql.call(name, x.copy())), (never, sql.double(math.nan))], x.copy())

    return of


FUNCTIONS: dict[str, Callable[..., exp.Expression]] = {
    "neg": lambda x: negative(x),
    "abs": lambda x: sql.call("abs", x),
    "exp": lambda x: sql.call("exp", x),
    "log": _log,
    "sqrt": _sqrt,
    "tanh": lambda x: sql.call("tanh", x),
    "sigmoid": _sigmoid,
    "sign": lambda x: sql.cast(sql.call("sign", x), "DOUBLE"),
    "floor": lambda x: sql.call("floor", x),
    "ceil": lambda x: sql.call("ceil", x),
    "trunc": lambda x: sql.call("trunc", x),
    "round": lambda x: sql.call("round_even", x, sql.integer(0)),
    "cos": _wave("cos"),
    "sin": _wave("sin"),
    "float32": _float32,
    "pow": lambda x, y: sql.call("pow", x, y),
}


def negative(node: exp.Expression) -> exp.Expression:
    inner = node.this if isinstance(node, exp.Paren) else node
    if isinstance(inner, exp.Neg):
        opposite: exp.Expression = inner.this
        return opposite
    return exp.Neg(this=wrapped(node))


def wrapped(node: exp.Expression) -> exp.Expression:
    """In parentheses unless it stands for itself; sqlglot writes what it is given, whatever binds tighter."""
    return node if isinstance(node, BARE) else exp.Paren(this=node)
