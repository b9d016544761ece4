"""`why` of one row among ten million predictions: a file whose keys are in no order, a connection that is warm."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlml
from bench.cases import COLUMNS, LINEAR, SMALL_BOOSTING, named, save
from bench.timing import seconds_of
from sqlml import sql

ROWS = 10_000_000
ASKED = 20
KEYS = {"BIGINT": "(i * 630360016) % 2147483647", "VARCHAR": "'c' || hash(i)"}
"""Each once (2,147,483,647 is a prime), and in no order."""


def why(rounds: int) -> Iterator[str]:
    yield ""
    yield f"why of one row among {ROWS:,} predictions, keys in no order; milliseconds over {ASKED} keys"
    for name, kind, keep in (
        (SMALL_BOOSTING, "BIGINT", "hash"),
        (LINEAR, "BIGINT", "inputs"),
        (LINEAR, "VARCHAR", "hash"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            yield from _one(Path(folder), name, kind, keep, rounds)


def _one(folder: Path, name: str, kind: str, keep: str, rounds: int) -> Iterator[str]:
    saved = save(folder, named(name))
    path = folder / "warehouse.duckdb"
    with sqlml.connect(path) as con:
        columns = ", ".join(f"(random() + random() + random() - 1.5) * 2 AS f{i}" for i in range(COLUMNS))
        con.execute(f"CREATE TABLE t AS SELECT {KEYS[kind]} AS id, {columns} FROM range({ROWS}) r(i)")
        sqlml.deploy_db(con, str(saved), name="m", table="t", key="id", keep=keep)
    with sqlml.connect(path, read_only=True) as con:
        keys = [row[0] for row in con.execute(sql.sampled("SELECT id FROM t", ASKED, 7)).fetchall()]
        ways: dict[str, Callable[[object], object]] = {
            "sqlml.why": lambda key: sqlml.why(con, "m", key),
            "FROM m.why(...)": lambda key: con.execute("FROM m.why($1)", [key]).fetchall(),
            "the row alone": lambda key: con.execute("FROM m.current WHERE id = $1", [key]).fetchall(),
        }
        yield f"  {name}, {kind} key, --keep {keep}"
        for title, ask in ways.items():
            first = 1000 * seconds_of(lambda ask=ask: ask(keys[0]))
            taken = sorted(_asked(ask, keys, rounds))
            middle, worst = 1000 * taken[len(taken) // 2], 1000 * taken[-1]
            yield f"    {title:<16} first {first:6.0f}   median {middle:6.0f}   slowest {worst:6.0f}"


def _asked(ask: Callable[[object], object], keys: list[object], rounds: int) -> Iterator[float]:
    order = random.Random(0)
    for _ in range(rounds):
        for key in order.sample(keys, len(keys)):
            yield seconds_of(lambda key=key: ask(key))
