"""Random trees of files, written, replaced, removed and read while writers and the gateway are killed at random.

The seed is in the test's name and output: SQLML_TREE_SEED=... repeats a run as far as the clock allows.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import pytest

from sqlml.hbase import copying
from sqlml.hbase.layout import CHUNK_BYTES
from sqlml.hbase.store import Store
from tests.hbase.mortal import Mortal, Outcome, Step
from tests.hbase.server.cluster import HBaseServer
from tests.hbase.stores import collect, created, found, require_clean
from tests.hbase.versions import Version, version_in

pytestmark = [pytest.mark.faults, pytest.mark.slow]

NAMES = (
    *("model.pkl", "MLmodel", "a b", " lead and trail ", "%2e%2e%20", "%", "#hash?query=1", "a;b&c=d", "\\back\\slash"),
    *(
        "'quoted\"",
        "tab-less",
        ".hidden",
        "..two",
        "-dash",
        "~",
        "+plus+",
        "{json}",
        "[0]",
        "*",
        "$HOME",
        "CON",
        "nul.",
    ),
    *("ünïcödé", "日本語", "🐘.bin", "e\u0301", "\u00e9", "\u202eright-to-left", "ﬀ", "İ", "n" * 200, "漢" * 60),
)
SIZES = (0, 0, 200, 1000, 70_000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 77)
LEAST = 500  # bytes in which any version can say what it is
LARGEST = 64 << 20
WRITERS, ROUNDS = 2, 14
LONGEST_WRITE_S = 10  # of the small ones, with the gateway's death in its middle


class Tree:
    """What may be at each path: what was acknowledged last, and all that was begun since."""

    def __init__(self, seed: int) -> None:
        self.chosen = random.Random(seed)
        self.possible: dict[str, set[Version | None]] = {}
        self.begun: dict[str, set[Version | None]] = {}
        self.lock = Lock()
        self._numbers = iter(range(1_000_000))

    def path(self, writer: str) -> str:
        """One of its own earlier ones, or a new one; no file is below a file, since folders have names of their own."""
        own = [path for path in self.begun if path.startswith(f"{writer}/")]
        if own and self.chosen.random() < 0.4:
            return self.chosen.choice(own)
        depth = self.chosen.choice((0, 0, 1, 2, 3, 12))
        folders = [f"{self.chosen.choice(NAMES)}.d" for _ in range(depth)]
        return "/".join((writer, *folders, self.chosen.choice(NAMES)))

    def steps(self, writer: str, count: int = 40) -> list[Step]:
        made: list[Step] = []
        for _ in range(count):
            path = self.path(writer)
            size = self.chosen.choice(SIZES)
            size = size if size == 0 else max(size, LEAST + 2 * len(path.encode("unicode-escape")))
            version = Version(path, writer, next(self._numbers), size)
            remove = self.chosen.random() < 0.15
            made.append(("remove" if remove else "write", version))
            with self.lock:  # before it may be read
                self.begun.setdefault(path, {None}).add(None if remove else version)
        return made

    def ended(self, steps: list[Step], outcome: Outcome) -> None:
        made = {version: None if what == "remove" else version for what, version in steps}
        for version in outcome.begun:
            self.possible.setdefault(version.path, {None})
            if version in outcome.acknowledged:
                self.possible[version.path] = {made[version]}
            else:
                self.possible[version.path].add(made[version])

    def require_possible(self, path: str, content: bytes | None, possible: set[Version | None]) -> None:
        if content is None:
            assert None in possible, f"{path} has gone"
        elif content == b"":
            assert any(version is not None and version.size == 0 for version in possible), f"{path} is empty"
        else:
            assert version_in(content) in possible, f"{path} is an older version, or none of it"


@pytest.fixture
def own_hbase(hbase_jars: None, tmp_path: Path) -> Iterator[HBaseServer]:
    """A server whose gateway this test may kill."""
    with HBaseServer(tmp_path / "hbase") as server:
        yield server


def test_random_trees_under_random_kills(own_hbase: HBaseServer, table_name: str, tmp_path: Path) -> None:
    # The one that is asked for, or one that nobody has tried.
    seed = int(os.environ.get("SQLML_TREE_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"SQLML_TREE_SEED={seed}")
    tree, over = Tree(seed), Event()
    with created(own_hbase, table_name) as store:

        def look(reader: int) -> int:
            chosen, looks = random.Random(seed + reader), 0
            while not over.is_set():
                with tree.lock:
                    path = chosen.choice(list(tree.begun) or ["nothing"])
                content = found(store, path)
                with tree.lock:
                    possible = {None, *tree.begun.get(path, ())}
                tree.require_possible(path, content, possible)
                looks += 1
            return looks

        with ThreadPoolExecutor(2) as threads:
            readers = [threads.submit(look, reader) for reader in range(2)]
            try:
                write_under_kills(own_hbase, store, tree)
            finally:
                over.set()
            assert min(reader.result() for reader in readers) > 20

        assert collect(store).problems == []  # from here on nothing that was under way can arrive
        held = {path: found(store, path) for path in tree.possible}
        for path, content in held.items():
            tree.require_possible(path, content, tree.possible[path])
        there = {path: content for path, content in held.items() if content is not None}
        assert len(there) > 20, "it was always killed too early"
        require_clean(store, there)
        require_downloaded(store, there, tmp_path / "down")


def write_under_kills(server: HBaseServer, store: Store, tree: Tree) -> None:
    large = Version("large/one.bin", "w", 0, LARGEST)
    names = [f"w{number}" for number in range(WRITERS)]
    tree.begun[large.path] = {None, large}
    with (
        Mortal(server, store.location.table, 4) as patient,
        Mortal(server, store.location.table, 2) as one,
        Mortal(server, store.location.table, 2) as other,
    ):
        patient.start([("write", large)])  # it is never killed, so in the end its file is there
        for number in range(ROUNDS):
            writers = dict(zip(names, (one, other), strict=True))
            steps = {name: tree.steps(name) for name in names}
            for name, writer in writers.items():
                writer.start(steps[name])
            time.sleep(tree.chosen.uniform(0.05, 1.5))
            if tree.chosen.random() < 0.3:
                server.kill("thrift")
                time.sleep(tree.chosen.uniform(0, 0.3))
                server.start_role("thrift")
            for writer in writers.values():
                writer.kill()
            for name, writer in writers.items():
                outcome = writer.outcome()
                assert outcome.errors == []
                tree.ended(steps[name], outcome)
            if number == ROUNDS // 2:
                outcome = patient.outcome()
                assert outcome.acknowledged == [large], outcome.errors
                tree.ended([("write", large)], outcome)
            if number > ROUNDS // 2:
                assert collect(store, age_s=LONGEST_WRITE_S).problems == []


def require_downloaded(store: Store, files_there: dict[str, bytes], target: Path) -> None:
    """All of it as a folder on disk, as MLflow's clients would have it; and nothing else."""
    copying.get_folder(store, "", target)
    got = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
    assert sorted(got) == sorted(files_there)
    assert [name for name, path in got.items() if path.read_bytes() != files_there[name]] == []
