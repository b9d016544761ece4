"""Files of an artifact: read whole, within bounds, and never outside of its own directory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqlml.convert.isolated.refusal import Refusal

LARGEST = 2 << 30
LARGEST_TEXT = 16 << 20


def inside(root: Path, relative: object, entry: str) -> Path:
    """The file that MLmodel names, which must exist below the artifact's own directory."""
    if not isinstance(relative, str) or not relative:
        raise Refusal("artifact", f"MLmodel does not say where the model is ({entry}).")
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise Refusal("artifact", f"MLmodel names a path outside of its own directory: {entry} is {relative!r}.")
    if not path.exists():
        raise Refusal("artifact", f"The artifact is not whole: {relative!r} is missing ({entry} in MLmodel).")
    return path


def read(path: Path, name: str, largest: int = LARGEST) -> bytes:
    try:
        size = path.stat().st_size
        if size > largest:
            raise Refusal("artifact", f"{name} has {size} bytes; sqlml reads up to {largest}.")
        return path.read_bytes()
    except OSError as error:
        raise Refusal("artifact", f"{name} cannot be read: {error.strerror}.") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
