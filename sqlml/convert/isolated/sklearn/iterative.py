"""IterativeImputer. Read in scikit-learn 1.9.1: impute/_iterative.py.

Its fitted imputation_sequence_ is a list of regressors in the order in which they are asked, round after round: each
fills one column from the others as they stand, in the rows where that column was missing. (Where every value of a call
is missing the original stops before the first round; a row without any value is treated here as it is among others.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, below, refuse
from sqlml.convert.isolated.sklearn.impute import found, indicator, is_nan
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, beside, table_of

MOST_STEPS = 2000
"""Regressors in the sequence; each is a model of its own in the graph."""


def iterative_imputer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    nan = is_nan(est.missing_values)
    original = table
    table = numbers(graph, est, table, step, finite="allow-nan" if nan else "all")
    statistics = np.asarray(est.initial_imputer_.statistics_, dtype=np.float64)
    empty = np.asarray(getattr(est, "_is_empty_feature", np.isnan(statistics)))
    if table.sparse or empty.any() or np.isnan(statistics).any():
        why = "it takes no sparse data." if table.sparse else "a column of its training data had no values at all."
        raise refuse(est, step, why, "Leave such columns out.")
    if est.sample_posterior:
        why = "it draws its values at random (sample_posterior), so no answer is the model's own."
        raise refuse(est, step, why, "Use sample_posterior=False.")
    if len(est.imputation_sequence_) > MOST_STEPS:
        raise refuse(est, step, f"it asks {len(est.imputation_sequence_):,} regressors.", "Use a smaller max_iter.")
    masks = [found(ctx, f, graph.column(table, i), est.missing_values, est, step) for i, f in enumerate(table.features)]
    columns = [filled(ctx, table.select([i]), mask, float(statistics[i])) for i, mask in enumerate(masks)]
    rounds = [] if est.n_iter_ == 0 else est.imputation_sequence_
    for number, one in enumerate(rounds):
        place = int(one.feat_idx)
        mask = masks[place]
        if mask is None:
            continue
        others = beside([columns[int(i)] for i in one.neighbor_feat_idx])
        with graph.errors_only(mask):
            said = ctx.predict(one.estimator, others, below(step, f"round {number + 1}"))
        if said.kind != "regressor" or said.targets != 1:
            raise refuse(est, step, f"its estimator {type(one.estimator).__name__} does not predict one number.")
        low, high = float(est._min_value[place]), float(est._max_value[place])
        value = said.values
        if low > -np.inf or high < np.inf:
            value = graph.op("Where", graph.op("Less", value, graph.double([low])), graph.double([low]), value)
            value = graph.op("Where", graph.op("Greater", value, graph.double([high])), graph.double([high]), value)
        made = graph.op("Where", mask, value, graph.column(table, place))
        own = table.features[place]
        # The prediction may overflow; it hangs on all the others.
        feature = Feature(
            FLOAT64, low=min(own.low, low), high=max(own.high, high), sources=own.sources, exact=False, nan=True
        )
        columns[place] = table_of(made, [feature])
    joined = beside(columns)
    if est.add_indicator:
        joined = beside([joined, indicator(ctx, est.indicator_, plain(original), step)])
    return joined.with_features([replace(f, dtype=FLOAT64, name=None) for f in joined.features])


def plain(table: Table) -> Table:
    return replace(table.with_features([replace(f, name=None) for f in table.features]), frame=False)


def filled(ctx: Context, column: Table, mask: str | None, value: float) -> Table:
    """The first round: one number for what is missing."""
    graph, feature = ctx.graph, column.features[0]
    if mask is None:
        return column
    made = graph.op("Where", mask, graph.double([value]), graph.tensor(column))
    known = replace(
        feature,
        low=min(feature.low, value),
        high=max(feature.high, value),
        nan=False,
        missing=frozenset(),
    )
    return table_of(made, [known])


TRANSFORMERS: Transforms = {"impute.IterativeImputer": iterative_imputer}
