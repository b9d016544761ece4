"""The MLmodel file: what MLflow wrote about a model when it was logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sqlml.errors import ArtifactError

FILE_NAME = "MLmodel"
# Entries of a flavor that name a file or folder of the model.
NAMING_KEYS = ("pickled_model", "model_path", "data")


def read(directory: Path) -> Mapping[str, Any]:
    """The parsed MLmodel file of a model directory.

    Raises:
        ArtifactError: it is missing, not YAML, or names no flavor.
    """
    import yaml

    path = directory / FILE_NAME
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            "The artifact has no MLmodel file, so it is not an MLflow model.", hint="Log it with mlflow again."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ArtifactError(
            f"The artifact's MLmodel file cannot be read: {_first_line(error)}.", hint="Log the model again."
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("flavors"), dict) or not document["flavors"]:
        raise ArtifactError(
            "The artifact's MLmodel file names no flavor, so nothing says how to read the model.", hint="Log it again."
        )
    return document


def missing_files(document: Mapping[str, Any], directory: Path) -> list[str]:
    """Files and folders that the flavors name and that are not there."""
    named = {
        entry[key]
        for entry in document["flavors"].values()
        if isinstance(entry, dict)
        for key in NAMING_KEYS
        if isinstance(entry.get(key), str) and entry[key]
    }
    return sorted(name for name in named if ".." in PurePosixPath(name).parts or not (directory / name).exists())


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
