"""What `why` answers with: everything that is known about one prediction, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

# Any in this module: SQL values.
KEPT, BY_HASH, UNKNOWN = "kept", "by hash", "unknown"
"""How the inputs of then are known: they were kept, the hash says that they are those of now, or they are not known."""


@dataclass(frozen=True)
class Predicted:
    """What was said. `stored` is False where it was overwritten since and is computed from the inputs that were kept.

    `score` is the probability of what `threshold` is compared with (two classes), or of the class that was predicted.
    """

    stored: bool
    outputs: dict[str, Any]
    value: Any
    error: str | None
    score: float | None
    score_of: str | None
    threshold: float | None
    threshold_note: str | None
    scored_at: datetime
    scoring_id: str


@dataclass(frozen=True)
class Input:
    """One input column of the model, as it was and as it is; `changed` is None where that is not known."""

    column: str
    type: str
    then: Any
    now: Any
    changed: bool | None


@dataclass(frozen=True)
class Inputs:
    """`then_known` is one of kept, by hash, unknown; `note` says it in words. `in_source`: None where nobody can tell."""

    then_known: str
    in_source: bool | None
    note: str
    columns: tuple[Input, ...]
    now: dict[str, Any] | None
    """What the version says about the inputs of now; None where it was not asked."""


@dataclass(frozen=True)
class Contribution:
    column: str
    contribution: float
    target: str | None = None


@dataclass(frozen=True)
class Contributions:
    """`of`: the inputs of "then" or of "now"; the rows are the largest first. Without them `note` says why."""

    of: str | None
    unit: str | None
    base: float | None
    score: float | None
    label: Any
    rows: tuple[Contribution, ...]
    note: str | None = None


@dataclass(frozen=True)
class Flip:
    """The smallest change of one column that gives another label; `distance` is in `scale`s of the column."""

    column: str
    value: Any
    becomes: Any
    before: Any
    distance: float | None
    in_range: bool | None
    exact: bool
    note: str | None


@dataclass(frozen=True)
class Unflipped:
    """A column with which nothing was found, and why."""

    column: str
    note: str


@dataclass(frozen=True)
class Flips:
    """Nearest first: those within what the source holds, then others. `note` says why there are none, `scale` what a
    distance of 1 is."""

    of: str | None
    columns: tuple[Flip, ...]
    unflipped: tuple[Unflipped, ...]
    scale: str | None
    evaluations: int
    note: str | None = None


@dataclass(frozen=True)
class Why:
    """Everything behind one prediction. What is not known is None, and `notes` say what somebody should know."""

    deployment: str
    version: int
    key: dict[str, Any]
    as_of: datetime | None
    prediction: Predicted
    inputs: Inputs
    contributions: Contributions
    flips: Flips
    scoring: dict[str, Any]
    deployed: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    parity: dict[str, Any] | None
    model: dict[str, Any]
    run: dict[str, Any] | None
    datasets: tuple[dict[str, Any], ...]
    recalled: dict[str, Any] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)
