"""The rows on which SQL and the original are compared: ordinary ones, and every kind known to tell them apart."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sqlml.compile import Probes
from sqlml.parity.thresholds import ThresholdRows, around, threshold_rows, usual, whole_limits
from sqlml.parity.values import EXTREMES, INTEGERS, TEXTS, near_misses
from sqlml.signature import Column, Signature

if TYPE_CHECKING:
    import pyarrow as pa

Value = float | int | bool | str | None

SAMPLE_ROWS = 1000
EXAMPLE_ROWS = 50
EXTREME_ROWS = 3000
TEXT_ROWS = 1500
NULL_ROWS = 600
MIXED_ROWS = 500
ORDINARY_ROWS = 64
"""How many base rows the hostile values are put into, when there is no table to take them from."""
MIXED_THRESHOLDS = 2000
"""Of each column, as many are drawn from for rows with hostile values in many columns."""


@dataclass(frozen=True)
class HostileRows:
    """Rows in the signature's columns, in its order; a row's id is its position.

    `kinds` groups them ("threshold"), `origins` says why each one is there ("at threshold 0.5 of age"), and `counts` how
    many of the model's own values are among them.
    """

    features: pa.Table
    kinds: tuple[str, ...]
    origins: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

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
    """Rows for the parity gate: some thousands, and as many as the model's thresholds need; the same every time.

    Args:
        signature: Names and types of the columns.
        probes: Per column the thresholds and categories that the model compares it with.
        sample: Rows of the table to be scored; columns are found by name, ignoring case, others are left alone.
        example: The model's own input example, likewise.
        seed: Which base rows and which combinations are drawn.
    """
    import pyarrow as pa

    rng = random.Random(seed)
    found = [(kind, row) for kind, row in _given(signature, sample, example, rng)]
    base = _base(signature, probes, [row for _, row in found], rng)
    pools = {column.name: _pool(column, probes) for column in signature.columns}
    made = [_Row(kind, kind, row) for kind, row in found]
    if not found:
        made += [_Row("ordinary", "between thresholds", row) for row in base]
    made += _nulls(signature, base, rng)
    made += _one_at_a_time(signature, base, pools, rng)
    made += _categories(signature, base, probes)
    made += _mixed(signature, base, pools, rng)
    columns = {c.name: [row.values[i] for row in made] for i, c in enumerate(signature.columns)}
    thresholds = threshold_rows(signature, probes, base)
    tables = [_table(signature, columns), *([_threshold_table(signature, thresholds)] if len(thresholds) else [])]
    return HostileRows(
        pa.concat_tables(tables).combine_chunks(),
        (*(row.kind for row in made), *("threshold",) * len(thresholds)),
        (*(row.origin for row in made), *thresholds.origins),
        _counts(probes, thresholds),
    )


def _counts(probes: Probes, thresholds: ThresholdRows) -> dict[str, int]:
    return {
        "thresholds": probes.thresholds_taken,
        "thresholds of the model": probes.thresholds_found,
        "thresholds in a row that reaches their split": thresholds.reached,
        "float32 neighbours": thresholds.singles,
        "float32 neighbours of all": thresholds.singles_found,
        "thresholds that are no value of one column": probes.not_followed,
        "categories": probes.categories_taken,
        "categories of the model": probes.categories_found,
    }


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


def _threshold_table(signature: Signature, rows: ThresholdRows) -> pa.Table:
    import pyarrow as pa

    arrays = [
        pa.array(values, type=arrow_type(c), from_pandas=False)
        for c, values in zip(signature.columns, rows.columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema([pa.field(c.name, arrow_type(c)) for c in signature.columns]))


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
                values.append(None if value is None else _read(column, value))
            except (TypeError, ValueError, OverflowError):
                values.append(None)
                unreadable.add(position)
        columns.append(values)
    return [row for position, row in enumerate(zip(*columns, strict=True)) if position not in unreadable]


def _read(column: Column, value: Any) -> Value:  # Any: what Arrow's to_pylist gives
    if column.type in READERS:
        return READERS[column.type](value)
    number = int(value)
    if number != value:
        raise ValueError(f"{value} is not an integer")
    low, high = whole_limits(column)
    if not low <= number <= high:
        raise OverflowError(f"{value} does not fit {column.type}")
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
            rng.choice(known) if known else _ordinary(column, probes, rng)
            for column, known in zip(signature.columns, seen, strict=True)
        )
        for _ in range(ORDINARY_ROWS)
    ]


def _is_missing(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _ordinary(column: Column, probes: Probes, rng: random.Random) -> Value:
    if column.is_text:
        return rng.choice(probes.categories.get(column.name) or ("a", "b"))
    if column.type == "BOOLEAN":
        return rng.random() < 0.5
    known = [found.get(column.name, np.zeros(0)) for found in (probes.thresholds, probes.learned)]
    numbers = usual(np.concatenate(known))
    spread = max(1.0, float(numbers.max() - numbers.min())) if len(numbers) else 1.0
    number = float(rng.choice(numbers if len(numbers) else [0.0])) + rng.gauss(0.0, 0.1) * spread
    if column.type in ("DOUBLE", "FLOAT"):
        return _in_type(column, number)
    low, high = whole_limits(column)
    return max(low, -(2**31), min(high, 2**31 - 1, round(number)))


def _in_type(column: Column, number: float) -> float:
    if column.type != "FLOAT":
        return number
    try:
        return _float32(number)
    except OverflowError:
        return math.copysign(math.inf, number)


def _pool(column: Column, probes: Probes) -> list[_Hostile]:
    """Hostile values of a column, NULL left out; of its thresholds and categories some, for rows that mix them."""
    if column.is_text:
        return _text_pool(column, probes.categories.get(column.name, ()))
    if column.type == "BOOLEAN":
        return [_Hostile("extreme", f"{value} in {column.name}", value) for value in (False, True)]
    bounds = probes.thresholds.get(column.name, np.zeros(0))
    near, every = usual(bounds), np.concatenate([bounds, probes.learned.get(column.name, np.zeros(0))])
    limits = np.setdiff1d(every, usual(every))
    some = around(column, near[:: max(1, len(near) // MIXED_THRESHOLDS)])
    found = [_Hostile("threshold", f"{v!r} at a threshold of {column.name}", v) for v in some.tolist()]
    found += [_Hostile("extreme", f"{v!r} at a limit of {column.name}", v) for v in around(column, limits).tolist()]
    if column.type in ("DOUBLE", "FLOAT"):
        extremes: Mapping[str, float] = EXTREMES
        return found + [
            _Hostile(_extreme_kind(v), f"{what} in {column.name}", _in_type(column, v)) for what, v in extremes.items()
        ]
    low, high = whole_limits(column)
    return found + [
        _Hostile("extreme", f"{what} in {column.name}", v) for what, v in INTEGERS.items() if low <= v <= high
    ]


def _extreme_kind(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "infinity" if math.isinf(value) else "extreme"


def _text_pool(column: Column, known: Sequence[str]) -> list[_Hostile]:
    found = [_Hostile("text", f"{what} in {column.name}", text) for what, text in TEXTS.items() if text not in known]
    found += [_Hostile("category", f"category {text!r} of {column.name}", text) for text in known]
    seen = set(known)
    for text in known:
        for what, variant in near_misses(text).items():
            if variant not in seen:
                seen.add(variant)
                found.append(_Hostile("text", f"{what} of category {text!r} of {column.name}", variant))
    return found


def _with(row: Sequence[Value], changes: Mapping[int, Value]) -> tuple[Value, ...]:
    return tuple(changes.get(i, value) for i, value in enumerate(row))


def _nulls(signature: Signature, base: Sequence[tuple[Value, ...]], rng: random.Random) -> list[_Row]:
    columns = signature.columns
    positions = range(len(columns)) if len(columns) <= NULL_ROWS else sorted(rng.sample(range(len(columns)), NULL_ROWS))
    made = [
        _Row("null", f"NULL in {columns[i].name}", _with(rng.choice(base), {i: None}))
        for i in positions
        for _ in range(2 if len(columns) <= NULL_ROWS // 2 else 1)
    ]
    made.append(_Row("null", "NULL in every column", (None,) * len(columns)))
    for _ in range(min(20, 2 ** len(columns))):
        chosen = rng.sample(range(len(columns)), rng.randint(1, len(columns)))
        made.append(_Row("null", f"NULL in {len(chosen)} columns", _with(rng.choice(base), dict.fromkeys(chosen))))
    return made


def _one_at_a_time(
    signature: Signature, base: Sequence[tuple[Value, ...]], pools: Mapping[str, Sequence[_Hostile]], rng: random.Random
) -> list[_Row]:
    """Each extreme and each strange text alone in an ordinary row: where a model raises for one, no other is hidden."""
    extremes: list[tuple[int, _Hostile]] = []
    texts: list[tuple[int, _Hostile]] = []
    for i, column in enumerate(signature.columns):
        for hostile in pools[column.name]:
            if hostile.kind == "text":
                texts.append((i, hostile))
            elif hostile.kind not in ("threshold", "category"):
                extremes.append((i, hostile))
    return [
        _Row(hostile.kind, hostile.what, _with(rng.choice(base), {i: hostile.value}))
        for i, hostile in (*_evenly(extremes, EXTREME_ROWS), *_evenly(texts, TEXT_ROWS))
    ]


def _evenly(found: Sequence[tuple[int, _Hostile]], budget: int) -> list[tuple[int, _Hostile]]:
    """At most `budget` of them."""
    if len(found) <= budget:
        return list(found)
    return [found[k * len(found) // budget] for k in range(budget)]


def _categories(signature: Signature, base: Sequence[tuple[Value, ...]], probes: Probes) -> list[_Row]:
    """Every category of every text column; columns share rows."""
    known = {i: probes.categories[c.name] for i, c in enumerate(signature.columns) if c.name in probes.categories}
    made = []
    for number in range(max(map(len, known.values()), default=0)):
        row = {i: texts[number] for i, texts in known.items() if number < len(texts)}
        about = ", ".join(f"{text!r} in {signature.columns[i].name}" for i, text in list(row.items())[:5])
        made.append(_Row("category", f"category {about}", _with(base[number % len(base)], row)))
    return made


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
