"""A real registry whose aliases tests move, under deployments whose conversions are taken from the session's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pytest

import sqlml
import sqlml.deploy.routine
from sqlml import registry, sql
from sqlml.catalog import following, records, states
from sqlml.catalog.migrations import migrate
from sqlml.database import atomic
from sqlml.deploy.deployment import Deployed
from sqlml.deploy.switch import switch
from sqlml.signature import Signature


@dataclass
class Followed:
    """A database, and a registry with `churn` v1 and v2 in it, v1 with the alias Production."""

    connection: Any
    registry: Any
    deploying: Any

    @property
    def uri(self) -> str:
        return str(self.registry.uri)

    @property
    def client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(self.uri, self.uri)

    def alias(self, number: int, name: str = "Production") -> None:
        self.client.set_registered_model_alias("churn", name, str(number))

    def register(self, like: str = "1") -> int:
        """One more version, with the files of another one."""
        other = self.client.get_model_version("churn", like)
        files = self.client.get_model_version_download_uri("churn", like)
        return int(self.client.create_model_version("churn", files, other.run_id).version)

    def deploy(self, reference: str = "churn:Production", **options: Any) -> Any:
        return self.deploying(self.connection, reference, tracking_uri=self.uri, **options)

    def deploy_first(self, reference: str = "churn:Production", **options: Any) -> Any:
        return self.deploy(reference, table="customers", key="customer_id", **options)

    def sync(self, name: str | None = None, **options: Any) -> Any:
        return sqlml.sync(self.connection, name, **options)

    def what(self, name: str | None = None, **options: Any) -> list[str]:
        return [outcome.what for outcome in self.sync(name, **options).outcomes]

    def states(self, name: str = "churn") -> list[str]:
        return [version.state for version in records.versions(self.connection, name)]

    def jobs(self) -> int:
        return int(self.connection.execute("SELECT count(*) FROM sqlml.jobs").fetchone()[0])


def staged(
    connection: Any,
    reference: str,
    *,
    name: str | None = None,
    shadow: bool = False,
    follow: str | None = None,
    engine: str = "auto",
    threshold: float | None = None,
    why: str | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    **others: Any,
) -> Deployed:
    """What a deploy writes into the catalog, without any functions or predictions: a hundredth of its time."""
    model = registry.resolve(reference, tracking_uri=tracking_uri, registry_uri=registry_uri)
    name = name or model.name
    migrate(connection)
    made = version_of(model, reference, name, records.versions(connection, name), engine, threshold)
    is_new = made.state == states.PLANNED
    with atomic(connection, name):
        if records.find_deployment(connection, name) is None:
            now = records.now()
            connection.execute(sql.create_schema(name))
            records.insert_row(
                connection,
                "deployments",
                records.Deployment(name, None, model.name, None, (), False, False, None, 0, now, now),
            )
        if is_new:
            records.insert_row(connection, "versions", made)
        deployment = records.deployment(connection, name)
        if shadow:
            states.move(connection, name, made.version, states.SHADOW)
        elif deployment.active_version != made.version:
            switch(connection, deployment, made, action="activate", job_id="j", why=why, live_wanted=False)
    following.note(connection, made, reference, follow, shadow=shadow)
    state = states.state_of(connection, name, made.version)
    return Deployed(name, made.version, state, made.resolved, engine, "", is_new, None, None, None, "j", 0.1)


def version_of(
    model: Any, reference: str, name: str, known: list[records.Version], engine: str, threshold: float | None
) -> records.Version:
    """A planned one, or the one that is there already."""
    for version in known:
        if (version.model_version, version.run_id, version.threshold) == (str(model.number), model.run_id, threshold):
            return version
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(records.Version)}
    values |= dict.fromkeys(("artifact_sha256", "artifact_files", "model_sha256", "signature", "sqlml_version"), "")
    values |= {
        "deployment": name,
        "version": len(known) + 1,
        "state": states.PLANNED,
        "reference": reference,
        "resolved": model.description,
        "model_name": model.name,
        "model_version": str(model.number),
        "model_id": model.model_id,
        "run_id": model.run_id,
        "tracking_uri": model.tracking_uri,
        "registry_uri": model.registry_uri,
        "signature": Signature((), "regressor", "DOUBLE").to_json(),
        "engine": "sql" if engine == "auto" else engine,
        "engine_why": "asked for" if engine != "auto" else "small",
        "threshold": threshold,
        "key_columns": (),
        "duckdb_version": "",
        "deployed_by": "alex",
        "deployed_at": records.now(),
        "model_env": "auto",
    }
    return records.Version(**values)


@pytest.fixture
def followed(own_registry: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    """With deploys that only write into the catalog."""
    monkeypatch.setattr("sqlml.syncing.acting.deploy_db", staged)
    with duckdb.connect() as connection:
        yield Followed(connection, own_registry, staged)
