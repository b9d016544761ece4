"""Servers that the tests start die with the tests, however those end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess


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

    @property
    def group(self) -> int:
        """What `Popen(process_group=...)` takes to put a server into the group."""
        return self._leader.pid

    def close(self) -> None:
        """Kill whatever of the group is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        self._leader.wait()
        assert self._leader.stdin
        self._leader.stdin.close()
