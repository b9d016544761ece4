"""Thresholds pulled back through what happens to a column: f(x) <= t becomes x <= t'.

Each step of f (an imputer has been split off already; a scaler, a cast to float32 ...) is monotone also after rounding,
so f is: t' is the largest double x with f(x) <= t. It is found by bisection over the doubles themselves, with the very
operations that f consists of, so that both sides of t' are right to the last bit, overflow to infinity included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sqlml.compile.constants import BINARY, UNARY, Doubles
from sqlml.compile.nodes import Const, Input, Node, Op

RISING = frozenset({"float32", "floor", "ceil", "trunc", "round", "sign"})
"""Exactly rounded, so rising for every pair of neighbours. exp, log and tanh need not be, and are left alone."""


@dataclass(frozen=True)
class Chain:
    """A function of one column: `steps` one after the other; it rises or falls everywhere."""

    column: Input
    steps: tuple[Callable[[Doubles], Doubles], ...]
    rises: bool

    def __call__(self, x: Doubles) -> Doubles:
        with np.errstate(all="ignore"):
            for step in self.steps:
                x = step(x)
        return x


def chain_of(node: Node) -> Chain | None:
    """The node as a monotone function of one column, if it is one."""
    steps: list[Callable[[Doubles], Doubles]] = []
    rises = True
    while isinstance(node, Op):
        found = _step(node)
        if found is None:
            return None
        step, upward, node = found
        steps.append(step)
        rises = rises == upward
    if not isinstance(node, Input) or node.dtype != "double":
        return None
    chain = Chain(node, tuple(reversed(steps)), rises)
    ends = chain(np.array([-np.inf, np.inf]))
    return None if np.isnan(ends).any() else chain


def pull_back(chain: Chain, thresholds: Doubles, *, strict: bool) -> Doubles:
    """For each t the x that bounds f(x) <= t (f(x) < t if `strict`): the largest if f rises, the smallest if it falls.

    NaN where no x satisfies it.
    """
    sign = 1.0 if chain.rises else -1.0

    def holds(keys: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        values = chain(sign * _double_of(keys))
        return values < thresholds if strict else values <= thresholds

    thresholds = np.asarray(thresholds, dtype=np.float64)
    low = np.full(thresholds.shape, -_INFINITY, dtype=np.int64)
    high = np.full(thresholds.shape, _INFINITY, dtype=np.int64)
    nowhere, everywhere = ~holds(low), holds(high)
    for _ in range(65):  # the range holds less than 2**64 doubles
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        inside = holds(middle)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    bound = np.where(everywhere, np.inf, _double_of(low))
    return np.where(nowhere, np.nan, sign * bound)


_INFINITY = np.int64(0x7FF0_0000_0000_0000)
_SIGN = np.uint64(0x8000_0000_0000_0000)


def _double_of(keys: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Doubles:
    """The doubles numbered in their order: 0 is 0.0, 1 the smallest above it, -1 the largest below."""
    bits = np.abs(keys).astype(np.uint64)
    return np.where(keys < 0, bits | _SIGN, bits).view(np.float64)


def _step(node: Op) -> tuple[Callable[[Doubles], Doubles], bool, Node] | None:
    """(function, rises, argument) of one operation, if its only argument that is no constant makes it monotone."""
    if node.name == "neg":
        return np.negative, False, node.args[0]
    if node.name in RISING:
        return UNARY[node.name], True, node.args[0]
    if node.name not in ("add", "sub", "mul", "div", "min", "max") or len(node.args) != 2:
        return None
    operation = BINARY[node.name]
    left, right = node.args
    if isinstance(right, Const):
        number = np.float64(right.value)
        upward = _rises(node.name, float(number))
        return None if upward is None else (lambda x: operation(x, number), upward, left)
    if isinstance(left, Const) and node.name != "div":
        number = np.float64(left.value)
        upward = False if node.name == "sub" and math.isfinite(number) else _rises(node.name, float(number))
        return None if upward is None else (lambda x: operation(number, x), upward, right)
    return None


def _rises(name: str, number: float) -> bool | None:
    """Whether x op number rises with x; None where it does neither, or where it can be NaN."""
    if not math.isfinite(number) or (name in ("mul", "div") and number == 0):
        return None
    return number > 0 if name in ("mul", "div") else True
