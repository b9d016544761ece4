"""Made data that the converter tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def customers() -> pd.DataFrame:
    """Numbers with gaps, integers, booleans and text."""
    rng = np.random.default_rng(7)
    n = 240
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, n),
            "fee": rng.exponential(50, n),
            "kids": rng.integers(0, 5, n),
            "vip": rng.random(n) < 0.3,
            "city": rng.choice(["A", "B", "C", "it's"], n, p=[0.4, 0.3, 0.2, 0.1]),
            "plan": rng.choice(["x", "y"], n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "fee"] = np.nan
    return frame


@pytest.fixture(scope="session")
def measurements() -> pd.DataFrame:
    """Numbers only, none missing, one of them of a size of its own."""
    rng = np.random.default_rng(8)
    n = 200
    return pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(5, 3, n), "big": rng.normal(1e9, 1e5, n)})
