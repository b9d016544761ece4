"""The hbase:// store beside bare happybase: the same bytes in the same chunks over the same number of connections.

    python -m tests.hbase.server run -- python -m bench.hbase --save

Bare happybase writes and reads 1 MiB cells from four threads, with nothing around them: no checksums, no manifest, no
order. What sqlml adds is what the ratio shows. Both read once into nothing and once to a file on disk. Then a model of 200 MiB is deployed from the local disk
and from HBase. The ways take turns at being first, so that whatever else the machine does, and what HBase still has to
flush, meets all of them; medians are what counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from sqlml.hbase import copying, files, reading
from sqlml.hbase.creating import create
from sqlml.hbase.layout import CHUNK_BYTES, CHUNK_COLUMN
from sqlml.hbase.store import Store, open_store

CONNECTIONS = 4
RESULTS = Path(__file__).parent / "results"


def bare(host: str, port: int, table: str, work: Callable[[Any, int], None], chunks: int) -> None:
    """`work(table, number)` for every chunk, from CONNECTIONS threads with a connection each."""
    import happybase

    def share(first: int) -> None:
        connection = happybase.Connection(host, port, timeout=120_000)
        for number in range(first, chunks, CONNECTIONS):
            work(connection.table(table), number)
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(share, range(CONNECTIONS)))


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def move(store: Store, megabytes: int, folder: Path, first: int) -> dict[str, float]:
    """Seconds of each way, once, all on fresh rows; `first` says which of both begins."""
    source, target = folder / "source", folder / "target"
    content = os.urandom(megabytes << 20)
    source.write_bytes(content)
    place, run = store.location, uuid4().hex
    path = store.path(run)

    def kept(table: Any, number: int) -> None:
        found = table.row(b"bare/%s/%08d" % (run.encode(), number), columns=[CHUNK_COLUMN])
        os.pwrite(local, found[CHUNK_COLUMN], number * CHUNK_BYTES)

    def read() -> None:
        assert sum(map(len, store.transfers.download(files.require(store.gateway, path).manifest, path))) == len(
            content
        )

    def put(table: Any, number: int) -> None:
        chunk = content[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
        table.put(b"bare/%s/%08d" % (run.encode(), number), {CHUNK_COLUMN: chunk})

    def get(table: Any, number: int) -> None:
        found = table.row(b"bare/%s/%08d" % (run.encode(), number), columns=[CHUNK_COLUMN])
        assert len(found[CHUNK_COLUMN]) == CHUNK_BYTES

    ways = {
        "put": {
            "bare": lambda: bare(place.host, place.port, place.table, put, megabytes),
            "sqlml": lambda: copying.put_file(store, path, source),
        },
        "get": {"bare": lambda: bare(place.host, place.port, place.table, get, megabytes), "sqlml": read},
        "get to a file": {
            "bare": lambda: bare(place.host, place.port, place.table, kept, megabytes),
            "sqlml": lambda: reading.fetch(store.gateway, store.transfers, path, target),
        },
    }
    took = {}
    local = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for way, sides in ways.items():
        for side in sorted(sides, reverse=bool(first % 2)):
            took[f"{side} {way}"] = seconds(sides[side])
    os.close(local)
    assert target.read_bytes() == (folder / "bare").read_bytes() == content
    return took


def deploy(store: Store, megabytes: int, folder: Path, repeats: int) -> list[dict[str, float]]:
    """Seconds of deploying the same model from the local disk and from HBase, and of its transfer alone."""
    import sqlml

    model, registry = folder / "model", f"sqlite:///{folder}/mlflow.db"
    subprocess.run(
        [sys.executable, "-m", "bench.hbase", "--register", registry, str(model), str(megabytes)], check=True
    )
    at = f"{store.location.uri}/large"
    with closing(open_store(at)) as there:
        copying.put_folder(there, None, model)
    subprocess.run([sys.executable, "-m", "bench.hbase", "--register", registry, at, "0"], check=True)
    found = []
    for number in range(repeats):
        took = {}
        for side, version in sorted({"local": 1, "hbase": 2}.items(), reverse=bool(number % 2)):
            with sqlml.connect(":memory:") as connection:
                took[side] = seconds(
                    lambda version=version, connection=connection: sqlml.deploy_db(
                        connection, f"large:{version}", tracking_uri=registry
                    )
                )
        with closing(open_store(at)) as there, tempfile.TemporaryDirectory() as target:
            path = there.path(None)
            took["transfer"] = seconds(
                lambda there=there, path=path, target=target: copying.get_folder(there, path, Path(target))
            )
        found.append(took)
    return found


def register(registry: str, source: str, megabytes: int) -> None:
    """Register the folder or location `source` as the next version of `large`, made first where `megabytes` says so.

    A logistic regression that carries random bytes along: what is measured is bringing, hashing and opening them.
    """
    import mlflow
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(registry)
    if megabytes:
        rows = pd.DataFrame(np.random.default_rng(0).random((500, 5)), columns=list("abcde"))
        labels = np.where(rows.sum(axis=1) > 2.5, "yes", "no")
        model = LogisticRegression(C=0.01).fit(rows, labels)
        model.carried_ = np.frombuffer(os.urandom(megabytes << 20), np.uint8)
        mlflow.sklearn.save_model(
            model,
            source,
            signature=mlflow.models.infer_signature(rows, labels),
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
    client = mlflow.MlflowClient()
    if not client.search_registered_models("name = 'large'"):
        client.create_registered_model("large")
    client.create_model_version("large", source=source if "://" in source else Path(source).absolute().as_uri())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--megabytes", type=int, default=200)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--save", action="store_true", help="keep what is printed in bench/results")
    options.add_argument("--register", nargs=3, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.register:
        return register(asked.register[0], asked.register[1], int(asked.register[2]))
    if "HBASE_PORT" not in os.environ:
        sys.exit("HBASE_HOST and HBASE_PORT are not set: python -m tests.hbase.server run -- python -m bench.hbase")
    lines = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    where = f"{sys.platform} {platform.machine()} {os.cpu_count()} cores"
    say(f"python -m bench.hbase --megabytes {asked.megabytes} --repeats {asked.repeats}, {where}\n")
    uri = f"hbase://{os.environ['HBASE_HOST']}:{os.environ['HBASE_PORT']}/bench_{uuid4().hex[:8]}/files"
    with closing(open_store(uri)) as store, tempfile.TemporaryDirectory() as folder:
        create(store.gateway, "NONE")
        move(store, 16, Path(folder), 0)  # the servers' first requests are slower
        moved = [move(store, asked.megabytes, Path(folder), number) for number in range(asked.repeats)]
        for way in ("put", "get", "get to a file"):
            speed = {
                side: median(asked.megabytes / row[f"{side} {way}"] for row in moved) for side in ("bare", "sqlml")
            }
            ratios = sorted(row[f"bare {way}"] / row[f"sqlml {way}"] for row in moved)
            say(
                f"{way}: sqlml {speed['sqlml']:.0f} MiB/s, bare happybase on {CONNECTIONS} connections"
                f" {speed['bare']:.0f} MiB/s: {median(ratios):.2f} times (from {ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        deployed = deploy(store, asked.megabytes, Path(folder), asked.repeats)
        took = {way: median(row[way] for row in deployed) for way in deployed[0]}
        ratio = median(row["hbase"] / (row["local"] + row["transfer"]) for row in deployed)
        say(
            f"deploy of a {asked.megabytes} MiB model: from HBase {took['hbase']:.1f} s, from the local disk"
            f" {took['local']:.1f} s, the transfer alone {took['transfer']:.1f} s: {ratio:.2f} times the sum of both"
        )
    if asked.save:
        name = f"hbase-{sys.platform}-{platform.machine()}-{os.cpu_count()}-cores.txt"
        (RESULTS / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
