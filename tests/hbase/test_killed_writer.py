"""A writer is killed by kill -9 for real, at each of its calls and in between: old or new, and nothing is left of it.

test_crashes tries the same with everything that may happen besides, on a table in memory.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from sqlml.hbase.layout import CHUNK_BYTES
from sqlml.hbase.store import Store
from tests.hbase.mortal import Mortal, Step
from tests.hbase.server.cluster import HBaseServer
from tests.hbase.stores import collect, created, found, remove, require_clean, write
from tests.hbase.versions import Version, version_in

SIZE = 2 * CHUNK_BYTES + 100


@pytest.fixture
def store(hbase: HBaseServer, table_name: str) -> Iterator[Store]:
    with created(hbase, table_name) as opened:
        yield opened


@pytest.fixture
def mortal(hbase: HBaseServer, store: Store) -> Iterator[Mortal]:
    with Mortal(hbase, store.location.table) as writer:
        yield writer


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["write", "overwrite", "remove", "write where one was removed"])
def test_killed_at_each_call_the_file_is_the_old_one_or_the_new_one(
    store: Store, mortal: Mortal, operation: str, when: str
) -> None:
    files: dict[str, bytes] = {}
    seen = set()
    for call in range(100):
        path = f"m/{call}"
        old = None if operation == "write" else Version(path, "old", 0, CHUNK_BYTES + 1).content()
        if old is not None:
            write(store, path, old)
        if operation == "write where one was removed":
            remove(store, path)
            old = None
        version = Version(path, "new", call, SIZE)
        new = None if operation == "remove" else version.content()

        outcome = mortal.run([("remove" if operation == "remove" else "write", version)], kill_at=call, when=when)

        content = found(store, path)
        assert content in ((old, new) if outcome.killed else (new,))
        seen.add(content == new)
        if content is not None:
            files[path] = content
        if not outcome.killed:
            assert call == outcome.calls > 4
            break

    assert seen == {True, False}
    require_clean(store, files)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_it_has_lost_nothing_that_it_acknowledged(
    store: Store, hbase: HBaseServer, seed: int
) -> None:
    """Two writers, each with files of its own, four connections, and one file of both. gc comes at times."""
    chosen = random.Random(seed)
    possible: dict[str, set[bytes | None]] = {}  # what was last acknowledged, and what was under way since
    numbers = iter(range(1_000_000))

    def steps(writer: str) -> list[Step]:
        paths = [*(f"{writer}/{number}" for number in range(3)), "both"]
        sizes = (100, 4000, CHUNK_BYTES, SIZE, 6 * CHUNK_BYTES)
        return [
            ("write", Version(chosen.choice(paths), writer, next(numbers), chosen.choice(sizes))) for _ in range(200)
        ]

    with Mortal(hbase, store.location.table, 4) as one, Mortal(hbase, store.location.table, 4) as other:
        writers = {"one": one, "other": other}
        for _ in range(12):
            for name, writer in writers.items():
                writer.start(steps(name))
            time.sleep(chosen.uniform(0, 0.3))
            for writer in writers.values():
                writer.kill()
            for name, writer in writers.items():
                outcome = writer.outcome()
                assert outcome.killed
                for path in {version.path for version in outcome.begun} - {"both"}:
                    acknowledged = [version.content() for version in outcome.acknowledged if version.path == path]
                    if acknowledged:
                        possible[path] = {acknowledged[-1]}
                    if outcome.begun[-1].path == path:
                        possible.setdefault(path, {None}).add(outcome.begun[-1].content())
                    assert found(store, path) in possible[path], f"{path} of {name}"
                if any(version.path == "both" for version in outcome.acknowledged):
                    assert found(store, "both") is not None
            if chosen.random() < 0.3:
                assert collect(store).problems == []

    assert collect(store).problems == []  # from here on nothing that was under way can arrive
    both = found(store, "both")
    assert both is None or version_in(both).path == "both"
    files = {path: content for path in possible if (content := found(store, path)) is not None}
    assert all(content in possible[path] for path, content in files.items())
    assert len(files) > 3, "it was always killed too early"
    require_clean(store, files if both is None else {**files, "both": both})
