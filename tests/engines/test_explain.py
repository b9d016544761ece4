"""`explain`: contributions per input column, of linear models in plain SQL; and what it says where it cannot."""

from __future__ import annotations

import math
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml import sql
from sqlml.compile.additive import NotExplained, additive
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.python import PythonEngine
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros
from sqlml.signature import Column, Signature

COLUMNS = (Column("age", "DOUBLE"), Column("fee", "DOUBLE"), Column("plan", "VARCHAR"))


def customers(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": rng.normal(40, 9, rows), "fee": rng.normal(70, 20, rows), "plan": rng.choice(["a", "b", "c"], rows)}
    )
    return frame, ((frame.age / 9 + (frame.plan == "b") * 2 + rng.normal(size=rows)) > 5).astype(int)


def encoded(*, scaled=True):
    return ColumnTransformer(
        [("n", StandardScaler() if scaled else "passthrough", ["age", "fee"]), ("c", OneHotEncoder(), ["plan"])]
    )


def converted(estimator, columns=COLUMNS):
    made = convert_sklearn(estimator, columns)
    targets = tuple(f"t{i}" for i in range(made.targets)) if made.targets > 1 else ()
    kind = "BIGINT" if made.classes else "DOUBLE"
    signature = Signature(tuple(columns), made.kind, kind, made.classes, made.probabilities, targets)
    return OnnxModel(made.onnx, "0" * 64, signature, made.reasons, made.precision, {})


def deployed(model, engine=None):
    con = duckdb.connect()
    for macro in macros(model.signature, engine or SqlEngine(model)):
        con.execute(sql.create_macro(("main", macro.name), sql.macro_text(macro.overloads)))
    return con


def explained(con, frame, what="explain(t)"):
    con.register("frame", frame)
    return [row for (row,) in con.execute(f"SELECT {what} FROM frame t").fetchall()]


def assert_adds_up(row, score, tolerance=1e-12):
    total = row["base"] + math.fsum(row["contributions"].values())
    assert math.isclose(total, score, rel_tol=tolerance, abs_tol=tolerance)
    assert math.isclose(row["score"], score, rel_tol=tolerance, abs_tol=tolerance)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_logistic_regressions_log_odds(scaled):
    frame, y = customers()
    fitted = make_pipeline(encoded(scaled=scaled), LogisticRegression(max_iter=1000)).fit(frame, y)
    rows = explained(deployed(converted(fitted)), frame)
    scaler, last = fitted[0].named_transformers_["n"], fitted[-1]
    plans = fitted[0].named_transformers_["c"].categories_[0].tolist()
    numbers = frame[["age", "fee"]].to_numpy()
    means, scales = (scaler.mean_, scaler.scale_) if scaled else (0.0, 1.0)
    parts = (numbers - means) / scales * last.coef_[0, :2]
    for i, score in enumerate(fitted.decision_function(frame)):
        assert_adds_up(rows[i], score)
        assert rows[i]["base"] == last.intercept_[0]
        found = rows[i]["contributions"]
        assert list(found) == ["age", "fee", "plan"]
        assert found["age"] == pytest.approx(parts[i, 0], rel=1e-12, abs=1e-12)
        assert found["plan"] == pytest.approx(last.coef_[0, 2 + plans.index(frame.plan[i])], rel=1e-12)


def test_the_largest_come_first():
    frame, y = customers()
    con = deployed(converted(make_pipeline(encoded(), LogisticRegression()).fit(frame, y)))
    whole = explained(con, frame)
    for n in (1, 2, 3, 9):
        for row, top in zip(whole, explained(con, frame, f"explain(t, top := {n})"), strict=True):
            wanted = sorted(row["contributions"].items(), key=lambda pair: -abs(pair[1]))[:n]
            assert [(entry["column"], entry["contribution"]) for entry in top] == wanted
    assert [len(row) for row in explained(con, frame[:1], "explain(t, top := NULL)")] == [3]
    for nothing in (0, -1):
        assert explained(con, frame[:1], f"explain(t, top := {nothing})") == [[]]
    kind = con.execute("SELECT typeof(explain(t, top := 3)), typeof(explain(t)) FROM frame t LIMIT 1").fetchall()
    assert kind == [
        (
            'STRUCT("column" VARCHAR, contribution DOUBLE)[]',
            "STRUCT(base DOUBLE, score DOUBLE, contributions STRUCT(age DOUBLE, fee DOUBLE, plan DOUBLE))",
        )
    ]


def test_of_several_classes_the_predicted_one():
    frame, _ = customers()
    y = np.digitize(frame.age, [35, 45]) * 10
    fitted = make_pipeline(encoded(), LogisticRegression()).fit(frame, y)
    rows, said = explained(deployed(converted(fitted)), frame), fitted.predict(frame)
    for row, label, scores in zip(rows, said, fitted.decision_function(frame), strict=True):
        assert row["class"] == label
        assert_adds_up(row, scores[list(fitted.classes_).index(label)])


def test_of_several_targets_each():
    frame, y = customers()
    fitted = make_pipeline(encoded(), LinearRegression()).fit(frame, np.stack([frame.age * 2, y], axis=1))
    con = deployed(converted(fitted))
    for row, scores in zip(explained(con, frame), fitted.predict(frame), strict=True):
        assert list(row) == ["t0", "t1"]
        for block, score in zip(row.values(), scores, strict=True):
            assert_adds_up(block, score, 1e-9)
    assert [len(entries) for entries in explained(con, frame[:1], "explain(t, top := 2)")[0].values()] == [2, 2]


def test_behind_a_link_the_value_before_it():
    frame, y = customers()
    fitted = make_pipeline(encoded(), PoissonRegressor()).fit(frame, y)
    for row, value in zip(explained(deployed(converted(fitted)), frame), fitted.predict(frame), strict=True):
        assert_adds_up(row, math.log(value), 1e-9)


def test_what_is_added_over_mixed_columns_is_still_exact():
    """PCA mixes columns, but linearly; naive Bayes adds a function of each column."""
    frame, y = customers()
    numbers = frame[["age", "fee"]]
    for fitted in (
        make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(numbers, y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers[["age"]], y),
    ):
        columns = COLUMNS[: fitted.n_features_in_]
        given = numbers[[c.name for c in columns]]
        rows = explained(deployed(converted(fitted, columns)), given)
        for row, score in zip(rows, fitted.decision_function(given), strict=True):
            assert_adds_up(row, score, 1e-10)
    bayes = GaussianNB().fit(numbers, np.digitize(frame.age, [35, 45]))
    joint = bayes.predict_joint_log_proba(numbers)
    for row, scores in zip(explained(deployed(converted(bayes, COLUMNS[:2])), numbers), joint, strict=True):
        assert_adds_up(row, scores[row["class"]], 1e-9)


def test_rows_without_a_prediction_have_no_explanation():
    frame, y = customers()
    con = deployed(converted(make_pipeline(encoded(), LogisticRegression()).fit(frame, y)))
    bad = "(VALUES (NULL, 1.0, 'a'), ('NaN'::DOUBLE, 1.0, 'a'), (1.0, 1.0, 'unheard of'), ('inf'::DOUBLE, 1.0, 'a'))"
    said = con.execute(f"SELECT explain(t), explain(t, top := 2) FROM {bad} t(age, fee, plan)").fetchall()
    assert said == [(None, None)] * 4
    unread = con.execute("SELECT explain(t), explain(t, top := 2) FROM (SELECT 'x' AS age, 1 AS fee, 'a' AS plan) t")
    assert unread.fetchall() == [(None, None)]


def test_trees_need_the_native_engine():
    frame, y = customers()
    model = converted(make_pipeline(encoded(), RandomForestClassifier(3, max_depth=3)).fit(frame, y))
    con = deployed(model)
    con.register("frame", frame)
    for call in ("explain(t)", "explain(t, top := 3)"):
        with pytest.raises(duckdb.Error, match=r"tree ensembles.*engine native"):
            con.execute(f"SELECT {call} FROM frame t")
    assert con.execute("SELECT count(predict(t)) FROM frame t").fetchall() == [(300,)]
    engine = PythonEngine(model.sha256, model.signature, model.reasons)
    (explain,) = [m for m in macros(model.signature, engine) if m.name == "explain"]
    assert "engine native" in sql.macro_text(explain.overloads)


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (make_pipeline(StandardScaler(), PCA(2), RandomForestClassifier(3)), "made of age, fee"),
        (MLPClassifier((3,), solver="lbfgs", max_iter=500), "no sum over columns"),
        (KMeans(2, n_init=1), "raw score is not known"),
    ],
)
def test_what_is_no_sum_over_columns_is_refused(estimator, why):
    frame, y = customers()
    fitted = estimator.fit(frame[["age", "fee"]], y)
    model = converted(fitted, COLUMNS[:2])
    with pytest.raises(NotExplained, match=why):
        additive(model)


def test_a_model_without_training_weights_is_refused():
    import onnx

    frame, y = customers()
    model = converted(make_pipeline(encoded(), RandomForestClassifier(3)).fit(frame, y))
    proto = onnx.load_from_string(model.onnx)
    kept = [entry for entry in proto.metadata_props if not entry.key.startswith("sqlml.covers")]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    with pytest.raises(NotExplained, match="how many training rows"):
        additive(replace(model, onnx=proto.SerializeToString()))


def test_trees_are_taken_apart_by_original_column():
    frame, y = customers()
    found = additive(converted(make_pipeline(encoded(), RandomForestClassifier(3, random_state=0)).fit(frame, y)))
    (trees,) = found.trees
    assert trees.columns == (0, 1, 2, 2, 2)
    assert trees.parts_of == (0, 1, 2, 3, 4)
    assert [k for k, _, _ in trees.terms] == [0]
    assert found.positions == (1,)
