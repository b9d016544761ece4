"""XGBoost's models and scikit-learn estimators as predictors.

Read in XGBoost 1.7 and 3.2: python-package/xgboost/sklearn.py (predict, predict_proba), data.py (what becomes of a DataFrame).
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.lightgbm.categories import codes
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Predict, Prediction, refuse
from sqlml.convert.isolated.sklearn.linear import best as first_of_largest
from sqlml.convert.isolated.sklearn.validate import refuse_text, shown
from sqlml.convert.isolated.table import FLOAT32, OBJECT, Feature, Table, beside, table_of
from sqlml.convert.isolated.xgboost.categories import unfit
from sqlml.convert.isolated.xgboost.links import LINKS, best, softmax
from sqlml.convert.isolated.xgboost.model import Model
from sqlml.convert.isolated.xgboost.original import ESTIMATORS, Booster, model_of
from sqlml.convert.isolated.xgboost.trees import margins

SIGNATURE = "Log the model with a signature that has exactly its training columns."
ENCODE = "Encode the categories with OrdinalEncoder or OneHotEncoder in a pipeline."
CLASS_FROM = 0.5


def predictors() -> dict[type, Predict]:
    """By class; XGBoost's own only where a model has brought XGBoost along."""
    module = sys.modules.get("xgboost")
    own: dict[type, Predict] = {}
    for name in ESTIMATORS if module is not None else ():
        cls = getattr(module, name, None)
        if isinstance(cls, type):
            own[cls] = classifier if "Classifier" in name else values
    return {Booster: values, **own}


def values(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """A Booster, a regressor or a ranker: what the objective makes of the margins."""
    model = model_of(est)
    margin = answered(ctx, est, model, table, step)
    said = LINKS[model.objective][0](ctx.graph, margin)
    return Prediction("regressor", said, targets=width(model), precision="float", score=score(model, margin))


def score(model: Model, margin: str) -> str:
    """What is explained: nothing where a class is the answer, which has no margin of its own."""
    return "" if model.objective == "multi:softmax" else margin


def width(model: Model) -> int:
    return 1 if model.objective == "multi:softmax" else model.width


def classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Classes are 0, 1, ...; which of them depends on the shape of what the Booster answers."""
    graph, model = ctx.graph, model_of(est)
    margin = answered(ctx, est, model, table, step)
    count = int(est.n_classes_)
    labels = tuple(range(count))
    if model.objective == "multi:softmax":
        if model.width != count:
            raise refuse(est, step, f"it has {model.width} scores for {count} classes.")
        index = graph.as_int(best(graph, margin))
        probabilities = softmax(graph, margin)
        return Prediction("classifier", index, labels, probabilities, precision="float", score=margin)
    said = LINKS[model.objective][0](graph, margin)
    if model.width > 1 and count != 2:
        if model.width != count:
            raise refuse(est, step, f"it has {model.width} scores for {count} classes.")
        index = first_of_largest(graph, said)
        return Prediction("classifier", index, labels, said, precision="float", score=margin)
    above = graph.op("Greater", said, graph.double([CLASS_FROM]))
    if model.width > 1:
        # Several labels at once: `predict` answers a matrix of 0 and 1.
        labelled = graph.as_double(above)
        return Prediction("regressor", labelled, targets=model.width, precision="float", score=margin)
    if count != 2:
        raise refuse(est, step, f"it has one score for {count} classes.")
    other = graph.round32(graph.op("Sub", graph.double([1.0]), said))
    both = graph.join([other, said])
    return Prediction("classifier", graph.as_int(above), labels, both, precision="float", score=margin)


def answered(ctx: Context, est: Estimator, model: Model, table: Table, step: str) -> str:
    """The margins."""
    if model.objective not in LINKS:
        raise refuse(est, step, f"its objective {model.objective!r} is not known.")
    base = [LINKS[model.objective][1](value) for value in model.base]
    if not np.isfinite(base).all():
        raise refuse(est, step, f"its base_score {model.base[0]!r} is not one for {model.objective}.")
    given = prepared(ctx, est, model, table, step)
    return margins(ctx.graph, model, given, base, in_place=in_place(est, model))


def in_place(est: Estimator, model: Model) -> bool:
    """Whether the trees are given the data as they are: an estimator's are, a Booster makes a DMatrix of them."""
    return not isinstance(est, Booster) and model.booster != "gblinear"


def prepared(ctx: Context, est: Estimator, model: Model, table: Table, step: str) -> Table:
    """The numbers that reach the trees: float32, one column a feature, NaN for what is missing."""
    if len(table) != model.features:
        why = f"it was fitted on {model.features} columns and would be given {len(table)}."
        raise refuse(est, step, why, SIGNATURE)
    if table.frame:
        check_frame(est, model, table, step)
    if model.categories:
        table = categories_as_codes(ctx, est, model, table, step)
    refuse_text(est, table, step)
    graph, missing = ctx.graph, missing_of(est)
    if not in_place(est, model) and not math.isinf(missing):
        table = graph.refuse_beyond_float32(table, type(est).__name__)
    data = graph.tensor(table)
    if table.sparse:
        # What is not stored is missing, not 0.
        data = graph.op("Where", graph.op("Equal", data, graph.double([0.0])), graph.double([math.nan]), data)
    if any(f.dtype != FLOAT32 for f in table.features):
        data = graph.round32(data)
    if not math.isnan(missing):
        gone = graph.op("Equal", data, graph.double([missing]))
        data = graph.op("Where", gone, graph.double([math.nan]), data)
    return table_of(data, [replace(f, dtype=FLOAT32) for f in table.features])


def missing_of(est: Estimator) -> float:
    """What counts as missing beside NaN, as a float32; a Booster has no say in it."""
    value = getattr(est, "missing", math.nan)
    with np.errstate(over="ignore"):
        return math.nan if value is None else float(np.float32(value))


def check_frame(est: Estimator, model: Model, table: Table, step: str) -> None:
    """XGBoost insists on the names of its columns and on their order, where it was trained on a DataFrame."""
    names = [str(f.name) for f in table.features]
    if model.names is not None and names != list(model.names):
        why = f"it was fitted on the columns {shown(model.names)} and would be given {shown(names)}."
        raise refuse(est, step, why, "Log the model with a signature in the order of its training columns.")
    objects = [f for f in table.features if f.dtype == OBJECT and not f.text]
    if objects:
        raise refuse(est, step, f"it would be given {objects[0].label} as an object, and it takes numbers.")
    unrecorded = sorted(i for i in model.categorical if i not in model.categories and table.features[i].text)
    if unrecorded:
        why = f"which codes it knows the categories of {table.features[unrecorded[0]].label} by is not in the model."
        raise refuse(est, step, why, f"Train it with XGBoost 3.1 or later, which keeps them. {ENCODE}")


def categories_as_codes(ctx: Context, est: Estimator, model: Model, table: Table, step: str) -> Table:
    if not table.frame or step:
        why = "it was trained on pandas categories, which an earlier step of the pipeline does not keep."
        raise refuse(est, step, why, "Encode categories with OrdinalEncoder, or log the model without the pipeline.")
    partial = [table.features[i].label for i, found in model.categories.items() if not found.whole]
    if partial:
        why = f"XGBoost did not keep the categories of {partial[0]} whole, as it does for ASCII text and integers."
        raise refuse(est, step, why, ENCODE)
    wrong = unfit(model.categories, [f.text for f in table.features])
    if wrong is not None:
        kind, other = ("numbers", "text") if table.features[wrong].text else ("text", "numbers")
        why = f"the categories of {table.features[wrong].label} are {kind}, and the signature says {other}."
        raise refuse(est, step, why, SIGNATURE)
    parts = []
    for i, feature in enumerate(table.features):
        part = table.select([i])
        if i in model.categories:
            found: tuple[Any, ...] = model.categories[i].values
            code = codes(ctx.graph, ctx.graph.tensor(part), found)
            known = Feature(FLOAT32, low=0.0, high=float(len(found) - 1), sources=feature.sources, name=feature.name)
            part = table_of(code, [known], frame=True)
        parts.append(part)
    return beside(parts, frame=True)
