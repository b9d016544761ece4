"""Where a crossing is guessed to be: only the number of statements hangs on it, never the answer."""

from __future__ import annotations

import math

import pytest

from sqlml.reasoning.grids import Grid, grid_of
from sqlml.reasoning.guessing import CLOSE, around, crossing, log_odds
from sqlml.signature import Column

DOUBLES = grid_of(Column("x", "DOUBLE"), "DOUBLE")
assert isinstance(DOUBLES, Grid)


@pytest.mark.parametrize("level", [0.0, math.log(0.3 / 0.7)])
def test_a_line_is_crossed_where_it_is(level: float) -> None:
    odds = [(DOUBLES.nearest(x), 0.25 * x - 3) for x in (-100.0, 2.0, 40.0)]

    place = crossing(DOUBLES, odds, level)

    assert place is not None
    assert DOUBLES.value(place) == pytest.approx((level + 3) / 0.25, rel=1e-14)


@pytest.mark.parametrize("odds", [[], [(1, 0.5)], [(1, 0.5), (2, 0.5)], [(1, 0.5), (1, 0.7)], [(1, 1e-320), (2, 0.0)]])
def test_what_is_no_line_gives_no_guess(odds: list[tuple[int, float]]) -> None:
    place = crossing(DOUBLES, odds, 1e6)
    assert place is None or math.isfinite(DOUBLES.value(place))


@pytest.mark.parametrize("scores", [(), (0.0, 1.0), (1.0, 0.0), (math.nan, 0.5)])
def test_certain_scores_have_no_odds(scores: tuple[float, ...]) -> None:
    assert log_odds(scores, 0, 1) is None


def test_places_around_a_guess_are_its_neighbours_and_others_twice_as_far_each_time() -> None:
    neighbours = set(range(1000 - CLOSE + 1, 1000 + CLOSE))
    far = {1000 + sign * (1 << k) for k in range(6, 12) for sign in (1, -1)}
    assert around(1000, 3, 3000) == neighbours | {place for place in far if 3 < place < 3000}
    assert around(10, 3, 12) == {4, 5, 6, 7, 8, 9, 10, 11}
