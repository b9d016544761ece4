"""Java processes: started, recognised again by another program, signalled, gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

OPTIONS = Path(__file__).with_name("java.options")


@dataclass(frozen=True)
class Process:
    """A process that may have been started by another program; a number the kernel has given away since is not it."""

    pid: int
    started: str  # the kernel's tick at which it began

    @property
    def alive(self) -> bool:
        return tick(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def end(self, grace_s: float) -> None:
        """Ask it to stop, wait, and kill it when it has not; without grace it is not asked."""
        if grace_s > 0:
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)  # a paused one hears it then
            gone(self, grace_s)
        self.send(signal.SIGKILL)
        gone(self, 10)

    @property
    def resident_mib(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def tick(pid: int) -> str | None:
    """When a process began; None when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # The remains of a process that still has threads are not remains yet: those still hold its sockets.
    return None if fields[0] in "ZX" and int(fields[17]) <= 1 else fields[19]


def gone(process: Process, timeout_s: float) -> bool:
    """Wait for the end of a process; True when it came."""
    deadline = time.monotonic() + timeout_s
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    collect()
    return True


def java(arguments: list[str], *, heap: str, log: Path, folder: Path, group: int | None) -> Process:
    """Start Java in the background; without a group it outlives this program."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            [shutil.which("java") or "java", f"-Xmx{heap}", f"@{OPTIONS}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "HADOOP_USER_NAME": "hbase"},
            start_new_session=group is None,
            process_group=group,
        )
    began = tick(child.pid) or "gone"
    with _LOCK:
        _CHILDREN.append(child)
    return Process(child.pid, began)


# Whoever starts a process must collect its remains, and a Popen that is forgotten while it runs warns.
_CHILDREN: list[subprocess.Popen[bytes]] = []
_LOCK = threading.Lock()


def collect() -> None:
    """Collect the remains of our own dead."""
    with _LOCK:
        _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
