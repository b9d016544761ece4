"""Thresholds pulled back are right on both sides, to the last bit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from sqlml.compile.algebra import Algebra
from sqlml.compile.thresholds import chain_of, pull_back

FINITE = st.floats(allow_nan=False, allow_infinity=False)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "sub"]), FINITE),
        st.tuples(st.sampled_from(["mul", "div"]), FINITE.filter(lambda v: v != 0)),
        st.tuples(st.just("rsub"), FINITE),
        st.tuples(st.sampled_from(["neg", "float32", "floor"]), st.none()),
    ),
    min_size=1,
    max_size=4,
)


def chained(steps):
    algebra = Algebra()
    node = algebra.input(0, "x", "double")
    for name, number in steps:
        if number is None:
            node = algebra.apply(name, node)
        elif name == "rsub":
            node = algebra.apply("sub", algebra.double(number), node)
        else:
            node = algebra.apply(name, node, algebra.double(number))
    return node, chain_of(node)


@given(STEPS, st.floats(allow_nan=False), st.booleans())
@example([("sub", 3.1), ("div", 1.7), ("float32", None)], 0.3, False)
@example([("float32", None)], float(np.finfo(np.float32).max), False)
@example([("mul", -1e-320)], 0.0, True)
def test_the_bound_holds_and_its_neighbour_does_not(steps, threshold, strict):
    _, chain = chained(steps)
    if chain is None:  # steps that can be NaN on the way, such as inf - inf
        return
    bound = float(pull_back(chain, np.array([threshold]), strict=strict)[0])

    def holds(x):
        value = float(chain(np.array([x]))[0])
        return value < threshold if strict else value <= threshold

    outward = math.inf if chain.rises else -math.inf
    if math.isnan(bound):
        assert not holds(-outward)
        return
    assert holds(bound)
    assert bound == outward or not holds(math.nextafter(bound, outward))


@given(STEPS, st.floats(allow_nan=False), st.sampled_from(["<", "<=", ">", ">="]), st.floats(allow_nan=False))
def test_a_comparison_after_the_rewrite_says_what_it_said_before(steps, threshold, name, x):
    node, chain = chained(steps)
    if chain is None:
        return
    algebra = Algebra()
    compared = algebra.compare(name, node, algebra.double(threshold))
    value = float(chain(np.array([x]))[0])
    before = {"<": value < threshold, "<=": value <= threshold, ">": value > threshold, ">=": value >= threshold}[name]
    assert evaluated(compared, x) == before


def evaluated(node, x):
    """A comparison of the column with a constant, or "the column is there", or a constant."""
    if not hasattr(node, "args"):
        return node.value if hasattr(node, "value") else bool(node.default)
    bound = node.args[1].value
    return {"<": x < bound, "<=": x <= bound, ">": x > bound, ">=": x >= bound}[node.name]


def test_many_thresholds_at_once_are_those_found_one_by_one():
    _, chain = chained([("sub", 3.1), ("div", -1.7), ("float32", None)])
    thresholds = np.random.default_rng(0).normal(size=500)
    together = pull_back(chain, thresholds, strict=False)
    assert together.tolist() == [float(pull_back(chain, np.array([t]), strict=False)[0]) for t in thresholds]
