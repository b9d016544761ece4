"""Transformers: the graph in onnxruntime against the original, and the compiled SQL against onnxruntime."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from sqlml.convert.isolated.sklearn.convert import Converted, convert_sklearn
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.choose import choose_engine
from sqlml.signature import Column, Signature
from tests.compile.graphs import assert_agree
from tests.convert.sklearn_parity import clean, columns_of, hostile_rows

PREDICTIONS = {str: "VARCHAR", bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE"}


def onnx_model(converted: Converted, columns: list[Column]) -> OnnxModel:
    targets = tuple(f"t{i}" for i in range(converted.targets)) if converted.targets > 1 else ()
    prediction = PREDICTIONS[type(converted.classes[0])] if converted.classes else "DOUBLE"
    nulls = [Column(c.name, c.type, n) for c, n in zip(columns, converted.nulls, strict=True)]
    signature = Signature(tuple(nulls), converted.kind, prediction, converted.classes, converted.probabilities, targets)
    digest = hashlib.sha256(converted.onnx).hexdigest()
    return OnnxModel(converted.onnx, digest, signature, converted.reasons, converted.precision, {})


def check_sql(estimator: Any, frame: pd.DataFrame, *, count: int = 10, seed: int = 1, tolerance: float = 1e-9) -> str:
    """Where the engine `sql` would be chosen, the SQL of a model fitted on `frame` answers as its graph does, there
    and on hostile rows. Returns the engine."""
    columns = columns_of(frame)
    converted = convert_sklearn(estimator, columns)
    model = onnx_model(converted, columns)
    engine, _ = choose_engine(model)
    if engine != "sql":
        return engine
    rng = np.random.default_rng(seed)
    some = frame.iloc[rng.choice(len(frame), min(count, len(frame)), replace=False)]
    base = [clean(row) for row in some.to_dict(orient="records")]
    rows = hostile_rows(estimator, base, columns, rng)
    numbers = [
        {c.name: row[c.name] if c.is_text or row[c.name] is None else float(row[c.name]) for c in columns}
        for row in rows
    ]
    assert_agree(model, numbers, tolerance)
    return engine
