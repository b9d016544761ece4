"""A file whose catalog is of an earlier format: read as it is, brought up to date by the next deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import lineage
from sqlml.catalog import migrations, records
from sqlml.demo.customers import customers


@pytest.fixture
def first_format(registered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`churn` v1 in a file that had the first migration only."""
    path = tmp_path / "warehouse.duckdb"
    with monkeypatch.context() as patch, sqlml.connect(path) as connection:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        connection.register("rows", customers())
        connection.execute("CREATE TABLE customers AS SELECT * FROM rows ORDER BY customer_id LIMIT 200")
        connection.unregister("rows")
        sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id", tracking_uri=registered.uri)
    return path


def columns(path: Path) -> list[str]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return [name for name, *_ in connection.execute("DESCRIBE sqlml.versions").fetchall()]


def test_a_reader_leaves_the_first_format_as_it_is(first_format: Path) -> None:
    assert "artifact_store" not in columns(first_format)
    with sqlml.connect(first_format, read_only=True) as connection:
        [status] = sqlml.status(connection)
        [version] = records.versions(connection, "churn")
        found = lineage.of_deployment(connection, "churn")

    assert (status.active_version, status.problems, status.predictions) == (1, (), 200)
    assert (status.artifact_store, version.artifact_store, found.origin.artifact_store) == (None, None, None)
    assert "artifact_store" not in columns(first_format)


def test_looking_and_scoring_need_no_new_format(first_format: Path, registered: Any) -> None:
    with sqlml.connect(first_format) as connection:
        planned = sqlml.plan(connection, "churn:2", tracking_uri=registered.uri)
        scored = sqlml.score(connection, "churn")

    assert not [line for line in planned.would_change if "not compared" in line]
    assert scored.unchanged == 200
    assert "artifact_store" not in columns(first_format)


def test_the_next_deploy_brings_it_up_to_date(first_format: Path, registered: Any) -> None:
    with sqlml.connect(first_format) as connection:
        deployed = sqlml.deploy_db(connection, "churn:2", tracking_uri=registered.uri)
        numbers = connection.execute("SELECT number, name FROM sqlml.migrations ORDER BY number").fetchall()
        sqlml.rollback(connection, "churn")
        [status] = sqlml.status(connection)

    assert deployed.version == 2
    assert numbers == [(i, name) for i, (name, _) in enumerate(migrations.MIGRATIONS, start=1)]
    assert (status.active_version, status.problems) == (1, ())
    assert "artifact_store" in columns(first_format)


def test_a_recall_in_an_old_file_gives_its_views_the_column(first_format: Path) -> None:
    with sqlml.connect(first_format) as connection:
        # What an earlier sqlml had made.
        for name in ("current", "scored"):
            [(text,)] = connection.execute("SELECT statement FROM sqlml.objects WHERE name = ?", [name]).fetchall()
            connection.execute(text.replace(', CAST(NULL AS TIMESTAMP) AS "recalled_at"', ""))
        connection.execute(
            "UPDATE sqlml.objects SET statement = replace(statement, ', CAST(NULL AS TIMESTAMP) AS \"recalled_at\"', '')"
        )
        connection.execute("CREATE VIEW theirs AS SELECT * FROM churn.current")
        assert "recalled_at" not in [name for name, *_ in connection.execute("DESCRIBE churn.scored").fetchall()]
        looked = sqlml.recall(connection, name="churn", version=1)
        assert (looked.dependents.rows, len(connection.execute("FROM sqlml.migrations").fetchall())) == (200, 1)

        sqlml.recall(connection, name="churn", version=1, apply=True)
        found = [
            connection.execute(f"SELECT count(recalled_at) FROM {name}").fetchone()
            for name in ("churn.current", "churn.scored", "theirs")
        ]
        [status] = sqlml.status(connection)

    assert (found, status.problems) == ([(200,)] * 3, ())
