"""The files of a model version, brought here whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml.errors import ArtifactError
from sqlml.registry import mlmodel
from sqlml.registry.references import ModelVersion
from sqlml.registry.store import local_path, opened, shown

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

# Written to the model version when it is deployed; a later download must have the same digest.
DIGEST_TAG = "sqlml.artifact_sha256"
# MLflow writes this file into a local artifact whenever somebody loads the model (measured with 3.17.2): it says under
# which name that was, is no part of the model, and would make the same version look changed.
WRITTEN_ON_LOADING = "registered_model_meta"


@dataclass(frozen=True)
class ArtifactFile:
    path: str
    """Relative to the model's directory, with slashes."""
    size: int
    sha256: str


@dataclass(frozen=True)
class Artifact:
    """The files as they are in `directory` now. `sha256` is over every file's path, size and hash, in order.

    `mlmodel` is the parsed MLmodel file; it is empty for a bare .onnx file, which is its own flavor.
    """

    directory: Path
    files: tuple[ArtifactFile, ...]
    sha256: str
    mlmodel: Mapping[str, Any]  # Any: YAML

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

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

    Raises:
        ArtifactError: files are missing, cut short, changed since they were deployed, or lead out of the artifact.
        RegistryError: the artifact store could not be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = local_path(model_version.location)
    try:
        if source is None:
            _fetch(model_version, directory)
        elif source.suffix == ".onnx" and source.is_file():
            _copy_onnx(source, directory)
        else:
            _copy(model_version, source, directory)
        files = _hashed(directory)
    except OSError as error:
        raise ArtifactError(
            f"The files of {model_version.description} could not be brought to {directory}: {error.strerror or error}.",
            hint="Check the disk space and the permissions.",
        ) from error
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
    artifact = Artifact(directory, files, _digest(files), document)
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
        log(f"{len(files)} files, {artifact.size:,} bytes, sha256 {artifact.sha256[:12]}")
    return artifact


def _fetch(model_version: ModelVersion, directory: Path) -> None:
    from_store = f"of {model_version.description} at {shown(model_version.location)}"
    with opened(model_version.tracking_uri, model_version.registry_uri, bounded=False) as store:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            repository = get_artifact_repository(
                model_version.location, tracking_uri=store.tracking_uri, registry_uri=store.registry_uri
            )
            expected = _listed(repository)
            if expected:
                repository.download_artifacts("", dst_path=str(directory))  # type: ignore[no-untyped-call]  # MLflow's
        except Exception as error:
            # Every artifact store has exceptions of its own; what they have in common is that the files did not come.
            raise ArtifactError(
                f"The artifact {from_store} could not be read: {str(error).strip().splitlines()[0].rstrip('.')}.",
                hint="Check that the artifact store runs and that you may read it.",
            ) from error
    if not expected:
        raise ArtifactError(f"There are no files {from_store}.", hint="Log and register the model again.")
    for path, size in expected.items():
        found = directory / path
        if not found.is_file():
            raise ArtifactError(f"The artifact {from_store} is not whole: {path} is missing.", hint="Try again.")
        if size is not None and found.stat().st_size != size:
            raise ArtifactError(
                f"The artifact {from_store} is not whole: {path} has {found.stat().st_size} bytes, and the store says"
                f" {size}.",
                hint="Try again; if it stays so, log and register the model again.",
            )


def _listed(repository: ArtifactRepository, path: str | None = None) -> dict[str, int | None]:
    """All files below `path` with their sizes, where the store says them."""
    found: dict[str, int | None] = {}
    for entry in repository.list_artifacts(path):
        if entry.is_dir:
            found |= _listed(repository, entry.path)
        else:
            found[entry.path] = entry.file_size
    return found


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


def _hashed(directory: Path) -> tuple[ArtifactFile, ...]:
    found = []
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            if (Path(folder) / name).is_symlink():
                raise ArtifactError(f"{name} in the artifact is a symbolic link.", hint="Log the model without links.")
        for name in names:
            path = Path(folder) / name
            if path.relative_to(directory).as_posix() == WRITTEN_ON_LOADING:
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(ArtifactFile(path.relative_to(directory).as_posix(), path.stat().st_size, digest))
    return tuple(sorted(found, key=lambda file: file.path))


def _digest(files: tuple[ArtifactFile, ...]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.path}\0{file.size}\0{file.sha256}\n".encode())
    return total.hexdigest()
