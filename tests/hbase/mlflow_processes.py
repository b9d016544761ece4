"""Environments for processes beside a test: one that cannot import sqlml, one that writes down where it connects to."""

from __future__ import annotations

import os
from pathlib import Path

# Python runs a module of this name at its start when it is on the path.
START = "sitecustomize.py"

WITHOUT_SQLML = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sqlml":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""

WATCHED = """
import os
import sys

log = open(os.environ["CONNECTIONS_LOG"], "a", buffering=1)

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        print(event, arguments[1], file=log)
    elif event == "socket.getaddrinfo":
        print(event, arguments[0], file=log)

sys.addaudithook(watch)
"""


def without_sqlml(folder: Path) -> dict[str, str]:
    """An environment whose Python has no sqlml, installed or not; the plugin's entry point leads nowhere."""
    return {**_starting_with(WITHOUT_SQLML, folder), "PYTHONPATH": str(folder)}


def watched(folder: Path, log: Path) -> dict[str, str]:
    """An environment whose Python writes each address it connects to, and each name it resolves, to `log`."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**_starting_with(WATCHED, folder), "PYTHONPATH": path, "CONNECTIONS_LOG": str(log)}


def _starting_with(code: str, folder: Path) -> dict[str, str]:
    folder.mkdir()
    (folder / START).write_text(code)
    return dict(os.environ)
