"""A python_function is loaded by MLflow itself, as `mlflow.pyfunc.load_model` does everywhere."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlml.convert.isolated.pyfunc.asking import reason
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: YAML, checked as it is read, and MLflow's model, which is asked only.
# Nothing is sent from here in any case: there is no network.
QUIET = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "0",
}
WARNINGS_SHOWN = 10
ADVICE = (ResourceWarning, DeprecationWarning, PendingDeprecationWarning, FutureWarning)
# sqlml's own plugin for hbase:// cannot be read here, and MLflow tells everybody about type hints.
OURS = ('scheme "hbase"', "type hints to the `predict` method")


@dataclass(frozen=True)
class Pyfunc:
    """A loaded model. `document` is its MLmodel file."""

    document: Mapping[str, Any]
    origin: Mapping[str, str]
    notes: tuple[str, ...]
    example: Any = field(default=None, repr=False)
    model: Any = field(default=None, repr=False)


def load(root: Path, document: Mapping[str, Any], *, allow_pickle: bool) -> Pyfunc:
    found = document.get("flavors")
    flavors: Mapping[str, Any] = found if isinstance(found, dict) else {}
    flavor = flavors.get("python_function")
    if not isinstance(flavor, dict):
        named = ", ".join(flavors) or "none"
        raise unsupported(f"The model has no python_function flavor (it has {named}), so nothing says how it is asked.")
    if not allow_pickle:
        raise Refusal(
            "policy",
            "A python_function runs code that came with the model, like a pickle, and that is forbidden here"
            " (SQLML_ALLOW_PICKLE=0).",
            "Register a model that sqlml converts without running it: LightGBM's or XGBoost's own, skops, or an .onnx file.",
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mlflow, model = _loaded(root)
    logged = next((name for name in flavors if name != "python_function"), "")
    origin = {
        "flavor": "python_function",
        "estimator": _class_of(model, flavor),
        "file": "MLmodel",
        "loader": str(flavor.get("loader_module")),
        **({"logged as": logged} if logged else {}),
        **({"mlflow": str(document["mlflow_version"])} if document.get("mlflow_version") else {}),
        "asked with mlflow": str(mlflow.__version__),
        **_packages(root),
    }
    from sqlml.convert.isolated.pyfunc import example

    return Pyfunc(document, origin, _shown(caught), example.load(model.metadata, str(root)), model)


def _shown(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """What was warned of while loading that says something about the model; not advice to who will log the next one."""
    texts = [
        f"{w.category.__name__}: {str(w.message).splitlines()[0]}"
        for w in caught
        if str(w.message) and w.category not in ADVICE and not any(part in str(w.message) for part in OURS)
    ]
    return tuple(dict.fromkeys(texts))[:WARNINGS_SHOWN]


def _loaded(root: Path) -> tuple[Any, Any]:
    os.environ.update(QUIET)
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError as error:
        raise unsupported(
            f"The model is asked through MLflow, which cannot be imported where it runs: {error}.",
            "Its environment needs mlflow among its requirements.",
        ) from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        return mlflow, mlflow.pyfunc.load_model(str(root))
    except ModuleNotFoundError as error:
        raise unsupported(
            f"The model needs the Python module '{error.name}', which is not available where it runs.",
            "Install it beside sqlml, or log the model with code_paths.",
        ) from error
    except (MemoryError, Refusal):
        raise
    except Exception as error:  # whatever the artifact's own code raises is its defect, not ours
        raise Refusal(
            "artifact",
            f"The model could not be loaded: {reason(error)}",
            "It may have been saved by other library versions than are installed here (see requirements.txt beside it).",
        ) from error


def _class_of(model: Any, flavor: Mapping[str, Any]) -> str:
    """The class that somebody wrote, where MLflow still has it."""
    try:
        own = model.unwrap_python_model()
    except Exception:  # MLflow's own exception: this flavor wraps something else
        own = getattr(model, "_model_impl", None)
    name = type(own).__name__
    return name if own is not None else str(flavor.get("loader_module"))


def _packages(root: Path) -> dict[str, str]:
    """Versions of what the model's requirements name, as they are here."""
    path = root / "requirements.txt"
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text("utf-8", "replace").splitlines()[:200]:
        name = line.split("==")[0].split("[")[0].strip()
        try:
            if name and not name.startswith(("#", "-")):
                found[f"asked with {name}"] = metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return found
