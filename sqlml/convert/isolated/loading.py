"""An artifact becomes a live estimator or the bytes of an ONNX file. Only ever called in the isolated process."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlml.convert.isolated.inputs import Input, Tensor, declared
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: YAML and unpickled objects, checked as they are read.
LARGEST_TEXT = 16 << 20
RELEVANT = ("scikit-learn", "lightgbm", "numpy", "scipy", "pandas", "skops", "cloudpickle", "onnx", "onnxruntime")

# What an ordinary model needs beyond skops's own list. The list in MLmodel is the artifact's word for itself,
# so it counts only where pickles are allowed.
TRUSTED_WITHOUT_PICKLE = ("numpy.dtype",)

INSTEAD = {
    "xgboost": "Convert it to ONNX with onnxmltools and register the .onnx file, or log scikit-learn's HistGradientBoosting.",
    "catboost": 'Save it with save_model(format="onnx") and register the .onnx file.',
    "pytorch": "Export it with torch.onnx.export and register the .onnx file.",
    "tensorflow": "Export it with tf2onnx and register the .onnx file.",
    "keras": "Export it with tf2onnx and register the .onnx file.",
}
ELSE = "Log the model with mlflow.sklearn, mlflow.lightgbm or mlflow.onnx, or register an .onnx file."


@dataclass(frozen=True)
class Artifact:
    """A loaded model: `estimator` for the flavors sklearn and lightgbm, `onnx` (the file's bytes) for the flavor onnx."""

    flavor: str
    origin: dict[str, str]
    notes: tuple[str, ...] = ()
    inputs: tuple[Input, ...] | Tensor | None = None
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the MLflow signature, where it has names."""
    example: tuple[Path, Mapping[str, Any]] | None = None
    estimator: Any = field(default=None, repr=False)
    onnx: bytes = field(default=b"", repr=False)


def load(path: Path, *, allow_pickle: bool) -> Artifact:
    """Load an MLflow model directory or a single .onnx file."""
    if path.is_dir():
        return _load_directory(path.resolve(), allow_pickle=allow_pickle)
    if path.suffix.lower() != ".onnx":
        raise Refusal("artifact", f"{path.name} is neither an MLflow model directory nor an .onnx file.")
    content = _read(path, path.name)
    return Artifact("onnx", {"flavor": "onnx", "file": path.name, "file sha256": _sha256(content)}, onnx=content)


def _load_directory(root: Path, *, allow_pickle: bool) -> Artifact:
    model = _yaml(root / "MLmodel")
    flavors = model.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise Refusal("artifact", "The MLmodel file names no flavor.")
    signature = model.get("signature") if isinstance(model.get("signature"), dict) else None
    about = {
        "inputs": declared(signature),
        "outputs": _output_names(signature),
        "example": _example(root, model.get("saved_input_example_info")),
    }
    origin = {"mlflow": str(model["mlflow_version"])} if model.get("mlflow_version") else {}
    for name, read in (("sklearn", _load_sklearn), ("lightgbm", _load_lightgbm), ("onnx", _load_onnx)):
        if name in flavors:
            _add_code(root, flavors[name])
            artifact = read(root, flavors[name], allow_pickle)
            trained, notes = _versions(root, flavors)
            origin |= {"flavor": name, **artifact.origin, **trained}
            return Artifact(
                name,
                origin,
                (*artifact.notes, *notes),
                estimator=artifact.estimator,
                onnx=artifact.onnx,
                **about,  # type: ignore[arg-type]  # a dict of the three fields above
            )
    raise _other_flavor(flavors)


def _other_flavor(flavors: Mapping[str, Any]) -> Refusal:
    named = [name for name in flavors if name != "python_function"]
    if named:
        hint = INSTEAD.get(named[0], ELSE)
        return unsupported(
            f"The model is of flavor {', '.join(named)}, and sqlml converts sklearn, lightgbm and onnx.", hint
        )
    loader = (flavors.get("python_function") or {}).get("loader_module", "python_function")
    return unsupported(
        f"The model is a python_function only (loaded by {loader}): arbitrary Python code cannot become SQL.", ELSE
    )


def _load_sklearn(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    file = inside(root, flavor.get("pickled_model"), "pickled_model")
    kind = str(flavor.get("serialization_format", "pickle"))
    if kind not in ("pickle", "cloudpickle", "skops"):
        raise unsupported(f"The model is serialized as {kind!r}; sqlml reads skops, cloudpickle and pickle.", ELSE)
    content = _read(file, file.name)
    digest = _sha256(content)
    if kind != "skops" and not allow_pickle:
        raise Refusal(
            "policy",
            f"{file.name} (sha256 {digest}) is a pickle, and pickles are forbidden here (SQLML_ALLOW_PICKLE=0).",
            'Log the model with serialization_format="skops", or register an .onnx file.',
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = _deserialize(file, kind, flavor, content, allow_pickle)
    if not hasattr(estimator, "predict") or not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise unsupported(
            f"{file.name} holds a {type(estimator).__name__}, not a scikit-learn estimator with predict.", ELSE
        )
    origin = {"estimator": type(estimator).__name__, "file": file.name, "file sha256": digest, "serialization": kind}
    return Artifact("sklearn", origin, _shown(caught), estimator=estimator)


def _deserialize(file: Path, kind: str, flavor: Mapping[str, Any], content: bytes, allow_pickle: bool) -> Any:
    try:
        if kind == "skops":
            return _from_skops(file, flavor, content, allow_pickle)
        if kind == "cloudpickle":
            import cloudpickle  # noqa: F401  # its reducers must be importable
        import pickle

        return pickle.loads(content)  # noqa: S301  # in the isolated process, with its hash on record
    except Refusal:
        raise
    except ModuleNotFoundError as error:
        raise unsupported(
            f"{file.name} needs the Python module '{error.name}', which is not available to the conversion.",
            "Install it beside sqlml, or log the model with code_paths.",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever the artifact's own code raises is its defect, not ours
        reason = f"{type(error).__name__}: {error}"
        raise Refusal(
            "artifact",
            f"{file.name} could not be loaded: {reason}",
            "It may have been saved by other library versions than are installed here (see requirements.txt beside it).",
        ) from error


def _from_skops(file: Path, flavor: Mapping[str, Any], content: bytes, allow_pickle: bool) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    declared_types = flavor.get("skops_trusted_types") or []
    trusted = [str(name) for name in declared_types] if allow_pickle else []
    trusted += TRUSTED_WITHOUT_PICKLE
    try:
        return skops.io.loads(content, trusted=trusted)
    except UntrustedTypesFoundException as error:
        names = ", ".join(skops.io.get_untrusted_types(data=content)[:10])
        if allow_pickle:
            raise unsupported(
                f"{file.name} holds types that its MLmodel does not declare as trusted: {names}."
            ) from error
        raise Refusal(
            "policy",
            f"{file.name} holds types whose loading can run code ({names}), forbidden here (SQLML_ALLOW_PICKLE=0).",
            "Register an .onnx file instead.",
        ) from error


def _load_lightgbm(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    """A Booster from its text; LGBMClassifier and its kin as MLflow's sklearn flavor keeps estimators."""
    try:
        import lightgbm  # noqa: F401  # also when the text alone would do: the original must answer
    except (ImportError, OSError) as error:
        trained = flavor.get("lgb_version")
        raise unsupported(
            f"The model is LightGBM's, and its own answers cannot be had here: {error}.",
            f"Install it beside sqlml: pip install lightgbm{f'=={trained}' if trained else ''}",
        ) from error
    if flavor.get("model_class", "lightgbm.basic.Booster") != "lightgbm.basic.Booster":
        return _load_sklearn(root, {**flavor, "pickled_model": flavor.get("data")}, allow_pickle)
    from sqlml.convert.isolated.lightgbm.original import Booster

    file = inside(root, flavor.get("data"), "data")
    content = _read(file, file.name)
    try:
        estimator = Booster(content.decode())
    except UnicodeDecodeError as error:
        raise Refusal("artifact", f"{file.name} is not the text of a LightGBM model.") from error
    origin = {"estimator": "Booster", "file": file.name, "file sha256": _sha256(content), "serialization": "text"}
    return Artifact("lightgbm", origin, estimator=estimator)


def _load_onnx(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    import onnx

    from sqlml.convert.isolated.foreign_onnx import external_files

    file = inside(root, flavor.get("data"), "data")
    if file.is_dir():
        raise unsupported("The ONNX model is a directory.", "Save it as one file.")
    content = _read(file, file.name)
    origin = {"file": file.name, "file sha256": _sha256(content)}
    # MLflow moves tensors of more than 1024 bytes into files beside it (save_as_external_data, its default).
    beside = external_files(content)
    for name in beside:
        path = inside(file.parent, name, "external data of the ONNX model")
        origin[f"{name} sha256"] = _sha256(_read(path, name))
    if beside:
        model = onnx.load_model_from_string(content)
        onnx.load_external_data_for_model(model, str(file.parent))
        content = bytes(model.SerializeToString())
    return Artifact("onnx", origin, onnx=content)


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


def _add_code(root: Path, flavor: Mapping[str, Any]) -> None:
    """`code_paths` of the model, importable in this process only, after everything that is installed."""
    code = flavor.get("code")
    if isinstance(code, str) and code:
        sys.path.append(str(inside(root, code, "code")))


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise Refusal("artifact", f"There is no MLmodel file in {path.parent.name}.", "Name an MLflow model directory.")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(_read(path, "MLmodel", LARGEST_TEXT), Loader=loader)
    except yaml.YAMLError as error:
        raise Refusal("artifact", f"The MLmodel file is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise Refusal("artifact", "The MLmodel file is not what MLflow writes.")
    return content


def _read(path: Path, name: str, largest: int = 2 << 30) -> bytes:
    try:
        size = path.stat().st_size
        if size > largest:
            raise Refusal("artifact", f"{name} has {size} bytes; sqlml reads up to {largest}.")
        return path.read_bytes()
    except OSError as error:
        raise Refusal("artifact", f"{name} cannot be read: {error.strerror}.") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
    for key, package in (("sklearn_version", "scikit-learn"), ("lgb_version", "lightgbm"), ("onnx_version", "onnx")):
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
    lines = _read(path, path.name, LARGEST_TEXT).decode("utf-8", "replace").splitlines()
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
    if "lightgbm" in sys.modules:
        found["lightgbm"] = _installed("lightgbm") or "unknown"
    return {"python": platform.python_version(), **found}


def _shown(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    texts = dict.fromkeys(f"{w.category.__name__}: {str(w.message).splitlines()[0]}" for w in caught if str(w.message))
    return tuple(list(texts)[:10])
