"""Cells through a gateway that fails in every way it can: never a wrong row, never longer than the deadline."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlml.errors import LocationRefused, StoreConflict, StoreError, StoreTimeout, UsageError
from sqlml.hbase.gateway import Cell, Gateway
from sqlml.hbase.location import Location, parse
from sqlml.hbase.settings import Sasl, Settings
from tests.hbase.scripted import (
    STAMP,
    Exchange,
    ScriptedGateway,
    Turn,
    bytes_of,
    cut,
    declared,
    drip,
    fault,
    late,
    previous,
    rows,
    silence,
    truth,
)

QUICK = Settings(timeout_s=0.2, deadline_s=5, first_contact_s=1)


@pytest.fixture
def server() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def gateway_to(server: ScriptedGateway, **changes: object) -> Gateway:
    settings = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
    return Gateway(Location(server.host, server.port, "models", "x"), settings, pause=lambda seconds: None)


def get(gateway: Gateway, row: bytes = b"a") -> bytes:
    cell = gateway.get(row, b"m:c", doing=f"reading row {row.decode()}")
    assert cell is not None
    return cell.value


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


@pytest.mark.parametrize(
    "turn",
    [
        late,
        silence,
        cut,
        previous,
        bytes_of(b"HTTP/1.1 502 Bad Gateway\r\n\r\n" * 20),
        bytes_of(b"\x80\x01\x00\x02\x7f\xff\xff\xff" * 20),
        rows((b"b", b"of b")),
        declared(b"org.apache.hadoop.hbase.NotServingRegionException: t,,1 is not online on rs,1,1\n\tat x"),
        fault("Internal error processing getRowsWithColumns"),
    ],
    ids=["late", "silent", "cut", "previous", "http", "huge", "another row", "declared", "fault"],
)
def test_after_a_failure_the_right_row_comes(server: ScriptedGateway, turn: Turn) -> None:
    server.turns += [truth, turn]
    gateway = gateway_to(server)

    assert [get(gateway, row) for row in (b"x", b"a", b"b", b"c")] == [b"of x", b"of a", b"of b", b"of c"]
    gateway.close()


@pytest.mark.parametrize("turn", [late, cut, previous, bytes_of(b"?" * 99)], ids=["late", "cut", "previous", "garbage"])
def test_after_a_failure_that_is_not_declared_nothing_more_is_read(server: ScriptedGateway, turn: Turn) -> None:
    server.turns.append(turn)
    gateway = gateway_to(server)

    get(gateway)

    assert [number for number, _ in server.requests] == [1, 2]
    assert server.ended.acquire(timeout=5)
    gateway.close()


def test_a_switch_is_sent_once_and_its_outcome_unknown_when_no_answer_comes(server: ScriptedGateway) -> None:
    gateway = gateway_to(server)
    assert gateway.switch(b"r", b"m:c", None, b"v", doing="switching") is True
    for turn in (silence, cut, previous, declared(b"java.io.IOException: CallTimeoutException"), fault("x")):
        server.turns.append(turn)
        server.requests.clear()

        assert gateway.switch(b"r", b"m:c", None, b"v", doing="switching") is None
        assert [api for _, api in server.requests] == ["checkAndPut"]
    assert get(gateway) == b"of a"
    gateway.close()


def test_a_switch_that_the_gateway_did_at_its_own_second_try_is_done(server: ScriptedGateway) -> None:
    no = lambda exchange: exchange.send(exchange.truth(success=False))  # noqa: E731
    server.turns += [no, rows((b"r", b"mine")), no, rows((b"r", b"another's"))]
    gateway = gateway_to(server)

    assert gateway.switch(b"r", b"m:c", b"before", b"mine", doing="switching") is True
    assert gateway.switch(b"r", b"m:c", b"before", b"mine", doing="switching") is False
    gateway.close()


def test_a_switch_that_was_certainly_refused_is_an_error(server: ScriptedGateway) -> None:
    server.turns.append(declared(b"org.apache.hadoop.hbase.TableNotFoundException: models"))
    gateway = gateway_to(server)

    with pytest.raises(StoreError, match="TableNotFoundException"):
        gateway.switch(b"r", b"m:c", None, b"v", doing="switching")
    gateway.close()


def test_a_switch_survives_that_the_gateway_closed_an_idle_connection(server: ScriptedGateway) -> None:
    gateway = gateway_to(server)
    get(gateway)
    server.hang_up()

    assert gateway.switch(b"r", b"m:c", None, b"v", doing="switching") is True
    gateway.close()


def test_writes_are_tried_again(server: ScriptedGateway) -> None:
    server.turns += [silence, cut]
    gateway = gateway_to(server)

    gateway.put(b"r", b"d:c", b"v", doing="writing")
    gateway.delete(b"r", b"d:c", doing="deleting", until=STAMP)

    assert [api for _, api in server.requests] == ["mutateRows"] * 3 + ["deleteAllTs"]
    gateway.close()


@pytest.mark.parametrize("turn", [silence, drip], ids=["silent", "a byte now and then"])
def test_no_operation_outlasts_its_deadline(server: ScriptedGateway, turn: Turn) -> None:
    server.turns += [truth] + [turn] * 50
    gateway = gateway_to(server, deadline_s=0.7)
    get(gateway)
    began = time.monotonic()

    with pytest.raises(StoreTimeout) as failure:
        get(gateway)

    assert time.monotonic() - began < 3
    assert str(failure.value).startswith(f"HBase at 127.0.0.1:{server.port} did not answer within ")
    assert "(while reading row a, table models" in str(failure.value)
    assert "The 0.7 s for it are over." in str(failure.value)
    assert failure.value.details == {
        "place": f"127.0.0.1:{server.port}",
        "table": "models",
        "doing": "reading row a",
        "tries": failure.value.details["tries"],
    }


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


def test_a_page_is_one_bounded_scan_tried_again_as_a_whole(server: ScriptedGateway) -> None:
    server.turns += [truth, cut]
    gateway = gateway_to(server)

    page = gateway.page(b"000", b"003", b"m:c", limit=10, doing="listing")

    assert page == [(b"%03d" % i, Cell(b"of %03d" % i, STAMP)) for i in range(3)]
    assert [api for _, api in server.requests] == [
        "scannerOpenWithScan",
        "scannerGetList",
        "scannerOpenWithScan",
        "scannerGetList",
        "scannerClose",
    ]
    gateway.close()


@pytest.mark.parametrize(("start", "stop", "limit"), [(b"001", b"", 9), (b"", b"002", 9), (b"", b"", 2)])
def test_rows_outside_of_the_page_are_no_answer(server: ScriptedGateway, start: bytes, stop: bytes, limit: int) -> None:
    gateway = gateway_to(server)

    with pytest.raises(StoreError, match="rows that were not asked for"):
        gateway.page(start, stop, b"m:c", limit=limit, doing="listing")
    gateway.close()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            b"org.apache.hadoop.hbase.TableNotFoundException: models\n\tat org.apache.X.y(Z.java:1)",
            r"refused: TableNotFoundException: models .*Create it with: sqlml hbase init hbase://127.0.0.1:\d+/models/x$",
        ),
        (
            b"org.apache.hadoop.hbase.client.RetriesExhaustedWithDetailsException: Failed 1 action: \n"
            b"\tat x\nCaused by: org.apache.hadoop.hbase.regionserver.NoSuchColumnFamilyException: q\n",
            "refused: RetriesExhausted.*The table is not one of sqlml's",
        ),
        (b"org.apache.hadoop.hbase.security.AccessDeniedException: no", "refused: .*needs READ and WRITE"),
    ],
)
def test_what_trying_again_cannot_change_is_said_at_once(server: ScriptedGateway, message: bytes, said: str) -> None:
    server.turns.append(declared(message))
    gateway = gateway_to(server)

    with pytest.raises(StoreError, match=said) as failure:
        get(gateway)

    assert "\n" not in str(failure.value)
    assert len(server.requests) == 1
    gateway.close()


def test_what_is_not_known_is_tried_a_few_times(server: ScriptedGateway) -> None:
    server.turns += [declared(b"java.io.IOException: who knows")] * 5
    gateway = gateway_to(server)

    with pytest.raises(StoreError, match=r"answered: IOException: who knows .*3 tries"):
        get(gateway)

    assert [number for number, _ in server.requests] == [1, 1, 1]  # a declared error leaves the connection whole
    gateway.close()


def test_a_call_that_the_gateway_cannot_do_is_an_error_with_its_text(server: ScriptedGateway) -> None:
    server.turns += [fault("Internal error processing getRowsWithColumns")] * 3
    gateway = gateway_to(server)

    with pytest.raises(StoreError, match="failed inside: Internal error processing getRowsWithColumns"):
        get(gateway)
    gateway.close()


def test_the_first_failure_is_logged_and_no_password_is(
    server: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.turns += [truth, cut]
    gateway = gateway_to(server, sasl=None)
    secret = gateway_to(server, sasl=Sasl("PLAIN", "hbase", "u", "s3cret"), first_contact_s=0.1, deadline_s=0.5)

    get(gateway)
    get(gateway)
    with pytest.raises(StoreError) as failure:
        get(secret)

    assert f"HBase at 127.0.0.1:{server.port} closed the connection while reading row a; trying again." in caplog.text
    assert "s3cret" not in f"{caplog.text} {failure.value} {failure.value.details} {secret!r} {secret.settings}"
    gateway.close()


def test_frames_stay_below_what_the_gateway_takes(server: ScriptedGateway) -> None:
    gateway = gateway_to(server, transport="framed")
    cells = {b"%d" % i: bytes(800_000) for i in range(5)}

    parts = list(gateway._parts(cells))

    assert [len(part) for part in parts] == [2, 2, 1]
    assert [pair for part in parts for pair in part] == list(cells.items())


def test_a_write_in_parts_goes_on_where_it_stopped(server: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[bytes]] = []

    def keep(then: Turn) -> Turn:
        def turn(exchange: Exchange) -> None:
            sent.append([batch.row for batch in exchange.args.rowBatches])
            then(exchange)

        return turn

    server.turns += [keep(truth), keep(cut), keep(truth), keep(truth)]
    gateway = gateway_to(server)
    monkeypatch.setattr(gateway, "_parts", lambda cells: iter([[(b"1", b"")], [(b"2", b"")], [(b"3", b"")]]))

    gateway.put_many({}, b"d:c", doing="writing")

    assert sent == [[b"1"], [b"2"], [b"2"], [b"3"]]
    gateway.close()


def test_an_unknown_compression_is_refused_without_asking(server: ScriptedGateway) -> None:
    with pytest.raises(UsageError, match=r"'GZIP' is not a compression. Did you mean 'GZ'"):
        gateway_to(server).create_table("GZIP")
    assert server.connections == 0


def test_a_table_that_an_earlier_try_made_is_made(server: ScriptedGateway) -> None:
    exists = declared(b"table name already in use", "AlreadyExists", "exist")
    server.turns += [exists, cut, exists]
    gateway = gateway_to(server)

    with pytest.raises(StoreConflict, match="table models exists already"):
        gateway.create_table()
    gateway.create_table()
    gateway.close()
