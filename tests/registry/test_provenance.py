"""From a store that records its files into a database that says which they were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli, lineage, registry
from sqlml.demo.customers import customers
from sqlml.errors import ArtifactError
from sqlml.lineage import tree
from tests.registry import recording_store
from tests.registry.conftest import located
from tests.registry.serving import mlflow_server

ROOT = Path(__file__).parents[2]
PLUGIN = "[mlflow.artifact_repository]\nrecorded = tests.registry.recording_store:RecordingStore\n"


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.register("rows", customers())
        connection.execute("CREATE TABLE customers AS SELECT * FROM rows ORDER BY customer_id LIMIT 200")
    return path


def deploy(path: Path, uri: str) -> list[str]:
    lines: list[str] = []
    with sqlml.connect(path) as connection:
        sqlml.deploy_db(
            connection,
            "churn:Production",
            table="customers",
            key="customer_id",
            tracking_uri=uri,
            listener=lambda line: lines.append(line.message),
        )
    return lines


def test_a_deployment_says_which_stored_files_it_is_made_of(
    recorded: Any, warehouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = deploy(warehouse, recorded.uri)

    with sqlml.connect(warehouse, read_only=True) as connection:
        [text] = connection.execute("SELECT artifact_store FROM sqlml.versions").fetchone() or ()
        rows = connection.execute(
            "SELECT from_name, to_name, how FROM sqlml.lineage WHERE from_kind = 'stored file' ORDER BY from_name"
        ).fetchall()
        found = lineage.of_deployment(connection, "churn")
        [status] = sqlml.status(connection)
    stored = json.loads(text)
    files = {file["path"]: file for file in stored["files"]}
    model = files["model.pkl"]
    assert any("each as recorded table models at 127.0.0.1:9090 recorded it" in line for line in lines)
    assert (stored["store"], stored["place"], stored["table"]) == ("recorded", "127.0.0.1:9090", "models")
    assert (
        f"recorded://127.0.0.1:9090/models/{stored['path']}/model.pkl",
        "churn v1",
        f"object {model['object']}, sha256 {model['sha256']}",
    ) in rows
    assert len(rows) == len(files)
    assert found.origin.artifact_store is not None
    assert json.loads(found.origin.artifact_store.to_json()) == stored
    assert status.to_dict()["artifact_store"]["table"] == "models"
    shown = list(tree.lines(tree.deployment_tree(found)))
    assert any(line.endswith(f"files: recorded table models at 127.0.0.1:9090, in {stored['path']}") for line in shown)
    assert any(f"model.pkl: object {model['object']}, sha256 {model['sha256'][:12]}" in line for line in shown)
    assert cli.run(["status", "--database", str(warehouse)]) == 0
    assert "recorded table models at 127.0.0.1:9090" in capsys.readouterr().out


def test_nothing_is_converted_or_written_when_a_byte_differs(
    recorded: Any, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in recorded.files("served", "model.pkl"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("the model was opened")

    monkeypatch.setattr("sqlml.convert.open_worker", never)
    with pytest.raises(ArtifactError, match=r"model\.pkl .* is not what recorded table models"):
        deploy(warehouse, recorded.uri)

    with duckdb.connect(str(warehouse)) as connection:
        schemas = connection.execute("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal").fetchall()
    assert schemas in ([("main",)], [])


@pytest.fixture
def proxied(registered: Any, tmp_path: Path) -> Iterator[str]:
    """`mlflow server` that keeps artifacts in a RecordingStore, for clients that do not have the plugin."""
    root = tmp_path / "store"
    store = registered.copied(tmp_path / "registry")
    for kept in ("served", "recorded"):
        shutil.copytree(store.artifacts, root / kept / "proxied")
    located(store, "mlflow-artifacts:")
    installed = tmp_path / "site" / "recording_store-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: recording-store\nVersion: 1\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text(PLUGIN, encoding="utf-8")
    destination = f"{recording_store.SCHEME}://{recording_store.PLACE}/{recording_store.TABLE}/proxied"
    environment = {"PYTHONPATH": f"{ROOT}:{installed.parent}", "RECORDING_STORE": str(root)}
    with mlflow_server(store.uri, destination, store.folder, environment) as uri:
        yield uri


@pytest.mark.slow
def test_the_stores_word_comes_through_an_mlflow_server(proxied: str, tmp_path: Path) -> None:
    version = registry.resolve("churn:Production", tracking_uri=proxied)

    artifact = registry.download(version, tmp_path / "model")

    assert version.location.startswith("mlflow-artifacts:")
    assert artifact.store is not None
    assert artifact.store.where == "recorded table models at 127.0.0.1:9090"
    assert artifact.store.path.startswith("proxied/models/m-")
    assert {file.path for file in artifact.store.files} >= {file.path for file in artifact.files}

    for path in (tmp_path / "store" / "served").rglob("model.pkl"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ArtifactError, match=r"model\.pkl of churn v1 .* is not what recorded table models"):
        registry.download(version, tmp_path / "changed")
