"""MLflow's ways with the store, on a real HBase: directly, through a server, with either database behind it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from sqlml import cli
from sqlml.cli import exits
from sqlml.hbase import files
from sqlml.hbase.store import Store, open_store
from tests.hbase import mlflow_client
from tests.hbase.mlflow_models import NAME, Logged, fitted, log_churn, some_rows, tracking
from tests.hbase.mlflow_processes import watched, without_sqlml
from tests.registry.serving import mlflow_server


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a database in which MLflow's tables are not yet."""
    if request.param == "mariadb":
        return str(request.getfixturevalue("mariadb").new_database())
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def table(hbase: Any, backend: str) -> Iterator[Store]:
    store = open_store(f"hbase://{hbase.host}:{hbase.port}/mlflow_{backend.partition(':')[0].partition('+')[0]}")
    store.gateway.create_table()
    yield store
    store.close()


def paths(store: Store, folder: str = "") -> list[str]:
    return [file.path for file in files.below(store.gateway, folder)]


def assert_clean(store: Store) -> None:
    """Every byte in the table is what was written, and there is nothing else."""
    assert cli.run(["hbase", "fsck", store.location.uri]) == exits.DONE


def collected(store: Store, capsys: pytest.CaptureFixture[str]) -> Any:
    """What `sqlml hbase gc` says that it removed."""
    capsys.readouterr()
    assert (
        cli.run(["hbase", "gc", store.location.uri, "--older-than", "0s", "--apply", "--orphans", "--json"])
        == exits.DONE
    )
    return json.loads(capsys.readouterr().out)


# --- directly ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Direct:
    uri: str
    location: str
    experiment_id: str
    churn: Logged


@pytest.fixture(scope="module")
def direct(backend: str, table: Store) -> Direct:
    """A registered model whose experiment is in HBase."""
    import mlflow

    location = f"{table.location.uri}/direct"
    with tracking(backend):
        experiment_id = mlflow.MlflowClient().create_experiment("direct", artifact_location=location)
        return Direct(backend, location, experiment_id, log_churn(experiment_id))


def test_a_registered_model_loads_by_version_alias_and_stage(direct: Direct) -> None:
    import mlflow

    expected = fitted().predict(some_rows()).tolist()
    with tracking(direct.uri):
        client = mlflow.MlflowClient()
        client.set_registered_model_alias(NAME, "champion", direct.churn.version)
        client.transition_model_version_stage(NAME, direct.churn.version, "Production")

        assert client.get_model_version_download_uri(NAME, direct.churn.version).startswith(
            f"{direct.location}/models/"
        )
        for reference in (direct.churn.version, "Production", "latest"):
            model = mlflow.pyfunc.load_model(f"models:/{NAME}/{reference}")
            assert model.predict(some_rows()).tolist() == expected
        model = mlflow.sklearn.load_model(f"models:/{NAME}@champion")
        assert model.predict(some_rows()).tolist() == expected
        assert mlflow.get_run(direct.churn.run_id).data.metrics == {"accuracy": 0.75}


def test_what_a_run_logs_is_listed_and_read_back(direct: Direct, tmp_path: Path) -> None:
    import mlflow
    import numpy as np

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"content")
    with tracking(direct.uri):
        with mlflow.start_run(experiment_id=direct.experiment_id) as run:
            for text in ("first", "second"):
                mlflow.log_text(text, "notes/text.txt")
            mlflow.log_dict({"a": [1, None]}, "notes/dict.json")
            mlflow.log_image(np.zeros((8, 8, 3), dtype=np.uint8), "image.png")
            mlflow.log_artifacts(str(tmp_path / "folder"), "folder")
            for number in range(3):  # each downloads the file, appends a row, and overwrites it
                mlflow.log_table({"number": [number]}, "table.json")
        root = f"runs:/{run.info.run_id}"

        listed = {entry.path: entry.is_dir for entry in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)}
        assert listed == {"folder": True, "image.png": False, "notes": True, "table.json": False}
        assert [entry.path for entry in mlflow.artifacts.list_artifacts(f"{root}/notes")] == [
            "notes/dict.json",
            "notes/text.txt",
        ]
        assert mlflow.artifacts.load_text(f"{root}/notes/text.txt") == "second"
        assert mlflow.artifacts.load_dict(f"{root}/notes/dict.json") == {"a": [1, None]}
        assert mlflow.artifacts.load_image(f"{root}/image.png").size == (8, 8)
        found = mlflow.artifacts.download_artifacts(f"{root}/folder", dst_path=str(tmp_path))
        assert (Path(found) / "file").read_bytes() == b"content"
        numbers = mlflow.MlflowClient().load_table(direct.experiment_id, "table.json", [run.info.run_id])["number"]
        assert numbers.tolist() == [0, 1, 2]


def test_a_copied_version_has_the_same_bytes_and_no_others(direct: Direct, table: Store) -> None:
    import mlflow

    before = paths(table)
    with tracking(direct.uri):
        copied = mlflow.MlflowClient().copy_model_version(f"models:/{NAME}/{direct.churn.version}", "copy")
        model = mlflow.pyfunc.load_model(f"models:/copy/{copied.version}")
        copied_again = mlflow.MlflowClient().copy_model_version("models:/copy/1", "copy of a copy")
        again = mlflow.pyfunc.load_model(f"models:/copy of a copy/{copied_again.version}")

    assert paths(table) == before
    assert model.predict(some_rows()).tolist() == again.predict(some_rows()).tolist()
    assert model.predict(some_rows()).tolist() == fitted().predict(some_rows()).tolist()


def mlflow_gc(uri: str, backend: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", backend, "--tracking-uri", uri],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_mlflow_gc_removes_what_was_deleted_and_nothing_else(
    direct: Direct, table: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    before = paths(table)
    with tracking(direct.uri):
        doomed = log_churn(direct.experiment_id)
        ours = set(paths(table)) - set(before)
        client = mlflow.MlflowClient()
        client.delete_run(doomed.run_id)
        client.delete_model_version(NAME, doomed.version)
        client.delete_logged_model(doomed.model_id)
    assert {path.split("/")[2] for path in ours} == {doomed.model_id, "artifacts"}
    assert set(paths(table)) == {*before, *ours}  # deleted in MLflow means marked

    said = mlflow_gc(direct.uri, direct.uri)

    assert doomed.run_id in said
    assert doomed.model_id in said
    assert paths(table) == before
    assert collected(table, capsys)["replaced"] >= len(ours)
    assert_clean(table)
    with tracking(direct.uri):
        model = mlflow.pyfunc.load_model(f"models:/{NAME}/{direct.churn.version}")
    assert model.predict(some_rows()).tolist() == fitted().predict(some_rows()).tolist()


# --- through a server ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proxied:
    """A server, where it connected to, and what a client without the plugin reported."""

    uri: str
    backend: str
    connections: Path
    client: dict[str, Any]


@pytest.fixture(scope="module")
def proxied(backend: str, table: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "files").mkdir()
    log = folder / "connections.log"
    with ExitStack() as stack:
        uri = stack.enter_context(
            mlflow_server(backend, f"{table.location.uri}/proxied", folder, watched(folder / "server", log))
        )
        environment = {
            **without_sqlml(folder / "client"),
            # Asked for, and not to be had: the server's store takes whole files only.
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "1000000",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
        }
        done = subprocess.run(
            [sys.executable, "-P", mlflow_client.__file__, uri, str(folder / "files")],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder / "client",
        )
        assert done.returncode == 0, done.stderr
        yield Proxied(uri, backend, log, json.loads(done.stdout.splitlines()[-1]))


def test_the_client_has_no_sqlml_and_cannot_open_hbase(proxied: Proxied) -> None:
    plugin = proxied.client["plugin"]
    assert plugin["import"] == "No module named 'sqlml'"
    assert "Could not find a registered artifact repository for: hbase://" in plugin["store"]


def test_a_client_without_the_plugin_logs_registers_and_loads_models(proxied: Proxied, table: Store) -> None:
    model = proxied.client["model"]
    assert model["location"].startswith("mlflow-artifacts:/")
    assert len(model["predictions"]) == 4
    assert all(predictions == model["expected"] for predictions in model["predictions"].values())
    assert model["copied"] == "models:/proxied/1"
    assert f"proxied{model['location'].removeprefix('mlflow-artifacts:')}/MLmodel" in paths(table)


def test_a_client_without_the_plugin_uploads_lists_downloads_and_deletes(proxied: Proxied, table: Store) -> None:
    found = proxied.client["files"]

    assert found["root"].startswith("mlflow-artifacts:/")
    assert found["listed"][0] == ["large.bin", False, 12 << 20]
    assert [path for path, _, _ in found["listed"]] == ["large.bin", "notes", "table.json", "tree"]
    assert (found["of a file"], found["of nothing"]) == ([], [])
    assert found["same"]
    assert found["large is the same"]
    assert (found["text"], found["dict"], found["table"]) == ("second", {"a": [1, None]}, [0, 1, 2])
    assert found["after deleting"] == [
        "notes",
        "table.json",
        "tree",
        *sorted(f"tree/{name}" for name in mlflow_client.NAMES if name != "été"),
    ]
    folder = f"proxied{found['root'].removeprefix('mlflow-artifacts:')}"
    assert {path.split("/")[-2] for path in paths(table, f"{folder}/tree")} == {*mlflow_client.NAMES} - {"été"}


def test_the_stores_manifest_comes_through_the_server(proxied: Proxied, table: Store) -> None:
    document = proxied.client["files"]["manifest"]

    assert (document["place"], document["table"]) == (table.location.place, table.location.table)
    assert {file["path"]: file["size"] for file in document["files"]}["large.bin"] == 12 << 20
    assert all(len(file["sha256"]) == 64 and len(file["object"]) == 32 for file in document["files"])


def test_the_server_offers_no_multipart(proxied: Proxied) -> None:
    told = requests.get(f"{proxied.uri}/api/3.0/mlflow/server-info", timeout=60).json()
    assert {key: value for key, value in told.items() if "multipart" in key} == {
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
    }


def test_the_servers_own_listing_and_downloads_work(proxied: Proxied) -> None:
    found = proxied.client["files"]
    listed = requests.get(
        f"{proxied.uri}/api/2.0/mlflow/artifacts/list", {"run_id": found["run_id"], "path": "notes"}, timeout=60
    ).json()
    text = requests.get(
        f"{proxied.uri}/get-artifact", {"run_id": found["run_id"], "path": "notes/text.txt"}, timeout=60
    )

    assert [(entry["path"], entry["is_dir"]) for entry in listed["files"]] == [
        ("notes/dict.json", False),
        ("notes/text.txt", False),
    ]
    assert text.content == b"second"


@pytest.mark.parametrize("path", ["none", "tree/none", "%2e%2e/x", "a/%252e%252e/b", "a//b", ".sqlml-manifest.json/x"])
def test_what_is_missing_or_refused_is_answered_with_400_or_404(proxied: Proxied, path: str) -> None:
    answer = requests.get(f"{proxied.uri}/api/2.0/mlflow-artifacts/artifacts/{path}", timeout=60)
    assert answer.status_code == (404 if "none" in path else 400)
    assert answer.json()["error_code"] == ("RESOURCE_DOES_NOT_EXIST" if "none" in path else "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("uploads/.sqlml-manifest.json", "reserved"),
        ("uploads/.sqlml-manifest.json/f", "reserved"),
        ("uploads/file/below", "uploads/file is a file"),
        ("uploads", "it is a folder"),
        ("uploads//a/f", "an empty part"),
        ("uploads/a%252e%252e/%252e%252e/f", "Invalid path"),
    ],
)
def test_an_upload_that_is_refused_is_answered_with_400(proxied: Proxied, table: Store, path: str, why: str) -> None:
    root = f"{proxied.uri}/api/2.0/mlflow-artifacts/artifacts"
    assert requests.put(f"{root}/uploads/file", data=b"1", timeout=60).status_code == 200

    answer = requests.put(f"{root}/{path}", data=b"2", timeout=60)

    assert answer.status_code == 400
    assert why in answer.json()["message"]
    assert paths(table, "proxied/uploads") == ["proxied/uploads/file"]


@pytest.mark.parametrize(
    ("header", "body"), [("Content-Length: 1000", b"half"), ("Transfer-Encoding: chunked", b"4\r\nhalf\r\n")]
)
def test_an_upload_that_breaks_off_leaves_nothing(proxied: Proxied, table: Store, header: str, body: bytes) -> None:
    place = urlsplit(proxied.uri)
    request = f"PUT /api/2.0/mlflow-artifacts/artifacts/half/f HTTP/1.1\r\nHost: {place.netloc}\r\n{header}\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(request.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):  # until the server is done with it
            pass

    assert paths(table, "proxied/half") == []
    assert_clean(table)


def test_a_location_that_a_client_chose_is_refused_and_the_server_connects_nowhere(
    proxied: Proxied, hbase: Any
) -> None:
    import mlflow

    connected_before = proxied.connections.read_text()
    for number, (location, run_id) in enumerate(proxied.client["refused"].items()):
        with tracking(proxied.uri):
            mlflow.MlflowClient().create_registered_model(f"refused {number}")
            mlflow.MlflowClient().create_model_version(f"refused {number}", source=location)
        for call, query in (
            ("model-versions/get-artifact", {"name": f"refused {number}", "version": "1", "path": "x"}),
            ("api/2.0/mlflow/artifacts/list", {"run_id": run_id}),
            ("get-artifact", {"run_id": run_id, "path": "x"}),
        ):
            answer = requests.get(f"{proxied.uri}/{call}", query, timeout=60)
            assert answer.status_code == 400
            assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
            message = answer.json()["message"]
            assert ("SQLML_HBASE_ALLOW" if "evil" in location else "reads as a password") in message
            assert "hunter2" not in message
    connected = proxied.connections.read_text()
    assert "evil" not in connected
    assert "192.0.2.1" not in connected
    assert connected.removeprefix(connected_before).count(str(hbase.port)) == 0
    assert f"socket.connect ('{hbase.host}', {hbase.port})" in connected  # the log is of this server


def test_mlflow_gc_through_the_server_removes_what_was_deleted(proxied: Proxied, table: Store) -> None:
    import mlflow

    run_id = proxied.client["files"]["run_id"]
    folder = f"proxied{proxied.client['files']['root'].removeprefix('mlflow-artifacts:')}"
    with tracking(proxied.uri):
        mlflow.MlflowClient().delete_run(run_id)
    assert paths(table, folder)

    assert run_id in mlflow_gc(proxied.uri, proxied.backend)

    assert paths(table, folder) == []
    assert_clean(table)
