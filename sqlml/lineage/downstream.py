"""Who reads a deployment's predictions, and which of its rows were made from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlml.catalog import activity, states
from sqlml.catalog.records import Version
from sqlml.lineage.columns import Edge
from sqlml.lineage.macros import Macros
from sqlml.lineage.matching import Name, name_of
from sqlml.lineage.objects import Objects
from sqlml.lineage.references import fold
from sqlml.relation import mentions, split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TABLE = re.compile(r"(?:predictions|labels)_v(\d+)")
FUNCTIONS = ("predict", "probability", "predict_proba", "error", "explain", "predict_values", "predict_table")
Window = tuple[datetime, datetime | None]
"""From when until when; None: still."""


@dataclass(frozen=True)
class Read:
    """One version reads another deployment: of `version`, or of whichever is active (None)."""

    deployment: str
    version: int | None


@dataclass
class Reader:
    """What of a version depends on what was asked for: rows scored in these windows."""

    windows: set[Window] = field(default_factory=set)
    through: set[Name] = field(default_factory=set)

    @property
    def since(self) -> datetime:
        return min(start for start, _ in self.windows)

    @property
    def is_reading(self) -> bool:
        """What it scores from now on depends on it too."""
        return any(end is None for _, end in self.windows)


def readers(
    connection: Connection,
    roots: Mapping[Name, datetime],
    versions: Sequence[Version],
    edges: Mapping[Name, list[Edge]],
) -> dict[Name, Reader]:
    """Versions that read predictions of `roots` (each from some moment on), and those that read theirs, and so on."""
    macros = Macros(Objects(connection))
    known = {name_of(v): reads(macros, v, edges[name_of(v)], versions) for v in versions}
    spans = {name: activity.changes(connection, name) for name in {v.deployment for v in versions}}
    found: dict[Name, Reader] = {}
    waiting = list(roots.items())
    while waiting:
        root, since = waiting.pop(0)
        for reader, its in known.items():
            if reader == root or not its:
                continue
            new = {window for read in its for window in _windows(read, root, since, spans[root[0]])}
            entry = found.get(reader, Reader())
            if not new - entry.windows:
                continue
            entry.windows |= new
            entry.through.add(root)
            found[reader] = entry
            waiting.append((reader, entry.since))
    return {name: reader for name, reader in found.items() if name not in roots}


def _windows(read: Read, root: Name, since: datetime, changes: Sequence[activity.Change]) -> Iterable[Window]:
    """When what `read` reads was of this version."""
    if read.deployment != root[0]:
        return
    if read.version is not None:
        if read.version == root[1]:
            yield since, None
        return
    for place, change in enumerate(changes):
        end = changes[place + 1].since if place + 1 < len(changes) else None
        if change.version == root[1] and (end is None or end > since):
            yield max(change.since, since), end


def reads(macros: Macros, version: Version, edges: Sequence[Edge], versions: Sequence[Version]) -> set[Read]:
    """By its columns, and by calls of others' functions in the views that these columns pass through, macros included."""
    names = {fold(v.deployment): v.deployment for v in versions if v.deployment != version.deployment}
    found: set[Read] = set()
    passed: set[tuple[str, str]] = set()
    for edge in edges:
        if edge.to_kind == "column":
            passed.add(_relation(edge.to_name))
        if edge.from_kind != "column":
            continue
        schema, table = _relation(edge.from_name)
        upstream, stored = names.get(fold(schema)), TABLE.fullmatch(fold(table))
        if upstream is None or stored is None:
            continue
        by = _relation(edge.to_name) if edge.to_kind == "column" else ("", "")
        is_active = fold(by[0]) == fold(upstream) and fold(by[1]) in ("current", "scored")
        found.add(Read(upstream, None if is_active else int(stored[1])))
    return found | _calls(macros, version, passed, names.values(), versions)


def _relation(column: str) -> tuple[str, str]:
    """Schema and table of a column of this database; of another's, and of a file's, nothing."""
    parts = split_name(column)
    if len(parts) == 3:
        return parts[0], parts[1]
    return ("main", parts[0]) if len(parts) == 2 else ("", "")


def _calls(
    macros: Macros,
    version: Version,
    passed: set[tuple[str, str]],
    names: Iterable[str],
    versions: Sequence[Version],
) -> set[Read]:
    source = split_name(version.source) if version.source else []
    if len(source) in (1, 2):  # longer: another database's
        passed = passed | {(source[0], source[1]) if len(source) == 2 else ("main", source[0])}
    wanted = {(fold(schema), fold(table)) for schema, table in passed if table}
    rows = macros.objects.connection.execute(
        "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal AND database_name = current_database()"
    ).fetchall()
    texts: dict[str, None] = {}
    plain: set[str] = set()
    for schema, view, text in rows:
        if (fold(schema), fold(view)) in wanted:
            called = macros.called(text, (macros.objects.home, schema))
            texts |= dict.fromkeys([text, *(body for overloads in called.values() for _, body in overloads)])
            plain |= {macros.plain[macro[1:]] for macro in called if macro[1:] in macros.plain}
    found = {Read(name, None) for name in names if fold(name) in plain}
    for name in names:
        numbers = [v.version for v in versions if v.deployment == name and v.state in states.CALLABLE]
        for text in texts:
            if fold(name) not in fold(text):  # reading every text token by token would take longer
                continue
            if mentions(text, name, (), FUNCTIONS):
                found.add(Read(name, None))
            for number in numbers:
                if mentions(text, name, (), [f"{function}_v{number}" for function in FUNCTIONS]):
                    found.add(Read(name, number))
    return found
