"""How far a cheap model is from the memory: logistic regression beside the plain sum of its columns, DOUBLE and FLOAT."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cases import COLUMNS, LINEAR, SMALL_BOOSTING, named, prepare
from bench.database import SIZES, database, deploy, fill, query, table, threads
from bench.timing import Way, take_turns, thread_counts

PLAIN = "sum(f0 + ... + f9)"


def memory(rounds: int) -> Iterator[str]:
    rows = SIZES[-1]
    expressions = {
        PLAIN: " + ".join(f"f{i}" for i in range(COLUMNS)),
        "sum(probability(t))": "native_engine.probability(t)",
    }
    for name in (LINEAR, SMALL_BOOSTING):
        case = prepare(named(name), rows)
        with database() as con:
            fill(con, case.rows)
            con.execute(f"CREATE TABLE floats AS SELECT COLUMNS(*)::FLOAT FROM {table(rows)}")
            deploy(con, case.onnx, ["native"])
            texts = {
                f"{what} over {kind}": f"SELECT sum({expression}) FROM {source} t"
                for kind, source in (("DOUBLE", table(rows)), ("FLOAT", "floats"))
                for what, expression in expressions.items()
            }
            ways = [Way(way, lambda _, text=text: query(con, text), [rows]) for way, text in texts.items()]
            for number in thread_counts():
                with threads(con, number):
                    found = take_turns(ways, rounds=rounds * 2)
                yield ""
                yield f"{name}, threads: {number}, {rows:,} rows"
                yield f"  {'':<32}{'rows/s':>14}{'best':>14}{'x the plain sum':>18}"
                for way, measured in found.items():
                    plain = found[f"{PLAIN} over {way.rpartition(' ')[2]}"]
                    yield f"  {way:<32}{measured.median:>14,.0f}{measured.best:>14,.0f}{measured.times(plain):>17.2f}x"
