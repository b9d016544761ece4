"""The servers that other tests rely on: they answer, they end, and nothing of them is left."""

from __future__ import annotations

from tests.hbase.server.cluster import HBaseServer


def test_it_answers(hbase: HBaseServer, table_name: str) -> None:
    import happybase

    connection = happybase.Connection(hbase.host, hbase.port, timeout=30_000)
    connection.create_table(table_name, {"d": {}})
    connection.table(table_name).put(b"row", {b"d:c": b"value"})

    assert connection.table(table_name).row(b"row") == {b"d:c": b"value"}
    connection.close()
