"""The engine that a model gets, and the sentence that says why."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from sqlml.engines.choose import choose_engine
from sqlml.errors import UnsupportedModel, UsageError
from sqlml.signature import Column
from tests.compile.graphs import forest, graph
from tests.engines.models import logistic, perceptron

X = Column("x", "DOUBLE", "missing")


def trees(count, depth):
    rng = np.random.default_rng(0)

    def tree(depth):
        return (float(rng.normal()), 0) if depth == 0 else (0, float(rng.normal()), tree(depth - 1), tree(depth - 1))

    return graph([X], [forest([tree(depth) for _ in range(count)], output="prediction")], {})


@pytest.mark.parametrize(
    ("count", "depth", "engine"), [(9, 5, "sql"), (10, 5, "python"), (100, 3, "sql"), (101, 3, "python")]
)
def test_trees_are_sql_up_to_the_measured_size(count, depth, engine):
    chosen, why = choose_engine(trees(count, depth))
    assert chosen == engine
    assert "leaves" in why


@pytest.mark.parametrize(("width", "engine"), [(4, "sql"), (40, "python")])
def test_networks_are_sql_while_they_are_small(width, engine):
    chosen, why = choose_engine(perceptron(width, layers=1))
    assert chosen == engine
    assert "operations" in why


def here(model):
    """The extension takes every model."""
    return None


@pytest.mark.parametrize(("count", "depth", "engine"), [(4, 4, "sql"), (5, 4, "native"), (100, 8, "native")])
def test_small_trees_stay_sql_where_the_extension_is(count, depth, engine):
    chosen, why = choose_engine(trees(count, depth), native=here)
    assert chosen == engine
    assert ("any DuckDB shell" in why) == (engine == "sql")


def test_linear_models_stay_sql_and_networks_do_not():
    assert choose_engine(logistic(), native=here)[0] == "sql"
    assert choose_engine(perceptron(4, layers=1), native=here)[0] == "native"


def test_triggers_keep_to_sql_where_that_is_possible():
    assert choose_engine(trees(9, 5), native=here, for_any_shell=True)[0] == "sql"
    assert choose_engine(trees(100, 8), native=here, for_any_shell=True)[0] == "native"


def test_why_the_extension_was_not_taken_is_said():
    def gone(model):
        return "it is not here."

    for model, engine in ((trees(9, 4), "sql"), (trees(100, 8), "python")):
        chosen, why = choose_engine(model, native=gone)
        assert chosen == engine
        assert why.endswith("it is not here.")
    assert choose_engine(trees(1, 1), "native", native=here) == ("native", "asked for")
    with pytest.raises(UnsupportedModel, match=r"it is not here\."):
        choose_engine(trees(1, 1), "native", native=gone)


def test_sql_asked_for_by_name_is_taken_at_any_size():
    assert choose_engine(trees(20, 6), "sql")[0] == "sql"


def test_a_model_without_sql_goes_to_python_unless_sql_is_asked_for():
    model = graph([X], [helper.make_node("Erf", ["x"], ["prediction"])], {})
    chosen, why = choose_engine(model)
    assert chosen == "python"
    assert "Erf" in why
    with pytest.raises(UnsupportedModel, match="Erf") as caught:
        choose_engine(model, "sql")
    assert "python" in str(caught.value.hint)


def test_an_unknown_engine_is_refused_with_the_valid_ones():
    with pytest.raises(UsageError, match="python"):
        choose_engine(trees(1, 1), "pyton")
