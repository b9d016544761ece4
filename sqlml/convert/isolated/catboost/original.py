"""CatBoost's models as the worker holds them, and how each is asked. Read in CatBoost 1.2: core.py, _catboost.pyx."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.catboost.model import Model, model_of
from sqlml.convert.isolated.inputs import ADD_SIGNATURE, FROM_SQL, Input, Inputs, Tensor, distinct
from sqlml.convert.isolated.libraries import answering
from sqlml.convert.isolated.refusal import unsupported

# Any in this module: estimators and DataFrames, which ship no types.
ESTIMATORS = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")


def own(estimator: Any) -> Any:
    """The model of CatBoost's that answers, found inside a search or a FrozenEstimator too; None where there is none."""
    estimator = answering(estimator)
    kinds = [getattr(sys.modules.get("catboost"), name, None) for name in ESTIMATORS]
    return estimator if type(estimator) in kinds and estimator.is_fitted() else None


def unnamed(model: Model) -> bool:
    """0, 1, 2 ...: what CatBoost calls the columns of an array."""
    return list(model.names) == [str(i) for i in range(len(model.names))]


def inputs_of(estimator: Any, signature: tuple[Input, ...] | Tensor | None, table: Mapping[str, str] | None) -> Inputs:
    """The columns in the order of training."""
    model = model_of(estimator)
    names = None if unnamed(model) else model.names
    if isinstance(signature, tuple):
        return Inputs(signature if names is None else _in_trained_order(signature, names), "mlflow")
    if names is None:
        why = f"The model takes an array of {len(model.names)} unnamed columns: nothing says what they are called."
        raise unsupported(why, ADD_SIGNATURE)
    if signature is not None and signature.width == len(names):
        return Inputs(distinct(Input(name, signature.type) for name in names), "model")
    types = {name.lower(): FROM_SQL.get(kind.split("(")[0].upper()) for name, kind in (table or {}).items()}
    columns = []
    for i, name in enumerate(names):
        kind = types.get(name.lower())
        columns.append(Input(name, kind or ("VARCHAR" if i in model.categorical else "DOUBLE")))
    return Inputs(distinct(columns), "table" if any(n.lower() in types for n in names) else "model")


def _in_trained_order(columns: tuple[Input, ...], names: Sequence[str]) -> tuple[Input, ...]:
    found = {column.name: column for column in columns}
    absent = [name for name in names if name not in found]
    if absent:
        named = ", ".join(map(repr, absent))
        raise unsupported(f"The model was trained on {named}, absent from its signature.", ADD_SIGNATURE)
    return (*(found[name] for name in names), *(column for column in columns if column.name not in set(names)))


class Asked:
    """The original, with one thread, and labels as a column like any other."""

    def __init__(self, estimator: Any, model: Model, *, named: bool) -> None:
        self.estimator, self.model, self.named = estimator, model, named

    def predict(self, frame: Any) -> Any:
        said = np.asarray(self.estimator.predict(self._given(frame), thread_count=1))
        return said[:, 0] if said.ndim == 2 and said.shape[1] == 1 else said

    def predict_proba(self, frame: Any) -> Any:
        return np.asarray(self.estimator.predict_proba(self._given(frame), thread_count=1))

    def _given(self, frame: Any) -> Any:
        """Integers stay integers among missing values: CatBoost refuses a category that is a fraction, 3.0 too."""
        made = frame.copy(deep=False)
        for i in self.model.categorical:
            column = made[made.columns[i]]
            if column.dtype.kind == "f":
                values = [int(v) if v == v and -(2**63) <= v < 2**63 and v == int(v) else v for v in column.tolist()]
                made[made.columns[i]] = np.array(values, dtype=object)
        return made if self.named else made.set_axis([str(i) for i in range(made.shape[1])], axis=1)


def asked(estimator: Any, inputs: Inputs) -> Any:
    found = own(estimator)
    model = model_of(found)
    return Asked(found, model, named=not unnamed(model))
