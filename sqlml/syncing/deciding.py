"""What is to be done about a deployment, from what the catalog and the registry say. Nothing is read or written here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlml import registry
from sqlml.catalog import states
from sqlml.catalog.following import Followed
from sqlml.catalog.policies import DEPLOY, FAILED, NEW, REFUSED, SETTLED, SHADOW, TELL, TRYING
from sqlml.registry import ModelVersion, Standing
from sqlml.syncing import outcomes
from sqlml.syncing.looking import Known, Looked
from sqlml.syncing.outcomes import Outcome
from sqlml.version import __version__


@dataclass(frozen=True)
class Decision:
    """What a deployment's outcome is, `row` as it is to be recorded, and the policy that is to be carried out, if any."""

    looked: Looked
    outcome: Outcome
    row: Followed | None
    action: str | None = None
    found: ModelVersion | None = None

    @property
    def is_something(self) -> bool:
        """Whether there is anything to write or to do."""
        return self.action is not None or self.row != self.looked.row


STAYS = "What is deployed stays."


def decide(one: Looked, standing: Standing | None, *, now: datetime, retry: bool) -> Decision:
    row, active = one.row, one.active
    if row is None or active is None:
        return _said(
            one,
            outcomes.UNFINISHED,
            "no version is active: its deployment did not finish; deploy it again, or undeploy it",
        )
    if standing is None and one.is_registered:
        return _said(one, outcomes.BUSY, "somebody changed it while the registry was asked; the next round looks again")
    standing = standing or Standing()
    if standing.problem is not None:
        return _said(one, outcomes.UNREACHABLE, standing.problem)
    found = standing.found
    if standing.missing is not None and not _moves(found):
        said = f"gone from the registry: {standing.missing} {STAYS}"
        return _said(one, outcomes.GONE, said, replace(row, missing=standing.missing))
    if not _moves(found) or found is None:
        return _said(one, outcomes.PINNED, f"{row.reference} always means the same", replace(row, missing=None))
    decision = _of_moving(one, replace(row, missing=None), active, found, now=now, retry=retry)
    if standing.missing is None or decision.action is not None or decision.row is None:
        return decision
    said = f"{decision.outcome.sentence}; gone from the registry: {standing.missing} {STAYS}"
    return _said(one, outcomes.GONE, said, replace(decision.row, missing=standing.missing))


def _moves(found: ModelVersion | None) -> bool:
    """An alias and a stage do, and `latest`; `churn:3` does not, nor a model's only version."""
    return found is not None and registry.may_move(found.reference) and not found.found_by.startswith("its only")


def _of_moving(
    one: Looked, row: Followed, active: Known, found: ModelVersion, *, now: datetime, retry: bool
) -> Decision:
    is_shadows = row.beside or row.policy == SHADOW
    match = _match(one, found)
    moved = not row.means(found)
    if match is not None and match.state == states.ACTIVE and (moved or row.state != TRYING):
        settled = replace(row.moved(found) if moved else row, state=SETTLED, version=match.version, problem=None)
        return _said(
            one, outcomes.IN_STEP, f"{row.reference} is {_named(found)}, deployment v{match.version}", settled, found
        )
    if moved:
        row = row.moved(found)
    elif row.state == TRYING and match is not None and _was_left(match, row):
        row = replace(row, state=SETTLED, version=match.version)
    if row.state == SETTLED or (match is not None and _is_a_persons(one, row, match)):
        settled = replace(row, state=SETTLED, version=row.version if match is None else match.version)
        return _said(one, outcomes.WAITING, _waiting(one, found, match), settled, found)
    what = f"{row.reference} is {_named(found)} now, and v{active.version} is {active.resolved}"
    if row.policy == TELL:
        return _said(one, outcomes.MOVED, f"{what}; by its policy that is told and no more", row, found)
    if row.state == REFUSED and row.tried_with == __version__ and not retry:
        return _said(
            one,
            outcomes.REFUSED,
            f"{what}, which was refused, and is not tried again until it moves, or with --retry: {row.problem}",
            row,
            found,
        )
    if row.state == FAILED and not retry and row.next_try is not None and now < row.next_try:
        when = f"{row.next_try:%Y-%m-%d %H:%M:%S} UTC"
        return _said(
            one,
            outcomes.FAILED,
            f"{what}; that failed, and is tried again from {when}, or with --retry: {row.problem}",
            row,
            found,
        )
    action = SHADOW if is_shadows else DEPLOY
    will = outcomes.WILL_SHADOW if is_shadows else outcomes.WILL_DEPLOY
    how = "it would be deployed as a shadow" if is_shadows else "it would be deployed"
    return replace(_said(one, will, f"{what}; {how}", row, found), action=action)


def _is_a_persons(one: Looked, row: Followed, match: Known) -> bool:
    """Whether it is a shadow that waits for somebody: under a policy that deploys, one that somebody made by hand.

    Others came of a reference that `sync` follows, and were to be seen beside the active version before it moves to them.
    A policy that is changed while one waits (`follow`) is a person's word on it, and its version stands in the row.
    """
    if match.state != states.SHADOW or row.state == TRYING:
        return False
    if row.beside or row.policy == SHADOW:
        return row.state == NEW
    return row.policy == DEPLOY and row.version != match.version and match.reference not in one.shadowed_by


def _match(one: Looked, found: ModelVersion) -> Known | None:
    """The version that was made of this: of several (with another threshold or engine) the active one, then a shadow."""
    order = (states.ACTIVE, states.SHADOW, states.PLANNED, states.RETIRED)
    same = [v for v in one.versions if v.state in order and (v.is_of(found) or v.version == _became(one.row, found))]
    return min(same, key=lambda v: (order.index(v.state), -v.version), default=None)


def _became(row: Followed | None, found: ModelVersion) -> int | None:
    """The version that a deploy of this came to, also where that was made of another run's equal files."""
    return row.version if row is not None and row.state == SETTLED and row.means(found) else None


def _was_left(match: Known, row: Followed) -> bool:
    """Whether a person went back from it after the deploy that did not end had made it active, or a shadow."""
    return (
        match.state == states.RETIRED
        and match.left_at is not None
        and row.tried_at is not None
        and match.left_at > row.tried_at
    )


HOW_LEFT = {"rollback": "was rolled back from", "retire": "was retired", "promote": "was replaced by a promotion"}


def _waiting(one: Looked, found: ModelVersion, match: Known | None) -> str:
    assert one.row is not None
    assert one.active is not None
    said = f"{one.row.reference} is {_named(found)}"
    if match is not None and match.state == states.SHADOW:
        return f"{said}, the shadow v{match.version}: promote or retire it"
    if match is not None and match.state == states.RETIRED:
        how = HOW_LEFT.get(match.left_by or "", "was replaced")
        return f"{said}, and v{match.version} of it {how}: v{one.active.version} stays until the reference moves"
    return f"{said}, and a person made v{one.active.version} active: it stays until the reference moves"


def _named(found: ModelVersion) -> str:
    return f"{found.name} v{found.number}"


def _said(
    one: Looked, what: str, sentence: str, row: Followed | None = None, found: ModelVersion | None = None
) -> Decision:
    row = row or one.row
    outcome = Outcome(
        name=one.name,
        what=what,
        sentence=sentence,
        reference="" if row is None else row.reference,
        policy=TELL if row is None else row.policy,
        beside=row is not None and row.beside,
        from_version=None if one.active is None else one.active.version,
    )
    return Decision(one, outcome, row, found=found)
