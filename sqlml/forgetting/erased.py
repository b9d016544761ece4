"""What a forgetting did, and what it could not do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Erased:
    """Rows of a table, or parts of them (`what`)."""

    table: str
    rows: int
    what: str


@dataclass(frozen=True)
class Forgotten:
    """`left` says, in sentences, where the key may be still. `in_source`: it will be predicted again by the next score;
    None where the source could not be read."""

    deployment: str
    erased: tuple[Erased, ...]
    left: tuple[str, ...]
    in_source: bool | None
    job_id: str

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.erased)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return {**asdict(self), "rows": self.rows}
