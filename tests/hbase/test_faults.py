"""Whatever dies, stalls or fills up: never a wrong byte, never a hang, nothing lost that was acknowledged."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

import sqlml
from sqlml.demo.customers import customers
from sqlml.errors import StoreError, StoreTimeout
from sqlml.hbase import files
from sqlml.hbase.layout import CHUNK_BYTES
from sqlml.hbase.store import Store
from sqlml.hbase.transfers import Transfers
from tests.hbase.proxies import proxy
from tests.hbase.server.cluster import HBaseServer
from tests.hbase.stores import collect, created, found, fsck, opened, read, remove, require_clean, write
from tests.hbase.traffic import Traffic
from tests.hbase.versions import Version
from tests.registry.conftest import located

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SLACK_S = 1.5  # of a machine with other things to do
SIZE = CHUNK_BYTES + 5000


@pytest.fixture
def five(cluster: HBaseServer) -> Iterator[HBaseServer]:
    """Five processes, of which all live again after the test."""
    yield cluster
    cluster.revive()


VICTIMS: dict[str, Callable[[HBaseServer, str], str]] = {
    "region server with the table": lambda cluster, table: cluster.role_of_table(table),
    "region server with meta": lambda cluster, table: cluster.role_of_meta(),
    "master": lambda cluster, table: "master",
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_writes_and_reads_go_on_by_themselves_after_the_death_of(
    five: HBaseServer, table_name: str, victim: str
) -> None:
    """Nobody starts it again, and no caller tries again."""
    with created(five, table_name) as store:
        with Traffic(store) as traffic:
            traffic.advance()
            role = VICTIMS[victim](five, table_name)
            five.kill(role)
            traffic.advance(10)
            assert not five.alive(role)
        traffic.require_right()
        assert traffic.slowest_s < store.gateway.settings.deadline_s


@pytest.mark.parametrize("dead", ["the gateway", "all"])
def test_writes_and_reads_go_on_once_it_is_started_again(five: HBaseServer, table_name: str, dead: str) -> None:
    with created(five, table_name) as store:
        with Traffic(store) as traffic:
            traffic.advance()
            for role in five.roles if dead == "all" else ["thrift"]:
                five.kill(role)
            five.revive()
            traffic.advance(10)
        traffic.require_right()
        assert traffic.slowest_s < store.gateway.settings.deadline_s


def test_with_no_region_server_left_each_call_ends_by_its_deadline(five: HBaseServer, table_name: str) -> None:
    """The gateway itself would wait for minutes."""
    content = Version("f", "w", 0, SIZE).content()
    with created(five, table_name) as store:
        write(store, "f", content)
        for role in ("rs1", "rs2"):
            five.kill(role)
        with opened(five, table_name, **TIMES) as hasty:
            for use in (lambda: read(hasty, "f"), lambda: write(hasty, "g", content), lambda: fsck(hasty)):
                began = time.monotonic()
                with pytest.raises(StoreError, match=f"{store.location.place}.*table {table_name}"):
                    use()
                assert time.monotonic() - began < TIMES["deadline_s"] + SLACK_S
        five.revive()
        assert read(store, "f") == content
        require_clean(store, {"f": content})


def test_a_deployment_survives_the_death_of_a_region_server_in_its_middle(
    five: HBaseServer, table_name: str, own_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model has a file of 24 MiB; the region server dies when the first MiB of it has come."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = f"hbase://{five.host}:{five.port}/{table_name}/experiments"
    large = Version("large", "w", 0, 24 << 20).content()
    for model in own_registry.artifacts.rglob("MLmodel"):
        model.with_name("large.bin").write_bytes(large)
    with created(five, table_name):
        get_artifact_repository(uri).log_artifacts(str(own_registry.artifacts))
    own_registry.artifacts.rename(tmp_path / "not read")
    located(own_registry, uri)
    killed: list[str] = []
    download = Transfers.download

    def interrupted(self: Transfers, manifest: Any, path: str) -> Iterator[memoryview]:
        for part in download(self, manifest, path):
            if manifest.size == len(large) and not killed:
                killed.append(five.role_of_table(table_name))
                five.kill(killed[0])
            yield part

    monkeypatch.setattr(Transfers, "download", interrupted)
    with sqlml.connect(tmp_path / "warehouse.duckdb") as connection:
        connection.register("rows", customers())
        connection.execute("CREATE TABLE customers AS SELECT * FROM rows ORDER BY customer_id LIMIT 200")
        sqlml.deploy_db(
            connection, "churn:Production", table="customers", key="customer_id", tracking_uri=own_registry.uri
        )
        [predictions] = connection.execute("SELECT count(prediction) FROM churn.current").fetchone()

    assert predictions == 200
    assert [five.alive(role) for role in killed] == [False]
    with opened(five, table_name) as store:
        assert fsck(store).clean


TIMES = {"timeout_s": 0.7, "deadline_s": 2.0}


class TestStopped:
    """A gateway that accepts connections and does not answer (SIGSTOP)."""

    USES: ClassVar[dict[str, Callable[[Store], object]]] = {
        "reading the manifest of f/1": lambda store: read(store, "f/1"),
        "reading the manifest of f/2": lambda store: write(store, "f/2", b"x"),
        "listing f": lambda store: files.entries(store.gateway, "f"),
        "reading the manifest of f": lambda store: remove(store, "f"),
        "beginning gc": lambda store: collect(store),
        "listing the table": lambda store: fsck(store),
    }

    def test_each_operation_ends_by_its_deadline_and_then_all_is_right_again(
        self, five: HBaseServer, table_name: str
    ) -> None:
        contents = {f"f/{number}": Version(f"f/{number}", "w", number, SIZE).content() for number in range(12)}
        with created(five, table_name) as store:
            for path, content in contents.items():
                write(store, path, content)
        with opened(five, table_name, **TIMES) as store, ThreadPoolExecutor(len(self.USES)) as threads:
            for path in contents:  # so that there are connections
                assert read(store, path) == contents[path]
            five.pause("thrift")
            try:
                for ended in [threads.submit(self.stopped, store, doing) for doing in self.USES]:
                    ended.result()
            finally:
                five.resume("thrift")
            # Answers to what was given up come now; none may be taken for the answer to something else.
            order = random.Random(1).choices(list(contents), k=60)
            assert [path for path in order if read(store, path) != contents[path]] == []
            assert [path for path in threads.map(lambda path: read(store, path) != contents[path], order) if path] == []
            write(store, "f/2", contents["f/3"])
            assert read(store, "f/2") == contents["f/3"]
            require_clean(store, {**contents, "f/2": contents["f/3"]})

    def stopped(self, store: Store, doing: str) -> None:
        began = time.monotonic()
        with pytest.raises(StoreTimeout) as caught:
            self.USES[doing](store)
        assert time.monotonic() - began < TIMES["deadline_s"] + SLACK_S
        for part in (store.location.place, f"table {store.location.table}", f"while {doing}", "did not answer"):
            assert part in str(caught.value)

    def test_a_write_that_is_under_way_ends_by_its_deadline_too(self, five: HBaseServer, table_name: str) -> None:
        """Stopped at any of its calls: an error in time, and afterwards the old file or the new one."""
        old, new = (Version("f", "w", number, SIZE).content() for number in (0, 1))
        with created(five, table_name) as store:
            write(store, "f", old)
        for call in range(0, 8, 2):
            with opened(five, table_name, **TIMES) as store:
                self.pause_at(five, store, call)
                began = time.monotonic()
                try:
                    with pytest.raises(
                        StoreError, match=rf"{store.location.place}.*did not answer.*table {table_name}"
                    ):
                        write(store, "f", new)
                    # The switch has a deadline, and looking whether it happened has one.
                    assert time.monotonic() - began < 2 * TIMES["deadline_s"] + SLACK_S
                finally:
                    five.resume("thrift")
            with opened(five, table_name) as store:
                assert read(store, "f") in (old, new)
                require_clean(store)

    def pause_at(self, five: HBaseServer, store: Store, number: int) -> None:
        calls = iter(range(number + 1))
        repeated = store.gateway._repeated

        def counted(*arguments: Any) -> Any:
            if next(calls, None) == number:
                five.pause("thrift")
            return repeated(*arguments)

        store.gateway._repeated = counted  # type: ignore[method-assign]


class Late:
    """A socket whose other end is sometimes made to wait."""

    def __init__(self, sock: socket.socket, delay: Callable[[], float]) -> None:
        self._sock = sock
        self._delay = delay

    def sendall(self, data: bytes) -> None:
        time.sleep(self._delay())
        self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_late_answers_are_never_taken_for_others(five: HBaseServer, table_name: str) -> None:
    """One answer in ten is later than the client waits."""
    chosen, waits = random.Random(7), [0]

    def delay() -> float:
        waits[0] += (late := chosen.random() < 0.1)
        return 0.5 if late else 0.0

    contents = {f"f/{number}": Version(f"f/{number}", "w", number, 3000).content() for number in range(8)}
    with (
        created(five, table_name),
        proxy((five.host, five.port), lambda raw: Late(raw, delay)) as port,  # type: ignore[arg-type,return-value]
        opened(five, table_name, port=port, timeout_s=0.25, deadline_s=30) as store,
        ThreadPoolExecutor(4) as threads,
    ):
        list(threads.map(lambda path: write(store, path, contents[path]), contents))
        order = chosen.choices(list(contents), k=80)
        assert [wrong for wrong in threads.map(lambda path: read(store, path) != contents[path], order) if wrong] == []
        assert found(store, "f/none") is None
    assert waits[0] > 10
    with opened(five, table_name) as store:
        require_clean(store, contents)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own with 256 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a disk that can be filled needs root and the right to mount one: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_an_error_in_time_and_loses_nothing(hbase_jars: None, small_disk: Path, table_name: str) -> None:
    """HBase does not live through it. Started again where there is room, it has all that was acknowledged."""
    deadline_s = 4.0
    filler = small_disk / "filler"
    files: dict[str, bytes] = {}
    with HBaseServer(small_disk / "hbase") as server:
        with created(server, table_name, timeout_s=2, deadline_s=deadline_s) as store:
            write(store, "before", b"before")
            with filler.open("wb") as file:
                room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
                os.posix_fallocate(file.fileno(), 0, room - (24 << 20))
            failure = None
            for number in range(100):
                path = f"f/{number}"
                content = Version(path, "w", number, 2 * CHUNK_BYTES).content()
                began = time.monotonic()
                try:
                    write(store, path, content)
                except StoreError as error:
                    failure = error
                    break
                files[path] = content
            assert re.search(rf"{store.location.place}.*{table_name}", str(failure))
            assert time.monotonic() - began < 2 * deadline_s + SLACK_S
        filler.unlink()
        for role in server.roles:  # some end by themselves, some are left as good as dead
            server.kill(role)
        server.revive()
        with opened(server, table_name) as store:
            assert [path for path, content in files.items() if read(store, path) != content] == []
            assert read(store, "before") == b"before"
            require_clean(store)
