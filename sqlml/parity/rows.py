"""The rows on which SQL and the original are compared: ordinary ones, and every kind known to tell them apart."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlml.parity.values import EXTREMES, INTEGERS, TEXTS
from sqlml.signature import Column, Signature

if TYPE_CHECKING:
    import pyarrow as pa

Value = float | int | bool | str | None
Probes = Mapping[str, Sequence[float | str]]

SAMPLE_ROWS = 1000
EXAMPLE_ROWS = 50
EXTREME_ROWS = 700
THRESHOLD_ROWS = 1200
CATEGORY_ROWS = 500
MIXED_ROWS = 500
ORDINARY_ROWS = 64
"""How many base rows the hostile values are put into, when there is no table to take them from."""


@dataclass(frozen=True)
class HostileRows:
    """Rows in the signature's columns, in its order; a row's id is its position.

    `kinds` groups them ("threshold"), `origins` says why each one is there ("1 ulp above threshold 0.5 of age").
    """

    features: pa.Table
    kinds: tuple[str, ...]
    origins: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kinds)


def hostile_rows(
    signature: Signature,
    probes: Probes,
    sample: pa.Table | None = None,
    example: pa.Table | None = None,
    *,
    seed: int = 0,
) -> HostileRows:
    """Rows for the parity gate, a few thousand at most; the same for the same arguments.

    Args:
        signature: Names and types of the columns.
        probes: Per column the thresholds and categories that the model compares it with.
        sample: Rows of the table to be scored; columns are found by name, ignoring case, others are left alone.
        example: The model's own input example, likewise.
        seed: Which base rows and which combinations are drawn.
    """
    rng = random.Random(seed)
    found = [(kind, row) for kind, row in _given(signature, sample, example, rng)]
    base = _base(signature, probes, [row for _, row in found], rng)
    pools = {column.name: _pool(column, probes.get(column.name, ())) for column in signature.columns}
    made = [_Row(kind, kind, row) for kind, row in found]
    made += _nulls(signature, base, rng)
    made += _one_at_a_time(signature, base, pools, rng)
    made += _mixed(signature, base, pools, rng)
    columns = {c.name: [row.values[i] for row in made] for i, c in enumerate(signature.columns)}
    return HostileRows(_table(signature, columns), tuple(row.kind for row in made), tuple(row.origin for row in made))


def arrow_type(column: Column) -> Any:  # Any: pyarrow has no types
    """The Arrow type in which a column's hostile values are given."""
    import pyarrow as pa

    types = {
        "DOUBLE": pa.float64(), "FLOAT": pa.float32(), "BIGINT": pa.int64(),
        "INTEGER": pa.int32(), "BOOLEAN": pa.bool_(), "VARCHAR": pa.string(),
    }  # fmt: skip
    return types[column.type]


@dataclass(frozen=True)
class _Row:
    kind: str
    origin: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class _Hostile:
    """One hostile value of a column."""

    kind: str
    what: str
    value: Value


def _table(signature: Signature, columns: Mapping[str, Sequence[Value]]) -> pa.Table:
    import pyarrow as pa

    # Not from_pandas: a NaN stays a NaN, and NULL is something else.
    arrays = [pa.array(columns[c.name], type=arrow_type(c), from_pandas=False) for c in signature.columns]
    fields = [pa.field(c.name, arrow_type(c)) for c in signature.columns]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _given(
    signature: Signature, sample: pa.Table | None, example: pa.Table | None, rng: random.Random
) -> list[tuple[str, tuple[Value, ...]]]:
    rows: list[tuple[str, tuple[Value, ...]]] = []
    for kind, table, limit in (("sample", sample, SAMPLE_ROWS), ("input example", example, EXAMPLE_ROWS)):
        if table is None or table.num_rows == 0:
            continue
        if table.num_rows > limit:
            table = table.take(sorted(rng.sample(range(table.num_rows), limit)))
        rows += [(kind, row) for row in _conformed(signature, table)]
    return rows


def _conformed(signature: Signature, table: pa.Table) -> list[tuple[Value, ...]]:
    """The table's rows in the signature's columns and types; a row with a value that has no such type is left out."""
    names = {name.casefold(): name for name in reversed(table.column_names)}
    columns: list[list[Value]] = []
    unreadable: set[int] = set()
    for column in signature.columns:
        name = names.get(column.name.casefold())
        raw = [None] * table.num_rows if name is None else table.column(name).to_pylist()
        values: list[Value] = []
        for position, value in enumerate(raw):
            try:
                values.append(None if value is None else READERS[column.type](value))
            except (TypeError, ValueError, OverflowError):
                values.append(None)
                unreadable.add(position)
        columns.append(values)
    return [row for position, row in enumerate(zip(*columns, strict=True)) if position not in unreadable]


def _integer(value: Any, bits: int = 64) -> int:  # Any: what Arrow's to_pylist gives
    number = int(value)
    if number != float(value) and number != value:
        raise ValueError(f"{value} is not an integer")
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise OverflowError(f"{value} does not fit {bits} bits")
    return number


def _boolean(value: Any) -> bool:  # Any: what Arrow's to_pylist gives
    if value not in (0, 1):
        raise ValueError(f"{value} is not true or false")
    return bool(value)


def _float32(value: float) -> float:
    """Rounded as a cast to float32 would; OverflowError past its range."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


READERS: Mapping[str, Callable[[Any], Value]] = {
    "DOUBLE": float,
    "FLOAT": lambda value: _float32(float(value)),
    "BIGINT": _integer,
    "INTEGER": lambda value: _integer(value, 32),
    "BOOLEAN": _boolean,
    "VARCHAR": str,
}


def _base(
    signature: Signature, probes: Probes, given: Sequence[tuple[Value, ...]], rng: random.Random
) -> list[tuple[Value, ...]]:
    """Ordinary rows, without anything missing, that a hostile value is put into."""
    whole = [row for row in given if not any(_is_missing(value) for value in row)]
    if whole:
        return rng.sample(whole, min(len(whole), 4 * ORDINARY_ROWS))
    seen = [[row[i] for row in given if not _is_missing(row[i])] for i in range(len(signature.columns))]
    return [
        tuple(
            rng.choice(known) if known else _ordinary(column, probes.get(column.name, ()), rng)
            for column, known in zip(signature.columns, seen, strict=True)
        )
        for _ in range(ORDINARY_ROWS)
    ]


def _is_missing(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _ordinary(column: Column, probes: Sequence[float | str], rng: random.Random) -> Value:
    if column.is_text:
        return rng.choice([p for p in probes if isinstance(p, str)] or ["a", "b"])
    if column.type == "BOOLEAN":
        return rng.random() < 0.5
    numbers = [p for p in probes if not isinstance(p, str) and math.isfinite(p)]
    spread = max(1.0, max(numbers) - min(numbers)) if numbers else 1.0
    number = rng.choice(numbers or [0.0]) + rng.gauss(0.0, 0.1) * min(spread, 1e300)
    if column.type in ("BIGINT", "INTEGER"):
        return max(-(2**31), min(2**31 - 1, round(number)))
    return _in_type(column, number)


def _in_type(column: Column, number: float) -> float:
    if column.type != "FLOAT":
        return number
    try:
        return _float32(number)
    except OverflowError:
        return math.copysign(math.inf, number)


def _pool(column: Column, probes: Sequence[float | str]) -> list[_Hostile]:
    """Every hostile value of a column, NULL left out."""
    if column.is_text:
        return _text_pool(column, [p for p in probes if isinstance(p, str)])
    if column.type == "BOOLEAN":
        return [_Hostile("extreme", f"{value} in {column.name}", value) for value in (False, True)]
    numbers = sorted({float(p) for p in probes if not isinstance(p, str) and math.isfinite(p)})
    if column.type in ("BIGINT", "INTEGER"):
        return _integer_pool(column, numbers)
    found = [
        _Hostile(_extreme_kind(v), f"{what} in {column.name}", _in_type(column, v)) for what, v in EXTREMES.items()
    ]
    for value, what in _named(numbers).items():
        found.append(_Hostile("threshold", f"{what} of {column.name}", _in_type(column, value)))
    return found


def _extreme_kind(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "infinity" if math.isinf(value) else "extreme"


def _named(numbers: Sequence[float]) -> dict[float, str]:
    """Each value with what it is to the thresholds; their neighbours one ulp away are added where they lack.

    A compiler's probes hold both neighbours of each threshold already, and float32 numbers near it.
    """
    given = set(numbers)
    thresholds = [n for n in numbers if {math.nextafter(n, math.inf), math.nextafter(n, -math.inf)} <= given]
    named: dict[float, str] = {}
    for threshold in thresholds or numbers:
        named[threshold] = f"at threshold {threshold!r}"
        named.setdefault(math.nextafter(threshold, math.inf), f"1 ulp above threshold {threshold!r}")
        named.setdefault(math.nextafter(threshold, -math.inf), f"1 ulp below threshold {threshold!r}")
    for number in numbers:
        named.setdefault(number, f"{number!r}, beside a threshold")
    return named


def _integer_pool(column: Column, thresholds: Sequence[float]) -> list[_Hostile]:
    bits = 32 if column.type == "INTEGER" else 64
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    found = [_Hostile("extreme", f"{what} in {column.name}", v) for what, v in INTEGERS.items() if low <= v <= high]
    for threshold in thresholds:
        for value in sorted(
            {math.floor(threshold) - 1, math.floor(threshold), math.ceil(threshold), math.ceil(threshold) + 1}
        ):
            if low <= value <= high:
                found.append(_Hostile("threshold", f"{value} beside threshold {threshold!r} of {column.name}", value))
    return found


def _text_pool(column: Column, known: Sequence[str]) -> list[_Hostile]:
    found = [_Hostile("category", f"category {text!r} of {column.name}", text) for text in known]
    found += [_Hostile("text", f"{what} in {column.name}", text) for what, text in TEXTS.items() if text not in known]
    seen = set(known)
    for text in known:
        variants = {
            "upper case": text.upper(), "lower case": text.lower(), "swapped case": text.swapcase(),
            "blank after": text + " ", "blank before": " " + text, "cut": text[:-1], "twice": text * 2,
            "NUL after": text + "\x00",
        }  # fmt: skip
        for what, variant in variants.items():
            if variant not in seen:
                seen.add(variant)
                found.append(_Hostile("text", f"{what} of category {text!r} of {column.name}", variant))
    return found


def _with(row: Sequence[Value], changes: Mapping[int, Value]) -> tuple[Value, ...]:
    return tuple(changes.get(i, value) for i, value in enumerate(row))


def _nulls(signature: Signature, base: Sequence[tuple[Value, ...]], rng: random.Random) -> list[_Row]:
    columns = signature.columns
    made = [
        _Row("null", f"NULL in {column.name}", _with(rng.choice(base), {i: None}))
        for i, column in enumerate(columns)
        for _ in range(2)
    ]
    made.append(_Row("null", "NULL in every column", (None,) * len(columns)))
    for _ in range(min(20, 2 ** len(columns))):
        chosen = rng.sample(range(len(columns)), rng.randint(1, len(columns)))
        made.append(_Row("null", f"NULL in {len(chosen)} columns", _with(rng.choice(base), dict.fromkeys(chosen))))
    return made


def _one_at_a_time(
    signature: Signature, base: Sequence[tuple[Value, ...]], pools: Mapping[str, Sequence[_Hostile]], rng: random.Random
) -> list[_Row]:
    """Each hostile value in an ordinary row, with thresholds sampled evenly where there are too many."""
    by_budget: dict[int, list[tuple[int, _Hostile]]] = {THRESHOLD_ROWS: [], CATEGORY_ROWS: [], EXTREME_ROWS: []}
    budgets = {"threshold": THRESHOLD_ROWS, "category": CATEGORY_ROWS, "text": CATEGORY_ROWS}
    for i, column in enumerate(signature.columns):
        for hostile in pools[column.name]:
            by_budget[budgets.get(hostile.kind, EXTREME_ROWS)].append((i, hostile))
    return [
        _Row(hostile.kind, hostile.what, _with(rng.choice(base), {i: hostile.value}))
        for budget, found in by_budget.items()
        for i, hostile in _evenly(found, budget)
    ]


def _evenly(found: Sequence[tuple[int, _Hostile]], budget: int, run: int = 3) -> list[tuple[int, _Hostile]]:
    """At most `budget` of them, in runs: a threshold and its two neighbours stay together."""
    if len(found) <= budget:
        return list(found)
    count, kept = -(-len(found) // run), budget // run
    starts = [k * count // kept * run for k in range(kept)]
    return [one for start in starts for one in found[start : start + run]]


def _mixed(
    signature: Signature, base: Sequence[tuple[Value, ...]], pools: Mapping[str, Sequence[_Hostile]], rng: random.Random
) -> list[_Row]:
    """Hostile values in many columns at once: first what a model without missing values accepts, then anything."""
    tame = {
        name: [h for h in pool if h.kind in ("threshold", "category")] or [h for h in pool if h.kind == "extreme"][:6]
        for name, pool in pools.items()
    }
    made = []
    for number in range(MIXED_ROWS):
        anything = number % 3 == 2
        changes: dict[int, Value] = {}
        for i, column in enumerate(signature.columns):
            pool = pools[column.name] if anything else tame[column.name]
            if pool and rng.random() < 0.8:
                changes[i] = None if anything and rng.random() < 0.1 else rng.choice(pool).value
        origin = "hostile values in many columns" if anything else "thresholds and categories in many columns"
        made.append(_Row("mixed", origin, _with(rng.choice(base), changes)))
    return made
