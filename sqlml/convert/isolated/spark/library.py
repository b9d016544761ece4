"""Spark ML beside scikit-learn: see libraries.py. Neither pyspark nor a JVM is needed to read what Spark saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlml.convert.isolated import files
from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.spark.convert import SparkModel, predictors
from sqlml.convert.isolated.spark.original import asked, inputs_of
from sqlml.convert.isolated.spark.reading import digest
from sqlml.convert.isolated.spark.reading import load as saved

__all__ = ["asked", "inputs_of", "load", "own", "predictors"]

REFERENCE = "the reference is sqlml's own reading of the saved Spark model; Spark itself was not started"


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:  # Any: YAML
    """The stages below `model_data`: JSON and parquet, so nothing is unpickled whatever is allowed."""
    place = files.inside(root, flavor.get("model_data"), "model_data")
    if not place.is_dir():
        raise Refusal("artifact", f"{place.name} is not a saved Spark model, which is a folder.")
    stage = saved(place)
    about = {
        "estimator": stage.kind,
        "file": place.name,
        "file sha256": digest(place),
        "serialization": "Spark ML (JSON and parquet)",
        "saved by Spark": str(stage.metadata.get("sparkVersion", "unknown")),
        "reference": REFERENCE,
    }
    return Artifact("spark", about, notes=(REFERENCE,), estimator=SparkModel(stage))


def own(estimator: Any) -> SparkModel | None:
    return estimator if isinstance(estimator, SparkModel) else None
