"""The servers that other tests rely on: they answer, come back, end with whoever started them, and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import happybase
import pytest

from tests.hbase.server.cluster import HBaseServer
from tests.hbase.server.processes import Process, gone

ROOT = Path(__file__).parents[2]
SERVER = (sys.executable, "-m", "tests.hbase.server")


@contextmanager
def connected(server: HBaseServer, timeout_s: float = 60) -> Iterator[Any]:
    with closing(happybase.Connection(server.host, server.port, timeout=int(timeout_s * 1000))) as connection:
        yield connection


def write(server: HBaseServer, table: str) -> None:
    with connected(server) as connection:
        connection.create_table(table, {"d": {}})
        connection.table(table).put(b"row", {b"d:c": b"value"})


def read(server: HBaseServer, table: str) -> dict[bytes, bytes]:
    with connected(server) as connection:
        found: dict[bytes, bytes] = connection.table(table).row(b"row")
        return found


def processes(folder: Path) -> list[Process]:
    return [Process(**one) for one in json.loads((folder / "hbase.json").read_text())["processes"].values()]


def test_one_process_answers(hbase: HBaseServer, table_name: str) -> None:
    write(hbase, table_name)

    assert read(hbase, table_name) == {b"d:c": b"value"}


@pytest.mark.parametrize("codec", ["LZO", "LZ4", "ZSTD"])
def test_an_ordinary_one_lacks_the_codecs_that_a_setting_adds(hbase: HBaseServer, table_name: str, codec: str) -> None:
    with connected(hbase) as connection, pytest.raises(Exception, match="CompressionTest"):
        connection.create_table(table_name, {"d": {"compression": codec}})


@pytest.mark.slow
def test_one_with_codecs_has_them_all(hbase_with_codecs: HBaseServer, table_name: str) -> None:
    codecs = ("NONE", "GZ", "SNAPPY", "LZO", "LZ4", "ZSTD")
    with connected(hbase_with_codecs) as connection:
        connection.create_table(table_name, {codec.lower(): {"compression": codec} for codec in codecs})

        families = connection.table(table_name).families().values()
    assert {family["compression"].decode() for family in families} == set(codecs)


@pytest.mark.slow
def test_any_of_five_can_die_or_stall_and_be_revived(cluster: HBaseServer, table_name: str) -> None:
    write(cluster, table_name)
    holder = cluster.role_of_table(table_name)
    assert {holder, cluster.role_of_meta()} <= {"rs1", "rs2"}

    cluster.kill(holder)
    cluster.kill("thrift")
    assert not cluster.alive(holder)
    cluster.revive()
    assert read(cluster, table_name) == {b"d:c": b"value"}

    cluster.pause("thrift")
    with pytest.raises(TimeoutError), connected(cluster, timeout_s=0.5) as connection:
        connection.tables()
    cluster.resume("thrift")
    assert read(cluster, table_name) == {b"d:c": b"value"}


@pytest.mark.slow
def test_all_of_five_can_die_at_once_and_be_revived(cluster: HBaseServer, table_name: str) -> None:
    write(cluster, table_name)

    for role in cluster.roles:
        cluster.kill(role)
    cluster.revive()

    assert read(cluster, table_name) == {b"d:c": b"value"}


@pytest.mark.slow
def test_a_command_runs_beside_a_server_that_ends_with_it(hbase_jars: None, tmp_path: Path) -> None:
    """Starting again what runs changes nothing; the command's exit code is passed on; nothing is left."""
    folder = tmp_path / "server"
    again = f"{' '.join(SERVER)} start {folder}"
    script = f"cat {folder}/hbase.json && test $({again}) = $HBASE_HOST:$HBASE_PORT && exit 7"

    done = subprocess.run(
        [*SERVER, "run", "--folder", folder, "--", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 7, done.stderr
    served = [Process(**one) for one in json.loads(done.stdout)["processes"].values()]
    assert len(served) == 2
    assert not any(process.alive for process in served)


def test_a_server_ends_with_its_parent_even_by_kill_9(hbase_jars: None, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [*SERVER, "run", "--folder", tmp_path, "--", "sleep", "60"], cwd=ROOT, stderr=subprocess.PIPE
    )
    with parent:
        wait_for(lambda: (tmp_path / "hbase.json").exists() and len(processes(tmp_path)) == 2)
        served = processes(tmp_path)
        assert all(process.alive for process in served)
        parent.send_signal(signal.SIGKILL)

    assert all(gone(process, 10) for process in served)


def wait_for(condition: Any, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_machine_without_java_skips_with_the_reason_and_ci_fails(tmp_path: Path, ci: str, outcome: str) -> None:
    test = f"{Path(__file__)}::test_one_process_answers"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
    )

    assert outcome in done.stdout
    assert "java is not installed: `.ci/packages` installs" in done.stdout
