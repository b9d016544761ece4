"""LightGBM's models and scikit-learn estimators as predictors.

Read in LightGBM 4.7: python-package/lightgbm/basic.py (_data_from_pandas, _np2d_to_np1d, Booster.predict), sklearn.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.lightgbm.categories import Ambiguous, assigned, codes
from sqlml.convert.isolated.lightgbm.links import LINKS, identity
from sqlml.convert.isolated.lightgbm.original import ESTIMATORS, Booster, model_of, written
from sqlml.convert.isolated.lightgbm.text import Model
from sqlml.convert.isolated.lightgbm.trees import raw_scores
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Predict, Prediction, refuse
from sqlml.convert.isolated.sklearn.linear import best, class_labels, two_columns
from sqlml.convert.isolated.sklearn.validate import refuse_text, shown
from sqlml.convert.isolated.table import FLOAT32, FLOAT64, OBJECT, Feature, Table, beside, table_of

SIGNATURE = "Log the model with a signature that has exactly its training columns."


def predictors() -> dict[type, Predict]:
    """By class; LightGBM's own only where a model has brought LightGBM along."""
    import sys

    module = sys.modules.get("lightgbm")
    kinds: dict[str, Predict] = dict(zipped(ESTIMATORS, (classifier, values, values)))
    own = {getattr(module, name): convert for name, convert in kinds.items()} if module is not None else {}
    return {Booster: values, **own}


def values(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """A Booster, a regressor or a ranker: one number, or one for each class."""
    raw, said, model = answered(ctx, est, table, step)
    return Prediction("regressor", said, targets=model.width, score=raw)


def classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """The first of the most probable classes, where the probabilities are what the objective makes of the scores."""
    graph = ctx.graph
    raw, said, model = answered(ctx, est, table, step)
    if not model.objective:
        # With an objective of one's own LGBMClassifier answers raw scores, also as its prediction.
        return Prediction("regressor", said, targets=model.width)
    labels = class_labels(est, step)
    if len(labels) == 1:
        return of_one_class(ctx, est, model, labels, step)
    if model.width not in (1, len(labels)) or (model.width == 1 and len(labels) != 2):
        raise refuse(est, step, f"it has {model.width} scores for {len(labels)} classes.")
    probabilities = two_columns(graph, said) if model.width == 1 else said
    return Prediction("classifier", best(graph, probabilities), labels, probabilities, score=raw)


def of_one_class(ctx: Context, est: Estimator, model: Model, labels: tuple[Any, ...], step: str) -> Prediction:
    """Trained on one class it knows that label only; its probabilities are of two classes, and are left out."""
    if model.width != 1 or sum(float(tree.value.max()) for tree in model.trees) > 0:
        raise refuse(est, step, "it was trained on one class, and its scores speak for another.")
    return Prediction("classifier", ctx.graph.as_int(ctx.graph.rows([0.0])), labels)


def answered(ctx: Context, est: Estimator, table: Table, step: str) -> tuple[str, str, Model]:
    """The scores, and what the objective makes of them."""
    model = model_of(est)
    name, *settings = model.objective or ("",)
    link = LINKS.get(name) if name else identity
    if link is None:
        raise refuse(est, step, f"its objective {name!r} is not known.")
    if getattr(est, "pred_early_stop", False):
        why = "it stops adding trees when a prediction seems certain (pred_early_stop)."
        raise refuse(est, step, why, "Set pred_early_stop=False and log it again.")
    raw = raw_scores(ctx.graph, model, prepared(ctx, est, model, table, step), est, step)
    return raw, link(ctx.graph, raw, tuple(settings)), model


def prepared(ctx: Context, est: Estimator, model: Model, table: Table, step: str) -> Table:
    """The doubles that reach the trees, one column a feature."""
    if len(table) != len(model.names):
        why = f"it was fitted on {len(model.names)} columns and would be given {len(table)}."
        raise refuse(est, step, why, SIGNATURE)
    if model.pandas_categorical:
        table = categories_as_codes(ctx, est, model, table, step)
    refuse_text(est, table, step)
    if table.frame:
        check_frame(est, model, table, step)
        return table
    dtype = table.array_dtype
    if table.sparse and dtype not in (FLOAT32, FLOAT64):
        raise refuse(est, step, f"it would be given sparse {dtype} data, which it does not take.")
    if dtype.kind in "iu":
        # An array of integers is stored as float32.
        narrow = ctx.graph.round32(ctx.graph.tensor(table))
        return table_of(narrow, [replace(f, dtype=FLOAT32) for f in table.features])
    return table


def check_frame(est: Estimator, model: Model, table: Table, step: str) -> None:
    """Columns are taken by position: names in another order mean that something is wrong."""
    names = [written(str(f.name)) for f in table.features]
    if sorted(names) == sorted(model.names) and names != list(model.names):
        why = f"it was fitted on the columns {shown(model.names)} and would be given {shown(names)}."
        raise refuse(est, step, why, "Log the model with a signature in the order of its training columns.")
    objects = [f for f in table.features if f.dtype == OBJECT]
    if objects:
        raise refuse(est, step, f"it would be given {objects[0].label} as an object, and it takes numbers.")


def categories_as_codes(ctx: Context, est: Estimator, model: Model, table: Table, step: str) -> Table:
    if not table.frame or step:
        why = "it was trained on pandas categories, which an earlier step of the pipeline does not keep."
        raise refuse(est, step, why, "Encode categories with OrdinalEncoder, or log the model without the pipeline.")
    try:
        found = assigned(model, [f.text for f in table.features])
    except Ambiguous as error:
        why = "Log it with a signature in which the categories are text, or encode them with OrdinalEncoder."
        raise refuse(est, step, str(error), why) from error
    parts = []
    for i, feature in enumerate(table.features):
        part = table.select([i])
        if i in found:
            code = codes(ctx.graph, ctx.graph.tensor(part), found[i])
            known = Feature(np.dtype(np.int32), nan=True, sources=feature.sources, name=feature.name)
            part = table_of(code, [replace(known, low=0.0, high=float(len(found[i]) - 1))], frame=True)
        parts.append(part)
    return beside(parts, frame=True)
