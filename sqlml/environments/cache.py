"""Environments on disk, by content: the same pins for the same Python give the same directory, built once.

<cache>/<key>/                     a virtual environment
<cache>/<key>/sqlml-environment.json   written last before the rename; without it the directory is not one of ours
<cache>/.building-<key>-...        being built, or left by a process that was killed; removed by the next builder
<cache>/<key>.lock                 held while building and while deleting
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlml.environments.environment import Environment, packages_in, titled
from sqlml.errors import ModelEnvironmentRefused

MARKER = "sqlml-environment.json"
# Part of every key: a change in what goes into an environment makes new ones.
FORMAT = 1
LOCK_SECONDS = 900.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Marker:
    """What is known of a built environment. Paths are of the interpreter it was built with; its own are relative."""

    key: str
    python: str
    interpreter: str
    standard_library: tuple[str, ...]
    readable: tuple[str, ...]
    site_packages: str
    requirements: tuple[str, ...]
    notes: tuple[str, ...]
    built_at: str
    seconds: float


@dataclass(frozen=True)
class Cached:
    """One environment in the cache, for people."""

    key: str
    path: Path
    python: str
    packages: Mapping[str, str]
    bytes: int
    built_at: str
    used_at: float
    """When it was last opened, in seconds since 1970."""

    @property
    def title(self) -> str:
        return titled(self.python, self.packages)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return {**asdict(self), "path": str(self.path)}


def directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where environments are kept: SQLML_MODEL_ENV_CACHE, or sqlml/environments in the user's cache directory."""
    environ = os.environ if environ is None else environ
    if named := environ.get("SQLML_MODEL_ENV_CACHE"):
        return Path(named).expanduser().absolute()
    home = environ.get("XDG_CACHE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache"
    return base / "sqlml" / "environments"


def key(python: str, requirements: tuple[str, ...]) -> str:
    """The content key: a minor version of Python, requirement lines, and what wheels depend on."""
    content = {
        "format": FORMAT,
        "python": python,
        "requirements": sorted(requirements),
        "platform": [sysconfig.get_platform(), *platform.libc_ver()[:1]],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def find(cache: Path, wanted: str) -> Environment | None:
    """The environment of this key, if it is whole and its interpreter still is what it was."""
    began = time.monotonic()
    marker = _marker(cache / wanted, wanted)
    if marker is None:
        return None
    home = cache / wanted
    with contextlib.suppress(OSError):  # a cache of somebody else's may be read-only
        os.utime(home / MARKER)
    site_packages = str(home / marker.site_packages)
    return Environment(
        Path(marker.interpreter),
        marker.python,
        (*marker.standard_library, site_packages),
        tuple(sorted({*marker.readable, str(home), str(home.resolve())})),
        packages_in([site_packages]),
        "cached",
        wanted,
        time.monotonic() - began,
        marker.notes,
    )


@contextlib.contextmanager
def building(cache: Path, wanted: str, log: Callable[[str], None]) -> Iterator[Path]:
    """Hold the key's lock, and give an empty directory to build in; what it holds is the caller's to `keep`.

    Raises:
        ModelEnvironmentRefused: another process has been building it for too long, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(cache / f"{wanted}.lock", log):
            _remove_remains(cache, wanted)
            home = Path(tempfile.mkdtemp(prefix=f".building-{wanted}-", dir=cache))
            try:
                yield home
            finally:
                shutil.rmtree(home, ignore_errors=True)
    except OSError as error:
        raise ModelEnvironmentRefused(
            f"The directory of models' environments, {cache}, cannot be used: {error.strerror or error}.",
            hint="Set SQLML_MODEL_ENV_CACHE to a directory with some gigabytes of room, or use --model-env current.",
        ) from error


def keep(cache: Path, building_in: Path, marker: Marker) -> None:
    """Put a finished environment in its place, in one step."""
    (building_in / MARKER).write_text(json.dumps(asdict(marker), indent=1), encoding="utf-8")
    place = cache / marker.key
    if place.exists():  # without a marker that holds: damaged, or its interpreter is gone
        _discard(place)
    os.rename(building_in, place)


def all_of(cache: Path) -> list[Cached]:
    """Everything in the cache that is whole, most recently used first."""
    found = []
    for home in sorted(cache.iterdir()) if cache.is_dir() else ():
        marker = None if home.name.startswith(".") else _marker(home, home.name)
        if marker is not None:
            used = (home / MARKER).stat().st_mtime
            packages = packages_in([str(home / marker.site_packages)])
            found.append(Cached(marker.key, home, marker.python, packages, _size(home), marker.built_at, used))
    return sorted(found, key=lambda one: -one.used_at)


def prune(cache: Path, *, unused_for: float) -> list[tuple[str, int]]:
    """Delete what was not used for so many seconds, and whatever is not whole; one that is being built stays.

    Returns the names and the bytes that they took.
    """
    removed = []
    now = time.time()
    for home in sorted(cache.iterdir()) if cache.is_dir() else ():
        if not home.is_dir() or home.is_symlink():
            continue
        wanted = home.name.removeprefix(".building-").removeprefix(".discarded-").split("-")[0]
        with contextlib.suppress(BlockingIOError), _held(cache / f"{wanted}.lock"):
            marker = None if home.name.startswith(".") else _marker(home, home.name)
            if marker is None and not (home.name.startswith(".") or (home / "pyvenv.cfg").exists()):
                continue  # somebody's own directory
            if marker is not None and now - (home / MARKER).stat().st_mtime < unused_for:
                continue
            size = _size(home)
            _discard(home)
            removed.append((home.name, size))
    return removed


def _marker(home: Path, wanted: str) -> Marker | None:
    """What the marker says, if it is one of ours, whole, for this key, and its interpreter is there."""
    try:
        said: dict[str, Any] = json.loads((home / MARKER).read_text(encoding="utf-8"))  # Any: JSON
        texts = ("key", "python", "interpreter", "site_packages", "built_at")
        lists = ("standard_library", "readable", "requirements", "notes")
        if not all(isinstance(said[name], str) for name in texts):
            return None
        if not all(isinstance(said[name], list) and all(isinstance(x, str) for x in said[name]) for name in lists):
            return None
        marker = Marker(**{**said, **{name: tuple(said[name]) for name in lists}, "seconds": float(said["seconds"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = marker.key == wanted and (home / marker.site_packages).is_dir() and os.access(marker.interpreter, os.X_OK)
    return marker if whole else None


def _discard(home: Path) -> None:
    """Out of the way first, in one step, so that nobody finds half of it."""
    aside = home
    if not home.name.startswith("."):
        aside = home.with_name(f".discarded-{home.name}-{os.getpid()}-{time.monotonic_ns()}")
        os.rename(home, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _remove_remains(cache: Path, wanted: str) -> None:
    """What killed builders left: whoever holds the lock is the only one."""
    for remains in (*cache.glob(f".building-{wanted}-*"), *cache.glob(f".discarded-{wanted}-*")):
        shutil.rmtree(remains, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, log: Callable[[str], None]) -> Iterator[None]:
    """The lock of one key. The system lets go of it when its process ends, however that ends."""
    deadline = time.monotonic() + LOCK_SECONDS
    waiting = False
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_held(path))
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ModelEnvironmentRefused(
                        f"Another process has been building this environment for {LOCK_SECONDS:g} s.",
                        hint="Look at that process, and end it if it hangs.",
                    ) from None
                if not waiting:
                    log("model environment: another process is building the same one, waiting for it")
                waiting = True
            else:
                yield
                return
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _size(home: Path) -> int:
    """Bytes below. Files that uv links from its own cache are counted, though they take no room of their own."""
    total = 0
    for folder, _, files in os.walk(home):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
