"""What is recorded for a deployment, and the three questions asked of it."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import UUID

import duckdb
import pytest

from sqlml import lineage
from sqlml.catalog import records
from sqlml.catalog.migrations import migrate
from sqlml.errors import BindingError, DatabaseError, NotDeployed, UsageError
from sqlml.lineage import tree
from sqlml.openlineage.describing import described
from sqlml.relation import find
from sqlml.signature import Column, Signature

WHEN = datetime(2026, 3, 1, 12, 0)
SCORING = UUID("11111111-2222-3333-4444-555555555555")
RUN = {
    "run_id": "run1",
    "experiment": "telco",
    "datasets": [{"name": "telco", "digest": "abc", "source": "customers.parquet", "context": "training"}],
}
CHURN = Signature((Column("tenure", "BIGINT"), Column("fee", "DOUBLE")), "classifier", "VARCHAR", ("No", "Yes"), True)
RISK = Signature((Column("prediction", "VARCHAR"), Column("tenure", "DOUBLE")), "regressor", "DOUBLE")


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    migrate(made)
    made.execute('CREATE TABLE customers (customer_id BIGINT, "Tenure" BIGINT, monthly DOUBLE)')
    made.execute("CREATE VIEW enriched AS SELECT customer_id, tenure, monthly * 2 AS fee FROM customers")
    deploy(made, "churn", 1, CHURN, "enriched", state="retired")
    deploy(made, "churn", 2, CHURN, "enriched")
    return made


def deploy(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    number: int,
    signature: Signature,
    source: str | None,
    key: tuple[str, ...] = ("customer_id",),
    state: str = "active",
) -> None:
    """What a deploy leaves behind, as far as lineage reads it."""
    if number == 1:
        connection.execute(f'CREATE SCHEMA "{name}"')
    if source is not None:
        keys = ", ".join(f"{column} BIGINT" for column in key)
        connection.execute(
            f'CREATE TABLE "{name}".predictions_v{number} ({keys}, prediction {signature.prediction}, error VARCHAR,'
            " input_hash UBIGINT, scoring_id UUID, scored_at TIMESTAMP)"
        )
    version = records.Version(
        deployment=name, version=number, state=state, reference=f"{name}:Production",
        resolved=f"{name} v{number} (alias Production)", model_name=name, model_version=str(number), model_id=None,
        run_id="run1", tracking_uri=None, registry_uri=None, artifact_uri="m", artifact_sha256="f" * 64,
        artifact_files="[]", run=json.dumps(RUN), model_sha256=str(number) * 64, signature=signature.to_json(),
        engine="sql", engine_why="small", threshold=None,
        prediction_table=None if source is None else f"predictions_v{number}", source=source, key_columns=key,
        sqlml_version="0.1.0", duckdb_version="2.0.0", deployed_by="alex", deployed_at=WHEN,
    )  # fmt: skip
    records.insert_row(connection, "versions", version)
    connection.execute("DELETE FROM sqlml.deployments WHERE name = ?", [name])
    records.insert_row(
        connection,
        "deployments",
        records.Deployment(name, number, name, source, key, False, False, None, 0, WHEN, WHEN),
    )
    lineage.record(connection, version, None if source is None else find(connection, source))


def insert_prediction(connection: duckdb.DuckDBPyConnection, table: str, key: int, prediction: str) -> None:
    connection.execute(f"INSERT INTO {table} VALUES (?, ?, NULL, 7, ?, ?)", [key, prediction, SCORING, WHEN])


def test_the_recorded_edges_lead_from_the_data_to_the_predictions(connection: duckdb.DuckDBPyConnection) -> None:
    found = connection.execute(
        "SELECT from_kind, from_name, to_kind, to_name, how FROM sqlml.lineage WHERE version = 2 ORDER BY rowid"
    ).fetchall()

    assert found == [
        ("dataset", "telco (abc)", "run", "run1", "customers.parquet"),
        ("run", "run1", "model version", "churn v2", "telco"),
        ("model version", "churn v2", "model", "2" * 64, "files ffffffffffff converted to ONNX"),
        ("model", "2" * 64, "version", "churn v2", "engine sql"),
        ("column", "customers.Tenure", "column", "enriched.Tenure", None),
        ("column", "customers.monthly", "column", "enriched.fee", "monthly * 2"),
        ("column", "customers.customer_id", "column", "enriched.customer_id", None),
        ("column", "enriched.Tenure", "feature", "tenure", None),
        ("column", "enriched.fee", "feature", "fee", None),
        ("column", "enriched.customer_id", "key", "customer_id", None),
        ("feature", "tenure", "version", "churn v2", None),
        ("feature", "fee", "version", "churn v2", None),
        ("version", "churn v2", "prediction", "churn.predictions_v2.prediction", None),
        ("version", "churn v2", "prediction", "churn.predictions_v2.probability_No", None),
        ("version", "churn v2", "prediction", "churn.predictions_v2.probability_Yes", None),
        ("version", "churn v2", "prediction", "churn.predictions_v2.error", None),
    ]


def test_of_deployment_gives_each_feature_down_to_the_table(connection: duckdb.DuckDBPyConnection) -> None:
    found = lineage.of_deployment(connection, "CHURN")

    assert (found.origin.version, found.origin.run_id, found.origin.datasets[0]["dataset"]) == (
        2,
        "run1",
        "telco (abc)",
    )
    assert {f.name: [b for c in f.made_of for b in c.bases()] for f in found.features} == {
        "tenure": ["customers.Tenure"],
        "fee": ["customers.monthly"],
    }
    json.dumps(found.to_dict(), default=str)


def test_of_deployment_reads_an_older_version(connection: duckdb.DuckDBPyConnection) -> None:
    assert lineage.of_deployment(connection, "churn", 1).origin.model_sha256 == "1" * 64


def test_of_deployment_names_the_deployments_there_are(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotDeployed, match="Did you mean 'churn'"):
        lineage.of_deployment(connection, "chrun")


def test_a_deployment_without_a_source_gives_its_function(connection: duckdb.DuckDBPyConnection) -> None:
    deploy(connection, "alone", 1, CHURN, None, key=())

    found = lineage.of_deployment(connection, "alone")

    assert found.predictions == ("alone.predict_v1",)
    assert all(feature.made_of == () for feature in found.features)


@pytest.mark.parametrize(
    "written", ["customers.tenure", "CUSTOMERS.TENURE", '"customers"."Tenure"', "main.customers.tenure"]
)
def test_of_column_is_found_however_it_is_written(connection: duckdb.DuckDBPyConnection, written: str) -> None:
    found = lineage.of_column(connection, written)

    assert [(u.deployment, u.version, u.feature, u.path) for u in found.uses] == [
        ("churn", 2, "tenure", ("customers.Tenure", "enriched.Tenure"))
    ]


def test_of_column_takes_the_columns_of_views(connection: duckdb.DuckDBPyConnection) -> None:
    assert [u.feature for u in lineage.of_column(connection, "enriched.fee").uses] == ["fee"]


def test_of_column_follows_another_deployments_predictions_after_a_switch(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute(
        "CREATE VIEW churn.scored AS SELECT e.customer_id, e.tenure, p.prediction FROM enriched e"
        " LEFT JOIN churn.predictions_v1 p USING (customer_id)"
    )
    deploy(connection, "risk", 1, RISK, "churn.scored")

    found = lineage.of_column(connection, "customers.monthly")

    assert [(u.deployment, u.feature, u.through) for u in found.uses] == [
        ("churn", "fee", ()),
        ("risk", "prediction", ("churn",)),
    ]


def test_of_column_says_where_it_cannot_know(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE VIEW made AS SELECT range AS customer_id, range AS tenure, 1.0 AS fee FROM range(3)")
    deploy(connection, "blind", 1, CHURN, "made")

    found = lineage.of_column(connection, "customers.tenure")

    assert {u.deployment for u in found.uses} == {"churn"}
    assert {(u["deployment"], u["column"]) for u in found.uncertain} == {
        ("blind", "made.tenure"),
        ("blind", "made.customer_id"),
    }


def test_a_view_that_was_replaced_is_shown_as_it_is_now(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "CREATE OR REPLACE VIEW enriched AS SELECT customer_id, 1 AS tenure, monthly AS fee FROM customers"
    )

    found = lineage.of_deployment(connection, "churn")

    assert found.changed
    assert [[c.kind for c in column.made_of] for f in found.features for column in f.made_of] == [
        ["constant"],
        ["column"],
    ]
    assert lineage.of_column(connection, "customers.tenure").uses == ()


def test_what_was_recorded_counts_where_less_is_known_now(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("ATTACH ':memory:' AS other")
    connection.execute("CREATE TABLE other.plans (customer_id BIGINT, tenure BIGINT, fee DOUBLE)")
    connection.execute("CREATE VIEW far AS SELECT customer_id, tenure, fee FROM other.plans")
    deploy(connection, "far_churn", 1, CHURN, "far")
    connection.execute("DETACH other")

    assert [u.deployment for u in lineage.of_column(connection, "other.main.plans.fee").uses] == ["far_churn"]


def test_a_source_that_is_gone_leaves_what_was_recorded(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DROP VIEW enriched")

    assert [u.feature for u in lineage.of_column(connection, "customers.tenure").uses] == ["tenure"]


def test_of_column_of_an_unused_column_is_empty(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("ALTER TABLE customers ADD COLUMN email VARCHAR")

    assert lineage.of_column(connection, "customers.email").uses == ()


@pytest.mark.parametrize(
    ("written", "error"), [("tenure", UsageError), ("customers.tenur", BindingError), ("custmers.tenure", BindingError)]
)
def test_of_column_refuses_what_is_not_there(
    connection: duckdb.DuckDBPyConnection, written: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        lineage.of_column(connection, written)


def test_of_key_leads_from_a_prediction_to_the_training_data(connection: duckdb.DuckDBPyConnection) -> None:
    insert_prediction(connection, "churn.predictions_v1", 4711, "No")
    insert_prediction(connection, "churn.predictions_v2", 4711, "Yes")
    connection.execute(
        "INSERT INTO sqlml.scorings (scoring_id, deployment, version, kind, source, target, state, hash_check,"
        " duckdb_version, sqlml_version, who, started_at) VALUES (?, 'churn', 2, 'full', 'enriched', 't', 'complete', 1,"
        " '2.0.0', '0.1.0', 'alex', ?)",
        [SCORING, WHEN],
    )

    found = lineage.of_key(connection, "churn", ["4711"])

    assert [(p.origin.version, p.outputs["prediction"]) for p in found.predictions] == [(2, "Yes"), (1, "No")]
    assert found.predictions[0].scoring["kind"] == "full"
    assert found.predictions[0].origin.model_sha256 == "2" * 64
    assert found.predictions[0].origin.datasets[0]["source"] == "customers.parquet"


@pytest.mark.parametrize("key", [["4711; DROP TABLE customers"], ["' OR 1=1 --"], ["x"]])
def test_key_values_are_data(connection: duckdb.DuckDBPyConnection, key: list[str]) -> None:
    insert_prediction(connection, "churn.predictions_v2", 4711, "Yes")

    with pytest.raises(UsageError, match="is no key of churn"):
        lineage.of_key(connection, "churn", key)


def test_of_key_wants_every_key_column(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UsageError, match="and 2 values were given"):
        lineage.of_key(connection, "churn", ["1", "2"])


def test_of_key_without_a_prediction_says_so(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DatabaseError, match="no prediction for customer_id = 99"):
        lineage.of_key(connection, "churn", [99])


def test_trees_show_the_whole_way(connection: duckdb.DuckDBPyConnection) -> None:
    insert_prediction(connection, "churn.predictions_v2", 5, "Yes")

    text = "\n".join(tree.lines(tree.deployment_tree(lineage.of_deployment(connection, "churn"))))
    column = "\n".join(tree.lines(tree.column_tree(lineage.of_column(connection, "customers.monthly"))))
    key = "\n".join(tree.lines(tree.key_tree(lineage.of_key(connection, "churn", [5]))))

    assert "dataset: telco (abc) from customers.parquet" in text
    assert "└─ customers.monthly" in text
    assert "customers.monthly -> enriched.fee -> feature fee" in column
    assert "its record is gone" in key


def test_a_thousand_features_are_recorded_at_once(connection: duckdb.DuckDBPyConnection) -> None:
    columns = tuple(Column(f"f{i}", "DOUBLE") for i in range(1000))
    connection.execute(f"CREATE TABLE wide (id BIGINT, {', '.join(f'f{i} DOUBLE' for i in range(1000))})")
    deploy(connection, "wide", 1, Signature(columns, "regressor", "DOUBLE"), "wide", key=("id",))

    assert len(lineage.of_deployment(connection, "wide").features) == 1000


def test_a_view_that_renames_a_column_to_other_letters_only_is_followed(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute('CREATE VIEW respelled AS SELECT customer_id, tenure AS "TENURE", fee FROM enriched')
    deploy(connection, "spelled", 1, CHURN, "respelled")

    (tenure, _) = lineage.of_deployment(connection, "spelled").features

    assert [base for column in tenure.made_of for base in column.bases()] == ["customers.Tenure"]


def test_a_column_that_millions_of_ways_lead_to_is_followed_and_shown_once(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    for number in range(30):
        before = f"mixed{number - 1}" if number else "enriched"
        connection.execute(
            f"CREATE VIEW mixed{number} AS SELECT customer_id, tenure + fee AS tenure, tenure - fee AS fee FROM {before}"
        )
    deploy(connection, "mixed", 1, CHURN, "mixed29")

    shown = list(tree.lines(tree.deployment_tree(lineage.of_deployment(connection, "mixed"))))
    [version] = records.versions(connection, "mixed")
    (source, *_), [output] = described(connection, version, find(connection, "mixed29"), None)

    assert 200 < len(shown) < 300
    assert any(line.endswith("mixed0.fee (tenure + fee): see above") for line in shown)
    assert {(made.column, made.subtype) for made in source.made_of["fee"]} == {
        ("Tenure", "TRANSFORMATION"),
        ("monthly", "TRANSFORMATION"),
    }
    assert {made.column for made in output.made_of["prediction"]} == {"Tenure", "monthly"}
