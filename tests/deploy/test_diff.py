"""What two versions say, compared: with scipy's and scikit-learn's own measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import log_loss

import sqlml
from sqlml import shift
from sqlml.cli import views

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


def observe(connection: Any, said: str) -> None:
    connection.execute(
        f"CREATE OR REPLACE TABLE outcomes AS SELECT customer_id, {said} AS churned,"
        " make_timestamp(epoch_us(now())) AS seen FROM customers c"
    )
    sqlml.label(connection, "churn", "outcomes", label="churned", at="seen")


def test_diff_says_it_all_and_leaves_nothing_behind(
    warehouse: Path, converted: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(connection, "churn:1", **HERE)
        observe(connection, "churn.predict_v1(c)")
        sqlml.deploy_db(connection, "churn:2", shadow=True)
        before = sqlml.diff(connection, "churn", 1, 2)
        assert before.agreement == pytest.approx(1 - before.flipped / before.common)
        assert before.truth is None
        # Predictions that were made after the outcome may know it.
        assert "no label was observed after both versions had scored" in before.sentences()[-1]
        observe(connection, "churn.predict_v2(c)")
    with sqlml.connect(warehouse, read_only=True) as connection:
        found = sqlml.diff(connection, "churn", 1, 2)
        assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchone() == (0,)
        stored = connection.execute(
            "SELECT a.probability_Yes, b.probability_Yes AS after, b.prediction FROM churn.predictions_v1 a"
            " JOIN churn.predictions_v2 b USING (customer_id)"
        ).fetchnumpy()
    scores = [stored["probability_Yes"], stored["after"]]
    assert found.shift is not None
    assert found.shift.ks == pytest.approx(ks_2samp(*scores).statistic, abs=1e-12)
    assert found.truth is not None
    assert [metrics.accuracy for metrics in found.truth] == [pytest.approx(found.agreement), 1.0]
    for metrics, score in zip(found.truth, scores, strict=True):
        assert metrics.log_loss == pytest.approx(log_loss(stored["prediction"] == "Yes", score))
    views.difference(found)
    shown = capsys.readouterr().out
    assert "PSI" in shown
    assert "where the label is known, 400 rows: accuracy" in shown
    [header] = [line for line in shown.splitlines() if line.startswith("v1 \\ v2")]
    assert header.split()[-3:] == ["No", "Yes", "kept"]
