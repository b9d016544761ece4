"""Which connections there are: where to, whose, since when, and what becomes of them."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlml.errors import LocationRefused, StoreError, StoreTimeout
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location, parse
from tests.hbase.scripted import QUICK, ScriptedGateway, gateway_to, get, silence


@pytest.fixture
def server() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def test_nothing_is_connected_before_it_is_needed(server: ScriptedGateway) -> None:
    gateway = gateway_to(server)
    assert server.connections == 0

    assert get(gateway) == b"of a"
    assert get(gateway, b"b") == b"of b"
    assert server.connections == 1
    gateway.close()


def test_what_is_not_allowed_is_refused_before_its_name_is_resolved() -> None:
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        pytest.fail("the name was looked up")

    with pytest.raises(LocationRefused, match=r"SQLML_HBASE_ALLOW=elsewhere.example:9090"):
        Gateway(parse("hbase://elsewhere.example/t/x"), QUICK, resolve=resolve)


def test_a_name_that_changes_its_meaning_changes_nothing(
    server: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [("127.0.0.1", server.port), ("192.0.2.1", 1)]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answers.pop(0))]
    )
    settings = dataclasses.replace(QUICK, allow=frozenset({("hbase.example", server.port)}))

    gateway = Gateway(Location("hbase.example", server.port, "t", "x"), settings)
    for _ in range(2):
        assert get(gateway) == b"of a"
        gateway.close()

    assert server.connections == 2
    assert len(answers) == 1


def test_a_switch_survives_that_the_gateway_closed_an_idle_connection(server: ScriptedGateway) -> None:
    gateway = gateway_to(server)
    get(gateway)
    server.hang_up()

    assert gateway.switch(b"r", b"m:c", None, b"v", doing="switching") is True
    gateway.close()


def test_a_gateway_that_never_accepts_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        location = Location("127.0.0.1", listener.getsockname()[1], "t", "x")
        gateway = Gateway(location, dataclasses.replace(QUICK, deadline_s=0.6))

        with pytest.raises(StoreTimeout):
            get(gateway)


def test_a_gateway_that_is_not_there_is_given_up_sooner() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        location = Location("127.0.0.1", unused.getsockname()[1], "t", "x")
        gateway = Gateway(location, dataclasses.replace(QUICK, deadline_s=60, first_contact_s=0.3))
        began = time.monotonic()

        with pytest.raises(StoreError, match=r"refused the connection .*Is the Thrift gateway running there"):
            get(gateway)

    assert time.monotonic() - began < 5


def test_a_gateway_that_is_gone_after_it_answered_is_waited_for(server: ScriptedGateway) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            gateway._addresses = there

    gateway = Gateway(Location(server.host, server.port, "t", "x"), QUICK, pause=pause)
    get(gateway)
    gateway.close()
    there = gateway._addresses
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gateway._addresses = (dataclasses.replace(there[0], sockaddr=unused.getsockname()),)

        assert get(gateway) == b"of a"

    assert len(pauses) == 8
    assert 0.05 <= pauses[0] <= 0.1
    assert all(1.5 <= seconds <= 3 for seconds in pauses[6:])
    gateway.close()


def test_idle_connections_are_opened_anew(server: ScriptedGateway) -> None:
    gateway = gateway_to(server, idle_s=-1)

    assert [get(gateway), get(gateway)] == [b"of a"] * 2
    assert server.connections == 2
    gateway.close()


def test_each_thread_has_a_connection_that_ends_with_it(server: ScriptedGateway) -> None:
    gateway = gateway_to(server, timeout_s=10)
    together = threading.Barrier(5)
    found: list[bytes] = []

    def read(row: bytes) -> None:
        together.wait(10)
        found.extend(get(gateway, row) for _ in range(20))

    threads = [threading.Thread(target=read, args=(b"%d" % i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(found) == sorted(b"of %d" % i for i in range(5) for _ in range(20))
    assert server.connections == 5
    assert all(server.ended.acquire(timeout=5) for _ in range(5))


def test_close_all_ends_what_other_threads_wait_for(server: ScriptedGateway) -> None:
    server.turns.append(silence)
    gateway = gateway_to(server, timeout_s=30, deadline_s=60)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(get(gateway)))
    thread.start()
    assert server.asked.wait(5)

    gateway.close_all()
    thread.join(10)

    assert found == [b"of a"]  # tried again, on a new connection
    gateway.close_all()


def test_a_fork_shares_no_connection(server: ScriptedGateway) -> None:
    script = f"""
import os
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location
from sqlml.hbase.settings import Settings

gateway = Gateway(Location("127.0.0.1", {server.port}, "t", "x"), Settings(timeout_s=10))
read = lambda row: gateway.get(row, b"m:c", doing="reading").value
assert read(b"a") == b"of a"
child = os.fork()
if not child:
    os._exit(0 if [read(b"b"), read(b"c")] == [b"of b", b"of c"] else 1)
assert os.waitpid(child, 0)[1] == 0
assert read(b"d") == b"of d"
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )

    assert [number for number, _ in server.requests] == [1, 2, 2, 1]
