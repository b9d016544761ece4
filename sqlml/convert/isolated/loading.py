"""An artifact becomes a live estimator or the bytes of an ONNX file. Only ever called in the isolated process."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.files import LARGEST_TEXT, inside, read, sha256
from sqlml.convert.isolated.inputs import declared
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: YAML, checked as it is read.
LEARNERS = {
    "scikit-learn": "sklearn_version",
    "lightgbm": "lgb_version",
    "xgboost": "xgb_version",
    "catboost": "catboost_version",
}
"""Libraries whose models these are -> what MLmodel calls their version."""
RELEVANT = (*LEARNERS, "numpy", "scipy", "pandas", "skops", "cloudpickle", "onnx", "onnxruntime")
# The first of these that a model has is the one it is loaded by.
FLAVORS = {
    "sklearn": "sqlml.convert.isolated.sklearn.library",
    "lightgbm": "sqlml.convert.isolated.lightgbm.library",
    "xgboost": "sqlml.convert.isolated.xgboost.library",
    "catboost": "sqlml.convert.isolated.catboost.library",
    "spark": "sqlml.convert.isolated.spark.library",
    "pytorch": "sqlml.convert.isolated.pytorch.library",
    "onnx": "sqlml.convert.isolated.foreign_loading",
}

INSTEAD = {
    "tensorflow": "Export it with tf2onnx and register the .onnx file.",
    "keras": 'Export it with model.export(path, format="onnx") and register the .onnx file.',
}
ELSE = "Log the model with mlflow.sklearn, mlflow.lightgbm, mlflow.xgboost, mlflow.catboost, mlflow.spark or mlflow.onnx, or register an .onnx file."


def load(path: Path, *, allow_pickle: bool) -> Artifact:
    """Load an MLflow model directory or a single .onnx file."""
    if path.is_dir():
        return _load_directory(path.resolve(), allow_pickle=allow_pickle)
    if path.suffix.lower() != ".onnx":
        raise Refusal("artifact", f"{path.name} is neither an MLflow model directory nor an .onnx file.")
    content = read(path, path.name)
    return Artifact("onnx", {"flavor": "onnx", "file": path.name, "file sha256": sha256(content)}, onnx=content)


def _load_directory(root: Path, *, allow_pickle: bool) -> Artifact:
    model = mlmodel(root)
    flavors = model.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise Refusal("artifact", "The MLmodel file names no flavor.")
    name = next((name for name in FLAVORS if name in flavors), None)
    if name is None:
        raise _other_flavor(flavors)
    signature = model.get("signature") if isinstance(model.get("signature"), dict) else None
    written = {"mlflow": str(model["mlflow_version"])} if model.get("mlflow_version") else {}
    _add_code(root, flavors[name])
    artifact: Artifact = import_module(FLAVORS[name]).load(root, flavors[name], allow_pickle)
    trained, notes = _versions(root, flavors)
    return replace(
        artifact,
        flavor=name,
        origin={**written, "flavor": name, **artifact.origin, **trained},
        notes=(*artifact.notes, *notes),
        inputs=declared(signature),
        outputs=_output_names(signature),
        example=_example(root, model.get("saved_input_example_info")),
    )


def _other_flavor(flavors: Mapping[str, Any]) -> Refusal:
    named = [name for name in flavors if name != "python_function"]
    if named:
        hint = INSTEAD.get(named[0], ELSE)
        return unsupported(f"The model is of flavor {', '.join(named)}, and sqlml converts {', '.join(FLAVORS)}.", hint)
    loader = (flavors.get("python_function") or {}).get("loader_module", "python_function")
    return unsupported(
        f"The model is a python_function only (loaded by {loader}): arbitrary Python code cannot become SQL.", ELSE
    )


def _add_code(root: Path, flavor: Mapping[str, Any]) -> None:
    """`code_paths` of the model, importable in this process only, after everything that is installed."""
    code = flavor.get("code")
    if isinstance(code, str) and code:
        sys.path.append(str(inside(root, code, "code")))


def mlmodel(root: Path) -> dict[str, Any]:
    """The MLmodel file of a model's directory."""
    import yaml

    path = root / "MLmodel"
    if not path.is_file():
        raise Refusal("artifact", f"There is no MLmodel file in {path.parent.name}.", "Name an MLflow model directory.")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(read(path, "MLmodel", LARGEST_TEXT), Loader=loader)
    except yaml.YAMLError as error:
        raise Refusal("artifact", f"The MLmodel file is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise Refusal("artifact", "The MLmodel file is not what MLflow writes.")
    return content


def _output_names(signature: Mapping[str, Any] | None) -> tuple[str, ...]:
    text = (signature or {}).get("outputs")
    try:
        entries = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return ()
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    named = tuple(name for name in names if isinstance(name, str) and name)
    return named if len(named) == len(names) else ()


def _example(root: Path, about: object) -> tuple[Path, Mapping[str, Any]] | None:
    if not isinstance(about, dict) or not isinstance(about.get("artifact_path"), str):
        return None
    path = (root / about["artifact_path"]).resolve()
    return (path, about) if path.is_relative_to(root) and path.is_file() else None


def _versions(root: Path, flavors: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The versions the model was trained with, where they differ from those that convert it."""
    trained = _requirements(root / "requirements.txt")
    for package, key in (*LEARNERS.items(), ("onnx", "onnx_version")):
        for flavor in flavors.values():
            if isinstance(flavor, dict) and flavor.get(key):
                trained[package] = str(flavor[key])
    python = (flavors.get("python_function") or {}).get("python_version")
    here = {"python": platform.python_version()} | {name: v for name in trained if (v := _installed(name))}
    if python:
        trained["python"] = str(python)
    notes = tuple(
        f"trained with {name} {trained[name]}, converted with {here[name]}"
        for name in sorted(trained)
        if name in here and trained[name] != here[name]
    )
    return {f"trained with {name}": version for name, version in trained.items()}, notes


def _requirements(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = read(path, path.name, LARGEST_TEXT).decode("utf-8", "replace").splitlines()
    pins = (re.fullmatch(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([A-Za-z0-9.+!_-]+).*", line) for line in lines)
    return {pin[1].lower(): pin[2] for pin in pins if pin and pin[1].lower() in RELEVANT}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str]:
    """What converts: kept with the result."""
    found = {
        name: version for name in ("scikit-learn", "onnx", "onnxruntime", "numpy") if (version := _installed(name))
    }
    for name in LEARNERS:
        if name in sys.modules:
            found[name] = _installed(name) or "unknown"
    return {"python": platform.python_version(), **found}
