"""XGBoost beside scikit-learn: see libraries.py."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlml.convert.isolated import files
from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.refusal import Refusal, unsupported
from sqlml.convert.isolated.xgboost.model import ELSE
from sqlml.convert.isolated.xgboost.original import ESTIMATORS, Booster, asked, inputs_of, own
from sqlml.convert.isolated.xgboost.predictors import predictors

__all__ = ["asked", "inputs_of", "load", "own", "predictors"]

BOOSTER = "xgboost.core.Booster"


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:  # Any: YAML
    """MLflow keeps a Booster and an estimator alike as the Booster's own file: no pickle, and few of the parameters."""
    try:
        import xgboost
    except (ImportError, OSError) as error:
        trained = flavor.get("xgb_version")
        raise unsupported(
            f"The model is XGBoost's, and its own answers cannot be had here: {error}.",
            f"Install it beside sqlml: pip install xgboost{f'=={trained}' if trained else ''}",
        ) from error
    file = files.inside(root, flavor.get("data"), "data")
    content = files.read(file, file.name)
    kind = str(flavor.get("model_class") or BOOSTER)
    booster = Booster(content)
    _ = booster.model  # a file that cannot be read is refused here
    name = kind.rpartition(".")[2]
    estimator: Any = booster
    if kind not in (BOOSTER, "xgboost.Booster"):
        if not kind.startswith("xgboost.") or name not in ESTIMATORS:
            raise unsupported(f"The model is a {kind}, and sqlml converts Booster, {', '.join(ESTIMATORS)}.")
        estimator = getattr(xgboost, name)(n_jobs=1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator.load_model(bytearray(content))
        except (xgboost.core.XGBoostError, TypeError, ValueError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise Refusal("artifact", f"{file.name} could not be loaded as {name}: {first}", ELSE) from error
    about = {"estimator": name, "file": file.name, "file sha256": files.sha256(content)}
    return Artifact("xgboost", {**about, "serialization": "XGBoost's own"}, estimator=estimator)
