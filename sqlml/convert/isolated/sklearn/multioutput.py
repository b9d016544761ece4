"""One regressor per target, side by side or in a chain. Read in scikit-learn 1.9.1: multioutput.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.ensembles import single
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, beside, table_of


def multi_output_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    said = [single(ctx, m, table, below(step, f"estimators_[{i}]")) for i, m in enumerate(est.estimators_)]
    precision = "float" if all(s.precision == "float" for s in said) else "double"
    values = ctx.graph.join([s.values for s in said])
    return Prediction("regressor", values, targets=len(said), precision=precision)  # type: ignore[arg-type]


def regressor_chain(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Each member is given the columns and what the members before it said."""
    array = numbers(ctx.graph, est, table, step, float32=True, keep=True)
    sources = tuple(dict.fromkeys(s for f in table.features for s in f.sources))
    made: list[str] = []
    for i, member in enumerate(est.estimators_):
        earlier = [table_of(tensor, [Feature(FLOAT64, sources=sources, exact=False)]) for tensor in made]
        widened = beside([array, *earlier], sparse=array.sparse)
        widened = widened.with_features([f if not earlier else promoted(f) for f in widened.features])
        made.append(single(ctx, member, widened, below(step, f"estimators_[{i}]")).values)
    order = np.argsort(np.asarray(est.order_))
    return Prediction("regressor", ctx.graph.join([made[int(k)] for k in order]), targets=len(made))


def promoted(feature: Feature) -> Feature:
    """hstack with doubles makes doubles."""
    return replace(feature, dtype=FLOAT64)


def several_labels(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    raise refuse(est, step, "it predicts several labels at once.", "Register one classifier per target.")


PREDICTORS: Predicts = {
    "multioutput.ClassifierChain": several_labels,
    "multioutput.MultiOutputClassifier": several_labels,
    "multioutput.MultiOutputRegressor": multi_output_regressor,
    "multioutput.RegressorChain": regressor_chain,
}
