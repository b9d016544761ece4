"""Comparing a converted scikit-learn estimator with the original, row by row, on ordinary and on hostile rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
from threadpoolctl import threadpool_limits

from bench.sweep.original import answer, answers
from bench.sweep.rows import Row, as_frame, clean, columns_of, hostile_rows
from sqlml.convert.isolated.graph import MISSING_TEXT
from sqlml.convert.isolated.sklearn.convert import Converted, convert_sklearn
from sqlml.convert.onnx_model import OnnxModel
from sqlml.parity.rounding import rounding
from sqlml.signature import Column, Signature

TOLERANCE = 1e-9
FLOAT_TOLERANCE = 1e-6
"""Where the original itself computes in float32, as the gate has it."""


@dataclass
class Report:
    """What a comparison saw; `wrong` is empty where all is well."""

    rows: int = 0
    raised: int = 0
    ties: int = 0
    unstable: int = 0
    largest: float = 0.0
    """The largest difference of a number or probability, relative where it is above 1, huge inputs aside."""
    wrong: list[str] = field(default_factory=list)


Opener = Callable[[bytes], Any]
"""ONNX bytes -> what has `run` and `get_outputs` as an onnxruntime session has them."""


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


def apart(a: float, b: float) -> float:
    if a == b or not (math.isfinite(a) and math.isfinite(b)):
        return 0.0
    return abs(a - b) / max(1.0, abs(a), abs(b))


def agree(a: float, b: float, scale: float = 1.0, tolerance: float = TOLERANCE) -> bool:
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b), scale)


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


def hangs_on_rounding(converted: Converted, columns: Sequence[Column], row: Row) -> bool:
    """What the gate finds of an answer that is another: does its label hang on less than the rounding of its scores, or
    a number on a vote that hangs on rounding?"""
    signature = Signature(
        columns=tuple(columns),
        kind=converted.kind,
        prediction="BIGINT" if converted.classes else "DOUBLE",
        classes=tuple(range(len(converted.classes))),
        targets=tuple(f"y{i}" for i in range(converted.targets)) if converted.targets > 1 else (),
        probabilities=converted.probabilities,
    )
    model = OnnxModel(converted.onnx, "", signature, converted.reasons, converted.precision, {})
    given = {
        c.name: pa.array([row[c.name] if c.is_text or row[c.name] is None else float(row[c.name])]) for c in columns
    }
    slack = rounding(model, pa.table(given))
    votes = bool(slack.numbers.size and slack.numbers.max() > 1e200)
    return votes or bool(converted.classes and slack.undecided[0])


def compare(
    estimator: Any,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    sums: bool = False,
    weight: float = 1.0,
    sessions: Sequence[Opener] = (session_of,),
) -> tuple[Report, Converted]:
    """Every row alone by the original, all together and alone by the conversion, in each kind of session.

    `sums`: the model adds products of its inputs, so a row with several huge values may overflow or cancel in another
    order; such a row is only checked for raising, and `weight` scales the tolerance for a single huge value.
    """
    converted = convert_sklearn(estimator, columns)
    report = Report(rows=len(rows))
    said = answers(estimator, rows, columns, converted.missing_as)
    for opener in sessions:
        known = len(report.wrong)
        in_session(report, estimator, opener(converted.onnx), columns, rows, said, converted, sums, weight)
        report.wrong[known:] = [f"{opener.__name__}: {wrong}" for wrong in report.wrong[known:]]
    return report, converted


def in_session(
    report: Report,
    estimator: Any,
    session: Any,
    columns: Sequence[Column],
    rows: Sequence[Row],
    said: Any,
    converted: Converted,
    sums: bool,
    weight: float,
) -> None:
    names = [o.name for o in session.get_outputs()]
    together = dict(zip(names, session.run(None, as_feed(rows, columns)), strict=True))
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
        known = len(report.wrong)
        one(report, estimator, columns, row, said[i], outputs, converted, scale)
        if len(report.wrong) > known and contradicts_itself(estimator, columns, row, rows[0], converted):
            del report.wrong[known:]
            report.unstable += 1


def contradicts_itself(estimator: Any, columns: Sequence[Column], row: Row, other: Row, converted: Converted) -> bool:
    """Does the original answer otherwise for the row alone than beside another? Then it proves nothing, and the gate
    leaves such rows out too. (IterativeImputer fills nothing in where everything is missing in the whole table.)"""
    by_itself = answer(estimator, as_frame([row], columns, converted.missing_as))
    in_company = answer(estimator, as_frame([row, other], columns, converted.missing_as))
    if by_itself is None or in_company is None:
        return (by_itself is None) != (in_company is None)
    pairs = [(a[0], b[0]) for a, b in zip(by_itself, in_company, strict=True) if a is not None and a.dtype.kind == "f"]
    return not all(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True) for a, b in pairs)


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
        if not np.allclose(value[0], batch[name], rtol=TOLERANCE / 10, atol=TOLERANCE / 10, equal_nan=True):
            report.wrong.append(f"{name} alone {value[0]} in a batch {batch[name]}: {row}")
    original = answer(estimator, as_frame([row], columns, converted.missing_as))
    if (original is None) != (said is None) or (original is not None and not sums and not same(original[0], said[0])):
        report.wrong.append(f"the original alone says {original}, in a batch {said}: {row}")


def same(a: Any, b: Any) -> bool:
    """Equal answers, NaN being itself."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


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
    tolerance = FLOAT_TOLERANCE if converted.precision == "float" else TOLERANCE
    if converted.kind == "classifier":
        label = converted.classes[int(outputs["prediction"][0])]
        original = predicted[0].item() if hasattr(predicted[0], "item") else predicted[0]
        if label != original or type(label) is not type(original):
            near = tied(estimator, as_frame([row], columns, converted.missing_as), proba)
            if near or hangs_on_rounding(converted, columns, row):
                report.ties += 1
                return
            report.wrong.append(f"label {label!r}, original {original!r}: {row}")
        if (proba is not None) != converted.probabilities:
            report.wrong.append(f"probabilities: {converted.probabilities}, original {proba is not None}")
        elif proba is not None and scale == 1.0:
            pairs = [(float(a), float(b)) for a, b in zip(outputs["probabilities"], proba[0], strict=True)]
            report.largest = max(report.largest, *(apart(a, b) for a, b in pairs))
            if not all(agree(a, b, tolerance=tolerance) for a, b in pairs) and not hangs_on_rounding(
                converted, columns, row
            ):
                report.wrong.append(f"probabilities {outputs['probabilities']}, original {proba[0]}: {row}")
    else:
        values = np.asarray(predicted, dtype=float).reshape(-1)
        if scale > 1e300 and not np.isfinite(values).all():
            return  # a sum that overflows: infinite or no number, as its terms are taken, and so in the original too
        pairs = [(float(a), float(b)) for a, b in zip(outputs["prediction"], values, strict=True)]
        if scale == 1.0:
            report.largest = max(report.largest, *(apart(a, b) for a, b in pairs))
        if not all(agree(a, b, scale, tolerance) for a, b in pairs) and not hangs_on_rounding(converted, columns, row):
            report.wrong.append(f"value {outputs['prediction']}, original {values}: {row}")


def check(
    estimator: Any, frame: pd.DataFrame, *, seed: int = 0, count: int = 40, **how: Any
) -> tuple[Report, Converted]:
    """Convert a model fitted on `frame` and compare it there and on hostile rows; fails with the first differences.

    `how` is for `compare`.
    """
    rng = np.random.default_rng(seed)
    columns = columns_of(frame)
    # One row at a time: starting OpenMP threads for each costs a thousand times what it computes.
    with threadpool_limits(1):
        return checked(estimator, frame, columns, rng, count=count, **how)


def checked(
    estimator: Any,
    frame: pd.DataFrame,
    columns: list[Column],
    rng: np.random.Generator,
    *,
    count: int,
    **how: Any,
) -> tuple[Report, Converted]:
    some = frame.iloc[rng.choice(len(frame), min(count, len(frame)), replace=False)]
    base = [clean(r) for r in some.to_dict(orient="records")]
    report, converted = compare(estimator, columns, hostile_rows(estimator, base, columns, rng), **how)
    assert not report.wrong, f"{len(report.wrong)} of {report.rows} rows:\n" + "\n".join(report.wrong[:5])
    return report, converted
