"""One Spark for the whole session: local, on one thread, small, and reachable from this machine only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "900m",
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.ui.showConsoleProgress": "false",
}


def absent() -> str | None:
    """Why there is no Spark here."""
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark is not installed: python -m pip install pyspark==4.2.1"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "there is no java, which Spark runs in"
    return None


class Skipped(pytest.Module):
    """A file of tests that cannot even be imported without pyspark."""

    def collect(self) -> Any:
        pytest.skip(str(absent()), allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """In CI Spark is required; on a person's machine its absence is a skip with the reason."""
    if absent() is None or os.environ.get("CI") == "true":
        return None
    return Skipped.from_parent(parent, path=module_path)  # type: ignore[no-any-return]  # pytest's own idiom


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from pyspark.sql import SparkSession

    # pyspark takes a main module without a file for a doctest and ends the process; pytest-xdist's workers have none.
    main = sys.modules["__main__"]
    if not hasattr(main, "__file__"):
        main.__file__ = __file__
    place = tmp_path_factory.mktemp("spark")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Spark's own, about the newest pandas
        builder = SparkSession.builder.master("local[1]").appName("sqlml tests")
        for name, value in SETTINGS.items():
            builder = builder.config(name, value)
        builder = builder.config("spark.local.dir", str(place / "local"))
        session = builder.config("spark.sql.warehouse.dir", str(place / "warehouse")).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(30)
