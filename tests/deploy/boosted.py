"""A table of visitors, ordinary and hostile, for models of XGBoost's and CatBoost's that are deployed beside it."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import duckdb
import mlflow
import numpy as np
import pandas as pd

import sqlml


def fill(path: Path, ordinary: pd.DataFrame, strange: dict[str, list[Any]]) -> None:
    """The rows that models were trained on and hostile ones, mixed, the columns in another order than in training."""
    hostile = ordinary.head(60).astype(object)
    for name, values in strange.items():
        hostile[name] = (values * 60)[:60]
    rows = pd.concat([ordinary.astype(object), hostile], ignore_index=True).sample(frac=1, random_state=1)
    rows.insert(0, "id", np.arange(len(rows)))
    typed = {name: _typed(rows[name], ordinary[name]) for name in ordinary}
    made = pd.DataFrame({"id": rows["id"].astype("int64"), **typed})[[*list(ordinary)[::-1], "id"]]
    with duckdb.connect(str(path)) as connection:
        connection.register("made", made)
        connection.execute("CREATE TABLE visitors AS SELECT * FROM made")


def _typed(values: pd.Series, like: pd.Series) -> pd.Series:
    kind = like.cat.categories.dtype if isinstance(like.dtype, pd.CategoricalDtype) else like.dtype
    if kind.kind in "iu":
        return pd.Series([None if v is None or v != v else int(v) for v in values], index=values.index, dtype="Int64")
    if kind.kind == "f":
        return values.astype(float)
    return pd.Series([None if v is None or v != v else v for v in values], index=values.index, dtype=object)


def register(name: str, tracking_uri: str, log: Any, like: pd.DataFrame, **logged: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about pickles, integers and its libraries
        mlflow.set_tracking_uri(tracking_uri)
        with mlflow.start_run():
            signature = mlflow.models.infer_signature(like)
            log(name=name, registered_model_name=name, signature=signature, **logged)
        mlflow.set_tracking_uri(None)


def answers(path: Path, name: str, tracking_uri: str, select: str, engine: str = "sql") -> list[tuple[Any, ...]]:
    with sqlml.connect(path) as connection:
        sqlml.deploy_db(connection, f"{name}:1", table="visitors", key="id", engine=engine, tracking_uri=tracking_uri)
        return connection.execute(f"SELECT {select} FROM visitors v ORDER BY id").fetchall()


def visitors(path: Path, columns: list[str]) -> pd.DataFrame:
    with duckdb.connect(str(path)) as connection:
        return connection.execute("FROM visitors ORDER BY id").df()[columns]


def numbers(values: list[Any]) -> Any:
    return np.array([math.nan if v is None else v for v in values])
