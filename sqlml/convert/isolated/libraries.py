"""Libraries beside scikit-learn whose models answer by themselves: each is a package here with a module `library`.

Such a module has:
    load(root, flavor, allow_pickle) -> Artifact         the model of an MLflow directory
    own(estimator) -> Any                                the library's model that answers, inside a search too, or None
    inputs_of(own, signature, columns) -> Inputs         its input columns
    asked(estimator, inputs) -> Any                      what answers a DataFrame, by predict and predict_proba
    predictors() -> dict[type, Predict]                  the converters of its classes
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

# Any in this module: modules of the shape above, and estimators, which ship no types.
LIBRARIES = ("lightgbm", "xgboost", "catboost", "spark")


# What answers with a model that it holds, and where it holds it.
HOLDERS = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "FrozenEstimator": "estimator",
}
DEEPEST = 12


def answering(estimator: Any) -> Any:
    """What answers inside of scikit-learn's searches and FrozenEstimator."""
    for _ in range(DEEPEST):
        held = HOLDERS.get(type(estimator).__name__)
        if held is None or not type(estimator).__module__.startswith("sklearn."):
            break
        estimator = getattr(estimator, held, None)
    return estimator


def modules() -> Iterator[Any]:
    for name in LIBRARIES:
        yield import_module(f"sqlml.convert.isolated.{name}.library")


def of(estimator: Any) -> tuple[Any, Any] | None:
    """The library whose model answers for this estimator, and that model."""
    for module in modules():
        found = module.own(estimator)
        if found is not None:
            return module, found
    return None


def predictors() -> dict[type, Any]:
    found: dict[type, Any] = {}
    for module in modules():
        found |= module.predictors()
    return found
