"""More threads than one: 32 row groups, so that four threads would have eight each."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cases import LINEAR, SMALL_BOOSTING, named, prepare
from bench.database import GROUP, database, deploy, query, threads
from bench.machine import cores
from bench.timing import seconds_of

GROUPS = 32
ASKED = 245_760


def parallel(rounds: int) -> Iterator[str]:
    numbers = [n for n in (1, 2, 4, 8) if n <= cores()]
    yield ""
    few = "" if cores() >= 4 else f" (this machine has {cores()}: 4 threads cannot be measured on it)"
    yield f"Threads, {GROUPS} row groups of {GROUP:,}: rows/s and x one thread{few}"
    for name in (LINEAR, SMALL_BOOSTING, "RandomForest 100x10"):
        case = prepare(named(name), ASKED)
        with database() as con:
            con.register("given", case.rows)
            times = GROUPS * GROUP // ASKED
            con.execute(f"CREATE TABLE wide AS SELECT given.* FROM range({times}), given")
            deploy(con, case.onnx, ["native"])
            run = query(con, "SELECT sum(native_engine.probability(t)) FROM wide t")
            best: dict[int, float] = {}
            for _ in range(rounds):
                for number in numbers:
                    with threads(con, number):
                        if number not in best:
                            run()
                        best[number] = min(best.get(number, 1e9), seconds_of(run))
        rates = {number: GROUPS * GROUP / taken for number, taken in best.items()}
        shown = ", ".join(f"{number}: {rate:,.0f} ({rate / rates[1]:.2f}x)" for number, rate in rates.items())
        yield f"  {name:<28}{shown} (best of {rounds})"
