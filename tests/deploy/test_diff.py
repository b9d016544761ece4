"""What two versions say, compared: with scipy's and scikit-learn's own measures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error

import sqlml
from sqlml import labelled, shift
from sqlml.catalog.records import Version
from sqlml.cli import views
from sqlml.signature import Signature

HERE = {"table": "customers", "key": "customer_id"}


@pytest.fixture
def connection() -> Any:
    with duckdb.connect() as opened:
        yield opened


def pairs(connection: Any, before: Any, after: Any) -> None:
    connection.execute(
        'CREATE OR REPLACE TEMP TABLE "sqlml pairs" ("sqlml before_score" DOUBLE, "sqlml after_score" DOUBLE)'
    )
    connection.executemany('INSERT INTO "sqlml pairs" VALUES (?, ?)', list(zip(before, after, strict=True)))


@pytest.mark.parametrize("decimals", [12, 1])  # 1: many equal scores
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_the_shift_is_scipys_and_the_formulas(connection: Any, decimals: int, power: float) -> None:
    chance = np.random.default_rng(3)
    before = np.round(chance.beta(2, 5, 400), decimals)
    after = np.round(before**power, decimals)
    pairs(connection, [*before.tolist(), None], [*after.tolist(), 0.5])
    found = shift.measured(connection)
    assert found is not None
    assert found.rows == 400
    assert found.ks == pytest.approx(ks_2samp(before, after).statistic, abs=1e-12)
    edges = np.unique(np.quantile(before, np.arange(1, 10) / 10, method="inverted_cdf"))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1), 0.5) / 400 for x in (before, after)
    ]
    assert found.psi == pytest.approx(float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0]))), abs=1e-12)
    assert (found.psi == 0) == (power == 1.0)


def test_nothing_in_common_has_no_shift(connection: Any) -> None:
    pairs(connection, [None, 0.5], [0.5, None])
    assert shift.measured(connection) is None
    pairs(connection, [0.5, 0.5], [0.5, 0.5])
    assert shift.measured(connection) == shift.Shift(2, 0.0, 0.0)


def version(number: int, signature: Signature) -> Version:
    """Of a deployment `m` with the key `id`; only what a comparison reads is there."""
    blank: dict[str, Any] = dict.fromkeys(Version.__dataclass_fields__)
    known = {"deployment": "m", "version": number, "state": "retired", "signature": signature.to_json()}
    return Version(**blank | known | {"prediction_table": f"predictions_v{number}", "key_columns": ("id",)})


def stored(connection: Any, number: int, columns: dict[str, Any]) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS m")
    table = {"id": list(range(len(columns["prediction"]))), **columns}
    import pyarrow

    connection.register("rows", pyarrow.table(table))
    connection.execute(f"CREATE TABLE m.predictions_v{number} AS FROM rows")
    connection.unregister("rows")


def test_without_labels_nothing_is_said_of_the_truth(connection: Any) -> None:
    signature = Signature((), "regressor", "DOUBLE")
    for number in (1, 2):
        stored(connection, number, {"prediction": [1.0, 2.0]})
    assert labelled.judged(connection, version(1, signature), version(2, signature)) is None
    connection.execute("CREATE TABLE m.labels (other BIGINT, label DOUBLE)")
    assert labelled.judged(connection, version(1, signature), version(2, signature)) is None


@pytest.mark.parametrize("classes", [("No", "Yes"), (0, 1), ("a", "b", "c")])
def test_a_classifiers_measures_are_scikit_learns(connection: Any, classes: tuple[Any, ...]) -> None:
    chance, rows = np.random.default_rng(5), 200
    kind = "VARCHAR" if isinstance(classes[0], str) else "BIGINT"
    signature = Signature((), "classifier", kind, classes, probabilities=True)
    truth = chance.integers(len(classes), size=rows)
    probabilities = {}
    for number in (1, 2):
        drawn = np.round(chance.dirichlet([0.6] * len(classes), rows), 2)  # zeros, ones and ties
        probabilities[number] = drawn / drawn.sum(axis=1, keepdims=True)
        columns = {f"probability_{name}": probabilities[number][:, i] for i, name in enumerate(classes)}
        stored(connection, number, {"prediction": [classes[i] for i in drawn.argmax(axis=1)], **columns})
    connection.execute(f"CREATE TABLE m.labels (id BIGINT, label {kind})")
    connection.executemany("INSERT INTO m.labels VALUES (?, ?)", [(i, classes[k]) for i, k in enumerate(truth)])
    connection.execute("INSERT INTO m.labels VALUES (100000, NULL), (100001, NULL)")
    found = labelled.judged(connection, version(1, signature), version(2, signature))
    assert found is not None
    assert found.rows == rows
    measured = {metric.name: (metric.before, metric.after) for metric in found.metrics}
    for number in (1, 2):
        p = probabilities[number]
        assert measured["accuracy"][number - 1] == pytest.approx(accuracy_score(truth, p.argmax(axis=1)))
        assert measured["log loss"][number - 1] == pytest.approx(log_loss(truth, p))
        if len(classes) == 2:
            assert measured["AUC"][number - 1] == pytest.approx(roc_auc_score(truth, p[:, 1]))
    assert ("AUC" in measured) == (len(classes) == 2)


def test_a_regressors_measures_are_scikit_learns_on_rows_that_both_have(connection: Any) -> None:
    chance = np.random.default_rng(6)
    signature = Signature((), "regressor", "DOUBLE")
    truth, said = chance.normal(size=50), chance.normal(size=(2, 50))
    for number in (1, 2):
        stored(connection, number, {"prediction": [None, *said[number - 1][1:]] if number == 1 else said[1]})
    connection.execute("CREATE TABLE m.labels (id BIGINT, label DOUBLE)")
    connection.executemany("INSERT INTO m.labels VALUES (?, ?)", list(enumerate(truth.tolist())))
    found = labelled.judged(connection, version(1, signature), version(2, signature))
    assert found is not None
    assert found.rows == 49
    for metric, measure in zip(found.metrics, (mean_absolute_error, root_mean_squared_error), strict=True):
        assert metric.before == pytest.approx(measure(truth[1:], said[0][1:]))
        assert metric.after == pytest.approx(measure(truth[1:], said[1][1:]))


def test_diff_says_it_all_and_leaves_nothing_behind(
    warehouse: Path, converted: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(connection, "churn:1", **HERE)
        sqlml.deploy_db(connection, "churn:2", shadow=True)
        before = sqlml.diff(connection, "churn", 1, 2)
        assert before.agreement == pytest.approx(1 - before.flipped / before.common)
        assert before.truth is None
        connection.execute(
            "CREATE TABLE churn.labels AS SELECT customer_id, churn.predict_v2(c) AS label FROM customers c"
        )
    with sqlml.connect(warehouse, read_only=True) as connection:
        found = sqlml.diff(connection, "churn", 1, 2)
        assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchone() == (0,)
        stored = connection.execute(
            "SELECT a.probability_Yes, b.probability_Yes FROM churn.predictions_v1 a"
            " JOIN churn.predictions_v2 b USING (customer_id)"
        ).fetchnumpy()
    scores = [*stored.values()]
    assert found.shift is not None
    assert found.shift.ks == pytest.approx(ks_2samp(*scores).statistic, abs=1e-12)
    assert found.truth is not None
    measured = {metric.name: metric for metric in found.truth.metrics}
    assert (measured["accuracy"].before, measured["accuracy"].after) == (pytest.approx(found.agreement), 1.0)
    assert all(math.isfinite(metric.after or 0) for metric in found.truth.metrics)
    views.difference(found)
    shown = capsys.readouterr().out
    assert "PSI" in shown
    assert "where the label is known, 400 rows: accuracy" in shown
    [header] = [line for line in shown.splitlines() if line.startswith("v1 \\ v2")]
    assert header.split()[-3:] == ["No", "Yes", "kept"]
