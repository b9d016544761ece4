"""Registries whose artifacts are elsewhere than on this disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.registry import recording_store
from tests.registry.recording_store import RecordingStore


def located(registry: Any, prefix: str) -> None:
    """Give the registry's models another place: `prefix` instead of the folder that they are in."""
    for table, column in (("logged_models", "artifact_location"), ("model_versions", "storage_location")):
        registry.execute(
            f"UPDATE {table} SET {column} = replace(replace({column}, 'file://', ''), ?, ?)",
            str(registry.artifacts),
            prefix,
        )


@dataclass
class Recorded:
    """The demo's registry over a RecordingStore; `serve_with` exchanges the store's class for one with other ways."""

    uri: str
    root: Path
    serve_with: Callable[[type[RecordingStore]], None]

    def files(self, tree: str, name: str) -> list[Path]:
        """Each model's file of this name, as it is `served` or `recorded`."""
        return sorted((self.root / tree).rglob(name))


@pytest.fixture
def recorded(own_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as known

    root = tmp_path / "store"
    for tree in ("served", "recorded"):
        shutil.copytree(own_registry.artifacts, root / tree)
    shutil.rmtree(own_registry.artifacts)
    located(own_registry, f"{recording_store.SCHEME}://{recording_store.PLACE}/{recording_store.TABLE}")
    monkeypatch.setenv("RECORDING_STORE", str(root))

    def serve_with(store: type[RecordingStore]) -> None:
        store.asked = ()
        monkeypatch.setitem(known._registry, recording_store.SCHEME, store)

    serve_with(type("Store", (RecordingStore,), {}))
    return Recorded(own_registry.uri, root, serve_with)
