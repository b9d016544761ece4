"""SASL: the negotiation and the frames, with PLAIN. Kerberos itself is not here to be tested."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading

import pytest

from sqlml.errors import StoreError, UsageError
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location
from sqlml.hbase.messages import Garbage, SaslRefused
from sqlml.hbase.sasl import SaslStream, negotiated
from sqlml.hbase.settings import Sasl, Settings
from sqlml.hbase.transport import MAX_PART, Deadline, Stream
from tests.hbase.proxies import proxy, sasl_plain
from tests.hbase.scripted import ScriptedGateway, cut
from tests.hbase.server.cluster import HBaseServer

PLAIN = Sasl("PLAIN", "hbase", "jane", "s3cret")


def gateway_at(port: int, sasl: Sasl = PLAIN, table: str = "t") -> Gateway:
    return Gateway(Location("127.0.0.1", port, table, "x"), Settings(timeout_s=20, first_contact_s=1, sasl=sasl))


def test_a_real_gateway_behind_sasl(hbase: HBaseServer, table_name: str) -> None:
    chunks = {b"d/%d" % i: os.urandom(1 << 20) for i in range(3)}
    with proxy((hbase.host, hbase.port), sasl_plain("jane", "s3cret"), framed=True) as port:
        gateway = gateway_at(port, table=table_name)
        gateway.create_table()
        gateway.put_many(chunks, b"d:c", doing="writing")

        found = gateway.get_many(list(chunks), b"d:c", doing="reading")
        gateway.close()

    assert {row: cell.value for row, cell in found.items()} == chunks


def test_a_broken_connection_is_negotiated_anew() -> None:
    with (
        ScriptedGateway([cut]) as server,
        proxy((server.host, server.port), sasl_plain("jane", "s3cret"), framed=True) as port,
    ):
        gateway = gateway_at(port)
        cell = gateway.get(b"a", b"m:c", doing="reading")
        gateway.close()

    assert cell is not None
    assert cell.value == b"of a"
    assert server.connections == 2


def test_a_wrong_password_is_refused_at_once_and_repeated_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = Sasl("PLAIN", "hbase", "jane", "wr0ng")
    with (
        ScriptedGateway() as server,
        proxy((server.host, server.port), sasl_plain("jane", "s3cret"), framed=True) as port,
    ):
        gateway = gateway_at(port, wrong)
        with pytest.raises(StoreError, match="did not accept us with SASL PLAIN: PLAIN auth failed") as failure:
            gateway.get(b"a", b"m:c", doing="reading")

    assert failure.value.details["tries"] == 1
    assert "wr0ng" not in f"{failure.value} {failure.value.__cause__!r} {caplog.text} {gateway!r}"


def test_a_password_goes_in_the_clear_to_this_machine_only() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(UsageError, match=r"in the clear.* SQLML_HBASE_TLS=1"):
        negotiated(Stream(near, 1, Deadline(1)), "hbase.example", PLAIN, encrypted=False)


def answered(reply: bytes) -> SaslStream:
    """What comes of a negotiation in which the other end says `reply`, whatever it hears."""
    near, far = socket.socketpair()
    with near, far:
        far.sendall(reply)
        return negotiated(Stream(near, 0.2, Deadline(1)), "localhost", PLAIN, encrypted=False)


def test_digest_md5_answers_the_challenge() -> None:
    near, far = socket.socketpair()
    challenge = b'realm="hbase",nonce="n",qop="auth",charset=utf-8,algorithm=md5-sess'
    with near, far:
        far.sendall(struct.pack(">BI", 2, len(challenge)) + challenge)
        with pytest.raises(TimeoutError):  # the other end says no more
            negotiated(
                Stream(near, 0.2, Deadline(1)),
                "localhost",
                Sasl("DIGEST-MD5", "hbase", "jane", "s3cret"),
                encrypted=False,
            )
        heard = far.recv(4096)

    assert heard.startswith(struct.pack(">BI", 1, 10) + b"DIGEST-MD5" + struct.pack(">BI", 2, 0))
    assert b'username="jane"' in heard
    assert b"s3cret" not in heard


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n", b"\x02\xff\xff\xff\xff", b"\x00" * 9])
def test_what_is_not_sasl_is_no_answer(reply: bytes) -> None:
    with pytest.raises(Garbage, match="does not speak SASL"):
        answered(reply)


def test_a_gateway_without_sasl_is_given_up() -> None:
    settings = Settings(timeout_s=0.2, first_contact_s=0.5, sasl=PLAIN)
    with ScriptedGateway() as server:
        gateway = Gateway(Location("127.0.0.1", server.port, "t", "x"), settings)
        with pytest.raises(StoreError, match=r"did not answer when SASL was begun.* It may have no SASL there"):
            gateway.get(b"a", b"m:c", doing="reading")


def test_without_the_packages_for_kerberos_it_is_said() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises((SaslRefused, UsageError), match="GSSAPI"):
        negotiated(Stream(near, 0.2, Deadline(1)), "localhost", Sasl("GSSAPI"), encrypted=False)


class Rot13:
    """A layer that wraps, in the way of a negotiated auth-conf."""

    qop = b"auth-conf"
    max_buffer = 2048

    def wrap(self, data: bytes) -> bytes:
        assert len(data) <= 1024
        return b"<" + bytes(byte ^ 13 for byte in data) + b">"

    def unwrap(self, data: bytes) -> bytes:
        return bytes(byte ^ 13 for byte in data[1:-1])


def test_without_a_kerberos_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import puresasl.mechanisms

    monkeypatch.setattr(puresasl.mechanisms, "have_kerberos", False)
    near, far = socket.socketpair()
    with near, far, pytest.raises(UsageError, match="not installed") as refused:
        negotiated(Stream(near, 1, Deadline(1)), "localhost", Sasl("GSSAPI"), encrypted=False)
    assert refused.value.hint == "Install it with: pip install 'sqlml[kerberos]'"


def test_wrapped_frames_are_unwrapped() -> None:
    near, far = socket.socketpair()
    with near, far:
        here, there = (SaslStream(Stream(end, 5, Deadline(5)), Rot13()) for end in (near, far))
        sent = os.urandom(5000)
        writer = threading.Thread(target=lambda: (here.write(sent), here.flush()))
        writer.start()

        received = b""
        while len(received) < len(sent):
            received += there.read(700)
        writer.join()

    assert received == sent


def test_a_frame_that_cannot_be_gets_no_memory() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(struct.pack(">I", MAX_PART + 1))
        stream = SaslStream(Stream(near, 1, Deadline(1)), Rot13())
        with pytest.raises(Garbage, match="it announces"):
            stream.read(1)
