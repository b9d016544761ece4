"""The metrics' views against scikit-learn, on random labels with ties, of one class, of many, per window."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as original
from sklearn.calibration import calibration_curve

import sqlml
from sqlml.catalog.records import Version
from sqlml.errors import DatabaseError, NotDeployed
from sqlml.signature import Signature
from tests.labels.conftest import BINARY, NUMBER, START, THREE, Staged

DAYS = 3
NAMES = (
    "accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "ece", "mae", "rmse", "r2", "bias"
)  # fmt: skip


def scored(staged: Staged, version: Version, outputs: pd.DataFrame) -> None:
    """Predictions of keys 0, 1, 2 ..., all made before anything was observed."""
    frame = outputs.assign(id=range(len(outputs)), scored_at=START)
    staged.connection.register("frame", frame)
    table = f'"m"."{version.prediction_table}"'
    staged.connection.execute(f"INSERT INTO {table} BY NAME SELECT *, uuid() AS scoring_id FROM frame")
    staged.connection.unregister("frame")


def observed(staged: Staged, labels: object, **more: object) -> sqlml.Labelled:
    """Labels of keys 0, 1, 2 ..., spread over the days."""
    frame = pd.DataFrame({"id": range(len(labels)), "y": labels})  # type: ignore[arg-type]
    frame["seen"] = [pd.Timestamp(START) + timedelta(days=1 + i % DAYS, hours=i % 24) for i in range(len(frame))]
    staged.source(frame)
    return sqlml.label(staged.connection, "m", "outcomes", label="y", at="seen", **more)  # type: ignore[arg-type]


def one(staged: Staged, by: str = "version") -> dict[str, object]:
    found = sqlml.metrics(staged.connection, "m", by=by)
    return dict(zip(found.columns, found.rows[0], strict=True))


def probabilities(rng: np.random.Generator, rows: int, classes: int, digits: int = 2) -> np.ndarray:
    """Rounded, so that there are ties, zeros and ones."""
    raw = rng.dirichlet(np.full(classes, 0.4), rows)
    first = np.round(raw, digits)[:, 1:]
    return np.column_stack([1 - first.sum(axis=1), first]).clip(0, 1)


def two_classes(rng: np.random.Generator, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    p = probabilities(rng, rows, 2)
    labels = np.where(rng.random(rows) < 0.3 + 0.4 * p[:, 1], "Yes", "No")
    predicted = np.where(p[:, 1] >= 0.4, "Yes", "No")
    return pd.DataFrame({"prediction": predicted, "probability_No": p[:, 0], "probability_Yes": p[:, 1]}), labels


def error_of_calibration(said: np.ndarray, so: np.ndarray) -> float:
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], said)
    parts = [(bins == b) for b in range(10) if (bins == b).any()]
    return sum(part.sum() * abs(said[part].mean() - so[part].mean()) for part in parts) / len(said)


def expected_of_two(outputs: pd.DataFrame, labels: np.ndarray) -> dict[str, float]:
    y, p = labels == "Yes", outputs["probability_Yes"].to_numpy()
    both = outputs[["probability_No", "probability_Yes"]].to_numpy()
    said = {"pos_label": "Yes"}
    return {
        "accuracy": original.accuracy_score(labels, outputs["prediction"]),
        "precision": original.precision_score(labels, outputs["prediction"], **said),
        "recall": original.recall_score(labels, outputs["prediction"], **said),
        "f1": original.f1_score(labels, outputs["prediction"], **said),
        "auc": original.roc_auc_score(y, p),
        "log_loss": original.log_loss(labels, both, labels=["No", "Yes"]),
        "brier": original.brier_score_loss(y, p),
        "ece": error_of_calibration(p, y),
    }


def close(found: dict[str, object], expected: dict[str, float]) -> None:
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-11, abs=1e-12)
    assert [name for name in NAMES if found[name] is not None] == [name for name in NAMES if name in expected]


@pytest.mark.parametrize("seed", range(3))
def test_two_classes(staged: Staged, seed: int) -> None:
    outputs, labels = two_classes(np.random.default_rng(seed), 700)
    scored(staged, staged.version(BINARY), outputs)
    observed(staged, labels)

    close(one(staged), expected_of_two(outputs, labels))


def test_each_window_by_itself(staged: Staged) -> None:
    outputs, labels = two_classes(np.random.default_rng(7), 600)
    scored(staged, staged.version(BINARY), outputs)
    observed(staged, labels)

    for by in ("day", "1 day"):
        found = sqlml.metrics(staged.connection, "m", by=by)
        assert len(found.rows) == DAYS
        for number, row in enumerate(found.rows):
            these = np.arange(len(labels)) % DAYS == number
            close(dict(zip(found.columns, row, strict=True)), expected_of_two(outputs[these], labels[these]))
    weeks = staged.rows("SELECT window_start, labels FROM m.metrics_by(INTERVAL '7 days') ORDER BY ALL")
    assert weeks == [(pd.Timestamp("2025-12-29"), 600)]
    assert staged.rows("SELECT count(*) FROM m.metrics_by('month')") == [(1,)]
    for window in ("'1 year'", "INTERVAL '18 months'", "INTERVAL '1 day 6 hours'", "'quarter'", "'12:00:00'"):
        assert staged.rows(f"SELECT sum(labels) FROM m.metrics_by({window})") == [(600,)]


@pytest.mark.parametrize(
    "wrong", ["'fortnight'", "7", "7.5", "'7'", "'0 days'", "'-1 day'", "INTERVAL '1 month 2 days'", "NULL", "TRUE"]
)
def test_what_is_no_window_is_said_to_be_none(staged: Staged, wrong: str) -> None:
    outputs, labels = two_classes(np.random.default_rng(7), 20)
    scored(staged, staged.version(BINARY), outputs)
    observed(staged, labels)

    with pytest.raises(duckdb.InvalidInputException, match=r"A window is a length of time, .*not in both"):
        staged.rows(f"FROM m.metrics_by({wrong})")
    said = wrong.removeprefix("INTERVAL ").strip("'")
    with pytest.raises(DatabaseError, match=r"--by .*A window is a length of time, .*not in both"):
        sqlml.metrics(staged.connection, "m", by=said)


@pytest.mark.parametrize("seed", range(2))
def test_three_classes(staged: Staged, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = probabilities(rng, 500, 3)
    p = np.where(p.sum(axis=1, keepdims=True) == 0, 1 / 3, p)
    p /= p.sum(axis=1, keepdims=True)
    classes = np.array(THREE.classes)
    labels = classes[rng.integers(0, 3, 500)]
    predicted = np.where(rng.random(500) < 0.5, labels, "a")  # 'b' and 'c' less often than they are
    scored(
        staged,
        staged.version(THREE),
        pd.DataFrame(p, columns=[f"probability_{c}" for c in classes]).assign(prediction=predicted),
    )
    observed(staged, labels)

    macro = {"average": "macro", "zero_division": 0}
    close(
        one(staged),
        {
            "accuracy": original.accuracy_score(labels, predicted),
            "precision": original.precision_score(labels, predicted, **macro),
            "recall": original.recall_score(labels, predicted, **macro),
            "f1": original.f1_score(labels, predicted, **macro),
            "auc": original.roc_auc_score(labels, p, multi_class="ovr"),
            "log_loss": original.log_loss(labels, p),
            "brier": original.brier_score_loss(labels, p),
            "ece": error_of_calibration(
                p.max(axis=1), p[np.arange(500), np.searchsorted(classes, labels)] == p.max(axis=1)
            ),
        },
    )
    rest = sqlml.metrics(staged.connection, "m", by="class").rows
    assert [row[-1] for row in rest] == pytest.approx(
        [original.roc_auc_score(labels == c, p[:, i]) for i, c in enumerate(classes)]
    )
    precision, recall, f1, support = original.precision_recall_fscore_support(labels, predicted)
    assert [row[2] for row in rest] == list(support)
    assert np.array([row[4:7] for row in rest], dtype=float) == pytest.approx(np.column_stack([precision, recall, f1]))
    cells = {(row[1], row[2]): row[3] for row in sqlml.metrics(staged.connection, "m", by="label").rows}
    assert cells == Counter(zip(labels, predicted, strict=True))


def test_more_classes_than_columns(staged: Staged) -> None:
    rng = np.random.default_rng(3)
    classes = tuple(f"c{i}" for i in range(230))
    signature = Signature((), "classifier", "VARCHAR", classes, True)
    p = rng.dirichlet(np.full(230, 0.05), 300)
    labels = np.array(classes)[rng.integers(0, 230, 300)]
    predicted = np.array(classes)[p.argmax(axis=1)]
    table = staged.version(signature)
    frame = pd.DataFrame({"id": range(300), "prediction": predicted, "values": list(p), "scored_at": START})
    staged.connection.register("frame", frame)
    staged.connection.execute(
        f"INSERT INTO m.{table.prediction_table} BY NAME SELECT * EXCLUDE (values), map(?::VARCHAR[], values) AS probabilities,"
        " uuid() AS scoring_id FROM frame",
        [list(classes)],
    )
    observed(staged, labels)

    truth = np.array([classes.index(label) for label in labels])
    found = one(staged)
    picked = p[np.arange(300), truth]
    assert found["accuracy"] == pytest.approx(original.accuracy_score(labels, predicted))
    assert found["log_loss"] == pytest.approx(-np.log(picked.clip(np.finfo(float).eps)).mean())
    assert found["brier"] == pytest.approx(((p - np.eye(230)[truth]) ** 2).sum(axis=1).mean())
    assert found["f1"] == pytest.approx(original.f1_score(labels, predicted, average="macro"))
    assert found["auc"] is None


def test_labels_of_one_class_leave_undefined_what_is(staged: Staged) -> None:
    outputs, _ = two_classes(np.random.default_rng(1), 50)
    scored(staged, staged.version(BINARY), outputs.assign(prediction="No"))
    observed(staged, ["No"] * 50)

    found = one(staged)
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"], found["auc"]) == (
        1,
        None,
        None,
        None,
        None,
    )
    assert found["log_loss"] == pytest.approx(
        original.log_loss(["No"] * 50, outputs[["probability_No", "probability_Yes"]].to_numpy(), labels=["No", "Yes"])
    )


def test_regressors(staged: Staged) -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(100, 5, 400)
    predicted = y + rng.normal(1, 3, 400)
    scored(staged, staged.version(NUMBER), pd.DataFrame({"prediction": predicted}))
    observed(staged, y)

    close(
        one(staged),
        {
            "mae": original.mean_absolute_error(y, predicted),
            "rmse": original.root_mean_squared_error(y, predicted),
            "r2": original.r2_score(y, predicted),
            "bias": float((predicted - y).mean()),
        },
    )


@pytest.mark.parametrize("labels", [[5.0], [5.0, 5.0], [1e308, -1e308]])
def test_r2_is_undefined_without_a_spread_and_nothing_fails(staged: Staged, labels: list[float]) -> None:
    scored(staged, staged.version(NUMBER), pd.DataFrame({"prediction": [4.0] * len(labels)}))
    observed(staged, labels)

    found = one(staged)
    assert found["labels"] == len(labels)
    assert found["mae"] is not None
    if labels[0] == 5:
        assert found["r2"] is None


def test_a_label_without_a_prediction_is_counted_and_measures_nothing(staged: Staged) -> None:
    outputs, labels = two_classes(np.random.default_rng(4), 100)
    bad = outputs.copy()
    bad.loc[::10, :] = None
    scored(staged, staged.version(BINARY), bad)
    done = observed(staged, labels)

    fine = np.arange(100) % 10 != 0
    found = one(staged)
    assert (done.unpredicted, found["labels"], found["unpredicted"]) == (10, 100, 10)
    close(found, expected_of_two(outputs[fine], labels[fine]))


def test_calibration_is_scikit_learns_curve(staged: Staged) -> None:
    outputs, labels = two_classes(np.random.default_rng(5), 900)
    scored(staged, staged.version(BINARY), outputs)
    observed(staged, labels)

    so, said = calibration_curve(labels == "Yes", outputs["probability_Yes"], n_bins=10)
    rows = staged.rows("SELECT mean_probability, observed_share FROM m.calibration ORDER BY bin")
    assert np.array(rows) == pytest.approx(np.column_stack([said, so]))


def test_a_classifier_without_probabilities_and_a_python_function(staged: Staged) -> None:
    plain = Signature((), "classifier", "BIGINT", (-1, 1))
    asked = Signature((), "pyfunc", "VARCHAR")
    scored(staged, staged.version(plain), pd.DataFrame({"prediction": [-1, 1, 1, 1]}))
    observed(staged, [-1, 1, -1, 1])
    staged.activate(staged.version(asked, active_since=None).version, START + timedelta(days=10))
    rows = [{"id": i, "prediction": text, "scored_at": START} for i, text in enumerate("xyy")]
    staged.predict(sqlml_version(staged, 2), rows)
    staged.source(pd.DataFrame({"id": [0, 1, 2], "y": ["x", "y", "z"], "seen": [pd.Timestamp("2026-02-01")] * 3}))
    sqlml.label(staged.connection, "m", "outcomes", label="y", at="seen")

    first, second = staged.rows(
        "SELECT accuracy, precision, recall, f1, auc, log_loss FROM m.metrics ORDER BY ALL DESC"
    )
    assert first == (3 / 4, 2 / 3, 1, 4 / 5, None, None)
    assert second == pytest.approx((2 / 3, (1 + 1 / 2 + 0) / 3, 2 / 3, (1 + 2 / 3 + 0) / 3, None, None))
    assert staged.rows("SELECT count(*), typeof(any_value(label)) FROM m.labels") == [(7, "VARCHAR")]


def sqlml_version(staged: Staged, number: int) -> Version:
    from sqlml.catalog import records

    return records.version(staged.connection, records.deployment(staged.connection, "m"), number)


def test_metrics_before_any_label_say_how_to_have_some(staged: Staged) -> None:
    staged.version(BINARY)

    with pytest.raises(NotDeployed, match="has no labels yet"):
        sqlml.metrics(staged.connection, "m")


def test_a_plain_duckdb_reads_them(staged: Staged, tmp_path: object) -> None:
    outputs, labels = two_classes(np.random.default_rng(6), 60)
    scored(staged, staged.version(BINARY), outputs)
    observed(staged, labels)
    path = f"{tmp_path}/copy.duckdb"
    staged.connection.execute(f"ATTACH '{path}' AS made")
    name = staged.rows("SELECT current_database()")[0][0]
    staged.connection.execute(f'COPY FROM DATABASE "{name}" TO made')
    staged.connection.execute("DETACH made")

    with duckdb.connect() as plain:
        plain.execute(f"ATTACH '{path}' AS \"x y\" (READ_ONLY)")
        for view in ("labels", "metrics", "metrics_by_day", "metrics_by_class", "confusion", "calibration"):
            assert plain.execute(f'FROM "x y".m.{view}').fetchall()
        plain.execute('USE "x y"')
        assert plain.execute("FROM m.metrics_by('week')").fetchall()
