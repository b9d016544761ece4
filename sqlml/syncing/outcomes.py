"""What a round of `sync` found and did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

IN_STEP, PINNED, WAITING = "in step", "pinned", "waiting"
MOVED, GONE, UNFINISHED = "moved", "gone", "unfinished"
WILL_DEPLOY, WILL_SHADOW = "will deploy", "will shadow"
DEPLOYED, SHADOWED = "deployed", "shadowed"
REFUSED, FAILED, UNREACHABLE, BUSY = "refused", "failed", "unreachable", "busy"

DRIFTED = frozenset({MOVED, GONE, UNFINISHED, WILL_DEPLOY, WILL_SHADOW})
PROBLEMS = frozenset({FAILED, UNREACHABLE, BUSY})


@dataclass(frozen=True)
class Outcome:
    """Of one deployment, or of what its shadows follow (`beside`). `what` is one of

    in step      the active version is what the reference means
    pinned       the reference always means the same
    waiting      a person decides: a shadow is to be promoted, or a person went back from what the reference means
    moved        told, by policy
    will deploy, will shadow    what a round without `check` would do
    deployed, shadowed          done
    gone         the registry no longer has it
    unfinished   no version is active
    refused      and not tried again until something changes
    failed       and tried again later
    unreachable  the registry did not answer
    busy         another job works on it
    """

    name: str
    what: str
    sentence: str
    reference: str
    policy: str
    beside: bool
    from_version: int | None = None
    to_version: int | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class Synced:
    """A round. `told` and `pending` are what MLflow was told about deployments, and what it is still to be told.

    `job_id` is the round's own job, None where it did nothing. `drifted`, `refused` and `problems` are the names of the
    deployments that are not what the registry says, that may not become it, and that nothing can be said of. `problem` is
    why nothing could be looked at: another process has the file open.
    """

    at: datetime
    outcomes: tuple[Outcome, ...]
    told: tuple[str, ...] = ()
    pending: tuple[tuple[str, str], ...] = ()
    job_id: str | None = None
    problem: str | None = None

    def _named(self, kinds: frozenset[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(outcome.name for outcome in self.outcomes if outcome.what in kinds))

    @property
    def drifted(self) -> tuple[str, ...]:
        return self._named(DRIFTED)

    @property
    def refused(self) -> tuple[str, ...]:
        return self._named(frozenset({REFUSED}))

    @property
    def problems(self) -> tuple[str, ...]:
        return self._named(PROBLEMS)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self) | {
            "drifted": list(self.drifted),
            "refused": list(self.refused),
            "problems": list(self.problems),
        }
