"""Deployments for tests: the demo's registered models, converted once, staged many times."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml.deploy.routine
import sqlml.planning
from sqlml import jobs
from sqlml.demo.customers import customers
from sqlml.deploy.deployment import options_from
from sqlml.deploy.prepare import Prepared, prepare
from sqlml.relation import find


@pytest.fixture(scope="session")
def customer_rows() -> object:
    """The telco customers as a DataFrame, `churn` left out."""
    return customers()


COMPOSITE = {
    "select": ("the day", 'a"b', "it's"),
    "people": ("shop", "id"),
    "parts": ("name",),
    "numbered": ("RowId",),
    "shifted": ("rowid", "id"),
    "events": ("amount", "day", "visit", "at"),
}
"""Tables of tests that have another key than the customers."""


@pytest.fixture
def warehouse(tmp_path: Path, customer_rows: object) -> Path:
    """A file with 400 customers in it."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        fill(connection, customer_rows)
    return path


def fill(connection: duckdb.DuckDBPyConnection, rows: object, number: int = 400) -> None:
    connection.register("customer_rows", rows)
    connection.execute(f"CREATE TABLE customers AS SELECT * FROM customer_rows ORDER BY customer_id LIMIT {number}")
    connection.unregister("customer_rows")


@pytest.fixture(scope="session")
def prepared_versions(customer_rows: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """Two small models, as `churn:1` and `churn:2`, converted and with the original's answers, bound to `customers`."""
    found = {}
    folder = tmp_path_factory.mktemp("small")
    with duckdb.connect() as connection:
        fill(connection, customer_rows)
        for number, strength in ((1, 1.0), (2, 0.001)):
            path = folder / f"model{number}"
            save_small_model(path, customer_rows, strength)
            options = options_from(str(path), name="churn", table="customers", key="customer_id")
            job = jobs.Job("test", None, folder, keep=False)
            made = prepare(connection, options, job, with_reference=True)
            found[f"churn:{number}"] = fewer_questions(made)
    return found


def save_small_model(path: Path, rows: Any, strength: float) -> None:
    import mlflow
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = rows[["tenure", "monthly_charges", "contract"]]
    encode = make_column_transformer(
        (StandardScaler(), ["tenure", "monthly_charges"]), (OneHotEncoder(handle_unknown="ignore"), ["contract"])
    )
    model = make_pipeline(encode, LogisticRegression(C=strength)).fit(features, rows["churn"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice about integer columns and pickles is not what is tested
        signature = mlflow.models.infer_signature(features, model.predict(features))
        mlflow.sklearn.save_model(
            model, path, signature=signature, serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )


def fewer_questions(prepared: Prepared) -> Prepared:
    """The same with thirty rows to compare: these tests are about transactions, and stage hundreds of versions."""
    questions = prepared.questions
    assert questions is not None
    keep = list(range(0, len(questions.rows), max(1, len(questions.rows) // 30)))
    reference = questions.reference
    fewer = dataclasses.replace(
        reference,
        prediction=[reference.prediction[i] for i in keep],
        scores=reference.scores[keep],
        error=[reference.error[i] for i in keep],
        unstable=reference.unstable[keep],
    )
    rows = dataclasses.replace(
        questions.rows,
        features=questions.rows.features.take(keep),
        **{
            field.name: [getattr(questions.rows, field.name)[i] for i in keep]
            for field in dataclasses.fields(questions.rows)
            if field.name in ("kinds", "origins")
        },
    )
    return dataclasses.replace(prepared, questions=dataclasses.replace(questions, rows=rows, reference=fewer))


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, prepared_versions: dict[str, Prepared]) -> None:
    """Take conversions from the session's: a test then costs what the database does, and no more.

    Everything after the conversion, the parity check through the deployed functions included, is the real thing.
    """

    def known(connection: object, options: object, job: jobs.Job, *, with_reference: bool) -> Prepared:
        made = prepared_versions[options.reference]  # type: ignore[attr-defined]
        known_already = _deployed(connection, options.name or made.name)  # type: ignore[attr-defined]
        relation = made.relation if options.key or known_already else None  # type: ignore[attr-defined]
        if options.table is not None:  # type: ignore[attr-defined]
            relation = find(connection, options.table)  # type: ignore[attr-defined,arg-type]
        return dataclasses.replace(
            made,
            name=options.name or made.name,  # type: ignore[attr-defined]
            relation=relation,
            keys=() if relation is None else COMPOSITE.get(relation.label, made.keys),
        )

    # Fewer batches too: each costs a query, and these tests stage hundreds of versions.
    monkeypatch.setattr("sqlml.parity.asking.LARGEST_SIZE", 40)
    monkeypatch.setattr("sqlml.parity.asking.WHOLE_SIZES", ())
    monkeypatch.setattr("sqlml.parity.asking.SMALL_SIZES", ())
    monkeypatch.setattr(sqlml.deploy.routine, "prepare", known)
    monkeypatch.setattr(sqlml.planning, "prepare", known)
    monkeypatch.setattr("sqlml.registry.tag", lambda model, tags: None)


def _deployed(connection: object, name: str) -> bool:
    from sqlml.catalog import records

    return records.find_deployment(connection, name) is not None  # type: ignore[arg-type]
