"""The files of a model version, brought here whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlml.errors import ArtifactError
from sqlml.registry import mlmodel
from sqlml.registry.fetching import fetch
from sqlml.registry.files import ArtifactFile, digest, hashed
from sqlml.registry.references import ModelVersion
from sqlml.registry.store import local_path
from sqlml.registry.store_manifest import StoreManifest

# Written to the model version when it is deployed; a later download must have the same digest.
DIGEST_TAG = "sqlml.artifact_sha256"
# MLflow writes this file into a local artifact whenever somebody loads the model (measured with 3.17.2): it says under
# which name that was, is no part of the model, and would make the same version look changed.
WRITTEN_ON_LOADING = "registered_model_meta"


@dataclass(frozen=True)
class Artifact:
    """The files as they are in `directory` now. `sha256` is over every file's path, size and hash, in order.

    `mlmodel` is the parsed MLmodel file; it is empty for a bare .onnx file, which is its own flavor. `store` is what the
    artifact store had recorded about these very files; None where the store keeps no such record.
    """

    directory: Path
    files: tuple[ArtifactFile, ...]
    sha256: str
    mlmodel: Mapping[str, Any]  # Any: YAML
    store: StoreManifest | None = None

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def summary(self) -> str:
        """For people: how much it is, and who vouches for it."""
        recorded = "" if self.store is None else f", each as {self.store.where} recorded it"
        return f"{len(self.files)} files, {self.size:,} bytes, sha256 {self.sha256[:12]}{recorded}"

    @property
    def flavors(self) -> Mapping[str, Mapping[str, Any]]:
        if self.mlmodel:
            return dict(self.mlmodel["flavors"])
        return {"onnx": {"data": next(file.path for file in self.files if file.path.endswith(".onnx"))}}

    @property
    def entry(self) -> Path:
        """What a conversion opens: the model's directory, or its one .onnx file."""
        return self.directory if self.mlmodel else self.directory / str(self.flavors["onnx"]["data"])

    @property
    def run_id(self) -> str | None:
        """The run as the model itself knows it: where the registry's own record is empty, this is not."""
        return self.mlmodel.get("run_id") or None


def download(model_version: ModelVersion, directory: Path, log: Callable[[str], object] | None = None) -> Artifact:
    """Bring the files into `directory` (made if needed, must be empty), and hash every one.

    Where the artifact store keeps a manifest of its files, each must be what that says, and all must be there.

    Raises:
        ArtifactError: files are missing, cut short, changed since they were deployed, not what their store recorded, or
            lead out of the artifact.
        RegistryError: the artifact store could not be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = local_path(model_version.location)
    store: StoreManifest | None = None
    try:
        if source is None:
            found, store = fetch(model_version, directory)
        elif source.suffix == ".onnx" and source.is_file():
            _copy_onnx(source, directory)
            found = hashed(directory)
        else:
            _copy(model_version, source, directory)
            found = hashed(directory)
    except OSError as error:
        raise ArtifactError(
            f"The files of {model_version.description} could not be brought to {directory}: {error.strerror or error}.",
            hint="Check the disk space and the permissions.",
        ) from error
    files = tuple(file for file in found if file.path != WRITTEN_ON_LOADING)
    document: Mapping[str, Any] = {}
    if source is None or source.is_dir():
        document = mlmodel.read(directory)
        if missing := mlmodel.missing_files(document, directory):
            raise ArtifactError(
                f"The artifact of {model_version.description} is not whole: MLmodel names {missing[0]!r}, which is"
                " missing.",
                hint="Log and register the model again.",
                missing=missing,
            )
    artifact = Artifact(directory, files, digest(files), document, store)
    recorded = model_version.tags.get(DIGEST_TAG)
    if recorded and recorded != artifact.sha256:
        raise ArtifactError(
            f"The artifact of {model_version.description} is not what was deployed before: its sha256 is"
            f" {artifact.sha256}, and the tag {DIGEST_TAG} says {recorded}.",
            hint="Somebody changed the files of a registered version: register the new files as a new version.",
            expected=recorded,
            found=artifact.sha256,
        )
    if log is not None:
        log(artifact.summary)
    return artifact


def _copy(model_version: ModelVersion, source: Path, directory: Path) -> None:
    if not source.is_dir():
        raise ArtifactError(
            f"The artifact of {model_version.description} is missing: {source} does not exist.",
            hint="Bring the folder back, or log and register the model again.",
        )
    root = source.resolve()
    for folder, folders, files in os.walk(source):
        target = directory / Path(folder).relative_to(source)
        target.mkdir(exist_ok=True)
        for name in (*folders, *files):
            path = Path(folder) / name
            if path.is_symlink() and (name in folders or not path.resolve().is_relative_to(root)):
                raise ArtifactError(
                    f"{path.relative_to(source)} in the artifact of {model_version.description} is a symbolic link"
                    f" to {path.resolve()}.",
                    hint="A model holds its own files: log it again without links.",
                )
        for name in files:
            _copy_file(Path(folder) / name, target / name)


def _copy_file(source: Path, target: Path) -> None:
    if not source.is_file():  # a pipe would block, a device has no end
        raise ArtifactError(f"{source} is not a regular file.", hint="A model holds regular files only: log it again.")
    shutil.copyfile(source, target)


def _copy_onnx(source: Path, directory: Path) -> None:
    """The file, and the files beside it that its tensors are in."""
    import onnx

    _copy_file(source, directory / source.name)
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:
        # protobuf's DecodeError is not among onnx's own exceptions, and differs between its implementations.
        raise ArtifactError(f"{source} is not an ONNX model: {error}.", hint="Export the model again.") from error
    external = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location in sorted(external):
        path = source.parent / location
        if not path.resolve().is_relative_to(source.parent.resolve()):
            raise ArtifactError(
                f"{source} keeps data in {location!r}, outside its folder.", hint="Export it as one file."
            )
        if not path.is_file():
            raise ArtifactError(f"{source} keeps data in {location!r}, which is missing.", hint="Bring that file too.")
        (directory / location).parent.mkdir(parents=True, exist_ok=True)
        _copy_file(path, directory / location)
