"""`FROM churn.why(4711)`: what it says of a row is true, and nothing else is said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import sqlml
from sqlml import lineage
from sqlml.errors import DatabaseError, NotDeployed
from tests.deploy.conftest import fill


def visits() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"id": np.arange(1, 201), "b": rng.integers(0, 20, 200), "e": rng.integers(-5, 40, 200)})
    frame["two"] = np.where((frame.b - 10) ** 2 + frame.e > 45, "Yes", "No")
    frame["three"] = np.where(frame.b + frame.e < 18, "lo", np.where(frame.b + frame.e < 32, "mid", "hi"))
    return frame


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A database with a model that moves the score any way, over whole numbers, and a sure one of three classes."""
    import mlflow

    frame, folder = visits(), tmp_path_factory.mktemp("rows")
    fitted = {
        "poly": make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression()).fit(
            frame[["b", "e"]], frame.two
        ),
        "sure": make_pipeline(StandardScaler(), LogisticRegression(C=1000)).fit(frame[["b", "e"]], frame.three),
    }
    with duckdb.connect() as connection:
        connection.register("given", frame)
        connection.execute("CREATE TABLE visits AS FROM given")
        for name, model in fitted.items():
            path = Path(folder) / name
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # MLflow's advice about integer columns and pickles is not what is tested
                signature = mlflow.models.infer_signature(frame[["b", "e"]], model.predict(frame[["b", "e"]]))
                mlflow.sklearn.save_model(
                    model,
                    path,
                    signature=signature,
                    serialization_format="cloudpickle",
                    pip_requirements=["scikit-learn"],
                )
            sqlml.deploy_db(connection, str(path), name=name, table="visits", key="id")
        yield connection


def flips(connection: Any, call: str) -> dict[str | None, tuple[str, str]]:
    query = f"SELECT item, value, note FROM {call} WHERE section = 'flip'"
    return {item: (value, note) for item, value, note in connection.execute(query).fetchall()}


def test_whole_numbers_are_tried_of_models_that_move_any_way(models: Any) -> None:
    seen = 0
    for key in range(1, 21):
        rows = flips(models, f"poly.why({key})")
        near = [f for f in sqlml.why(models, "poly", key).flips.columns if f.in_range]
        found = {f.column: abs(f.value - f.before) for f in near}  # of two that are as far, either
        inside = {item: value for item, (value, note) in rows.items() if item and "beyond" not in note}
        before = {f.column: f.before for f in near}
        assert {item: abs(int(value) - before[item]) for item, value in inside.items()} == found
        seen += len(found)
    assert seen > 10


def test_the_unit_of_several_classes_is_that_which_the_command_gives(models: Any) -> None:
    units = set()
    for key in range(1, 61):
        (rows,) = models.execute(
            f"SELECT list(DISTINCT note) FROM sure.why({key}) WHERE section = 'contribution'"
        ).fetchone()
        assert rows == [sqlml.why(models, "sure", key).contributions.unit]
        units |= set(rows)
    assert units == {"the class's own score"}


@pytest.fixture
def connection(customer_rows: object, converted: object) -> Any:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 60)
        yield opened


@pytest.mark.parametrize("kind", ["DECIMAL(9, 3)", "DECIMAL(4, 0)", "FLOAT"])
def test_flips_are_values_that_the_source_can_hold(connection: Any, kind: str) -> None:
    connection.execute(f"ALTER TABLE customers ALTER monthly_charges TYPE {kind}")
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    seen = 0
    for key in range(2, 30):
        rows = flips(connection, f"churn.why({key})")
        found = {f.column: f.value for f in sqlml.why(connection, "churn", key).flips.columns if f.in_range}
        if "monthly_charges" not in found:
            continue
        value, note = rows["monthly_charges"]
        assert float(value) == float(found["monthly_charges"])
        (said,) = connection.execute(
            f"SELECT churn.predict_v1(c) FROM (SELECT * REPLACE ('{value}'::{kind} AS monthly_charges) FROM customers"
            f" WHERE customer_id = {key}) c"
        ).fetchone()
        assert note.endswith(f"gives {said}")
        seen += 1
    assert seen > 2


def test_a_row_with_nothing_to_say_claims_no_more_than_was_tried(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    claims = [flips(connection, f"churn.why({key})").get(None) for key in range(1, 40)]

    assert {note for _, note in filter(None, claims)} == {
        "no change of one input that was tried here gives another label; sqlml why tries more"
    }


@pytest.mark.parametrize("kind", ["BIGINT", "DECIMAL(9, 2)"])
@pytest.mark.parametrize("key", ["3.7001", "true", "0x4", "4abc"])
def test_a_key_is_not_rounded_to_another_row(connection: Any, kind: str, key: str) -> None:
    connection.execute(f"ALTER TABLE customers ALTER customer_id TYPE {kind}")
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    asked = [f"'{key}'"] + ([key] if key in ("true", "3.7001") else [])
    for given in asked:
        rows = connection.execute(f"SELECT note FROM churn.why({given}) WHERE section = 'prediction'").fetchall()
        assert rows == [("there is none for this key; customers has no such row",)]
    for function in (lambda: lineage.of_key(connection, "churn", [key]), lambda: sqlml.why(connection, "churn", key)):
        with pytest.raises((DatabaseError, NotDeployed, sqlml.errors.UsageError), match=r"no prediction|no key"):
            function()
    for given in ("4", "'4'", "4.0", "'4.0'", "4::UTINYINT", "4::DOUBLE"):
        found = connection.execute(f"SELECT value FROM churn.why({given}) WHERE item = 'customer_id'").fetchone()
        assert found is not None
        assert connection.execute(f"SELECT count(*) FROM churn.why({given}) WHERE item = 'scoring_id'").fetchone() == (
            1,
        )
    assert len(lineage.of_key(connection, "churn", ["4.0"]).predictions) == 1
