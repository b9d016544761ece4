"""Cells in a real HBase: what the gateway does is what was asked for, and what it refuses is said."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from sqlml.errors import StoreConflict, StoreError
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location
from sqlml.hbase.settings import Settings
from sqlml.hbase.tables import FamilyFacts
from tests.hbase.server.cluster import HBaseServer


@pytest.fixture
def real(hbase: HBaseServer, table_name: str) -> Iterator[Gateway]:
    gateway = Gateway(Location(hbase.host, hbase.port, table_name, "x"), Settings())
    gateway.create_table()
    yield gateway
    gateway.close_all()


def test_hbase_makes_the_families_as_asked(real: Gateway) -> None:
    assert real.families(doing="looking") == {
        b"m": FamilyFacts(versions=1, compression="GZ", bloom="ROW", block_cache=True),
        b"d": FamilyFacts(versions=1, compression="GZ", bloom="ROW", block_cache=False),
    }
    assert real.table_exists()
    with pytest.raises(StoreConflict):
        real.create_table()


def test_hbase_keeps_cells(real: Gateway) -> None:
    chunks = {b"d/%04d" % i: os.urandom(1 << 18) for i in range(6)}
    real.put_many(chunks, b"d:c", doing="writing")
    real.put(b"m/x", b"m:c", b"", doing="writing")

    found = real.get_many([*chunks, b"d/none"], b"d:c", doing="reading")

    assert {row: cell.value for row, cell in found.items()} == chunks
    assert abs(found[b"d/0000"].timestamp - time.time() * 1000) < 60_000
    assert real.get(b"m/x", b"m:c", doing="reading") is not None
    assert real.get(b"m/x", b"d:c", doing="reading") is None
    assert real.get(b"m/none", b"m:c", doing="reading") is None


def test_hbase_pages_in_order(real: Gateway) -> None:
    real.put_many({b"m/%02d" % i: b"v%d" % i for i in range(10)}, b"m:c", doing="writing")

    first = real.page(b"m/", b"m0", b"m:c", limit=4, doing="listing")
    rest = real.page(first[-1][0] + b"\x00", b"m0", b"m:c", limit=40, doing="listing", keys_only=True)

    assert [(row, cell.value) for row, cell in first] == [(b"m/%02d" % i, b"v%d" % i) for i in range(4)]
    assert [(row, cell.value) for row, cell in rest] == [(b"m/%02d" % i, b"") for i in range(4, 10)]
    assert real.page(b"m0", b"", b"m:c", limit=5, doing="listing") == []


def test_hbase_switches_atomically(real: Gateway) -> None:
    def switch(expected: bytes | None, value: bytes) -> bool | None:
        return real.switch(b"m/x", b"m:c", expected, value, doing="switching")

    assert [switch(None, b"1"), switch(None, b"2"), switch(b"2", b"3"), switch(b"1", b"4")] == [
        True,
        False,
        False,
        True,
    ]
    assert real.get(b"m/x", b"m:c", doing="reading").value == b"4"  # type: ignore[union-attr]


def test_hbase_deletes_what_is_not_newer(real: Gateway) -> None:
    real.put(b"r", b"d:c", b"v", doing="writing")
    stamp = real.get(b"r", b"d:c", doing="reading").timestamp  # type: ignore[union-attr]

    real.delete(b"r", b"d:c", doing="deleting", until=stamp - 1)
    assert real.get(b"r", b"d:c", doing="reading") is not None
    real.delete(b"r", b"d:c", doing="deleting", until=stamp)
    assert real.get(b"r", b"d:c", doing="reading") is None


@pytest.mark.parametrize(
    "operation",
    [
        lambda gateway: gateway.get(b"r", b"m:c", doing="trying"),
        lambda gateway: gateway.get_many([b"r", b"s"], b"m:c", doing="trying"),
        lambda gateway: gateway.put(b"r", b"m:c", b"v", doing="trying"),
        lambda gateway: gateway.put_many({b"r": b"v", b"s": b"v"}, b"m:c", doing="trying"),
        lambda gateway: gateway.switch(b"r", b"m:c", None, b"v", doing="trying"),
        lambda gateway: gateway.page(b"", b"", b"m:c", limit=1, doing="trying"),
        lambda gateway: gateway.delete(b"r", b"m:c", doing="trying"),
        lambda gateway: gateway.delete_many([b"r", b"s"], b"m:c", doing="trying"),
        lambda gateway: gateway.families(doing="trying"),
    ],
    ids=["get", "get_many", "put", "put_many", "switch", "page", "delete", "delete_many", "families"],
)
def test_a_missing_table_is_said_at_once(
    hbase: HBaseServer, table_name: str, operation: Callable[[Gateway], object]
) -> None:
    gateway = Gateway(Location(hbase.host, hbase.port, table_name, "x"), Settings())
    began = time.monotonic()

    with pytest.raises(StoreError, match=r"TableNotFoundException.* sqlml hbase init"):
        operation(gateway)

    assert time.monotonic() - began < 10
    assert not gateway.table_exists()
    gateway.close()


def test_a_missing_family_is_said_at_once(real: Gateway) -> None:
    with pytest.raises(StoreError, match=r"NoSuchColumnFamilyException.*not one of sqlml's"):
        real.put(b"r", b"q:c", b"v", doing="writing")
    with pytest.raises(StoreError, match=r"NoSuchColumnFamilyException.*not one of sqlml's"):
        real.get(b"r", b"q:c", doing="reading")


def test_a_codec_that_the_servers_lack_is_named(hbase: HBaseServer, table_name: str) -> None:
    gateway = Gateway(Location(hbase.host, hbase.port, table_name, "x"), Settings())

    with pytest.raises(StoreError, match="do not have the compression LZO"):
        gateway.create_table("lzo")
    assert not gateway.table_exists()
    gateway.close()


def test_a_value_that_is_too_large_is_refused_by_hbase_and_the_next_call_works(real: Gateway) -> None:
    with pytest.raises(StoreError, match="KeyValue size too large"):
        real.put(b"r", b"d:c", bytes(10 << 20), doing="writing")
    assert real.get(b"r", b"d:c", doing="reading") is None
