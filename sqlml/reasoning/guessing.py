"""Where a score crosses over, guessed from what is known of it: only to ask there first, never to answer.

The logarithm of two classes' odds is a straight line in each column of a linear model, so that two places of it give the
crossing but for rounding. Narrowing the doubles of a column down to two neighbours takes two statements with it, sometimes
three, and seven without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlml.reasoning.grids import Grid

Scores = tuple[float, ...]
"""Probabilities in the order of the classes; empty where a model gives none."""


def log_odds(scores: Scores, label: int, other: int) -> float | None:
    """How much likelier the other class is; None where that is no number."""
    if not scores or not scores[label] > 0 or not scores[other] > 0:  # NaN too
        return None
    return math.log(scores[other]) - math.log(scores[label])


def crossing(grid: Grid, odds: Sequence[tuple[int, float]], level: float) -> int | None:
    """The place at which the line through the two nearest of `odds` (place, log-odds) is at `level`."""
    near = sorted(odds, key=lambda known: abs(known[1] - level))[:2]
    if len(near) < 2:
        return None
    (a, first), (b, second) = near
    x, y = grid.value(a), grid.value(b)
    if first == second or x == y:
        return None
    at = x + (level - first) * ((y - x) / (second - first))
    return grid.nearest(at) if math.isfinite(at) and abs(at) < LARGEST else None


LARGEST = 1e300
CLOSE = 64
"""Neighbouring doubles: what logarithms of probabilities are wrong by, so that the change is usually among them."""


def around(place: int, low: int, high: int) -> set[int]:
    """Places between `low` and `high`: this one's neighbours, and others that lie twice as far each time, on both sides."""
    steps = [*range(1, CLOSE), *(1 << k for k in range((high - low).bit_length()))]
    found = {place, *(place + step for step in steps), *(place - step for step in steps)}
    return {one for one in found if low < one < high}
