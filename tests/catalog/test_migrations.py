"""The catalog's schema: made once, brought up to date, never guessed at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.catalog import migrations, records
from sqlml.errors import CatalogTooNew, Conflict, NameRefused


@pytest.fixture
def connection() -> Any:
    with duckdb.connect() as opened:
        yield opened


def test_migrations_are_applied_once(connection: Any) -> None:
    assert migrations.migrate(connection) == len(migrations.MIGRATIONS)
    assert migrations.migrate(connection) == 0
    assert connection.execute("SELECT count(*) FROM sqlml.migrations").fetchone() == (len(migrations.MIGRATIONS),)


def test_a_file_of_an_older_sqlml_is_brought_up_to_date(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations.migrate(connection)

    def add_note(opened: Any) -> None:
        opened.execute("ALTER TABLE sqlml.versions ADD COLUMN note VARCHAR")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, ("a note per version", add_note)))
    assert migrations.migrate(connection) == 1
    assert connection.execute("SELECT note FROM sqlml.versions").fetchall() == []
    assert records.versions(connection, "churn") == []


@pytest.mark.parametrize("asked_before", ["schema_exists", "atomic"])
def test_a_catalog_that_another_connection_makes_meanwhile_is_taken_up(
    connection: Any, monkeypatch: pytest.MonkeyPatch, asked_before: str
) -> None:
    other = connection.cursor()
    unpatched = getattr(migrations, asked_before)

    def late(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert migrations.migrate(other) == len(migrations.MIGRATIONS)
        return unpatched(*arguments)

    monkeypatch.setattr(migrations, asked_before, late)
    assert migrations.migrate(connection) == 0
    assert migrations.applied(connection) == len(migrations.MIGRATIONS)


def test_connections_that_make_the_catalog_at_once_all_get_it() -> None:
    for _ in range(5):
        with duckdb.connect() as fresh:
            cursors = [fresh.cursor() for _ in range(3)]
            with ThreadPoolExecutor(3) as pool:
                assert sum(pool.map(migrations.migrate, cursors)) == len(migrations.MIGRATIONS)
            assert fresh.execute("SELECT list(number ORDER BY number) FROM sqlml.migrations").fetchone() == (
                list(range(1, len(migrations.MIGRATIONS) + 1)),
            )


def test_a_catalog_that_another_connection_never_finishes_is_given_up(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LONGEST_S", 0.1)
    other = connection.cursor()
    other.execute("BEGIN; CREATE SCHEMA sqlml")

    with pytest.raises(Conflict, match="the sqlml catalog was changed by another transaction"):
        migrations.migrate(connection)


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations.migrate(connection)

    def half(opened: Any) -> None:
        opened.execute("CREATE TABLE sqlml.half (x INTEGER)")
        raise RuntimeError("in the middle")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, ("half", half)))
    with pytest.raises(RuntimeError):
        migrations.migrate(connection)
    assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'half'").fetchone() == (0,)
    assert connection.execute("SELECT max(number) FROM sqlml.migrations").fetchone() == (
        len(migrations.MIGRATIONS) - 1,
    )


def test_a_file_of_a_newer_sqlml_is_refused_with_its_version(tmp_path: Path) -> None:
    path = tmp_path / "newer.duckdb"
    with duckdb.connect(str(path)) as opened:
        migrations.migrate(opened)
        opened.execute("INSERT INTO sqlml.migrations VALUES (99, 'the future', '7.1.0', '3.0.0', now()::TIMESTAMP)")
    with pytest.raises(CatalogTooNew, match=r"written by sqlml 7\.1\.0.*Upgrade"):
        sqlml.connect(path)


def test_a_schema_called_sqlml_of_somebody_else_is_refused(connection: Any) -> None:
    connection.execute("CREATE SCHEMA sqlml; CREATE TABLE sqlml.mine (x INTEGER)")
    with pytest.raises(NameRefused, match="did not make"):
        migrations.migrate(connection)
    assert connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'sqlml'").fetchall() == [
        ("mine",)
    ]
