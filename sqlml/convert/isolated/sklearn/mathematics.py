"""Functions of one number put together from the operators that onnxruntime has for doubles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sqlml.convert.isolated.graph import Graph


def log1p(graph: Graph, x: str) -> str:
    """log(u) * x / (u - 1) with u = 1 + x, which keeps the digits that log(1 + x) loses near 0."""
    one = graph.double([1.0])
    u = graph.op("Add", x, one)
    back = graph.op("Sub", u, one)
    # Equal also where both are infinite, whose quotient would be NaN.
    ratio = graph.op("Where", graph.op("Equal", back, x), one, graph.op("Div", x, back))
    near = graph.op("Equal", u, one)
    return graph.op("Where", near, x, graph.op("Mul", graph.op("Log", u), ratio))


def expm1(graph: Graph, x: str) -> str:
    """tanh(x / 2) * (exp(x) + 1), which keeps the digits that exp(x) - 1 loses near 0."""
    half = graph.op("Tanh", graph.op("Mul", x, graph.double([0.5])))
    return graph.op("Mul", half, graph.op("Add", graph.op("Exp", x), graph.double([1.0])))


def scaled_log(base: float) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op("Div", graph.op("Log", x), graph.double([math.log(base)]))


def exp2(graph: Graph, x: str) -> str:
    return graph.op("Exp", graph.op("Mul", x, graph.double([math.log(2.0)])))


def square(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, x)


def reciprocal(graph: Graph, x: str) -> str:
    return graph.op("Div", graph.double([1.0]), x)


def trunc(graph: Graph, x: str) -> str:
    negative = graph.op("Less", x, graph.double([0.0]))
    return graph.op("Where", negative, graph.op("Ceil", x), graph.op("Floor", x))


def rounded(graph: Graph, x: str, decimals: int) -> str:
    """numpy's round: halves to even, of the number times 10^decimals."""
    if decimals == 0:
        return graph.op("Round", x)
    factor = graph.double([10.0 ** abs(decimals)])
    first, then = ("Mul", "Div") if decimals > 0 else ("Div", "Mul")
    return graph.op(then, graph.op("Round", graph.op(first, x, factor)), factor)


def clipped(graph: Graph, x: str, low: float, high: float) -> str:
    """NaN stays NaN."""
    if low > -math.inf:
        x = graph.op("Where", graph.op("Less", x, graph.double([low])), graph.double([low]), x)
    if high < math.inf:
        x = graph.op("Where", graph.op("Greater", x, graph.double([high])), graph.double([high]), x)
    return graph.op("Identity", x)


def is_finite(graph: Graph, x: str) -> str:
    return graph.op("Not", graph.op("Or", graph.op("IsNaN", x), graph.op("IsInf", x)))


def tan(graph: Graph, x: str) -> str:
    return graph.op("Div", graph.op("Sin", x), graph.op("Cos", x))


def logit(graph: Graph, x: str) -> str:
    return graph.op("Log", graph.op("Div", x, graph.op("Sub", graph.double([1.0]), x)))


def cbrt(graph: Graph, x: str) -> str:
    """exp(log|x| / 3) with the sign of x; 0 and infinities come out by themselves."""
    root = graph.op("Exp", graph.op("Div", graph.op("Log", graph.op("Abs", x)), graph.double([3.0])))
    return graph.op("Mul", graph.op("Sign", x), root)


LARGE = 20.0
"""Past this the smaller of exp(x) and exp(-x) is below the last digit of the other."""


def halved(graph: Graph, size: str) -> str:
    """exp(size) / 2, which need not be infinite where exp(size) is."""
    root = graph.op("Exp", graph.op("Mul", size, graph.double([0.5])))
    return graph.op("Mul", graph.op("Mul", root, graph.double([0.5])), root)


def sinh(graph: Graph, x: str) -> str:
    size = graph.op("Abs", x)
    e = expm1(graph, graph.op("Min", size, graph.double([LARGE])))
    both = graph.op("Add", e, graph.op("Div", e, graph.op("Add", e, graph.double([1.0]))))
    small = graph.op("Mul", both, graph.double([0.5]))
    large = graph.op("Greater", size, graph.double([LARGE]))
    return graph.op("Mul", graph.op("Sign", x), graph.op("Where", large, halved(graph, size), small))


def cosh(graph: Graph, x: str) -> str:
    size = graph.op("Abs", x)
    e = graph.op("Exp", graph.op("Min", size, graph.double([LARGE])))
    small = graph.op("Mul", graph.op("Add", e, graph.op("Div", graph.double([1.0]), e)), graph.double([0.5]))
    large = graph.op("Greater", size, graph.double([LARGE]))
    return graph.op("Where", large, halved(graph, size), small)


FAR = 1e8


def arcsinh(graph: Graph, x: str) -> str:
    """log1p(|x| + x^2 / (1 + sqrt(1 + x^2))), or log(2 |x|) where x^2 + 1 is x^2."""
    size = graph.op("Abs", x)
    near = graph.op("Min", size, graph.double([FAR]))
    one = graph.double([1.0])
    squared = graph.op("Mul", near, near)
    root = graph.op("Sqrt", graph.op("Add", squared, one))
    small = log1p(graph, graph.op("Add", near, graph.op("Div", squared, graph.op("Add", root, one))))
    large = graph.op("Add", graph.op("Log", size), graph.double([math.log(2.0)]))
    far = graph.op("Greater", size, graph.double([FAR]))
    return graph.op("Mul", graph.op("Sign", x), graph.op("Where", far, large, small))


def arctanh(graph: Graph, x: str) -> str:
    """log1p(2 |x| / (1 - |x|)) / 2"""
    size = graph.op("Abs", x)
    ratio = graph.op("Div", graph.op("Add", size, size), graph.op("Sub", graph.double([1.0]), size))
    return graph.op("Mul", graph.op("Sign", x), graph.op("Mul", log1p(graph, ratio), graph.double([0.5])))


# Cephes, atan.c: coefficients from the highest power down.
ABOVE = (-8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
         -1.228866684490136173410e2, -6.485021904942025371773e1)  # fmt: skip
UNDER = (1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
         4.853903996359136964868e2, 1.945506571482613964425e2)  # fmt: skip
TAN_3_PI_8, MORE_BITS = 2.41421356237309504880, 6.123233995736765886130e-17


def arctan(graph: Graph, x: str) -> str:
    size, one = graph.op("Abs", x), graph.double([1.0])
    far = graph.op("Greater", size, graph.double([TAN_3_PI_8]))
    middle = graph.op("Greater", size, graph.double([0.66]))
    turned = graph.op("Div", graph.double([-1.0]), size)
    halfway = graph.op("Div", graph.op("Sub", size, one), graph.op("Add", size, one))
    reduced = graph.op("Where", far, turned, graph.op("Where", middle, halfway, size))
    base = graph.op("Where", far, graph.double([math.pi / 2]), select(graph, middle, math.pi / 4))
    more = graph.op("Where", far, graph.double([MORE_BITS]), select(graph, middle, MORE_BITS / 2))
    z = graph.op("Mul", reduced, reduced)
    ratio = graph.op("Div", polynomial(graph, z, ABOVE), polynomial(graph, z, UNDER))
    value = graph.op("Add", graph.op("Mul", reduced, graph.op("Mul", z, ratio)), reduced)
    return graph.op("Mul", graph.op("Sign", x), graph.op("Add", base, graph.op("Add", value, more)))


def select(graph: Graph, condition: str, value: float) -> str:
    return graph.op("Where", condition, graph.double([value]), graph.double([0.0]))


def polynomial(graph: Graph, x: str, coefficients: Sequence[float]) -> str:
    """Horner's rule, from the highest power down."""
    first = graph.op("Mul", x, graph.double(coefficients[0])) if coefficients[0] != 1.0 else x
    made = graph.op("Add", first, graph.double(coefficients[1]))
    for c in coefficients[2:]:
        made = graph.op("Add", graph.op("Mul", made, x), graph.double(c))
    return made
