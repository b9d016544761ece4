"""What scikit-learn's validate_data does to the input of a step, as facts and error candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.sklearn.context import Estimator, refuse
from sqlml.convert.isolated.table import BOOL, FLOAT32, FLOAT64, Table

Finite = Literal["all", "allow-nan", "none"]


def check_names(estimator: Estimator, table: Table, step: str) -> None:
    """The columns must be those the step was fitted on, in that order, or the original raises for every row."""
    expected = getattr(estimator, "feature_names_in_", None)
    if table.frame and expected is not None:
        names = [f.name for f in table.features]
        if names != list(expected):
            why = f"it was fitted on the columns {shown(expected)} and would be given {shown(names)}."
            raise refuse(estimator, step, why, "Log the model with a signature in the order of its training columns.")
    count = getattr(estimator, "n_features_in_", None)
    if count is not None and count != len(table):
        why = f"it was fitted on {count} columns and would be given {len(table)}."
        raise refuse(estimator, step, why, "Log the model with a signature that has exactly its training columns.")


def shown(names: Any) -> str:  # Any: a list or an array of names
    listed = [str(n) for n in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def refuse_text(estimator: Estimator, table: Table, step: str) -> None:
    for feature in table.features:
        if feature.text:
            why = f"it would be given the text column {feature.label}, and it takes numbers."
            raise refuse(
                estimator, step, why, "Encode text columns first, or give the column its number type in the signature."
            )


def numbers(
    graph: Graph,
    estimator: Estimator,
    table: Table,
    step: str,
    *,
    finite: Finite = "all",
    float32: bool = False,
    keep: bool = False,
    who: str | None = None,
) -> Table:
    """The input as the float array the step computes on.

    `float32`: the converter reproduces computing in float32 too; otherwise a float32 input is refused by name.
    `keep`: the step leaves integers as they are (check_array with dtype "numeric"), else they become float64.
    """
    check_names(estimator, table, step)
    refuse_text(estimator, table, step)
    dtype = table.array_dtype
    if dtype == FLOAT32 and any(f.dtype == BOOL for f in table.features):
        # A NULL among the booleans would make the original compute in float64 instead.
        why = "its inputs are float32 and boolean columns together."
        raise refuse(estimator, step, why, "Train on float64 columns.")
    if dtype == FLOAT32 and not float32:
        why = "all its inputs are float32, in which it computes, and its roundings cannot be reproduced."
        raise refuse(estimator, step, why, "Train on float64 columns (astype('float64')).")
    if dtype.kind == "O" or (dtype != FLOAT32 and not keep):
        dtype = FLOAT64
    features = [replace(f, dtype=np.dtype(dtype), name=None) for f in table.features]
    table = replace(table.with_features(features), frame=False)
    who = who or type(estimator).__name__
    if finite == "all":
        table = graph.refuse_missing(table, who)
    if finite in ("all", "allow-nan"):
        table = graph.refuse_infinite(table, who)
    return table
