"""A real HBase answers as the table in memory does, on which all else is tried at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sqlml.hbase.store import Store
from tests.hbase.memory import MemoryGateway
from tests.hbase.server.cluster import HBaseServer
from tests.hbase.stores import created


@pytest.fixture
def store(hbase: HBaseServer, table_name: str) -> Iterator[Store]:
    with created(hbase, table_name) as opened:
        yield opened


def get(gateway: Any, row: bytes) -> bytes | None:
    cell = gateway.get(row, b"m:c", doing="reading")
    return cell and cell.value


def put(gateway: Any, row: bytes, value: bytes) -> int:
    """The timestamp that it was given."""
    gateway.put(row, b"m:c", value, doing="writing")
    return int(gateway.get(row, b"m:c", doing="reading").timestamp)


def later(gateway: Any, than: int) -> None:
    """Return when the table's clock shows another millisecond."""
    while put(gateway, b"clock", b"") <= than:
        pass


def switches(gateway: Any) -> list[object]:
    def switch(expected: bytes | None, value: bytes) -> bool:
        return bool(gateway.switch(b"r", b"m:c", expected, value, doing="switching"))

    return [
        *(switch(None, b"1"), switch(None, b"2"), switch(b"2", b"3"), switch(b"1", b"4")),
        *(switch(b"", b"5"), switch(b"4", b"5"), get(gateway, b"r")),
    ]


def switch_where_there_was_something(gateway: Any) -> list[object]:
    stamp = put(gateway, b"r", b"1")
    gateway.delete(b"r", b"m:c", doing="deleting", until=stamp)
    later(gateway, than=stamp)
    return [
        gateway.switch(b"r", b"m:c", b"1", b"2", doing="switching"),
        gateway.switch(b"r", b"m:c", None, b"3", doing="switching"),
        get(gateway, b"r"),
    ]


def a_delete_spares_what_is_newer(gateway: Any) -> list[object]:
    stamp = put(gateway, b"r", b"1")
    later(gateway, than=stamp)
    put(gateway, b"r", b"2")
    gateway.delete(b"r", b"m:c", doing="deleting", until=stamp)
    return [get(gateway, b"r")]


def a_delete_does_not_hide_what_comes_later(gateway: Any) -> list[object]:
    stamp = put(gateway, b"r", b"1")
    gateway.delete(b"r", b"m:c", doing="deleting", until=stamp)
    gone = get(gateway, b"r")
    later(gateway, than=stamp)
    gateway.put(b"r", b"m:c", b"2", doing="writing")
    return [gone, get(gateway, b"r")]


def a_delete_hides_a_put_that_is_not_newer(gateway: Any) -> list[object]:
    """The trap for which nothing is ever put again where something was deleted at once."""
    stamp = put(gateway, b"r", b"1")
    gateway.delete(b"r", b"m:c", doing="deleting", until=stamp + 60_000)
    gateway.put(b"r", b"m:c", b"2", doing="writing")
    return [get(gateway, b"r"), gateway.switch(b"r", b"m:c", None, b"3", doing="switching"), get(gateway, b"r")]


def pages(gateway: Any) -> list[object]:
    rows = [b"a/1", b"a/2", b"a/2/x", b"a/\xc3\xa9", b"a0", b"b"]
    gateway.put_many({row: row + b"!" for row in reversed(rows)}, b"m:c", doing="writing")
    gateway.put(b"a/1", b"d:c", b"of another family", doing="writing")

    def page(start: bytes, stop: bytes, limit: int, **options: bool) -> list[tuple[bytes, bytes]]:
        cells = gateway.page(start, stop, b"m:c", limit=limit, doing="listing", **options)
        return [(row, cell.value) for row, cell in cells]

    return [
        *(page(b"a/", b"a0", 10), page(b"a/", b"a0", 2), page(b"a/2\0", b"a0", 10), page(b"c", b"d", 1)),
        *(page(b"a/2", b"c", 10, keys_only=True), page(b"a/", b"a/", 10)),
    ]


def deletes_of_many(gateway: Any) -> list[object]:
    rows = [b"%04d" % number for number in range(600)]
    gateway.put_many(dict.fromkeys(rows, b"v"), b"d:c", doing="writing")
    gateway.put(b"0001", b"m:c", b"of another family", doing="writing")
    gateway.delete_many([*rows[:599], b"none"], b"d:c", doing="deleting")
    left = gateway.get_many(rows, b"d:c", doing="reading")
    return [list(left), get(gateway, b"0001")]


def timestamps(gateway: Any) -> list[object]:
    stamps = [put(gateway, b"r", b"%d" % number) for number in range(5)]
    [(_, cell)] = gateway.page(b"r", b"s", b"m:c", limit=5, doing="listing", keys_only=True)
    return [stamps == sorted(stamps), cell.timestamp == stamps[-1]]


STORIES = (
    *(
        switches,
        switch_where_there_was_something,
        a_delete_spares_what_is_newer,
        a_delete_does_not_hide_what_comes_later,
    ),
    *(a_delete_hides_a_put_that_is_not_newer, pages, deletes_of_many, timestamps),
)


@pytest.mark.parametrize("story", STORIES)
def test_hbase_answers_as_the_table_in_memory_does(store: Store, story: Callable[[Any], list[object]]) -> None:
    assert story(store.gateway) == story(MemoryGateway())
