"""Ctrl-C while HBase does not answer: nobody waits for it, and nothing partial is left on the disk."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.entities import FileInfo

from sqlml.errors import StoreError
from sqlml.hbase import copying, layout
from sqlml.hbase.layout import CHUNK_BYTES, Manifest
from sqlml.hbase.location import Location
from sqlml.hbase.repository import HBaseArtifactRepository
from sqlml.hbase.settings import Settings
from sqlml.hbase.store import Store, open_store
from tests.hbase.scripted import Exchange, ScriptedGateway, truth

SOON_S, LONG_S = 1.0, 60.0


@contextmanager
def ctrl_c() -> Iterator[None]:
    """KeyboardInterrupt in this thread after a second, as the terminal sends it; fails where it is waited for."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, SOON_S)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - began < LONG_S / 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def silent_for(*apis: str) -> list[Callable[[Exchange], None]]:
    """Turns of a gateway that never answers these calls."""

    def turn(exchange: Exchange) -> None:
        if exchange.api in apis:
            exchange.server.stopped.wait()
        else:
            truth(exchange)

    return [turn] * 100


@contextmanager
def store_at(server: ScriptedGateway) -> Iterator[Store]:
    settings = Settings(timeout_s=LONG_S, deadline_s=3 * LONG_S)
    store = open_store(Location("127.0.0.1", server.port, "t", "p").uri, settings)
    yield store
    store.close()


def test_an_upload_is_given_up() -> None:
    with ScriptedGateway(silent_for("mutateRows")) as server, store_at(server) as store, ctrl_c():
        store.transfers.upload(io.BytesIO(bytes(4 * CHUNK_BYTES)), layout.new_id(), "f")


def test_a_download_is_given_up() -> None:
    manifest = Manifest(layout.new_id(), 4 * CHUNK_BYTES, 4, CHUNK_BYTES, "0" * 64)
    with ScriptedGateway(silent_for("getRowsWithColumns")) as server, store_at(server) as store, ctrl_c():
        list(store.transfers.download(manifest, "f"))


def test_a_folder_of_files_is_given_up(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / name).write_text(name)
    with ScriptedGateway(silent_for("getRowsWithColumns")) as server, store_at(server) as store, ctrl_c():
        copying.put_folder(store, None, tmp_path)


def test_a_download_by_mlflow_is_given_up(tmp_path: Path) -> None:
    with ScriptedGateway(silent_for("getRowsWithColumns")) as server:
        repository = HBaseArtifactRepository(f"hbase://127.0.0.1:{server.port}/t/p")
        files = [FileInfo(f"f{number}", False, 1) for number in range(50)]
        repository.list_artifacts = lambda path=None: files  # type: ignore[method-assign]
        repository._iter_artifacts_recursive = lambda path: iter(files)  # type: ignore[method-assign]
        with ctrl_c():
            repository.download_artifacts("", str(tmp_path))
        assert list(tmp_path.iterdir()) == []


def test_what_begins_after_that_works() -> None:
    with ScriptedGateway() as server, store_at(server) as store:
        store.gateway.give_up()
        assert store.gateway.get(b"a", b"m:c", doing="reading") is not None


def test_what_was_given_up_says_so() -> None:
    asked = threading.Event()

    def silence(exchange: Exchange) -> None:
        asked.set()
        exchange.server.stopped.wait()

    with ScriptedGateway([silence]) as server, store_at(server) as store, ThreadPoolExecutor(1) as worker:
        waiting = worker.submit(store.gateway.get, b"a", b"m:c", doing="reading a")
        assert asked.wait(LONG_S)
        store.gateway.give_up()
        with pytest.raises(StoreError, match=r"is no longer waited for \(while reading a"):
            waiting.result(LONG_S)
