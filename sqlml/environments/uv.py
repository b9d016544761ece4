"""Running uv: bounded in time, without a say for whatever directory we are in, and quoted without addresses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlml.environments import index
from sqlml.errors import ModelEnvironmentRefused

PYTHON_SECONDS = 300.0
QUICK_SECONDS = 60.0
KEPT_LINES = 12


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `said` is the end of what it printed, redacted."""

    code: int
    stdout: str
    said: str
    timed_out: bool = False

    @property
    def unsolvable(self) -> bool:
        """The versions cannot be had together, or not as wheels: other versions might do."""
        return "No solution found" in self.said or "no wheels with a matching" in self.said


class Uv:
    """The uv program of this installation. `why`: what it last said when it could not do something."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._program = _program()
        self._environ = index.environment(environ)
        self.why: str | None = None

    def run(self, arguments: Sequence[str], *, seconds: float) -> Outcome:
        """Run it to its end, or end it with everything that it started."""
        with tempfile.TemporaryDirectory(prefix="sqlml-uv-") as nowhere:  # no pyproject.toml or uv.toml applies here
            try:
                process = subprocess.Popen(
                    [self._program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self._environ,
                    cwd=nowhere,
                    start_new_session=True,
                )
            except OSError as error:
                raise ModelEnvironmentRefused(
                    f"uv, which builds environments, could not be started: {error.strerror}.", hint="pip install uv"
                ) from error
            timed_out = False
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                timed_out = True
                _end(process)
                stdout, stderr = process.communicate()
            except BaseException:  # Ctrl-C: it must not go on alone
                _end(process)
                process.communicate()
                raise
        lines = [line.strip() for line in index.redacted(stderr.decode("utf-8", "replace")).splitlines()]
        said = " ".join([line for line in lines if line][-KEPT_LINES:])
        self.why = None if process.returncode == 0 else (f"no end after {seconds:g} s" if timed_out else said[:1500])
        return Outcome(process.returncode, stdout.decode("utf-8", "replace"), said, timed_out)

    @property
    def install_options(self) -> list[str]:
        """What uv knows as an option only: no index at all (pip's no-index)."""
        return ["--no-index"] if self._environ.get("UV_NO_INDEX") else []

    def known_python(self, minor: str) -> Path | None:
        """One that uv finds without fetching anything."""
        done = self.run(
            ["python", "find", "--no-project", "--no-python-downloads", "--system", f"cpython@{minor}"],
            seconds=QUICK_SECONDS,
        )
        self.why = None  # the next one may do
        return Path(done.stdout.strip()) if done.code == 0 and done.stdout.strip() else None

    def fetched_python(self, minor: str) -> Path | None:
        """One that uv fetches, unless a person forbade that (UV_PYTHON_DOWNLOADS=never, UV_OFFLINE=1)."""
        if self._environ.get("UV_PYTHON_DOWNLOADS") in ("never", "manual"):
            self.why = "UV_PYTHON_DOWNLOADS forbids it"
            return None
        done = self.run(["python", "install", "--no-bin", f"cpython@{minor}"], seconds=PYTHON_SECONDS)
        why = self.why
        found = self.known_python(minor) if done.code == 0 else None
        self.why = why
        return found


def _program() -> str:
    try:
        import uv

        return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:  # what find_uv_bin raises is a FileNotFoundError
        if program := shutil.which("uv"):
            return program
        raise ModelEnvironmentRefused(
            "uv, which builds models' own environments, is not installed.",
            hint="pip install uv, or use --model-env current or --model-env PATH.",
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
