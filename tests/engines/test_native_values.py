"""Random and hostile values of every SQL type: the extension reads them as the SQL of features.py does, bit for bit."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator

import duckdb
import pytest

from sqlml import extension, sql
from sqlml.database import open_database
from sqlml.engines.features import cast_error, feature
from sqlml.engines.native import LETTERS
from sqlml.signature import Column
from tests.engines.test_native_engine import identity

pytestmark = pytest.mark.native

EDGES = [0, 1, 2, 127, 255, 2**24, 2**24 + 1, 2**31, 2**53, 2**53 + 1, 2**54 + 3, 2**63, 2**64 - 1, 2**65 + 3, 2**127]
INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
    "UHUGEINT": (0, 2**128 - 1),
}
DECIMALS = [(4, 2), (9, 3), (18, 0), (18, 2), (18, 18), (38, 0), (38, 1), (38, 20), (38, 38)]
DOUBLES = [
    0.0,
    -0.0,
    0.5,
    math.nan,
    math.inf,
    -math.inf,
    3.4028235e38,
    1e39,
    5e-324,
    2.0**53,
    2.0**63,
    -(2.0**127),
    0.1,
]
TEXTS = [
    *("1", " 12.5 ", "abc", "", "nan", " +NaN", "-inf", "1e400", "true", "F", "No", "on", "0x1F", "1_000", "½"),
    *("9007199254740993", "9007199254740993.7", "16777217", "2.5", "-2147483648", "9223372036854775808", "1e3.5", "."),
    *("-9223372036854775808", "-9223372036854775809", "-170141183460469231731687303715884105728", "\t7\n"),
]
MOMENTS = ["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"]
UUIDS = [
    "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    "F0000000-0000-0000-0000-000000000001",
    "00000000-0000-0000-0000-000000000000",
]


def whole_numbers(low: int, high: int, seed: random.Random) -> list[int]:
    drawn = [seed.randrange(1, 1 << seed.randrange(1, 128)) for _ in range(150)]
    both = [sign * number + step for number in EDGES + drawn for sign in (1, -1) for step in (-1, 0, 1)]
    return [number for number in [*both, *(seed.randrange(low, high + 1) for _ in range(40))] if low <= number <= high]


def decimal_text(digits: int, scale: int) -> str:
    shown = str(abs(digits)).rjust(scale + 1, "0")
    point = len(shown) - scale
    return f"{'-' * (digits < 0)}{shown[:point]}{'.' * (scale > 0)}{shown[point:]}"


def values_by_type(seed: random.Random) -> dict[str, list[str]]:
    found = {name: [str(v) for v in whole_numbers(low, high, seed)] for name, (low, high) in INTEGERS.items()}
    bits = [struct.unpack("<d", struct.pack("<Q", seed.getrandbits(64)))[0] for _ in range(60)]
    doubles = [*DOUBLES, *bits, *(seed.uniform(-1e6, 1e6) for _ in range(40))]
    found["DOUBLE"] = [repr(number) for number in doubles]
    found["FLOAT"] = [repr(number) for number in doubles if not math.isfinite(number) or abs(number) < 3.4e38]
    for width, scale in DECIMALS:
        limit = 10**width - 1
        found[f"DECIMAL({width}, {scale})"] = [
            decimal_text(digits, scale) for digits in whole_numbers(-limit, limit, seed)
        ]
    found["VARCHAR"] = TEXTS
    found[f"ENUM({', '.join(sql.string(text) for text in TEXTS)})"] = TEXTS
    found["BOOLEAN"] = ["true", "false"]
    return found | {name: ["2020-01-01", "1969-12-31"] for name in MOMENTS} | {"UUID": UUIDS}


def same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return struct.pack("<d", left) == struct.pack("<d", right) or (math.isnan(left) and math.isnan(right))


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database(":memory:") as connection:
        extension.load(connection)
        yield connection


@pytest.mark.parametrize("kind", [kind for kind in LETTERS if kind != "VARCHAR"])
def test_numbers_are_read_as_sql_reads_them(con: duckdb.DuckDBPyConnection, kind: str) -> None:
    column = Column("x", kind, "missing")
    model = identity((column,))
    con.execute("SELECT sqlml_load(?::BLOB)", [model.onnx]).fetchall()
    number = sql.render(feature(column, sql.column("x")))
    found = cast_error(column, sql.column("x"))
    assert found is not None
    bad = sql.render(found[0])
    call = f"sqlml_value_1('{model.sha256}', '{LETTERS[kind]}', NULL, x)"
    compared = 0
    for name, texts in values_by_type(random.Random(kind)).items():
        rows = "SELECT unnest(range(len($1))) AS i, unnest($1::VARCHAR[]) AS v"
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE t AS SELECT i, CAST(v AS {name}) AS x FROM ({rows})", [[*texts, None]]
        )
        query = f"SELECT CAST(x AS VARCHAR), {bad}, {number}, {call} AS answer FROM t ORDER BY i"
        for shown, unreadable, expected, answer in con.execute(query).fetchall():
            wanted = None if unreadable else math.nan if expected is None else expected
            assert answer["error"] == (-1 if unreadable else None), (name, shown, answer)
            assert same(answer["t0"], wanted), (name, shown, answer, wanted)
            compared += 1
    assert compared > 9_000


def test_what_is_no_text_is_read_as_the_text_that_sql_casts_it_to(con: duckdb.DuckDBPyConnection) -> None:
    column = Column("x", "VARCHAR", "missing")
    for name, texts in values_by_type(random.Random("texts")).items():
        some = texts[:: max(1, len(texts) // 8)]
        rows = "SELECT unnest(range(len($1))) AS i, unnest($1::VARCHAR[]) AS v"
        con.execute(f"CREATE OR REPLACE TEMP TABLE t AS SELECT CAST(v AS {name}) AS x FROM ({rows})", [some])
        for (shown,) in con.execute("SELECT DISTINCT CAST(x AS VARCHAR) FROM t").fetchall():
            model = identity((column,), shown)
            con.execute("SELECT sqlml_load(?::BLOB)", [model.onnx]).fetchall()
            answer = f"(sqlml_value_1('{model.sha256}', 'T', NULL, x)).t0 = 1"
            query = f"SELECT count(*) FILTER ({answer}), count(*) FILTER (CAST(x AS VARCHAR) = $1) FROM t"
            found, expected = con.execute(query, [shown]).fetchone()
            assert found == expected > 0, (name, shown)
