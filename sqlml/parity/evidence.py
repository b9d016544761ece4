"""What the parity gate found, in a form to keep and a form to read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

# Any: JSON.
Json = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Every count is of rows, each under the worst that happened to it in any batch."""

    rows: int
    compared: int
    """Rows on which both answer, or both refuse."""
    set_aside: dict[str, int]
    """Rows that prove nothing either way, by reason."""
    failed: dict[str, int]
    """Rows that are wrong, by what is wrong."""
    outcomes: dict[str, int]
    """All rows by what became of them."""
    by_kind: dict[str, dict[str, int]]
    largest_difference: float
    """Relative to max(1, |a|, |b|), over the rows that agree."""
    largest: tuple[Json, ...]
    counter_examples: tuple[Json, ...]
    batches: tuple[Json, ...]
    tolerance: float
    alone_checked: int
    """Rows that the original was also asked about one by one."""
    versions: dict[str, str]
    seconds_original: float
    seconds_sql: float
    hostile: dict[str, int] = field(default_factory=dict)
    """How many of the model's own thresholds and categories are among the rows, and of how many."""
    recorded: bytes | None = field(default=None, repr=False)
    """Some rows with the original's answers, to be kept beside the evidence (see `sqlml.parity.recorded`)."""

    @property
    def passed(self) -> bool:
        return not self.failed and self.compared > 0

    @property
    def set_aside_total(self) -> int:
        return sum(self.set_aside.values())

    def to_dict(self) -> Json:
        return {"passed": self.passed, **{n: v for n, v in asdict(self).items() if n != "recorded"}}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    def summary(self) -> str:
        """One paragraph for a terminal.

        >>> Evidence(3, 3, {}, {}, {}, {}, 1e-16, (), (), (), 1e-9, 3, {}, 0.1, 0.2).summary()
        'Checked on 3 rows in 0 batches: all agree within 1e-09, largest difference 1e-16.'
        """
        asked = sum(batch["batches"] for batch in self.batches)
        head = f"Checked on {self.rows:,} rows in {asked:,} batches"
        aside = "".join(f" {count:,} set aside: {reason}." for reason, count in self.set_aside.items())
        if self.passed:
            who = "all agree" if not aside else f"{self.compared:,} agree"
            return f"{head}: {who} within {self.tolerance:g}, largest difference {self.largest_difference:.1g}.{aside}"
        if not self.failed:
            return f"{head}: none could be compared.{aside}"
        wrong = "; ".join(f"{count:,} rows: {what}" for what, count in self.failed.items())
        return f"{head}: {wrong}.{aside}{self._first()}"

    def _first(self) -> str:
        if not self.counter_examples:
            return ""
        first = self.counter_examples[0]
        return (
            f" First: row {first['row']} ({first['origin']}), {first['batch']}: expected {first['expected']},"
            f" got {first['got']}, for {json.dumps(first['input'], ensure_ascii=False)[:400]}."
        )
