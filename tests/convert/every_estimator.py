"""Every case of bench.sweep as it is expected to end: exact, or refused for the reason in this table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.sweep.cases import Case
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import Opener, check

LABELS = "several labels at once"
WORDS = "finds words by a Unicode regular expression"
TOGETHER = "an answer depends on the other rows"
ALONE = "for a row alone"

# A class, or one case of it ("KMeans pipeline"), and a piece of the reason that is given. Everything else is exact.
REFUSED: Mapping[str, str] = {
    "ClassifierChain": LABELS,
    "CountVectorizer": WORDS,
    "HashingVectorizer": WORDS,
    "KNNImputer": "equally distant donors",
    "KernelCenterer pipeline": "its kernel is a function of its own",
    "LatentDirichletAllocation": "stops by a comparison that hangs on rounding",
    "MiniBatchNMF": TOGETHER,
    "MiniBatchSparsePCA": ALONE,
    "MultiOutputClassifier": LABELS,
    "NMF": TOGETHER,
    "SparsePCA": ALONE,
    "TfidfVectorizer": WORDS,
}


def reason(case: Case) -> str | None:
    """Why the case is expected to be refused."""
    return REFUSED.get(str(case), REFUSED.get(case.name))


@dataclass(frozen=True)
class Outcome:
    """`refusal` is None where the conversion gives the original's answers; `largest` is the largest difference then."""

    refusal: str | None
    largest: float = 0.0


def outcome(case: Case, sessions: Sequence[Opener]) -> Outcome:
    """Convert and compare in each kind of session; anything but exact answers or a refusal raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, frame = case.fit()
        try:
            report, _ = check(model, frame, count=12, sums=case.sums, sessions=sessions)
        except Unsupported as refusal:
            return Outcome(str(refusal))
    return Outcome(None, report.largest)
