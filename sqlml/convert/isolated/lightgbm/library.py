"""LightGBM beside scikit-learn: see libraries.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlml.convert.isolated import files
from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.lightgbm.original import Booster, asked, inputs_of, own
from sqlml.convert.isolated.lightgbm.predictors import predictors
from sqlml.convert.isolated.refusal import Refusal, unsupported
from sqlml.convert.isolated.sklearn import library as sklearn

__all__ = ["asked", "inputs_of", "load", "own", "predictors"]


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:  # Any: YAML
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
        return sklearn.load(root, {**flavor, "pickled_model": flavor.get("data")}, allow_pickle)
    file = files.inside(root, flavor.get("data"), "data")
    content = files.read(file, file.name)
    try:
        estimator = Booster(content.decode())
    except UnicodeDecodeError as error:
        raise Refusal("artifact", f"{file.name} is not the text of a LightGBM model.") from error
    about = {"estimator": "Booster", "file": file.name, "file sha256": files.sha256(content), "serialization": "text"}
    return Artifact("lightgbm", about, estimator=estimator)
