"""The worker confines itself before it touches the model, and says feature by feature what is in force."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlml.convert.isolated import kernel

# Where the loader, onnxruntime and numpy look for libraries, time zones and the number of processors.
SYSTEM_READS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/sys/devices/system/cpu",
    "/dev/urandom",
)
DEVICES = ("/dev/null",)


@dataclass(frozen=True)
class Feature:
    """One protection: is it in force, and by what, or why not."""

    name: str
    in_force: bool
    why: str


@dataclass(frozen=True)
class Bounds:
    """What a worker may use."""

    work: str
    readable: tuple[str, ...]
    memory_bytes: int
    cpu_seconds: int
    file_bytes: int


def confine(bounds: Bounds) -> list[dict[str, object]]:
    """Confine this process, for good."""
    features = _limits(bounds)
    if sys.platform != "linux":
        why = f"not available on {sys.platform}"
        features += [Feature(name, False, why) for name in ("network", "writes", "reads", "signals", "processes")]
        return [asdict(feature) for feature in features]

    network = _attempt(kernel.enter_network_namespace)
    capabilities = _attempt(kernel.drop_capabilities)
    calls = _attempt(lambda: str(kernel.refuse_system_calls()))
    processes = _processes(calls)  # may look into /proc, which Landlock will close
    files = _attempt(lambda: str(kernel.restrict_files((*SYSTEM_READS, *bounds.readable), DEVICES, bounds.work)))
    # Last: a change of credentials, as by a new user namespace, would clear it.
    death = _attempt(kernel.die_with_parent)

    abi = int(files.why) if files.in_force else 0
    landlock = f"Landlock ABI {abi}" if abi else f"no Landlock ({files.why})"
    seccomp = "system calls refused by seccomp" if calls.in_force else f"no seccomp ({calls.why})"
    tcp = [f"TCP rules of {landlock}"] if abi >= 4 else []
    ways = [network.why] * network.in_force + tcp + ["no sockets (seccomp)"] * calls.in_force
    closed = network.in_force or calls.in_force
    features += [
        # TCP rules alone leave UDP open, so they count only as an addition to the other two.
        Feature(
            "network", closed, ", ".join(ways) if closed else f"{network.why}; {seccomp}; TCP rules leave UDP open"
        ),
        Feature("writes", abi > 0, f"{landlock}, modes and owners {'fixed' if calls.in_force else 'not covered'}"),
        Feature("reads", abi > 0, f"{landlock}: Python, its libraries, the model" if abi else landlock),
        Feature("signals", abi >= 6 or calls.in_force, landlock if abi >= 6 else seccomp),
        processes,
        Feature("capabilities", capabilities.in_force, capabilities.why),
        Feature("end of the parent", death.in_force, death.why),
    ]
    return [asdict(feature) for feature in features]


def _attempt(act: Callable[[], str]) -> Feature:
    try:
        return Feature("", True, act())
    except (OSError, AttributeError) as error:  # AttributeError: a libc without the function
        return Feature("", False, str(error))


def _limits(bounds: Bounds) -> list[Feature]:
    # Too large a file is then an error in the model's code (EFBIG), which can be reported.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return [
        # Not RLIMIT_AS: numpy and onnxruntime reserve far more addresses than they use.
        _limit("memory", resource.RLIMIT_DATA, bounds.memory_bytes, f"{bounds.memory_bytes >> 20} MB of data"),
        _limit("cpu time", resource.RLIMIT_CPU, bounds.cpu_seconds, f"{bounds.cpu_seconds} s"),
        _limit("file size", resource.RLIMIT_FSIZE, bounds.file_bytes, f"{bounds.file_bytes >> 20} MB a file"),
        _limit("core dumps", resource.RLIMIT_CORE, 0, "none"),
        _limit("open files", resource.RLIMIT_NOFILE, 256, "256"),
    ]


def _limit(name: str, limit: int, value: int, text: str) -> Feature:
    try:
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    except (OSError, ValueError) as error:
        return Feature(name, False, str(error))
    return Feature(name, True, text)


def _processes(seccomp: Feature) -> Feature:
    """No new processes at all, or at least not many; threads are bounded by the memory of their stacks."""
    if seccomp.in_force:
        return Feature("processes", True, "none can be started (seccomp)")
    room = _threads_of_user() + 64
    return _limit("processes", resource.RLIMIT_NPROC, room, "64 more than the user has; root is not bound by it")


def _threads_of_user() -> int:
    """What already counts against RLIMIT_NPROC, which is a limit of the user, not of the process."""
    count, user = 0, os.getuid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
    return count
