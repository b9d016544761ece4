"""What deploys and scorings tell an OpenLineage receiver."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.errors import KeyRefused, NotDeployed
from sqlml.openlineage import sending
from sqlml.sql import quote
from tests.deploy.conftest import fill
from tests.openlineage import conformity

pytestmark = pytest.mark.usefixtures("converted")


class Told:
    """A file that the client appends events to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def events(self) -> list[dict[str, Any]]:
        assert sending.finish() is None
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def names(self) -> list[tuple[str, str]]:
        return [(event["eventType"], event["job"]["name"].split(".")[-1]) for event in self.events()]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = {name: os.environ[name] for name in os.environ if name.startswith("OPENLINEAGE")}
    for name in before:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sending, "_sender", None)
    yield
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:  # the client itself sets some
        del os.environ[name]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    transport = {"type": "file", "log_file_path": str(tmp_path / "events.jsonl"), "append": True}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
    return Told(tmp_path / "events.jsonl")


@pytest.fixture
def connection(customer_rows: object) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 300)
        opened.execute(
            "CREATE VIEW enriched AS SELECT customer_id, tenure + 0 AS tenure, monthly_charges, contract FROM customers"
        )
        yield opened


def fields(dataset: dict[str, Any], column: str) -> set[tuple[str, str, str]]:
    """What the column is made of: dataset, column, and how."""
    found = dataset["facets"]["columnLineage"]["fields"][column]["inputFields"]
    return {(f["name"], f["field"], f["transformations"][0]["subtype"]) for f in found}


def test_every_event_is_as_the_specification_says(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1", table="enriched", key="customer_id")
    connection.execute("UPDATE customers SET tenure = NULL WHERE customer_id <= 3")
    sqlml.score(connection, "churn")
    events = told.events()

    assert [(e["eventType"], e["job"]["name"]) for e in events] == [
        ("START", "memory.churn.deploy"),
        *[("START", "memory.churn.score"), ("COMPLETE", "memory.churn.score")] * 2,
        ("COMPLETE", "memory.churn.deploy"),
        ("START", "memory.churn.score"),
        ("COMPLETE", "memory.churn.score"),
    ]
    for event in events:
        conformity.check_event(event)


def test_a_check_that_could_not_fail_would_prove_nothing(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    event = told.events()[1]
    damaged = [
        {**event, "eventTime": "today"},
        {**event, "eventType": "DONE"},
        {**event, "run": {**event["run"], "runId": "4711"}},
        {**event, "job": {**event["job"], "color": "red"}},
    ]
    facets = event["outputs"][0]["facets"]
    for broken in ({"fields": {"prediction": {}}}, {"fields": None}, {"fields": {}, "_producer": None}, {"other": 1}):
        worse = {**facets, "columnLineage": {**facets["columnLineage"], **broken}}
        damaged.append({**event, "outputs": [{**event["outputs"][0], "facets": worse}]})

    for each in damaged:
        with pytest.raises(conformity.jsonschema.ValidationError):
            conformity.check_event(each)


def test_a_scoring_says_what_it_read_and_wrote_column_by_column(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1", table="enriched", key="customer_id")
    connection.execute("UPDATE customers SET tenure = NULL WHERE customer_id <= 3")
    scored = sqlml.score(connection, "churn")
    assert isinstance(scored, sqlml.Scored)
    event = told.events()[-1]
    (view, table, model), (output,) = event["inputs"], event["outputs"]

    assert event["run"]["runId"] == scored.scoring_id
    assert (view["namespace"], view["name"], table["name"]) == (
        "duckdb://:memory:", "memory.main.enriched", "memory.main.customers"
    )  # fmt: skip
    assert view["inputFacets"]["dataQualityMetrics"]["rowCount"] == 300
    assert fields(view, "tenure") == {("memory.main.customers", "tenure", "TRANSFORMATION")}
    assert model["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert output["name"] == "memory.churn.predictions_v1"
    assert fields(output, "customer_id") == {("memory.main.customers", "customer_id", "IDENTITY")}
    made_of = {("memory.main.customers", c, "TRANSFORMATION") for c in ("tenure", "monthly_charges", "contract")}
    assert fields(output, "prediction") == fields(output, "probability_Yes") == made_of
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 3
    quality = output["facets"]["dataQualityMetrics"]
    assert (quality["rowCount"], quality["columnMetrics"]["prediction"]["nullCount"]) == (3, 3)
    assert "input_hash" in [field["name"] for field in output["facets"]["schema"]["fields"]]


def test_a_deploys_scoring_names_it_as_its_parent(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    sqlml.score(connection, "churn")
    deploy, *scorings, _, _, _ = told.events()

    for event in scorings:
        parent = event["run"]["facets"]["parent"]
        assert (parent["run"]["runId"], parent["job"]["name"]) == (deploy["run"]["runId"], "memory.churn.deploy")
    assert "parent" not in told.events()[-1]["run"]["facets"]


def test_a_scoring_that_fails_says_so_and_is_not_completed(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    connection.execute("INSERT INTO customers SELECT * FROM customers LIMIT 1")
    with pytest.raises(KeyRefused):
        sqlml.score(connection, "churn")

    failed = told.events()[-1]
    conformity.check_event(failed)
    assert (failed["eventType"], failed["job"]["name"]) == ("FAIL", "memory.churn.score")
    assert "customer_id" in failed["run"]["facets"]["errorMessage"]["message"]


def test_a_deploy_that_fails_before_it_has_a_name_goes_by_its_reference(
    connection: Any, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_: Any, **__: Any) -> Any:
        raise NotDeployed("no such model")

    monkeypatch.setattr("sqlml.deploy.routine.prepare", prepare)
    with pytest.raises(NotDeployed):
        sqlml.deploy_db(connection, "churn:1")

    start, fail = told.events()
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert start["job"]["name"] == fail["job"]["name"] == "memory.churn:1.deploy"


def test_functions_without_a_table_are_the_output_of_their_deploy(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1")
    start, complete = told.events()

    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert complete["outputs"][0]["name"] == "memory.churn.predict_v1"
    assert complete["outputs"][0]["facets"]["datasetType"]["datasetType"] == "FUNCTION"


def test_files_are_named_as_files(connection: Any, told: Told, tmp_path: Path) -> None:
    sqlml.deploy_db(connection, "churn:1")
    connection.execute(f"COPY customers TO '{tmp_path}/in.parquet'")
    sqlml.score_to(connection, "churn", f"{tmp_path}/in.parquet", f"{tmp_path}/out.parquet", key=["customer_id"])
    event = told.events()[-1]
    conformity.check_event(event)

    assert (event["inputs"][0]["namespace"], event["inputs"][0]["name"]) == ("file", f"{tmp_path}/in.parquet")
    assert (event["outputs"][0]["namespace"], event["outputs"][0]["name"]) == ("file", f"{tmp_path}/out.parquet")
    assert (f"{tmp_path}/in.parquet", "tenure", "TRANSFORMATION") in fields(event["outputs"][0], "prediction")


def test_a_source_of_another_deployments_predictions_ends_at_their_table(connection: Any, told: Told) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
    connection.execute(
        'CREATE VIEW next AS SELECT c.customer_id, c.tenure, p."probability_Yes" AS monthly_charges, c.contract'
        " FROM customers c JOIN churn.current p USING (customer_id)"
    )
    sqlml.deploy_db(connection, "churn:2", name="risk", table="next", key="customer_id")

    output = told.events()[-1]["outputs"][0]
    assert ("memory.churn.predictions_v1", "probability_Yes", "TRANSFORMATION") in fields(output, "prediction")


@pytest.mark.parametrize("name", ["se lect", 'a"b', "it's", "naïve", "a.b"])
def test_any_name_is_told(connection: Any, told: Told, name: str) -> None:
    connection.execute(f"CREATE TABLE {quote(name)} AS FROM customers")
    sqlml.deploy_db(connection, "churn:1", name="churn", table=quote(name), key="customer_id")
    event = told.events()[-1]
    conformity.check_event(event)

    assert event["inputs"][0]["name"] == f"memory.main.{name}"


def test_without_a_configuration_nothing_is_made(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")

    assert sending._sender is None


def test_a_configuration_that_cannot_work_is_said_in_the_log(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_CONFIG", "nowhere.yml")
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")

    (log,) = connection.execute("SELECT log FROM sqlml.jobs").fetchone()
    assert sum("nowhere.yml" in line for line in log) == 1


@pytest.mark.parametrize("kind", ["refused", "black hole"])
def test_a_dead_receiver_costs_a_scoring_next_to_nothing(
    connection: Any, monkeypatch: pytest.MonkeyPatch, unused_port: int, kind: str
) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")

    def seconds(url: str | None) -> float:
        monkeypatch.setenv("OPENLINEAGE_DISABLED", "false" if url else "true")
        monkeypatch.setenv("OPENLINEAGE_URL", url or "")
        began = time.perf_counter()
        sqlml.score(connection, "churn", all_rows=True)
        return time.perf_counter() - began

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{unused_port if kind == 'refused' else silent.getsockname()[1]}"
        seconds(url)
        while not sending.sender().is_started:  # its import, once a process, takes processor time from everybody
            time.sleep(0.01)
        without, told = [seconds(None)], [seconds(url)]
        while min(told) - min(without) > 0.05 and len(told) < 15:  # a machine with other work needs more tries
            without.append(seconds(None))
            told.append(seconds(url))

    assert min(told) - min(without) < 0.05
    log = [line for (lines,) in connection.execute("SELECT log FROM sqlml.jobs").fetchall() for line in lines]
    assert any("the receiver of OpenLineage events has not answered yet" in line for line in log)
