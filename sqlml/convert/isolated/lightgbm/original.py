"""LightGBM's models as the worker holds them: a Booster as its text, an estimator as itself; and how each is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlml.convert.isolated.inputs import ADD_SIGNATURE, FROM_SQL, Input, Inputs, Tensor, distinct
from sqlml.convert.isolated.libraries import answering
from sqlml.convert.isolated.lightgbm.categories import Ambiguous, as_categorical, assigned
from sqlml.convert.isolated.lightgbm.text import Model, parse
from sqlml.convert.isolated.refusal import unsupported

# Any in this module: estimators and DataFrames, which ship no types.
ESTIMATORS = ("LGBMClassifier", "LGBMRegressor", "LGBMRanker")


class Booster:
    """A lightgbm.Booster, known by its text; LightGBM is loaded when the first question is asked."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def model(self) -> Model:
        return parse(self.text)

    @cached_property
    def loaded(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.text)

    def predict(self, frame: Any) -> Any:
        return self.loaded.predict(frame)


def own(estimator: Any) -> Any:
    """The model of LightGBM's that answers, found inside a search or a FrozenEstimator too; None where there is none."""
    estimator = answering(estimator)
    module = sys.modules.get("lightgbm")
    fitted = module is not None and getattr(estimator, "booster_", None) is not None
    kinds = {Booster, *(getattr(module, name) for name in ESTIMATORS if fitted)}
    return estimator if type(estimator) in kinds else None


def model_of(estimator: Any) -> Model:
    """The trees that `predict` uses: after early stopping those up to the best iteration."""
    if isinstance(estimator, Booster):
        return estimator.model
    booster = estimator.booster_
    return parse(booster.model_to_string(num_iteration=-1)).first(booster.best_iteration)


def inputs_of(estimator: Any, signature: tuple[Input, ...] | Tensor | None, table: Mapping[str, str] | None) -> Inputs:
    """The columns in the order of training. LightGBM itself takes columns by position and writes ' ' in names as '_'."""
    model = model_of(estimator)
    names = None if _unnamed(model.names) else model.names
    if isinstance(signature, tuple):
        return Inputs(signature if names is None else _in_trained_order(signature, names), "mlflow")
    if names is None:
        why = f"The model takes an array of {len(model.names)} unnamed columns: nothing says what they are called."
        raise unsupported(why, ADD_SIGNATURE)
    if signature is not None and signature.width == len(names):
        return Inputs(distinct(Input(name, signature.type) for name in names), "model")
    if model.pandas_categorical and not table:
        raise unsupported(
            "The model was trained on pandas categories, and nothing says which of its columns are text.", ADD_SIGNATURE
        )
    types = {name.lower(): FROM_SQL.get(kind.split("(")[0].upper()) for name, kind in (table or {}).items()}
    columns = distinct(Input(name, types.get(name.lower()) or "DOUBLE") for name in names)
    return Inputs(columns, "table" if any(name.lower() in types for name in names) else "model")


def _unnamed(names: Sequence[str]) -> bool:
    """Column_0, Column_1 ...: what LightGBM calls the columns of an array."""
    return list(names) == [f"Column_{i}" for i in range(len(names))]


def written(name: str) -> str:
    return name.replace(" ", "_")


def _in_trained_order(columns: tuple[Input, ...], names: Sequence[str]) -> tuple[Input, ...]:
    found = {written(column.name): column for column in columns}
    absent = [name for name in names if name not in found]
    if absent or len(found) != len(columns):
        named = ", ".join(map(repr, absent)) or "columns whose names differ in spaces only"
        raise unsupported(f"The model was trained on {named}, absent from its signature.", ADD_SIGNATURE)
    return (*(found[name] for name in names), *(column for column in columns if written(column.name) not in set(names)))


class Categorical:
    """The original, given the columns that it was trained on as pandas categories as such."""

    def __init__(self, estimator: Any, texts: Sequence[bool]) -> None:
        self.estimator = estimator
        self.columns = assigned(model_of(estimator), texts)

    def predict(self, frame: Any) -> Any:
        return self.estimator.predict(as_categorical(frame, self.columns))

    def predict_proba(self, frame: Any) -> Any:
        return self.estimator.predict_proba(as_categorical(frame, self.columns))


def asked(estimator: Any, inputs: Inputs) -> Any:
    """What answers for this estimator; everything but a model of pandas categories answers for itself."""
    found = own(estimator)
    if found is None or not model_of(found).pandas_categorical:
        return estimator
    try:
        return Categorical(found, [column.is_text for column in inputs.columns])
    except Ambiguous as error:  # the conversion has refused it already
        raise unsupported(f"The model cannot be asked: {error}") from error
