"""How the isolated process is started: with which Python, which variables, and which part of sqlml."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sqlml.environments import Environment

# -I: no PYTHON* variables, no user's site, no current directory. -S: no code from .pth files. -B: nothing to write.
# The import path comes as an argument. Of sqlml only `sqlml.convert.isolated` can be imported, from where the parent has
# it: the packages above it are empty stand-ins, for a model's own environment has neither sqlml nor what that needs.
START = """\
import json, sys, types
path, packages, fds = json.loads(sys.argv[1])
sys.path[:] = path
for name, place in packages:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
from sqlml.convert.isolated.worker import main
main(*fds)
"""


def command(environment: Environment, fds: tuple[int, int]) -> list[str]:
    """The command line of a worker that is asked and answers through these pipes."""
    convert = Path(__file__).resolve().parent
    packages = [("sqlml", str(convert.parent)), ("sqlml.convert", str(convert))]
    given = json.dumps([environment.path, packages, fds])
    return [str(environment.executable), "-ISB", "-X", "utf8", "-c", START, given]


def readable(environment: Environment) -> list[str]:
    """What a worker may read besides its model: Python, its libraries, and the converter."""
    return [*environment.readable, str(Path(__file__).resolve().parent / "isolated")]


def variables(work: Path) -> dict[str, str]:
    """Only what Python and its libraries need; nothing of the caller's but where shared libraries are."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    # Without multiprocessing joblib computes in place, which is the same and needs no further process.
    own = {"HOME": str(work), "TMPDIR": str(work), "LANG": "C.UTF-8", "TZ": "UTC", "JOBLIB_MULTIPROCESSING": "0"}
    return {**kept, **one, **own}
