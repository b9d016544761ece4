"""A gateway on loopback that answers as a test tells it: late, wrongly, a byte at a time, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from thriftpy2.protocol import TBinaryProtocol
from thriftpy2.thrift import TMessageType
from thriftpy2.transport import TBufferedTransport, TMemoryBuffer, TSocket

from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location
from sqlml.hbase.settings import Settings
from sqlml.hbase.transport import thrift

STAMP = 1_700_000_000_000


@dataclass
class Exchange:
    """One request, and the connection that it came on."""

    server: ScriptedGateway
    sock: socket.socket
    connection: int
    api: str
    number: int
    args: Any

    def truth(self, number: int | None = None, **fields: Any) -> bytes:
        """The reply that a gateway would send: every row holds `of ` and its key."""
        result = getattr(thrift().Hbase, f"{self.api}_result")()
        if not fields and hasattr(result, "success"):
            fields = {"success": self._success()}
        for name, value in fields.items():
            setattr(result, name, value)
        memory = TMemoryBuffer()
        protocol = TBinaryProtocol(TBufferedTransport(memory), decode_response=False)
        protocol.write_message_begin(self.api, TMessageType.REPLY, self.number if number is None else number)
        result.write(protocol)
        protocol.write_message_end()
        protocol.trans.flush()
        return memory.getvalue()

    def send(self, reply: bytes) -> None:
        self.sock.sendall(reply)

    def _success(self) -> Any:
        if self.api == "getRowsWithColumns":
            return [row_result(row, self.args.columns[0]) for row in self.args.rows]
        if self.api == "scannerOpenWithScan":
            return 7
        if self.api == "scannerGetList":
            return [row_result(b"%03d" % i, b"m:c") for i in range(3)]
        return True


def row_result(row: bytes, column: bytes, value: bytes | None = None) -> Any:
    cell = thrift().TCell(value=b"of " + row if value is None else value, timestamp=STAMP)
    return thrift().TRowResult(row=row, columns={column: cell})


Turn = Callable[[Exchange], None]


def truth(exchange: Exchange) -> None:
    exchange.send(exchange.truth())


def silence(exchange: Exchange) -> None:
    exchange.server.stopped.wait()


def late(exchange: Exchange) -> None:
    """The right answer, when the caller has given up and connected again."""
    exchange.server.connected_again.wait(20)
    exchange.send(exchange.truth())


def previous(exchange: Exchange) -> None:
    """The answer to the request before."""
    exchange.send(exchange.truth(exchange.number - 1))


def drip(exchange: Exchange) -> None:
    for byte in exchange.truth():
        if exchange.server.stopped.wait(0.05):
            return
        exchange.send(bytes([byte]))


def cut(exchange: Exchange) -> None:
    reply = exchange.truth()
    exchange.send(reply[: len(reply) // 2])
    exchange.sock.close()


def bytes_of(reply: bytes) -> Turn:
    return lambda exchange: exchange.send(reply)


def declared(message: bytes, kind: str = "IOError", name: str = "io") -> Turn:
    return lambda exchange: exchange.send(exchange.truth(**{name: getattr(thrift(), kind)(message=message)}))


def fault(message: str) -> Turn:
    """A TApplicationException, as the gateway answers what it did not expect."""

    def turn(exchange: Exchange) -> None:
        name, text = exchange.api.encode(), message.encode()
        head = struct.pack(">Ii", 0x80010000 | TMessageType.EXCEPTION, len(name)) + name
        body = struct.pack(">bhi", 11, 1, len(text)) + text + struct.pack(">bhib", 8, 2, 6, 0)
        exchange.send(head + struct.pack(">i", exchange.number) + body)

    return turn


def rows(*results: tuple[bytes, bytes]) -> Turn:
    """These rows, whatever was asked for."""
    return lambda exchange: exchange.send(
        exchange.truth(success=[row_result(row, b"m:c", value) for row, value in results])
    )


@dataclass
class ScriptedGateway:
    """Takes one of `turns` for each request, and tells the truth when they are used up."""

    turns: list[Turn] = field(default_factory=list)
    family: int = socket.AF_INET
    requests: list[tuple[int, str]] = field(default_factory=list)
    """The number of the connection, from 1, and the method."""
    connections: int = 0
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Counts connections that the other end closed."""
    connected_again: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> ScriptedGateway:
        self._listener = socket.socket(self.family, socket.SOCK_STREAM)
        self._listener.bind(("::1" if self.family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listener.listen(64)
        self.host, self.port = self._listener.getsockname()[:2]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stopped.set()
        self.connected_again.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for sock in (self._listener, *self._open):
            sock.close()

    def hang_up(self) -> None:
        """End all connections, as a gateway does with idle ones."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            self.connections += 1
            if self.connections > 1:
                self.connected_again.set()
            thread = threading.Thread(target=self._serve, args=(sock, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        with contextlib.suppress(OSError, Exception):  # the other end went, mostly in the middle of something
            protocol = TBinaryProtocol(TBufferedTransport(TSocket(sock=sock)), decode_response=False)
            while True:
                api, _, number = protocol.read_message_begin()
                args = getattr(thrift().Hbase, f"{api}_args")()
                args.read(protocol)
                self.requests.append((connection, api))
                self.asked.set()
                turn = self.turns.pop(0) if self.turns else truth
                turn(Exchange(self, sock, connection, api, number, args))
        self.ended.release()


QUICK = Settings(timeout_s=0.2, deadline_s=5, first_contact_s=1)


def gateway_to(server: ScriptedGateway, **changes: object) -> Gateway:
    settings = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
    return Gateway(Location(server.host, server.port, "models", "x"), settings, pause=lambda seconds: None)


def get(gateway: Gateway, row: bytes = b"a") -> bytes:
    cell = gateway.get(row, b"m:c", doing=f"reading row {row.decode()}")
    assert cell is not None
    return cell.value
