"""How one converter calls another: by the exact class of the estimator, with the path to the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Union

import sklearn
from sklearn.exceptions import NotFittedError

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.table import Table
from sqlml.convert.isolated.unsupported import Unsupported

Label = Union[str, int, float, bool]  # as a value: Python 3.9 knows no str | int
Estimator = Any  # Any: scikit-learn ships no types; what each converter reads is in the source it names

RETRAIN = "Use an estimator that sqlml converts (`sqlml check` lists the step), or export the model to ONNX yourself."


@dataclass(frozen=True)
class Prediction:
    """What a predictor answers, as tensors.

    `values` is the class index (int64 [N, 1]) or the regressor's doubles [N, targets]. `decision` is decision_function
    as a matrix, where the estimator has it: [N, 1] for two classes. `score` is what an explanation explains, where that
    is neither the decision nor, without one, the probabilities or the values; "" where there is nothing to explain.
    """

    kind: Literal["classifier", "regressor"]
    values: str
    classes: tuple[Label, ...] = ()
    probabilities: str | None = None
    decision: str | None = None
    targets: int = 1
    precision: Literal["double", "float"] = "double"
    score: str | None = None


Transform = Callable[["Context", Estimator, Table, str], Table]
Predict = Callable[["Context", Estimator, Table, str], Prediction]
Unwrap = Callable[[Estimator], Estimator]

# By public name, as "preprocessing.StandardScaler": see registry.py.
Transforms = Mapping[str, Transform]
Predicts = Mapping[str, Predict]
Unwraps = Mapping[str, Unwrap]


@dataclass(frozen=True)
class Context:
    """The graph under construction and the converters by class."""

    graph: Graph
    transformers: Mapping[type, Transform] = field(repr=False)
    predictors: Mapping[type, Predict] = field(repr=False)
    wrappers: Mapping[type, Unwrap] = field(repr=False)

    def unwrap(self, estimator: Estimator, step: str) -> Estimator:
        """What a search or a FrozenEstimator holds."""
        while type(estimator) in self.wrappers:
            estimator = self.wrappers[type(estimator)](estimator)
        return estimator

    def transform(self, estimator: Estimator, table: Table, step: str) -> Table:
        estimator = self.unwrap(estimator, step)
        convert = self.transformers.get(type(estimator))
        if convert is None:
            raise unknown(estimator, step, "transformer" if hasattr(estimator, "transform") else "step")
        refuse_overrides(estimator, step)
        with fitted(estimator, step):
            return convert(self, estimator, table, step)

    def predict(self, estimator: Estimator, table: Table, step: str) -> Prediction:
        estimator = self.unwrap(estimator, step)
        convert = self.predictors.get(type(estimator))
        if convert is None:
            raise unknown(estimator, step, "predictor")
        refuse_overrides(estimator, step)
        with fitted(estimator, step):
            said = convert(self, estimator, table, step)
        if said.precision == "float":
            self.graph.single = True  # what an ensemble makes of it is no more precise
        return said


@contextmanager
def fitted(estimator: Estimator, step: str) -> Iterator[None]:
    """A fitted attribute that is not there: never fitted, or fitted by a version that kept its state otherwise."""
    try:
        yield
    except NotFittedError as error:
        raise Unsupported(
            step, type(estimator).__name__, "it is not fitted.", "Fit the model before logging it."
        ) from error
    except AttributeError as error:
        why = f"its fitted state is not what scikit-learn {sklearn.__version__} leaves ({error})."
        raise Unsupported(
            step,
            type(estimator).__name__,
            why,
            "Use --model-env auto, which loads it with the one it was saved with, or train it again.",
        ) from error


def unknown(estimator: Estimator, step: str, role: str) -> Unsupported:
    cls = type(estimator)
    if role == "predictor" and not hasattr(estimator, "predict"):
        why = "it does not predict a label or a number."
        return Unsupported(step, cls.__name__, why, "Register a model that ends in a classifier or a regressor.")
    if not cls.__module__.startswith("sklearn."):
        known = next((base.__name__ for base in cls.__mro__[1:] if base.__module__.startswith("sklearn.")), None)
        derived = f" (derived from {known})" if known else ""
        why = f"it is a class of its own{derived} from '{cls.__module__}', so what it computes is not known."
        return Unsupported(
            step, cls.__name__, why, "Use scikit-learn's own classes, or export the model to ONNX yourself."
        )
    return Unsupported(step, cls.__name__, f"there is no exact translation of this {role}.", RETRAIN)


def refuse_overrides(estimator: Estimator, step: str) -> None:
    """A method replaced on the instance would make the original answer something else than its class does."""
    cls = type(estimator)
    for name in vars(estimator):
        if callable(getattr(cls, name, None)):
            why = f"its method '{name}' was replaced on the object itself."
            raise Unsupported(step, cls.__name__, why, "Register the model without the replaced method.")


def refuse(estimator: Estimator, step: str, why: str, instead: str = RETRAIN) -> Unsupported:
    """`raise refuse(...)`: this configuration has no exact translation."""
    return Unsupported(step, type(estimator).__name__, why, instead)


def below(step: str, name: str) -> str:
    return f"{step} > {name}" if step else name
