"""Every model, every way: the probability of the positive class of every row, summed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import duckdb

from bench.cases import TASKS, Case, prepare
from bench.database import SIZES, database, deploy, fill, query, schema_of, table, threads
from bench.peers import compiled, inside, ready
from bench.peers.inside import Refused, one_line
from bench.timing import Measured, Way, take_turns, thread_counts
from sqlml.compile import Cost, NotCompilable, compile_onnx
from sqlml.engines.choose import choose_engine

NATIVE, DOUBLE, FLOAT, UDF = "native", "onnxruntime, our double graph", "onnxruntime, float32 export", "Arrow UDF"
Made = TypeVar("Made")
YDF = "ydf, a model of this shape"
COMPILES_UP_TO = 3_000
"""Leaves: as SQL, more take seconds to bind."""


def models(rounds: int, only: str = "") -> Iterator[str]:
    for task in TASKS:
        if only.casefold() in task.name.casefold():
            case = prepare(task, SIZES[-1])
            with database() as con:
                yield from report(con, case, rounds)


def report(con: duckdb.DuckDBPyConnection, case: Case, rounds: int) -> Iterator[str]:
    leaves = leaves_of(case)
    yield ""
    yield f"{case.name} ({len(case.onnx.onnx):,} bytes of ONNX{f', {leaves:,} leaves' if leaves else ''})"
    chosen, why = choose_engine(case.onnx, native=lambda _: None)
    yield f"  auto chooses {chosen}: {why}"
    sizes = fill(con, case.rows)
    engines = ["native", "python", *(["sql"] if leaves <= COMPILES_UP_TO and compiles(case) else [])]
    deploy(con, case.onnx, engines)
    answers = {engine: con.execute(_sum(engine, sizes[0])).fetchall()[0][0] for engine in engines}
    off = max(abs(total - answers["native"]) for total in answers.values())
    yield f"  largest difference of the engines' sums over {sizes[0]:,} rows: {off:.1g} of {answers['native']:,.3f}"
    refused: dict[str, str] = {}
    for number in thread_counts():
        with threads(con, number):
            ways = list(ways_of(con, case, engines, sizes, leaves, number, refused))
            found = dict(take_turns(ways, rounds=rounds))
        rate = attempt(YDF, refused, lambda number=number: compiled.ydf_benchmark(case, number))
        if rate is not None:
            found[YDF] = Measured(100_000, (rate,) * rounds)
        yield from lines(found, number)
    for name, reason in refused.items():
        yield f"  {name}: {reason}"


def leaves_of(case: Case) -> int:
    import onnx

    graph = onnx.load_from_string(case.onnx.onnx).graph
    return sum(
        len(attribute.ints)
        for node in graph.node if node.op_type.startswith("TreeEnsemble")
        for attribute in node.attribute if attribute.name == "leaf_targetids"
    )  # fmt: skip


def compiles(case: Case) -> Cost | None:
    try:
        return compile_onnx(case.onnx).cost
    except NotCompilable:
        return None


def ways_of(
    con: duckdb.DuckDBPyConnection, case: Case, engines: list[str], sizes: tuple[int, ...], leaves: int, number: int,
    refused: dict[str, str],
) -> Iterator[Way]:  # fmt: skip
    for engine in engines:
        yield Way(engine, lambda rows, engine=engine: query(con, _sum(engine, rows)), sizes)
    # A thousand trees of 255 leaves take others seconds for the fewest rows that are worth a query.
    given = (sizes[0] // 4, *sizes)
    peers: Mapping[str, Callable[[], Way]] = {
        FLOAT: lambda: ready.float_export(case, given, number),
        DOUBLE: lambda: ready.double_graph(case, given, number),
        UDF: lambda: inside.arrow_udf(con, case, sizes),
        "scikit-learn": lambda: ready.scikit_learn(case, given, number),
        "pandas, fetch + predict": lambda: inside.fetched(con, case, sizes),
        "tl2cgen": lambda: compiled.compiled_c(case, given, number, leaves=leaves),
        "orbital's SQL": lambda: inside.orbital_sql(con, case, sizes, leaves=leaves),
    }
    for name, make in peers.items():
        way = attempt(name, refused, make)
        if way is not None:
            yield way


def attempt(name: str, refused: dict[str, str], make: Callable[[], Made]) -> Made | None:
    """What a peer gives, or nothing, and why."""
    if name in refused:
        return None
    try:
        return make()
    except Refused as reason:
        refused[name] = str(reason)
    except Exception as error:  # peers raise what they like, and the rest of the table is still wanted
        refused[name] = one_line(error)
    return None


def lines(found: Mapping[str, Measured], number: int) -> Iterator[str]:
    word = "thread" if number == 1 else "threads"
    yield f"  {f'{number} {word}':<32}{'rows/s':>14}{'best':>14}{'native is':>12}{'x float32 ort':>15}{'x double ort':>14}"
    native = found[NATIVE]
    for name, measured in found.items():
        to_float = f"{measured.times(found[FLOAT]):.2f}x" if FLOAT in found else "-"
        row = f"  {name:<32}{measured.median:>14,.0f}{measured.best:>14,.0f}{native.times(measured):>11.2f}x"
        yield f"{row}{to_float:>15}{f'{measured.times(found[DOUBLE]):.2f}x' if DOUBLE in found else '-':>14}"


def _sum(engine: str, rows: int) -> str:
    return f"SELECT sum({schema_of(engine)}.probability(t)) FROM {table(rows)} t"
