"""Finding the native extension and loading it, and what is said where that cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

import sqlml
from sqlml import extension
from sqlml.database import open_database
from sqlml.errors import ExtensionUnavailable


@pytest.fixture
def none_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(extension.OVERRIDE, raising=False)
    monkeypatch.setattr(extension, "packaged", lambda: Path("nowhere") / extension.FILE_NAME)


@pytest.mark.usefixtures("none_installed")
def test_without_the_extension_databases_open_as_before() -> None:
    with sqlml.connect() as connection:
        assert connection.execute("SELECT current_setting('allow_unsigned_extensions')").fetchone() == (False,)
        with pytest.raises(ExtensionUnavailable, match=r"has no native extension.*make ext"):
            extension.load(connection)


def test_the_environment_names_another_file_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / extension.FILE_NAME
    monkeypatch.setenv(extension.OVERRIDE, str(named))
    assert extension.find() is None
    assert str(named) in extension.why_missing()
    named.touch()
    assert extension.find() == named
    monkeypatch.setenv(extension.OVERRIDE, "")
    assert extension.find() is None
    assert "switches it off" in extension.why_missing()
    assert extension.remedy().startswith(f"Unset {extension.OVERRIDE}")


def test_a_file_that_is_no_extension_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / extension.FILE_NAME
    named.write_bytes(b"x" * 1000)
    monkeypatch.setenv(extension.OVERRIDE, str(named))
    with sqlml.connect() as connection, pytest.raises(ExtensionUnavailable, match="does not load") as raised:
        extension.load(connection)
    assert str(named) in raised.value.message
    assert raised.value.hint == "It is no extension, or not whole."
    assert extension.stamp(named) is None


@pytest.mark.native
def test_every_connection_of_ours_has_it() -> None:
    with sqlml.connect() as connection, connection.cursor() as other:
        assert other.execute("SELECT sqlml_version()").fetchall()[0][0].split()[0] == sqlml.__version__


@pytest.mark.native
def test_loading_in_a_transaction_of_the_callers_outlives_its_rollback() -> None:
    with open_database(":memory:") as connection:
        connection.execute("BEGIN")
        extension.load(connection)
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT sqlml_loaded(repeat('0', 64))").fetchone() == (False,)


@pytest.mark.native
def test_a_connection_that_was_opened_without_permission_is_told_the_remedy() -> None:
    with duckdb.connect() as connection:
        with pytest.raises(ExtensionUnavailable, match="allow_unsigned_extensions") as raised:
            extension.load(connection)
        assert "sqlml.connect" in str(raised.value.hint)


@pytest.mark.native
def test_a_file_that_this_process_has_open_without_permission_opens_without(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as first, sqlml.connect(path) as second:
        first.execute("CREATE TABLE t AS SELECT 1 AS x")
        assert second.execute("FROM t").fetchall() == [(1,)]
        assert "opened without permission" in str(extension.why_not(second))


@pytest.mark.native
def test_an_extension_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "__version__", "9.9.9")
    with sqlml.connect() as connection, pytest.raises(ExtensionUnavailable, match=r"and sqlml is 9\.9\.9"):
        extension.load(connection)


@pytest.mark.native
def test_the_file_says_what_it_is_for() -> None:
    path = extension.find()
    assert path is not None
    stamp = extension.stamp(path)
    assert stamp is not None
    assert stamp.c_api == "v1.5.6"
    assert extension.serves(path) == f"for DuckDB with C API v1.5.6 or newer on {stamp.platform}"
    assert stamp.platform == duckdb.execute("PRAGMA platform").fetchall()[0][0]


@pytest.mark.native
def test_onnxruntime_is_named_to_it_unless_the_person_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(extension.ONNXRUNTIME, raising=False)
    found = extension.onnxruntime_library()
    assert found is not None
    assert found.is_file()
    extension.tell_onnxruntime()
    assert os.environ[extension.ONNXRUNTIME] == str(found)
    monkeypatch.setenv(extension.ONNXRUNTIME, "another")
    extension.tell_onnxruntime()
    assert os.environ[extension.ONNXRUNTIME] == "another"
