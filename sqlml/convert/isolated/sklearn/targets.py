"""TargetEncoder. Read in scikit-learn 1.9.1: preprocessing/_target_encoder.py, _encoders.py.

What a category becomes is asked of the fitted encoder itself, as for the other encoders (encoders.py). A category it
does not know, and a missing value that was none in training, becomes the target's mean.
"""

from __future__ import annotations

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms
from sqlml.convert.isolated.sklearn.encoders import Encoding, coded, encodings, prepared
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, beside, table_of


def target_encoder(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    """A column for each input, or one for each input and class where there are more than two classes."""
    table = prepared(ctx, est, table, step)
    classes = len(est.classes_) if est.target_type_ == "multiclass" else 1
    encoded = encodings(ctx, est, table, step, [classes] * len(table))
    parts = [encoded_column(ctx, table, i, encoding) for i, encoding in enumerate(encoded)]
    return beside(parts)


def encoded_column(ctx: Context, table: Table, index: int, encoding: Encoding) -> Table:
    feature = table.features[index]
    tensor = ctx.graph.column(table, index)
    assert encoding.unknown is not None  # the encoder never raises for a category
    missing = encoding.unknown if encoding.missing is None else encoding.missing
    columns = []
    for k, unknown in enumerate(encoding.unknown.tolist()):
        codes = [float(row[k]) for row in encoding.rows]
        value = coded(ctx, feature, tensor, list(encoding.keys), codes, float(unknown), float(missing[k]))
        reached = [*codes, float(unknown), float(missing[k])]
        made = Feature(FLOAT64, low=min(reached), high=max(reached), nan=False, sources=feature.sources)
        columns.append(table_of(value, [made]))
    return beside(columns)


TRANSFORMERS: Transforms = {"preprocessing.TargetEncoder": target_encoder}
