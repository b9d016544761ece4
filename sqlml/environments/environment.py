"""A Python with its libraries, in which a model is loaded: the one that runs sqlml, one that a person made, or one of ours."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from sqlml.errors import ModelEnvironmentRefused

Origin = Literal["current", "given", "built", "cached"]
PROBE_SECONDS = 30.0
# What a line about an environment names, where it is there.
SHOWN = ("scikit-learn", "lightgbm", "xgboost", "catboost", "numpy", "scipy", "pandas")

# -I: no PYTHON* variables, no user's site, no current directory. -B: nothing to write.
PROBE = (
    "import json, platform, sys; print(json.dumps([platform.python_implementation(), platform.python_version(), "
    "sys.path, [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]]))"
)


@dataclass(frozen=True)
class Environment:
    """`path` is its import path without any project's directory; `readable` are the directories it consists of."""

    executable: Path
    python: str
    path: tuple[str, ...]
    readable: tuple[str, ...]
    packages: Mapping[str, str]
    origin: Origin
    key: str | None = None
    seconds: float = 0.0
    """How long it took to be ready: to build, or to find."""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its versions, for people."""
        return titled(self.python, self.packages)

    @property
    def how(self) -> str:
        """Where it comes from, for people."""
        if self.origin == "built":
            return f"built in {self.seconds:.0f} s"
        return {"current": "current", "given": f"given: {self.executable}", "cached": "from cache"}[self.origin]


@dataclass(frozen=True)
class Interpreter:
    """What a Python says of itself."""

    executable: Path
    implementation: str
    version: str
    path: tuple[str, ...]
    prefixes: tuple[str, ...]

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def titled(python: str, packages: Mapping[str, str]) -> str:
    """Versions for people."""
    named = [f"{name} {packages[name]}" for name in SHOWN if name in packages]
    return ", ".join([f"Python {python}", *named])


def probe(executable: Path, *, with_site: bool) -> Interpreter:
    """Ask an interpreter. `with_site` runs the code in .pth files of its libraries: only for what a person named.

    Raises:
        ModelEnvironmentRefused: it does not run, or is no Python.
    """
    flags = "-IB" if with_site else "-ISB"
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    try:
        done = subprocess.run(
            [str(executable), flags, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=True,
            env={"LANG": "C.UTF-8", **kept},
        )
        implementation, version, path, prefixes = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        raise ModelEnvironmentRefused(f"{executable} does not answer as a Python does.") from error
    return Interpreter(executable, str(implementation), str(version), tuple(path), tuple(prefixes))


def current() -> Environment:
    """What runs sqlml, without the project it may run in."""
    libraries = _current_directories()
    path = [entry for entry in sys.path if entry and any(Path(entry).is_relative_to(parent) for parent in libraries)]
    packages = packages_in(path)
    return Environment(
        Path(sys.executable), platform.python_version(), tuple(path), tuple(libraries), packages, "current"
    )


def given(where: Path) -> Environment:
    """A directory with an environment, or an interpreter, that a person made; taken as it is.

    Raises:
        ModelEnvironmentRefused: there is no Python, or one that is too old.
    """
    executable = where / "bin" / "python" if where.is_dir() else where
    if not os.access(executable, os.X_OK) or executable.is_dir():
        raise ModelEnvironmentRefused(
            f"There is no Python at {executable}.",
            hint="--model-env takes auto, current, or the path of an interpreter or of a virtual environment.",
        )
    executable = executable.absolute()  # not resolved: a virtual environment's Python is a link
    found = probe(executable, with_site=True)
    if found.implementation != "CPython" or tuple(map(int, found.version.split(".")[:2])) < (3, 9):
        raise ModelEnvironmentRefused(
            f"{executable} is {found.implementation} {found.version}, and models are converted by CPython 3.9 or newer.",
            hint="Train the model with a newer Python, or use --model-env current.",
        )
    packages = packages_in(found.path)
    lacking = [name for name in ("numpy", "pandas", "pyarrow", "onnx", "pyyaml") if name not in packages]
    if lacking:
        raise ModelEnvironmentRefused(
            f"The environment of {executable} lacks {', '.join(lacking)}, which the conversion needs.",
            hint=f"Install them there: {executable} -m pip install {' '.join(lacking)}",
        )
    return Environment(executable, found.version, found.path, directories(found), packages, "given")


def directories(found: Interpreter, more: Iterable[str] = ()) -> tuple[str, ...]:
    """What a confined process must be able to read to run this Python."""
    named = [*found.prefixes, *found.path, *more]
    resolved = {path for name in named if name for path in (Path(name), Path(name).resolve())}
    return tuple(sorted(str(path) for path in resolved if path != Path(path.anchor)))


def packages_in(path: Sequence[str]) -> dict[str, str]:
    """The packages on an import path, from their metadata alone: the first one found of each name, as Python finds it."""
    from packaging.utils import canonicalize_name

    packages: dict[str, str] = {}
    for distribution in metadata.distributions(path=list(path)):
        name = distribution.metadata["Name"]
        if name:  # a directory that is left over from an interrupted removal has none
            packages.setdefault(canonicalize_name(name), distribution.version)
    return packages


def _current_directories() -> list[str]:
    import site
    import sysconfig

    named = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()]
    if site.ENABLE_USER_SITE and site.USER_SITE:
        named.append(site.USER_SITE)
    resolved = {path for name in named for path in (Path(name), Path(name).resolve())}
    return sorted(str(path) for path in resolved if path != Path(path.anchor))
