"""What the tests ask HBase's Thrift gateway themselves, without the code under test."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

from tests.hbase.server.site import HOST

CALL = 0x80010001
REPLY = struct.pack(">I", 0x80010002)
SUCCESS = b"\x0f\x00\x00"  # field 0 of the reply, a list; a declared error would be field 1


def free_port() -> int:
    """A port on which nothing listens, chosen by the kernel."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


def answers(port: int, timeout_s: float = 5.0) -> bool:
    """Ask for the tables' names: True when the gateway and the master behind it answer."""
    name = b"getTableNames"
    call = struct.pack(">Ii", CALL, len(name)) + name + struct.pack(">ib", 1, 0)
    enough = 4 + 4 + len(name) + 4 + len(SUCCESS)
    got = b""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout_s) as connection:
        connection.sendall(call)
        while len(got) < enough and (part := connection.recv(4096)):
            got += part
    return got.startswith(REPLY) and got[enough - len(SUCCESS) : enough] == SUCCESS


def regions(port: int, table: bytes) -> list[int]:
    """The ports of the region servers that hold a table's regions, in the regions' order."""
    with _connected(port) as connection:
        return [int(region["port"]) for region in connection.table(table).regions()]


def all_regions(port: int) -> set[int]:
    """The ports of the region servers that hold the catalog and every enabled table."""
    with _connected(port) as connection:
        tables = [b"hbase:meta", *(name for name in connection.tables() if connection.is_table_enabled(name))]
        return {int(region["port"]) for name in tables for region in connection.table(name).regions()}


@contextlib.contextmanager
def _connected(port: int, timeout_s: float = 30) -> Iterator[Any]:
    import happybase  # no other part of starting a server needs anything installed

    connection = happybase.Connection(HOST, port, timeout=int(timeout_s * 1000))
    try:
        yield connection
    finally:
        connection.close()
