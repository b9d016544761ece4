"""Whose key it is that is forgotten: a deployment's, with its key columns and its tables, also after it was undeployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import jobs, sql
from sqlml.catalog import activity, records
from sqlml.catalog.records import Version
from sqlml.database import facts
from sqlml.errors import BindingError, DatabaseError, NotDeployed, UsageError
from sqlml.kept import table_name as inputs_table
from sqlml.labels.tables import table_name as labels_table
from sqlml.relation import Relation, find, resolve_columns, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Subject:
    """`keys` are the key columns in the order in which values are given: those of the active version, or of the last one
    that had some; empty where there was none. `is_there`: it is deployed now."""

    name: str
    is_there: bool
    keys: tuple[str, ...]
    source: str | None
    owns_source: bool


@dataclass(frozen=True)
class KeyTable:
    """A table with key columns of these types."""

    path: tuple[str, str]
    keys: tuple[str, ...]
    types: tuple[str, ...]
    what: str

    @property
    def shown(self) -> str:
        return sql.quote_path(*self.path)

    def in_order(self, keys: Sequence[str]) -> KeyTable | None:
        """The same with its key columns in this order; None where they are others: the same values would be another key.

        Names are matched as DuckDB does, without regard to case."""
        own = {key.lower(): (key, kind) for key, kind in zip(self.keys, self.types, strict=True)}
        if own.keys() != {key.lower() for key in keys}:
            return None
        ordered = [own[key.lower()] for key in keys]
        return KeyTable(self.path, tuple(key for key, _ in ordered), tuple(kind for _, kind in ordered), self.what)


def subject_of(connection: Connection, name: str) -> Subject:
    """What is known of the name, also where only jobs had it: a first deploy that was refused may have told a key.

    Raises:
        NotDeployed: there is no such deployment, nor was there, and no job had the name.
    """
    try:
        known = records.name_of(connection, name)
    except NotDeployed:
        told = jobs.deployment_named(connection, jobs.folder_of(facts(connection)), name)
        if told is None:
            raise
        return Subject(told, False, (), None, False)
    versions = records.versions(connection, known)
    found = records.find_deployment(connection, known)
    if found is not None:
        keys = found.key_columns or next((v.key_columns for v in reversed(versions) if v.key_columns), ())
        return Subject(found.name, True, keys, found.source, found.owns_source)
    last = _last_active(connection, known, versions)
    own = sql.quote_path(known, "inputs")
    owns = any(version.source == own for version in versions) and table_exists(connection, (known, "inputs"))
    return Subject(known, False, last.key_columns, own if owns else last.source, owns)


def key_of(connection: Connection, name: str) -> tuple[str, ...]:
    """The key columns whose values a forgetting takes, in their order; empty where nobody knows them.

    Raises:
        NotDeployed: there is no such deployment, nor was there, and no job had the name.
    """
    return subject_of(connection, name).keys


def _last_active(connection: Connection, name: str, versions: Sequence[Version]) -> Version:
    """Of an undeployed one: a shadow or a failed attempt may have come later, with another key."""
    active = [change.version for change in activity.changes(connection, name) if change.version is not None]
    found = next((version for version in versions if active and version.version == active[-1]), None)
    if found is not None and found.key_columns:
        return found
    return next((version for version in reversed(versions) if version.key_columns), versions[-1])


def tables(connection: Connection, subject: Subject) -> Iterator[KeyTable]:
    """Those of undeployed versions too; what sqlml made for inputs comes last, for its triggers write to the others."""
    for version in records.versions(connection, subject.name):
        if version.prediction_table is None:
            continue
        number = version.version
        held = ((version.prediction_table, "predictions"), (inputs_table(number), "kept inputs"))
        for table, what in (*held, (labels_table(number), "labels")):
            yield from _found(connection, version, (subject.name, table), what)
    made = source_of(connection, subject) if subject.owns_source else None
    if made is not None and made[0].is_local_table:
        relation, keys = made
        path = (relation.parts[0], relation.parts[1])
        yield KeyTable(path, keys, tuple(relation.types[key] for key in keys), "inputs")


def _found(connection: Connection, version: Version, path: tuple[str, str], what: str) -> Iterator[KeyTable]:
    if table_exists(connection, path):
        types = find(connection, sql.quote_path(*path)).types
        yield KeyTable(path, version.key_columns, tuple(types[key] for key in version.key_columns), what)


def source_of(connection: Connection, subject: Subject) -> tuple[Relation, tuple[str, ...]] | None:
    """The source and its key columns; None where there is none, or it is gone, changed, or a view that fails."""
    if subject.source is None or not subject.keys:
        return None
    try:
        relation = find(connection, subject.source)
        return relation, resolve_columns(relation, subject.keys, "key")
    except (BindingError, DatabaseError):
        return None


def refuse_no_key(connection: Connection, subject: Subject, fitting: Sequence[KeyTable], values: Sequence[str]) -> None:
    """Raises:
    UsageError: another number of values than key columns, or values that no key of it can have.
    """
    columns = ", ".join(subject.keys)
    if not values:
        raise UsageError(
            f"No value of a key of {subject.name} was given.", hint=f"Its key is {columns}." if columns else None
        )
    if subject.keys and len(values) != len(subject.keys):
        were = f"{len(values)} value was" if len(values) == 1 else f"{len(values)} values were"
        raise UsageError(
            f"The key of {subject.name} is {columns}, and {were} given.",
            hint="Give one value for each of these columns, in this order; on the command line, separated by commas.",
        )
    if not fitting:
        return  # what they are, nobody knows any more: texts are searched for them as they were given
    for table in fitting:
        if all(_reads(connection, value, kind) for value, kind in zip(values, table.types, strict=True)):
            return
    kinds = ", ".join(fitting[-1].types)
    raise UsageError(f"That is no key of {subject.name}: {columns} is {kinds}.")


def _reads(connection: Connection, value: str, kind: str) -> bool:
    read = sql.try_cast(sql.parameter(1), kind)
    query = exp.select(exp.Not(this=exp.Is(this=read, expression=exp.Null())))
    row = connection.execute(sql.render(query), [value]).fetchone()
    return bool(row and row[0])
