"""doctor says what is there, from the real thing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pytest

from sqlml import config, doctor
from sqlml.catalog.migrations import MIGRATIONS, migrate
from sqlml.doctor import LIBRARIES, Finding


def findings(tmp_path: Path, **flags: object) -> dict[str, Finding]:
    return {found.name: found for found in doctor.examine(config.load(flags, environ={}, start=tmp_path))}


def of_database(tmp_path: Path, path: Path | None) -> dict[str, Finding]:
    flags = {} if path is None else {"database": str(path)}
    settings = config.load(flags, environ={}, start=tmp_path)
    return {found.name: found for found in doctor._database(settings)}


def test_the_ranges_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    declared = dict(re.fullmatch(r"([a-z-]+)(.*)", text).groups() for text in project["dependencies"])  # type: ignore[union-attr]

    assert {name: declared.get(name) for name in LIBRARIES} == LIBRARIES


def test_everything_is_examined_here_and_nothing_is_missing(tmp_path: Path) -> None:
    found = findings(tmp_path, database=str(tmp_path / "new.duckdb"))

    assert [f for f in found.values() if not f.is_fine] == []
    assert {"python", "duckdb", "registry", "database", "setting database", "live tables"} <= set(found)
    assert any(name.startswith("isolation: ") for name in found)
    assert "(from --database)" in found["setting database"].found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "version", "why"),
    [
        ("onnxruntime", "1.26.0", "random forests"),
        ("mlflow", "3.18.0", "mlflow-skinny"),
        ("protobuf", "7.0.1", "histogram gradient boosting"),
        ("duckdb", "1.4.0", "outside"),
    ],
)
def test_versions_that_are_known_to_be_wrong_are_named_with_the_reason(name: str, version: str, why: str) -> None:
    found = doctor._library(name, version, LIBRARIES[name])

    assert (found.state, found.is_fine) == ("missing", False)
    assert why in found.found
    assert found.remedy == f"pip install '{name}{LIBRARIES[name]}'"


def test_a_library_that_is_not_there_is_missing() -> None:
    assert doctor._library("sqlglot", None, ">=27").found == "not installed"


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    flags = {"tracking_uri": "https://me:secret@127.0.0.1:9/x"}
    settings = config.load(flags, environ={}, start=tmp_path)

    assert "secret" not in str([*doctor._settings(settings)])


def test_an_unreachable_registry_is_a_warning_within_seconds(tmp_path: Path) -> None:
    found = doctor._registry(config.load({"tracking_uri": "http://me:secret@127.0.0.1:9"}, environ={}, start=tmp_path))

    assert found.state == "warn"
    assert "secret" not in found.found


def test_no_database_is_a_warning_with_the_remedy(tmp_path: Path) -> None:
    found = of_database(tmp_path, None)["database"]

    assert found.state == "warn"
    assert "sqlml init" in (found.remedy or "")


def test_a_database_says_its_storage_and_its_catalog(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as connection:
        migrate(connection)

    found = of_database(tmp_path, path)

    assert found["database"].state == "ok"
    assert found["database: catalog"].found == f"format {len(MIGRATIONS)}, up to date"


def test_a_newer_catalog_is_missing_its_sqlml(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as connection:
        migrate(connection)
        connection.execute("INSERT INTO sqlml.migrations VALUES (99, 'later', '9.0', '2.0.0', now())")

    found = of_database(tmp_path, path)["database: catalog"]

    assert found.state == "missing"
    assert "sqlml>=9.0" in (found.remedy or "")


def test_the_process_that_holds_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    code = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = of_database(tmp_path, path)["database"]
        other.communicate()

    assert found.state == "warn"
    assert str(other.pid) in found.found


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_text("hello, I am a text file, long enough to be looked at" * 100)

    assert of_database(tmp_path, tmp_path / "w.duckdb")["database"].state == "missing"


def test_required_isolation_that_is_not_in_force_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlml.convert import isolation

    features = [isolation.Feature("network", False, "no namespaces"), isolation.Feature("memory", False, "no limit")]
    monkeypatch.setattr(isolation, "isolation_in_force", lambda: features)
    settings = config.load({"require_isolation": True}, environ={}, start=tmp_path)

    states = {found.name: found.state for found in doctor._isolation(settings)}

    assert states == {"pickled models": "ok", "isolation: network": "missing", "isolation: memory": "warn"}
