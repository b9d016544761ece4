"""Files and directories put in place atomically: written under another name beside the target, synced, renamed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from pathlib import Path

from sqlml.errors import DatabaseError
from sqlml.processes import exists

MARK = "sqlml-new"


def check_folder(place: Path) -> None:
    """Raises DatabaseError if nothing can be put at `place`."""
    folder = place.parent
    if not folder.is_dir():
        raise DatabaseError(f"The folder {folder} does not exist.", hint="Create it, or name another target.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DatabaseError(
            f"The folder {folder} cannot be written to.", hint="Choose another, or change its permissions."
        )


def new_name(place: Path) -> Path:
    """A name beside `place` that says who writes it, so that only what a dead process left is ever removed."""
    return place.with_name(f".{place.name}.{MARK}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())


def remove_leftovers(place: Path) -> None:
    """Remove what interrupted processes of this machine left beside `place`."""
    ours = re.compile(
        rf"\.{re.escape(place.name)}\.{MARK}-{_host()}-(\d+)-[0-9a-f]+(\.wal|\.tmp|{re.escape(place.suffix)})?"
    )
    for path in place.parent.iterdir():
        found = ours.fullmatch(path.name)
        if found and not exists(int(found[1])):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file with DuckDB's own beside it, or a directory; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    for name in (path.name, f"{path.name}.wal"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.rmtree(path.with_name(f"{path.name}.tmp"), ignore_errors=True)


def put_in_place(new: Path, place: Path) -> None:
    """Make `place` be `new`, so that even a power failure leaves the old or the new one. An open reader keeps the old."""
    sync(new)
    os.replace(new, place)
    sync(place.parent)


def write_text(place: Path, text: str) -> None:
    """A file with this text, complete or not there."""
    check_folder(place)
    new = new_name(place)
    try:
        new.write_text(text, encoding="utf-8")
        put_in_place(new, place)
    finally:
        new.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Write a file's, or a folder's, changes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
