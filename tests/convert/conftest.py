"""Made data and artifacts that the converter tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.convert.artifacts import DUMP


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


@pytest.fixture
def save(tmp_path) -> Callable[..., Path]:
    """Writes an artifact the way MLflow does, without MLflow; returns its directory."""

    def write(
        estimator: object, *, signature: object = None, serialization: str = "cloudpickle", **entries: object
    ) -> Path:
        root = tmp_path / "model"
        root.mkdir(exist_ok=True)
        flavor = {
            "pickled_model": "model.bin",
            "serialization_format": serialization,
            "sklearn_version": "1.9.1",
            **entries.pop("flavor", {}),
        }
        model = {"flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn"}}, **entries}
        if signature is not None:
            model["signature"] = {"inputs": json.dumps(signature)}
        (root / "MLmodel").write_text(yaml.safe_dump(model))
        (root / "model.bin").write_bytes(DUMP[serialization](estimator))
        return root

    return write
