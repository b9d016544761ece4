"""Where on a column's grid the label changes first, on one side of a value: which places to ask about, and what came of it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlml.compile.turning import Turning
from sqlml.reasoning import guessing
from sqlml.reasoning.grids import Grid
from sqlml.reasoning.spread import Spread

# Any in this module: labels.
FIRST, TRIED, FEW = 32, 128, 16
"""Candidates on each side in the first round; values tried over a range, where nothing is known and where one change is."""
GUESSES = 2
"""Rounds in which a side is asked about around a guess; those after it narrow down evenly."""
BEYOND = 100
"""So many times the range of the source's values (or the value itself) is looked at on either side of it."""


@dataclass
class Search:
    """One side of one column: which places to ask about next, and what came of it."""

    column: int
    grid: Grid
    upward: bool
    start: int
    near: float
    """The value that distances are counted from."""
    spread: Spread
    points: Iterator[int]
    """Places from near to far."""
    narrows: bool
    """Whether the change lies between two points, or at one."""
    is_exact: bool
    size: int = FIRST
    bracket: tuple[int, int] | None = None
    """(the last place that is known to have the same label, the first one that has another)"""
    last: int | None = None
    found: int | None = None
    becomes: Any = None
    done: bool = False
    cut: bool = False
    odds: Sequence[tuple[int, float]] = ()
    """(place, log-odds of the label that was found) of places that were asked about"""
    level: float = 0.0
    """The log-odds at which that label begins."""
    guesses: int = 0

    def wanted(self, parts: int) -> list[int]:
        if self.done:
            return []
        if self.bracket is None:
            places = list(islice(self.points, self.size))
            self.size *= 4
            self.done = not places
            return places
        same, other = self.bracket
        cuts = self._about_guess(min(same, other), max(same, other), parts)
        parts = FEW if cuts else parts
        cuts |= {same + (other - same) * k // parts for k in range(1, parts)} - {same, other}
        self.done = not cuts
        return sorted(cuts, reverse=not self.upward)

    def _about_guess(self, low: int, high: int, parts: int) -> set[int]:
        if high - low <= parts or self.guesses == GUESSES:
            return set()
        self.guesses += 1
        place = guessing.crossing(self.grid, self.odds, self.level)
        return set() if place is None or not low < place < high else guessing.around(place, low, high)

    def take(self, places: Sequence[int], labels: Sequence[Any], base: Any) -> None:
        first = next((i for i, label in enumerate(labels) if label is not None and label != base), None)
        if first is None:
            self.last = places[-1]
            if self.bracket is not None:
                self.bracket = (places[-1], self.bracket[1])
            return
        before = places[first - 1] if first else self.last if self.last is not None else self.start
        self.found, self.becomes, self.last = places[first], labels[first], before
        self.bracket = (before, places[first])
        self.done = not self.narrows

    @property
    def inside(self) -> bool | None:
        """Whether the answer is within what the source has."""
        if self.found is None or self.spread.low is None or self.spread.high is None:
            return None
        return self.spread.low <= self.grid.value(self.found) <= self.spread.high

    @property
    def nearer_than(self) -> float:
        """From here on the other side need not look."""
        return abs(self.grid.value(self.found) - self.near) if self.found is not None and self.inside else math.inf


def searches(column: int, grid: Grid, value: float, turning: Turning, spread: Spread) -> list[Search]:
    """Both sides of a value."""
    start = grid.nearest(value)
    ends = _ends(grid, value, spread)
    found = []
    for upward in (True, False):
        if turning.way == "steps":
            points = _steps(grid, start, value, turning.thresholds.tolist(), upward=upward)
        else:
            side = sorted((end for end in ends if end != start and (end > start) == upward), reverse=not upward)
            points = iter(_tried(grid, start, side, turning))
        is_step, size = turning.way == "steps", FIRST if turning.way == "steps" else TRIED * 8
        found.append(
            Search(column, grid, upward, start, value, spread, points, not is_step, turning.way != "anyhow", size)
        )
    return found


def _ends(grid: Grid, value: float, spread: Spread) -> list[int]:
    """The ends of what the source has, and those of what is looked at."""
    low = value if spread.low is None else min(spread.low, value)
    high = value if spread.high is None else max(spread.high, value)
    width = BEYOND * ((high - low) or abs(value) or 1.0)
    wanted = [low - width, high + width, *(v for v in (spread.low, spread.high) if v is not None)]
    usable = [v for v in wanted if math.isfinite(v)]
    return sorted({min(max(grid.nearest(v), grid.low), grid.high) for v in usable})


def _steps(grid: Grid, start: int, value: float, thresholds: Sequence[float], *, upward: bool) -> Iterator[int]:
    """The nearest place of each interval: a threshold is the last value on one of its sides, whichever that is."""
    if upward:
        ahead = thresholds[bisect.bisect_left(thresholds, value) :]
        pairs = ((grid.above(t), grid.above(math.nextafter(t, math.inf))) for t in ahead)
    else:
        ahead = thresholds[: bisect.bisect_right(thresholds, value)][::-1]
        pairs = ((grid.below(t), grid.below(math.nextafter(t, -math.inf))) for t in ahead)
    last = start
    for pair in pairs:
        for place in pair:
            if (place > last) if upward else (place < last):
                if not grid.low <= place <= grid.high:
                    return
                yield place
                last = place


def _tried(grid: Grid, start: int, ends: Sequence[int], turning: Turning) -> list[int]:
    """Evenly over the range on this side and beyond it; where scalers have their means, too."""
    parts = TRIED if turning.way == "anyhow" else FEW
    places: set[int] = set()
    before = start
    for end in ends:
        a, b = grid.value(before), grid.value(end)
        places |= {grid.nearest(a + (b - a) * k / parts) for k in range(1, parts)} | {end}
        before = end
    if turning.way == "anyhow":
        known = [grid.nearest(v) for v in (*turning.learned.tolist(), *turning.thresholds.tolist()[: TRIED * 2])]
        places |= {place for place in known if min(start, before) < place < max(start, before)}
    return sorted(places - {start}, key=lambda place: abs(place - start))
