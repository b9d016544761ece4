"""SimpleImputer and MissingIndicator, for numbers and for text. Read in scikit-learn 1.9.1: impute/_base.py."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import MISSING_TEXT
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.validate import check_names
from sqlml.convert.isolated.table import BOOL, FLOAT32, FLOAT64, OBJECT, Feature, Table, beside, table_of

DROPS = "Impute with a fill value of the column's own type."


def is_nan(value: Any) -> bool:  # Any: a fitted parameter
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def simple_imputer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = validated(ctx, est, table, step, convert=est.strategy not in ("most_frequent", "constant"))
    cast, fill_dtype = dtypes(est, table)
    if est.strategy == "constant" and not np.can_cast(cast, table.array_dtype, casting="same_kind"):
        why = f"it was fitted on {cast} and would be given {table.array_dtype}, which scikit-learn refuses."
        raise refuse(est, step, why, "Log the model with the column types it was trained on.")
    statistics = list(est.statistics_)
    # keep_empty_features came with 1.2; a constant filled empty columns too, before 1.8.
    all_kept = getattr(est, "keep_empty_features", False) or (est.strategy == "constant" and not since(1, 8))
    kept = [i for i, value in enumerate(statistics) if all_kept or not missing_statistic(value)]
    fill = np.asarray(est.statistics_)[kept].astype(fill_dtype, copy=False)
    parts = [impute(ctx, est, table, i, value, step) for i, value in zipped(kept, fill)]
    if est.add_indicator:
        mask = indicator(ctx, est.indicator_, table, step)
        parts.append(mask)
    dtype = table.array_dtype
    joined = beside(parts, sparse=table.sparse)
    return joined.with_features([replace(f, dtype=dtype, name=None) for f in joined.features])


def dtypes(est: Estimator, table: Table) -> tuple[Any, Any]:
    """What a constant must be castable from, and what the statistics become: of the fit since 1.8, of the data before."""
    if since(1, 8):
        return est._fill_dtype, est._fill_dtype
    return (est.statistics_.dtype if since(1, 4) else table.array_dtype), table.array_dtype


def missing_statistic(value: Any) -> bool:  # Any: object arrays hold anything
    return bool(value != value)


def validated(ctx: Context, est: Estimator, table: Table, step: str, *, convert: bool) -> Table:
    """SimpleImputer._validate_input: object where it was fitted on objects, else the data's own dtype or float."""
    graph, who = ctx.graph, type(est).__name__
    check_names(est, table, step)
    missing = est.missing_values
    dtype = table.array_dtype
    if getattr(est, "_fit_dtype", FLOAT64).kind == "O":
        dtype = OBJECT
    elif convert and dtype not in (FLOAT64, FLOAT32):
        dtype = FLOAT64
    text = any(f.text for f in table.features)
    if text and dtype != OBJECT:
        why = "it was fitted on numbers and would be given text."
        raise refuse(est, step, why, "Give the column its number type in the signature.")
    if dtype == BOOL:
        raise refuse(
            est, step, "it does not take boolean columns alone, in scikit-learn either.", "Convert them to int."
        )
    if dtype == FLOAT32 and any(f.dtype == BOOL for f in table.features):
        raise refuse(est, step, "its inputs are float32 and boolean columns together.", "Train on float64 columns.")
    if dtype != OBJECT and not (missing is None or isinstance(missing, (int, float, np.number))):
        why = f"it looks for {missing!r} among numbers, which scikit-learn refuses."
        raise refuse(est, step, why, "Use a number or NaN for missing_values.")
    if dtype != OBJECT and missing is None:
        raise refuse(est, step, "it looks for None among numbers, which scikit-learn refuses.", "Use NaN.")
    features = [replace(f, dtype=dtype, name=None) for f in table.features]
    table = replace(table.with_features(features), frame=False)
    if dtype == OBJECT:
        # check_array looks for NaN only in object arrays, and None is not NaN to it.
        if is_nan(missing):
            return table
        return refuse_missing_objects(ctx, table, who)
    if not is_nan(missing):
        table = graph.refuse_missing(table, who)
    return graph.refuse_infinite(table, who)


def refuse_missing_objects(ctx: Context, table: Table, who: str) -> Table:
    """NaN in an object array raises; None, which a missing text may be, does not."""
    graph, features = ctx.graph, list(table.features)
    for i, f in enumerate(features):
        if not f.nan or (f.text and missing_as(ctx, f) == "none"):
            continue
        column = graph.column(table, i)
        bad = graph.op("Equal", column, graph.texts([MISSING_TEXT])) if f.text else graph.op("IsNaN", column)
        graph.refused.update(f.missing)
        graph.error(bad, [f"{f.label} is missing, and {who} does not accept missing values"])
        features[i] = replace(f, nan=False, missing=frozenset())
    return table.with_features(features)


def missing_as(ctx: Context, feature: Feature) -> str:
    """What the original holds where this text is missing: "nan" or "none"."""
    return next((ctx.graph.missing_as[c] for c in feature.sources if c in ctx.graph.missing_as), "nan")


def wish_missing(ctx: Context, feature: Feature, value: str) -> None:
    """The step was fitted on this kind of missing text, so the input should hold it."""
    for column in feature.sources:
        ctx.graph.wishes.setdefault(column, value)


def found(ctx: Context, feature: Feature, tensor: str, missing: Any, est: Estimator, step: str) -> str | None:
    """A boolean tensor: where the column holds `missing`. None: it never does."""
    graph = ctx.graph
    if feature.text:
        if missing is None or is_nan(missing):
            kind = "none" if missing is None else "nan"
            wish_missing(ctx, feature, kind)
            if not feature.nan or missing_as(ctx, feature) != kind:
                return None
            return graph.op("Equal", tensor, graph.texts([MISSING_TEXT]))
        return graph.op("Equal", tensor, graph.texts([missing])) if isinstance(missing, str) else None
    if missing is None:
        return None
    if is_nan(missing):
        return graph.op("IsNaN", tensor) if feature.nan else None
    if isinstance(missing, str):
        return None
    if (abs(float(missing)) >= 2**53 and float(missing) != missing) or not feature.exact:
        raise refuse(est, step, f"it compares for equality with {missing!r} what is not known to the last bit.")
    return graph.op("Equal", tensor, graph.double([float(missing)]))


def impute(ctx: Context, est: Estimator, table: Table, index: int, value: Any, step: str) -> Table:
    """One column with its missing values replaced; as it is where it has none."""
    graph, feature = ctx.graph, table.features[index]
    one = table.select([index])
    column = graph.tensor(one)
    where = found(ctx, feature, column, est.missing_values, est, step)
    if where is None:
        return one
    removes = is_nan(est.missing_values) or (feature.text and est.missing_values is None)
    nan = feature.nan and not removes
    if feature.text:
        if not isinstance(value, str):
            why = f"it puts {value!r} in place of missing text in {feature.label}, so the column mixes types."
            raise refuse(est, step, why, DROPS)
        filled = graph.op("Where", where, graph.texts([value]), column)
        return table_of(
            filled, [replace(feature, nan=nan, missing=feature.missing if nan else frozenset())], sparse=table.sparse
        )
    if isinstance(value, str):
        why = f"it puts the text {value!r} in place of missing numbers in {feature.label}, so the column mixes types."
        raise refuse(est, step, why, DROPS)
    number = float(value)
    filled = graph.op("Where", where, graph.double([number]), column)
    done = replace(
        feature,
        low=min(feature.low, number),
        high=max(feature.high, number),
        nan=nan or math.isnan(number),
        missing=feature.missing if nan else frozenset(),
    )
    return table_of(filled, [done], sparse=table.sparse)


def missing_indicator(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = validated(ctx, est, table, step, convert=False)
    return indicator(ctx, est, table, step)


def indicator(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """The boolean mask; with error_on_new, missing values where training had none raise."""
    graph = ctx.graph
    chosen = range(len(table)) if est.features == "all" else [int(i) for i in est.features_]
    flags: dict[int, str | None] = {}
    for i, feature in enumerate(table.features):
        flags[i] = found(ctx, feature, graph.column(table, i), est.missing_values, est, step)
        new = est.features == "missing-only" and i not in chosen
        if est.error_on_new and new and flags[i] is not None:
            if est.missing_values is None or is_nan(est.missing_values):
                graph.refused.update(feature.missing)
            graph.error(
                str(flags[i]), [f"{feature.label} is missing, and had no missing values in training (MissingIndicator)"]
            )
    tensors, features = [], []
    for i in chosen:
        f = table.features[i]
        flag = flags[i]
        never = graph.op("Equal", graph.column(table, i), graph.column(table, i)) if flag is None else flag
        number = graph.as_double(never)
        tensors.append(graph.op("Mul", number, graph.double([0.0])) if flag is None else number)
        features.append(Feature(BOOL, low=0.0, high=1.0, nan=False, sources=f.sources))
    if not tensors:
        return Table((), ())
    return table_of(
        graph.join(tensors), features, sparse=bool(est.sparse is True or (est.sparse == "auto" and table.sparse))
    )


TRANSFORMERS: Transforms = {
    "impute.SimpleImputer": simple_imputer,
    "impute.MissingIndicator": missing_indicator,
}
