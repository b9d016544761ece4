"""The SQL objects of a deployment: names, values that cannot be read, thresholds, stages."""

from __future__ import annotations

import math
from dataclasses import replace

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from sqlml import sql
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import class_fields, feature, macros, output_columns, staged_select
from sqlml.signature import Column, Signature
from tests.compile.graphs import assert_agree, graph, in_sql, rows_of
from tests.engines.models import logistic, perceptron

NASTY = ["select", "my model", 'a"b', "it's", "naïve", "r", "threshold", "x; DROP TABLE t", "prediction_", "sqlml", "*"]


def deployed(model, connection=None, **options):
    con = connection or duckdb.connect()
    for macro in macros(model.signature, SqlEngine(model), **options):
        con.execute(sql.create_macro(("main", macro.name), sql.macro_text(macro.overloads)))
    return con


def summing(names):
    """A regressor that adds its columns up, each with a weight of its own."""
    columns = [Column(name, "DOUBLE", "missing") for name in names]
    weights = np.arange(1.0, len(names) + 1).reshape(-1, 1)
    nodes = [
        helper.make_node("Concat", list(names), ["sqlml all"], axis=1),
        helper.make_node("MatMul", ["sqlml all", "sqlml w"], ["prediction"]),
    ]
    return graph(columns, nodes, {"sqlml w": weights})


def test_columns_may_be_called_anything():
    model = summing(NASTY)
    con = deployed(model)
    row = {name: float(i) for i, name in enumerate(NASTY)}
    wanted = sum((i + 1) * v for i, v in enumerate(row.values()))
    con.execute(f"CREATE TABLE t ({', '.join(f'{sql.quote(name)} DOUBLE' for name in NASTY)})")
    con.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(NASTY))})", list(row.values()))
    assert con.execute("SELECT predict(z) FROM t z").fetchall() == [(wanted,)]
    arguments = ", ".join(f"{sql.quote(name)} := {value}" for name, value in reversed(row.items()))
    assert con.execute(f"SELECT predict_values({arguments})").fetchall() == [(wanted,)]
    staged = sql.render(staged_select(model.signature, SqlEngine(model), sql.table("t")))
    assert con.execute(staged).fetchall()[0][0] == wanted


NAMES = st.lists(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
    unique_by=str.casefold,
)


@settings(max_examples=60, deadline=None)
@given(NAMES)
def test_any_name_is_only_a_name(names):
    model = summing(names)
    con = deployed(model)
    struct = ", ".join(f"{sql.string(name)}: 2.0::DOUBLE" for name in names)
    wanted = 2.0 * sum(range(1, len(names) + 1))
    assert con.execute(f"SELECT predict({{{struct}}})").fetchall() == [(wanted,)]
    assert con.execute(f"SELECT predict_values({', '.join(['2.0'] * len(names))})").fetchall() == [(wanted,)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=6), min_size=2, max_size=6, unique=True))
def test_fields_of_classes_are_never_duplicates_to_duckdb(classes):
    fields = class_fields(Signature((), "classifier", "VARCHAR", tuple(classes), True))
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t ({', '.join(f'{sql.quote(field)} DOUBLE' for field in fields)})")
    assert len(fields) == len(classes)


def test_a_value_that_cannot_be_read_is_that_rows_error_and_nobody_elses():
    model = logistic()
    con = deployed(model)
    con.execute('CREATE TABLE t (age VARCHAR, "monthly ""fee""" INTEGER, contract VARCHAR)')
    con.execute(
        "INSERT INTO t VALUES ('41', 70, 'month'), ('forty', 70, 'month'), (NULL, 70, 'month'), ('NaN', 70, 'month')"
    )
    got = con.execute("SELECT predict(t), probability(t), error(t), predict(t, threshold := 0.0) FROM t").fetchall()
    assert [row[2] for row in got] == [
        None,
        "age is not a number that fits DOUBLE: forty",
        "age is missing",
        "age is missing",
    ]
    assert [row[0] is None for row in got] == [False, True, True, True]
    assert [row[3] for row in got] == ["Yes", None, None, None]
    staged = sql.render(staged_select(model.signature, SqlEngine(model), sql.table("t")))
    answers = con.execute(staged).fetchall()
    assert [row[3] for row in answers] == [row[2] for row in got]
    assert len({row[4] for row in answers}) == 3  # an unreadable value is told from a missing one; NaN is missing


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("DOUBLE", "'1.5'", 1.5), ("DOUBLE", "DATE '2020-01-01'", None), ("DOUBLE", "1.5::DECIMAL(9, 2)", 1.5),
        ("DOUBLE", "'nan'::DOUBLE", None), ("DOUBLE", "'inf'::FLOAT", math.inf), ("BIGINT", "3.5", 3.5),
        ("BIGINT", "9007199254740993", 9007199254740992.0), ("FLOAT", "0.1::DOUBLE", float(np.float32(0.1))),
        ("FLOAT", "1e300::DOUBLE", None), ("FLOAT", "'-inf'::DOUBLE", -math.inf), ("BOOLEAN", "true", 1.0), ("BOOLEAN", "'false'", 0.0),
        ("BOOLEAN", "1", 1.0), ("BOOLEAN", "2", None), ("BOOLEAN", "'nan'::DOUBLE", None), ("DOUBLE", "true", 1.0),
        ("VARCHAR", "5", "5"), ("VARCHAR", "'a'::ENUM('a', 'b')", "a"), ("DOUBLE", "'1'::ENUM('1', 'b')", 1.0),
        ("DOUBLE", "170141183460469231731687303715884105727::HUGEINT", 2.0**127), ("DOUBLE", "[1]", None), ("DOUBLE", "NULL", None),
    ],
)  # fmt: skip
def test_features_are_what_the_model_takes(kind, value, wanted):
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t AS SELECT {value} AS x")
    node = feature(Column("x", kind), sql.column("x"))
    assert con.execute(f"SELECT {sql.render(node)} FROM t").fetchall() == [(wanted,)]


def test_the_threshold_is_the_callers_the_deployments_or_the_models_own():
    model = logistic()
    con = deployed(model)
    con.execute("CREATE SCHEMA strict")
    for macro in macros(model.signature, SqlEngine(model), threshold=0.9):
        con.execute(sql.create_macro(("strict", macro.name), sql.macro_text(macro.overloads)))
    row = "{age: 20, 'monthly \"fee\"': 70.5, contract: 'month'}"
    ((p,),) = con.execute(f"SELECT probability({row})").fetchall()
    assert 0.5 < p < 0.9
    calls = (
        f"predict({row}), predict({row}, threshold := NULL), predict({row}, threshold := {p!r}), predict({row}, 0.95)"
    )
    assert con.execute(f"SELECT {calls}").fetchall() == [("Yes", None, "Yes", "No")]
    calls = f"strict.predict({row}), strict.predict({row}, threshold := 0.5)"
    assert con.execute(f"SELECT {calls}").fetchall() == [("No", "Yes")]
    assert con.execute(f"SELECT predict_proba({row}).yes = {p!r}").fetchall() == [(True,)]


def test_macros_work_when_the_file_is_attached_under_another_name(tmp_path):
    model = logistic()
    with duckdb.connect(str(tmp_path / "churn.duckdb")) as con:
        con.execute("CREATE SCHEMA m")
        for macro in macros(model.signature, SqlEngine(model)):
            con.execute(sql.create_macro(("m", macro.name), sql.macro_text(macro.overloads)))
    con = duckdb.connect()
    con.execute(f"ATTACH '{tmp_path / 'churn.duckdb'}' AS \"x y\"")
    row = "{age: 20, 'monthly \"fee\"': 70.5, contract: 'month'}"
    assert con.execute(f'SELECT "x y".m.predict({row}), "x y".m.error({row})').fetchall() == [("Yes", None)]


def test_a_network_whose_repetition_would_explode_binds_its_layers_once():
    model = perceptron()
    assert_agree(model, rows_of(model.signature.columns, values=(-2.0, 0.0, 0.5, 3.25)), tolerance=1e-9)
    (predict,) = [m for m in macros(model.signature, SqlEngine(model)) if m.name == "predict"]
    text = sql.macro_text(predict.overloads)
    assert "list_transform" in text
    assert len(text) < 40_000


def test_each_stage_is_computed_once():
    model = logistic()
    con = duckdb.connect()
    con.execute(
        'CREATE TABLE t AS SELECT i AS id, i::DOUBLE AS age, 1.0::DOUBLE AS "monthly ""fee""", \'month\' AS contract FROM range(3000) s(i)'
    )
    staged = staged_select(model.signature, SqlEngine(model), sql.table("t"), [("id", sql.column("id"))])
    ((_, plan),) = con.execute("EXPLAIN " + sql.render(staged)).fetchall()
    assert plan.replace("\n", "").count("exp(") <= 1
    assert [name for name, _ in output_columns(model.signature)] == [
        "prediction",
        "probability_No",
        "probability_Yes",
        "error",
    ]
    names = [d[0] for d in con.execute(sql.render(staged)).description]
    assert names == ["id", "prediction", "probability_No", "probability_Yes", "error", "input_hash"]


def test_the_input_hash_is_of_the_features_as_the_model_takes_them():
    model = logistic()
    con = duckdb.connect()
    query = sql.render(staged_select(model.signature, SqlEngine(model), sql.table("t")))
    hashes = []
    for age in ("41::DOUBLE", "41::INTEGER", "'41'", "42::DOUBLE", "'NaN'::DOUBLE", "NULL::DOUBLE", "'many'"):
        con.execute(f'CREATE OR REPLACE TABLE t AS SELECT {age} AS age, 70 AS "monthly ""fee""", \'month\' AS contract')
        hashes.append(con.execute(query).fetchall()[0][-1])
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]
    assert hashes[4] == hashes[5]
    told = "hash('age is not a number that fits DOUBLE: many', true)"
    expected = con.execute(
        f"""SELECT hash(41::DOUBLE, 70::DOUBLE, 'month'), hash('nan'::DOUBLE, 70::DOUBLE, 'month'),
            xor(hash('nan'::DOUBLE, 70::DOUBLE, 'month'), {told})"""
    ).fetchone()
    assert (hashes[0], hashes[4], hashes[6]) == expected


def test_many_classes_have_one_map():
    model = perceptron()
    wide = replace(model.signature, classes=tuple(range(201)))
    assert output_columns(wide)[1] == ("probabilities", "MAP(VARCHAR, DOUBLE)")


def test_a_regressor_of_several_targets_and_an_empty_table():
    model = graph(
        [Column("x", "DOUBLE", "missing")],
        [helper.make_node("MatMul", ["x", "w"], ["prediction"])],
        {"w": np.array([[1.0, 2.0]])},
        targets=["a", "b"],
    )
    assert in_sql(model, [{"x": 2.0}])[0]["prediction"] == {"a": 2.0, "b": 4.0}
    assert output_columns(model.signature)[0] == ("prediction", 'STRUCT("a" DOUBLE, "b" DOUBLE)')
    con = duckdb.connect()
    con.execute("CREATE TABLE t (x DOUBLE)")
    assert con.execute(sql.render(staged_select(model.signature, SqlEngine(model), sql.table("t")))).fetchall() == []
