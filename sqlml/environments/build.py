"""Building an environment from pins, by uv, out of wheels only.

A wheel is unpacked; a source distribution is built by running its code, which a model must not be able to ask for.
Nothing that was installed is run here either: not even the .pth files, which Python executes when it starts (hence -S).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlml.environments import cache
from sqlml.environments.environment import SHOWN, Interpreter, directories
from sqlml.environments.requirements import Wanted
from sqlml.environments.uv import Uv
from sqlml.errors import ModelEnvironmentRefused

INSTALL_SECONDS = 900.0
COMPILE_SECONDS = 300.0
WHAT_TO_DO = (
    "Where there is a network, build it once with: sqlml env build REFERENCE. pip's configuration says which index is"
    " asked (PIP_INDEX_URL, PIP_FIND_LINKS, proxies). Or name an environment that you made with --model-env PATH, or use"
    " --model-env current: the difference is then recorded in the evidence."
)


def build(
    store: Path, key: str, wanted: Wanted, interpreter: Interpreter, uv: Uv, log: Callable[[str], None]
) -> tuple[str, ...]:
    """Build it in the store, unless another process just did; returns notes on what was left out.

    Raises:
        ModelEnvironmentRefused: the index cannot be reached, or has not what is pinned.
    """
    began = time.monotonic()
    with cache.building(store, key, log) as home:
        if cache.find(store, key) is not None:
            return ()
        pins = ", ".join(line for line in wanted.lines if "==" in line and line.split("==")[0].split("[")[0] in SHOWN)
        log(f"model environment: building one with Python {interpreter.version}{f', {pins}' if pins else ''}")
        _run(uv, ["venv", "--no-project", "--relocatable", "--quiet", "--allow-existing",
                  "--python", str(interpreter.executable), str(home)], wanted)  # fmt: skip
        notes = (*wanted.notes, *_install(uv, home, wanted))
        site_packages = home / "lib" / f"python{interpreter.minor}" / "site-packages"
        log("model environment: compiling")
        _compile(interpreter, site_packages)
        marker = cache.Marker(
            key=key,
            python=interpreter.version,
            interpreter=str(interpreter.executable.resolve()),
            standard_library=interpreter.path,
            readable=directories(interpreter),
            site_packages=str(site_packages.relative_to(home)),
            requirements=wanted.lines,
            notes=notes,
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
        )
        cache.keep(store, home, marker)
    return notes


def _install(uv: Uv, home: Path, wanted: Wanted) -> tuple[str, ...]:
    """Every pin; where that has no solution, those that matter most, and a note on the others."""
    lines = home / "requirements.txt"
    command = ["pip", "install", "--quiet", "--python", str(home / "bin" / "python"),
               "--only-binary", ":all:", *uv.install_options, "--requirements", str(lines)]  # fmt: skip
    lines.write_text("\n".join(wanted.lines) + "\n", encoding="utf-8")
    if wanted.fewer is None:
        _run(uv, command, wanted)
        return ()
    outcome = uv.run(command, seconds=INSTALL_SECONDS)
    if outcome.code == 0:
        return ()
    if not outcome.unsolvable:
        raise _failed(uv, wanted)
    lines.write_text("\n".join(wanted.fewer) + "\n", encoding="utf-8")
    _run(uv, command, wanted)
    return (f"left out, for with it there is no solution of wheels only: {', '.join(wanted.left_out)}",)


def _run(uv: Uv, command: list[str], wanted: Wanted) -> None:
    if uv.run(command, seconds=INSTALL_SECONDS).code != 0:
        raise _failed(uv, wanted)


def _failed(uv: Uv, wanted: Wanted) -> ModelEnvironmentRefused:
    pins = ", ".join(line for line in wanted.lines if "==" in line)
    return ModelEnvironmentRefused(
        f"The model's own environment (Python {wanted.python}, {pins}) is not in the cache and could not be built"
        f" from wheels: {uv.why}",
        hint=WHAT_TO_DO,
    )


def _compile(interpreter: Interpreter, site_packages: Path) -> None:
    """Bytecode, once: the confined process cannot write any, and importing scikit-learn without takes seconds.

    A module that does not compile is its importer's problem.
    """
    try:
        subprocess.run(
            [
                str(interpreter.executable),
                "-ISB",
                "-m",
                "compileall",
                "-q",
                "-x",
                r"[\\/]tests?[\\/]",
                str(site_packages),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMPILE_SECONDS,
            check=False,
            env={"LANG": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        return  # slower starts, and right answers
