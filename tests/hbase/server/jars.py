"""HBase's jars: fetched once by Maven into a cache folder, named after the pom that lists them."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
OLDEST_JAVA = 17
INSTALL = "`.ci/packages` installs what is missing on Debian"


class Unavailable(Exception):
    """HBase cannot run here; the message says what is missing and what to do."""


def narrate(text: str) -> None:
    """Progress for people: on stderr."""
    print(text, file=sys.stderr, flush=True)


def cache() -> Path:
    """Where these jars are or will be, outside the repository."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "sqlml", f"hbase-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}")


@functools.cache
def java_version() -> int | None:
    """The major version of the Java in PATH; None without one."""
    try:
        done = subprocess.run(["java", "-version"], check=False, capture_output=True, text=True)
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else None


def ready() -> Path:
    """The folder with the jars, if HBase could be started right now; Unavailable says what is missing."""
    require_java()
    if not cache().is_dir():
        raise Unavailable("HBase's jars are not here yet: `python -m tests.hbase.server fetch` (123 MB, once)")
    return cache()


def require_java() -> None:
    if sys.platform != "linux":
        raise Unavailable(f"the tests run HBase on Linux only, not on {sys.platform}")
    version = java_version()
    if version is None:
        raise Unavailable(f"java is not installed: {INSTALL}")
    if version < OLDEST_JAVA:
        raise Unavailable(f"java is of version {version}, and HBase is run with {OLDEST_JAVA} or newer: {INSTALL}")


def fetch(say: Callable[[str], None] = narrate) -> Path:
    """Fetch the jars unless they are there, and return their folder. Two that fetch at once wait for each other."""
    require_java()
    target = cache()
    if target.is_dir():
        return target
    if shutil.which("mvn") is None:
        raise Unavailable(f"mvn is not installed, and HBase's jars are not in {target}: {INSTALL}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.with_name(f"{target.name}.lock")):
        if not target.is_dir():
            for left in target.parent.glob(f"{target.name}-*"):  # by a fetch that was killed
                shutil.rmtree(left, ignore_errors=True)
            say(f"Fetching HBase into {target} with Maven: 123 MB, once ...")
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}-") as folder:
                fetched = Path(folder, "jars")
                _copy(fetched)
                fetched.rename(target)  # all of them or none: a folder with that name is complete
            say(f"Fetched {len(list(target.glob('*.jar')))} jars.")
    return target


def _copy(folder: Path) -> None:
    command = ["mvn", "-B", "-q", "-f", str(POM), PLUGIN]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0 or not list(folder.glob("hbase-thrift-*.jar")):
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][:3]
        raise Unavailable("\n  ".join(("Maven could not fetch HBase. Is there a network? It said:", *said)))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
