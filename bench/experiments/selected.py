"""Rows that come out of a filter or a join, and a model that is asked twice in one statement."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from bench.cases import COLUMNS, LINEAR, SMALL_BOOSTING, named, prepare
from bench.database import SIZES, database, deploy, fill, query, table, threads
from bench.timing import Way, take_turns

CALL = "native_engine.probability(t)"
BOTH = "native_engine.predict(t), " + CALL


def selected(rounds: int) -> Iterator[str]:
    for name in (LINEAR, SMALL_BOOSTING, "RandomForest 100x10"):
        case = prepare(named(name), SIZES[-1])
        with database() as con, threads(con, 1):
            rows = fill(con, case.rows)[-1]
            con.execute(f"CREATE TABLE numbered AS SELECT row_number() OVER () AS id, * FROM {table(rows)}")
            con.execute("CREATE TABLE keys AS SELECT id FROM numbered WHERE id % 10 = 0 ORDER BY hash(id)")
            deploy(con, case.onnx, ["native"])
            yield from _after(con, name, rows, rounds)
            yield from _twice(con, name, rows, rounds)


def _after(con: duckdb.DuckDBPyConnection, name: str, rows: int, rounds: int) -> Iterator[str]:
    plain = " + ".join(f"f{i}" for i in range(COLUMNS))
    tasks = {
        "every row": ("numbered t", rows),
        "after a filter that keeps 1%": ("numbered t WHERE id % 100 = 0", rows // 100),
        "after a filter that keeps 50%": ("numbered t WHERE hash(id) % 2 = 0", rows // 2),
        "after a join that keeps 10%": ("numbered t JOIN keys USING (id)", rows // 10),
    }
    ways = [
        Way(f"{task}: {what}", lambda _, text=text: query(con, text), [scored])
        for task, (source, scored) in tasks.items()
        for what, text in (
            ("native", f"SELECT sum({CALL}) FROM {source}"),
            ("sum", f"SELECT sum({plain}) FROM {source}"),
        )
    ]
    found = take_turns(ways, rounds=rounds)
    yield ""
    yield f"{name}, 1 thread, out of {rows:,} rows{'scored/s':>20}{'ms':>10}{'ms more than the sum':>24}{'ns/row more':>14}"
    for task, (_, scored) in tasks.items():
        taken, bare = (1000 * scored / found[f"{task}: {what}"].median for what in ("native", "sum"))
        more = f"{taken - bare:>24.2f}{1e6 * (taken - bare) / scored:>14.1f}"
        yield f"  {task:<36}{scored / taken * 1000:>16,.0f}{taken:>12.2f}{more}"


def _twice(con: duckdb.DuckDBPyConnection, name: str, rows: int, rounds: int) -> Iterator[str]:
    source = table(rows)
    once = "probability(t)"
    texts = {
        once: f"SELECT sum(p) FROM (SELECT {CALL} AS p FROM {source} t)",
        "predict(t), probability(t)": f"SELECT count(l), sum(p) FROM (SELECT {BOTH.replace(', ', ' AS l, ')} AS p FROM {source} t)",
        "predict_proba(t).\"1\"": f"""SELECT sum((native_engine.predict_proba(t))."1") FROM {source} t""",
        "predict_table": f"SELECT count(prediction), sum(probability_1) FROM native_engine.predict_table('{source}')",
        "SELECT p ... WHERE p > 0.5": f"SELECT sum({CALL}) FROM {source} t WHERE {CALL} > 0.5",
        "the same, WITH ... AS MATERIALIZED": f"WITH s AS MATERIALIZED (SELECT {CALL} AS p FROM {source} t)"
        " SELECT sum(p) FROM s WHERE p > 0.5",
    }  # fmt: skip
    ways = [Way(way, lambda _, text=text: query(con, text), [rows]) for way, text in texts.items()]
    found = take_turns(ways, rounds=rounds)
    yield f"  {'how often it is computed':<40}{'rows/s':>14}{'x the time of once':>20}"
    for way, measured in found.items():
        yield f"  {way:<40}{measured.median:>14,.0f}{1 / measured.times(found[once]):>19.2f}x"
