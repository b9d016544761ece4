"""Comparing a converted scikit-learn estimator with the original, row by row, on ordinary and on hostile rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from threadpoolctl import threadpool_limits

from sqlml.convert.isolated.graph import MISSING_TEXT
from sqlml.convert.isolated.sklearn.convert import Converted, convert_sklearn
from sqlml.signature import Column

TOLERANCE = 1e-9
HOSTILE = (
    math.nan, math.inf, -math.inf, -0.0, 0.0, 1.0, -1.0, 0.5, 1e308, -1e308, 5e-324, -1e-310, 1e15, -1e15, 3.5e38, -3.5e38,
    float(np.finfo(np.float32).max), float.fromhex("0x1.ffffffp+127"), float(np.nextafter(float.fromhex("0x1.ffffffp+127"), 0)),
    2.0**24 + 1, 2.0**53, 2.0**53 + 2, -(2.0**53), 1e-7, 1e20,
)  # fmt: skip
INTEGERS = (None, 0, 1, -1, 7, 2**24 + 1, 2**53, 2**53 + 1, -(2**53), 2**62)
WHOLE = {"BOOLEAN": "bool", "BIGINT": "int64", "INTEGER": "int32"}
TEXTS = (None, "", "unseen", "A", "a", " ", "it's", "naïve", "nan", "None", "0")

Row = dict[str, Any]


@dataclass
class Report:
    """What a comparison saw; `wrong` is empty where all is well."""

    rows: int = 0
    raised: int = 0
    ties: int = 0
    wrong: list[str] = field(default_factory=list)


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """The signature that MLflow would infer from a frame."""
    kinds = {"float64": "DOUBLE", "float32": "FLOAT", "int64": "BIGINT", "int32": "INTEGER", "bool": "BOOLEAN"}
    return [Column(str(name), kinds.get(str(dtype), "VARCHAR")) for name, dtype in frame.dtypes.items()]


def as_frame(rows: Sequence[Row], columns: Sequence[Column], missing_as: Any) -> pd.DataFrame:
    """The rows as the original is given them."""
    series = {}
    for c in columns:
        values = [row[c.name] for row in rows]
        if c.type == "VARCHAR":
            gap = None if missing_as.get(c.name) == "none" else math.nan
            values = [gap if v is None else v for v in values]
            series[c.name] = pd.Series(values, dtype=object)
            continue
        whole = all(isinstance(v, (bool, int, np.integer)) for v in values)
        if c.type in WHOLE and whole:
            series[c.name] = pd.Series(values, dtype=WHOLE[c.type])
        else:
            # A missing integer or boolean makes the column float64, as it does in the isolated worker.
            numbers = np.array([math.nan if v is None else float(v) for v in values])
            with np.errstate(over="ignore"):
                series[c.name] = pd.Series(numbers.astype("float32" if c.type == "FLOAT" else "float64"))
    return pd.DataFrame(series)


def as_feed(rows: Sequence[Row], columns: Sequence[Column]) -> dict[str, Any]:
    feed = {}
    for c in columns:
        values = [row[c.name] for row in rows]
        if c.type == "VARCHAR":
            feed[c.name] = np.array([[MISSING_TEXT if v is None else v] for v in values], dtype=object)
        else:
            feed[c.name] = np.array([[math.nan if v is None else float(v)] for v in values], dtype=np.float64)
    return feed


def session_of(onnx: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def thresholds(estimator: Any, depth: int = 0) -> Iterator[float]:
    """Every split threshold met inside a model."""
    if depth > 12:
        return
    if hasattr(estimator, "tree_"):
        yield from (float(t) for t in estimator.tree_.threshold[estimator.tree_.children_left >= 0])
        return
    if hasattr(estimator, "nodes"):
        yield from (float(n["num_threshold"]) for n in estimator.nodes if not n["is_leaf"])
        return
    inside = []
    for value in vars(estimator).values() if hasattr(estimator, "__dict__") else ():
        inside.extend(flat(value))
    for one in inside:
        if hasattr(one, "__dict__"):
            yield from thresholds(one, depth + 1)


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from flat(v)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from value.ravel().tolist()
    elif type(value).__module__.startswith("sklearn."):
        yield value


def hostile_rows(estimator: Any, base: Sequence[Row], columns: Sequence[Column], rng: np.random.Generator) -> list[Row]:
    rows = [dict(r) for r in base]
    found = sorted(set(thresholds(estimator)))
    if len(found) > 16:
        found = [found[i] for i in sorted(rng.choice(len(found), 16, replace=False))]
    near = [float(w) for t in found for w in beside(t)]
    for c in columns:
        for value in values_for(c, near):
            rows.append({**base[int(rng.integers(len(base)))], c.name: value})
    for value in (None, math.inf, 1e308, -0.0):
        rows.append({c.name: fit(c, value) for c in columns})
    for _ in range(10):
        rows.append({c.name: pick(rng, values_for(c, near)) for c in columns})
    return rows


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def beside(t: float) -> list[float]:
    narrow = np.float32(t)
    return [
        t, float(np.nextafter(t, math.inf)), float(np.nextafter(t, -math.inf)), float(narrow),
        float(np.nextafter(narrow, np.float32(math.inf))), float(np.nextafter(narrow, np.float32(-math.inf))),
    ]  # fmt: skip


def values_for(column: Column, near: Sequence[float]) -> list[Any]:
    if column.type == "VARCHAR":
        return list(TEXTS)
    if column.type == "BOOLEAN":
        return [True, False, None]
    if column.type in ("BIGINT", "INTEGER"):
        return [v for v in INTEGERS if v is None or column.type == "BIGINT" or abs(v) < 2**31]
    return [*HOSTILE, *near]


def fit(column: Column, value: Any) -> Any:
    if value is None or column.type in ("DOUBLE", "FLOAT"):
        return value
    return {"VARCHAR": "unseen", "BOOLEAN": True}.get(column.type, 3)


def answer(estimator: Any, frame: pd.DataFrame) -> tuple[Any, Any] | None:
    """The original's prediction and probabilities, or None where it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            predicted = estimator.predict(frame) if hasattr(estimator, "predict") else dense(estimator.transform(frame))
            proba = estimator.predict_proba(frame) if hasattr(estimator, "predict_proba") else None
        except (ValueError, TypeError, IndexError):
            return None
    return np.asarray(predicted), None if proba is None else np.asarray(proba)


def dense(made: Any) -> Any:
    return made.toarray() if hasattr(made, "toarray") else np.asarray(made)


def answers(
    estimator: Any, rows: Sequence[Row], columns: Sequence[Column], missing_as: Any
) -> list[tuple[Any, Any] | None]:
    """The original's answer to each row; where it raises for several, halves are asked until the row is found.

    Rows in which an integer or boolean is missing are asked apart, for they change the dtype of a whole column.
    """
    found: list[tuple[Any, Any] | None] = [None] * len(rows)
    gaps = [any(row[c.name] is None for c in columns if c.type in WHOLE) for row in rows]
    for odd in (False, True):
        places = [i for i, gap in enumerate(gaps) if gap is odd]
        for start in range(0, len(places), 32):
            ask(estimator, rows, columns, missing_as, places[start : start + 32], found)
    return found


def ask(estimator: Any, rows: Any, columns: Any, missing_as: Any, places: list[int], found: list[Any]) -> None:
    said = answer(estimator, as_frame([rows[i] for i in places], columns, missing_as))
    if said is not None:
        for k, i in enumerate(places):
            found[i] = (said[0][k : k + 1], None if said[1] is None else said[1][k : k + 1])
    elif len(places) > 1:
        half = len(places) // 2
        ask(estimator, rows, columns, missing_as, places[:half], found)
        ask(estimator, rows, columns, missing_as, places[half:], found)


def agree(a: float, b: float, scale: float = 1.0) -> bool:
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b), scale)


def tied(estimator: Any, frame: pd.DataFrame, proba: Any) -> bool:
    """Do the two best scores of the original lie within the tolerance?"""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        scores = np.asarray(estimator.decision_function(frame)) if hasattr(estimator, "decision_function") else proba
    scores = np.asarray(scores, dtype=float).reshape(1, -1)[0]
    if len(scores) == 1:
        return abs(scores[0]) <= TOLERANCE
    top = np.sort(scores)[-2:]
    return bool(np.isnan(scores).any() or top[1] - top[0] <= TOLERANCE * max(1.0, abs(top[1])))


def compare(
    estimator: Any, columns: Sequence[Column], rows: Sequence[Row], *, sums: bool = False, weight: float = 1.0
) -> tuple[Report, Converted]:
    """Every row alone by the original, all together and alone by the conversion.

    `sums`: the model adds products of its inputs, so a row with several huge values may overflow or cancel in another
    order; such a row is only checked for raising, and `weight` scales the tolerance for a single huge value.
    """
    converted = convert_sklearn(estimator, columns)
    session = session_of(converted.onnx)
    names = [o.name for o in session.get_outputs()]
    together = dict(zip(names, session.run(None, as_feed(rows, columns)), strict=True))
    report = Report(rows=len(rows))
    said = answers(estimator, rows, columns, converted.missing_as)
    for i, row in enumerate(rows):
        if i % 7 == 0:
            alone(
                report, estimator, session, row, columns, converted, {n: together[n][i] for n in names}, said[i], sums
            )
        error = int(together["error"][i, 0])
        if (said[i] is None) != (error != 0):
            reason = converted.reasons[error - 1] if error else "no error"
            original = "raises" if said[i] is None else f"answers {said[i][0]}"
            report.wrong.append(f"original {original}, converted: {reason}: {row}")
        if said[i] is None:
            report.raised += 1
            continue
        huge = [abs(float(v)) for v in row.values() if isinstance(v, (int, float)) and abs(float(v)) > 1e12]
        if error or (sums and len(huge) > 1):
            continue
        outputs = {name: together[name][i] for name in names}
        scale = max([1.0, *(h * weight for h in huge)]) if sums else 1.0
        one(report, estimator, columns, row, said[i], outputs, converted, scale)
    return report, converted


def alone(
    report: Report,
    estimator: Any,
    session: Any,
    row: Row,
    columns: Any,
    converted: Converted,
    batch: Any,
    said: Any,
    sums: bool,
) -> None:
    """Nothing may depend on the neighbours, in the original (else the row proves nothing) or in the conversion."""
    by_itself = session.run(None, as_feed([row], columns))
    for name, value in zip([o.name for o in session.get_outputs()], by_itself, strict=True):
        if not np.allclose(value[0], batch[name], rtol=1e-12, atol=1e-12, equal_nan=True):
            report.wrong.append(f"{name} alone {value[0]} in a batch {batch[name]}: {row}")
    original = answer(estimator, as_frame([row], columns, converted.missing_as))
    if (original is None) != (said is None) or (
        original is not None and not sums and original[0].tolist() != said[0].tolist()
    ):
        report.wrong.append(f"the original alone says {original}, in a batch {said}: {row}")


def one(
    report: Report,
    estimator: Any,
    columns: Sequence[Column],
    row: Row,
    said: Any,
    outputs: Any,
    converted: Converted,
    scale: float,
) -> None:
    predicted, proba = said
    if converted.kind == "classifier":
        label = converted.classes[int(outputs["prediction"][0])]
        original = predicted[0].item() if hasattr(predicted[0], "item") else predicted[0]
        if label != original or type(label) is not type(original):
            if tied(estimator, as_frame([row], columns, converted.missing_as), proba):
                report.ties += 1
                return
            report.wrong.append(f"label {label!r}, original {original!r}: {row}")
        if (proba is not None) != converted.probabilities:
            report.wrong.append(f"probabilities: {converted.probabilities}, original {proba is not None}")
        elif proba is not None and scale == 1.0:
            pairs = zip(outputs["probabilities"], proba[0], strict=True)
            if not all(agree(float(a), float(b)) for a, b in pairs):
                report.wrong.append(f"probabilities {outputs['probabilities']}, original {proba[0]}: {row}")
    else:
        values = np.asarray(predicted, dtype=float).reshape(-1)
        if not all(agree(float(a), float(b), scale) for a, b in zip(outputs["prediction"], values, strict=True)):
            report.wrong.append(f"value {outputs['prediction']}, original {values}: {row}")


def check(
    estimator: Any, frame: pd.DataFrame, *, seed: int = 0, count: int = 40, sums: bool = False, weight: float = 1.0
) -> tuple[Report, Converted]:
    """Convert a model fitted on `frame` and compare it there and on hostile rows; fails with the first differences."""
    rng = np.random.default_rng(seed)
    columns = columns_of(frame)
    # One row at a time: starting OpenMP threads for each costs a thousand times what it computes.
    with threadpool_limits(1):
        return checked(estimator, frame, columns, rng, count=count, sums=sums, weight=weight)


def checked(
    estimator: Any,
    frame: pd.DataFrame,
    columns: list[Column],
    rng: np.random.Generator,
    *,
    count: int,
    sums: bool,
    weight: float,
) -> tuple[Report, Converted]:
    some = frame.iloc[rng.choice(len(frame), min(count, len(frame)), replace=False)]
    base = [clean(r) for r in some.to_dict(orient="records")]
    report, converted = compare(
        estimator, columns, hostile_rows(estimator, base, columns, rng), sums=sums, weight=weight
    )
    assert not report.wrong, f"{len(report.wrong)} of {report.rows} rows:\n" + "\n".join(report.wrong[:5])
    return report, converted


def clean(row: Row) -> Row:
    return {k: None if v is None or (isinstance(v, float) and math.isnan(v)) else v for k, v in row.items()}
