"""A new connection to a gateway: to an address that was resolved before, with TLS and SASL where they are asked for."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

from thriftpy2.protocol import TBinaryProtocol, TCompactProtocol
from thriftpy2.transport import TBufferedTransport, TFramedTransport

from sqlml.errors import UsageError
from sqlml.hbase.location import Location
from sqlml.hbase.messages import Unanswered
from sqlml.hbase.sasl import SaslStream, negotiated
from sqlml.hbase.settings import Address, Settings, Tls
from sqlml.hbase.transport import Channel, Client, Deadline, Stream, thrift

# For connecting, and again for TLS and for SASL: no HBase takes part in these, so nobody has to be waited for.
OPENING_S = 10.0


def open_channel(
    location: Location,
    addresses: tuple[Address, ...],
    settings: Settings,
    deadline: Deadline,
    context: ssl.SSLContext | None = None,
) -> Channel:
    """A new connection to one of `addresses`, with TLS and SASL as the settings have it.

    Raises:
        OSError, Garbage: it cannot be made.
    """
    opening_s = min(settings.timeout_s, OPENING_S)
    sock = _connected(addresses, opening_s, deadline)
    try:
        if context is not None:
            sock.settimeout(deadline.limit(opening_s))
            with _unanswered("TLS"):
                # The location's name, though the connection is to an address: that is whose certificate it must be.
                sock = context.wrap_socket(sock, server_hostname=location.host)
        stream: Stream | SaslStream
        stream = socket_stream = Stream(sock, opening_s, deadline)
        if settings.sasl is not None:
            with _unanswered("SASL"):
                stream = negotiated(socket_stream, location.host, settings.sasl, encrypted=context is not None)
        socket_stream.timeout_s = settings.timeout_s
        transport = (TFramedTransport if settings.transport == "framed" else TBufferedTransport)(stream)
        protocol = (TCompactProtocol if settings.protocol == "compact" else TBinaryProtocol)(
            transport, decode_response=False
        )
        return Channel(socket_stream, Client(thrift().Hbase, protocol))
    except BaseException:
        sock.close()
        raise


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """What TLS connections are made with.

    Raises:
        UsageError: a file is not what it should be.
    """
    if tls is None:
        return None
    what = "tls_ca"
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.check_hostname = tls.check_name
        # Debian's Python leaves that to OpenSSL's configuration.
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        if tls.certificate is not None:
            what = "tls_certificate or tls_key"
            # A function, since without one OpenSSL asks on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: tls.key_password or "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UsageError(
            f"{what} cannot be used: {reason}.",
            hint="Files are in PEM format; a key with a password needs SQLML_HBASE_TLS_KEY_PASSWORD.",
        ) from error
    return context


def _connected(addresses: tuple[Address, ...], timeout_s: float, deadline: Deadline) -> socket.socket:
    failure: OSError | None = None
    for address in addresses:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.limit(timeout_s))
            sock.connect(address.sockaddr)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError("there is no address")


@contextlib.contextmanager
def _unanswered(protocol: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unanswered(protocol) from error
