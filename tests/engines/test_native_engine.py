"""The native engine's SQL: what is mentioned how often, and what a row says that cannot be read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import duckdb
import pytest

from sqlml import sql
from sqlml.database import open_database
from sqlml.engines import native
from sqlml.engines.native import NativeEngine
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import hashed_select, macros, staged_select
from sqlml.signature import Column, Signature
from tests.engines.models import boosted, logistic, perceptron


@pytest.mark.parametrize("model", [logistic(), boosted(), perceptron()])
def test_a_column_is_mentioned_once(model):
    for macro in macros(model.signature, NativeEngine.of(model)):
        if macro.name in ("error", "explain"):
            continue
        for _, body in macro.overloads:
            text = sql.render(body)
            for column in model.signature.columns:
                assert text.count(sql.quote(column.name)) == 1, (macro.name, text)
            assert "list_transform" not in text


def test_several_targets_are_one_call_too():
    model = boosted()
    signature = replace(model.signature, targets=("low", "high"))
    (body,) = (
        m.overloads[0][1] for m in macros(signature, NativeEngine(model.sha256, signature, ())) if m.name == "predict"
    )
    assert sql.render(body).count("sqlml_value_2_of") == 1


def test_functions_are_called_by_the_shape_of_the_answer():
    def called(signature: Signature) -> str:
        return NativeEngine("0" * 64, signature, ())._function

    column = (Column("x", "DOUBLE"),)
    labels = tuple(range(300))
    assert called(Signature(column, "regressor", "DOUBLE")) == "sqlml_value_1_of"
    assert called(Signature(column, "regressor", "DOUBLE", targets=("a", "b"))) == "sqlml_value_2_of"
    assert called(Signature(column, "regressor", "DOUBLE", targets=tuple(map(str, labels)))) == "sqlml_value_many_of"
    assert called(Signature(column, "classifier", "BIGINT", labels[:3])) == "sqlml_class_0_of"
    assert called(Signature(column, "classifier", "BIGINT", labels[:3], True)) == "sqlml_class_3_of"
    assert called(Signature(column, "classifier", "BIGINT", labels, True)) == "sqlml_class_many_of"


def hashes(engine: Any, model: Any, con: duckdb.DuckDBPyConnection) -> list[Any]:
    selected = staged_select(model.signature, engine, sql.table("t"), [("id", sql.column("id"))])
    found = con.execute(f"SELECT input_hash, error FROM ({sql.render(selected)}) ORDER BY id").fetchall()
    assert [row[0] for row in found] == hashed(model.signature, con)
    return found


def hashed(signature: Signature, con: duckdb.DuckDBPyConnection) -> list[Any]:
    """By the query that finds what has changed; it calls nothing of the extension."""
    text = sql.render(hashed_select(signature, sql.table("t"), [("id", sql.column("id"))]))
    assert "sqlml_" not in text
    return [row[0] for row in con.execute(f"SELECT input_hash FROM ({text}) ORDER BY id").fetchall()]


VALUES = [
    "1",
    "-0.0",
    "'nan'::DOUBLE",
    "NULL",
    "9007199254740993",
    "'1e400'",
    "'abc'",
    "' 12.5 '",
    "''",
    "true",
    "1.5::DECIMAL(3,1)",
]


@pytest.mark.native
@pytest.mark.parametrize("value", VALUES)
def test_what_cannot_be_read_is_said_and_hashed_as_by_the_other_engines(value):
    model = logistic()
    with open_database(":memory:") as con:
        assert native.why_not(con, model) is None
        con.execute(
            f'CREATE TABLE t AS SELECT 1 AS id, {value} AS age, 50.0::DOUBLE AS "monthly ""fee""", \'month\' AS contract'
        )
        assert hashes(NativeEngine.of(model), model, con) == hashes(SqlEngine(model), model, con)


@pytest.mark.native
@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT", "BIGINT", "INTEGER", "BOOLEAN", "VARCHAR"])
@pytest.mark.parametrize(
    "value",
    [
        *VALUES,
        "2.5::DOUBLE",
        "2.0::FLOAT",
        "16777217::INTEGER",
        "9007199254740993::HUGEINT",
        "3000000000::BIGINT",
        "1e300::DOUBLE",
        "'inf'::DOUBLE",
        "'yes'",
        "'TRUE'",
        "255::UTINYINT",
        "18446744073709551615::UBIGINT",
        "DATE '2020-01-01'",
        "'a'::ENUM('a', 'b')",
        "123456789012345678901234567890.5::DECIMAL(38,1)",
    ],
)
def test_every_type_is_read_as_the_other_engines_read_it(kind, value):
    columns = (Column("x", kind, "missing"),)
    model = identity(columns)
    with open_database(":memory:") as con:
        assert native.why_not(con, model) is None
        con.execute(f"CREATE TABLE t AS SELECT 1 AS id, {value} AS x")
        answers = []
        for engine in (NativeEngine.of(model), SqlEngine(model)):
            selected = sql.render(staged_select(model.signature, engine, sql.table("t"), [("id", sql.column("id"))]))
            try:
                answers.append(con.execute(selected).fetchall())
                assert [row[-1] for row in answers[-1]] == hashed(model.signature, con)
            except duckdb.Error as error:
                answers.append(type(error))
        assert same(*answers), answers


def same(left: Any, right: Any) -> bool:
    if isinstance(left, type) or isinstance(right, type):
        return left == right
    nan = [x is not None and isinstance(x, float) and math.isnan(x) for x in (left[0][1], right[0][1])]
    return (left == right) or (all(nan) and left[0][2:] == right[0][2:])


def identity(columns: tuple[Column, ...], text: str = "a") -> Any:
    """A regressor that gives its number back, NaN for a missing one; of a text whether it is this one."""
    from onnx import TensorProto, helper

    from tests.compile.graphs import graph

    if columns[0].is_text:
        nodes = [
            helper.make_node("Equal", ["x", "a"], ["is"]),
            helper.make_node("Cast", ["is"], ["prediction"], to=TensorProto.DOUBLE),
        ]
        import numpy as np

        return graph(list(columns), nodes, {"a": np.array([[text]], dtype=object)})
    return graph(list(columns), [helper.make_node("Identity", ["x"], ["prediction"])], {})
