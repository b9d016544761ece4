"""The original's own answers, row by row: what it says, where it raises, and where it contradicts itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Any in this module: numpy arrays of several dtypes, estimators without types.
TOLERANCE = {"double": 1e-9, "float": 1e-6}
LONGEST_REASON = 500
# Finding the rows that raise takes one call each; more time than this is not spent on it.
SEARCH_SECONDS = 20.0
PARTS = 3
"""Into so many parts the rows are cut when they are asked once more in another order: what is normalised over a batch
is not the same over a part of it."""
EXAMPLES = 5

Answer = tuple[Any, Any]
"""Predictions [n] or [n, T], and scores [n, K] or None."""


@dataclass(frozen=True)
class Group:
    """Rows that can be given to the original in one call; `ask(positions)` does so."""

    rows: Any
    """Their positions among all rows."""
    ask: Callable[[Any], Answer]


@dataclass
class Answers:
    """What is known of each row so far. Rows of which nothing could be found out in time are unstable."""

    predictions: list[Any]
    scores: list[Any]
    errors: list[str | None]
    unstable: Any
    again: list[int]
    """Rows that were asked once more, in another order and among others."""
    alone: list[int]
    """Rows that were asked one by one."""
    differs: set[int]
    """Rows with another answer then."""
    examples: list[dict[str, Any]]

    @classmethod
    def of(cls, size: int) -> Answers:
        return cls([None] * size, [None] * size, [None] * size, np.zeros(size, dtype=bool), [], [], set(), [])

    @property
    def alone_checked(self) -> int:
        return len(self.alone)


def sklearn_group(estimator: Any, frame: Any, rows: Any, *, probabilities: bool) -> Group:
    """Rows of one DataFrame, answered by predict and predict_proba."""

    def ask(positions: Any) -> Answer:
        part = frame.iloc[positions]
        predictions = np.asarray(estimator.predict(part))
        return predictions, np.asarray(estimator.predict_proba(part), dtype=np.float64) if probabilities else None

    return Group(rows, ask)


def transformer_group(estimator: Any, frame: Any, rows: Any) -> Group:
    """Rows of one DataFrame, answered by transform: its columns as numbers."""

    def ask(positions: Any) -> Answer:
        made = estimator.transform(frame.iloc[positions])
        made = made.toarray() if hasattr(made, "toarray") else made
        return np.asarray(made, dtype=np.float64), None

    return Group(rows, ask)


def answer_all(
    size: int, groups: Sequence[Group], suspect: Any, *, precision: str, alone_seconds: float, tame: Any = None
) -> Answers:
    """Every row's answer.

    `suspect` marks the rows that are likely to raise, so that they are asked alone at once; `tame` those of moderate
    numbers, which are asked once more without the others: a mean over infinity is infinity in every batch.
    """
    answers = Answers.of(size)
    deadline = time.monotonic() + SEARCH_SECONDS
    for group in groups:
        likely = suspect[group.rows]
        _search(answers, group, np.flatnonzero(~likely), deadline)
        for position in np.flatnonzero(likely):
            _search(answers, group, np.array([position]), deadline)
    for group in groups:
        _check_shuffled(answers, group, TOLERANCE[precision], np.ones(size, dtype=bool) if tame is None else tame)
    until = time.monotonic() + alone_seconds
    for group in groups:
        _check_alone(answers, group, TOLERANCE[precision], until)
    return answers


def _search(answers: Answers, group: Group, positions: Any, deadline: float) -> None:
    """Ask for these rows at once; where that raises, for each half: k bad rows cost about k log n calls."""
    pending = [positions] if len(positions) else []
    while pending:
        part = pending.pop()
        if time.monotonic() > deadline:
            answers.unstable[group.rows[part]] = True
            continue
        try:
            predictions, scores = _asked(group, part)
        except MemoryError:
            raise
        except Exception as error:  # the original may raise anything: that is the answer
            if len(part) == 1:
                answers.errors[group.rows[part[0]]] = _text(error)
            else:
                half = len(part) // 2
                pending += [part[half:], part[:half]]
            continue
        for i, row in enumerate(group.rows[part]):
            answers.predictions[row] = predictions[i]
            answers.scores[row] = None if scores is None else scores[i]


def _asked(group: Group, positions: Any) -> Answer:
    predictions, scores = group.ask(positions)
    if len(predictions) != len(positions) or (scores is not None and len(scores) != len(positions)):
        raise ValueError(f"the model gave {len(predictions)} predictions for {len(positions)} rows")
    return predictions, scores


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_REASON]


def _answered(answers: Answers, group: Group) -> Any:
    known = [i for i, row in enumerate(group.rows) if answers.predictions[row] is not None]
    return np.array(known, dtype=np.int64)


def _check_shuffled(answers: Answers, group: Group, tolerance: float, tame: Any) -> None:
    positions = _answered(answers, group)
    if len(positions) < 2:
        return
    shuffled = np.random.default_rng(0).permutation(positions)
    # Parts of different sizes: of 2, 3, 4 ... shares.
    shares = np.cumsum(np.arange(2, 2 + PARTS)) / np.arange(2, 2 + PARTS).sum()
    moderate = tame[group.rows[shuffled]]
    for some in (shuffled[moderate], shuffled[~moderate]):
        for part in np.split(some, (shares[:-1] * len(some)).astype(int)):
            if len(part):
                _compare(answers, group, part, tolerance, "among other rows")
                answers.again += group.rows[part].tolist()


def _check_alone(answers: Answers, group: Group, tolerance: float, until: float) -> None:
    """Rows one at a time while there is time, in an order that spreads over all of them."""
    for position in np.random.default_rng(1).permutation(_answered(answers, group)):
        if time.monotonic() > until:
            return
        _compare(answers, group, np.array([position]), tolerance, "alone")
        answers.alone.append(int(group.rows[position]))


def _compare(answers: Answers, group: Group, positions: Any, tolerance: float, how: str) -> None:
    rows = group.rows[positions]
    try:
        predictions, scores = _asked(group, positions)
    except MemoryError:
        raise
    except Exception as error:  # raised now and not before: a contradiction
        answers.unstable[rows] = True
        answers.differs.update(rows.tolist())
        _keep(answers, int(rows[0]), how, _text(error))
        return
    for i, row in enumerate(rows):
        same = _same(answers.predictions[row], predictions[i], tolerance)
        same = same and (scores is None or _same(answers.scores[row], scores[i], tolerance))
        if not same:
            answers.unstable[row] = True
            answers.differs.add(int(row))
            _keep(answers, int(row), how, _said(predictions[i], None if scores is None else scores[i]))


def _keep(answers: Answers, row: int, how: str, second: str) -> None:
    if len(answers.examples) < EXAMPLES:
        first = _said(answers.predictions[row], answers.scores[row])
        answers.examples.append({"row": row, "how": how, "first": first, "second": second})


def _said(prediction: Any, scores: Any) -> str:
    """An answer in a few words."""
    shown = str(np.asarray(prediction).tolist())
    return (shown if scores is None else f"{shown} {np.asarray(scores).tolist()}")[:200]


def _same(first: Any, second: Any, tolerance: float) -> bool:
    a, b = np.asarray(first), np.asarray(second)
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        return bool(np.all(a == b))
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= tolerance * np.maximum(1, np.maximum(np.abs(a), np.abs(b)))
    return bool(np.all(near | (a == b) | (np.isnan(a) & np.isnan(b))))
