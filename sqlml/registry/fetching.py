"""Files from an artifact store that is not this machine's disk, compared with what the store recorded about them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml.errors import ArtifactError, SqlmlError
from sqlml.registry import store_manifest
from sqlml.registry.asking import manifest_content, reason, refusal
from sqlml.registry.files import ArtifactFile, hashed
from sqlml.registry.references import ModelVersion
from sqlml.registry.store import BOUNDS_OF_DOWNLOADS, opened, shown
from sqlml.registry.store_manifest import StoreManifest

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

Brought = tuple[tuple[ArtifactFile, ...], StoreManifest | None]
DAMAGED = "DATA_LOSS"
LOG_AGAIN = "Log and register the model again."
ATTEMPTS = 2
"""A file may be overwritten while the files are on their way: then all of them, and the manifest, are brought again."""


def fetch(model_version: ModelVersion, directory: Path) -> Brought:
    """Bring the files into `directory`, whole and as the store recorded them; with that record, where it keeps one.

    Raises:
        ArtifactError: there are no files, the store could not be read, or twice not what it says of them came.
        SqlmlError: what a store that is a plugin of sqlml's raises.
    """
    place = f"{model_version.description} at {shown(model_version.location)}"
    with opened(model_version.tracking_uri, model_version.registry_uri, bounds=BOUNDS_OF_DOWNLOADS) as store:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with _reading(place):
            repository = get_artifact_repository(
                model_version.location, tracking_uri=store.tracking_uri, registry_uri=store.registry_uri
            )
        problem = None
        for _ in range(ATTEMPTS):
            _clear(directory)
            brought = _bring(repository, directory, place)
            if not isinstance(brought, ArtifactError):
                return brought
            problem = brought
    assert problem is not None  # there was at least one attempt
    raise problem


def _bring(repository: ArtifactRepository, directory: Path, place: str) -> Brought | ArtifactError:
    """One attempt; an error that is returned may be gone if all is brought again, one that is raised is not."""
    with _reading(place, repository):
        listed = _listed(repository)
        if listed:
            repository.download_artifacts("", dst_path=str(directory))  # type: ignore[no-untyped-call]  # MLflow's
    if not listed:
        raise ArtifactError(f"There are no files of {place}.", hint=LOG_AGAIN)
    files = hashed(directory)
    if store_manifest.FILE_NAME in {*listed, *(file.path for file in files)}:
        # A file that somebody logged under this name would pass for the store's own word about all the others.
        raise ArtifactError(
            f"The artifact of {place} has a file {store_manifest.FILE_NAME}, a name that is the artifact store's own.",
            hint="Log the model without it.",
        )
    with _reading(place, repository):
        content = manifest_content(repository)
    try:
        manifest = None if content is None else store_manifest.parse(content, place)
    except ArtifactError as error:
        return error
    problem = None if manifest is None else store_manifest.difference(manifest, files, place)
    problem = problem or _not_as_listed(listed, files, place)
    return (files, manifest) if problem is None else problem


@contextmanager
def _reading(place: str, repository: ArtifactRepository | None = None) -> Iterator[None]:
    try:
        yield
    except SqlmlError:  # from a store that is a plugin of sqlml's: it says best itself what happened
        raise
    except Exception as error:
        if isinstance(error.__cause__, SqlmlError):  # the same, as MLflow is told of it
            raise error.__cause__ from None
        # Every artifact store has exceptions of its own; what they have in common is that the files did not come.
        why = reason(error) if repository is None else refusal(repository, error)
        # MLflow's code for it; where a server met it, the code is in its answer, and that in the message.
        is_damaged = getattr(error, "error_code", None) == DAMAGED or f'"{DAMAGED}"' in str(error)
        raise ArtifactError(
            f"The artifact of {place} could not be read: {why}.",
            hint=LOG_AGAIN if is_damaged else "Check that the artifact store runs and that you may read it.",
        ) from error


def _listed(repository: ArtifactRepository, path: str | None = None) -> dict[str, int | None]:
    """All files below `path` with their sizes, where the store says them."""
    found: dict[str, int | None] = {}
    for entry in repository.list_artifacts(path):
        if entry.is_dir:
            found |= _listed(repository, entry.path)
        else:
            found[entry.path] = entry.file_size
    return found


def _not_as_listed(listed: Mapping[str, int | None], files: Sequence[ArtifactFile], place: str) -> ArtifactError | None:
    sizes = {file.path: file.size for file in files}
    for path, size in listed.items():
        if path not in sizes:
            return ArtifactError(f"The artifact of {place} is not whole: {path} is missing.", hint="Try again.")
        if size is not None and sizes[path] != size:
            return ArtifactError(
                f"The artifact of {place} is not whole: {path} has {sizes[path]} bytes, and the store says {size}.",
                hint="Try again; if it stays so, log and register the model again.",
            )
    return None


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
