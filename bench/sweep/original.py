"""What the original says of each row, and for which rows it raises."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.sweep.rows import WHOLE, Row, as_frame
from sqlml.signature import Column

# Any in this module: scikit-learn ships no types.


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
