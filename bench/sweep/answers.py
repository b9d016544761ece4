"""What anybody says of one row, and whether two of them say the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Any in this module: labels are text, whole numbers, doubles or booleans.
TOLERANCE = 1e-6
"""For everyone: what a peer computes in float32 is not held against it."""


@dataclass(frozen=True)
class Said:
    """One row's answer: labels (one for each output) or numbers, and the probabilities of the classes."""

    labels: tuple[Any, ...] = ()
    numbers: tuple[float, ...] = ()
    scores: tuple[float, ...] | None = None

    def __str__(self) -> str:
        shown = ", ".join(map(repr, self.labels)) or numbers_text(self.numbers)
        return shown if self.scores is None else f"{shown} with {numbers_text(self.scores)}"


def numbers_text(values: Sequence[float]) -> str:
    listed = [f"{value:.9g}" for value in values[:4]]
    return f"({', '.join(listed)}{', ...' if len(values) > 4 else ''})"


def of_original(answer: tuple[Any, Any] | None) -> Said | None:
    """What `original.answers` gives for a row."""
    if answer is None:
        return None
    predicted, proba = np.asarray(answer[0]).reshape(-1), answer[1]
    scores = None if proba is None else tuple(float(p) for p in np.asarray(proba).reshape(-1))
    if predicted.dtype.kind == "f":
        return Said(numbers=tuple(float(v) for v in predicted), scores=scores)
    return Said(labels=tuple(plain(v) for v in predicted), scores=scores)


def plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


def near(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or difference(a, b) <= TOLERANCE


def difference(a: float, b: float) -> float:
    """Relative to the larger one where it is above 1."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(1.0, abs(a), abs(b))


def same(original: Said, other: Said) -> bool:
    """Labels, numbers and, where both have them, probabilities. A label may differ where two classes are level."""
    if original.scores is not None and other.scores is not None:
        if len(original.scores) != len(other.scores):
            return False
        if not all(near(a, b) for a, b in zip(original.scores, other.scores, strict=True)):
            return False
    if original.labels:
        given = other.labels or other.numbers
        return same_labels(original.labels, given) or level(original.scores)
    given = other.numbers or tuple(float(v) for v in other.labels if isinstance(v, (int, float)))
    return len(given) == len(original.numbers) and all(near(a, b) for a, b in zip(original.numbers, given, strict=True))


def same_labels(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """10 and 10.0 are one label; '10' is another."""
    return len(first) == len(second) and all(
        isinstance(a, str) == isinstance(b, str) and a == b for a, b in zip(first, second, strict=True)
    )


def level(scores: Sequence[float] | None) -> bool:
    """Are the two best classes within the tolerance? Which one wins then hangs on the last bit."""
    if scores is None or len(scores) < 2:
        return False
    best = sorted(scores)[-2:]
    return near(best[0], best[1])


def largest_difference(original: Said, other: Said) -> float:
    pairs = list(zip(original.numbers, other.numbers, strict=False))
    if original.scores is not None and other.scores is not None:
        pairs += zip(original.scores, other.scores, strict=False)
    return max((difference(a, b) for a, b in pairs), default=0.0)
