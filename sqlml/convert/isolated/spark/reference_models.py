"""The predictors of the reference: trees are walked node by node, sums are added in Spark's order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.spark.reading import Stage, doubles, matrix, vector
from sqlml.convert.isolated.spark.reference import Rows, SparkFails, Values, fail_where, vectors

# Any in this module: numpy arrays of several dtypes and rows of parquet.


@dataclass(frozen=True)
class Guess:
    """Predictions [n]; of a classifier also [n, k] raw predictions and probabilities."""

    prediction: Any
    raw: Any = None
    probability: Any = None


def dotted(data: Any, weights: Any) -> Any:
    """data . w for one saved vector; absent entries of a sparse one are left out."""
    total = np.zeros(len(data))
    for j in np.flatnonzero(weights.stored):
        total = total + data[:, j] * weights.values[j]
    return total


def margin(stage: Stage, data: Any) -> Any:
    return dotted(data, vector(stage.row["coefficients"])) + stage.row["intercept"]


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def largest(scores: Any) -> Any:
    """DenseVector.argmax, row by row."""
    found = np.zeros(len(scores))
    for i, row in enumerate(scores):
        best = 0
        for j in range(1, len(row)):
            if row[j] > row[best]:
                best = j
        found[i] = best
    return found


def softmax(scores: Any) -> Any:
    made = np.empty_like(scores)
    for i, row in enumerate(scores):
        infinite = np.flatnonzero(row == np.inf)
        if len(infinite):
            made[i] = row * 0.0
            made[i, infinite[0]] = 1.0
            continue
        top = -np.finfo(float).max
        for value in row:
            top = value if value > top else top
        shares = np.exp(row - top)
        made[i] = shares * np.divide(1.0, np.sum(shares))
    return made


def chosen(stage: Stage, raw: Any, probability: Any) -> Any:
    limits = doubles(stage.params.get("thresholds"))
    if not limits:
        return largest(raw)
    found = np.zeros(len(raw))
    for i, row in enumerate(probability):
        best, top = 0, -math.inf
        for j, limit in enumerate(limits):
            share = float(np.divide(row[j], limit))
            if share > top:
                best, top = j, share
        found[i] = best
    return found


def classified(stage: Stage, raw: Any, probability: Any) -> Guess:
    return Guess(chosen(stage, raw, probability), raw, probability)


def linear_regression(stage: Stage, data: Any, rows: Rows) -> Guess:
    return Guess(margin(stage, data))


def survival(stage: Stage, data: Any, rows: Rows) -> Guess:
    return Guess(np.exp(margin(stage, data)))


def generalized(stage: Stage, data: Any, rows: Rows) -> Guess:
    eta = margin(stage, data)
    offset = rows[stage.params["offsetCol"].lower()] if stage.params.get("offsetCol") else None
    if offset is not None:
        eta = eta + offset.data
    family, power = str(stage.get("family", "gaussian")).lower(), stage.number("variancePower", 0.0)
    if family == "tweedie":
        raised = stage.number("linkPower", 1.0 - power)
        link = {0.0: "log", 1.0: "identity", -1.0: "inverse", 0.5: "sqrt"}.get(raised, "power")
        family = {0.0: "gaussian"}.get(power, "tweedie")
    else:
        usual = {"gaussian": "identity", "binomial": "logit", "poisson": "log", "gamma": "inverse"}
        raised, link = 0.0, str(stage.get("link", usual[family])).lower()
    inverse: dict[str, Callable[[Any], Any]] = {
        "identity": lambda x: x,
        "log": np.exp,
        "inverse": lambda x: np.divide(1.0, x),
        "sqrt": lambda x: x * x,
        "logit": sigmoid,
        "cloglog": lambda x: 1.0 - np.exp(-np.exp(x)),
        "power": lambda x: np.power(x, 1.0 / raised),
    }
    mean = inverse[link](eta)
    biggest = np.finfo(float).max
    if family == "gaussian":
        mean = np.where(np.isinf(mean), np.sign(mean) * biggest, mean)
    elif family == "binomial":
        mean = np.where(mean < 1e-16, 1e-16, np.where(mean > 1.0 - 1e-16, 1.0 - 1e-16, mean))
    else:
        mean = np.where(mean < 1e-16, 1e-16, np.where(np.isinf(mean), biggest, mean))
    return Guess(mean if offset is None else np.where(offset.null, np.nan, mean))


def logistic_regression(stage: Stage, data: Any, rows: Rows) -> Guess:
    if "coefficientMatrix" not in stage.row:
        return two_classes(stage, margin(stage, data))
    weights, intercepts = matrix(stage.row["coefficientMatrix"]), vector(stage.row["interceptVector"]).values
    scores = [dotted(data, Part(weights.values[k], weights.stored[k])) + intercepts[k] for k in range(len(intercepts))]
    raw = np.column_stack(scores)
    return classified(stage, raw, softmax(raw)) if stage.row["isMultinomial"] else two_classes(stage, raw[:, 0])


@dataclass(frozen=True)
class Part:
    """One row of a matrix, with the entries that are stored."""

    values: Array
    stored: Array


def two_classes(stage: Stage, score: Any) -> Guess:
    limits, limit = doubles(stage.params.get("thresholds")), stage.number("threshold", 0.5)
    limit = 1.0 / (1.0 + limits[0] / limits[1]) if limits else limit
    zero = sigmoid(-score)
    probability = np.column_stack([zero, 1.0 - zero])
    if stage.get("rawPredictionCol", "rawPrediction"):
        edge = -math.inf if limit == 0 else math.inf if limit == 1 else math.log(limit / (1.0 - limit))
        found = score > edge
    else:
        found = probability[:, 1] > limit
    return Guess(found.astype(float), np.column_stack([-score, score]), probability)


def linear_svc(stage: Stage, data: Any, rows: Rows) -> Guess:
    score = margin(stage, data)
    return Guess((score > stage.number("threshold", 0.0)).astype(float), np.column_stack([-score, score]))


def factorized(stage: Stage, data: Any) -> Any:
    factors = matrix(stage.row["factors"]).values
    total = stage.row["intercept"] + dotted(data, vector(stage.row["linear"]))
    for f in range(factors.shape[1]):
        once, twice = np.zeros(len(data)), np.zeros(len(data))
        for j in range(data.shape[1]):
            term = np.where(data[:, j] == 0, 0.0, factors[j, f] * data[:, j])
            once, twice = once + term, twice + term * term
        total = total + 0.5 * (once * once - twice)
    return total


def factorization_regression(stage: Stage, data: Any, rows: Rows) -> Guess:
    return Guess(factorized(stage, data))


def factorization_classifier(stage: Stage, data: Any, rows: Rows) -> Guess:
    score = factorized(stage, data)
    one = sigmoid(score)
    return classified(stage, np.column_stack([-score, score]), np.column_stack([1.0 - one, one]))


def isotonic(stage: Stage, values: Any) -> Any:
    bounds, heights = vector(stage.row["boundaries"]).values, vector(stage.row["predictions"]).values
    made = np.empty(len(values))
    for i, x in enumerate(values.tolist()):
        place = len(bounds) if math.isnan(x) else int(np.searchsorted(bounds, x, side="right"))
        if place == 0:
            made[i] = heights[0]
        elif place == len(bounds) or bounds[place - 1] == x:
            made[i] = heights[place - 1]
        else:
            x1, x2, y1, y2 = bounds[place - 1], bounds[place], heights[place - 1], heights[place]
            made[i] = y1 + (y2 - y1) * (x - x1) / (x2 - x1)
    return made


Nodes = Mapping[int, Mapping[str, Any]]


def trees_of(stage: Stage) -> list[Nodes]:
    trees: dict[int, dict[int, Mapping[str, Any]]] = {}
    for row in stage.data:
        node = row.get("nodeData", row)
        trees.setdefault(row.get("treeID", 0), {})[node["id"]] = node
    return [trees[key] for key in sorted(trees)]


def leaves(nodes: Nodes, data: Any) -> list[Mapping[str, Any]]:
    """The leaf that each row comes to."""
    found: list[Any] = [None] * len(data)
    pending = [(min(nodes), np.arange(len(data)))]
    while pending:
        place, rows = pending.pop()
        node = nodes[place]
        if node["leftChild"] < 0:
            for i in rows:
                found[i] = node
            continue
        split = node["split"]
        values, listed = data[rows, split["featureIndex"]], split["leftCategoriesOrThreshold"]
        if split["numCategories"] < 0:
            left = values <= listed[0]
        elif len(listed) <= split["numCategories"] / 2:
            left = np.isin(values, listed)
        else:
            left = ~np.isin(values, [c for c in range(split["numCategories"]) if c not in set(listed)])
        pending += [(node["leftChild"], rows[left]), (node["rightChild"], rows[~left])]
    return found


def tree_values(nodes: Nodes, data: Any) -> Any:
    return np.array([leaf["prediction"] for leaf in leaves(nodes, data)], dtype=np.float64)


def tree_regressor(stage: Stage, data: Any, rows: Rows) -> Guess:
    return Guess(tree_values(trees_of(stage)[0], data))


def forest_regressor(stage: Stage, data: Any, rows: Rows) -> Guess:
    trees, total = trees_of(stage), np.zeros(len(data))
    for nodes in trees:
        total = total + tree_values(nodes, data)
    return Guess(total / len(trees))


def boosted(stage: Stage, data: Any) -> Any:
    weights = {row.get("treeID", row.get("_1")): row.get("weights", row.get("_3")) for row in stage.trees}
    total = np.zeros(len(data))
    for i, nodes in enumerate(trees_of(stage)):
        total = total + tree_values(nodes, data) * weights[i]
    return total


def boosted_regressor(stage: Stage, data: Any, rows: Rows) -> Guess:
    return Guess(boosted(stage, data))


def boosted_classifier(stage: Stage, data: Any, rows: Rows) -> Guess:
    score = boosted(stage, data)
    zero = 1.0 / (1.0 + np.exp(-2.0 * -score))
    return classified(stage, np.column_stack([-score, score]), np.column_stack([zero, 1.0 - zero]))


def counts(nodes: Nodes, data: Any) -> Any:
    return np.array([leaf["impurityStats"] for leaf in leaves(nodes, data)], dtype=np.float64)


def shares(raw: Any) -> Any:
    total = np.array([sum(row) for row in raw.tolist()])
    return raw / np.where(total == 0, 1.0, total)[:, None]


def tree_classifier(stage: Stage, data: Any, rows: Rows) -> Guess:
    raw = counts(trees_of(stage)[0], data)
    return classified(stage, raw, shares(raw))


def forest_classifier(stage: Stage, data: Any, rows: Rows) -> Guess:
    raw: Any = 0.0
    for nodes in trees_of(stage):
        raw = raw + shares(counts(nodes, data))
    return classified(stage, raw, shares(raw))


def naive_bayes(stage: Stage, data: Any, rows: Rows) -> Guess:
    kind, prior, theta = stage.get("modelType"), vector(stage.row["pi"]).values, matrix(stage.row["theta"]).values
    if kind in ("multinomial", "complement"):
        fail_where(~(data >= 0).all(axis=1), "NaiveBayes requires nonnegative values")
    if kind == "bernoulli":
        fail_where(~((data == 0) | (data == 1)).all(axis=1), "NaiveBayes requires 0 or 1")
        present = theta - np.log1p(-np.exp(theta))
        raw = data @ present.T + (prior + np.log1p(-np.exp(theta)).sum(axis=1))
    elif kind == "gaussian":
        sigma, raw = matrix(stage.row["sigma"]).values, np.empty((len(data), len(prior)))
        for k in range(len(prior)):
            total, logs = np.zeros(len(data)), 0.0
            for j in range(data.shape[1]):
                off = data[:, j] - theta[k, j]
                total, logs = total + off * off / sigma[k, j], logs + math.log(sigma[k, j])
            raw[:, k] = prior[k] - (total + logs) / 2
    elif kind == "complement":
        raw = data @ theta.T
        top = np.max(raw, axis=1, keepdims=True)
        raw = raw - (np.log(np.sum(np.exp(raw - top), axis=1, keepdims=True)) + top)
    else:
        raw = data @ theta.T + prior
    return classified(stage, raw, softmax(raw))


def perceptron(stage: Stage, data: Any, rows: Rows) -> Guess:
    layers, weights = stage.row.get("layers") or stage.get("layers"), vector(stage.row["weights"]).values
    used, raw = 0, data
    for i in range(len(layers) - 1):
        shape = (layers[i + 1], layers[i])
        block = weights[used : used + shape[0] * shape[1]].reshape(shape, order="F")
        used += shape[0] * shape[1]
        raw = raw @ block.T + weights[used : used + shape[0]]
        used += shape[0]
        raw = sigmoid(raw) if i < len(layers) - 2 else raw
    return classified(stage, raw, softmax(raw))


def one_vs_rest(stage: Stage, data: Any, rows: Rows) -> Guess:
    raw = np.column_stack([PREDICTORS[part.kind](part, data, rows).raw[:, 1] for part in stage.stages])
    return Guess(largest(raw), raw)


def k_means(stage: Stage, data: Any, rows: Rows) -> Guess:
    fail_where(np.isnan(data).any(axis=1), "KMeans requires norms that are numbers")
    centers: Sequence[Any] = sorted(stage.data, key=lambda row: row["clusterIdx"])
    best, found = np.full(len(data), np.inf), np.zeros(len(data))
    for k, row in enumerate(centers):
        distance = np.sum((data - vector(row["clusterCenter"]).values) ** 2, axis=1)
        nearer = distance < best
        best, found = np.where(nearer, distance, best), np.where(nearer, float(k), found)
    return Guess(found)


PREDICTORS: dict[str, Callable[[Stage, Any, Rows], Guess]] = {
    "LinearRegressionModel": linear_regression,
    "GeneralizedLinearRegressionModel": generalized,
    "AFTSurvivalRegressionModel": survival,
    "FMRegressionModel": factorization_regression,
    "DecisionTreeRegressionModel": tree_regressor,
    "RandomForestRegressionModel": forest_regressor,
    "GBTRegressionModel": boosted_regressor,
    "LogisticRegressionModel": logistic_regression,
    "LinearSVCModel": linear_svc,
    "FMClassificationModel": factorization_classifier,
    "DecisionTreeClassificationModel": tree_classifier,
    "RandomForestClassificationModel": forest_classifier,
    "GBTClassificationModel": boosted_classifier,
    "NaiveBayesModel": naive_bayes,
    "MultilayerPerceptronClassificationModel": perceptron,
    "OneVsRestModel": one_vs_rest,
    "KMeansModel": k_means,
}


def predicted(rows: Rows, stage: Stage) -> Guess | None:
    """One predictor: its columns are put among the rows. None where the stage is none."""
    name = str(stage.get("featuresCol", "features"))
    if stage.kind == "IsotonicRegressionModel":
        column = rows[name.lower()]
        if column.type == "vector":
            column = vectors(rows, name)
            made = Guess(isotonic(stage, column.data[:, int(stage.get("featureIndex", 0))]))
        else:
            made = Guess(np.where(column.null, np.nan, isotonic(stage, column.data)))
    elif stage.kind in PREDICTORS:
        made = PREDICTORS[stage.kind](stage, vectors(rows, name).data, rows)
    else:
        return None
    there = np.zeros(len(made.prediction), dtype=bool)
    kind = "int" if stage.kind == "KMeansModel" else "double"
    rows[str(stage.get("predictionCol", "prediction")).lower()] = Values(made.prediction, kind, there)
    for key, data in (("rawPredictionCol", made.raw), ("probabilityCol", made.probability)):
        if data is not None and stage.get(key):
            rows[str(stage.get(key)).lower()] = Values(data, "vector", there, np.zeros(len(there), dtype=bool))
    return made


__all__ = ["Guess", "SparkFails", "predicted"]
