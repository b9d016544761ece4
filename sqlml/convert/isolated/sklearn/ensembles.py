"""Estimators made of estimators: voting, bagging, boosting by weights, stacking, transformed targets, and dummies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, Transforms, below, refuse
from sqlml.convert.isolated.sklearn.inverses import inverse
from sqlml.convert.isolated.sklearn.linear import above, best, class_labels
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.validate import check_names, numbers, refuse_text
from sqlml.convert.isolated.table import FLOAT64, INT64, Feature, Table, beside, table_of


def one_hot(ctx: Context, said: Prediction, placement: Array) -> str:
    """The predicted class of a member as a row of `placement` ([its classes, K])."""
    graph = ctx.graph
    index = graph.as_double(said.values)
    hits = graph.as_double(graph.op("Equal", index, graph.double(np.arange(float(len(said.classes))))))
    return hits if np.array_equal(placement, np.eye(len(placement))) else graph.matmul(hits, placement)


def placed(est: Estimator, said: Prediction, labels: list[object], step: str) -> Array:
    """Where a member's classes stand among all classes: rows of the identity."""
    strange = [c for c in said.classes if c not in labels]
    if strange:
        raise refuse(est, step, f"a member predicts {strange[0]!r}, which is none of its classes.")
    return np.eye(len(labels))[[labels.index(c) for c in said.classes]]


def total(ctx: Context, parts: list[str]) -> str:
    """The sum in order."""
    done = parts[0]
    for part in parts[1:]:
        done = ctx.graph.op("Add", done, part)
    return done


def voting_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    encoded: list[object] = list(range(len(labels)))
    weights = est._weights_not_none
    parts = []
    for name, member in zipped(active(est), est.estimators_):
        said = ctx.predict(member, table, below(step, name))
        if est.voting == "soft":
            if said.probabilities is None or len(said.classes) != len(labels):
                raise refuse(est, step, f"its member '{name}' has not a probability for each class.")
            parts.append(said.probabilities)
        else:
            parts.append(one_hot(ctx, said, placed(est, said, encoded, step)))
    if weights is not None:
        parts = [graph.op("Mul", part, graph.double([float(w)])) for part, w in zipped(parts, weights)]
    scores = total(ctx, parts)
    if est.voting != "soft":
        return Prediction("classifier", best(graph, scores), labels)
    share = float(len(parts)) if weights is None else float(np.sum(weights))
    mean = graph.op("Div", scores, graph.double([share]))
    return Prediction("classifier", best(graph, mean), labels, mean)


def voting_transform(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """What the members say, side by side: probabilities, class numbers or values."""
    sources = tuple(dict.fromkeys(s for f in table.features for s in f.sources))
    soft = getattr(est, "voting", "") == "soft"
    if soft and not est.flatten_transform:
        raise refuse(est, step, "it gives a cube of probabilities.", "Set flatten_transform=True.")
    parts = []
    for name, member in zipped(active(est), est.estimators_):
        said = ctx.predict(member, table, below(step, name))
        if soft and said.probabilities is not None:
            tensor, width, dtype = said.probabilities, len(said.classes), FLOAT64
        elif said.kind == "regressor" and said.targets == 1:
            tensor, width, dtype = said.values, 1, FLOAT64
        elif said.kind == "classifier" and not soft:
            tensor, width, dtype = one_hot(ctx, said, np.array([[float(c)] for c in said.classes])), 1, INT64
        else:
            raise refuse(est, step, f"what its member '{name}' says is not converted.")
        parts.append(table_of(tensor, [Feature(dtype, nan=False, sources=sources, exact=dtype == INT64)] * width))
    return beside(parts)


def active(est: Estimator) -> list[str]:
    return [name for name, member in est.estimators if not (isinstance(member, str) and member == "drop")]


def voting_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, weights = ctx.graph, est._weights_not_none
    parts = [single(ctx, m, table, below(step, n)).values for n, m in zipped(active(est), est.estimators_)]
    if weights is not None:
        parts = [graph.op("Mul", part, graph.double([float(w)])) for part, w in zipped(parts, weights)]
    share = float(len(parts)) if weights is None else float(np.sum(weights))
    return Prediction("regressor", graph.op("Div", total(ctx, parts), graph.double([share])))


def single(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    said = ctx.predict(est, table, step)
    if said.targets != 1:
        raise refuse(est, step, "it predicts several numbers inside an ensemble.")
    return said


def bagged(ctx: Context, est: Estimator, table: Table, step: str) -> list[tuple[Estimator, Table, str]]:
    """The members with the columns each was given; the ensemble itself checks no values."""
    check_names(est, table, step)
    refuse_text(est, table, step)
    array = table.as_array()
    return [
        (member, array.select([int(i) for i in features]), below(step, f"estimators_[{i}]"))
        for i, (member, features) in enumerate(zipped(est.estimators_, est.estimators_features_))
    ]


def bagging_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    encoded: list[object] = list(range(len(labels)))
    parts = []
    for member, columns, path in bagged(ctx, est, table, step):
        said = ctx.predict(member, columns, path)
        # Members are trained on class numbers; one that saw them all has them in order.
        places = placed(est, said, encoded, step)
        if said.probabilities is None:
            parts.append(one_hot(ctx, said, places))
        elif len(said.classes) == len(labels):
            parts.append(said.probabilities)
        else:
            parts.append(graph.matmul(said.probabilities, places))
    mean = graph.op("Div", total(ctx, parts), graph.double([float(est.n_estimators)]))
    return Prediction("classifier", best(graph, mean), labels, mean)


def bagging_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    said = [ctx.predict(m, columns, path) for m, columns, path in bagged(ctx, est, table, step)]
    mean = ctx.graph.op("Div", total(ctx, [s.values for s in said]), ctx.graph.double([float(est.n_estimators)]))
    return Prediction("regressor", mean, targets=said[0].targets)


def ada_boost_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    count = len(labels)
    if count < 2:
        raise refuse(est, step, "it knows one class only.", "Train on two classes or more.")
    array = numbers(graph, est, table, step, float32=True, keep=True)
    weights = est.estimator_weights_[: len(est.estimators_)]
    said = [ctx.predict(m, array, below(step, f"estimators_[{i}]")) for i, m in enumerate(est.estimators_)]
    if not since(1, 6) and est.algorithm == "SAMME.R":
        parts = [log_shares(ctx, est, s, count, step) for s in said]
    else:
        parts = [class_weights(ctx, est, s, list(labels), float(w), step) for s, w in zipped(said, weights)]
    scores = graph.op("Div", total(ctx, parts), graph.double([float(est.estimator_weights_.sum())]))
    if count == 2:
        decision = graph.op("Sub", graph.gather(scores, [1]), graph.gather(scores, [0]))
        both = graph.join([graph.op("Neg", decision), decision])
        halves = graph.op("Div", both, graph.double([2.0]))
        return Prediction("classifier", above(graph, decision), labels, graph.op("Softmax", halves, axis=1), decision)
    shares = graph.op("Div", scores, graph.double([float(count - 1)]))
    return Prediction("classifier", best(graph, scores), labels, graph.op("Softmax", shares, axis=1), scores)


def class_weights(
    ctx: Context, est: Estimator, said: Prediction, labels: list[object], weight: float, step: str
) -> str:
    """SAMME: a member gives its class its weight and, since 1.3, takes a share of it from the others."""
    own = placed(est, said, labels, step)
    share = -1 / (len(labels) - 1) * weight if since(1, 3) else 0.0
    return one_hot(ctx, said, np.where(own == 1, weight, share))


def log_shares(ctx: Context, est: Estimator, said: Prediction, count: int, step: str) -> str:
    """SAMME.R, which scikit-learn had before 1.6: the members' logarithms of probabilities, less their mean."""
    graph = ctx.graph
    if said.probabilities is None or len(said.classes) != count:
        raise refuse(est, step, "a member of it has not a probability for each class.")
    least = float(np.finfo(np.float64).eps)
    logarithms = graph.op("Log", graph.op("Max", said.probabilities, graph.double([least] * count)))
    mean = graph.op("Mul", graph.reduce("Sum", logarithms), graph.double([1.0 / count]))
    return graph.op("Mul", graph.op("Sub", logarithms, mean), graph.double([float(count - 1)] * count))


def stacked_table(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """What the members say, as the columns of the final estimator."""
    graph = ctx.graph
    parts = []
    sources = tuple(dict.fromkeys(s for f in table.features for s in f.sources))
    methods = [m for m in est.stack_method_ if m is not None]
    binary = len(getattr(est, "classes_", ())) == 2
    for name, member, method in zipped(active(est), est.estimators_, methods):
        path = below(step, name)
        said = ctx.predict(member, table, path)
        width = len(said.classes) or said.targets
        if method == "predict_proba" and said.probabilities is not None:
            tensor = said.probabilities
            if binary:
                tensor, width = graph.gather(tensor, range(1, width)), width - 1
        elif method == "decision_function" and said.decision is not None:
            tensor, width = said.decision, 1 if width == 2 else width
        elif method == "predict" and said.kind == "regressor":
            tensor = said.values
        elif method == "predict" and not any(isinstance(c, str) for c in said.classes):
            tensor, width = one_hot(ctx, said, np.array([[float(c)] for c in said.classes])), 1
        else:
            raise refuse(est, step, f"it stacks {method} of its member '{name}', which is not converted.")
        parts.append(table_of(tensor, [Feature(FLOAT64, sources=sources, exact=False)] * width))
    if est.passthrough:
        refuse_text(est, table, step)
        array = table.as_array()
        parts.append(array.with_features([replace(f, dtype=FLOAT64) for f in array.features]))
    return beside(parts, sparse=bool(est.passthrough and table.sparse))


def stacking_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    labels = class_labels(est, step)
    said = ctx.predict(est.final_estimator_, stacked_table(ctx, est, table, step), below(step, "final_estimator"))
    if said.kind != "classifier" or list(said.classes) != list(range(len(labels))):
        raise refuse(est, step, "its final estimator does not know all its classes.")
    return replace(said, classes=labels)


def stacking_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    return ctx.predict(est.final_estimator_, stacked_table(ctx, est, table, step), below(step, "final_estimator"))


def transformed_target(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """The regressor's answer back through the inverse of what its target went through."""
    said = ctx.predict(est.regressor_, table, below(step, "regressor"))
    sources = tuple(dict.fromkeys(s for f in table.features for s in f.sources))
    answer = table_of(said.values, [Feature(FLOAT64, sources=sources, exact=False)] * said.targets)
    return replace(said, values=inverse(ctx, est.transformer_, answer, below(step, "transformer")))


def dummy_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    labels = class_labels(est, step)
    if est._strategy not in ("most_frequent", "prior", "constant") or est.sparse_output_:
        raise refuse(est, step, f"its strategy {est._strategy!r} answers at random.", "Use strategy='prior'.")
    # It looks at no value, so the original itself says what it answers.
    row = np.zeros((1, 1))
    index = labels.index(np.asarray(est.predict(row)).tolist()[0])
    values = ctx.graph.as_int(ctx.graph.rows([float(index)]))
    return Prediction("classifier", values, labels, ctx.graph.rows(est.predict_proba(row)[0]))


def dummy_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    values = np.asarray(est.predict(np.zeros((1, 1))), dtype=np.float64).reshape(-1)
    return Prediction("regressor", ctx.graph.rows(values), targets=len(values))


TRANSFORMERS: Transforms = {
    "ensemble.VotingClassifier": voting_transform,
    "ensemble.VotingRegressor": voting_transform,
    "ensemble.StackingClassifier": stacked_table,
    "ensemble.StackingRegressor": stacked_table,
}

PREDICTORS: Predicts = {
    "ensemble.VotingClassifier": voting_classifier,
    "ensemble.VotingRegressor": voting_regressor,
    "ensemble.BaggingClassifier": bagging_classifier,
    "ensemble.BaggingRegressor": bagging_regressor,
    "ensemble.AdaBoostClassifier": ada_boost_classifier,
    "ensemble.StackingClassifier": stacking_classifier,
    "ensemble.StackingRegressor": stacking_regressor,
    "compose.TransformedTargetRegressor": transformed_target,
    "dummy.DummyClassifier": dummy_classifier,
    "dummy.DummyRegressor": dummy_regressor,
}
