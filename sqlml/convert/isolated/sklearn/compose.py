"""Pipeline, ColumnTransformer, FeatureUnion, feature selection and the transformers that only rearrange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import (
    Context,
    Estimator,
    Prediction,
    Predicts,
    Transforms,
    Unwraps,
    below,
    refuse,
)
from sqlml.convert.isolated.sklearn.functions import elementwise
from sqlml.convert.isolated.sklearn.validate import Finite, check_names, numbers, refuse_text
from sqlml.convert.isolated.table import FLOAT64, OBJECT, Table, beside, table_of


def output_names(estimator: Estimator, table: Table, result: Table, step: str) -> Table:
    """What set_output does: a DataFrame with the estimator's own output names, for the steps that select by name."""
    config = getattr(estimator, "_sklearn_output_config", {}).get("transform", "default")
    if config == "default":
        return result
    if config != "pandas":
        raise refuse(estimator, step, f"its output is set to {config!r}.", "Use set_output(transform='default').")
    given = [f.name for f in table.features] if table.frame else None
    names: Sequence[Any]
    try:
        names = list(estimator.get_feature_names_out(given))
    except Exception:  # utils/_set_output.py takes any error for "no names": the output keeps its own, or has numbers
        own = [f.name for f in result.features]
        names = own if result.frame and None not in own else range(len(own))
    features = [replace(f, name=n) for f, n in zipped(result.features, names)]
    return replace(result.with_features(features), frame=True)


def run(ctx: Context, estimator: Estimator, table: Table, step: str) -> Table:
    """One transformer, with set_output taken into account."""
    inner = ctx.unwrap(estimator, step)
    return output_names(inner, table, ctx.transform(inner, table, step), step)


def pipeline_head(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    for name, transformer in est.steps[:-1]:
        if transformer is not None and transformer != "passthrough":
            table = run(ctx, transformer, table, below(step, name))
    return table


def pipeline_transform(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = pipeline_head(ctx, est, table, step)
    name, last = est.steps[-1]
    return table if last is None or last == "passthrough" else run(ctx, last, table, below(step, name))


def pipeline_predict(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    table = pipeline_head(ctx, est, table, step)
    name, last = est.steps[-1]
    if last is None or last == "passthrough":
        raise refuse(est, step, "its last step is 'passthrough', so it does not predict.", "End it in a predictor.")
    return ctx.predict(last, table, below(step, name))


def column_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    by_name = table.frame and hasattr(est, "feature_names_in_")
    if not by_name:
        check_names(est, table, step)
    parts: list[Table] = []
    for name, transformer, columns in est.transformers_:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        indices = input_indices(est, table, name, step, by_name)
        if not indices:
            continue
        path = below(step, name)
        words = type(transformer).__module__ == "sklearn.feature_extraction.text"  # refused with their own reason
        if np.isscalar(columns) and not words:
            why = f"it selects the single column {columns!r} as one dimension, as text vectorizers need."
            raise refuse(transformer, path, why, "Select it as a list of one column.")
        part = table.select(indices)
        if not (isinstance(transformer, str) and transformer == "passthrough"):
            part = run(ctx, transformer, part, path)
        weight = (est.transformer_weights or {}).get(name)
        parts.append(part if weight is None else weighted(ctx, est, part, float(weight), path))
    return stacked(ctx, est, parts, step, sparse=bool(est.sparse_output_))


def input_indices(est: Estimator, table: Table, name: str, step: str, by_name: bool) -> list[int]:
    """The positions in this table of what was selected at fit, by name where both know names."""
    fitted = [int(i) for i in est._transformer_to_input_indices[name]]
    if not by_name:
        return fitted
    names = [f.name for f in table.features]
    wanted = [est.feature_names_in_[i] for i in fitted]
    absent = [w for w in wanted if w not in names]
    if absent:
        why = f"it needs the columns {', '.join(map(str, absent))}, which the signature does not have."
        raise refuse(est, step, why, "Log the model with a signature that has all its training columns.")
    return [names.index(w) for w in wanted]


def weighted(ctx: Context, est: Estimator, part: Table, weight: float, step: str) -> Table:
    refuse_text(est, part, step)
    # Integers and booleans times a number are float64; a DataFrame is weighted column by column.
    others = [f.dtype for f in part.features if f.dtype != FLOAT64 and f.dtype.kind not in "iub"]
    if others:
        raise refuse(est, step, f"it weights {others[0]} data.", "Weight float64 output only, or scale it in a step.")
    tensor = ctx.graph.op("Mul", ctx.graph.tensor(part), ctx.graph.double(weight))
    features = []
    for f in part.features:
        low, high = sorted((f.low * weight, f.high * weight)) if weight else (-np.inf, np.inf)
        nan = f.nan or (weight == 0 and f.infinite)
        features.append(replace(f, dtype=FLOAT64, low=low, high=high, nan=nan))
    return table_of(tensor, features, frame=part.frame, sparse=part.sparse)


def stacked(ctx: Context, est: Estimator, parts: Sequence[Table], step: str, *, sparse: bool) -> Table:
    """np.hstack, scipy.sparse.hstack or pandas.concat of the parts, whichever the original does."""
    config = getattr(est, "_sklearn_output_config", {}).get("transform", "default")
    parts = [p for p in parts if len(p)]
    if sparse:
        for part in parts:
            refuse_text(est, part, step)
    if config == "pandas" and all(p.frame for p in parts) and not sparse:
        # The names ColumnTransformer._hstack gives for the moment; they stay where a part does not know its names.
        named = [
            p.with_features([replace(f, name=f"tmp_col_name_{i}_{j}") for j, f in enumerate(p.features)])
            for i, p in enumerate(parts)
        ]
        return beside(named, frame=True)
    arrays = [p.as_array() for p in parts]
    joined = beside(arrays, sparse=sparse)
    dtypes = {f.dtype for f in joined.features}
    if sparse:
        dtypes = {np.dtype(np.float64) if d == OBJECT else d for d in dtypes}
    dtype = OBJECT if OBJECT in dtypes else np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    return joined.with_features([replace(f, dtype=dtype, name=None) for f in joined.features])


def feature_union(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    parts = []
    for name, transformer in est.transformer_list:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        path = below(step, name)
        passes = isinstance(transformer, str) and transformer == "passthrough"
        part = table if passes else run(ctx, transformer, table, path)
        weight = (est.transformer_weights or {}).get(name)
        parts.append(part if weight is None else weighted(ctx, est, part, float(weight), path))
    return stacked(ctx, est, parts, step, sparse=any(p.sparse for p in parts))


def feature_selector(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """VarianceThreshold, SelectKBest and their kin: a mask over the columns, after the checks of SelectorMixin."""
    refuse_text(est, table, step)
    keep = [int(i) for i in np.flatnonzero(est.get_support())]
    if not keep:
        raise refuse(est, step, "it selects no column at all.", "Train with a selection that keeps some columns.")
    allows = allows_nan(est)
    who = type(est).__name__
    if table.frame and wants_frame(est):
        # The original then skips check_array, and with it every check of values.
        check_names(est, table, step)
        return table.select(keep)
    if table.array_dtype == OBJECT:
        # In object arrays check_array looks for NaN only, and it leaves them as they are.
        check_names(est, table, step)
        checked = table.as_array() if allows else ctx.graph.refuse_missing(table.as_array(), who)
        return checked.select(keep)
    finite: Finite = "none" if allows else "all"
    return numbers(ctx.graph, est, table, step, finite=finite, float32=True, keep=True).select(keep)


def selector_predict(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """RFE and RFECV answer by the estimator that they fitted on the columns they keep."""
    return ctx.predict(est.estimator_, feature_selector(ctx, est, table, step), below(step, "estimator"))


def allows_nan(est: Estimator) -> bool:
    """What its tags say, kept as a dictionary before scikit-learn 1.6."""
    try:
        from sklearn.utils import get_tags
    except ImportError:
        return bool(est._get_tags()["allow_nan"])
    return bool(get_tags(est).input_tags.allow_nan)


def wants_frame(est: Estimator) -> bool:
    return bool(getattr(est, "_sklearn_output_config", {}).get("transform", "default") != "default")


def function_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """Only functions known by identity: none at all, or an elementwise one of numpy's."""
    if est.func is None:
        if est.validate:
            table = numbers(ctx.graph, est, table, step, float32=True, keep=True)
        return table
    if est.validate:
        table = numbers(ctx.graph, est, table, step, float32=True, keep=True)
    return elementwise(ctx, est, est.func, dict(est.kw_args or {}), table, step)


def unwrap_search(est: Estimator) -> Any:
    """GridSearchCV and its kin answer with the refitted best estimator."""
    return est.best_estimator_


def unwrap_frozen(est: Estimator) -> Any:
    return est.estimator


WRAPPERS: Unwraps = {
    "model_selection.GridSearchCV": unwrap_search,
    "model_selection.RandomizedSearchCV": unwrap_search,
    # Their public names are there only after an import from sklearn.experimental.
    "model_selection._search_successive_halving.HalvingGridSearchCV": unwrap_search,
    "model_selection._search_successive_halving.HalvingRandomSearchCV": unwrap_search,
    "frozen.FrozenEstimator": unwrap_frozen,
}

TRANSFORMERS: Transforms = {
    "pipeline.Pipeline": pipeline_transform,
    "pipeline.FeatureUnion": feature_union,
    "compose.ColumnTransformer": column_transformer,
    "preprocessing.FunctionTransformer": function_transformer,
    "feature_selection.VarianceThreshold": feature_selector,
    "feature_selection.SelectKBest": feature_selector,
    "feature_selection.SelectPercentile": feature_selector,
    "feature_selection.SelectFpr": feature_selector,
    "feature_selection.SelectFdr": feature_selector,
    "feature_selection.SelectFwe": feature_selector,
    "feature_selection.GenericUnivariateSelect": feature_selector,
    "feature_selection.SelectFromModel": feature_selector,
    "feature_selection.RFE": feature_selector,
    "feature_selection.RFECV": feature_selector,
    "feature_selection.SequentialFeatureSelector": feature_selector,
}

PREDICTORS: Predicts = {
    "pipeline.Pipeline": pipeline_predict,
    "feature_selection.RFE": selector_predict,
    "feature_selection.RFECV": selector_predict,
}
