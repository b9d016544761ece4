"""A small churn model, logged and registered as people do it, in seconds."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from sqlml.demo.customers import customers

NAME = "churn"
FEATURES = ["tenure", "monthly_charges", "contract"]


@dataclass(frozen=True)
class Logged:
    run_id: str
    model_id: str
    version: str


@functools.cache
def fitted() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows = customers().head(2000)
    encode = make_column_transformer(
        (StandardScaler(), ["tenure", "monthly_charges"]), (OneHotEncoder(handle_unknown="ignore"), ["contract"])
    )
    return make_pipeline(encode, LogisticRegression()).fit(rows[FEATURES], rows["churn"])


def some_rows() -> Any:
    return customers()[FEATURES].tail(200)


@contextmanager
def tracking(uri: str) -> Iterator[None]:
    """MLflow at `uri` for the length of a block, without the URI of the whole process and without the warnings of
    it and what it uses."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        warnings.simplefilter("ignore")
        yield


def log_churn(experiment_id: str) -> Logged:
    """Log the model with some other files, and register it; to be called while `tracking`."""
    import mlflow

    model, rows = fitted(), some_rows()
    signature = mlflow.models.infer_signature(rows, model.predict(rows))
    with mlflow.start_run(experiment_id=experiment_id) as run:
        mlflow.log_metric("accuracy", 0.75)
        mlflow.log_text("about this run", "notes/readme.txt")
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="cloudpickle",
            signature=signature,
            pip_requirements=["scikit-learn"],
        )
    version = mlflow.register_model(logged.model_uri, NAME)
    return Logged(run.info.run_id, logged.model_id, str(version.version))
