"""`sqlml deploy churn:Production` from a real HBase: directly, and through an MLflow server that alone has the plugin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import registry
from sqlml.demo.customers import customers
from sqlml.errors import SqlmlError
from tests.registry.conftest import located
from tests.registry.serving import mlflow_server


@pytest.fixture
def location(hbase: Any, table_name: str, registered: Any) -> str:
    """A folder in a table of its own, with the files of the demo's models."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    from sqlml.hbase.store import open_store

    uri = f"hbase://{hbase.host}:{hbase.port}/{table_name}/experiments"
    store = open_store(uri)
    store.gateway.create_table(doing="making the test's table")
    get_artifact_repository(uri).log_artifacts(str(registered.as_trained / registered.artifacts.name))
    store.close()
    return uri


@pytest.fixture(params=["direct", "as people write it", "proxied"])
def tracking_uri(request: pytest.FixtureRequest, location: str, own_registry: Any, tmp_path: Path) -> Iterator[str]:
    """The registry with its models in HBase, and nothing on this disk."""
    own_registry.artifacts.rename(tmp_path / "not read")
    scheme, _, rest = location.partition("://")
    server, table, path = rest.split("/")
    prefix = {"direct": location, "as people write it": f"{scheme}://{table}@{server}/{path}"}
    located(own_registry, prefix.get(request.param, "mlflow-artifacts:"))
    with ExitStack() as stack:
        uri = own_registry.uri
        if request.param == "proxied":
            uri = stack.enter_context(mlflow_server(own_registry.uri, location, own_registry.folder))
        yield uri


def test_a_deployment_names_table_object_and_hash(tracking_uri: str, location: str, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with sqlml.connect(path) as connection:
        connection.register("rows", customers())
        connection.execute("CREATE TABLE customers AS SELECT * FROM rows ORDER BY customer_id LIMIT 200")
        sqlml.deploy_db(connection, "churn:Production", table="customers", key="customer_id", tracking_uri=tracking_uri)

    with duckdb.connect(str(path), read_only=True) as plain:
        [predictions] = plain.execute("SELECT count(prediction) FROM churn.current").fetchone() or ()
        files, store = plain.execute("SELECT artifact_files, artifact_store FROM sqlml.versions").fetchone() or ()
        edges = plain.execute("SELECT from_name FROM sqlml.lineage WHERE from_kind = 'stored file'").fetchall()
    stored = json.loads(store)
    assert predictions == 200
    assert f"hbase://{stored['place']}/{stored['table']}/{stored['path']}".startswith(f"{location}/models/m-")
    assert {(f["path"], f["size"], f["sha256"]) for f in stored["files"]} == {
        (f["path"], f["size"], f["sha256"]) for f in json.loads(files)
    }
    assert all(len(f["object"]) == 32 for f in stored["files"])
    assert (f"hbase://{stored['place']}/{stored['table']}/{stored['path']}/model.pkl",) in edges


def test_a_version_whose_files_hbase_does_not_have_is_refused(hbase: Any, own_registry: Any, tmp_path: Path) -> None:
    located(own_registry, f"hbase://{hbase.host}:{hbase.port}/no_such_table/experiments")

    with pytest.raises(SqlmlError, match="no_such_table"):
        registry.download(registry.resolve("churn:1", tracking_uri=own_registry.uri), tmp_path / "model")
