"""2 GiB move both ways, and neither way needs memory for them: the limit is 64 MiB more than a small file needs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hbase.server.cluster import HBaseServer
from tests.hbase.stores import created

SIZE = 2 << 30
BY_FILE = 512 << 20
EXTRA_MIB = 64
ROOT = Path(__file__).parents[2]

# Run in a process of its own, whose highest memory use is asked of the kernel (VmHWM), first after a small file.
PROGRAM = """
import hashlib, json, sys, time
from pathlib import Path
from sqlml.hbase.repository import HBaseArtifactRepository
from tests.hbase.test_large import Pattern

def highest():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

def sha256(path):
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

uri, folder, way, size = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
repository = HBaseArtifactRepository(uri)

def move(name, size):
    if way == "from a stream":
        stream = Pattern(size)
        repository.log_artifact_from_stream(stream, name)
        return stream.sha256
    if way == "from a file":
        with (folder / name).open("wb") as file:
            stream = Pattern(size)
            while block := stream.read(1 << 20):
                file.write(block)
        repository.log_artifact(folder / name)
        (folder / name).unlink()
        return stream.sha256
    found = Path(repository.download_artifacts(name, str(folder)))
    assert found.stat().st_size == size
    digest = sha256(found)
    found.unlink()
    return digest

move("small", 3 << 20)
before, began = highest(), time.monotonic()
digest = move("large", size)
print(json.dumps({"sha256": digest, "extra_mib": highest() - before, "seconds": round(time.monotonic() - began, 1)}))
"""


class Pattern:
    """A stream of bytes that are made when they are read; no two MiB of it are the same."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._number = 0
        self._rest = b""
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < min(size, self._left):
            self._rest += (b"%016x" % self._number) * (1 << 16)
            self._number += 1
        part, self._rest = self._rest[: min(size, self._left)], self._rest[size:]
        self._left -= len(part)
        self._digest.update(part)
        return part

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@pytest.fixture(scope="module")
def roomy(hbase_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HBaseServer]:
    """Its table is not split and seldom flushed, which are not what is tried here."""
    server = HBaseServer(
        tmp_path_factory.mktemp("hbase-large"),
        extra={
            "hbase.hregion.memstore.flush.size": str(128 << 20),
            "hbase.regionserver.region.split.policy": "org.apache.hadoop.hbase.regionserver.DisabledRegionSplitPolicy",
            "hbase.hstore.blockingStoreFiles": "100",
        },
    )
    try:
        yield server.start()
    finally:
        server.stop(grace_s=0)


@pytest.mark.slow
def test_2_gib_move_both_ways_with_less_than_64_mib_of_extra_memory(
    roomy: HBaseServer, table_name: str, tmp_path: Path
) -> None:
    uri = f"hbase://{roomy.host}:{roomy.port}/{table_name}/large"
    with created(roomy, table_name):
        pass

    def moved(way: str, size: int) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, uri, tmp_path, way, str(size)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        print(f"{size >> 20} MiB {way}: {told['seconds']} s, {told['extra_mib']} MiB more memory")
        return told

    from_file = moved("from a file", BY_FILE)
    from_stream = moved("from a stream", SIZE)
    to_file = moved("to a file", SIZE)

    assert to_file["sha256"] == from_stream["sha256"]
    assert [way["extra_mib"] < EXTRA_MIB for way in (from_file, from_stream, to_file)] == [True] * 3
