"""Whatever a person names is data: a hostile name is only a name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sqlml
from sqlml.errors import NameRefused, UsageError
from tests.deploy.conftest import fill

HOSTILE = [
    "select",
    "my model",
    'a"b',
    "it's",
    "naïve",
    "x; DROP TABLE customers; --",
    "r",
    "a.b",
    "%",
    "Ünïcode ☃",
    "'); --",
]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture
def connection(customer_rows: object) -> Any:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 30)
        yield opened


def works_everywhere(connection: Any, name: str) -> None:
    """Deploy, use every object, replace, roll back, score, undeploy: nothing else in the database changes."""
    sqlml.deploy_db(connection, "churn:1", name=name, table="customers", key="customer_id", live=True)
    schema = quoted(name)
    assert connection.execute(f"SELECT count({schema}.predict(c)) FROM customers c").fetchone() == (30,)
    assert connection.execute(f"SELECT count(*) FROM {schema}.current").fetchone() == (30,)
    assert connection.execute(f"SELECT count(prediction) FROM {schema}.scored").fetchone() == (30,)
    assert connection.execute(f"SELECT count(*) FROM {schema}.predict_table('customers')").fetchone() == (30,)
    assert connection.execute("SELECT count(*) FROM sqlml.predict(?, 'customers')", [name]).fetchone() == (30,)
    sqlml.deploy_db(connection, "churn:2", name=name)
    sqlml.rollback(connection, name, why="it's; DROP SCHEMA sqlml; --")
    connection.execute("UPDATE customers SET tenure = tenure + 1")
    assert sqlml.score(connection, name).rows == 0
    assert sqlml.verify(connection, name, original=False).passed
    sqlml.undeploy(connection, name, drop_predictions=True)
    schemas = connection.execute("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal ORDER BY ALL").fetchall()
    assert schemas == [("sqlml",)]
    assert connection.execute("SELECT count(*) FROM customers").fetchone() == (30,)


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_deployment_may_have_any_name(connection: Any, name: str) -> None:
    works_everywhere(connection, name)


@pytest.mark.usefixtures("converted")
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), min_size=1, max_size=40))
def test_a_deployment_may_have_any_name_that_hypothesis_finds(customer_rows: object, name: str) -> None:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 30)
        try:
            works_everywhere(opened, name)
        except (NameRefused, UsageError):
            assert not name.strip() or name.lower() in ("main", "temp", "system", "memory", "sqlml")


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize("name", ["main", "SQLML", "memory", "temp", "information_schema", "taken"])
def test_names_that_cannot_be_a_schema_of_ours_are_refused(connection: Any, name: str) -> None:
    connection.execute("CREATE SCHEMA taken")
    with pytest.raises(NameRefused, match="--name"):
        sqlml.deploy_db(connection, "churn:1", name=name, table="customers", key="customer_id")


@pytest.mark.usefixtures("converted")
def test_a_blank_name_is_no_name(connection: Any) -> None:
    with pytest.raises(UsageError, match="--name"):
        sqlml.deploy_db(connection, "churn:1", name="  ", table="customers", key="customer_id")


@pytest.mark.usefixtures("converted")
def test_a_name_that_differs_only_in_case_is_refused(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    with pytest.raises(NameRefused, match="only in case"):
        sqlml.deploy_db(connection, "churn:1", name="Churn", table="customers", key="customer_id")


LABELS = ["it's", 'say "no"', "Select", "select", ""]


@pytest.fixture(scope="module")
def hostile_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Columns and labels with every kind of hostile name."""
    import mlflow
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(0)
    rows = pd.DataFrame({name: rng.random(300) for name in HOSTILE[:-1]})
    rows[HOSTILE[-1]] = rng.choice(["'", '"', "; --", "é"], 300)
    labels = rng.choice(LABELS, 300)
    encode = make_column_transformer((OneHotEncoder(), [HOSTILE[-1]]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(rows, labels)
    path = tmp_path_factory.mktemp("hostile") / "x; DROP TABLE t; --"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = mlflow.models.infer_signature(rows, labels)
        mlflow.sklearn.save_model(
            model, path, signature=signature, serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )
    rows.insert(0, 'the "key"', range(300))
    rows.to_parquet(path.parent / "rows.parquet")
    return path


def test_columns_keys_tables_and_labels_may_have_any_name(hostile_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "x y; --.duckdb"
    with sqlml.connect(file) as connection:
        connection.execute(f'CREATE TABLE "it\'s""a"" table" AS FROM \'{hostile_model.parent / "rows.parquet"}\'')
        sqlml.deploy_db(
            connection,
            str(hostile_model),
            name="odd",
            table='it\'s"a" table',
            key=['the "key"'],
            live=True,
            function='pre"dict',
        )
        wrong = connection.execute(
            'SELECT count(*) FROM "it\'s""a"" table" t JOIN odd.current p USING ("the ""key""")'
            ' WHERE p.prediction IS DISTINCT FROM "pre""dict"(t)'
        ).fetchone()
        assert wrong == (0,)
        names = [row[0] for row in connection.execute("DESCRIBE odd.current").fetchall()]
        assert [n for n in names if n.startswith("probability_")] == [
            "probability_(empty)", "probability_Select", "probability_it's", 'probability_say "no"', "probability_select_2",
        ]  # fmt: skip
        assert sqlml.verify(connection, "odd", original=False).passed
    with duckdb.connect() as shell:
        shell.execute(f"ATTACH '{file}' AS \"x y\" (READ_ONLY)")
        count = 'SELECT count("x y".odd.predict(t)) FROM "x y"."it\'s""a"" table" t'
        assert shell.execute(count).fetchone() == (300,)
        assert shell.execute('SELECT count(*) FROM "x y".odd.current').fetchone() == (300,)
        assert shell.execute('SELECT count(prediction) FROM "x y".odd.scored').fetchone() == (300,)
