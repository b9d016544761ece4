"""XGBoost's models as the worker holds them: a Booster as its file, an estimator as itself; and how each is asked.

Read in XGBoost 3.2: python-package/xgboost/core.py (DMatrix, Booster.predict, inplace_predict), sklearn.py (XGBModel).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlml.convert.isolated.inputs import ADD_SIGNATURE, FROM_SQL, Input, Inputs, Tensor, distinct
from sqlml.convert.isolated.libraries import answering
from sqlml.convert.isolated.refusal import unsupported
from sqlml.convert.isolated.xgboost.categories import as_categorical
from sqlml.convert.isolated.xgboost.model import Model, parse

# Any in this module: estimators and DataFrames, which ship no types.
ESTIMATORS = ("XGBClassifier", "XGBRFClassifier", "XGBRegressor", "XGBRFRegressor", "XGBRanker")


class Booster:
    """An xgboost.Booster, known by its file; XGBoost is loaded when the first question is asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    @cached_property
    def model(self) -> Model:
        return parse(self.content)

    @cached_property
    def loaded(self) -> Any:
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(self.content))
        return booster

    def predict(self, frame: Any) -> Any:
        import xgboost

        return self.loaded.predict(xgboost.DMatrix(frame, enable_categorical=bool(self.model.categories), nthread=1))


def own(estimator: Any) -> Any:
    """The model of XGBoost's that answers, found inside a search or a FrozenEstimator too; None where there is none."""
    estimator = answering(estimator)
    if type(estimator) is Booster:
        return estimator
    kinds = [getattr(sys.modules.get("xgboost"), name, None) for name in ESTIMATORS]
    return estimator if type(estimator) in kinds and fitted(estimator) else None


def fitted(estimator: Any) -> bool:
    return getattr(estimator, "_Booster", None) is not None


def model_of(estimator: Any) -> Model:
    """The model that `predict` uses: an estimator's after early stopping that of the best iteration."""
    if isinstance(estimator, Booster):
        return estimator.model
    booster = estimator.get_booster()
    model = parse(bytes(booster.save_raw("ubj")))
    if model.booster != "gblinear" and model.best_iteration is not None:
        return model.first(model.best_iteration + 1)
    return model


def inputs_of(estimator: Any, signature: tuple[Input, ...] | Tensor | None, table: Mapping[str, str] | None) -> Inputs:
    """The columns in the order of training: XGBoost insists on the names and on their order, if it knows any."""
    model = model_of(estimator)
    names = model.names
    if isinstance(signature, tuple):
        return Inputs(signature if names is None else _in_trained_order(signature, names), "mlflow")
    if names is None:
        why = f"The model takes an array of {model.features} unnamed columns: nothing says what they are called."
        raise unsupported(why, ADD_SIGNATURE)
    texts = {names[i] for i, found in model.categories.items() if any(isinstance(c, str) for c in found.values)}
    if signature is not None and signature.width == len(names):
        return Inputs(distinct(Input(name, signature.type) for name in names), "model")
    types = {name.lower(): FROM_SQL.get(kind.split("(")[0].upper()) for name, kind in (table or {}).items()}
    columns = [Input(n, "VARCHAR" if n in texts else types.get(n.lower()) or "DOUBLE") for n in names]
    return Inputs(distinct(columns), "table" if any(n.lower() in types for n in names) else "model")


def _in_trained_order(columns: tuple[Input, ...], names: Sequence[str]) -> tuple[Input, ...]:
    found = {column.name: column for column in columns}
    absent = [name for name in names if name not in found]
    if absent:
        named = ", ".join(map(repr, absent))
        raise unsupported(f"The model was trained on {named}, absent from its signature.", ADD_SIGNATURE)
    return (*(found[name] for name in names), *(column for column in columns if column.name not in set(names)))


class Categorical:
    """The original, given the columns that it was trained on as pandas categories as such."""

    def __init__(self, estimator: Any, model: Model) -> None:
        self.estimator, self.model = estimator, model

    def predict(self, frame: Any) -> Any:
        return self.estimator.predict(as_categorical(frame, self.model.categories))

    def predict_proba(self, frame: Any) -> Any:
        return self.estimator.predict_proba(as_categorical(frame, self.model.categories))


def asked(estimator: Any, inputs: Inputs) -> Any:
    """What answers for this estimator; everything but a model of pandas categories answers for itself."""
    found = own(estimator)
    model = model_of(found)
    if not isinstance(found, Booster):
        found.get_booster().set_param({"nthread": 1})
    return Categorical(found, model) if model.categories else estimator
