"""What MLflow is told about deployments, and what becomes of it while MLflow is away."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlml import jobs, registry, writing_back
from sqlml.catalog import records
from sqlml.catalog.migrations import KEEPS_WRITE_BACKS, migrate
from tests.lineage.test_lineage_queries import CHURN, deploy


class Deployed:
    """A catalog that says that `churn:1` of a registry is deployed; nothing is converted for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, own_registry: Any, name: str = "churn") -> None:
        self.connection, self.registry, self.name = connection, own_registry, name
        self.model = registry.resolve("churn:1", tracking_uri=own_registry.uri)
        connection.execute("CREATE TABLE IF NOT EXISTS customers (customer_id BIGINT, tenure BIGINT, fee DOUBLE)")
        deploy(connection, name, 1, CHURN, "customers")
        connection.execute(
            "UPDATE sqlml.versions SET model_name = 'churn', model_version = '1', run_id = ?, tracking_uri = $2,"
            " registry_uri = $2".replace("?", "$1"),
            [self.model.run_id, own_registry.uri],
        )
        self.record("activate", None, 1)

    def record(self, action: str, before: int | None, now: int | None, why: str | None = None) -> None:
        records.record_history(
            self.connection, self.name, action, who="alex", job_id="j1", why=why, from_version=before, to_version=now
        )

    def tags(self) -> tuple[dict[str, str], dict[str, str]]:
        """Of the model version and of the run."""
        import mlflow

        client = mlflow.MlflowClient(self.registry.uri, self.registry.uri)
        return client.get_model_version("churn", "1").tags, client.get_run(self.model.run_id).data.tags

    def pending(self) -> list[tuple[str, int, int]]:
        return self.connection.execute("SELECT deployment, version, tries FROM sqlml.write_backs").fetchall()


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        migrate(made)
        yield made


@pytest.fixture
def deployed(connection: duckdb.DuckDBPyConnection, own_registry: Any) -> Deployed:
    return Deployed(connection, own_registry)


def test_the_model_version_and_its_run_say_where_they_are_deployed(deployed: Deployed) -> None:
    writing_back.remember(deployed.connection, "churn", [1])
    done = writing_back.write_back(deployed.connection)

    assert (done.told, done.pending, deployed.pending()) == (("churn v1",), (), [])
    of_version, of_run = deployed.tags()
    for tags in (of_version, of_run):
        assert tags["sqlml.memory.churn.version"] == "1"
        assert tags["sqlml.memory.churn.state"] == "active"
        assert tags["sqlml.memory.churn.engine"] == "sql"
        assert [event["action"] for event in json.loads(tags["sqlml.memory.churn.history"])] == ["activate"]
    assert registry.DIGEST_TAG in of_version
    assert registry.DIGEST_TAG not in of_run


def test_what_was_told_may_be_told_again(deployed: Deployed) -> None:
    for _ in range(2):
        writing_back.remember(deployed.connection, "churn", [1])
        writing_back.write_back(deployed.connection)
    first = deployed.tags()
    writing_back.remember(deployed.connection, "churn", [1, 1])
    writing_back.remember(deployed.connection, "churn", [1])
    assert len(deployed.pending()) == 1
    writing_back.write_back(deployed.connection)

    assert deployed.tags() == first


def test_a_registry_that_is_away_is_told_when_it_is_back(deployed: Deployed) -> None:
    file = deployed.registry.folder / "mlflow.db"
    away = file.rename(file.with_name("away.db"))
    writing_back.remember(deployed.connection, "churn", [1])
    for tries in (1, 2):
        done = writing_back.write_back(deployed.connection)
        assert done.told == ()
        assert "does not exist" in done.pending[0][1]
        assert deployed.pending() == [("churn", 1, tries)]
    away.rename(file)

    assert writing_back.write_back(deployed.connection).told == ("churn v1",)
    assert deployed.pending() == []


def test_a_registry_that_is_away_is_asked_once_for_all_versions(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(deployed.connection, "churn", 2, CHURN, "customers")
    deployed.connection.execute(
        "UPDATE sqlml.versions SET run_id = 'r', tracking_uri = $1, registry_uri = $1", [deployed.registry.uri]
    )
    asked = []
    monkeypatch.setattr("sqlml.registry.tag", lambda model, tags: asked.append(model) or "away")
    writing_back.remember(deployed.connection, "churn", [1, 2])

    assert len(writing_back.write_back(deployed.connection).pending) == 2
    assert len(asked) == 1


def test_a_server_that_does_not_answer_is_asked_once_in_passing(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        deployed.connection.execute("UPDATE sqlml.versions SET tracking_uri = $1, registry_uri = $1", [uri])
        job = jobs.Job("rollback", "churn", tmp_path, keep=False)
        job.id = "j1"
        writing_back.after(deployed.connection, job, "churn")
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()

    assert deployed.pending() == [("churn", 1, 1)]
    assert "kept to be tried again" in job.lines[-1].message


def test_a_run_and_a_version_that_are_gone_are_nothing_to_try_again(deployed: Deployed) -> None:
    deployed.connection.execute("UPDATE sqlml.versions SET run_id = ?, model_version = '77'", ["0" * 32])
    writing_back.remember(deployed.connection, "churn", [1])

    assert writing_back.write_back(deployed.connection).pending == ()


def test_a_model_of_no_registry_is_nobodys_business(deployed: Deployed) -> None:
    deployed.connection.execute("UPDATE sqlml.versions SET run_id = NULL, model_version = NULL")
    writing_back.remember(deployed.connection, "churn", [1])

    assert deployed.pending() == []


def test_a_routine_tells_of_the_versions_that_its_history_names(deployed: Deployed, tmp_path: Path) -> None:
    job = jobs.Job("rollback", "churn", tmp_path, keep=False)
    job.id = "j1"
    deployed.connection.execute("UPDATE sqlml.versions SET state = 'undeployed'")
    deployed.record("undeploy", 1, None, why="no more")
    writing_back.after(deployed.connection, job, "churn")

    of_version, _ = deployed.tags()
    assert of_version["sqlml.memory.churn.state"] == "undeployed"
    assert json.loads(of_version["sqlml.memory.churn.history"])[0]["why"] == "no more"
    assert "where churn v1 is deployed" in job.lines[-1].message


def test_of_two_deployment_versions_of_one_model_version_the_active_one_counts(deployed: Deployed) -> None:
    connection = deployed.connection
    connection.execute(
        "INSERT INTO sqlml.versions SELECT * REPLACE (2 AS version, 'retired' AS state) FROM sqlml.versions"
    )
    deployed.record("activate", 1, 2)
    deployed.record("rollback", 2, 1)
    first, second = (writing_back.tags(connection, version) for version in records.versions(connection, "churn"))

    assert first == second
    assert (first["sqlml.memory.churn.version"], first["sqlml.memory.churn.state"]) == ("1", "active")
    assert len(json.loads(first["sqlml.memory.churn.history"])) == 3


def test_a_long_history_is_cut_at_its_old_end(deployed: Deployed) -> None:
    for number in range(60):
        deployed.record("activate", None, 1, why=f"{number} " + "x" * 800)
    (version,) = records.versions(deployed.connection, "churn")
    text = writing_back.tags(deployed.connection, version)["sqlml.memory.churn.history"]

    assert len(text) <= writing_back.LONGEST_TAG
    assert json.loads(text)[0]["why"].startswith("59 ")
    writing_back.remember(deployed.connection, "churn", [1])
    assert writing_back.write_back(deployed.connection).pending == ()


def test_any_name_makes_a_tag(connection: duckdb.DuckDBPyConnection, own_registry: Any) -> None:
    deployed = Deployed(connection, own_registry, "it's a \u2713 test")
    writing_back.remember(connection, deployed.name, [1])

    assert writing_back.write_back(connection).pending == ()
    assert deployed.tags()[0]["sqlml.memory.it_s a _ test.version"] == "1"


def test_a_file_of_an_older_catalog_is_left_alone(deployed: Deployed, tmp_path: Path) -> None:
    deployed.connection.execute("DROP TABLE sqlml.write_backs")
    deployed.connection.execute("DELETE FROM sqlml.migrations WHERE number >= ?", [KEEPS_WRITE_BACKS])

    writing_back.after(deployed.connection, jobs.Job("rollback", "churn", tmp_path, keep=False), "churn")
    assert writing_back.write_back(deployed.connection) == writing_back.WrittenBack((), ())


@pytest.mark.parametrize(
    ("source", "version", "uri"),
    [
        ('{"path": "dbfs:/t", "delta_table_version": 7, "delta_table_name": "main.t"}', "7", "dbfs:/t"),
        ('{"delta_table_name": "main.t", "delta_table_version": 0}', "0", "main.t"),
        ('{"path": "squad", "revision": "abc"}', "abc", "squad"),
        ('{"uri": "s3://b/x.parquet"}', None, "s3://b/x.parquet"),
        ("no JSON", None, "no JSON"),
        ("[1]", None, "[1]"),
    ],
)
def test_a_training_datasets_version_is_its_sources(
    own_registry: Any, source: str, version: str | None, uri: str
) -> None:
    own_registry.execute("UPDATE datasets SET dataset_source = ?", source)
    facts = registry.run_facts(registry.resolve("churn:1", tracking_uri=own_registry.uri))

    assert facts is not None
    assert (facts.datasets[0].version, facts.datasets[0].source) == (version, uri)
    assert replace(facts.datasets[0], version=None).version is None
