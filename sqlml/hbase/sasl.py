"""SASL before and around Thrift: who we are, as HBase's gateway asks (`hbase.thrift.security.qop`).

Framing and negotiation are tested with PLAIN, before a real gateway. GSSAPI (Kerberos) goes the same way and is
untested: there is no Kerberos where the tests run. So are the wrapped modes auth-int and auth-conf.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

from sqlml.errors import UsageError
from sqlml.hbase.messages import Garbage, SaslRefused, first_line
from sqlml.hbase.settings import Sasl, is_loopback
from sqlml.hbase.transport import MAX_PART, Stream

INSTALL = "Install it with: pip install 'sqlml[kerberos]'"
START, OK, BAD, ERROR, COMPLETE = 1, 2, 3, 4, 5
MAX_CHALLENGE = 1 << 20
# Java's side refuses frames above 16,384,000 bytes.
MAX_FRAME = 1 << 20


class SaslStream:
    """Thrift's bytes in frames of SASL: a length, then that many bytes, wrapped where the negotiation says so."""

    def __init__(self, stream: Stream, client: Any) -> None:  # Any: puresasl ships no types
        self._stream = stream
        self._client = client
        self._wraps = client.qop not in (b"auth", "auth")
        # What is wrapped grows by a header and padding, and must stay within what the other end takes.
        self._largest = min(MAX_FRAME, client.max_buffer - 1024) if self._wraps else MAX_FRAME
        self._pending = bytearray()
        self._frame = memoryview(b"")

    def read(self, size: int) -> bytes:
        if size > MAX_PART:
            raise Garbage(f"it announces {size:,} bytes")
        while not self._frame:
            (length,) = struct.unpack(">I", exactly(self._stream, 4))
            frame = exactly(self._stream, length)
            self._frame = memoryview(self._client.unwrap(frame) if self._wraps else frame)
        data, self._frame = self._frame[:size], self._frame[size:]
        return bytes(data)

    def write(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= self._largest:
            self._send()

    def flush(self) -> None:
        self._send()

    def _send(self) -> None:
        pending, self._pending = memoryview(self._pending), bytearray()
        for start in range(0, len(pending), self._largest):
            part = bytes(pending[start : start + self._largest])
            wrapped = self._client.wrap(part) if self._wraps else part
            self._stream.write(struct.pack(">I", len(wrapped)) + wrapped)


def negotiated(stream: Stream, host: str, sasl: Sasl, *, encrypted: bool) -> SaslStream:
    """`stream` once both ends agreed who we are.

    Raises:
        SaslRefused: the gateway does not accept us, or we cannot do what it wants.
        UsageError: the extra is missing, or a password would go over the network for all to read.
    """
    if sasl.mechanism == "PLAIN" and not encrypted and not is_loopback(host):
        raise UsageError(
            f"SASL PLAIN would send the password to {host} in the clear.", hint="Switch TLS on: SQLML_HBASE_TLS=1."
        )
    try:
        from puresasl.client import SASLClient
    except ImportError as error:
        raise UsageError(f"SASL {sasl.mechanism} needs pure-sasl.", hint=INSTALL) from error
    credentials = {} if sasl.mechanism == "GSSAPI" else {"username": sasl.user, "password": sasl.password}
    with _refused(sasl.mechanism):
        client = SASLClient(host, service=sasl.service, mechanism=sasl.mechanism, **credentials)
        # DIGEST-MD5 speaks second: its client has nothing to say before the challenge.
        answer = b"" if sasl.mechanism == "DIGEST-MD5" else client.process()
    _send(stream, START, sasl.mechanism.encode())
    _send(stream, OK, _bytes(answer))
    while True:
        status, payload = _received(stream)
        if status not in (OK, COMPLETE):
            raise SaslRefused(
                f"did not accept us with SASL {sasl.mechanism}: {first_line(payload) or 'no reason given'}"
            )
        if status == OK or payload:  # what comes with the end is the gateway's own proof
            with _refused(sasl.mechanism):
                answer = client.process(payload)
        if status == COMPLETE:
            return SaslStream(stream, client)
        _send(stream, OK, _bytes(answer))


@contextlib.contextmanager
def _refused(mechanism: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # puresasl's own, or the ones of the Kerberos library below it, which it passes on
        if "not installed" in str(error):
            raise UsageError(f"SASL {mechanism}: {first_line(error)}.", hint=INSTALL) from error
        raise SaslRefused(f"and we do not agree on SASL {mechanism}: {first_line(error)}") from error


def exactly(stream: Stream, size: int) -> bytes:
    if size > MAX_PART:
        raise Garbage(f"it announces {size:,} bytes")
    parts = []
    while size:
        parts.append(stream.read(size))
        size -= len(parts[-1])
    return b"".join(parts)


def _bytes(answer: bytes | str | None) -> bytes:
    return answer.encode() if isinstance(answer, str) else answer or b""


def _send(stream: Stream, status: int, body: bytes) -> None:
    stream.write(struct.pack(">BI", status, len(body)) + body)


def _received(stream: Stream) -> tuple[int, bytes]:
    status, length = struct.unpack(">BI", exactly(stream, 5))
    if not START <= status <= COMPLETE or length > MAX_CHALLENGE:
        raise Garbage("it does not speak SASL there")
    return status, exactly(stream, length)
