"""Clients that know nothing of sqlml read what it deployed: plain Python, JDBC, and the oldest supported shell."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sqlml
from sqlml.demo.customers import FEATURES, KEY, customers

ROWS = 200
QUERY = "SELECT customer_id, churn.predict(c), churn.probability(c) FROM customers c ORDER BY customer_id"
CURRENT = "SELECT customer_id, prediction, probability_Yes FROM churn.current ORDER BY customer_id"
HERE = Path(__file__).parent

pytestmark = pytest.mark.clients


def deployed(folder: Path, registered: Any, storage_version: str | None, engine: str = "sql") -> Path:
    path = folder / "warehouse.duckdb"
    with sqlml.connect(path, storage_version=storage_version) as connection:
        connection.register("loaded", customers().head(ROWS))
        connection.execute("CREATE TABLE customers AS FROM loaded")
        done = sqlml.deploy_db(
            connection,
            "churn:Production",
            table="customers",
            key=KEY,
            engine="auto" if engine == "sql" else engine,
            tracking_uri=registered.uri,
        )
        assert isinstance(done, sqlml.Deployed)
        assert done.engine == engine
    return path


@pytest.fixture(scope="module")
def warehouse(registered: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed(tmp_path_factory.mktemp("default"), registered, None)


@pytest.fixture(scope="module")
def warehouse_of_1_5(registered: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed(tmp_path_factory.mktemp("older"), registered, "v1.5.0")


@pytest.fixture(scope="module")
def expected(registered: Any) -> list[tuple[int, str, float]]:
    return answers_of(registered)


def answers_of(registered: Any) -> list[tuple[int, str, float]]:
    """The original model's own answers."""
    import mlflow

    mlflow.set_tracking_uri(registered.uri)
    try:
        pipeline = mlflow.sklearn.load_model("models:/churn@Production")
    finally:
        mlflow.set_tracking_uri(None)
    rows = customers().head(ROWS)
    probabilities = pipeline.predict_proba(rows[FEATURES])[:, list(pipeline.classes_).index("Yes")]
    return list(zip(rows[KEY], pipeline.predict(rows[FEATURES]), probabilities, strict=True))


def check(found: list[list[str]], expected: list[tuple[int, str, float]]) -> None:
    assert [(int(row[0]), row[1]) for row in found] == [(key, label) for key, label, _ in expected]
    assert [float(row[2]) for row in found] == pytest.approx([p for _, _, p in expected], abs=1e-9)


@pytest.mark.parametrize("query", [QUERY, CURRENT])
def test_plain_python(warehouse: Path, expected: Any, query: str) -> None:
    program = (
        "import sys, duckdb\n"
        "for row in duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall(): print(*row, sep='\\t')\n"
        "sys.exit('sqlml was imported' if 'sqlml' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, warehouse, query], check=True, capture_output=True, text=True
    )
    check([line.split("\t") for line in done.stdout.splitlines()], expected)


@pytest.mark.parametrize("query", [QUERY, CURRENT])
def test_the_shell_of_duckdb_1_5_6_reads_a_file_of_storage_1_5(
    warehouse_of_1_5: Path, expected: Any, query: str
) -> None:
    import duckdb_cli

    shell = Path(duckdb_cli.__file__).with_name("duckdb")
    done = subprocess.run(
        [shell, "-readonly", "-csv", "-noheader", warehouse_of_1_5, query], check=True, capture_output=True, text=True
    )
    check(list(csv.reader(done.stdout.splitlines())), expected)


@pytest.fixture(scope="session")
def jdbc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver("2.0.0.1", tmp_path_factory.mktemp("jars"))


def driver(version: str, folder: Path) -> Path:
    """The driver, from Maven; its absence is a skip on a person's machine and a failure in CI."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(
            f"{' and '.join(missing)} not installed (`.ci/packages` does it on Debian): the JDBC client is not tested here"
        )
    copy = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}", f"-Ddriver={version}"]
    fetched = subprocess.run(
        ["mvn", "-B", "-q", "-f", HERE / "pom.xml", *copy], check=False, capture_output=True, text=True
    )
    assert fetched.returncode == 0, fetched.stdout
    return next(folder.glob("duckdb_jdbc-*.jar"))


@pytest.mark.java
@pytest.mark.parametrize("query", [QUERY, CURRENT])
@pytest.mark.parametrize("storage", ["warehouse", "warehouse_of_1_5"])
def test_jdbc(request: pytest.FixtureRequest, jdbc: Path, expected: Any, storage: str, query: str) -> None:
    path = request.getfixturevalue(storage)
    done = subprocess.run(
        ["java", "-cp", jdbc, HERE / "Query.java", path, query], check=True, capture_output=True, text=True
    )
    check([line.split("\t") for line in done.stdout.splitlines()], expected)
