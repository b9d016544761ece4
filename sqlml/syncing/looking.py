"""What the catalog knows before the registry is asked: few statements, whatever the number of deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlml import registry
from sqlml.catalog import following, records, states
from sqlml.catalog.following import Followed
from sqlml.catalog.policies import SHADOW
from sqlml.registry import ModelVersion, Question, Standing

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Known:
    """A deployment version, as far as it is compared. `left_at` is when it last ceased to be active or a shadow."""

    version: int
    state: str
    reference: str
    resolved: str
    model_name: str | None
    model_version: str | None
    model_id: str | None
    run_id: str | None
    tracking_uri: str | None
    registry_uri: str | None
    artifact_sha256: str
    left_at: datetime | None
    left_by: str | None

    @property
    def number(self) -> int | None:
        return None if self.model_version is None else int(self.model_version)

    def is_of(self, found: ModelVersion) -> bool:
        """Whether it was made of this registered version."""
        return (self.model_name, self.number) == (found.name, found.number) and following.same_model(
            following.model_of(self), following.model_of(found)
        )


@dataclass(frozen=True)
class Looked:
    """What one deployment follows, and its versions. `row` may be None where no version is active.

    `shadowed_by` are the references by which `sync` makes shadows of this deployment, or made them.
    """

    name: str
    active: Known | None
    versions: tuple[Known, ...]
    row: Followed | None
    shadowed_by: frozenset[str] = frozenset()

    @property
    def like(self) -> Known | None:
        """The version whose options the next one is deployed with: the active one, or the last by the shadows' reference."""
        if self.row is not None and self.row.beside:
            same = [v for v in self.versions if v.reference == self.row.reference and v.state in states.CALLABLE]
            return same[-1] if same else self.active
        return self.active

    @property
    def is_registered(self) -> bool:
        """Whether a registry can say anything about it: not about a path or a run."""
        question = self.question()
        return question is not None and (question.number is not None or registry.may_move(question.reference))

    def question(self) -> Question | None:
        if self.row is None or self.active is None:
            return None
        deployed = self.active
        return Question(self.row.reference, deployed.model_name, deployed.number, deployed.run_id)


def look(connection: Connection, name: str | None) -> list[Looked]:
    """Every deployment, or the one named.

    Raises:
        NotDeployed: there is none of that name.
    """
    chosen = records.deployments(connection) if name is None else [records.deployment(connection, name)]
    if not chosen:
        return []
    versions = _versions(connection)
    recorded = following.rows(connection)
    found = []
    for deployment in chosen:
        own = versions.get(deployment.name, ())
        active = next((v for v in own if v.version == deployment.active_version), None)
        rows: Sequence[Followed | None] = [row for row in recorded if row.deployment == deployment.name]
        if not any(row is not None and not row.beside for row in rows):
            rows = [following.derived(deployment.name, deployment.active_version, own), *rows]
        shadowed_by = frozenset(r.reference for r in rows if r is not None and (not r.beside or r.policy == SHADOW))
        found += [Looked(deployment.name, active, own, row, shadowed_by) for row in rows]
    return found


def _versions(connection: Connection) -> dict[str, tuple[Known, ...]]:
    rows = connection.execute(
        "SELECT v.deployment, v.version, v.state, v.reference, v.resolved, v.model_name, v.model_version, v.model_id, v.run_id,"
        " v.tracking_uri, v.registry_uri, v.artifact_sha256, h.left_at, h.left_by"
        " FROM sqlml.versions v LEFT JOIN (SELECT deployment, from_version, max(happened_at) AS left_at,"
        " max_by(action, happened_at) AS left_by FROM sqlml.history WHERE from_version IS DISTINCT FROM to_version"
        " GROUP BY ALL) h ON h.deployment = v.deployment AND h.from_version = v.version ORDER BY v.deployment, v.version"
    ).fetchall()
    found: dict[str, list[Known]] = {}
    for deployment, version, state, *rest in rows:
        found.setdefault(deployment, []).append(Known(version, states.OF_OLD.get(state, state), *rest))
    return {name: tuple(versions) for name, versions in found.items()}


Answers = dict[tuple[str, bool, Question], Standing]


def ask(looked: Sequence[Looked], *, tracking_uri: str | None, registry_uri: str | None) -> Answers:
    """What the registries say; without URIs each deployment's own is asked. Needs no database."""
    places: dict[tuple[str | None, str | None], list[tuple[str, bool, Question]]] = {}
    for one in looked:
        question = one.question()
        if question is None or one.row is None or not one.is_registered:
            continue
        place = place_of(one, tracking_uri, registry_uri)
        places.setdefault(place, []).append((one.name, one.row.beside, question))
    answers: Answers = {}
    for (tracking, registered), asked in places.items():
        said = registry.standings([key[2] for key in asked], tracking_uri=tracking, registry_uri=registered)
        answers |= {key: said[key[2]] for key in asked}
    return answers


def place_of(one: Looked, tracking_uri: str | None, registry_uri: str | None) -> tuple[str | None, str | None]:
    """The registry that is asked about a deployment: the one that is named, else the one that it was deployed from."""
    if tracking_uri is not None or registry_uri is not None:
        return tracking_uri, registry_uri
    like = one.like
    return (None, None) if like is None else (like.tracking_uri, like.registry_uri)
