"""The python engine: one Arrow function per model, whatever DuckDB hands it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from sqlml import sql
from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.engines import python
from sqlml.engines.surface import macros, staged_select
from sqlml.errors import DatabaseError
from sqlml.signature import Column, Signature

AGE_AND_PLAN = (Column("age", "DOUBLE"), Column("plan", "VARCHAR", "missing"))
REASONS = ("age is NULL, and the model does not accept missing values",)
WEIGHTS = np.array([[0.1, -0.1], [1.0, -1.0], [-2.0, 2.0], [0.5, 0.25]])


def graph(nodes: list, outputs: list[tuple[str, int, int]], constants: dict[str, np.ndarray]) -> bytes:
    double = TensorProto.DOUBLE
    inputs = [("age", double), ("plan", TensorProto.STRING)]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, ["N", 1]) for name, kind in inputs],
        [helper.make_tensor_value_info(name, kind, ["N", k]) for name, kind, k in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()


FEATURES = [
    helper.make_node("Equal", ["plan", "plans"], ["is_plan"]),
    helper.make_node("Cast", ["is_plan"], ["one_hot"], to=TensorProto.DOUBLE),
    helper.make_node("Concat", ["age", "one_hot"], ["x"], axis=1),
    helper.make_node("IsNaN", ["age"], ["bad"]),
    helper.make_node("Cast", ["bad"], ["error"], to=TensorProto.INT64),
    helper.make_node("MatMul", ["x", "w"], ["z"]),
]
PLANS = np.array([["basic", "it's \u00e9 \U0001f600", MISSING_TEXT]], dtype=object)


def classifier(weights: np.ndarray = WEIGHTS) -> bytes:
    nodes = [
        *FEATURES,
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["z"], ["prediction"], axis=1, keepdims=1),
    ]
    outputs = [
        ("prediction", TensorProto.INT64, 1),
        ("probabilities", TensorProto.DOUBLE, weights.shape[1]),
        ("error", TensorProto.INT64, 1),
    ]
    return graph(nodes, outputs, {"plans": PLANS, "w": weights})


def regressor() -> bytes:
    outputs = [("prediction", TensorProto.DOUBLE, 2), ("error", TensorProto.INT64, 1)]
    nodes = [*FEATURES, helper.make_node("Identity", ["z"], ["prediction"])]
    return graph(nodes, outputs, {"plans": PLANS, "w": WEIGHTS})


BINARY = Signature(AGE_AND_PLAN, "classifier", "VARCHAR", ("No", "Yes"), probabilities=True)


def deploy(con: duckdb.DuckDBPyConnection, onnx: bytes, signature: Signature) -> None:
    sha = hashlib.sha256(onnx).hexdigest()
    python.register(con, sha, signature, lambda: onnx)
    con.execute("CREATE SCHEMA IF NOT EXISTS churn")
    for macro in macros(signature, python.PythonEngine(sha, signature, REASONS)):
        con.execute(sql.create_macro(("churn", macro.name), sql.macro_text(macro.overloads), replace=True))


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE people AS SELECT i AS id, CASE WHEN i % 7 <> 0 THEN i / 10 END AS age,"
            " [ 'basic', 'it''s é 😀', NULL, 'other', '' ][1 + i % 5] AS plan FROM range(5000) r(i)"
        )
        yield connection


def expected(rows: list[tuple]) -> np.ndarray:
    known = list(PLANS[0])
    hot = np.array([[float((p if p is not None else MISSING_TEXT) == k) for k in known] for _, _, p in rows])
    ages = np.array([[np.nan if a is None else a] for _, a, _ in rows])
    z = np.hstack([ages, hot]) @ WEIGHTS
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rows", [0, 1, 2, 2047, 2048, 2049, 5000])
def test_every_row_gets_its_own_answer(con, rows):
    deploy(con, classifier(), BINARY)
    query = (
        'SELECT id, age, plan, churn.predict(p), churn.predict_proba(p)."No", churn.probability(p), churn.error(p)'
        f" FROM (FROM people ORDER BY hash(id) LIMIT {rows}) p"
    )
    answers = con.execute(query).fetchall()
    assert len(answers) == rows
    wanted = expected([row[:3] for row in answers]) if rows else np.empty((0, 2))
    for (_, age, _, label, no, yes, error), (p_no, p_yes) in zip(answers, wanted, strict=True):
        if age is None:
            assert (label, no, yes, error) == (None, None, None, REASONS[0])
        else:
            assert error is None
            assert label == ("No" if p_no >= p_yes else "Yes")
            assert (no, yes) == pytest.approx((p_no, p_yes), abs=1e-12)


def test_a_row_written_down_and_a_threshold(con):
    deploy(con, classifier(), BINARY)
    one = "{age: 1, plan: 'basic'}"
    p = con.execute(f"SELECT churn.probability({one})").fetchone()[0]
    asked = f"SELECT churn.predict({one}, threshold := {p}), churn.predict({one}, threshold := {p + 1e-9})"
    assert con.execute(asked).fetchone() == ("Yes", "No")


@pytest.mark.parametrize("setting", ["produce_arrow_string_view", "arrow_large_buffer_size"])
def test_arrow_settings_of_the_caller_do_not_matter(con, setting):
    deploy(con, classifier(), BINARY)
    before = con.execute("SELECT churn.probability(p) FROM people p ORDER BY id").fetchall()
    con.execute(f"SET {setting} = true")
    assert con.execute("SELECT churn.probability(p) FROM people p ORDER BY id").fetchall() == before


def test_constant_columns_and_dictionaries(con):
    deploy(con, classifier(), BINARY)
    query = "SELECT count(DISTINCT churn.probability({age: 3, plan: 'basic'})), count(*) FROM people"
    assert con.execute(query).fetchone() == (1, 5000)
    joined = con.execute(
        "SELECT id, churn.probability({age: 3, plan: d.plan}) FROM people JOIN"
        " (VALUES (0, 'basic'), (1, NULL), (2, 'x')) d(k, plan) ON id % 3 = k ORDER BY id"
    ).fetchall()
    assert [row[1] for row in joined[:3]] * 1666 == [row[1] for row in joined[:4998]]


@pytest.mark.parametrize(
    ("labels", "sql_type"),
    [((False, True), "BOOLEAN"), ((-1, 2**40), "BIGINT"), ((0.5, 1.0), "DOUBLE"), (("it's", ""), "VARCHAR")],
)
def test_labels_are_the_models_own(con, labels, sql_type):
    signature = Signature(AGE_AND_PLAN, "classifier", sql_type, labels, probabilities=True)
    deploy(con, classifier(), signature)
    query = "SELECT churn.predict({age: a, plan: 'other'}) AS p, typeof(p) FROM (VALUES (-50), (50)) v(a)"
    assert con.execute(query).fetchall() == [(labels[1], sql_type), (labels[0], sql_type)]


def test_the_same_bytes_under_other_labels_are_another_model_in_sql_only(con):
    deploy(con, classifier(), BINARY)
    other = Signature(AGE_AND_PLAN, "classifier", "VARCHAR", ("stay", "leave"), probabilities=True)
    deploy(con, classifier(), other)
    assert con.execute("SELECT churn.predict({age: 50, plan: ''})").fetchone() == ("stay",)


def test_a_regressor_with_two_targets_gives_a_struct(con):
    deploy(con, regressor(), Signature(AGE_AND_PLAN, "regressor", "DOUBLE", targets=("low", "high's")))
    query = "SELECT churn.predict({age: a, plan: 'basic'}) FROM (VALUES (10), (NULL)) v(a)"
    assert con.execute(query).fetchall() == [({"low": 2.0, "high's": -2.0},), (None,)]


def test_nan_and_infinite_results_stay_what_they_are(con):
    deploy(con, regressor(), Signature(AGE_AND_PLAN, "regressor", "DOUBLE", targets=("a", "b")))
    answer = con.execute("SELECT churn.predict({age: 'inf'::DOUBLE, plan: 'basic'})").fetchone()[0]
    assert answer == {"a": float("inf"), "b": -float("inf")}


def test_more_than_200_classes_come_as_one_array(con):
    weights = np.random.default_rng(0).normal(size=(4, 300))
    labels = tuple(f"c{i}" for i in range(300))
    signature = Signature(AGE_AND_PLAN, "classifier", "VARCHAR", labels, probabilities=True)
    deploy(con, classifier(weights), signature)
    query = "SELECT churn.predict(p) AS label, churn.predict_proba(p) AS proba, age FROM people p ORDER BY id LIMIT 50"
    for label, proba, age in con.execute(query).fetchall():
        assert (proba["c0"] is None) == (label is None) == (age is None)
        if label:
            assert label == max(proba, key=proba.get)
            assert sum(proba.values()) == pytest.approx(1)


def test_the_staged_select_calls_the_function_once_per_row(con, monkeypatch):
    rows = []
    original = python._answer
    monkeypatch.setattr(python, "_answer", lambda s, *out: rows.append(len(out[0])) or original(s, *out))
    deploy(con, classifier(), BINARY)
    sha = hashlib.sha256(classifier()).hexdigest()
    select = staged_select(BINARY, python.PythonEngine(sha, BINARY, REASONS), sql.table("people"))
    assert len(con.execute(sql.render(select)).fetchall()) == 5000
    assert sum(rows) == 5000


def test_a_shell_without_the_function_is_told_the_remedy(tmp_path):
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        deploy(con, classifier(), BINARY)
    # DuckDB shares a database within a process only while it is open, so this is as bare as another shell.
    with duckdb.connect(tmp_path / "w.duckdb") as bare, pytest.raises(duckdb.CatalogException) as raised:
        bare.execute("SELECT churn.predict({age: 1, plan: 'x'})")
    assert 'open this file with sqlml.connect() or "sqlml sql"' in str(raised.value)


def test_registering_twice_and_from_two_connections_is_harmless(con):
    deploy(con, classifier(), BINARY)
    deploy(con, classifier(), BINARY)
    sha = hashlib.sha256(classifier()).hexdigest()
    python.register(con.cursor(), sha, BINARY, classifier)
    assert python.registered(con, sha)
    assert not python.registered(con, "0" * 64)


def test_registering_survives_the_callers_rollback(con):
    sha = hashlib.sha256(classifier()).hexdigest()
    con.begin()
    python.register(con, sha, BINARY, classifier)
    con.rollback()
    assert python.registered(con, sha)
    deploy(con, classifier(), BINARY)
    assert con.execute("SELECT churn.predict({age: 50, plan: ''})").fetchone() == ("No",)


def test_the_function_outlives_the_connection_that_registered_it(tmp_path):
    path = str(tmp_path / "w.duckdb")
    first, second = duckdb.connect(path), duckdb.connect(path)
    deploy(first, classifier(), BINARY)
    first.close()
    assert second.execute("SELECT churn.predict({age: 50, plan: ''})").fetchone() == ("No",)
    second.close()


def test_bytes_are_loaded_once_by_many_threads(con, monkeypatch):
    monkeypatch.setattr(python, "_loaded", {})
    onnx = classifier()
    loads = []
    python.register(con, hashlib.sha256(onnx).hexdigest(), BINARY, lambda: loads.append(1) or onnx)
    deploy(con, onnx, BINARY)
    query = "SELECT sum(churn.probability(p)) FROM people p"
    with ThreadPoolExecutor(4) as pool:
        # fetchall: DuckDB 1.5.6 hangs when a cursor is dropped with a result that calls Python and is not finished.
        sums = [rows[0][0] for rows in pool.map(lambda _: con.cursor().execute(query).fetchall(), range(8))]
    assert sums == pytest.approx([sums[0]] * 8, rel=1e-12)
    assert len(loads) == 1


def test_other_bytes_than_the_deployed_ones_are_refused(con, monkeypatch):
    monkeypatch.setattr(python, "_loaded", {})
    sha = hashlib.sha256(classifier()).hexdigest()
    python.register(con, sha, BINARY, regressor)
    deploy(con, classifier(), BINARY)
    with pytest.raises(duckdb.InvalidInputException, match=f"stored bytes of model {sha[:12]} are not"):
        con.execute("SELECT churn.predict({age: 1, plan: ''})").fetchall()


def test_a_failure_inside_names_the_model(con, monkeypatch):
    onnx = classifier()
    deploy(con, onnx, BINARY)

    class Broken:
        def run(self, names, feeds):
            raise RuntimeError("bad allocation")

    sha = hashlib.sha256(onnx).hexdigest()
    monkeypatch.setitem(python._loaded, sha, python.Loaded(Broken(), {}))
    with pytest.raises(duckdb.InvalidInputException, match=f"Model {sha[:12]} failed in onnxruntime: bad allocation"):
        con.execute("SELECT churn.predict({age: 1, plan: ''})").fetchall()


def test_an_error_when_registering_is_ours(con):
    con.close()
    with pytest.raises((DatabaseError, duckdb.ConnectionException)):
        python.register(con, "0" * 64, BINARY, classifier)


def test_optimisation_does_not_change_a_bit():
    onnx = classifier(np.random.default_rng(1).normal(size=(4, 5)))
    session = python.open_session(onnx)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    ages = np.random.default_rng(2).normal(size=(3000, 1)) * 10.0 ** np.arange(-10, 20).repeat(100)[:, None]
    plans = np.array([["basic"], ["x"], [MISSING_TEXT]] * 1000, dtype=object)
    for ours, theirs in zip(
        session.run(None, {"age": ages, "plan": plans}), plain.run(None, {"age": ages, "plan": plans}), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_is_written_to_stderr_even_if_a_connection_stays_open(tmp_path):
    (tmp_path / "m.onnx").write_bytes(classifier())
    script = textwrap.dedent("""
        import hashlib, sys, duckdb
        from sqlml.engines import python
        from sqlml.signature import Column, Signature
        onnx = open(sys.argv[1], "rb").read()
        sha = hashlib.sha256(onnx).hexdigest()
        columns = (Column("age", "DOUBLE"), Column("plan", "VARCHAR"))
        con = duckdb.connect()
        python.register(con, sha, Signature(columns, "classifier", "VARCHAR", ("a", "b"), True), lambda: onnx)
        name = python.function_name(sha).replace('"', '""')
        print(con.execute(f'SELECT "{name}"(1, NULL).prediction').fetchone())
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m.onnx")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("(0,)\n", "")


def test_text_reaches_the_model_unchanged(con):
    texts = ["", " ", "a ", "naïve", "it's", 'q"', "a\nb", "日本", "😀", "x" * 300, "a", "a\0b"]
    onnx = graph(
        [
            helper.make_node("Equal", ["plan", "plans"], ["is_plan"]),
            helper.make_node("Cast", ["is_plan"], ["prediction"], to=TensorProto.DOUBLE),
            helper.make_node("IsNaN", ["age"], ["bad"]),
            helper.make_node("Cast", ["bad"], ["error"], to=TensorProto.INT64),
        ],
        [("prediction", TensorProto.DOUBLE, len(texts)), ("error", TensorProto.INT64, 1)],
        {"plans": np.array([texts], dtype=object)},
    )
    targets = tuple(f"t{i}" for i in range(len(texts)))
    deploy(con, onnx, Signature(AGE_AND_PLAN, "regressor", "DOUBLE", targets=targets))
    con.register("texts", pa.table({"i": range(len(texts)), "age": [0.0] * len(texts), "plan": texts}))
    for i, answer in con.execute("SELECT i, churn.predict(texts) FROM texts").fetchall():
        assert [name for name, hit in answer.items() if hit] == [f"t{i}"]
