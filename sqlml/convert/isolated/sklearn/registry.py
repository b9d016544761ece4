"""Which converter translates which class, found by public name: older versions of scikit-learn lack some of the classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TypeVar

from sqlml.convert.isolated.sklearn.context import Predict, Transform, Unwrap

MODULES = (
    "approximations",
    "bayes",
    "calibration",
    "clusters",
    "compose",
    "discriminant",
    "embeddings",
    "encoders",
    "ensembles",
    "gaussian_process",
    "histogram",
    "impute",
    "isotonic",
    "iterative",
    "kernel_models",
    "linear",
    "mixture",
    "multiclass",
    "multioutput",
    "neighbor_graphs",
    "neighbors",
    "neural",
    "outliers",
    "power",
    "preprocessing",
    "projections",
    "quantile",
    "refused",
    "reshape",
    "semi_supervised",
    "splines",
    "svm",
    "targets",
    "thresholds",
    "trees",
    "weighted_median",
)
"""Those beside this one that end in tables of converters."""

Converter = TypeVar("Converter")


@lru_cache(maxsize=1)
def transformers() -> Mapping[type, Transform]:
    return by_class("TRANSFORMERS")


@lru_cache(maxsize=1)
def predictors() -> Mapping[type, Predict]:
    return by_class("PREDICTORS")


@lru_cache(maxsize=1)
def wrappers() -> Mapping[type, Unwrap]:
    return by_class("WRAPPERS")


def by_class(table: str) -> dict[type, Converter]:
    """The modules' tables of this name as one, with this scikit-learn's classes as keys."""
    found: dict[type, Converter] = {}
    for module in (import_module(f"{__package__}.{name}") for name in MODULES):
        entries: Mapping[str, Converter] = getattr(module, table, {})
        for name, convert in entries.items():
            for cls in classes(name):
                if cls in found:
                    raise ValueError(f"two converters for {name}")
                found[cls] = convert
    return found


def classes(name: str) -> Iterator[type]:
    """The class "module.Class" of scikit-learn, if it has it."""
    module, _, cls = name.rpartition(".")
    try:
        found = getattr(import_module(f"sklearn.{module}"), cls, None)
    except ImportError:
        return
    if isinstance(found, type):
        yield found
