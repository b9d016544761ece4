"""Repositories as MLflow opens them, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sqlml.hbase.repository import HBaseArtifactRepository as Repository


def opened(uri: str) -> Repository:
    found = get_artifact_repository(uri)
    assert isinstance(found, Repository)
    return found


def made(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(repository: Repository, path: str | None = None) -> list[tuple[str, bool, int | None]]:
    return [(entry.path, entry.is_dir, entry.file_size) for entry in repository.list_artifacts(path)]


def contents(folder: str | Path) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def code_of(call: Callable[[], object]) -> str:
    """MLflow's code for how it failed."""
    with pytest.raises(MlflowException) as raised:
        call()
    return str(raised.value.error_code)
