"""What deployments follow: rows of sqlml.following, one for a deployment's own reference and one for its shadows'.

A deploy writes down the reference that it was given; `sync` what that meant when it looked last, and what came of it. A
rollback or a promotion changes none of that: a deployment goes on following what a person deployed it by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from sqlml.catalog import records, states
from sqlml.catalog.migrations import FOLLOWS, applied
from sqlml.catalog.policies import FAILED, NEW, REFUSED, SETTLED, TELL, TRYING
from sqlml.catalog.records import Version
from sqlml.database import atomic

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

    from sqlml.registry import ModelVersion

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True)
class Followed:
    """A row. `number` and `model` are the registered version, and its logged model or run, that the reference meant when
    it was looked at last; `state` what became of that:

    new        nothing yet: the policy is to tell, or `sync` has not come to it
    trying     a deploy of it has begun; where it did not end, it is begun again
    settled    it was deployed; whatever a person made of it afterwards stays
    refused    it was refused; not tried again with this version of sqlml
    failed     it failed, and is tried again after a while
    """

    deployment: str
    beside: bool
    reference: str
    policy: str
    number: int | None
    model: str | None
    state: str
    version: int | None = None
    missing: str | None = None
    problem: str | None = None
    tries: int = 0
    tried_at: datetime | None = None
    tried_with: str | None = None

    def means(self, found: ModelVersion) -> bool:
        """Whether this is what the reference meant when it was looked at last."""
        return self.number == found.number and same_model(self.model, model_of(found))

    def moved(self, found: ModelVersion) -> Followed:
        return replace(
            self,
            number=found.number,
            model=model_of(found),
            state=NEW,
            version=None,
            problem=None,
            tries=0,
            tried_at=None,
            tried_with=None,
        )

    def sentence(self) -> str:
        """For people: what is followed, how, and what came of it when `sync` looked last."""
        what = {
            NEW: f", not deployed: it is v{self.number} now",
            TRYING: f", v{self.number} of it is being deployed",
            REFUSED: f", v{self.number} of it was refused: {self.problem}",
            FAILED: f", v{self.number} of it failed: {self.problem}",
        }.get(self.state, "")
        return f"{self.reference}{', beside' if self.beside else ''}, policy {self.policy}{what}"

    @property
    def next_try(self) -> datetime | None:
        return None if self.tried_at is None else self.tried_at + wait_after(self.tries)


def wait_after(tries: int) -> timedelta:
    """Twice as long after each failure."""
    return min(FIRST_WAIT * (1 << min(max(tries, 1) - 1, 10)), LONGEST_WAIT)


def model_of(found: ModelVersion | Deployed) -> str | None:
    """What tells a registered version from another one that got its number after it was deleted."""
    return found.model_id or found.run_id


def same_model(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def rows(connection: Connection) -> list[Followed]:
    """All that are recorded, in order; a deployment that was made before there were any has none."""
    if applied(connection) < FOLLOWS:
        return []
    names = list(Followed.__dataclass_fields__)
    found = connection.execute(
        "SELECT deployment, beside, reference, policy, number, model, state, version, missing, problem, tries, tried_at,"
        " tried_with FROM sqlml.following ORDER BY deployment, beside"
    ).fetchall()
    return [Followed(**dict(zip(names, row, strict=True))) for row in found]


def row_of(connection: Connection, deployment: str, *, beside: bool) -> Followed | None:
    return next((r for r in rows(connection) if (r.deployment, r.beside) == (deployment, beside)), None)


def write(connection: Connection, row: Followed) -> None:
    """Put the row in the place of the one before; part of the caller's transaction, which has begun a change."""
    connection.execute("DELETE FROM sqlml.following WHERE deployment = ? AND beside = ?", [row.deployment, row.beside])
    records.insert(connection, "following", asdict(row))


def note(connection: Connection, version: Version, reference: str, policy: str | None, *, shadow: bool) -> None:
    """A deploy's last word on what it was given. Nothing is written where all of it is known.

    A shadow of what the deployment itself follows is noted there. `sync`'s own deploys stay marked as tried until it has
    heard of their end.
    """
    if applied(connection) < FOLLOWS:
        return
    name = version.deployment
    own = row_of(connection, name, beside=False)
    if own is None and shadow:
        deployment = records.deployment(connection, name)
        own = derived(name, deployment.active_version, records.versions(connection, name))
    beside = shadow and (own is None or own.reference != reference)
    before = row_of(connection, name, beside=True) if beside else own
    now = Followed(
        deployment=name,
        beside=beside,
        reference=reference,
        policy=policy or (TELL if before is None else before.policy),
        number=None if version.model_version is None else int(version.model_version),
        model=model_of(version),
        state=SETTLED,
        version=version.version,
    )
    if before is not None and before.reference == reference and before.state == TRYING:
        now = replace(now, state=TRYING, tries=before.tries, tried_at=before.tried_at, tried_with=before.tried_with)
    if now != before:
        with atomic(connection, name):
            records.begin_change(connection, name)
            write(connection, now)


class Deployed(Protocol):
    """What is known here of a deployment version."""

    @property
    def version(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def model_version(self) -> str | None: ...
    @property
    def model_id(self) -> str | None: ...
    @property
    def run_id(self) -> str | None: ...


def derived(name: str, active: int | None, versions: Sequence[Deployed]) -> Followed | None:
    """Of a deployment that was made before it was recorded: what its active version was deployed by, as that was last."""
    current = next((v for v in versions if v.version == active), None)
    if current is None:
        return None
    same = [v for v in versions if v.reference == current.reference and v.state in states.CALLABLE]
    last = max(same, key=lambda v: v.version)
    number = None if last.model_version is None else int(last.model_version)
    return Followed(name, False, current.reference, TELL, number, model_of(last), SETTLED, last.version)


def forget(connection: Connection, deployment: str) -> None:
    """Of a deployment that goes; part of the caller's transaction."""
    connection.execute("DELETE FROM sqlml.following WHERE deployment = ?", [deployment])
