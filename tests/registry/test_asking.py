"""Asking over HTTP: one request where the answer is clear, and never MLflow's minutes of repetitions."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from sqlml.errors import ArtifactError
from sqlml.registry.asking import ABSENT_NAME, manifest_content, reason, refusal
from sqlml.registry.store_manifest import FILE_NAME

LISTING = "listing"


class Server(http.server.BaseHTTPRequestHandler):
    """Answers each name with the statuses that `answers` holds for it, one after the other, the last one for ever."""

    answers: ClassVar[dict[str, list[int]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = LISTING if "?path=" in self.path else self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        statuses = self.answers.get(name, [200])
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        if status == 0:  # gone in the middle
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            return
        content = json.dumps({"files": []}).encode() if name == LISTING else b"the manifest"
        if status >= 400:
            content = json.dumps({"error_code": "X", "message": f"no {name} today\nor ever"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Any, list[str]]]:
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    handler = type("Handler", (Server,), {"answers": request.param, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        uri = f"http://127.0.0.1:{listening.server_port}"
        yield MlflowArtifactsRepository("mlflow-artifacts:/1/models/m-1/artifacts", uri), handler.asked
        listening.shutdown()
        thread.join()


ONCE = [FILE_NAME, ABSENT_NAME, LISTING]


@pytest.mark.parametrize(
    ("server", "content", "asked"),
    [
        ({}, b"the manifest", [FILE_NAME]),
        ({FILE_NAME: [404]}, None, [FILE_NAME]),
        ({FILE_NAME: [500], ABSENT_NAME: [500]}, None, ONCE * 2),
        ({FILE_NAME: [403], ABSENT_NAME: [403]}, None, ONCE * 2),
        ({FILE_NAME: [503, 200], ABSENT_NAME: [404]}, b"the manifest", [*ONCE, FILE_NAME]),
        ({FILE_NAME: [500, 200], ABSENT_NAME: [500]}, b"the manifest", [*ONCE, FILE_NAME]),
        ({FILE_NAME: [0, 200], ABSENT_NAME: [404]}, b"the manifest", [*ONCE, FILE_NAME]),
    ],
    indirect=["server"],
)
def test_what_a_server_answers(server: Any, content: bytes | None, asked: list[str]) -> None:
    repository, requests = server
    started = time.monotonic()

    assert manifest_content(repository) == content

    assert time.monotonic() - started < 1
    assert requests == asked


@pytest.mark.parametrize(
    "server",
    [
        {FILE_NAME: [503], ABSENT_NAME: [404]},
        {FILE_NAME: [503, 404 + 1], ABSENT_NAME: [500]},
        {FILE_NAME: [0], ABSENT_NAME: [0]},
        {FILE_NAME: [500], ABSENT_NAME: [200]},
    ],
    indirect=True,
)
def test_a_manifest_that_is_there_and_does_not_come_is_an_error(server: Any) -> None:
    repository, _ = server

    with pytest.raises(ArtifactError, match="keeps a manifest of its files, but did not send it"):
        manifest_content(repository)


FAILED = "The following failures occurred while downloading one or more artifacts from"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("no\nreally", "no"),
        ("", "ValueError"),
        (f"{FAILED} s3://b/p:\n##### File a/b.pkl #####\nnot there\n##### File c #####\nneither", "a/b.pkl: not there"),
        ('409 Client Error: Conflict for url: http://h/. Response text: {"message": "a is damaged."}', "a is damaged"),
        ('500 for url. Response text: {"message": 5}', '500 for url. Response text: {"message": 5}'),
        ("500 for url. Response text: {broken}", "500 for url. Response text: {broken}"),
        (  # a server's MLflow met it, and a client's MLflow tells of it
            f"{FAILED} http://h/:\n##### File b.pkl #####\n409 Client Error. Response text: "
            + json.dumps({"message": f"{FAILED} hbase://h/:\n##### File 1/b.pkl #####\nx/1/b.pkl is damaged. Log it."}),
            "x/1/b.pkl is damaged. Log it",
        ),
    ],
)
def test_the_reason_is_what_the_store_itself_said(error: str, expected: str) -> None:
    assert reason(ValueError(error)) == expected


REPEATED = "Max retries exceeded (Caused by ResponseError('too many 503 error responses'))"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({FILE_NAME: [503]}, f"its server answers with status 503: no {FILE_NAME} today"),
        ({FILE_NAME: [404]}, REPEATED),  # it works again, so nobody knows what it was
    ],
    indirect=["server"],
)
def test_a_server_that_was_asked_too_often_is_asked_for_its_reason(server: Any, expected: str) -> None:
    repository, requests = server

    assert refusal(repository, ValueError(REPEATED)) == expected
    assert refusal(repository, ValueError("another")) == "another"
    assert requests == [FILE_NAME]
