"""What may go of old deployment versions, by policy, and why the rest has to stay.

Nothing goes of a version that is active, a shadow or planned, that a rollback would go back to, whose predictions are
recalled, or that something else reads. Model bytes go last: only when nothing is left that they made or that needs them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import kept, objects, readers, sql
from sqlml.catalog import activity, collected, recalls, records, states
from sqlml.catalog.collected import BYTES, INPUTS, LABELS, PARTS, PREDICTIONS
from sqlml.catalog.records import Deployment, Version
from sqlml.errors import UsageError, choices
from sqlml.labels.tables import table_name as labels_table
from sqlml.relation import split_name, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

DEFAULT_PARTS = (PREDICTIONS, INPUTS, BYTES)
FUNCTIONS = ("macro", "table macro")
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
OURS = ("gc", "restore", "forget", "recall", "undo recall")
"""What the history says of versions without their having been in use."""
IN_USE = {
    states.ACTIVE: "it is the active version",
    states.SHADOW: "it is a shadow",
    states.PLANNED: "it is planned: its deployment did not finish",
}


def duration(text: str | timedelta) -> timedelta:
    """
    >>> duration("90d"), duration("36h")
    (datetime.timedelta(days=90), datetime.timedelta(days=1, seconds=43200))
    """
    if isinstance(text, timedelta):
        return text
    match = re.fullmatch(r"\s*(\d{1,6})\s*([hdw])\s*", text)
    if match is None:
        raise UsageError(f"{text!r} is no span of time.", hint="Write hours, days or weeks: 36h, 90d, 12w.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


@dataclass(frozen=True)
class Retention:
    """Which versions may go, of those that nothing needs: all but the `keep_versions` that were in use last, and only those
    that have not been in use for `older_than` ("90d", "36h", "12w"). Both have to say so where both are given.

    `parts` are predictions, inputs, labels and bytes; labels, which what is measured is made of, only where they are named.

    Raises:
        UsageError: neither is given, or something that is no number, span or part.
    """

    keep_versions: int | None = None
    older_than: str | timedelta | None = None
    parts: Sequence[str] = DEFAULT_PARTS

    def __post_init__(self) -> None:
        if self.keep_versions is None and self.older_than is None:
            raise UsageError(
                "gc needs a policy: which versions may go.",
                hint="Give --keep-versions 3, --older-than 90d, or both; or write them into sqlml.toml, per deployment.",
            )
        if self.keep_versions is not None and self.keep_versions < 0:
            raise UsageError(f"{self.keep_versions} is no number of versions.")
        for part in self.parts:
            if part not in PARTS:
                raise UsageError(f"{part!r} is nothing that gc removes.", hint=choices(PARTS, wrong=part))
        duration(self.older_than or "0d")

    def to_json(self) -> str:
        older = None if self.older_than is None else str(self.older_than)
        return json.dumps({"keep_versions": self.keep_versions, "older_than": older, "parts": list(self.parts)})


@dataclass(frozen=True)
class Removal:
    """A part of a version that may go. `bytes` is about what a table takes in the file, and exact of a model."""

    deployment: str
    version: int
    state: str
    part: str
    what: str
    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class Spared:
    """A version, or a part of it, that stays, and why."""

    deployment: str
    version: int
    part: str | None
    why: str


@dataclass(frozen=True)
class Decision:
    removals: tuple[Removal, ...]
    spared: tuple[Spared, ...]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


Of = tuple[str, int]


def names(connection: Connection) -> list[str]:
    """Every deployment that there ever was, those that were undeployed too."""
    return [
        row[0] for row in connection.execute("SELECT DISTINCT deployment FROM sqlml.versions ORDER BY 1").fetchall()
    ]


def content(version: Version) -> tuple[str, str]:
    """What holds the bytes of its model: the table and the hash there."""
    if version.engine == "pyfunc":
        return "model_files", version.artifact_sha256
    return "models", version.model_sha256


def decide(connection: Connection, policies: Mapping[str, Retention]) -> Decision:
    """What the policies let go now, of the deployments that they name."""
    return _Deciding(connection, policies).decision()


@dataclass
class _Deciding:
    connection: Connection
    policies: Mapping[str, Retention]
    removals: list[Removal] = field(default_factory=list)
    spared: list[Spared] = field(default_factory=list)
    ripe: list[Version] = field(default_factory=list)

    @cached_property
    def versions(self) -> dict[str, list[Version]]:
        return {name: records.versions(self.connection, name) for name in names(self.connection)}

    @cached_property
    def missing(self) -> dict[Of, dict[str, collected.Collected]]:
        return collected.every(self.connection)

    @cached_property
    def deployments(self) -> dict[str, Deployment]:
        return {d.name: d for d in records.deployments(self.connection)}

    @cached_property
    def texts(self) -> list[readers.Text]:
        """What others may read predictions and functions by."""
        return readers.texts(self.connection)

    def decision(self) -> Decision:
        for name, retention in self.policies.items():
            for version in self._old(name, retention):
                self.ripe.append(version)
                for part, table in {**self._tables(version), LABELS: labels_table(version.version)}.items():
                    if part in retention.parts:
                        self.removals += self._rows(version, part, table)
        self._bytes()
        order = {part: place for place, part in enumerate(PARTS)}
        removals = sorted(self.removals, key=lambda r: (r.deployment, r.version, order[r.part]))
        return Decision(tuple(removals), tuple(sorted(self.spared, key=lambda s: (s.deployment, s.version))))

    def _old(self, name: str, retention: Retention) -> Iterator[Version]:
        """Versions that nothing needs and that the policy lets go."""
        free = []
        for version in self.versions.get(name, []):
            if why := self._needed(version):
                self.spared.append(Spared(name, version.version, None, why))
            else:
                free.append(version)
        last = self._last_in_use(name, free)
        ranked = sorted((v for v in free if v.state != states.FAILED), key=lambda v: (last[v.version], v.version))
        newest = {v.version for v in ranked[-retention.keep_versions :]} if retention.keep_versions else set()
        for version in free:
            if version.version in newest:
                why = f"it is one of the {retention.keep_versions} that were in use last"
                self.spared.append(Spared(name, version.version, None, why))
            elif retention.older_than is not None and records.now() - last[version.version] < duration(
                retention.older_than
            ):
                why = f"it was in use until {last[version.version]:%Y-%m-%d %H:%M} UTC"
                self.spared.append(Spared(name, version.version, None, why))
            else:
                yield version

    def _needed(self, version: Version) -> str | None:
        name, number = version.deployment, version.version
        if version.state in IN_USE:
            return IN_USE[version.state]
        deployment = self.deployments.get(name)
        active = None if deployment is None else deployment.active_version
        if active is not None and activity.before(self.connection, name, active) == number:
            return "a rollback goes back to it"
        marks = recalls.standing(self.connection, name, number)
        if marks:
            return f"it is recalled: {marks[0].sentence()}"
        return self._reader(version)

    def _reader(self, version: Version) -> str | None:
        """Another deployment, view or function that reads what is this version's alone."""
        name = version.deployment
        tables = {kept.table_name(version.version), labels_table(version.version)}
        if version.prediction_table is not None:
            tables.add(version.prediction_table)
        made = objects.recorded(self.connection, name, version.version)
        functions = {o.name for o in made if o.role == "version" and o.kind in FUNCTIONS}
        for other in self.deployments.values():
            if other.source is not None and split_name(other.source) in [[name, table] for table in tables]:
                return f"the deployment {other.name} reads it"
        ours = readers.made(self.connection, name)
        for text in self.texts:
            if (text.kind, text.path) not in ours and text.reads(name, tables, functions):
                return f"the {text.label} reads it"
        return None

    def _last_in_use(self, name: str, versions: Sequence[Version]) -> dict[int, datetime]:
        """When each was active, a shadow or being deployed for the last time, by the history."""
        events = self.connection.execute(
            "SELECT action, from_version, to_version, happened_at FROM sqlml.history WHERE deployment = ?", [name]
        ).fetchall()
        found = {}
        for version in versions:
            times = [at for action, *both, at in events if version.version in both and action not in OURS]
            ends = [at for action, *_, at in events if action == states.ENDING and at >= version.deployed_at]
            if version.state == states.UNDEPLOYED and ends:
                times.append(min(ends))
            found[version.version] = max(times, default=version.deployed_at)
        return found

    def _rows(self, version: Version, part: str, table: str) -> Iterator[Removal]:
        path = (version.deployment, table)
        if not table_exists(self.connection, path):
            return
        rows = _count(self.connection, path)
        if rows or is_left_over(version, part, is_there=version.deployment in self.deployments):
            shown = sql.quote_path(*path)
            size = _size(self.connection, path)
            yield Removal(version.deployment, version.version, version.state, part, shown, rows, size)

    def _bytes(self) -> None:
        going: dict[tuple[str, str], list[Version]] = {}
        for version in self.ripe:
            if BYTES not in self.policies[version.deployment].parts or not self._holds_bytes(version):
                continue
            if why := self._makes_use(version):
                self.spared.append(Spared(version.deployment, version.version, BYTES, why))
            else:
                going.setdefault(content(version), []).append(version)
        for (table, sha256), found in going.items():
            others = [v for v in self.users((table, sha256)) if v not in found]
            size = _bytes_of(self.connection, table, sha256)
            for version in found:
                if others:
                    why = f"{others[0].deployment} v{others[0].version} has the same model"
                    self.spared.append(Spared(version.deployment, version.version, BYTES, why))
                else:
                    of = (version.deployment, version.version, version.state)
                    self.removals.append(Removal(*of, BYTES, sha256, None, size))

    def _holds_bytes(self, version: Version) -> bool:
        gone = BYTES in self.missing.get((version.deployment, version.version), {})
        return not gone and _bytes_of(self.connection, *content(version)) is not None

    def _makes_use(self, version: Version) -> str | None:
        """What is left that was made with the bytes, and could not be replayed without."""
        leaving = {r.part for r in self.removals if (r.deployment, r.version) == (version.deployment, version.version)}
        for part, table in self._tables(version).items():
            if part not in leaving and self._has_rows(version, table):
                return f"its {part} stay, and are replayed with them"
        target = self._elsewhere(version)
        return None if target is None else f"rows that it made are in {target}"

    def _elsewhere(self, version: Version) -> str | None:
        row = self.connection.execute(
            "SELECT max(target) FROM sqlml.scorings WHERE deployment = ? AND version = ? AND kind = 'external'",
            [version.deployment, version.version],
        ).fetchone()
        return None if row is None else row[0]

    def _tables(self, version: Version) -> dict[str, str]:
        """What it may have made with the bytes, by part."""
        inputs = {INPUTS: kept.table_name(version.version)}
        return inputs if version.prediction_table is None else {PREDICTIONS: version.prediction_table, **inputs}

    def _has_rows(self, version: Version, table: str) -> bool:
        path = (version.deployment, table)
        return table_exists(self.connection, path) and _count(self.connection, path) > 0

    def users(self, wanted: tuple[str, str]) -> list[Version]:
        """Versions of any deployment that can be called with these bytes, or of which something was made with them: their
        predictions, the inputs that they kept, rows that are elsewhere."""
        return [
            version
            for version in (v for found in self.versions.values() for v in found)
            if content(version) == wanted
            and BYTES not in self.missing.get((version.deployment, version.version), {})
            and (
                version.state in states.CALLABLE
                or any(self._has_rows(version, table) for table in self._tables(version).values())
                or self._elsewhere(version) is not None
            )
        ]


def is_left_over(version: Version, part: str, *, is_there: bool) -> bool:
    """Whether nothing needs a table of it any more, empty or not. Views of a deployment that is there again (`is_there`)
    read the labels of all its versions."""
    return version.state == states.UNDEPLOYED and not (part == LABELS and is_there)


def users(connection: Connection, version: Version) -> list[Version]:
    """Versions that need the bytes of this one's model now."""
    return _Deciding(connection, {}).users(content(version))


def _count(connection: Connection, path: tuple[str, str]) -> int:
    row = connection.execute(sql.render(exp.select(sql.call("count", exp.Star())).from_(sql.table(*path)))).fetchone()
    return int(row[0]) if row else 0


def _size(connection: Connection, path: tuple[str, str]) -> int:
    """About what a table takes in the file: whole blocks, of which it may share some. 0 in memory."""
    row = connection.execute(
        "SELECT count(DISTINCT block_id) * (SELECT block_size FROM pragma_database_size() WHERE database_name ="
        " current_database()) FROM pragma_storage_info(?) WHERE persistent",
        [sql.quote_path(*path)],
    ).fetchone()
    return int(row[0] or 0) if row else 0


def _bytes_of(connection: Connection, table: str, sha256: str) -> int | None:
    """None where they are not in the database."""
    query = {
        "models": "SELECT sum(bytes) FROM sqlml.models WHERE sha256 = ?",
        "model_files": "SELECT sum(octet_length(content)) FROM sqlml.model_files WHERE artifact_sha256 = ?",
    }[table]
    row = connection.execute(query, [sha256]).fetchone()
    return None if row is None or row[0] is None else int(row[0])
