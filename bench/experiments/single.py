"""One row at a time: what a statement costs that asks for one prediction, beside the same statement without a model."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import duckdb

from bench.cases import LINEAR, SMALL_BOOSTING, named, prepare
from bench.database import database, deploy, threads
from bench.experiments.models import compiles
from bench.timing import seconds_of

TIMES = 40


def single(rounds: int) -> Iterator[str]:
    yield ""
    yield f"One row at a time, median ms of {TIMES * rounds} statements"
    for name in (LINEAR, SMALL_BOOSTING, "RandomForest 100x10", "Telco pipeline, GradientBoosting"):
        case = prepare(named(name), 2048)
        with database() as con, threads(con, 1):
            con.register("given", case.rows)
            con.execute("CREATE TABLE t AS FROM given; CREATE TABLE one AS FROM t LIMIT 1")
            cost = compiles(case)
            engines = ["native", "python", *(["sql"] if cost is not None and cost.leaves < 1000 else [])]
            deploy(con, case.onnx, engines)
            yield f"  {name}"
            for what, statements in _statements(con, list(case.rows), engines).items():
                taken = _in_turns(con, statements, rounds)
                yield f"    {what:<34}" + ", ".join(f"{way} {1000 * seconds:.2f}" for way, seconds in taken.items())


def _statements(
    con: duckdb.DuckDBPyConnection, columns: Sequence[str], engines: Sequence[str]
) -> dict[str, dict[str, str]]:
    first = f'"{columns[0]}"'
    calls = {"no model": first, **{engine: f"{engine}_engine.probability(one)" for engine in engines}}
    con.execute("CREATE TABLE target (p DOUBLE)")
    made = {
        "SELECT": {way: f"SELECT {call} FROM one" for way, call in calls.items()},
        "INSERT ... SELECT": {way: f"INSERT INTO target SELECT {call} FROM one" for way, call in calls.items()},
    }
    if duckdb.__version__ >= "2":
        for way, call in calls.items():
            table = f'"live {way}"'
            con.execute(f"CREATE TABLE {table} AS FROM t LIMIT 0")
            con.execute(
                f"CREATE TRIGGER {table} AFTER INSERT ON {table} REFERENCING NEW TABLE AS one"
                f" FOR EACH STATEMENT INSERT INTO target SELECT {call} FROM one"
            )
        made["INSERT with a trigger"] = {way: f'INSERT INTO "live {way}" FROM one' for way in calls}
    return made


def _in_turns(con: duckdb.DuckDBPyConnection, statements: dict[str, str], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {way: [] for way in statements}
    for statement in statements.values():
        con.execute(statement).fetchall()
    for _ in range(TIMES * rounds):
        for way, statement in statements.items():
            taken[way].append(seconds_of(lambda statement=statement: con.execute(statement).fetchall()))
    return {way: statistics.median(found) for way, found in taken.items()}
