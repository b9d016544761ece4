"""`sqlml deploy churn:Production` from a real HBase: straight from it, and through an MLflow server that has the plugin."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import happybase
import pytest

import sqlml
from sqlml import cli
from sqlml.cli import exits
from sqlml.demo.customers import customers
from sqlml.errors import ArtifactError, SqlmlError
from sqlml.hbase import files, layout
from sqlml.hbase.layout import MANIFEST_COLUMN
from sqlml.hbase.store import Store, open_store
from tests.hbase.mlflow_models import NAME, Logged, fitted, log_churn, tracking
from tests.registry.serving import mlflow_server


@pytest.fixture(scope="module")
def table(hbase: Any) -> Iterator[Store]:
    store = open_store(f"hbase://{hbase.host}:{hbase.port}/deploying")
    store.gateway.create_table()
    yield store
    store.close()


@dataclass(frozen=True)
class Registry:
    """`churn`, with the alias Production; `folder` is where its files are in the table, `database` is MLflow's own."""

    uri: str
    database: str
    folder: str
    churn: Logged


@pytest.fixture(scope="module", params=["direct", "proxied"])
def registry(
    request: pytest.FixtureRequest, table: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("mlflow")
    database = f"sqlite:///{folder}/mlflow.db"
    place = f"{table.location.uri}/{request.param}"
    if request.param == "direct":
        yield _registered(database, database, table, place)
    else:
        with mlflow_server(database, place, folder) as uri:
            yield _registered(uri, database, table, None)


def _registered(uri: str, database: str, table: Store, location: str | None) -> Registry:
    import mlflow

    with tracking(uri):
        client = mlflow.MlflowClient()
        churn = log_churn(client.create_experiment("churn", artifact_location=location))
        client.set_registered_model_alias(NAME, "Production", churn.version)
    [model] = [
        file.path for file in files.below(table.gateway, "") if f"/{churn.model_id}/artifacts/MLmodel" in file.path
    ]
    return Registry(uri, database, model.removesuffix("/MLmodel"), churn)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.register("rows", customers())
        connection.execute("CREATE TABLE customers AS SELECT * FROM rows ORDER BY customer_id LIMIT 300")
    return path


def assert_predicted(warehouse: Path) -> None:
    """Each stored prediction is the model's own."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT c.*, s.prediction FROM customers c JOIN churn.scored s USING (customer_id)"
        ).df()
    assert len(rows) == 300
    assert rows["prediction"].tolist() == fitted().predict(rows).tolist()


def assert_recorded(warehouse: Path, table: Store, registry: Registry) -> None:
    """The catalog names table, object and sha256 of each file, as HBase has them."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        [row] = connection.execute("SELECT artifact_store, artifact_files FROM sqlml.versions").fetchall()
    store, brought = (json.loads(text) for text in row)
    assert (store["store"], store["place"], store["table"], store["path"]) == (
        "hbase",
        table.location.place,
        table.location.table,
        registry.folder,
    )
    stored = {
        file.path.removeprefix(f"{registry.folder}/"): (file.manifest.object, file.manifest.size, file.manifest.sha256)
        for file in files.below(table.gateway, registry.folder)
    }
    assert {file["path"]: (file["object"], file["size"], file["sha256"]) for file in store["files"]} == stored
    assert {file["path"]: (file["size"], file["sha256"]) for file in brought} == {
        path: (size, sha256) for path, (_, size, sha256) in stored.items()
    }


def test_deploy_db_brings_the_model_from_hbase(registry: Registry, table: Store, warehouse: Path) -> None:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(connection, "churn:Production", table="customers", key="customer_id", tracking_uri=registry.uri)
    assert_predicted(warehouse)
    assert_recorded(warehouse, table, registry)


def test_the_command_line_brings_the_model_from_hbase(
    registry: Registry, table: Store, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(warehouse.parent)
    settings = (
        f'database = "warehouse.duckdb"\ntracking_uri = "{registry.uri}"\n'
        '[deployments.churn]\ntable = "customers"\nkey = "customer_id"\n'
    )
    Path("sqlml.toml").write_text(settings, encoding="utf-8")

    assert cli.run(["deploy", "churn:Production"]) == exits.DONE

    assert_predicted(warehouse)
    assert_recorded(warehouse, table, registry)


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def chunk(registry: Registry, table: Store, hbase: Any) -> Iterator[tuple[Any, bytes, bytes, str]]:
    """happybase's table, the row and cell of the first chunk of model.pkl, and its object; put back at the end."""
    file = files.require(table.gateway, f"{registry.folder}/model.pkl")
    row = b"d/%s/00000000" % file.manifest.object.encode()
    connection = happybase.Connection(hbase.host, hbase.port, timeout=60_000)
    try:
        raw = connection.table("deploying")
        cell = raw.row(row)[b"d:c"]
        yield raw, row, cell, file.manifest.object
        raw.put(row, {b"d:c": cell})
    finally:
        connection.close()


def flipped(row: bytes, cell: bytes, *, checksum: bool) -> bytes:
    """The cell with one bit of its payload changed; with a `checksum` that is right for it, or the old one."""
    payload = bytearray(cell[4:])
    payload[len(payload) // 2] ^= 1
    right = zlib.crc32(payload, zlib.crc32(row)).to_bytes(4, "big")
    return (right if checksum else cell[:4]) + bytes(payload)


@pytest.mark.parametrize("checksum", [False, True], ids=["a wrong checksum", "a right checksum"])
def test_a_flipped_bit_is_refused_before_conversion_and_changes_nothing(
    registry: Registry, chunk: Any, warehouse: Path, monkeypatch: pytest.MonkeyPatch, checksum: bool
) -> None:
    raw, row, cell, object_ = chunk
    raw.put(row, {b"d:c": flipped(row, cell, checksum=checksum)})
    monkeypatch.setattr("sqlml.convert.open_worker", None)
    before = contents(warehouse)

    began = time.monotonic()
    with sqlml.connect(warehouse) as connection, pytest.raises(ArtifactError) as raised:
        sqlml.deploy_db(connection, "churn:Production", table="customers", key="customer_id", tracking_uri=registry.uri)

    assert time.monotonic() - began < 10
    for part in (
        f"{registry.folder}/model.pkl",
        "HBase table deploying at",
        object_,
        "sqlml hbase fsck",
        "Log and register",
    ):
        assert part in str(raised.value)
    assert "\\" not in str(raised.value)
    assert len(str(raised.value)) < 1000
    assert contents(warehouse) == before


def test_a_flipped_bit_is_told_to_mlflows_own_client_at_once_too(
    registry: Registry, chunk: Any, tmp_path: Path
) -> None:
    import mlflow

    raw, row, cell, object_ = chunk
    raw.put(row, {b"d:c": flipped(row, cell, checksum=True)})

    began = time.monotonic()
    with tracking(registry.uri), pytest.raises(Exception, match=f"object {object_}.*HBase table deploying"):
        mlflow.artifacts.download_artifacts("models:/churn@Production", dst_path=str(tmp_path))

    assert time.monotonic() - began < 10
    assert not (tmp_path / "model.pkl").exists()


def test_a_missing_file_is_refused_too(registry: Registry, table: Store, warehouse: Path) -> None:
    """Nobody took it out by way of MLflow: its row has another one's record."""
    row = layout.manifest_row(f"{registry.folder}/model.pkl")
    kept = table.gateway.get(row, MANIFEST_COLUMN, doing="keeping it")
    assert kept is not None
    tombstone = layout.encoded(layout.Tombstone(layout.new_id(), ""))
    table.gateway.put(row, MANIFEST_COLUMN, tombstone, doing="taking it away")
    try:
        with sqlml.connect(warehouse) as connection, pytest.raises(ArtifactError, match=r"MLmodel names 'model\.pkl'"):
            sqlml.deploy_db(connection, "churn:Production", tracking_uri=registry.uri)
    finally:
        table.gateway.put(row, MANIFEST_COLUMN, kept.value, doing="putting it back")


# --- no answer -----------------------------------------------------------------------------------------------------


def test_an_hbase_that_does_not_answer_is_said_in_seconds(
    registry: Registry, warehouse: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    gone = f"hbase://127.0.0.1:{unused_port}/t/p"
    monkeypatch.setenv("SQLML_HBASE_FIRST_CONTACT", "0.5")
    with ExitStack() as stack:
        uri, reference = registry.uri, "churn:Production"
        if registry.uri == registry.database:
            reference = "gone:1"
            with tracking(uri):
                mlflow.MlflowClient().create_registered_model("gone")
                mlflow.MlflowClient().create_model_version("gone", source=gone)
        else:
            uri = stack.enter_context(mlflow_server(registry.database, gone, warehouse.parent))

        began = time.monotonic()
        with sqlml.connect(warehouse) as connection, pytest.raises(SqlmlError) as raised:
            sqlml.deploy_db(connection, reference, tracking_uri=uri)
        seconds = time.monotonic() - began

    assert f"HBase at 127.0.0.1:{unused_port} refused the connection (while listing" in str(raised.value)
    # MLflow's own patience with a server that fails is more than four minutes.
    assert seconds < 10


def test_a_gateway_that_is_not_allowed_here_is_refused(
    registry: Registry, warehouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    with tracking(registry.uri):
        mlflow.MlflowClient().create_registered_model("elsewhere")
        mlflow.MlflowClient().create_model_version("elsewhere", source="hbase://hbase.example:9090/t/p")

    arguments = ["--database", str(warehouse), "--tracking-uri", registry.uri]
    assert cli.run(["deploy", "elsewhere:1", *arguments]) == exits.REFUSED

    assert "SQLML_HBASE_ALLOW=hbase.example:9090" in capsys.readouterr().err


def contents(warehouse: Path) -> list[Any]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return connection.execute(
            "SELECT schema_name, table_name, estimated_size FROM duckdb_tables()"
            " UNION ALL SELECT schema_name, function_name, 0 FROM duckdb_functions() WHERE NOT internal ORDER BY ALL"
        ).fetchall()
