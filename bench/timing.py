"""Ways to do one task, measured in turns, so that a slow moment of the machine meets all of them.

Rows a second are compared, not seconds: a slow way is given fewer rows, so that each of its runs takes about as long.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.machine import cores

Run = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """`prepare(rows)` gives what does the task for so many rows once."""

    name: str
    prepare: Callable[[int], Run]
    sizes: Sequence[int]
    """How many rows it can be asked for, ascending."""


@dataclass(frozen=True)
class Measured:
    """Rows a second of each round."""

    rows: int
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    @property
    def best(self) -> float:
        return max(self.rates)

    def times(self, other: Measured) -> float:
        """How many times as fast as `other`: the median over rounds, as both were measured in the same moment."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True))


_clock = time.perf_counter


def use_processor_time() -> None:
    """Count what this process computes, not what it waits for: for one thread on a machine that is busy otherwise."""
    global _clock
    _clock = time.process_time


def thread_counts() -> tuple[int, ...]:
    """One thread, and as many as there are cores."""
    return (1,) if _clock is time.process_time else tuple(sorted({1, cores()}))


def take_turns(ways: Sequence[Way], *, rounds: int, seconds: float = 0.3) -> Mapping[str, Measured]:
    """Every way `rounds` times, a run of about `seconds` each; the order turns, too."""
    chosen = {way.name: _fitting(way, seconds) for way in ways}
    rates: dict[str, list[float]] = {name: [] for name in chosen}
    names = list(chosen)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rows, run = chosen[name]
            rates[name].append(rows / seconds_of(run))
    return {name: Measured(chosen[name][0], tuple(found)) for name, found in rates.items()}


def seconds_of(run: Run) -> float:
    gc.disable()
    try:
        started = _clock()
        run()
        return max(_clock() - started, 1e-9)
    finally:
        gc.enable()


def median_seconds(run: Run, *, rounds: int) -> float:
    """Of something small that has nobody to take turns with."""
    run()
    return statistics.median(seconds_of(run) for _ in range(rounds))


def _fitting(way: Way, seconds: float) -> tuple[int, Run]:
    """The most rows that take no longer than `seconds`, found from below; every run here is also the warming up."""
    rows = way.sizes[0]
    run = way.prepare(rows)
    run()
    taken = seconds_of(run)
    for larger in way.sizes[1:]:
        if taken / rows * larger > seconds:
            break
        rows, run = larger, way.prepare(larger)
        run()
        taken = seconds_of(run)
    return rows, run
