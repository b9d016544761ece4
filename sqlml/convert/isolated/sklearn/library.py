"""scikit-learn's estimators from the pickles and skops files of MLflow. Only ever called in the isolated process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.files import inside, read, sha256
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: YAML and unpickled objects, checked as they are read.

# What an ordinary model needs beyond skops's own list. The list in MLmodel is the artifact's word for itself,
# so it counts only where pickles are allowed.
TRUSTED_WITHOUT_PICKLE = ("numpy.dtype",)
ELSE = "Log the model with mlflow.sklearn, mlflow.lightgbm, mlflow.xgboost, mlflow.catboost or mlflow.onnx, or register an .onnx file."


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    file = inside(root, flavor.get("pickled_model"), "pickled_model")
    kind = str(flavor.get("serialization_format", "pickle"))
    if kind not in ("pickle", "cloudpickle", "skops"):
        raise unsupported(f"The model is serialized as {kind!r}; sqlml reads skops, cloudpickle and pickle.", ELSE)
    content = read(file, file.name)
    digest = sha256(content)
    if kind != "skops" and not allow_pickle:
        raise Refusal(
            "policy",
            f"{file.name} (sha256 {digest}) is a pickle, and pickles are forbidden here (SQLML_ALLOW_PICKLE=0).",
            'Log the model with serialization_format="skops", or register an .onnx file.',
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = _deserialize(file, kind, flavor, content, allow_pickle)
    answers = hasattr(estimator, "predict") or hasattr(estimator, "transform")
    if not answers or not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise unsupported(
            f"{file.name} holds a {type(estimator).__name__}, not a scikit-learn estimator with predict or transform.",
            ELSE,
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


def _shown(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    texts = dict.fromkeys(f"{w.category.__name__}: {str(w.message).splitlines()[0]}" for w in caught if str(w.message))
    return tuple(list(texts)[:10])
