"""HistGradientBoosting: trees that compare in float64 and know missing values and categories.

Read in scikit-learn 1.9.1: ensemble/_hist_gradient_boosting/gradient_boosting.py, predictor.py, _predictor.pyx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.encoders import ordinal_encoder
from sqlml.convert.isolated.sklearn.linear import above, class_labels, expit, two_columns
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.trees import Tree, leaf, tree_ensemble
from sqlml.convert.isolated.sklearn.validate import check_names, numbers
from sqlml.convert.isolated.table import Table, beside

LOG_LINKS = ("poisson", "gamma")


def prepared(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The doubles that the trees see: categories first, as ordinal codes; no value is refused."""
    check_names(est, table, step)
    if table.sparse:
        raise refuse(est, step, "it would be given sparse data, which it does not take.")
    preprocessor = est._preprocessor if since(1, 4) else None
    if preprocessor is None and est.is_categorical_ is not None:
        why = (
            "before scikit-learn 1.4 it turns categories into bytes without a check, so that 256 is 0 on some machines."
        )
        raise refuse(
            est, step, why, "Encode them before it with OrdinalEncoder, or train with scikit-learn 1.4 or newer."
        )
    if preprocessor is None:
        return numbers(ctx.graph, est, table, step, finite="none", float32=True)
    categorical = np.asarray(est.is_categorical_)
    parts = []
    for name, transformer, _ in preprocessor.transformers_:
        indices = [int(i) for i in np.flatnonzero(categorical if name == "encoder" else ~categorical)]
        if not indices or name == "remainder":
            continue
        part = table.select(indices)
        if name == "encoder":
            parts.append(ordinal_encoder(ctx, transformer, part, below(step, "categories")))
        else:
            parts.append(numbers(ctx.graph, transformer, part, step, finite="none", float32=True))
    return beside(parts)


def in_set(row: Array, code: int) -> bool:
    return bool((int(row[code // 32]) >> (code % 32)) & 1)


class Membership:
    """Extra 0/1 columns behind the data, one per feature and set of categories that some split asks for.

    The codes come from an OrdinalEncoder, which makes unknown and missing categories NaN; so a categorical split is
    "missing", "in the set" or "not in the set", and a numeric split on the extra column says the same.
    """

    def __init__(self, ctx: Context, table: Table) -> None:
        self.ctx, self.table = ctx, table
        self.columns: dict[tuple[int, tuple[int, ...]], int] = {}

    def column(self, feature: int, codes: tuple[int, ...]) -> int:
        key = (feature, codes)
        if key not in self.columns:
            self.columns[key] = len(self.table) + len(self.columns)
        return self.columns[key]

    def parts(self) -> dict[int, int]:
        """The feature that each extra column is about."""
        return {place: feature for (feature, _), place in self.columns.items()}

    def tensor(self) -> str:
        """The data and the extra columns."""
        graph = self.ctx.graph
        parts = [graph.tensor(self.table)]
        by_feature: dict[int, list[tuple[int, ...]]] = {}
        order: list[tuple[int, int]] = []
        for feature, codes in self.columns:
            sets = by_feature.setdefault(feature, [])
            order.append((feature, len(sets)))
            sets.append(codes)
        starts: dict[int, int] = {}
        blocks: list[str] = []
        width = 0
        for feature, sets in by_feature.items():
            code = graph.column(self.table, feature)
            wanted = sorted({c for codes in sets for c in codes})
            table = np.array([[float(c in codes) for codes in sets] for c in wanted])
            hits = graph.as_double(graph.op("Equal", code, graph.double([float(c) for c in wanted])))
            member = graph.matmul(hits, table)
            # code * 0 is 0, or NaN where the code is missing.
            blocks.append(graph.op("Add", member, graph.op("Mul", code, graph.double([0.0]))))
            starts[feature] = width
            width += len(sets)
        if blocks:
            joined = graph.join(blocks)
            places = [starts[feature] + i for feature, i in order]
            parts.append(joined if places == list(range(width)) else graph.gather(joined, places))
        return graph.join(parts)


def predictor_tree(predictor: Any, target: int, membership: Membership) -> Tree:
    """A TreePredictor's nodes; a categorical split becomes `extra column > 0.5`, with its sides exchanged."""
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    feature = nodes["feature_idx"].astype(np.int64)
    threshold = nodes["num_threshold"].astype(np.float64)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    missing_left = nodes["missing_go_to_left"].astype(np.int64)
    for i in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
        bitset = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][i]]
        codes = tuple(c for c in range(256) if in_set(bitset, c))
        feature[i] = membership.column(int(feature[i]), codes)
        threshold[i] = 0.5
        left[i], right[i] = right[i], left[i]
        missing_left[i] = 1 - missing_left[i]
    left[is_leaf] = -1
    right[is_leaf] = -1
    value, cover = nodes["value"].astype(np.float64), nodes["count"].astype(np.float64)
    return Tree(feature, threshold, left, right, missing_left, value, target, cover)


def raw_scores(ctx: Context, est: Estimator, table: Table, step: str) -> tuple[str, int]:
    membership = Membership(ctx, prepared(ctx, est, table, step))
    start: Sequence[float] = np.asarray(est._baseline_prediction, dtype=np.float64).reshape(-1).tolist()
    trees = [leaf(value, k) for k, value in enumerate(start)]
    trees += [predictor_tree(p, k, membership) for stage in est._predictors for k, p in enumerate(stage)]
    sums = tree_ensemble(ctx.graph, membership.tensor(), trees, len(start), parts_of=membership.parts())
    return sums, len(start)


def hist_classifier(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph = ctx.graph
    labels = class_labels(est, step)
    raw, width = raw_scores(ctx, est, table, step)
    if width == 1:
        return Prediction("classifier", above(graph, raw), labels, two_columns(graph, expit(graph, raw)), raw)
    return Prediction("classifier", graph.argmax(raw), labels, graph.op("Softmax", raw, axis=1), raw)


def hist_regressor(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    raw, _ = raw_scores(ctx, est, table, step)
    link = type(est._loss.link).__name__
    if link == "LogLink":
        return Prediction("regressor", ctx.graph.op("Exp", raw), score=raw)
    if link != "IdentityLink":
        raise refuse(est, step, f"its loss {est.loss!r} has a link that is not known.")
    return Prediction("regressor", raw)


PREDICTORS: Predicts = {
    "ensemble.HistGradientBoostingClassifier": hist_classifier,
    "ensemble.HistGradientBoostingRegressor": hist_regressor,
}
