"""What is known of how a model's answer depends on its columns, beside the model: read by `why`, which must be quick."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sqlml.catalog import records
from sqlml.catalog.migrations import TURNING, applied
from sqlml.compile.turning import Turning, turning
from sqlml.convert.onnx_model import OnnxModel
from sqlml.parsing import parsed
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

REMEMBERED = 8
"""Models of files that no deploy has brought up to date: each takes from 50 ms to seconds to look through."""


def keep(connection: Connection, model: OnnxModel) -> None:
    """In the caller's transaction; harmless when it is there already."""
    if applied(connection) < TURNING or _read(connection, model.sha256):
        return
    for position, (column, found) in enumerate(zip(model.signature.columns, turning(model), strict=True)):
        records.insert(
            connection,
            "turning_points",
            {
                "model_sha256": model.sha256,
                "position": position,
                "column_name": column.name,
                "way": found.way,
                "thresholds": found.thresholds.tolist(),
                "categories": list(found.categories),
                "learned": found.learned.tolist(),
            },
        )


def keep_missing(connection: Connection) -> None:
    """Of every model that is there: for files made before this was kept."""
    if applied(connection) < TURNING:
        return
    known = "SELECT model_sha256 FROM sqlml.turning_points"
    for (sha256,) in connection.execute(f"SELECT sha256 FROM sqlml.models WHERE sha256 NOT IN ({known})").fetchall():  # noqa: S608 - a constant
        model = stored_model(connection, sha256)
        if model is not None:
            keep(connection, model)


def turning_of(connection: Connection, sha256: str) -> tuple[Turning, ...] | None:
    """Of each column of a stored model, in the signature's order; None where the database has not got the model."""
    if applied(connection) >= TURNING and (found := _read(connection, sha256)):
        return found
    model = stored_model(connection, sha256)
    return None if model is None else _computed(_ByHash(model))


def _read(connection: Connection, sha256: str) -> tuple[Turning, ...]:
    query = (
        "SELECT way, thresholds, categories, learned FROM sqlml.turning_points WHERE model_sha256 = ? ORDER BY position"
    )
    rows = connection.execute(parsed(connection, query), [sha256]).fetchall()
    return tuple(Turning(way, np.array(t, float), tuple(c), np.array(v, float)) for way, t, c, v in rows)


def stored_model(connection: Connection, sha256: str) -> OnnxModel | None:
    row = connection.execute(
        "SELECT onnx, signature, reasons, precision, origin FROM sqlml.models WHERE sha256 = ?", [sha256]
    ).fetchone()
    if row is None:
        return None
    onnx, signature, reasons, precision, origin = row
    return OnnxModel(onnx, sha256, Signature.from_json(signature), tuple(reasons), precision, json.loads(origin))


class _ByHash:
    """A model that is remembered by its hash and not by its bytes."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model

    def __hash__(self) -> int:
        return hash(self.model.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByHash) and other.model.sha256 == self.model.sha256


@lru_cache(maxsize=REMEMBERED)
def _computed(key: _ByHash) -> tuple[Turning, ...]:
    return turning(key.model)
