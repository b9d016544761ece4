"""Scoring a table that does not fit into memory: seconds, rows/s and the peak of this process's memory.

    python -m bench.scale 10000000 100000000
    python -m bench.scale --engine native 10000000 100000000

Each size runs in a process of its own, on a file, with DuckDB's memory_limit at 1 GB: a full scoring of a logistic
regression over ten DOUBLE columns (with native: gradient boosting of 100 trees of depth 3), and an incremental one
that finds nothing to do. Beside it, in the same process,
`CREATE TABLE AS SELECT key, prediction`: what DuckDB takes without stamps, hashes, keys to check or resuming.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

COLUMNS = 10
MEMORY_LIMIT = "1GB"


def main(sizes: list[int], engine: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sqlml-bench-", dir=Path.cwd()) as folder:
        model = Path(folder) / "model"
        train(model, engine)
        measured = []
        for rows in sizes:
            done = subprocess.run(
                [sys.executable, "-m", "bench.scale", "--one", str(rows), str(model), folder, engine],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            measured.append(json.loads(done.stdout.splitlines()[-1]))
            print(line(measured[-1]), flush=True)
    if len(measured) > 1:
        ratio = measured[-1]["peak_mb"] / measured[0]["peak_mb"]
        print(f"peak memory at {measured[-1]['rows']:,} rows: {ratio:.2f} times that at {measured[0]['rows']:,}")


def train(path: Path, engine: str) -> None:
    import mlflow
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.random((5000, COLUMNS)) - 0.5, columns=[f"x{i}" for i in range(COLUMNS)])
    labels = np.where(rows.sum(axis=1) > 0, "yes", "no")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = GradientBoostingClassifier() if engine == "native" else LogisticRegression()
        model = estimator.fit(rows, labels)
        signature = mlflow.models.infer_signature(rows, labels)
        mlflow.sklearn.save_model(
            model, path, signature=signature, serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )


def one(rows: int, model: str, folder: str, engine: str) -> None:
    import sqlml

    file = Path(folder) / f"{rows}.duckdb"
    subprocess.run([sys.executable, "-c", MAKE.format(file=str(file), rows=rows, columns=COLUMNS)], check=True)
    config = {"memory_limit": MEMORY_LIMIT, "temp_directory": f"{folder}/spill"}
    with sqlml.connect(file, config=config) as connection, Peak() as peak:
        sqlml.deploy_db(connection, model, name="scale", table="points", key="id", engine=engine, score=False)
        began = time.perf_counter()
        full = sqlml.score(connection, "scale")
        full_seconds = time.perf_counter() - began
        began = time.perf_counter()
        again = sqlml.score(connection, "scale")
        again_seconds = time.perf_counter() - began
        assert (full.rows, again.rows, again.unchanged) == (rows, 0, rows)
        peak_mb = peak.megabytes
        began = time.perf_counter()
        connection.execute("CREATE TABLE bare AS SELECT id, scale.predict(p) AS prediction FROM points p")
        bare_seconds = time.perf_counter() - began
    file.unlink()
    print(json.dumps({"rows": rows, "full_seconds": full_seconds, "incremental_seconds": again_seconds,
                      "bare_seconds": bare_seconds, "peak_mb": peak_mb}))  # fmt: skip


# In another process, whose memory does not count.
MAKE = """
import duckdb
columns = ", ".join(f"(hash(i * 31 + {{j}}) % 1000003) / 1000003.0 - 0.5 AS x{{j}}" for j in range({columns}))
with duckdb.connect({file!r}, config={{"memory_limit": "4GB"}}) as connection:
    connection.execute(f"CREATE TABLE points AS SELECT i AS id, {{columns}} FROM range({rows}) t(i)")
"""


class Peak:
    """The most resident memory that this process has while the block runs."""

    def __init__(self) -> None:
        self.megabytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.megabytes = max(self.megabytes, pages * 4096 // 1_000_000)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def line(measured: dict[str, float]) -> str:
    rows = measured["rows"]
    return (
        f"{rows:>12,} rows: full {measured['full_seconds']:.1f} s ({rows / measured['full_seconds']:,.0f} rows/s,"
        f" {measured['full_seconds'] / measured['bare_seconds']:.1f} times the bare CREATE TABLE AS),"
        f" unchanged {measured['incremental_seconds']:.2f} s, peak {measured['peak_mb']:,} MB"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(int(sys.argv[2]), *sys.argv[3:6])
    else:
        arguments = sys.argv[1:]
        chosen = arguments[1] if arguments[:1] == ["--engine"] else "auto"
        given = [int(argument) for argument in arguments if argument.isdigit()]
        main(given or [10_000_000], chosen)
