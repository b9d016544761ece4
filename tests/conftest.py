"""Fixtures for everyone: a real MLflow with the demo's churn models registered."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqlml import extension

# Servers that tests of any folder may ask for: `hbase`, `cluster`, `table_name`, `mariadb`.
pytest_plugins = ["tests.hbase.fixtures", "tests.mariadb"]

# Columns of MLflow's tables that hold where files are: a copied store must name its own copies.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Registry:
    """A real MLflow in SQLite: `churn` v1 is a logistic regression (alias Production), v2 gradient boosting."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "models"

    @property
    def as_trained(self) -> Path:
        """A copy from before anybody used it: deploying tags versions, and loading a model writes into its folder."""
        return self.folder.with_name(f"{self.folder.name}-as-trained")

    def copied(self, folder: Path) -> Registry:
        """The registry as it was trained, with files of its own, to be changed by a test."""
        shutil.copytree(self.as_trained, folder)
        copy = Registry(folder)
        with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
            for table, column in LOCATIONS:
                connection.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(self.folder), str(folder))
                )
        return copy

    def execute(self, statement: str, *values: object) -> None:
        """Change MLflow's tables directly, for states that its API no longer makes."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as connection, connection:
            assert connection.execute(statement, values).rowcount > 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without the native extension its tests are skipped on a person's machine, and fail in CI."""
    if item.get_closest_marker("native") is not None and extension.find() is None:
        said = f"{extension.why_missing()} {extension.remedy()}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """A CI runner may start the tests in the background, where the shell makes them, and all they start, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The demo's registry, trained once per session: read it, do not change it (`own_registry` is for that)."""
    registry = Registry(tmp_path_factory.mktemp("registered"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "sqlml.demo.training",
            "--tracking-uri",
            registry.uri,
            "--artifacts",
            registry.artifacts,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    shutil.copytree(registry.folder, registry.as_trained)
    return registry


@pytest.fixture
def own_registry(registered: Registry, tmp_path: Path) -> Registry:
    """A copy of the demo's registry that a test may change."""
    return registered.copied(tmp_path / "registry")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the developer's own shell must not reach a test; which extension is tested is none."""
    for variable in list(os.environ):
        if variable.startswith(("SQLML_", "MLFLOW_")) and variable not in (extension.OVERRIDE, extension.ONNXRUNTIME):
            monkeypatch.delenv(variable)


@pytest.fixture
def unused_port() -> int:
    """A port of this machine on which nothing listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
