"""A run and its datasets as plain values: made where the database is at hand, sent where the client is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MadeOf:
    """A column that another one's value comes from; `subtype` is OpenLineage's IDENTITY or TRANSFORMATION."""

    namespace: str
    name: str
    column: str
    subtype: str
    description: str | None = None
    is_masked: bool = False


@dataclass(frozen=True)
class Dataset:
    """`rows` and `nulls` (column -> NULLs) are what was looked at in this run; `written` what this run wrote."""

    namespace: str
    name: str
    kind: str  # TABLE, VIEW, FILE, FUNCTION, MODEL, RUN
    fields: tuple[tuple[str, str], ...] = ()
    made_of: Mapping[str, tuple[MadeOf, ...]] = field(default_factory=dict)
    version: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    nulls: Mapping[str, int] = field(default_factory=dict)
    written: int | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True)
class JobName:
    namespace: str
    name: str
    kind: str  # DEPLOY, SCORE


@dataclass(frozen=True)
class RunEvent:
    """`state` is START, COMPLETE, FAIL or ABORT; `parent` the run and the job that this one is a part of."""

    state: str
    time: str
    run_id: str
    job: JobName
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    parent: tuple[str, JobName] | None = None
    error: str | None = None
