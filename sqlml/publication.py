"""What `publish` put in place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Format = Literal["duckdb", "parquet"]


@dataclass(frozen=True)
class Published:
    """`contents` says what is in it, `left_out` what could not come along and why."""

    path: str
    format: Format
    bytes: int
    contents: tuple[str, ...]
    left_out: tuple[str, ...]
    storage: str | None
    seconds: float

    def sentence(self) -> str:
        left_out = f" Left out: {'; '.join(self.left_out)}." if self.left_out else ""
        size = f"{self.bytes / 1e6:.1f} MB"
        return f"Published {self.path}: {', '.join(self.contents)}, {size} in {self.seconds:.1f} s.{left_out}"

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)
