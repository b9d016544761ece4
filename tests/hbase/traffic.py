"""Writers and readers at work, while a test kills what they need; each thing read is compared with what was written."""

from __future__ import annotations

import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition, Event

from sqlml.hbase.layout import CHUNK_BYTES
from sqlml.hbase.store import Store
from tests.hbase.stores import found, read, require_clean, write
from tests.hbase.versions import Version, version_in

SIZES = (200, 5000, CHUNK_BYTES + 1, 3 * CHUNK_BYTES)


class Traffic:
    """Each writer overwrites a file of its own, again and again; readers read any. An error ends one, and the test."""

    def __init__(self, store: Store, writers: int = 2, readers: int = 2) -> None:
        self.store = store
        self.slowest_s = 0.0
        self._paths = [f"model/{number}" for number in range(writers)]
        self._begun = dict.fromkeys(self._paths, 0)
        self._acknowledged = dict.fromkeys(self._paths, 0)
        self._read = dict.fromkeys(range(readers), 0)
        self._changed = Condition()
        self._over = Event()
        self._threads = ThreadPoolExecutor(writers + readers)
        self._work: list[Future[None]] = []

    def __enter__(self) -> Traffic:
        self._work = [self._threads.submit(self._write, path) for path in self._paths]
        self._work += [self._threads.submit(self._look, reader) for reader in self._read]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()

    def advance(self, times: int = 3, timeout_s: float = 120) -> None:
        """Return when every writer has written, and every reader read, as often again."""
        with self._changed:
            goals = [{key: done + times for key, done in each.items()} for each in (self._acknowledged, self._read)]

            def reached() -> bool:
                each = zip(goals, (self._acknowledged, self._read), strict=True)
                return self._failed() or all(done[key] >= goal for goals, done in each for key, goal in goals.items())

            assert self._changed.wait_for(reached, timeout_s), "nothing goes on"
        for work in self._work:
            if work.done():
                work.result()

    def require_right(self) -> None:
        """All has ended without an error, and the table holds what was acknowledged last and nothing else."""
        for work in self._work:
            work.result()
        last = {path: self._version(path, number).content() for path, number in self._acknowledged.items()}
        assert {path: read(self.store, path) == content for path, content in last.items()} == dict.fromkeys(last, True)
        require_clean(self.store, last)

    def _failed(self) -> bool:
        return any(work.done() and work.exception() for work in self._work)

    def _version(self, path: str, number: int) -> Version:
        return Version(path, "w", number, random.Random(f"{path} {number}").choice(SIZES))

    def _write(self, path: str) -> None:
        while not self._over.is_set():
            self._begun[path] += 1
            content = self._version(path, self._begun[path]).content()
            with _Timed(self):
                write(self.store, path, content)
            self._acknowledged[path] += 1

    def _look(self, reader: int) -> None:
        chosen = random.Random(reader)
        while not self._over.is_set():
            path = chosen.choice(self._paths)
            before = self._acknowledged[path]
            with _Timed(self):
                content = found(self.store, path)
            if content is None:
                assert before == 0, f"{path} has gone"
            else:
                version = version_in(content)
                assert version == self._version(path, version.number)
                assert before <= version.number <= self._begun[path], f"{version} when {before} was acknowledged"
            self._read[reader] += 1


class _Timed:
    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        with self._traffic._changed:
            self._traffic.slowest_s = max(self._traffic.slowest_s, time.monotonic() - self._began)
            self._traffic._changed.notify_all()
