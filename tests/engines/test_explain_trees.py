"""`explain` of tree ensembles: TreeSHAP by the native engine, against the libraries' own and against `shap`."""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from sqlml import extension, sql
from sqlml.database import open_database
from sqlml.engines.native import NativeEngine
from sqlml.engines.surface import macros
from sqlml.signature import Column
from tests.engines.test_explain import COLUMNS, converted, customers, encoded

pytestmark = pytest.mark.native

NUMBERS = tuple(Column(name, "DOUBLE", "missing") for name in "abcde")


def deployed(con, model):
    model = replace(model, sha256=hashlib.sha256(model.onnx).hexdigest())
    con.execute("CREATE SCHEMA IF NOT EXISTS sqlml")
    con.execute("CREATE TABLE IF NOT EXISTS sqlml.models (sha256 VARCHAR, onnx BLOB)")
    con.execute("INSERT INTO sqlml.models VALUES (?, ?)", [model.sha256, model.onnx])
    engine = NativeEngine.of(model)
    for macro in macros(model.signature, engine):
        con.execute(sql.create_macro(("main", macro.name), sql.macro_text(macro.overloads), replace=True))
    return engine


@pytest.fixture
def con():
    with open_database(":memory:") as connection:
        extension.load(connection)
        yield connection


def explained(con, model, frame, what="explain(t)"):
    deployed(con, model)
    con.register("given", frame)
    return [row for (row,) in con.execute(f"SELECT {what} FROM given t").fetchall()]


def measured(rows=400, seed=1):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 5)).astype(np.float32).astype(float), columns=list("abcde"))
    raw = frame.a + frame.b * frame.c + np.sin(3 * frame.d) + rng.normal(size=rows) * 0.3
    return frame, raw


def holes(frame, seed=2):
    gone = np.random.default_rng(seed).random(frame.shape) < 0.15
    return frame.mask(gone)


def assert_blocks(rows, base, values, scores, tolerance):
    """Rows of `explain` against bases, contributions [N, columns] and raw scores."""
    for row, wanted, score in zip(rows, values, scores, strict=True):
        found = list(row["contributions"].values())
        assert row["base"] == pytest.approx(base, rel=tolerance, abs=tolerance)
        assert found == pytest.approx(list(wanted), rel=tolerance, abs=tolerance)
        assert row["score"] == pytest.approx(score, rel=tolerance, abs=tolerance)
        assert math.isclose(row["base"] + math.fsum(found), row["score"], rel_tol=tolerance, abs_tol=tolerance)


def test_a_forest_over_encoded_columns_adds_up(con):
    frame, y = customers()
    fitted = make_pipeline(encoded(), RandomForestClassifier(20, max_depth=6, random_state=0)).fit(frame, y)
    rows = explained(con, converted(fitted), frame)
    for row, score in zip(rows, fitted.predict_proba(frame)[:, 1], strict=True):
        assert row["score"] == score
        assert abs(row["base"] + math.fsum(row["contributions"].values()) - score) < 1e-9


def test_in_an_attached_file_one_statement_loads_what_explains_too(con):
    frame, y = customers()
    fitted = make_pipeline(encoded(), RandomForestClassifier(9, max_depth=4, random_state=3)).fit(frame, y)
    con.execute("ATTACH ':memory:' AS \"x y\"")
    con.execute('USE "x y"')
    engine = deployed(con, converted(fitted))
    con.execute(sql.create_view(("main", "load"), engine.load_query()))
    con.execute("USE memory")
    con.register("given", frame)
    query = 'SELECT "x y".main.predict(t), "x y".main.explain(t), "x y".main.explain(t, top := 2) FROM given t'
    with pytest.raises(duckdb.CatalogException, match=r"sqlml\.models"):
        con.execute(query).fetchall()
    assert con.execute('FROM "x y".main.load').fetchall() == [(engine.sha256,)]
    rows = con.execute(query).fetchall()
    assert [row["score"] for _, row, _ in rows] == list(fitted.predict_proba(frame)[:, 1])
    assert {len(top) for _, _, top in rows} == {2}


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestRegressor(15, max_depth=7, random_state=0),
        ExtraTreesRegressor(10, max_depth=5, random_state=0),
        DecisionTreeRegressor(max_depth=9, random_state=0),
        GradientBoostingClassifier(n_estimators=30, random_state=0),
        RandomForestClassifier(15, max_depth=8, random_state=0),
        HistGradientBoostingRegressor(max_iter=30, random_state=0),
        HistGradientBoostingClassifier(max_iter=30, random_state=0),
    ],
)
def test_scikit_learn_as_shap_has_it(con, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what matplotlib has deprecated
        import shap  # here, since it takes seconds

    frame, raw = measured()
    label = (raw > 0).astype(int) if hasattr(estimator, "predict_proba") else raw
    fitted = estimator.fit(frame.to_numpy(), label)
    explainer = shap.TreeExplainer(fitted, feature_perturbation="tree_path_dependent")
    values, base = np.asarray(explainer.shap_values(frame.to_numpy())), np.ravel(explainer.expected_value)
    if values.ndim == 3:
        values = values[:, :, 1]
    scores = base[-1] + values.sum(axis=1)
    assert_blocks(explained(con, converted(fitted, NUMBERS), frame), base[-1], values, scores, 1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_lightgbm_as_it_has_it_itself(con, classes):
    lightgbm = pytest.importorskip("lightgbm")
    frame, raw = measured()
    frame = holes(frame)
    y = np.digitize(raw, [0.0] if classes == 2 else [-0.7, 0.7])
    fitted = lightgbm.LGBMClassifier(n_estimators=20, num_leaves=15, verbose=-1).fit(frame, y)
    wanted = fitted.predict(frame, pred_contrib=True).reshape(len(frame), -1, 6)
    rows = explained(con, converted(fitted, NUMBERS), frame)
    said = fitted.predict(frame)
    for row, blocks, label in zip(rows, wanted, said, strict=True):
        block = blocks[0 if classes == 2 else label]
        if classes > 2:
            assert row["class"] == label
        assert_blocks([row], block[5], [block[:5]], [block.sum()], 1e-9)


def test_lightgbm_categories_are_one_column(con):
    lightgbm = pytest.importorskip("lightgbm")
    frame, raw = measured()
    frame["c"] = np.random.default_rng(3).integers(0, 12, len(frame)).astype(float)
    fitted = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, min_data_per_group=5, cat_smooth=1)
    fitted.fit(frame, raw + (frame.c % 3), categorical_feature=["c"])
    wanted = fitted.predict(frame, pred_contrib=True)
    rows = explained(con, converted(fitted, NUMBERS), frame)
    assert_blocks(rows, wanted[0, 5], wanted[:, :5], wanted.sum(axis=1), 1e-9)


def test_xgboost_in_its_own_precision(con):
    xgboost = pytest.importorskip("xgboost")
    frame, raw = measured()
    frame = holes(frame)
    fitted = xgboost.XGBClassifier(n_estimators=20, max_depth=5).fit(frame, (raw > 0).astype(int))
    wanted = fitted.get_booster().predict(xgboost.DMatrix(frame), pred_contribs=True)
    rows = explained(con, converted(fitted, NUMBERS), frame)
    assert_blocks(rows, wanted[0, 5], wanted[:, :5], wanted.sum(axis=1), 2e-5)


def test_catboost_as_it_has_it_itself(con):
    catboost = pytest.importorskip("catboost")
    frame, raw = measured()
    fitted = catboost.CatBoostRegressor(iterations=30, depth=4, verbose=0, allow_writing_files=False).fit(frame, raw)
    wanted = fitted.get_feature_importance(catboost.Pool(frame), type="ShapValues")
    rows = explained(con, converted(fitted, NUMBERS), frame)
    assert_blocks(rows, wanted[0, 5], wanted[:, :5], wanted.sum(axis=1), 1e-6)


def test_ensembles_of_forests_are_one_sum(con):
    frame, raw = measured()
    fitted = BaggingRegressor(DecisionTreeRegressor(max_depth=4), 5, random_state=0).fit(frame.to_numpy(), raw)
    rows = explained(con, converted(fitted, NUMBERS), frame)
    for row, score in zip(rows, fitted.predict(frame.to_numpy()), strict=True):
        assert abs(row["base"] + math.fsum(row["contributions"].values()) - score) < 1e-9


def test_hostile_rows(con):
    frame, raw = measured()
    fitted = HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(holes(frame), raw)
    thresholds = np.concatenate([p.nodes["num_threshold"] for stage in fitted._predictors for p in stage])
    rng = np.random.default_rng(0)
    listed = [
        0.0,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        5e-324,
        1e308,
        *np.nextafter(thresholds[:200], math.inf),
        *thresholds[:200],
    ]
    given = pd.DataFrame(rng.choice(listed, size=(3000, 5)), columns=list("abcde"))
    rows = explained(con, converted(fitted, NUMBERS), given)
    for row, score in zip(rows, fitted.predict(given), strict=True):
        assert row["score"] == pytest.approx(score, rel=1e-12, abs=1e-12)
        assert abs(row["base"] + math.fsum(row["contributions"].values()) - score) < 1e-9


def test_the_largest_and_rows_without_an_answer(con):
    frame, y = customers()
    fitted = make_pipeline(encoded(), GradientBoostingClassifier(n_estimators=10)).fit(frame, y)
    model = converted(fitted)
    whole = explained(con, model, frame)
    for row, top in zip(whole, explained(con, model, frame, "explain(t, top := 2)"), strict=True):
        wanted = sorted(row["contributions"].items(), key=lambda pair: -abs(pair[1]))[:2]
        assert [(entry["column"], entry["contribution"]) for entry in top] == wanted
    bad = "(VALUES (NULL, '1', 'a'), (1.0, 'x', 'a'), (1.0, '1', 'unheard of')) t(age, fee, plan)"
    assert con.execute(f"SELECT explain(t), explain(t, top := 1) FROM {bad}").fetchall() == [(None, None)] * 3
    assert len(COLUMNS) == len(whole[0]["contributions"])


@pytest.mark.parametrize(
    "request_text", ["", "1", "1 x 0 1 all;0;y 0 - 0:0:1", "1 nothing 0 1 all;0", "2 error 0 1 all;0"]
)
def test_a_request_that_sqlml_does_not_write_is_refused(con, request_text):
    frame, raw = measured()
    model = converted(RandomForestRegressor(2, max_depth=2).fit(frame.to_numpy(), raw), NUMBERS)
    key = hashlib.sha256(model.onnx).hexdigest()
    with pytest.raises(Exception, match="sqlml"):
        con.execute(
            f"SELECT sqlml_explain('{key} {request_text}', 'DDDDD', ?::BLOB, 1.0, 1.0, 1.0, 1.0, 1.0)", [model.onnx]
        ).fetchall()
