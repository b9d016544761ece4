"""An artifact store of MLflow's that records what was logged, and answers `.sqlml-manifest.json` in any folder.

It serves the files below RECORDING_STORE/served, and says of them what it finds below RECORDING_STORE/recorded: a test
changes one or the other. `recorded://127.0.0.1:9090/models/PATH` means the folder PATH in the table `models`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository

SCHEME = "recorded"
PLACE = "127.0.0.1:9090"
TABLE = "models"
MANIFEST = ".sqlml-manifest.json"


class RecordingStore(ArtifactRepository):
    asked: tuple[str, ...] = ()

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self.folder = urlsplit(artifact_uri).path.removeprefix(f"/{TABLE}").strip("/")
        self.root = Path(os.environ["RECORDING_STORE"])

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        raise NotImplementedError

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        raise NotImplementedError

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        below = self.root / "served" / self.folder
        folder = below / (path or "")
        return [
            FileInfo(p.relative_to(below).as_posix(), p.is_dir(), None if p.is_dir() else p.stat().st_size)
            for p in (sorted(folder.iterdir()) if folder.is_dir() else ())
        ]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        type(self).asked += (remote_file_path,)
        folder, _, name = f"{self.folder}/{remote_file_path}".rpartition("/")
        if name == MANIFEST:
            Path(local_path).write_bytes(self.manifest(folder))
        else:
            self.send(self.root / "served" / folder / name, Path(local_path))

    def send(self, source: Path, target: Path) -> None:
        if not source.is_file():
            raise MlflowException(f"There is no {source.name}", error_code=RESOURCE_DOES_NOT_EXIST)
        shutil.copyfile(source, target)

    def manifest(self, folder: str) -> bytes:
        return json.dumps(document(self.root, folder)).encode()


def document(root: Path, folder: str) -> dict[str, Any]:
    recorded = root / "recorded" / folder
    return {
        "format": 1,
        "store": SCHEME,
        "place": PLACE,
        "table": TABLE,
        "path": folder,
        "files": [
            {
                "path": file.relative_to(recorded).as_posix(),
                "size": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "object": hashlib.md5(file.read_bytes()).hexdigest(),
            }
            for file in sorted(recorded.rglob("*"))
            if file.is_file()
        ],
    }
