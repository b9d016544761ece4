"""The files of a model on this machine, each with its hash."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sqlml.errors import ArtifactError


@dataclass(frozen=True)
class ArtifactFile:
    path: str
    """Relative to the model's directory, with slashes."""
    size: int
    sha256: str


def hashed(directory: Path) -> tuple[ArtifactFile, ...]:
    """Every file below the directory, by path.

    Raises:
        ArtifactError: there is a symbolic link.
    """
    found = []
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            if (Path(folder) / name).is_symlink():
                raise ArtifactError(f"{name} in the artifact is a symbolic link.", hint="Log the model without links.")
        for name in names:
            path = Path(folder) / name
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(ArtifactFile(path.relative_to(directory).as_posix(), path.stat().st_size, digest))
    return tuple(sorted(found, key=lambda file: file.path))


def digest(files: tuple[ArtifactFile, ...]) -> str:
    """One sha256 over every file's path, size and hash, in order."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.path}\0{file.size}\0{file.sha256}\n".encode())
    return total.hexdigest()
