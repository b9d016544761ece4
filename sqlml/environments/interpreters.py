"""Finding a Python of a wanted minor version on this machine, or having uv fetch one.

uv looks along PATH and in its own directory; pyenv keeps what it has elsewhere, and puts programs on PATH that answer
only for its chosen versions. So candidates are collected here, and each is asked.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlml.environments.environment import Interpreter, probe
from sqlml.environments.uv import Uv
from sqlml.errors import ModelEnvironmentRefused

OLDEST = (3, 9)


def find(version: str, uv: Uv, environ: Mapping[str, str] | None = None) -> Interpreter:
    """A CPython of the minor version of `version`: its very patch if there is one, else the newest.

    Raises:
        ModelEnvironmentRefused: there is none, and none could be fetched.
    """
    wanted = tuple(int(part) for part in version.split("."))
    minor = ".".join(map(str, wanted[:2]))
    if wanted[:2] < OLDEST:
        raise ModelEnvironmentRefused(
            f"The model was saved by Python {version}, and sqlml converts models with Python 3.9 or newer.",
            hint="Train and save it with a newer Python, or use --model-env current: the difference is then recorded.",
        )
    found: list[Interpreter] = []
    for path in _candidates(minor, environ or os.environ):
        if (answer := _asked(path, minor)) is not None:
            if answer.version == version:
                return answer
            found.append(answer)
    for further in (uv.known_python, uv.fetched_python):
        if not found and (path_of_uv := further(minor)) is not None and (answer := _asked(path_of_uv, minor)):
            found.append(answer)
    if not found:
        raise ModelEnvironmentRefused(
            f"The model was saved by Python {version}, and there is no CPython {minor} on this machine"
            f"{f'; uv could not fetch one ({uv.why})' if uv.why else ''}.",
            hint=f"Install Python {minor} (any patch), for example with uv python install {minor} or pyenv; or name an"
            " environment with --model-env PATH; or use --model-env current: the difference is then recorded.",
        )
    return max(found, key=lambda one: _release(one.version))


def _asked(path: Path, minor: str) -> Interpreter | None:
    try:
        # A shim answers with its target: what runs is the real one.
        found = probe(path, with_site=False)
    except ModelEnvironmentRefused:
        return None
    return found if found.implementation == "CPython" and found.minor == minor else None


def _candidates(minor: str, environ: Mapping[str, str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in _named(minor, environ):
        real = path.resolve()
        if real not in seen and os.access(real, os.X_OK) and real.is_file():
            seen.add(real)
            yield path


def _named(minor: str, environ: Mapping[str, str]) -> Iterator[Path]:
    if minor == f"{sys.version_info[0]}.{sys.version_info[1]}":
        yield Path(sys.base_prefix) / "bin" / f"python{minor}"
    for pyenv in (environ.get("PYENV_ROOT"), Path(environ.get("HOME") or Path.home()) / ".pyenv"):
        if pyenv:
            yield from sorted((Path(pyenv) / "versions").glob(f"{minor}.*/bin/python{minor}"))
    for folder in (environ.get("PATH") or os.defpath).split(os.pathsep):
        # A shim is a script; which Python it starts depends on the directory it is started from.
        if folder and Path(folder).is_absolute() and Path(folder).name != "shims":
            yield Path(folder) / f"python{minor}"
            yield Path(folder) / "python3"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
