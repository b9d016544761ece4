"""Deployments with predictions of any kind, written straight into the catalog: no model, no conversion."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import pytest

from sqlml import sql
from sqlml.catalog import records
from sqlml.catalog.migrations import migrate
from sqlml.catalog.records import Deployment, Version
from sqlml.engines.surface import output_columns
from sqlml.kept import stamp_columns
from sqlml.objects import prediction_table_name
from sqlml.signature import Signature

START = datetime(2026, 1, 1)
BINARY = Signature((), "classifier", "VARCHAR", ("No", "Yes"), True)
THREE = Signature((), "classifier", "VARCHAR", ("a", "b", "c"), True)
NUMBER = Signature((), "regressor", "DOUBLE")


class Staged:
    """A database with one deployment `m`, keyed by `id`, whose versions and predictions a test writes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        migrate(connection)

    def version(
        self,
        signature: Signature,
        *,
        name: str = "m",
        keys: Sequence[tuple[str, str]] = (("id", "BIGINT"),),
        active_since: datetime | None = START,
    ) -> Version:
        number = len(records.versions(self.connection, name)) + 1
        key_columns = tuple(key for key, _ in keys)
        fields: dict[str, Any] = {
            field.name: None if field.default is not dataclasses.MISSING else "x"
            for field in dataclasses.fields(Version)
        }
        fields |= {
            "deployment": name,
            "version": number,
            "state": "active",
            "artifact_files": "[]",
            "run": None,
            "signature": signature.to_json(),
            "engine": "sql",
            "threshold": None,
            "prediction_table": prediction_table_name(number),
            "source": None,
            "key_columns": key_columns,
            "deployed_at": START,
        }
        version = Version(**fields)
        if number == 1:
            self.connection.execute(sql.create_schema(name))
            values = {
                "name": name, "active_version": None, "model": "x", "source": None, "key_columns": key_columns,
                "live": False, "owns_source": False, "function_name": None, "changes": 0,
                "created_at": START, "updated_at": START,
            }  # fmt: skip
            known = {field.name for field in dataclasses.fields(Deployment)}
            records.insert_row(
                self.connection, "deployments", Deployment(**{k: v for k, v in values.items() if k in known})
            )
        records.insert_row(self.connection, "versions", version)
        columns = [*keys, *output_columns(signature), *stamp_columns("hash")]
        self.connection.execute(sql.create_table((name, prediction_table_name(number)), columns))
        if active_since is not None:
            self.activate(number, active_since, name=name)
        return version

    def activate(self, number: int | None, since: datetime, *, name: str = "m", action: str = "activate") -> None:
        records.insert(
            self.connection,
            "history",
            {"deployment": name, "action": action, "to_version": number, "who": "nobody", "happened_at": since},
        )
        self.connection.execute("UPDATE sqlml.deployments SET active_version = ? WHERE name = ?", [number, name])

    def predict(self, version: Version, rows: Sequence[dict[str, Any]]) -> None:
        """Replace the predictions of these keys, as a scoring does."""
        table = sql.quote_path(version.deployment, str(version.prediction_table))
        keys = version.key_columns
        for row in rows:
            same = " AND ".join(f"{sql.quote(key)} = ?" for key in keys)
            self.connection.execute(f"DELETE FROM {table} WHERE {same}", [row[key] for key in keys])
            columns = ", ".join(map(sql.quote, [*row, "scoring_id"]))
            marks = ", ".join("?" * len(row))
            self.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks}, uuid())", list(row.values()))

    def source(self, frame: object, name: str = "outcomes") -> None:
        self.connection.register("frame", frame)
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM frame")
        self.connection.unregister("frame")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()


@pytest.fixture
def staged() -> Staged:
    return Staged(duckdb.connect())
