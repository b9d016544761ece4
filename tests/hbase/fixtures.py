"""A real HBase for every test that asks for one. tests/conftest.py loads this, so any folder may ask."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.hbase.server import jars
from tests.hbase.server.cluster import HBaseServer

FIXTURES = {"hbase", "hbase_with_codecs", "cluster"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by what it asks for."""
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("hbase")


@pytest.fixture(scope="session")
def hbase_jars(request: pytest.FixtureRequest) -> None:
    """HBase's jars are here; where they cannot be it is a skip on a person's machine and a failure in CI."""
    captured = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with captured.global_and_fixture_disabled():  # fetching takes a while the first time: people see why
            jars.fetch()
    except jars.Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no HBase to test against: {error}", pytrace=False)
        pytest.skip(f"no HBase to test against: {error}")


@pytest.fixture(scope="session")
def hbase(hbase_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HBaseServer]:
    """HBase in one process and its gateway in another, for the whole session: `.host`, `.port`. Do not kill it."""
    yield from _running(HBaseServer(tmp_path_factory.mktemp("hbase")))


@pytest.fixture(scope="module")
def hbase_with_codecs(hbase_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HBaseServer]:
    """Like `hbase`, which has GZ and SNAPPY only, but with LZO, LZ4 and ZSTD too."""
    yield from _running(HBaseServer(tmp_path_factory.mktemp("hbase-codecs"), codecs=True))


@pytest.fixture(scope="module")
def cluster(hbase_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HBaseServer]:
    """ZooKeeper, master, two region servers and gateway, five processes to kill; `revive()` brings all of them back."""
    yield from _running(HBaseServer(tmp_path_factory.mktemp("hbase-cluster"), distributed=True))


def _running(server: HBaseServer) -> Iterator[HBaseServer]:
    try:
        yield server.start()
    finally:
        server.stop(grace_s=0)  # its data go with the test's folder


@pytest.fixture
def table_name() -> str:
    """A name that no other test's table has."""
    return f"t{secrets.token_hex(6)}"
