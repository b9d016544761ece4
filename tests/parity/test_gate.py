"""The gate lets exact functions through and catches each kind of mistake that conversions are known to make."""

from __future__ import annotations

import hashlib
import json
import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from sqlml import parity
from sqlml.compile import Probes
from sqlml.convert import OnnxModel, Reference
from sqlml.parity.comparison import MEANINGS, Verdict
from sqlml.signature import Column, Signature

CUT = 30.1  # no float32: rounding it moves the threshold
SIGNATURE = Signature(
    (Column("age", "DOUBLE"), Column("plan", "VARCHAR", "missing")), "classifier", "VARCHAR", ("No", "Yes"), True
)
SAMPLE = pa.table(
    {"age": [float(i % 60) for i in range(3000)], "plan": [["basic", "pro", "free"][i % 3] for i in range(3000)]}
)


def positive(age: float, plan: str | None) -> float:
    return (0.2 if age <= CUT else 0.6) + {"basic": 0.1, "pro": -0.1}.get(plan, 0.0)


class Original:
    """The model, in Python. `change` turns its answers into those of a stranger one."""

    def __init__(self, change=lambda reference, rows: reference):
        self.change = change

    def input_example(self) -> pa.Table:
        return SAMPLE.slice(7, 3)

    def reference(self, rows: pa.Table) -> Reference:
        labels, scores, errors = [], [], []
        for row in rows.to_pylist():
            bad = row["age"] is None or not math.isfinite(row["age"])
            p = math.nan if bad else positive(**row)
            errors.append("ValueError: Input X contains NaN or infinity" if bad else None)
            labels.append(None if bad else "Yes" if p > 0.5 else "No")
            scores.append((1 - p, p))
        found = Reference(labels, np.array(scores), errors, np.zeros(rows.num_rows, dtype=bool), alone_checked=3)
        return self.change(found, rows)


def onnx_model() -> OnnxModel:
    node, double = helper.make_node, TensorProto.DOUBLE
    nodes = [
        node("LessOrEqual", ["age", "cut"], ["young"]),
        node("Where", ["young", "low", "high"], ["base"]),
        node("Equal", ["plan", "plans"], ["is_plan"]),
        node("Cast", ["is_plan"], ["one_hot"], to=double),
        node("MatMul", ["one_hot", "weights"], ["extra"]),
        node("Add", ["base", "extra"], ["p"]),
        node("Sub", ["one", "p"], ["q"]),
        node("Concat", ["q", "p"], ["probabilities"], axis=1),
        node("Greater", ["p", "half"], ["yes"]),
        node("Cast", ["yes"], ["prediction"], to=TensorProto.INT64),
        node("IsNaN", ["age"], ["bad"]),
        node("Cast", ["bad"], ["error"], to=TensorProto.INT64),
    ]
    constants = {
        "cut": [[CUT]], "low": [[0.2]], "high": [[0.6]], "one": [[1.0]], "half": [[0.5]], "weights": [[0.1], [-0.1]],
    }  # fmt: skip
    initializers = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([["basic", "pro"]], dtype=object), "plans"))
    inputs = [("age", double), ("plan", TensorProto.STRING)]
    outputs = [("prediction", TensorProto.INT64, 1), ("probabilities", double, 2), ("error", TensorProto.INT64, 1)]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, ["N", 1]) for name, kind in inputs],
        [helper.make_tensor_value_info(name, kind, ["N", k]) for name, kind, k in outputs],
        initializers,
    )
    onnx = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    return OnnxModel(onnx, hashlib.sha256(onnx).hexdigest(), SIGNATURE, ("age is NULL",), "double", {"estimator": "x"})


P = "(CASE WHEN {r}.age <= 30.1e0 THEN 0.2e0 ELSE 0.6e0 END + CASE {r}.plan WHEN 'basic' THEN 0.1e0 WHEN 'pro' THEN -0.1e0 ELSE 0e0 END)"
BAD = "({r}.age IS NULL OR isnan({r}.age) OR isinf({r}.age))"
RIGHT = {
    "predict(r, threshold := NULL)": "CASE WHEN NOT {bad} THEN CASE WHEN threshold IS NOT NULL THEN CASE WHEN {p} >= threshold THEN 'Yes' ELSE 'No' END WHEN {p} > 0.5e0 THEN 'Yes' ELSE 'No' END END",
    "predict_values(age, plan)": "CASE WHEN NOT {bad} THEN CASE WHEN {p} > 0.5e0 THEN 'Yes' ELSE 'No' END END",
    "predict_proba(r)": "CASE WHEN {bad} THEN {No: NULL::DOUBLE, Yes: NULL::DOUBLE} ELSE {No: 1e0 - {p}, Yes: {p}} END",
    "probability(r)": "CASE WHEN NOT {bad} THEN {p} END",
    "error(r)": "CASE WHEN {bad} THEN 'age is NULL or infinite' END",
}


def deploy(con: duckdb.DuckDBPyConnection, p: str = P, bad: str = BAD, **bodies: str) -> None:
    con.execute("CREATE SCHEMA churn")
    for head, body in RIGHT.items():
        body = bodies.get(head.partition("(")[0], body)
        row = "" if head.startswith("predict_values") else "r."
        text = body.replace("{p}", p).replace("{bad}", bad).replace("{r}.", row)
        con.execute(f"CREATE MACRO churn.{head} AS {text}")


def check(con: duckdb.DuckDBPyConnection, original: Original | None = None, **options) -> parity.Evidence:
    questions = parity.ask(original or Original(), onnx_model(), SAMPLE)
    return parity.check(con, questions, parity.functions("churn", SIGNATURE), **options)


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def test_exact_functions_pass_with_evidence(con):
    deploy(con)
    evidence = check(con)
    assert evidence.passed
    assert evidence.compared == evidence.rows > 1500
    assert evidence.largest_difference == 0
    assert {batch["rows"] for batch in evidence.batches} == {1, 2, 2047, 2048, 2049, 5000}
    assert {
        "sample",
        "input example",
        "null",
        "NaN",
        "infinity",
        "threshold",
        "category",
        "text",
        "extreme",
        "mixed",
        "recorded",
    } == set(evidence.by_kind)
    assert json.loads(evidence.to_json())["versions"]["duckdb"] == duckdb.__version__
    assert evidence.summary().startswith(f"Checked on {evidence.rows:,} rows in ")
    assert con.execute("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchall() == [(0,)]


ONE_ULP = math.nextafter(CUT, math.inf)
WRONG = {
    "labels swapped": (
        {"predict": "CASE WHEN NOT {bad} THEN CASE WHEN {p} > 0.5e0 THEN 'No' ELSE 'Yes' END END"},
        Verdict.LABEL,
    ),
    "a threshold 1 ulp too high": ({"p": P.replace("30.1e0", f"{ONE_ULP!r}e0")}, Verdict.SCORE),
    "less instead of less or equal": ({"p": P.replace("<=", "<")}, Verdict.SCORE),
    "the threshold rounded to float32": ({"p": P.replace("30.1e0", "30.1e0::FLOAT")}, Verdict.SCORE),
    "the value rounded to float32": ({"p": P.replace("{r}.age <=", "try_cast({r}.age AS FLOAT) <=")}, Verdict.SCORE),
    "NULL as 0": (
        {"bad": BAD.replace("{r}.age IS NULL OR ", "").replace("{r}.age", "coalesce({r}.age, 0)")},
        Verdict.ANSWERED,
    ),
    "an unseen category as the first": ({"p": P.replace("ELSE 0e0", "ELSE 0.1e0")}, Verdict.SCORE),
    "a NULL category as the first": ({"p": P.replace("CASE {r}.plan", "CASE coalesce({r}.plan, 'basic')")}, Verdict.SCORE),
    "categories without their case": ({"p": P.replace("CASE {r}.plan", "CASE lower({r}.plan)")}, Verdict.SCORE),
    "categories without their blanks": ({"p": P.replace("CASE {r}.plan", "CASE trim({r}.plan)")}, Verdict.SCORE),
    "classes in another order": (
        {"predict_proba": RIGHT["predict_proba(r)"].replace("No: 1e0 - {p}, Yes: {p}", "No: {p}, Yes: 1e0 - {p}")},
        Verdict.SCORE,
    ),
    "the probability of the other class": ({"probability": "CASE WHEN NOT {bad} THEN 1e0 - {p} END"}, Verdict.SCORE),
    "infinities accepted": ({"bad": BAD.replace(" OR isinf({r}.age)", "")}, Verdict.ANSWERED),
    "an error that is not said": ({"error": "NULL::VARCHAR"}, Verdict.CONTRADICTION),
    "an error too many": ({"bad": BAD.replace("(", "({r}.age < 0 OR ", 1)}, Verdict.REFUSED),
    "NULL without a reason": ({"predict": "CASE WHEN NOT {bad} AND {r}.age <> 0 THEN CASE WHEN {p} > 0.5e0 THEN 'Yes' ELSE 'No' END END"}, Verdict.CONTRADICTION),
    "one probability missing": (
        {"predict_proba": RIGHT["predict_proba(r)"].replace("Yes: {p}", "Yes: nullif({p}, 0.6e0)")},
        Verdict.CONTRADICTION,
    ),
    "a score off by 1e-8": ({"p": P.replace("0.6e0", "0.60000001e0")}, Verdict.SCORE),
    "the arguments' function alone": ({"predict_values": "CASE WHEN NOT {bad} THEN 'Yes' END"}, Verdict.LABEL),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_caught(con, name):
    changes, verdict = WRONG[name]
    deploy(con, **changes)
    evidence = check(con)
    assert not evidence.passed
    assert MEANINGS[verdict] in evidence.failed
    first = evidence.counter_examples[0]
    assert set(first["input"]) == {"age", "plan"}
    assert first["expected"] != first["got"]
    assert "First: row" in evidence.summary()
    json.loads(evidence.to_json())


@pytest.mark.parametrize(
    ("roll", "batch"),
    [
        (lambda calls, rows: rows >= 100 and calls % 2 == 0, "table of"),
        (lambda calls, rows: rows == 1, None),
        (lambda calls, rows: rows == 2, None),
        (lambda calls, rows: rows >= 100 and calls == 2, "table of"),
    ],
)
def test_rows_attached_to_their_neighbours_are_caught(con, roll, batch):
    """A function that gives each row the answer of the one before, in some chunks only."""
    calls = []
    before = [0.2]

    def shifted(p):
        values = p.combine_chunks().to_numpy(zero_copy_only=False)
        if len(values) >= 100:
            calls.append(1)
        if not roll(len(calls), len(values)):
            return pa.array(values)
        rolled = np.roll(values, 1)
        if len(values) == 1:
            rolled, before[0] = np.array(before), values[0]
        return pa.array(rolled)

    con.create_function("shifted", shifted, ["DOUBLE"], "DOUBLE", type="arrow", null_handling="special")
    con.execute("SET threads = 1")
    deploy(con, probability="CASE WHEN NOT {bad} THEN shifted({p}) END")
    evidence = check(con)
    assert not evidence.passed
    assert MEANINGS[Verdict.SCORE] in evidence.failed
    if batch:
        assert evidence.counter_examples[0]["batch"].startswith(batch)


def test_a_deployments_own_threshold_is_what_predict_must_follow(con):
    deploy(con, predict=RIGHT["predict(r, threshold := NULL)"].replace("{p} > 0.5e0", "{p} >= 0.2e0"),
           predict_values=RIGHT["predict_values(age, plan)"].replace("{p} > 0.5e0", "{p} >= 0.2e0"))  # fmt: skip
    assert not check(con).passed
    evidence = check(con, threshold=0.2)
    assert evidence.passed, evidence.summary()
    assert not check(con, threshold=0.3).passed


def test_rows_on_which_the_original_contradicts_itself_are_set_aside(con):
    def change(reference, rows):
        reference.unstable[:10] = True
        reference.scores[:10] = 0.25
        return reference

    deploy(con)
    evidence = check(con, Original(change))
    assert evidence.passed
    assert evidence.set_aside == {MEANINGS[Verdict.UNSTABLE]: 10}
    assert evidence.by_kind["sample"]["set aside"] == 10


def test_a_label_between_two_equal_scores_is_set_aside(con):
    def change(reference, rows):
        reference.scores[:5] = 0.5
        return reference

    deploy(con)
    evidence = check(con, Original(change))
    assert not evidence.passed  # equal scores excuse the label, never the scores
    assert MEANINGS[Verdict.SCORE] in evidence.failed


def test_nothing_compared_is_not_a_pass(con):
    def change(reference, rows):
        reference.unstable[:] = True
        return reference

    deploy(con)
    evidence = check(con, Original(change))
    assert not evidence.passed
    assert "none could be compared" in evidence.summary()


def test_the_null_policy_may_refuse_what_the_original_accepts_but_nothing_else(con):
    def change(reference, rows):
        for i, row in enumerate(rows.to_pylist()):
            if row["age"] is None or math.isnan(row["age"]):
                reference.error[i], reference.prediction[i] = None, "No"
                reference.scores[i] = (0.8, 0.2)
        return reference

    deploy(con)
    evidence = check(con, Original(change))
    assert evidence.passed
    assert evidence.set_aside[MEANINGS[Verdict.POLICY]] > 10


def test_the_check_leaves_the_transaction_as_it_was(con):
    con.begin()
    deploy(con)
    check(con)
    con.rollback()
    assert con.execute("SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'churn'").fetchall() == [(0,)]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_row_that_kills_the_query_is_a_failure_and_not_a_crash(con, in_transaction):
    if in_transaction:
        con.begin()
    deploy(con, p=P.replace("{r}.age <=", "CAST({r}.age AS FLOAT) <="))
    evidence = check(con)
    assert not evidence.passed
    assert any("the query fails" in what and "Conversion Error" in what for what in evidence.failed), evidence.failed


def test_columns_may_have_any_name(con):
    names = ("row", "select", 'a"b', "sqlml", "t", "prediction")
    signature = Signature(tuple(Column(n, "DOUBLE", "missing") for n in names), "regressor", "DOUBLE")
    total = " + ".join('coalesce(r."{}", 1)'.format(n.replace('"', '""')) for n in names)
    listed = ", ".join('"{}"'.format(n.replace('"', '""')) for n in names)
    con.execute("CREATE SCHEMA churn")
    con.execute(f"CREATE MACRO churn.predict(r) AS {total}")
    con.execute(f"CREATE MACRO churn.predict_values({listed}) AS {total.replace('r.', '')}")
    con.execute("CREATE MACRO churn.error(r) AS NULL::VARCHAR")
    rows = parity.hostile_rows(signature, Probes())
    values = [
        [sum(1.0 if v is None else v for v in row)]
        for row in zip(*(rows.features.column(n).to_pylist() for n in names), strict=True)
    ]
    reference = Reference(np.array(values), None, [None] * len(rows), np.zeros(len(rows), dtype=bool))
    model = OnnxModel(b"", "", signature, (), "double", {})
    evidence = parity.check(con, parity.Questions(model, rows, reference, 0.0), parity.functions("churn", signature))
    assert evidence.passed, evidence.summary()
