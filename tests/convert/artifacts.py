"""Models as MLflow writes them, without MLflow, and the process that opens them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml.convert import Worker, open_worker
from sqlml.errors import SqlmlError

FRAME = pd.DataFrame(
    {
        "age": [30.0, 40.0, 50.0, 60.0, 35.0, 45.0],
        "visits": [1, 2, 3, 4, 5, 6],
        "plan": ["a", "b", "a", "b", "a", "c"],
    }
)
LABELS = ["no", "yes", "no", "yes", "no", "yes"]
SIGNATURE = [
    {"type": "double", "name": "age", "required": True},
    {"type": "long", "name": "visits", "required": True},
    {"type": "string", "name": "plan", "required": False},
]
DUMP = {"pickle": pickle.dumps, "cloudpickle": cloudpickle.dumps, "skops": skops.io.dumps}


def churn_pipeline(model: object = None) -> object:
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]),
            ("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        ]
    )
    return make_pipeline(encode, LogisticRegression() if model is None else model).fit(FRAME, LABELS)


@contextmanager
def opened(artifact: Path, **options: object) -> Iterator[Worker]:
    with open_worker(artifact, log=options.pop("log", lambda line: None), **options) as worker:
        yield worker


def refused(artifact: Path, kind: type[SqlmlError], **options: object) -> str:
    with pytest.raises(kind) as raised, opened(artifact, **options) as worker:
        worker.convert(options.get("columns"))
    return str(raised.value)
