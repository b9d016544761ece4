"""OneHotEncoder and OrdinalEncoder.

What each category becomes is asked of the fitted encoder itself: every category, and one it does not know, goes
through its `transform` once. So drop, infrequent categories and handle_unknown follow the installed scikit-learn.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import numpy_helper

from sqlml.convert.isolated.graph import MISSING_TEXT, Array, Graph
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, refuse
from sqlml.convert.isolated.sklearn.impute import is_nan, missing_as, wish_missing
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.validate import check_names
from sqlml.convert.isolated.table import OBJECT, Feature, Table, beside, table_of

UNKNOWN_TEXT = "\U0010ffffunknown\U0010ffff"
FEW = 64
"""So many numbers are compared one by one; more are looked up in a table."""


@dataclass(frozen=True)
class Encoding:
    """What one column's values become: a row of outputs per key, and for a missing and an unknown value.

    `missing` and `unknown` are None where the encoder raises."""

    keys: tuple[str | float, ...]
    rows: Array
    missing: Array | None
    unknown: Array | None


def probe(est: Estimator, columns: list[Array]) -> Array:
    """The encoder's own output for these columns."""
    import pandas as pd

    names = getattr(est, "feature_names_in_", range(len(columns)))
    frame = pd.DataFrame({name: pd.Series(c, dtype=c.dtype) for name, c in zipped(names, columns)})
    frame.columns = list(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = est.transform(frame)
    dense = out.toarray() if hasattr(out, "toarray") else np.asarray(out)
    return np.asarray(dense, dtype=np.float64)


def outputs_of(est: Estimator, index: int, values: Array, width: slice) -> Array:
    """The output columns of input `index` for these values, the other inputs at their first category."""
    count = len(values)
    columns = [values if i == index else np.repeat(c[:1], count) for i, c in enumerate(est.categories_)]
    return probe(est, columns)[:, width]


def unknown_value(categories: Array) -> Array:
    """A value of the categories' kind that is none of them."""
    if categories.dtype.kind in "OUSb":
        return np.array([UNKNOWN_TEXT], dtype=object)
    known = [float(c) for c in categories if not is_nan(float(c))]
    return np.array([max(known, default=0.0) + 1.0 + abs(max(known, default=0.0))], dtype=np.float64)


def encodings(ctx: Context, est: Estimator, table: Table, step: str, widths: list[int]) -> list[Encoding]:
    starts = np.concatenate([[0], np.cumsum(widths)]).astype(int)
    done = []
    for i, feature in enumerate(table.features):
        categories = np.asarray(est.categories_[i])
        place = slice(int(starts[i]), int(starts[i + 1]))
        rows = outputs_of(est, i, categories, place)
        none_at = [k for k, c in enumerate(categories) if c is None]
        nan_at = [k for k, c in enumerate(categories) if is_nan(c)]
        raises = getattr(est, "handle_unknown", "ignore") == "error"  # TargetEncoder has no such parameter
        unknown = None if raises else outputs_of(est, i, unknown_value(categories), place)[0]
        if feature.text and (none_at or nan_at):
            wish_missing(ctx, feature, "nan" if nan_at else "none")
        at = none_at if feature.text and missing_as(ctx, feature) == "none" else nan_at
        keys, chosen = keys_of(est, feature, categories, step)
        # 10,000 categories are 800 MB of rows: they are copied only where some are left out.
        kept = rows if len(chosen) == len(rows) else rows[chosen]
        done.append(Encoding(keys, kept, rows[at[0]] if at else unknown, unknown))
    return done


def keys_of(
    est: Estimator, feature: Feature, categories: Array, step: str
) -> tuple[tuple[str | float, ...], list[int]]:
    """The categories that a value of this column can equal, and their positions."""
    kind = categories.dtype.kind
    if not feature.exact:
        why = f"it compares {feature.label} for equality, which is not known to the last bit."
        raise refuse(est, step, why, "Encode the column before any computation.")
    if feature.text:
        if kind not in "OUS":
            why = f"it was fitted on numbers and would be given the text column {feature.label}."
            raise refuse(est, step, why, "Give the column its number type in the signature.")
        chosen = [k for k, c in enumerate(categories) if isinstance(c, str)]
        return tuple(str(categories[k]) for k in chosen), chosen
    if kind in "US" or (kind == "O" and feature.dtype.kind not in "Ob"):
        why = f"it was fitted on objects or text and would be given the numbers of {feature.label}."
        raise refuse(est, step, why, "Log the model with the column types it was trained on.")
    chosen = [k for k, c in enumerate(categories) if isinstance(c, (int, float, np.number, np.bool_)) and not is_nan(c)]
    for k in chosen:
        if abs(categories[k]) >= 2**53 and math.isfinite(categories[k]):
            why = f"the category {categories[k]} of {feature.label} is beyond 2^53, where doubles stop telling integers apart."
            raise refuse(est, step, why, "Store such identifiers as text.")
    return tuple(float(categories[k]) for k in chosen), chosen


def prepared(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """_BaseEncoder._check_X: a DataFrame column by column, anything else as one array; infinite floats raise."""
    check_names(est, table, step)
    table = table if table.frame else table.as_array()
    if table.sparse:
        raise refuse(est, step, "it would be given sparse data, which it does not take.")
    features = list(table.features)
    for i, f in enumerate(features):
        if f.dtype.kind in "fiu":
            features[i] = ctx.graph.refuse_infinite(table.select([i]), type(est).__name__).features[0]
    return table.with_features(features)


def matches(ctx: Context, feature: Feature, tensor: str, keys: tuple[str | float, ...]) -> str:
    """A 0/1 matrix [N, len(keys)]."""
    graph = ctx.graph
    wanted = graph.texts([str(k) for k in keys]) if feature.text else graph.double(list(keys))
    return graph.as_double(graph.op("Equal", tensor, wanted))


def is_missing(ctx: Context, feature: Feature, tensor: str) -> str:
    graph = ctx.graph
    return graph.op("Equal", tensor, graph.texts([MISSING_TEXT])) if feature.text else graph.op("IsNaN", tensor)


def refuse_unknown(ctx: Context, who: str, feature: Feature, tensor: str, encoding: Encoding) -> None:
    """Where the encoder raises: a missing value it has no category for, and any other unknown value."""
    graph = ctx.graph
    if encoding.unknown is not None:
        return
    missing_bad = feature.nan and encoding.missing is None
    if missing_bad:
        graph.refused.update(feature.missing)
        reason = f"{feature.label} is missing, and {who} knows no such category"
        graph.error(is_missing(ctx, feature, tensor), [reason])
    known = graph.reduce("Max", matches(ctx, feature, tensor, encoding.keys)) if encoding.keys else None
    if known is None:
        bad = graph.op("Not", is_missing(ctx, feature, tensor))
    else:
        bad = graph.op("Less", known, graph.double([0.5]))
        if feature.nan and not missing_bad:
            bad = graph.op("And", bad, graph.op("Not", is_missing(ctx, feature, tensor)))
    graph.error(bad, [f"{feature.label} has a category unknown to {who}"])


def one_hot_encoder(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = prepared(ctx, est, table, step)
    widths = [int(w) for w in est._n_features_outs]
    parts = []
    encoded = encodings(ctx, est, table, step, widths)
    for i, (feature, encoding) in enumerate(zipped(table.features, encoded)):
        tensor = ctx.graph.column(table, i)
        refuse_unknown(ctx, "OneHotEncoder", feature, tensor, encoding)
        if widths[i]:
            out = Feature(np.dtype(est.dtype), low=0.0, high=1.0, nan=False, sources=feature.sources)
            parts.append(table_of(one_hot(ctx, feature, tensor, encoding), [out] * widths[i]))
    return beside(parts, sparse=bool(est.sparse_output if since(1, 2) else est.sparse))


def one_hot(ctx: Context, feature: Feature, tensor: str, encoding: Encoding) -> str:
    """The outputs of one column, [N, width]."""
    graph = ctx.graph
    base = np.zeros(encoding.rows.shape[1]) if encoding.unknown is None else encoding.unknown
    keys = list(encoding.keys)
    weights = encoding.rows - base if base.any() else encoding.rows
    separate = False
    if feature.nan and encoding.missing is not None and (encoding.missing != base).any():
        # A missing text is a key like any other; NaN equals nothing and needs its own column.
        separate = not feature.text
        keys += [] if separate else [MISSING_TEXT]
        weights = np.vstack([weights, encoding.missing - base])
    if not separate and not base.any():
        plain = simple_columns(weights)
        if plain is not None:
            return matches(ctx, feature, tensor, tuple(keys[k] for k in plain))
    used = [k for k in range(len(weights)) if weights[k].any()]
    in_keys = [k for k in used if k < len(keys)]
    parts = [matches(ctx, feature, tensor, tuple(keys[k] for k in in_keys))] if in_keys else []
    if separate:
        parts.append(graph.as_double(graph.op("IsNaN", tensor)))
    if not parts:
        flat = graph.as_double(graph.op("Equal", tensor, tensor))
        return graph.op("Add", graph.op("Mul", flat, graph.double([0.0] * len(base))), graph.double(base))
    product = graph.matmul(graph.join(parts), weights[used])
    return graph.op("Add", product, graph.double(base)) if base.any() else product


def simple_columns(weights: Array) -> list[int] | None:
    """The key of each output column, where every column is one key's and no more."""
    if not weights.size or not ((weights == 0) | (weights == 1)).all() or not (weights.sum(axis=0) == 1).all():
        return None
    return [int(k) for k in weights.argmax(axis=0)]


def ordinal_encoder(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    table = prepared(ctx, est, table, step)
    dtype = np.dtype(est.dtype)
    parts = []
    for i, (feature, encoding) in enumerate(zipped(table.features, encodings(ctx, est, table, step, [1] * len(table)))):
        tensor = ctx.graph.column(table, i)
        refuse_unknown(ctx, "OrdinalEncoder", feature, tensor, encoding)
        parts.append(ordinal(ctx, feature, tensor, encoding, dtype))
    return beside(parts)


def ordinal(ctx: Context, feature: Feature, tensor: str, encoding: Encoding, dtype: Any) -> Table:
    unknown = 0.0 if encoding.unknown is None else float(encoding.unknown[0])
    missing = unknown if encoding.missing is None else float(encoding.missing[0])
    codes = [float(row[0]) for row in encoding.rows]
    code = coded(ctx, feature, tensor, list(encoding.keys), codes, unknown, missing)
    reachable = [*codes, *([unknown] if encoding.unknown is not None else []), *([missing] if feature.nan else [])]
    finite = [v for v in reachable if not math.isnan(v)]
    to_nan = feature.nan and encoding.missing is not None and math.isnan(missing)
    done = Feature(
        OBJECT if dtype.kind == "O" else dtype,
        low=min(finite, default=0.0),
        high=max(finite, default=0.0),
        nan=any(math.isnan(v) for v in reachable),
        missing=feature.missing if to_nan else frozenset(),
        sources=feature.sources,
    )
    return table_of(code, [done])


def coded(
    ctx: Context,
    feature: Feature,
    tensor: str,
    keys: list[str | float],
    codes: list[float],
    unknown: float,
    missing: float,
) -> str:
    """The number of each key: [N, 1]."""
    graph = ctx.graph
    if feature.text:
        if feature.nan:
            keys, codes = [*keys, MISSING_TEXT], [*codes, missing]
        return label_encoder(graph, tensor, np.array(keys, dtype=object), codes, unknown)
    if not keys:
        code = graph.rows([unknown])
    elif len(keys) > FEW:
        code = label_encoder(graph, tensor, np.array(keys, dtype=np.float64), codes, unknown)
    else:
        hits = matches(ctx, feature, tensor, tuple(keys))
        known = graph.op("Greater", graph.reduce("Max", hits), graph.double([0.5]))
        # An encoded value of NaN (encoded_missing_value) cannot pass a product: such keys do not occur among numbers.
        code = graph.op(
            "Where",
            known,
            graph.matmul(hits, np.array(codes).reshape(-1, 1)),
            graph.double([unknown]),
        )
    if feature.nan:
        code = graph.op("Where", graph.op("IsNaN", tensor), graph.double([missing]), code)
    return code


def label_encoder(graph: Graph, tensor: str, keys: Array, codes: list[float], unknown: float) -> str:
    return graph.op(
        "LabelEncoder",
        tensor,
        domain="ai.onnx.ml",
        keys_tensor=numpy_helper.from_array(keys),
        values_tensor=numpy_helper.from_array(np.array(codes, dtype=np.float64)),
        default_tensor=numpy_helper.from_array(np.array([unknown], dtype=np.float64)),
    )


TRANSFORMERS: Transforms = {
    "preprocessing.OneHotEncoder": one_hot_encoder,
    "preprocessing.OrdinalEncoder": ordinal_encoder,
}
