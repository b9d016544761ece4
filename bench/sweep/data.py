"""Small made tables and targets. Everything is drawn from fixed seeds: the same numbers in every run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ROWS = 80
REVIEWS = (
    "good fast delivery",
    "late and broken",
    "fast, good price",
    "broken again",
    "never again",
    "good good price",
)
NUMBERS = ("age", "fee", "kids")
TEXTS = ("city", "plan")


def numbers(columns: int = 3) -> pd.DataFrame:
    """Doubles of both signs; the third column is of few whole values."""
    rng = np.random.default_rng(1)
    made = {
        "a": rng.normal(0, 1, ROWS),
        "b": rng.normal(1, 2, ROWS),
        "c": rng.integers(0, 4, ROWS).astype(float),
        "d": rng.normal(-2, 1, ROWS),
        "e": rng.normal(3, 2, ROWS),
    }
    return pd.DataFrame(dict(list(made.items())[:columns]))


def positive() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame({name: rng.exponential(1 + i, ROWS) + 0.01 for i, name in enumerate("abc")})


def codes() -> pd.DataFrame:
    """Categories as whole numbers from 0; each column has all of its categories."""
    rng = np.random.default_rng(3)
    return pd.DataFrame({name: np.r_[0:3, rng.integers(0, 3, ROWS - 3)].astype(float) for name in "abc"})


def reviews() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return pd.DataFrame({"review": rng.choice(REVIEWS, ROWS)})


def mixed() -> pd.DataFrame:
    """Numbers with gaps, integers and text with gaps, as tables have them."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, ROWS),
            "fee": rng.exponential(50, ROWS),
            "kids": rng.integers(0, 4, ROWS),
            "city": rng.choice(["Ulm", "Rome", "Oslo"], ROWS).astype(object),
            "plan": rng.choice(["x", "y"], ROWS).astype(object),
        }
    )
    frame.loc[rng.random(ROWS) < 0.1, "fee"] = np.nan
    frame.loc[rng.random(ROWS) < 0.1, "city"] = np.nan
    return frame


def signal(frame: pd.DataFrame) -> Any:  # Any: a numpy array
    """A number that depends on the columns, with noise."""
    rng = np.random.default_rng(6)
    first = frame.iloc[:, 0]
    values = first.fillna(0.0) if first.dtype.kind == "f" else pd.Series([float(len(str(text))) for text in first])
    scaled = (values - values.mean()) / values.std()
    return np.asarray(scaled) + rng.normal(0, 0.3, len(frame))


def classes(frame: pd.DataFrame, *, text: bool, count: int) -> Any:  # Any: a numpy array
    """Labels by the size of the signal: 10, 20 ... or words, each with several rows."""
    values = signal(frame)
    places = np.searchsorted(np.quantile(values, np.arange(1, count) / count), values)
    names = ["no", "yes", "maybe"][:count]
    return np.array(names, dtype=object)[places] if text else (places + 1) * 10


def partly(labels: Any) -> Any:  # Any: a numpy array
    """Every third label is not known (-1)."""
    known = labels.astype(object) if labels.dtype == object else labels.copy()
    known[::3] = -1
    return known
