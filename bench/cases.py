"""The models that are measured, their rows, and their conversion through the same isolated process as a deployment's."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import yaml

from sqlml.convert import OnnxModel, open_worker

KINDS = {"float64": "double", "int64": "long", "int32": "integer", "bool": "boolean"}


@dataclass(frozen=True)
class Case:
    """A fitted binary classifier, and the rows that it is asked about."""

    name: str
    estimator: Any  # Any: scikit-learn ships no types
    rows: pd.DataFrame
    onnx: OnnxModel


def ten_doubles(rows: int) -> dict[str, Callable[[], tuple[Any, pd.DataFrame]]]:
    """The models of FACTS.md on ten DOUBLE columns."""
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    names = [f"f{i}" for i in range(10)]
    known = pd.DataFrame(rng.normal(size=(20_000, 10)), columns=names)
    label = (known["f0"] + known["f1"] * known["f2"] + rng.normal(scale=0.3, size=len(known)) > 0).astype(int)
    asked = pd.DataFrame(rng.normal(size=(rows, 10)), columns=names)
    estimators = {
        "LogisticRegression": LogisticRegression(),
        "GradientBoosting 100x3": GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0),
        "RandomForest 100x10": RandomForestClassifier(100, max_depth=10, random_state=0),
        "HistGradientBoosting 100x31": HistGradientBoostingClassifier(
            max_iter=100, early_stopping=False, random_state=0
        ),
    }
    return {name: lambda e=estimator: (e.fit(known, label), asked) for name, estimator in estimators.items()}


def telco(rows: int) -> dict[str, Callable[[], tuple[Any, pd.DataFrame]]]:
    """The demo's pipelines on its customers (3 numbers, 6 flags, 10 texts), repeated up to `rows`."""
    from sqlml.demo.customers import FEATURES, LABEL, customers
    from sqlml.demo.training import gradient_boosting, logistic_regression

    known = customers()
    asked = known[FEATURES].take(np.arange(rows) % len(known)).reset_index(drop=True)
    return {
        "Telco pipeline, LogisticRegression": lambda: (logistic_regression().fit(known[FEATURES], known[LABEL]), asked),
        "Telco pipeline, GradientBoosting": lambda: (gradient_boosting().fit(known[FEATURES], known[LABEL]), asked),
    }


def prepare(name: str, make: Callable[[], tuple[Any, pd.DataFrame]]) -> Case:
    """Fit and convert."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well it converges is not measured
        estimator, rows = make()
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), estimator, rows)
        with open_worker(Path(folder), log=lambda line: None) as worker:
            return Case(name, estimator, rows, worker.convert())


def _save(folder: Path, estimator: Any, rows: pd.DataFrame) -> None:
    """The files that mlflow.sklearn.log_model writes."""
    columns = [
        {"name": name, "type": KINDS.get(str(kind), "string"), "required": False} for name, kind in rows.dtypes.items()
    ]
    flavor = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    about = {
        "flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": json.dumps(columns), "outputs": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(estimator))
