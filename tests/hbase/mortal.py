"""A writer in a process of its own that dies by kill -9: at random, or at one of its calls to HBase.

`Mortal` is the test's end. The other end, `python -m tests.hbase.mortal`, forks a child for each job, so that a death
costs no new start of Python. What the child has begun and what is acknowledged comes over a pipe.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlml.errors import ArtifactError, StoreError
from sqlml.hbase import writing
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.settings import Settings
from sqlml.hbase.store import Store
from sqlml.hbase.transfers import Transfers
from tests.hbase.server.cluster import HBaseServer
from tests.hbase.versions import Version

ROOT = Path(__file__).parents[2]
Step = tuple[Literal["write", "remove"], Version]


@dataclass
class Outcome:
    """What a writer said until it ended or died; `calls` to HBase only when it ended."""

    begun: list[Version] = field(default_factory=list)
    acknowledged: list[Version] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    calls: int = 0
    killed: bool = False


class Mortal:
    """One writer after the other, in a child of a child of this process."""

    def __init__(self, server: HBaseServer, table: str, connections: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hbase.mortal", server.host, str(server.port), table, str(connections)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = 0

    def start(self, steps: Sequence[Step], kill_at: int | None = None, when: str = "before") -> None:
        """Begin to make `steps`; it kills itself `when` (before or after) its call number `kill_at`."""
        job = {"steps": [(what, astuple(version)) for what, version in steps], "kill_at": kill_at, "when": when}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        kind, self.pid = self._said()
        assert kind == "pid"

    def kill(self) -> None:
        """`kill -9`, if it has not ended yet."""
        with contextlib.suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)

    def outcome(self) -> Outcome:
        """Wait for the end."""
        outcome = Outcome()
        while True:
            kind, said = self._said()
            if kind == "end":
                self.pid = 0
                outcome.killed = said == -signal.SIGKILL
                assert outcome.killed or said == 0, outcome
                return outcome
            if kind == "calls":
                outcome.calls = said
            elif kind == "error":
                outcome.errors.append(said)
            else:
                getattr(outcome, kind).append(Version(*said))

    def run(self, steps: Sequence[Step], kill_at: int | None = None, when: str = "before") -> Outcome:
        self.start(steps, kill_at, when)
        return self.outcome()

    def close(self) -> None:
        with self._process:  # closes its input, which ends it
            pass

    def __enter__(self) -> Mortal:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.close()

    def _said(self) -> tuple[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the writer's parent has died"
        kind, said = json.loads(line)
        return kind, said


class FatalGateway(Gateway):
    """Kills its own process before, or after, its call number `kill_at`."""

    calls = 0
    kill_at: int | None = None
    when = "before"

    def _repeated(self, *arguments: Any) -> Any:
        return self._counted(lambda: super(FatalGateway, self)._repeated(*arguments))

    def _once(self, *arguments: Any) -> Any:
        return self._counted(lambda: super(FatalGateway, self)._once(*arguments))

    def _counted(self, call: Callable[[], Any]) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if (number, "before") == (self.kill_at, self.when):
            os.kill(os.getpid(), signal.SIGKILL)
        result = call()
        if (number, "after") == (self.kill_at, self.when):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def _main(host: str, port: str, table: str, connections: str) -> None:
    from sqlml.hbase.location import Location
    from sqlml.hbase.transport import thrift

    thrift()  # once, not in each child
    location = Location(host, int(port), table, "")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _say("pid", os.getpid())
                _write(location, int(connections), json.loads(line))
                code = 0
            except BaseException:  # said here, since a fork that returned from here would go on as its parent
                traceback.print_exc()
            finally:
                os._exit(code)
        _say("end", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _write(location: Any, connections: int, job: dict[str, Any]) -> None:
    gateway = FatalGateway(location, Settings())
    gateway.kill_at, gateway.when = job["kill_at"], job["when"]
    store = Store(location, gateway, Transfers(gateway, connections))
    for what, values in job["steps"]:
        version = Version(*values)
        _say("begun", values)
        try:
            if what == "write":
                writing.write(gateway, store.transfers, store.path(version.path), io.BytesIO(version.content()))
            else:
                writing.remove(gateway, store.path(version.path))
        except (ArtifactError, StoreError) as error:
            _say("error", str(error))
        else:
            _say("acknowledged", values)
    _say("calls", gateway.calls)
    store.close()


def _say(kind: str, what: object) -> None:
    os.write(1, (json.dumps([kind, what]) + "\n").encode())  # at once and in one piece, also just before a death


if __name__ == "__main__":
    _main(*sys.argv[1:])
