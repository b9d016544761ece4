"""The models that are measured, their rows, and their conversion through the same isolated process as a deployment's."""

from __future__ import annotations

import json
import pickle
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import yaml

from sqlml.convert import OnnxModel, open_worker

KINDS = {"float64": "double", "int64": "long", "int32": "integer", "bool": "boolean"}
FITTED = Path(".bench")
"""Fitted models stay here between runs: 300 trees of depth 8 take a minute. `make clean` removes them."""
COLUMNS = 10


@dataclass(frozen=True)
class Case:
    """A fitted binary classifier, and the rows that it is asked about."""

    name: str
    estimator: Any  # Any: scikit-learn ships no types
    rows: pd.DataFrame
    onnx: OnnxModel

    @property
    def is_mixed(self) -> bool:
        return any(column.is_text for column in self.onnx.signature.columns)


@dataclass(frozen=True)
class Task:
    """How a case is made: estimators that are not fitted yet, and what they are fitted and asked on."""

    name: str
    estimator: Callable[[], Any]
    rows: Callable[[int], tuple[pd.DataFrame, Any, pd.DataFrame]]
    """For so many rows to ask: (known, labels, asked)."""


def ten_doubles(rows: int, columns: int = COLUMNS) -> tuple[pd.DataFrame, Any, pd.DataFrame]:
    """The rows of FACTS.md: ten DOUBLE columns."""
    rng = np.random.default_rng(0)
    names = [f"f{i}" for i in range(columns)]
    known = pd.DataFrame(rng.normal(size=(20_000, columns)), columns=names)
    label = (known["f0"] + known["f1"] * known["f2"] + rng.normal(scale=0.3, size=len(known)) > 0).astype(int)
    return known, label, pd.DataFrame(rng.normal(size=(rows, columns)), columns=names)


def telco(rows: int) -> tuple[pd.DataFrame, Any, pd.DataFrame]:
    """The demo's customers (3 numbers, 6 flags, 10 texts), repeated up to `rows`."""
    from sqlml.demo.customers import FEATURES, LABEL, customers

    known = customers()
    return known[FEATURES], known[LABEL], known[FEATURES].take(np.arange(rows) % len(known)).reset_index(drop=True)


def _boosting(trees: int, depth: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=trees, max_depth=depth, random_state=0)


def _histograms() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0)


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, max_depth=10, random_state=0)


def _lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        n_estimators=1000, num_leaves=255, learning_rate=0.05, min_child_samples=5, verbose=-1, random_state=0
    )


def _network() -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((64, 32), max_iter=20, random_state=0)


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def _telco_linear() -> Any:
    from sqlml.demo.training import logistic_regression

    return logistic_regression()


def _telco_boosting() -> Any:
    from sqlml.demo.training import gradient_boosting

    return gradient_boosting()


LINEAR = "LogisticRegression"
SMALL_BOOSTING = "GradientBoosting 100x3"
TASKS = (
    Task(LINEAR, _linear, ten_doubles),
    Task(SMALL_BOOSTING, lambda: _boosting(100, 3), ten_doubles),
    Task("HistGradientBoosting 100x31", _histograms, ten_doubles),
    Task("RandomForest 100x10", _forest, ten_doubles),
    Task("GradientBoosting 300x8", lambda: _boosting(300, 8), ten_doubles),
    Task("LightGBM 1000x255", _lightgbm, ten_doubles),
    Task("MLP 64x32", _network, ten_doubles),
    Task("Telco pipeline, LogisticRegression", _telco_linear, telco),
    Task("Telco pipeline, GradientBoosting", _telco_boosting, telco),
)


def named(name: str) -> Task:
    return next(task for task in TASKS if task.name == name)


_converted: dict[str, OnnxModel] = {}
"""Several experiments ask for the same model, and a conversion starts a process."""


def prepare(task: Task, rows: int) -> Case:
    """Fit (or take what was fitted before) and convert."""
    known, labels, asked = task.rows(rows)
    estimator = fitted(task.name, lambda: task.estimator().fit(known, labels))
    if task.name not in _converted:
        _converted[task.name] = convert(estimator, asked)
    return Case(task.name, estimator, asked, _converted[task.name])


def kept_at(name: str, kind: str) -> Path:
    """Where something made of a model is kept between runs, by the versions of what fits it."""
    FITTED.mkdir(exist_ok=True)
    versions = f"{version('scikit-learn')}-{version('lightgbm')}-{version('numpy')}"
    return FITTED / f"{name.replace(' ', '-').replace(',', '')}-{versions}.{kind}"


def fitted(name: str, fit: Callable[[], Any]) -> Any:
    """What `fit` gives, kept between runs."""
    path = kept_at(name, "pickle")
    if path.exists():
        return pickle.loads(path.read_bytes())  # noqa: S301  # this program wrote it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well it converges is not measured
        made = fit()
    path.write_bytes(pickle.dumps(made))
    return made


def convert(estimator: Any, rows: pd.DataFrame) -> OnnxModel:
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), estimator, rows.dtypes.to_dict())
        with open_worker(Path(folder), log=lambda line: None) as worker:
            return worker.convert()


def _save(folder: Path, estimator: Any, types: Mapping[Any, Any]) -> None:
    """The files that mlflow.sklearn.log_model writes."""
    columns = [
        {"name": name, "type": KINDS.get(str(kind), "string"), "required": False} for name, kind in types.items()
    ]
    flavor = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    about = {
        "flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": json.dumps(columns), "outputs": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(estimator))


def save(folder: Path, task: Task) -> Path:
    """As people register it: where `deploy` finds it."""
    import mlflow

    known, labels, _ = task.rows(1)
    model = fitted(task.name, lambda: task.estimator().fit(known, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = mlflow.models.infer_signature(known, model.predict(known))
        mlflow.sklearn.save_model(
            model, folder / "model", signature=signature, serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )  # fmt: skip
    return folder / "model"
