"""Whether a process that has left its name somewhere still runs. A pid alone does not say: it is given again, and in a
container the only program has pid 1 every time."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

UNKNOWN = "unknown"
"""The start of a process where the system has no /proc."""
SLACK = timedelta(seconds=10)
"""The time of the boot is told in whole seconds, and clocks are put right."""


def this_process() -> str:
    """A name for this process that no later one repeats: pid and start time."""
    return _name(os.getpid())


@cache
def _name(pid: int) -> str:
    return f"{pid}@{_started(pid)}"


def lives(process: str) -> bool:
    """Whether the process of this name (of `this_process`) still runs."""
    pid, _, started = process.partition("@")
    if not pid.isdigit():
        return False
    now = _started(int(pid))
    return now == started if UNKNOWN not in (now, started) else exists(int(pid))


def may_have_been(pid: int, moment: datetime) -> bool:
    """Whether the process that has this pid now is the one that had it at the moment (UTC, without a zone)."""
    if not exists(pid):
        return False
    began = _began(pid)
    return began is None or began <= moment + SLACK


def exists(pid: int) -> bool:
    """Whether there is a process with this pid, whosever."""
    if pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it exists and is somebody else's
        return True
    return True


def _started(pid: int) -> str:
    """In ticks of the clock since the boot."""
    try:
        # The name of the program comes before, in parentheses, and may be anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[19]
    except OSError:
        return UNKNOWN


def _began(pid: int) -> datetime | None:
    started = _started(pid)
    if started == UNKNOWN:
        return None
    with suppress(OSError, StopIteration):
        boot = next(line for line in Path("/proc/stat").read_text().split("\n") if line.startswith("btime "))
        seconds = int(boot.split()[1]) + int(started) / os.sysconf("SC_CLK_TCK")
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return None
