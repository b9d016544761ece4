"""A registry behind HTTP: a real MLflow server, and how credentials and refusals are dealt with."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlml import registry
from sqlml.errors import ModelNotFound, RegistryError
from sqlml.registry.asking import manifest_content
from tests.registry.conftest import located
from tests.registry.serving import mlflow_server


@pytest.fixture(scope="module")
def server(registered: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = registered.copied(tmp_path_factory.mktemp("server") / "registry")
    located(store, "mlflow-artifacts:")
    with mlflow_server(store.uri, str(store.artifacts), store.folder) as uri:
        yield uri


def test_everything_works_over_http(server: str, registered: Any, tmp_path: Path) -> None:
    version = registry.resolve("churn:Production", tracking_uri=server)
    local = registry.resolve("churn:Production", tracking_uri=registered.uri)

    artifact = registry.download(version, tmp_path / "served")
    facts = registry.run_facts(version)

    assert version.description == "churn v1 (alias Production)"
    assert version.location.startswith("mlflow-artifacts:")
    assert artifact.sha256 == registry.download(local, tmp_path / "local").sha256
    assert facts is not None
    assert facts.datasets[0].name == "telco customers"
    assert registry.tag(version, {"sqlml.test": "1"}) is None
    assert registry.resolve("churn:1", tracking_uri=server).tags["sqlml.test"] == "1"
    assert registry.resolve(f"models:/{version.model_id}", tracking_uri=server).location == version.location
    assert [found.number for found in registry.all_versions(tracking_uri=server)] == [1, 2]
    with pytest.raises(ModelNotFound, match="Did you mean 'Production'"):
        registry.resolve("churn:production", tracking_uri=server)


def test_a_store_without_manifests_is_asked_without_delay(server: str, tmp_path: Path) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    version = registry.resolve("churn:Production", tracking_uri=server)
    artifact = registry.download(version, tmp_path / "served")
    repository = get_artifact_repository(version.location, tracking_uri=server)
    started = time.monotonic()
    content = manifest_content(repository)
    seconds = time.monotonic() - started

    assert (artifact.store, content) == (None, None)
    assert "recorded" not in artifact.summary
    assert seconds < 0.5


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers everything with one status, and keeps what it was asked with."""

    status = 401
    authorizations: tuple[str | None, ...] = ()

    def do_GET(self) -> None:
        type(self).authorizations += (self.headers.get("Authorization"),)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[str, type[Answer]]]:
    handler = type("Handler", (Answer,), {"status": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", handler
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("answering", [401, 403], indirect=True)
def test_refused_access_names_mlflows_own_variables(answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, handler = answering
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")

    with pytest.raises(RegistryError, match=r"refuses access.*Set MLFLOW_TRACKING_TOKEN"):
        registry.resolve("churn:1", tracking_uri=uri)

    assert handler.authorizations[0] == "Bearer a-token"


@pytest.mark.parametrize("answering", [404, 500], indirect=True)
def test_a_server_that_is_no_mlflow(answering: Any) -> None:
    with pytest.raises(RegistryError, match=r"(failed|it answers with errors).*Check .*--tracking-uri"):
        registry.resolve("churn:1", tracking_uri=answering[0])
