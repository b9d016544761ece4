"""Rows at every threshold of the model: on it, one step beside it, in rows that reach the split.

Three values decide: the last one on this side of a split, the first one on the other, and the one before. Where SQL gives
the model's answers at the first two, its threshold is the model's own. They stand in rows that reach the split (see
`sqlml.compile.aims`) as long as there are rows for it; all others, and float32 neighbours, share rows over the columns:
each row goes through all trees anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sqlml.compile import Probes
from sqlml.compile.aims import NOT_A_CATEGORY, Block
from sqlml.signature import Column, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Doubles = NDArray[np.float64]

# Any in this module: arrays of the columns' several types.
MOST_ROWS = 60_000
FEWEST_ROWS = 8_000
TREE_VISITS = 8_000_000
"""Rows x trees: a forest of 500 trees has 16,000 rows at its thresholds, one of 100 trees all that are wanted."""
LARGEST = 1e30
DTYPES: Mapping[str, Any] = {
    "DOUBLE": np.float64,
    "FLOAT": np.float32,
    "BIGINT": np.int64,
    "INTEGER": np.int32,
    "BOOLEAN": np.bool_,
}


@dataclass(frozen=True)
class ThresholdRows:
    """Column by column, in the signature's order; texts are objects. Nothing is missing in them."""

    columns: tuple[Array, ...]
    origins: tuple[str, ...]
    reached: int
    """Thresholds in rows of their own, which are known to reach the split."""
    singles: int
    """Float32 neighbours of thresholds that are among the values."""
    singles_found: int

    def __len__(self) -> int:
        return len(self.origins)


def threshold_rows(signature: Signature, probes: Probes, base: Sequence[Sequence[Any]]) -> ThresholdRows:
    """`base` are ordinary rows in the signature's columns, without anything missing."""
    ordinary = [_array(column, [row[i] for row in base]) for i, column in enumerate(signature.columns)]
    budget = int(np.clip(TREE_VISITS // max(1, probes.trees), FEWEST_ROWS, MOST_ROWS))
    aimed = _Aimed(signature, ordinary)
    if probes.aims is not None:
        for block in probes.aims.blocks(budget // 4):
            aimed.add(block)
    sure, singles = [], []
    for i, column in enumerate(signature.columns):
        bounds = usual(probes.thresholds.get(column.name, np.zeros(0)))
        learned = _in_type(column, usual(probes.learned.get(column.name, np.zeros(0))))
        wanted = np.setdiff1d(np.concatenate([around(column, bounds), learned]), aimed.placed(i))
        sure.append(wanted)
        singles.append(np.setdiff1d(float32_neighbours(column, bounds), np.concatenate([wanted, aimed.placed(i)])))
    free = [aimed.free(i) for i in range(len(sure))]
    must = max((len(s) - len(f) for s, f in zip(sure, free, strict=True)), default=0)
    all_ = max((len(s) + len(o) - len(f) for s, o, f in zip(sure, singles, free, strict=True)), default=0)
    extra = max(0, must, min(all_, budget - len(aimed)))
    columns: list[Array] = []
    kept = 0
    for i in range(len(signature.columns)):
        queue = np.concatenate([sure[i], singles[i]])[: len(free[i]) + extra]
        kept += max(0, len(queue) - len(sure[i]))
        spots = free[i][: len(queue)]
        before = aimed.column(i)
        before[spots] = queue[: len(spots)]
        shared = np.resize(ordinary[i], extra)
        rest = queue[len(spots) :]
        shared[: len(rest)] = rest
        columns.append(np.concatenate([before, shared]) if len(before) else shared)
    return ThresholdRows(
        columns=tuple(columns),
        origins=(*aimed.origins, *("values at and beside thresholds, in many columns",) * extra),
        reached=aimed.reached,
        singles=kept,
        singles_found=sum(map(len, singles)),
    )


def usual(bounds: Doubles) -> Doubles:
    """Without the limits of float32, scaled: where they are passed models raise, which would hide what else is in a row."""
    return bounds[np.abs(bounds) < LARGEST]


def around(column: Column, bounds: Doubles) -> Array:
    """Each threshold and its neighbours on either side, as values of the column's type."""
    if column.is_text or not len(bounds):
        return np.zeros(0, dtype=DTYPES.get(column.type, object))
    if column.type == "BOOLEAN":
        return np.array([False, True])
    if column.type == "DOUBLE":
        return np.unique(np.concatenate([bounds, np.nextafter(bounds, np.inf), np.nextafter(bounds, -np.inf)]))
    if column.type == "FLOAT":
        return _singles(bounds)
    low, high = np.floor(bounds), np.ceil(bounds)
    return _in_type(column, np.concatenate([low, low - 1, low + 1, high, high + 1]))


def float32_neighbours(column: Column, bounds: Doubles) -> Array:
    """The float32 nearest to each threshold, and those beside it; only where the column holds doubles."""
    if column.type != "DOUBLE" or not len(bounds):
        return np.zeros(0, dtype=DTYPES.get(column.type, object))
    return _singles(bounds).astype(np.float64)


def _singles(bounds: Doubles) -> Array:
    """The float32 nearest to each, and those beside it."""
    with np.errstate(over="ignore"):
        nearest = bounds.astype(np.float32)
        steps = [np.nextafter(nearest, np.float32(side)) for side in (-np.inf, np.inf)]
    return np.unique(np.concatenate([nearest, *steps]))


def whole_limits(column: Column) -> tuple[int, int]:
    """Least and greatest value of an integer or boolean column."""
    if column.type == "BOOLEAN":
        return 0, 1
    about = np.iinfo(DTYPES[column.type])
    return int(about.min), int(about.max)


def _in_type(column: Column, values: Doubles) -> Array:
    if column.is_text:
        return np.zeros(0, dtype=object)
    if column.type in ("DOUBLE", "FLOAT"):
        with np.errstate(over="ignore"):
            return np.unique(values.astype(DTYPES[column.type]))
    low, high = whole_limits(column)
    whole = np.concatenate([np.floor(values), np.ceil(values)])
    # 2**63 is a double, and the first one that is too large.
    return np.unique(whole[(whole >= low) & (whole < float(high) + 1)].astype(DTYPES[column.type]))


def _array(column: Column, values: Sequence[Any]) -> Array:
    if column.is_text:
        texts = np.empty(len(values), dtype=object)
        texts[:] = list(values)
        return texts
    return np.array(values, dtype=DTYPES[column.type])


class _Aimed:
    """Rows that reach a split, two for each: at its threshold, and beyond it."""

    def __init__(self, signature: Signature, ordinary: Sequence[Array]) -> None:
        self.origins: list[str] = []
        self.reached = 0
        self._signature = signature
        self._ordinary = ordinary
        self._values: list[list[Array]] = [[] for _ in signature.columns]
        self._free: list[list[Array]] = [[] for _ in signature.columns]
        self._own: list[Array] = []
        self._taken = 0

    def __len__(self) -> int:
        return len(self.origins)

    def add(self, block: Block) -> None:
        size = len(block)
        start = np.arange(self._taken, self._taken + size)
        self._taken += size
        own = [(np.zeros(size), np.zeros(size))] * len(self._ordinary)
        possible = np.ones(size, dtype=np.bool_)
        values: list[Array] = []
        free: list[Array] = []
        for i, column in enumerate(self._signature.columns):
            given = self._ordinary[i][start % len(self._ordinary[i])]
            mine = block.column == i
            if column.is_text:
                free.append(np.zeros(size, dtype=np.bool_))
                values.append(self._texts(given, i, block))
                continue
            low, high = block.low[:, i], block.high[:, i]
            free.append(np.isneginf(low) & np.isposinf(high) & ~mine)
            found, fits = _between(column, given, low, high)
            pair = _sides(column, block.at, block.beyond)
            own[i] = (pair[0], pair[1])
            possible &= np.where(mine, pair[2], fits)
            values.append(found)
        chosen = np.flatnonzero(possible)
        for side, words in ((0, "at"), (1, "beyond")):
            for i in range(len(values)):
                mine = block.column[chosen] == i
                column_values = values[i][chosen].copy()
                if mine.any():
                    column_values[mine] = own[i][side][chosen][mine]
                self._values[i].append(column_values)
                self._free[i].append(free[i][chosen])
            self._own.append(block.column[chosen])
            names = [self._signature.columns[i].name for i in block.column[chosen].tolist()]
            at = block.at[chosen].tolist()
            self.origins += [f"{words} threshold {t!r} of {name}" for t, name in zip(at, names, strict=True)]
        self.reached += len(chosen)

    def _texts(self, given: Array, index: int, block: Block) -> Array:
        found = given.copy()
        for row, asked in enumerate(block.texts):
            allowed = asked.get(index)
            if allowed is not None and given[row] not in allowed:
                choice = sorted(allowed - {NOT_A_CATEGORY}) or [NOT_A_CATEGORY]
                found[row] = choice[row % len(choice)]
        return found

    def column(self, index: int) -> Array:
        parts = self._values[index]
        return np.concatenate(parts) if parts else self._ordinary[index][:0].copy()

    def placed(self, index: int) -> Array:
        """The column's values at its own thresholds."""
        return self.column(index)[self._mine() == index] if self._own else self._ordinary[index][:0]

    def free(self, index: int) -> Array:
        """Positions of rows in which the column may be anything."""
        return np.flatnonzero(np.concatenate(self._free[index])) if self._own else np.zeros(0, dtype=np.int64)

    def _mine(self) -> Array:
        return np.concatenate(self._own)


def _sides(column: Column, at: Doubles, beyond: Doubles) -> tuple[Array, Array, Array]:
    """(last value of the column's type on one side, first on the other, whether there are both)."""
    if column.type == "DOUBLE":
        return at, beyond, np.isfinite(beyond)
    rises = beyond > at
    if column.type == "FLOAT":
        with np.errstate(over="ignore"):
            nearest = at.astype(np.float32)
            past = np.where(rises, nearest.astype(np.float64) > at, nearest.astype(np.float64) < at)
            toward = np.where(rises, -np.inf, np.inf).astype(np.float32)
            last = np.where(past, np.nextafter(nearest, toward), nearest)
            first = np.nextafter(last, -toward)
        return last, first, np.isfinite(last) & np.isfinite(first)
    low, high = whole_limits(column)
    last = np.where(rises, np.floor(at), np.ceil(at))
    first = np.where(rises, last + 1, last - 1)
    fits = (np.minimum(last, first) >= low) & (np.maximum(last, first) < float(high) + 1) & (np.abs(last) < 2.0**53)
    dtype = DTYPES[column.type]
    return np.where(fits, last, 0).astype(dtype), np.where(fits, first, 0).astype(dtype), fits


def _between(column: Column, given: Array, low: Doubles, high: Doubles) -> tuple[Array, Array]:
    """(values inside of the intervals, whether there are any): the given ones where they are, else the nearest end."""
    if column.type in ("DOUBLE", "FLOAT"):
        with np.errstate(over="ignore"):
            single = np.clip(given.astype(np.float64), low, high).astype(DTYPES[column.type])
        inside = (single >= low) & (single <= high)
        return single, inside
    least, most = whole_limits(column)
    low, high = np.maximum(np.ceil(low), least), np.minimum(np.floor(high), most)
    fits = (low <= high) & (high >= least) & (low <= most)
    numbers = given.astype(np.float64)
    moved = np.where(fits & ((numbers < low) | (numbers > high)), np.clip(numbers, low, high), 0)
    change = fits & ((numbers < low) | (numbers > high)) & (np.abs(moved) < 2.0**62)
    return np.where(change, moved.astype(DTYPES[column.type]), given), fits
