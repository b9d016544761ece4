"""Comparing a converted model with its library in units of the last place, by onnxruntime and by SQL, on hostile rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from sqlml import sql
from sqlml.convert.isolated import libraries
from sqlml.convert.isolated.inputs import Input, Inputs
from sqlml.convert.isolated.sklearn.convert import Converted, convert_sklearn
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import staged_select
from sqlml.signature import Column, Signature
from tests.convert.sklearn_parity import as_feed, session_of

Row = Mapping[str, Any]
TYPES = {"float64": "DOUBLE", "float32": "FLOAT", "int64": "BIGINT", "bool": "BOOLEAN"}


@dataclass(frozen=True)
class Report:
    """Of all rows: labels that differ, rows that raise or not against expectation, and the largest distance of a number.

    Distances are in units in the last place of the number type that the library answers in, and absolute.
    """

    converted: Converted
    rows: int
    refused: int
    labels: int
    disagreements: int
    ulps: float
    distance: float

    @property
    def exact(self) -> bool:
        return (self.labels, self.disagreements, self.ulps) == (0, 0, 0.0)


def columns_of(frame: pd.DataFrame) -> tuple[Input, ...]:
    """The columns as MLflow's signature has them: pandas categories as what they are categories of."""
    return tuple(Input(str(name), _type(frame[name]), False) for name in frame)


def _type(column: pd.Series) -> str:
    kind = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    return TYPES.get(str(kind), "VARCHAR")


def columns(estimator: Any, frame: pd.DataFrame) -> Inputs:
    found = libraries.of(estimator)
    given = columns_of(frame)
    return Inputs(given, "mlflow") if found is None else found[0].inputs_of(found[1], given, None)


def compare(
    estimator: Any,
    frame: pd.DataFrame,
    pools: Mapping[str, Sequence[Any]],
    *,
    single: bool,
    seed: int = 0,
    count: int = 300,
    in_sql: bool = False,
) -> Report:
    """`pools` are the hostile values of each column, beside those that `frame` has; `single`: the library says float32."""
    inputs = columns(estimator, frame)
    converted = convert_sklearn(estimator, inputs.columns)
    rng = np.random.default_rng(seed)
    rows = hostile_rows(inputs.columns, frame, pools, rng, count)
    said = by_sql(converted, inputs.columns, rows) if in_sql else by_onnx(converted, inputs.columns, rows)
    found = libraries.of(estimator)
    original = estimator if found is None else found[0].asked(estimator, inputs)
    given = as_frame(rows, inputs.columns, converted.missing_as)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return compared(converted, said, original, given, single)


def hostile_rows(
    given: Sequence[Input],
    frame: pd.DataFrame,
    pools: Mapping[str, Sequence[Any]],
    rng: np.random.Generator,
    count: int,
) -> list[Row]:
    of = {c.name: [held(c, pools.get(c.name) or [None]), frame[c.name].tolist()] for c in given}
    return [{name: pick(rng, pick(rng, both)) for name, both in of.items()} for _ in range(count)]


def held(column: Input, values: Sequence[Any]) -> list[Any]:
    """Those values that a column of this type holds: the others are refused before the model sees them."""
    if column.type == "BOOLEAN":
        return [0.0, 1.0, None]
    if column.type not in ("BIGINT", "INTEGER"):
        return list(values)
    return [v for v in values if v is None or v != v or (abs(v) < 2**53 and v == int(v))] or [None]


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def by_onnx(converted: Converted, given: Sequence[Input], rows: Sequence[Row]) -> dict[str, Any]:
    session = session_of(converted.onnx)
    answers = session.run(None, as_feed([clean(row) for row in rows], given))
    return dict(zip([output.name for output in session.get_outputs()], answers, strict=True))


def clean(row: Row) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def by_sql(converted: Converted, given: Sequence[Input], rows: Sequence[Row]) -> dict[str, Any]:
    """The same outputs from the SQL that the engine would write."""
    kind = "BIGINT" if converted.kind == "classifier" else "DOUBLE"
    signature = Signature(
        tuple(Column(c.name, c.type, nulls) for c, nulls in zip(given, converted.nulls, strict=True)),  # type: ignore[arg-type]
        converted.kind,
        kind,
        converted.classes,
        converted.probabilities,
        tuple(f"t{i}" for i in range(converted.targets)) if converted.targets > 1 else (),
    )
    model = OnnxModel(converted.onnx, "0" * 64, signature, converted.reasons, converted.precision, {})
    answers = _asked(model, rows)
    # Not only the graph's own reasons: a value that the column's type does not hold is refused before.
    said: dict[str, Any] = {"error": np.array([[int(a["error"] is not None)] for a in answers])}
    empty = dict.fromkeys(f"t{i}" for i in range(converted.targets))
    if converted.kind == "classifier":
        places = {label: i for i, label in enumerate(converted.classes)}
        said["prediction"] = np.array([[places.get(a["prediction"], -1)] for a in answers])
        names = [name for name in answers[0] if name.startswith("probability_")]
        said["probabilities"] = np.array([[a[name] for name in names] for a in answers], dtype=float)
    elif converted.targets > 1:
        said["prediction"] = np.array([list((a["prediction"] or empty).values()) for a in answers], dtype=float)
    else:
        said["prediction"] = np.array([[a["prediction"]] for a in answers], dtype=float)
    return said


def _asked(model: OnnxModel, rows: Sequence[Row]) -> list[dict[str, Any]]:
    con = duckdb.connect()
    types = {c.name: "VARCHAR" if c.is_text else "DOUBLE" for c in model.signature.columns}
    listed = ", ".join(f"{sql.quote(name)} {kind}" for name, kind in types.items())
    con.execute(f"CREATE TABLE t (i BIGINT, {listed})")
    marks = ", ".join("?" * (len(types) + 1))
    con.executemany(f"INSERT INTO t VALUES ({marks})", [[i, *clean(row).values()] for i, row in enumerate(rows)])
    staged = sql.render(staged_select(model.signature, SqlEngine(model), sql.table("t"), [("i", sql.column("i"))]))
    cursor = con.execute(f"SELECT * FROM ({staged}) ORDER BY i")
    names = [d[0] for d in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def as_frame(rows: Sequence[Row], given: Sequence[Input], missing_as: Mapping[str, str]) -> pd.DataFrame:
    """Numbers as doubles (any column may hold NaN here), or as the floats they were; text as objects."""
    series = {}
    for c in given:
        values = [clean(row)[c.name] for row in rows]
        if c.is_text:
            gap = None if missing_as.get(c.name) == "none" else math.nan
            series[c.name] = pd.Series([gap if v is None else v for v in values], dtype=object)
        else:
            numbers = np.array([math.nan if v is None else float(v) for v in values])
            with np.errstate(over="ignore"):
                series[c.name] = pd.Series(numbers.astype(np.float32 if c.type == "FLOAT" else np.float64))
    return pd.DataFrame(series)


def compared(converted: Converted, said: dict[str, Any], original: Any, frame: pd.DataFrame, single: bool) -> Report:
    refused = said["error"].ravel() != 0
    disagreements = sum(not raises(original, frame.iloc[[i]]) for i in np.flatnonzero(refused)[:25])
    asked = frame[~refused].reset_index(drop=True)
    said = {name: values[~refused] for name, values in said.items()}
    predicted, labels = np.asarray(original.predict(asked)), 0
    if converted.kind == "classifier":
        mine = [converted.classes[index] for index in said["prediction"].ravel()]
        labels = sum(a != b for a, b in zip(mine, predicted.ravel().tolist(), strict=True))
        a, b = np.empty((0, 0)), np.empty((0, 0))
        if converted.probabilities:
            a, b = said["probabilities"], np.asarray(original.predict_proba(asked))
    else:
        a, b = said["prediction"], predicted.reshape(len(asked), -1)
    found = distances(a, b, single)
    return Report(converted, len(frame), int(refused.sum()), labels, disagreements, *found)


def raises(original: Any, row: pd.DataFrame) -> bool:
    try:
        original.predict(row)
    except Exception:  # whatever the library raises
        return True
    return False


def distances(a: Any, b: Any, single: bool) -> tuple[float, float]:
    assert a.shape == b.shape, (a.shape, b.shape)
    if not a.size:
        return 0.0, 0.0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart = np.where(same, 0.0, np.abs(a - b.astype(np.float64)))
    largest = np.maximum(np.abs(a), np.abs(b))
    step = np.spacing(largest.astype(np.float32)) if single else np.spacing(largest)
    ulps = np.where(same, 0.0, apart / step)
    return float(np.nan_to_num(ulps, nan=np.inf).max()), float(np.nan_to_num(apart, nan=np.inf).max())


def beside(thresholds: Sequence[float]) -> list[float]:
    """Each of them, and its neighbours in float64 and in float32."""
    found = []
    for t in thresholds:
        with np.errstate(over="ignore"):
            narrow = np.float32(t)
            found += [float(t), float(np.nextafter(t, math.inf)), float(np.nextafter(t, -math.inf)), float(narrow)]
            found += [float(np.nextafter(narrow, np.float32(side))) for side in (math.inf, -math.inf)]
    return found
