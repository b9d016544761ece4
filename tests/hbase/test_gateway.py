"""Cells through a gateway that fails in every way it can: never a wrong row, never longer than the deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from sqlml.errors import StoreConflict, StoreError, StoreTimeout, UsageError
from sqlml.hbase.gateway import Cell
from sqlml.hbase.settings import Sasl
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
    gateway_to,
    get,
    late,
    previous,
    rows,
    silence,
    truth,
)


@pytest.fixture
def server() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


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
    assert "Its deadline of 0.7 s is over. Look at the gateway" in str(failure.value)
    assert failure.value.details == {
        "place": f"127.0.0.1:{server.port}",
        "table": "models",
        "doing": "reading row a",
        "tries": failure.value.details["tries"],
        "refused": False,
    }


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


def test_a_table_that_somebody_made_in_the_same_moment_is_there_already() -> None:
    raced = declared(b"org.apache.hadoop.hbase.TableExistsException: models\n\tat o.a.h.h.X.frame(X.java:1)")
    with ScriptedGateway([raced]) as server, pytest.raises(StoreConflict, match="exists already"):
        gateway_to(server).create_table()


def test_a_table_that_an_earlier_try_made_is_made(server: ScriptedGateway) -> None:
    exists = declared(b"table name already in use", "AlreadyExists", "exist")
    server.turns += [exists, cut, exists]
    gateway = gateway_to(server)

    with pytest.raises(StoreConflict, match="table models exists already"):
        gateway.create_table()
    gateway.create_table()
    gateway.close()
