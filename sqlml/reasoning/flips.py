"""The smallest change of one input that gives another label, of each column by itself.

Found by asking the very statement that predicts, never by formula. A column that the model only compares (trees,
encoders) is tried once in each interval between its thresholds, nearest first, until the label changes: nothing nearer
can. A column that moves the score one way only (linear models) is bracketed and narrowed down to two neighbouring
values, one on each side. For anything else values over the column's range are tried and the first change is narrowed
down: a nearer one may lie between two that were tried, and the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from sqlml.compile.turning import Turning
from sqlml.reasoning import guessing
from sqlml.reasoning.asking import OWN, Asker, Candidate, Said
from sqlml.reasoning.facts import Flip, Flips, Unflipped
from sqlml.reasoning.grids import Grid, grid_of
from sqlml.reasoning.searching import BEYOND, GUESSES, TRIED, Search, searches
from sqlml.reasoning.spread import Spread, Spreads
from sqlml.signature import Column, Signature

# Any in this module: labels and other SQL values.
EVALUATIONS = 20_000
"""Rows that are predicted for one answer at most."""
ROUND = 4_096
"""Rows of one statement that narrows down, over all columns."""


def flips(
    asker: Asker,
    signature: Signature,
    turning: Sequence[Turning],
    known: Spreads,
    threshold: float | None = None,
) -> Flips:
    """Of the row that `asker` knows; whether it is that of then or of now, the caller says. A `threshold` only says where to
    ask first."""
    base = asker.base
    grids = [grid_of(column, kind) for column, kind in zip(signature.columns, base.types, strict=True)]
    sides: list[Search] = []
    chosen: list[Candidate] = []
    for i, column in enumerate(signature.columns):
        grid, text = grids[i], base.texts[i]
        if grid is not None and text is not None and math.isfinite(float(text)):
            sides += searches(i, grid, float(text), turning[i], known.columns[i])
        else:
            chosen += _choices(i, column, grid, text, turning[i], known.columns[i])
        if column.nulls == "missing" and text is not None:
            chosen.append(Candidate(i, None))
    if sum(len(known.thresholds) for known in turning) * 2 <= ROUND:
        # A statement takes longer to plan than some thousand rows to predict: few intervals are all tried at once.
        for side in (side for side in sides if not side.narrows):
            side.size = ROUND
    cut = {c.column for c in chosen[EVALUATIONS // 2 :]}
    chosen = chosen[: EVALUATIONS // 2]
    odds = partial(_learn, signature, threshold)
    label, answers = _follow(asker, sides, chosen, odds)
    if label is None:
        return Flips(None, (), (), None, asker.asked, "The row has no prediction that could change.")
    _prove(asker, sides, label)
    cut |= {side.column for side in sides if side.cut}
    found: list[Flip] = []
    without: list[Unflipped] = []
    for i, column in enumerate(signature.columns):
        spread = known.columns[i]
        mine = [
            _moved(column, base.values[i], side, spread)
            for side in sides
            if side.column == i and side.found is not None
        ]
        mine += [
            _chosen(column, grids[i], base.values[i], c, answer, spread)
            for c, answer in zip(chosen, answers, strict=True)
            if c.column == i and answer is not None and answer != label
        ]
        if mine:
            best = min(mine, key=_order)
            more = "not all candidates were tried" if i in cut else None
            found.append(replace(best, note="; ".join(n for n in (best.note, more) if n) or None))
        else:
            without.append(Unflipped(column.name, _why_not(column, turning[i], is_cut=i in cut)))
    scale = (
        f"1 is a standard deviation of the column in {known.rows}; another category, true for false, or a missing value"
        " counts as 1"
    )
    nothing = None if found else "No change of one input alone that was tried gives another label."
    return Flips(None, tuple(sorted(found, key=_order)), tuple(without), scale, asker.asked, nothing)


def _choices(
    index: int, column: Column, grid: Grid | None, text: str | None, turning: Turning, spread: Spread
) -> list[Candidate]:
    """Values without an order, and what may stand in a missing number's place."""
    if grid is not None:
        values = turning.thresholds.tolist()
        values = values[:: max(1, len(values) // TRIED)]
        values += [v for v in (spread.middle, spread.low, spread.high) if v is not None]
        places = {place for v in values for place in (grid.above(v), grid.below(v))}
        return [Candidate(index, grid.text(place)) for place in sorted(places) if grid.low <= place <= grid.high]
    known = ("false", "true") if not column.is_text else turning.categories or tuple(sorted(spread.texts))
    first = sorted(known, key=lambda t: t not in spread.texts)
    return [Candidate(index, other) for other in first if other != text]


def _learn(
    signature: Signature, threshold: float | None, side: Search, known: Sequence[tuple[int, Said]], label: Any
) -> None:
    """Tell a side, once it knows what it is looking for, the odds of that where it has asked."""
    if side.bracket is None or side.done or side.guesses == GUESSES or side.becomes not in signature.classes:
        return
    at, other = signature.classes.index(label), signature.classes.index(side.becomes)
    odds = ((place, guessing.log_odds(said.scores, at, other)) for place, said in known)
    side.odds = [*side.odds, *((place, found) for place, found in odds if found is not None)]
    if threshold is not None and signature.is_binary and 0 < threshold < 1:
        level = math.log(threshold) - math.log1p(-threshold)
        side.level = level if other == 1 else -level


def _follow(
    asker: Asker,
    sides: Sequence[Search],
    chosen: Sequence[Candidate],
    learn: Callable[[Search, Sequence[tuple[int, Said]], Any], None],
) -> tuple[Any, list[Any]]:
    """Rounds in which every side that goes on asks about its next places, all in one statement; the first one asks about
    the row itself and about `chosen`, too. Returns the row's label and theirs."""
    first: list[Candidate] = [OWN, *chosen]
    label: Any = None
    own = Said(None, ())
    answers: list[Any] = []
    while True:
        going = sum(not side.done for side in sides)
        parts = min(max(ROUND // max(1, going), 8), 512)
        asking: list[tuple[Search, list[int]]] = []
        for side in sides:
            places = side.wanted(parts)
            if side.bracket is None and places:
                limit = min((s.nearer_than for s in sides if s.column == side.column), default=math.inf)
                if limit < math.inf:
                    places = [place for place in places if abs(side.grid.value(place) - side.near) < limit]
                side.done = not places
                if asker.asked + len(places) > EVALUATIONS:
                    side.cut = side.done = True
                    continue
            if places:
                asking.append((side, places))
        if not asking and not first:
            return label, answers
        given = [*first, *(candidate for s, places in asking for candidate in _at(s, places))]
        # What `_prove` would ask about answers that are no brackets, unless that is much.
        before = [candidate for s, places in asking if not s.narrows for candidate in _before(s, places)]
        said = asker.ask([*given, *(before if len(given) <= ROUND else ())])
        if first:
            own, (label, *answers) = said[0], [one.label for one in said[: len(first)]]
            if label is None:
                return None, []
        at, first = len(first), []
        for side, places in asking:
            mine = said[at : at + len(places)]
            side.take(places, [one.label for one in mine], label)
            ends = [(p, one) for p, one in zip(places, mine, strict=True) if p in (side.bracket or ())]
            learn(side, [(side.start, own), *ends], label)
            at += len(places)


def _at(side: Search, places: Sequence[int]) -> list[Candidate]:
    return [Candidate(side.column, text) for text in side.grid.texts(places)]


def _before(side: Search, places: Sequence[int]) -> list[Candidate]:
    """Each place's neighbour that is nearer to the value."""
    step = -1 if side.upward else 1
    return _at(side, [place + step for place in places])


def _prove(asker: Asker, sides: Sequence[Search], label: Any) -> None:
    """Ask at each answer and one step before it; an answer of which the step before says the same is not the first."""
    found = [(side, side.found) for side in sides if side.found is not None and not side.narrows]
    if not found:
        return
    asked = [c for s, at in found for c in (*_at(s, [at]), *_before(s, [at]))]
    labels = asker.labels(asked)
    for (side, _), at, before in zip(found, labels[::2], labels[1::2], strict=True):
        side.becomes = at
        side.is_exact = side.is_exact and at not in (None, label) and before == label


def _moved(column: Column, before: Any, side: Search, spread: Spread) -> Flip:
    assert side.found is not None
    value, text = side.grid.value(side.found), side.grid.text(side.found)
    shown: Any = int(text) if side.grid.kind == "whole" else Decimal(text) if side.grid.kind == "decimal" else value
    note = None if side.is_exact else "of the values that were tried; a nearer one may lie between two of them"
    distance = None if spread.deviation is None else abs(value - side.near) / spread.deviation
    return Flip(column.name, shown, side.becomes, before, distance, side.inside, side.is_exact, note)


def _chosen(column: Column, grid: Grid | None, before: Any, candidate: Candidate, label: Any, spread: Spread) -> Flip:
    text = candidate.text
    if text is None:
        return Flip(column.name, None, label, before, 1.0, spread.nulls, True, "a missing value")
    if grid is not None:
        value = float(text)
        inside = None if spread.low is None or spread.high is None else spread.low <= value <= spread.high
        shown: Any = int(text) if grid.kind == "whole" else Decimal(text) if grid.kind == "decimal" else value
        return Flip(column.name, shown, label, before, 1.0, inside, False, "in a missing value's place")
    shown = text if column.is_text else text == "true"
    return Flip(column.name, shown, label, before, 1.0, text in spread.texts if spread.texts else None, True, None)


def _order(flip: Flip) -> tuple[bool, bool, float, bool]:
    far = flip.distance is None
    return flip.in_range is False, far, 0.0 if flip.distance is None else flip.distance, flip.value is None


def _why_not(column: Column, turning: Turning, *, is_cut: bool) -> str:
    if is_cut:
        return f"not all candidates were tried: {EVALUATIONS:,} rows are predicted for one answer at most"
    if column.is_text:
        known = "no category that the model knows" if turning.categories else "no text that the source has"
        return f"{known} gives another label"
    if turning.way == "steps":
        return (
            "no value gives another label"
            if len(turning.thresholds) or column.type == "BOOLEAN"
            else "the model does not use it"
        )
    if turning.way == "monotone":
        return f"no value within {BEYOND} times its range gives another label"
    return "none of the values that were tried, over and beyond its range, gives another label"
