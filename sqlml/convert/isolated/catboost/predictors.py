"""CatBoost's models as predictors.

Read in CatBoost 1.2: catboost/libs/eval_result/eval_helpers.cpp (what becomes of raw scores), core.py (which of it `predict` is).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import replace

from sqlml.convert.isolated.catboost.hashes import resolved
from sqlml.convert.isolated.catboost.model import Model, OtherSplit, model_of
from sqlml.convert.isolated.catboost.original import ESTIMATORS, unnamed
from sqlml.convert.isolated.catboost.trees import raw_scores
from sqlml.convert.isolated.graph import MISSING_TEXT, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Predict, Prediction, refuse
from sqlml.convert.isolated.sklearn.linear import best, class_labels, expit, two_columns
from sqlml.convert.isolated.sklearn.validate import refuse_text, shown
from sqlml.convert.isolated.table import FLOAT32, OBJECT, Table, beside, table_of

SIGNATURE = "Log the model with a signature that has exactly its training columns."
ENCODE = (
    "Encode the categories before the model, by OneHotEncoder or OrdinalEncoder in a pipeline, and train on numbers."
)
CANDIDATES = "_sqlml_candidates"
"""Where a loaded estimator keeps the texts of its input example."""


def predictors() -> dict[type, Predict]:
    """By class; none where no model has brought CatBoost along."""
    module = sys.modules.get("catboost")
    found: dict[type, Predict] = {}
    for name in ESTIMATORS if module is not None else ():
        cls = getattr(module, name, None)
        if isinstance(cls, type):
            found[cls] = {"CatBoostClassifier": classifier, "CatBoostRegressor": regressor}.get(name, raw)
    return found


def raw(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """CatBoost and CatBoostRanker: the raw scores."""
    said, model = scores(ctx, est, table, step)
    return Prediction("regressor", said, targets=model.width)


def regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph = ctx.graph
    raw, model = scores(ctx, est, table, step)
    said = raw
    kind = est._get_default_prediction_type()
    if kind == "Exponent":
        said = graph.op("Exp", said)
    elif kind == "RMSEWithUncertainty":
        variance = graph.op("Exp", graph.op("Mul", graph.gather(said, [1]), graph.double([2.0])))
        said = graph.join([graph.gather(said, [0]), variance])
    elif kind != "RawFormulaVal":
        raise refuse(est, step, f"it predicts {kind}, which is not known.")
    return Prediction("regressor", said, targets=model.width, score=raw)


def classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph = ctx.graph
    said, model = scores(ctx, est, table, step)
    if model.loss in ("MultiLogloss", "MultiCrossEntropy"):
        # Several labels at once: `predict` answers a matrix of 0 and 1.
        above = graph.op("Greater", said, graph.double([0.0]))
        return Prediction("regressor", graph.as_double(above), targets=model.width, score=said)
    labels = class_labels(est, step)
    if model.width == 1:
        if len(labels) != 2:
            raise refuse(est, step, f"it has one score for {len(labels)} classes.")
        limit = graph.double([threshold_of(est, step)])
        index = graph.as_int(graph.op("Greater", said, limit))
        return Prediction("classifier", index, labels, two_columns(graph, expit(graph, said)), said)
    if len(labels) != model.width:
        raise refuse(est, step, f"it has {model.width} scores for {len(labels)} classes.")
    each = model.loss == "MultiClassOneVsAll"
    probabilities = expit(graph, said) if each else graph.op("Softmax", said, axis=1)
    return Prediction("classifier", best(graph, said), labels, probabilities, said)


def threshold_of(est: Estimator, step: str) -> float:
    """The raw score from which on it is the second class: the model may have a probability of its own for that."""
    probability = est.get_probability_threshold()
    if probability is None or probability == 0.5:
        return 0.0
    if not 0 < probability < 1:
        raise refuse(est, step, f"its probability threshold is {probability!r}.")
    return -math.log(1 / probability - 1)


def scores(ctx: Context, est: Estimator, table: Table, step: str) -> tuple[str, Model]:
    model = model_of(est)
    check(est, model, table, step)
    graph = ctx.graph
    hot = sorted(model.hashes)
    texts = resolved(est, model, getattr(est, CANDIDATES, ())) if hot else {}
    unknown = sorted({feature for feature, value in hot if value not in texts})
    if unknown:
        why = (
            f"it compares hashes of the categories of {labels_of(table, unknown)}, and which texts have them is not in "
            "the model."
        )
        raise refuse(est, step, why, f"Log it with an input_example in which every category occurs. {ENCODE}")
    numbers = graph.round32(graph.tensor(numbers_of(graph, model, table)))
    parts = [numbers]
    members: dict[tuple[int, int], int] = {}
    for feature, value in hot:
        members[feature, value] = len(table) + len(members)
        parts.append(is_category(graph, table, feature, texts[value]))
    refuse_missing_categories(graph, est, model, table)
    return raw_scores(graph, model, graph.join(parts), members), model


def numbers_of(graph: Graph, model: Model, table: Table) -> Table:
    """The table with a constant instead of each category, so that all of it are numbers."""
    if not model.categorical:
        return table
    parts = []
    for i, feature in enumerate(table.features):
        if i in model.categorical:
            nothing = replace(feature, dtype=FLOAT32, text=False, low=0.0, high=0.0, nan=False)
            parts.append(table_of(graph.rows([0.0]), [nothing], frame=True))
        else:
            parts.append(table.select([i]))
    return beside(parts, frame=True)


def is_category(graph: Graph, table: Table, feature: int, text: str) -> str:
    """1 where the column is this category: an integer is compared by its digits."""
    column, known = graph.column(table, feature), table.features[feature]
    if known.text:
        return graph.as_double(graph.op("Equal", column, graph.texts([text])))
    value = float(text) if is_integer(text) else math.nan
    return graph.as_double(graph.op("Equal", column, graph.double([value])))


def is_integer(text: str) -> bool:
    digits = text[1:] if text.startswith("-") else text
    return digits.isascii() and digits.isdigit() and str(int(text)) == text


def refuse_missing_categories(graph: Graph, est: Estimator, model: Model, table: Table) -> None:
    """A category that is missing makes CatBoost raise; so does a number that is no integer."""
    who = type(est).__name__
    for i in model.categorical:
        feature, column = table.features[i], graph.column(table, i)
        graph.refused.update(feature.missing)
        if feature.text:
            bad = graph.op("Equal", column, graph.texts([MISSING_TEXT]))
            graph.error(bad, [f"{feature.label} is missing, and {who} does not accept missing categories"])
        else:
            fraction = graph.op("Less", graph.op("Floor", column), column)
            above = graph.op("GreaterOrEqual", column, graph.double([2.0**63]))
            below = graph.op("Less", column, graph.double([-(2.0**63)]))
            huge = graph.op("Or", above, below)
            bad = graph.op("Or", graph.op("IsNaN", column), graph.op("Or", fraction, huge))
            graph.error(bad, [f"{feature.label} is missing or no integer, which {who} does not accept as a category"])


def check(est: Estimator, model: Model, table: Table, step: str) -> None:
    if len(table) != len(model.names):
        why = f"it was fitted on {len(model.names)} columns and would be given {len(table)}."
        raise refuse(est, step, why, SIGNATURE)
    names = [str(f.name) for f in table.features]
    if table.frame and not unnamed(model) and names != list(model.names):
        why = f"it was fitted on the columns {shown(model.names)} and would be given {shown(names)}."
        raise refuse(est, step, why, "Log the model with a signature in the order of its training columns.")
    if model.textual:
        why = f"it was trained on text or embeddings ({labels_of(table, model.textual)})."
        raise refuse(est, step, why, "Turn them into numbers before the model.")
    counted = sorted({s.kind for s in model.splits() if isinstance(s, OtherSplit)})
    if counted:
        named = labels_of(table, model.categorical)
        why = f"it splits by statistics of the target per category ({', '.join(counted)}) of {named}, kept by hash."
        raise refuse(est, step, why, f"Train with one_hot_max_size above the number of categories. {ENCODE}")
    refuse_text(est, table.select([i for i in range(len(table)) if i not in model.categorical]), step)
    if model.categorical and (not table.frame or step):
        raise refuse(est, step, "an earlier step gives its categories as an array.", ENCODE)
    for i in model.categorical:
        feature = table.features[i]
        if not feature.text and feature.dtype.kind not in "iu":
            why = f"{feature.label} is a category to it, and {feature.dtype} in the signature: it takes integers and text."
            raise refuse(est, step, why, "Give the column its type of training in the signature.")
    objects = [
        f for i, f in enumerate(table.features) if f.dtype == OBJECT and not f.text and i not in model.categorical
    ]
    if table.frame and objects:
        raise refuse(est, step, f"it would be given {objects[0].label} as an object, and it takes numbers.")


def labels_of(table: Table, positions: Iterable[int]) -> str:
    return shown([table.features[i].label for i in positions if i < len(table)])
