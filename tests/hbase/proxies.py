"""What may stand before a gateway: a proxy that ends TLS, and one that asks who is there (SASL)."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Accept = Callable[[socket.socket], socket.socket]


@contextlib.contextmanager
def proxy(target: tuple[str, int], accept: Accept, *, framed: bool = False) -> Iterator[int]:
    """The port of a proxy to `target`; `accept` makes of a new connection what is spoken from then on.

    With `framed` what the client sends, and gets, has SASL's lengths before it.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listener]
    threads: list[threading.Thread] = []

    def start(target: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=target, args=arguments))
        threads[-1].start()

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            sockets.append(raw)
            start(connect, raw)

    def connect(raw: socket.socket) -> None:
        try:
            near = accept(raw)
            sockets.append(near)
            far = socket.create_connection(target)
        except OSError:
            raw.close()
            return
        sockets.append(far)
        start(_pump, near, far, _frames if framed else _chunks, lambda data: data)
        start(_pump, far, near, _chunks, (lambda data: struct.pack(">I", len(data)) + data) if framed else lambda d: d)

    start(serve)
    try:
        yield listener.getsockname()[1]
    finally:
        for sock in list(sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for sock in sockets:
            sock.close()


def _pump(
    source: socket.socket,
    target: socket.socket,
    read: Callable[[socket.socket], Iterator[bytes]],
    write: Callable[[bytes], bytes],
) -> None:
    with contextlib.suppress(OSError, EOFError):
        for data in read(source):
            target.sendall(write(data))
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _chunks(sock: socket.socket) -> Iterator[bytes]:
    while data := sock.recv(1 << 16):
        yield data


def _frames(sock: socket.socket) -> Iterator[bytes]:
    while True:
        yield exactly(sock, struct.unpack(">I", exactly(sock, 4))[0])


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@dataclass(frozen=True)
class Certified:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, name: str, *, password: bytes | None = None) -> Certified:
        """A certificate for the host (or client) `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            subject = x509.DNSName(name)
        certificate = (
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), self._name, key)
            .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = Certified(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encryption = (
            serialization.BestAvailableEncryption(password) if password is not None else serialization.NoEncryption()
        )
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def tls(server: Certified, *, clients: Authority | None = None) -> Accept:
    """Ends TLS; with `clients` it wants a certificate of theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
    return lambda raw: context.wrap_socket(raw, server_side=True)


def sasl_plain(user: str, password: str) -> Accept:
    """Lets in who says `user` and `password` with SASL PLAIN, as HBase's own gateway negotiates."""

    def accept(sock: socket.socket) -> socket.socket:
        mechanism, response = _message(sock), _message(sock)
        if mechanism == (1, b"PLAIN") and response == (2, f"\0{user}\0{password}".encode()):
            sock.sendall(struct.pack(">BI", 5, 0))
            return sock
        reason = b"PLAIN auth failed"
        sock.sendall(struct.pack(">BI", 3, len(reason)) + reason)
        raise OSError("not let in")

    return accept


def _message(sock: socket.socket) -> tuple[int, bytes]:
    status, size = struct.unpack(">BI", exactly(sock, 5))
    return status, exactly(sock, size)
