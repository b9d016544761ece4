"""Servers that the tests start die with the tests, however those end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path


class Keeper:
    """A process group that is killed as soon as this process is gone, even by `kill -9`.

    One small shell leads the group and waits for the end of a pipe whose other end only this process holds. The
    kernel's own way, PR_SET_PDEATHSIG, is bound to the thread that started a server: one that a test starts in a
    thread would die with the thread. It also needs `preexec_fn`, which may deadlock where threads run.
    """

    def __init__(self) -> None:
        self._leader = subprocess.Popen(
            ["sh", "-c", "trap '' HUP INT TERM; read _; kill -KILL 0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a server that writes what it says to a file."""
        with log.open("wb") as out:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, process_group=self.group
            )
        self._children.append(child)
        return child

    @property
    def group(self) -> int:
        """What `Popen(process_group=...)` takes to put a server into the group."""
        return self._leader.pid

    def close(self) -> None:
        """Kill whatever of the group is still there, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        for child in (*self._children, self._leader):
            child.wait()
        assert self._leader.stdin
        self._leader.stdin.close()
