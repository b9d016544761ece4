"""One connection: its time limits, what it takes for an answer, and that it is closed once that is in doubt."""

from __future__ import annotations

import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlml.errors import UsageError
from sqlml.hbase.location import Location
from sqlml.hbase.messages import Garbage, HungUp, understood
from sqlml.hbase.opening import open_channel, tls_context
from sqlml.hbase.settings import Settings, Tls, pinned
from sqlml.hbase.transport import MAX_PART, Channel, Deadline, Stream
from tests.hbase.scripted import ScriptedGateway, cut, drip, previous, silence

QUICK = Settings(timeout_s=0.2)


@pytest.fixture
def server() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def opened(server: ScriptedGateway, settings: Settings = QUICK, seconds: float = 5) -> Channel:
    location = Location(server.host, server.port, "t", "x")
    return open_channel(location, pinned(location), settings, Deadline(seconds))


def families(channel: Channel, seconds: float = 5) -> object:
    with channel.calling(Deadline(seconds)) as client:
        return client.isTableEnabled(b"t")


def test_calls_are_numbered_and_answered(server: ScriptedGateway) -> None:
    channel = opened(server)

    assert [families(channel), families(channel)] == [True, True]
    assert server.requests == [(1, "isTableEnabled")] * 2
    assert channel.is_fit(30)
    channel.close()


@pytest.mark.parametrize(("turn", "error"), [(silence, TimeoutError), (cut, HungUp), (previous, Garbage)])
def test_what_breaks_closes_the_connection(server: ScriptedGateway, turn: object, error: type[Exception]) -> None:
    server.turns.append(turn)  # type: ignore[arg-type]
    channel = opened(server)

    with pytest.raises(error):
        families(channel)

    assert channel.closed
    assert not channel.is_fit(30)
    with pytest.raises(OSError, match="Bad file descriptor"):
        families(channel)


def test_ctrl_c_closes_the_connection_too(server: ScriptedGateway) -> None:
    channel = opened(server)

    with pytest.raises(KeyboardInterrupt), channel.calling(Deadline(5)):
        raise KeyboardInterrupt

    assert channel.closed


def test_the_deadline_holds_against_a_byte_now_and_then(server: ScriptedGateway) -> None:
    server.turns.append(drip)
    channel = opened(server)
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        families(channel, seconds=0.4)

    assert time.monotonic() - began < 2
    assert channel.closed


def test_the_deadline_holds_for_writing(server: ScriptedGateway) -> None:
    near, far = socket.socketpair()
    stream = Stream(near, 0.1, Deadline(5))

    with near, far, pytest.raises(TimeoutError):
        stream.write(bytes(64 << 20))  # nobody reads at the other end


def test_an_old_connection_is_not_fit(server: ScriptedGateway) -> None:
    channel = opened(server)

    assert not channel.is_fit(-1)
    channel.close()


def test_a_connection_that_the_other_end_closed_is_not_fit(server: ScriptedGateway) -> None:
    channel = opened(server)
    families(channel)
    server.hang_up()

    assert not channel.is_fit(30)
    channel.close()


def test_a_connection_with_an_answer_that_nobody_asked_for_is_not_fit() -> None:
    near, far = socket.socketpair()
    channel = Channel(Stream(near, 1, Deadline(1)), None)  # type: ignore[arg-type]
    with far:
        far.sendall(b"\x80\x01\x00\x02")

        assert not channel.is_fit(30)
        channel.close()


@pytest.mark.parametrize("size", [MAX_PART + 1, 2**31 - 1])
def test_a_size_that_cannot_be_gets_no_memory(size: int) -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(Garbage, match=f"it announces {size:,} bytes"):
        Stream(near, 1, Deadline(1)).read(size)


@pytest.mark.parametrize("transport", ["buffered", "framed"])
@pytest.mark.parametrize("protocol", ["binary", "compact"])
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 9,
        struct.pack(">i", 2**31 - 1) * 100,
        struct.pack(">i", -1) * 100,
        b"\x80\x01\x00\x02" + struct.pack(">i", 2**31 - 1) * 50,
        b"\x80\x01\x00\x02" + struct.pack(">i", -5) * 50,
        b"\x82\x41\x01\xff\xff\xff\xff\x07" * 50,
        bytes(1000),
        bytes(range(256)) * 4,
        b"\x15\x03\x03\x00\x02\x02\x46" * 60,
    ],
    ids=["http", "huge", "negative", "huge name", "negative name", "compact", "zeros", "all", "tls alert"],
)
def test_garbage_is_an_error_and_never_an_answer(
    server: ScriptedGateway, transport: str, protocol: str, reply: bytes
) -> None:
    near, far = socket.socketpair()
    location = Location(server.host, server.port, "t", "x")
    settings = Settings(timeout_s=0.2, transport=transport, protocol=protocol)  # type: ignore[arg-type]
    channel = open_channel(location, pinned(location), settings, Deadline(5))
    channel._stream.sock.close()
    channel._stream.sock = near
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with far:
        far.sendall(reply)

        with pytest.raises(Exception) as failure:  # any kind: what matters is that it ends
            families(channel, seconds=1)

    assert channel.closed
    assert understood(failure.value, 1).retry in ("few", "always")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_closing_from_another_thread_ends_a_call_under_way(server: ScriptedGateway) -> None:
    server.turns.append(silence)
    channel = opened(server, Settings(timeout_s=20))
    failures: list[BaseException] = []

    def call() -> None:
        try:
            families(channel, seconds=20)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert server.asked.wait(5)
    channel.close()
    thread.join(5)

    assert [type(error) for error in failures] == [HungUp]
    assert channel.closed


def test_every_address_is_tried(server: ScriptedGateway) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        location = Location(server.host, server.port, "t", "x")
        addresses = (*pinned(Location("127.0.0.1", unused.getsockname()[1], "t", "x")), *pinned(location))

        channel = open_channel(location, addresses, QUICK, Deadline(5))

    assert families(channel) is True
    channel.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_works() -> None:
    with ScriptedGateway(family=socket.AF_INET6) as server:
        channel = opened(server)
        assert families(channel) is True
        channel.close()


def test_the_protocol_in_c_is_in_use(server: ScriptedGateway) -> None:
    channel = opened(server)

    assert type(channel.client._iprot).__name__ == "TCyBinaryProtocol"
    assert type(channel.client._iprot.trans).__name__ == "TCyBufferedTransport"
    channel.close()


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing", encoding="utf-8")

    with pytest.raises(UsageError, match="tls_ca cannot be used"):
        tls_context(Tls(ca=str(tmp_path / "x.pem")))
    with pytest.raises(UsageError, match="tls_certificate or tls_key cannot be used"):
        tls_context(Tls(certificate=str(tmp_path / "x.pem")))


def test_tls_is_never_without_verification() -> None:
    context = tls_context(Tls(check_name=False))

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context(None) is None
