"""Fixtures of the tests that use the store through MLflow's classes; servers are in fixtures.py, for all folders."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from sqlml.hbase.store import Store, open_store
from tests.hbase.mlflow_repositories import Repository, opened
from tests.hbase.server.cluster import HBaseServer


@pytest.fixture(scope="session")
def store_table(hbase: HBaseServer) -> Iterator[Store]:
    """A table for all of them: making one takes HBase a second. Each test has a folder of its own in it."""
    store = open_store(f"hbase://{hbase.host}:{hbase.port}/t{secrets.token_hex(6)}")
    store.gateway.create_table()
    yield store
    store.close()


@pytest.fixture
def uri(store_table: Store) -> str:
    return f"{store_table.location.uri}/test {secrets.token_hex(4)}"


@pytest.fixture
def repository(uri: str) -> Repository:
    return opened(uri)
