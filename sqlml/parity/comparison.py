"""Answers of the SQL functions held against the original's, row by row: the rules of DESIGN.md section 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sqlml.convert import OnnxModel, Reference
from sqlml.parity.rows import HostileRows
from sqlml.signature import Label, Signature

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Truths = NDArray[np.bool_]

TOLERANCES: Mapping[str, float] = {"double": 1e-9, "float": 1e-6}
NO_LABEL = -1
STRANGE_LABEL = -2


class Verdict(IntEnum):
    """What became of one row in one batch; from `CONTRADICTION` on it is a failure."""

    AGREES = 0
    ROUNDING = 1
    BOTH_REFUSE = 2
    NEAR_TIE = 3
    OVERFLOW = 4
    UNSTABLE = 5
    POLICY = 6
    CONTRADICTION = 10
    ANSWERED = 11
    REFUSED = 12
    LABEL = 13
    SCORE = 14

    @property
    def failed(self) -> bool:
        return self >= Verdict.CONTRADICTION


MEANINGS: Mapping[Verdict, str] = {
    Verdict.AGREES: "the same answer",
    Verdict.ROUNDING: "the same within the rounding error of a sum whose terms cancel",
    Verdict.BOTH_REFUSE: "no answer from either, with a reason",
    Verdict.NEAR_TIE: "the two best scores lie within the tolerance",
    Verdict.OVERFLOW: "a sum exceeds the largest double, so that the order of its terms decides",
    Verdict.UNSTABLE: "the original contradicts itself (alone, in a batch, in another order), or had no time to answer",
    Verdict.POLICY: "NULL in a column whose policy refuses it, which the original would accept",
    Verdict.CONTRADICTION: "SQL gives an answer together with an error, or neither",
    Verdict.ANSWERED: "the original raises, and SQL answers",
    Verdict.REFUSED: "the original answers, and SQL does not",
    Verdict.LABEL: "another label",
    Verdict.SCORE: "another score or value",
}


@dataclass(frozen=True)
class Expected:
    """The original's answers as arrays over all rows. `numbers` are scores of a classifier or values of a regressor."""

    signature: Signature
    tolerance: float
    labels: Integers
    numbers: Doubles
    raises: Truths
    unstable: Truths
    refusable: Truths
    threshold: float | None

    @property
    def is_classifier(self) -> bool:
        return self.signature.kind == "classifier"


@dataclass(frozen=True)
class Answers:
    """What SQL said in one batch: position i is about row `ids[i]`."""

    ids: Integers
    labels: Integers
    numbers: Doubles
    """NaN where NULL; `missing` tells the two apart."""
    missing: Truths
    """[n]: the prediction is NULL."""
    partly: Truths
    """[n]: some of prediction and scores are NULL and others are not."""
    errors: Truths
    texts: Sequence[str | None]


@dataclass(frozen=True)
class Slack:
    """How far apart two correct computations may be for reasons of rounding alone, per row."""

    numbers: Doubles
    undecided: Truths
    """The label hangs on a difference within the rounding error."""


def expected_answers(
    model: OnnxModel, rows: HostileRows, reference: Reference, threshold: float | None = None
) -> Expected:
    """The reference in the form in which it is compared."""
    import numpy as np

    signature = model.signature
    tolerance = TOLERANCES[model.precision]
    raises = np.array([error is not None for error in reference.error], dtype=bool)
    if signature.kind == "regressor":
        labels = np.full(len(rows), NO_LABEL, dtype=np.int64)
        numbers = np.asarray(reference.prediction, dtype=np.float64).reshape(len(rows), -1)
    else:
        labels = label_codes(signature, list(reference.prediction))
        scores = reference.scores
        numbers = np.empty((len(rows), 0)) if scores is None else np.asarray(scores, dtype=np.float64)
    if threshold is not None and signature.is_binary and numbers.shape[1] == 2:
        labels = np.where(raises, NO_LABEL, (numbers[:, 1] >= threshold).astype(np.int64))
    return Expected(
        signature=signature,
        tolerance=tolerance,
        labels=labels,
        numbers=numbers,
        raises=raises,
        unstable=np.asarray(reference.unstable, dtype=bool),
        refusable=_refusable(signature, rows.features),
        threshold=threshold,
    )


def label_codes(signature: Signature, labels: Sequence[Label | None]) -> Integers:
    """Positions in the signature's classes; a label of another type or value is strange, and equals none."""
    import numpy as np

    known = {(type(label), label): code for code, label in enumerate(signature.classes)}
    codes = [NO_LABEL if label is None else known.get((type(label), label), STRANGE_LABEL) for label in labels]
    return np.array(codes, dtype=np.int64)


def _refusable(signature: Signature, features: pa.Table) -> Truths:
    """Rows with a missing value in a column whose policy is to refuse it."""
    import numpy as np
    import pyarrow.compute as pc

    found = np.zeros(features.num_rows, dtype=bool)
    for column in signature.columns:
        if column.nulls == "refused":
            missing = pc.is_null(features.column(column.name), nan_is_null=not column.is_text)
            found |= missing.to_numpy(zero_copy_only=False)
    return found


def judge(expected: Expected, answers: Answers, slack: Slack | None = None) -> tuple[Integers, Doubles]:
    """(verdict, largest difference relative to max(1, |a|, |b|)) for each position of the batch.

    Without `slack`, what only rounding explains counts as wrong: it is worth computing only if something is.
    """
    import numpy as np

    ids = answers.ids
    verdicts, relative = _numbers(expected, answers, slack)
    if expected.is_classifier:
        verdicts = np.maximum(verdicts, _labels(expected, answers, slack))
    raises = expected.raises[ids]
    verdicts[raises & answers.errors] = Verdict.BOTH_REFUSE
    verdicts[raises & ~answers.errors] = Verdict.ANSWERED
    refused = ~raises & answers.errors
    verdicts[refused] = np.where(expected.refusable[ids], Verdict.POLICY, Verdict.REFUSED)[refused]
    verdicts[expected.unstable[ids]] = Verdict.UNSTABLE
    verdicts[(answers.missing != answers.errors) | answers.partly] = Verdict.CONTRADICTION
    return verdicts, np.where(verdicts == Verdict.AGREES, relative, 0.0)


def _numbers(expected: Expected, answers: Answers, slack: Slack | None) -> tuple[Integers, Doubles]:
    import numpy as np

    wanted, got = expected.numbers[answers.ids], answers.numbers
    with np.errstate(invalid="ignore", over="ignore"):
        same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
        apart = np.where(same, 0.0, np.abs(wanted - got))
        scale = np.maximum(1.0, np.maximum(np.abs(wanted), np.abs(got)))
        # Not `>`: a NaN on one side must count as wrong.
        wrong = ~(same | ((apart <= expected.tolerance * scale) & np.isfinite(apart)))
        relative = np.where(same, 0.0, apart / np.where(np.isfinite(scale), scale, 1.0)).max(axis=1, initial=0.0)
    verdicts = np.where(wrong.any(axis=1), Verdict.SCORE, Verdict.AGREES).astype(np.int64)
    if slack is None:
        return verdicts, relative
    bound = slack.numbers[answers.ids]
    explained = ~(wrong & ~(apart <= 2 * bound)).any(axis=1)
    overflown = ~(wrong & np.isfinite(bound)).any(axis=1)
    verdicts[(verdicts == Verdict.SCORE) & explained] = Verdict.ROUNDING
    verdicts[wrong.any(axis=1) & overflown] = Verdict.OVERFLOW
    return verdicts, relative


def _labels(expected: Expected, answers: Answers, slack: Slack | None) -> Integers:
    import numpy as np

    other = answers.labels != expected.labels[answers.ids]
    tie = other & (answers.labels >= 0) & _near_tie(expected, answers, slack)
    return np.where(other, np.where(tie, Verdict.NEAR_TIE, Verdict.LABEL), Verdict.AGREES).astype(np.int64)


def _near_tie(expected: Expected, answers: Answers, slack: Slack | None) -> Truths:
    """Is the label that SQL chose, by the original's own scores, as good as the one that the original chose?"""
    import numpy as np

    ids = answers.ids
    numbers = expected.numbers[ids]
    undecided = np.zeros(len(ids), dtype=bool) if slack is None else slack.undecided[ids]
    if numbers.shape[1] == 0:
        return undecided
    extra = np.zeros(numbers.shape) if slack is None else 2 * slack.numbers[ids]
    if expected.threshold is not None:
        gap = np.abs(numbers[:, 1] - expected.threshold)
        allowed = np.maximum(expected.tolerance, extra[:, 1])
        return np.asarray(gap <= allowed, dtype=bool)
    rows = np.arange(len(ids))
    chosen, original = np.maximum(answers.labels, 0), np.maximum(expected.labels[ids], 0)
    gap = np.abs(numbers[rows, chosen] - numbers[rows, original])
    allowed = np.maximum(expected.tolerance, extra[rows, chosen] + extra[rows, original])
    return np.asarray(undecided | (gap <= allowed), dtype=bool)


def plain(value: Any) -> Any:  # Any: a JSON value in, a JSON value out
    """Numbers that JSON has no word for, as text."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value
