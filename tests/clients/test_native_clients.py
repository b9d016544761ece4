"""One file of the extension in every client: Python 1.5.6 and 2.0.0, the shell 1.5.6, JDBC 1.5.6.0 and 2.0.0.1."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sqlml import extension
from sqlml.environments.uv import Uv
from tests.clients.test_clients import HERE, QUERY, answers_of, check, deployed, driver

pytestmark = [pytest.mark.clients, pytest.mark.native]

PROGRAM = (
    "import sys, duckdb\n"
    "assert duckdb.__version__.startswith(sys.argv[4]), duckdb.__version__\n"
    "c = duckdb.connect(sys.argv[1], read_only=True, config={'allow_unsigned_extensions': 'true'})\n"
    "c.execute(sys.argv[3])\n"
    "for row in c.execute(sys.argv[2]).fetchall(): print(*row, sep='\\t')\n"
)


@pytest.fixture(scope="module")
def warehouse(registered: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the storage that the oldest client reads."""
    return deployed(tmp_path_factory.mktemp("native"), registered, "v1.5.0", "native")


@pytest.fixture(scope="module")
def expected(registered: Any) -> list[tuple[int, str, float]]:
    return answers_of(registered)


@pytest.fixture(scope="module")
def load() -> str:
    path = extension.find()
    assert path is not None
    return extension.load_statement(path)


@pytest.fixture(scope="module")
def python_1_5_6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the older package, from the index; without a network a skip on a person's machine."""
    folder = tmp_path_factory.mktemp("duckdb")
    # Our own uv: it asks the index that pip is set to, and believes the certificates that the system does.
    done = Uv().run(["pip", "install", "--quiet", "--target", str(folder), "duckdb==1.5.6"], seconds=300)
    if done.code != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"duckdb 1.5.6 cannot be had here: {done.said.strip()}")
    assert done.code == 0, done.said
    return folder


def rows_of(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_python(warehouse: Path, expected: Any, load: str) -> None:
    import duckdb

    version = ".".join(duckdb.__version__.split(".")[:2])
    command = [sys.executable, "-I", "-c", PROGRAM, warehouse, QUERY, load, version]
    check(rows_of(subprocess.run(command, check=False, capture_output=True, text=True)), expected)


def test_python_1_5_6(warehouse: Path, expected: Any, load: str, python_1_5_6: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, warehouse, QUERY, load, "1.5.6"]
    environment = {**os.environ, "PYTHONPATH": str(python_1_5_6)}
    check(rows_of(subprocess.run(command, check=False, capture_output=True, text=True, env=environment)), expected)


def test_the_shell_of_duckdb_1_5_6(warehouse: Path, expected: Any, load: str) -> None:
    import duckdb_cli

    shell = Path(duckdb_cli.__file__).with_name("duckdb")
    command = [shell, "-unsigned", "-readonly", "-csv", "-noheader", warehouse, "-c", load, "-c", QUERY]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(list(csv.reader(done.stdout.splitlines())), expected)


@pytest.mark.java
@pytest.mark.parametrize("version", ["1.5.6.0", "2.0.0.1"])
def test_jdbc(
    warehouse: Path, expected: Any, load: str, version: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    jar = driver(version, tmp_path_factory.mktemp("jars"))
    done = subprocess.run(
        ["java", "-cp", jar, HERE / "Query.java", warehouse, QUERY, load], check=False, capture_output=True, text=True
    )
    check(rows_of(done), expected)
