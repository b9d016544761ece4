"""Receivers that are well, slow, silent and absent; and what the sending costs those who report."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from sqlml.openlineage import configuration, sending
from sqlml.openlineage.described import JobName, RunEvent
from sqlml.openlineage.sending import Sender
from tests.openlineage import conformity

EVENT = RunEvent(
    "START",
    "2026-03-01T12:00:00.000Z",
    "11111111-2222-3333-4444-555555555555",
    JobName("sqlml", "w.churn.score", "SCORE"),
)


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in list(os.environ):  # the client itself sets some
        if name.startswith("OPENLINEAGE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@contextmanager
def receiver(status: int = 201) -> Iterator[tuple[str, list[Any]]]:
    """An HTTP receiver of this test's own, and what it received."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


@contextmanager
def black_hole() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def started() -> Sender:
    made = Sender()
    made.start()
    return made


def test_what_is_put_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as (url, received):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        sender = started()
        sender.put(EVENT)

        assert sender.finish() is None

    (event,) = received
    conformity.check_event(event)
    assert (event["eventType"], event["job"]["name"]) == ("START", "w.churn.score")


def test_a_receiver_that_refuses_loses_events_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(status=400) as (url, _):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        sender = started()
        sender.put(EVENT)
        lost = sender.finish()

    assert lost is not None
    assert lost[0] == 1
    assert "400" in lost[1]
    assert sender.told() is None  # once


def test_a_receiver_that_failed_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(status=400) as (url, received):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        sender = started()
        sender.put(EVENT)
        sender.finish()
        sender.put(EVENT)
        lost = sender.finish()

        assert lost is not None
        assert len(received) == 1


def test_the_end_waits_no_longer_than_half_a_second_for_one_that_never_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with black_hole() as url:
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        sender = started()
        sender.put(EVENT)
        while not sender.is_started:
            time.sleep(0.01)
        began = time.monotonic()
        lost = sender.finish()

    assert time.monotonic() - began < sending.FIRST_ANSWER_S + 1
    assert lost == (1, "the receiver did not answer")


def test_the_client_is_imported_when_what_began_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PATIENCE_S", 30.0)
    imported = threading.Event()
    monkeypatch.setattr(sending, "_client", lambda: imported.set())
    monkeypatch.setattr(sending, "_emit", lambda client, event: None)
    sender = started()
    sender.put(EVENT)

    assert not imported.wait(0.2)
    sender.put(replace(EVENT, state="COMPLETE"))
    assert imported.wait(10)
    assert sender.finish() is None


def test_a_full_queue_drops_events_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Sender()  # nobody takes them out
    for _ in range(sending.LONGEST_QUEUE + 3):
        sender.put(EVENT)

    assert sender.told() == (3, "the receiver is slower than the events come")


def test_without_a_configuration_there_is_nothing_to_do(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not configuration.is_configured()

    (tmp_path / "openlineage.yml").write_text("transport:\n  type: console\n")
    assert configuration.is_configured()
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "True")
    assert not configuration.is_configured()


def test_a_configuration_file_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_CONFIG", "nowhere.yml")

    assert configuration.is_configured()
    assert "nowhere.yml" in (configuration.why_not_sent() or "")


def test_a_configuration_without_a_transport_writes_nowhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openlineage.yml").write_text("facets:\n  environment_variables: []\n")
    sender = started()
    sender.put(EVENT)

    assert sender.finish() == (1, "its configuration names no transport")


def test_importing_sqlml_imports_no_client() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sqlml.scoring, sqlml.deploy.routine, sys; print('openlineage' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("transport", ["file", "console"])
def test_the_other_transports_of_the_client_work(transport: str, tmp_path: Any) -> None:
    config = {"type": transport, "log_file_path": str(tmp_path / "events"), "append": True}
    if transport == "console":
        config = {"type": transport}
    done = subprocess.run(
        [sys.executable, "-c", "from tests.openlineage.test_sending import *; sending.emit(EVENT)"],
        env={"OPENLINEAGE__TRANSPORT": json.dumps(config), "PYTHONPATH": ":".join(sys.path)},
        cwd=configuration.Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip

    written = (tmp_path / "events").read_text() if transport == "file" else done.stderr
    assert EVENT.run_id in written
    assert done.stdout == ""
