"""The datasets of a deployment version, from the catalog: what it reads, column by column, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from sqlml.catalog.records import Version
from sqlml.engines.surface import output_columns
from sqlml.lineage.columns import Edge, label
from sqlml.lineage.edges import dataset_name, edges
from sqlml.lineage.present import recorded_edges
from sqlml.openlineage.described import Dataset, MadeOf
from sqlml.openlineage.naming import database_namespace, file_place, model_place, run_place
from sqlml.relation import Relation, split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

IDENTITY, TRANSFORMATION = "IDENTITY", "TRANSFORMATION"


@dataclass
class Places:
    """Where the columns that lineage names are, as OpenLineage calls it."""

    connection: Connection

    @cached_property
    def databases(self) -> dict[str, tuple[str | None, str]]:
        """Name -> path and kind."""
        rows = self.connection.execute("SELECT database_name, path, type FROM duckdb_databases()").fetchall()
        return {name: (path, kind) for name, path, kind in rows}

    @cached_property
    def home(self) -> str:
        row = self.connection.execute("SELECT current_database()").fetchone()
        return str(row[0]) if row else ""

    def table(self, parts: Sequence[str]) -> tuple[str, str]:
        """Of a name as lineage labels it: the home database and main may be left out."""
        database, schema, name = self.path(parts)
        path, kind = self.databases.get(database, (None, "duckdb"))
        return database_namespace(path, kind), ".".join((database, schema, name))

    def path(self, parts: Sequence[str]) -> tuple[str, str, str]:
        parts = list(parts)
        if len(parts) == 1:
            return self.home, "main", parts[0]
        return (self.home, parts[0], parts[1]) if len(parts) == 2 else (parts[-3], parts[-2], parts[-1])

    def types(self, paths: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], tuple[tuple[str, str], ...]]:
        """The columns and types of these tables and views."""
        wanted = set(paths)
        rows = self.connection.execute(
            "SELECT database_name, schema_name, table_name, column_name, data_type FROM duckdb_columns()"
            " WHERE list_contains(?::VARCHAR[], table_name) ORDER BY 1, 2, 3, column_index",
            [sorted({name for _, _, name in wanted})],
        ).fetchall()
        found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for database, schema, table, column, kind in rows:
            found.setdefault((database, schema, table), []).append((column, kind))
        return {path: tuple(columns) for path, columns in found.items() if path in wanted}


def described(
    connection: Connection, version: Version, relation: Relation | None, target: str | None
) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
    """Inputs and outputs of a version's scoring of `relation` (its own source, or another) into `target`.

    `target` is a path or an SQL name; None stands for the version's own prediction table, or its function.
    """
    places = Places(connection)
    is_own = relation is None or relation.name == version.source
    found = recorded_edges(connection, version) if is_own else list(edges(connection, version, relation))
    into: dict[tuple[str, str], list[Edge]] = {}
    for edge in found:
        into.setdefault((edge.to_kind, edge.to_name), []).append(edge)
    bases = _Bases(places, into)
    inputs = _sources(bases, version, relation)
    return (*inputs, *_model(version)), _outputs(bases, version, target)


@dataclass
class _Bases:
    """Features and keys followed to the columns of tables, or as far as it is known."""

    places: Places
    into: Mapping[tuple[str, str], Sequence[Edge]]
    known: dict[tuple[str, str], tuple[MadeOf, ...]] = field(default_factory=dict)

    def of(self, kind: str, name: str) -> tuple[MadeOf, ...]:
        """IDENTITY where the value is passed on by every view in between."""
        found: dict[MadeOf, None] = {}
        for edge in self.into.get((kind, name), ()):
            # What a feature or a key has as `how` is the cast that binds it, which changes no value.
            is_plain = edge.how is None or kind != "column"
            for end in self._ends(edge.from_kind, edge.from_name):
                found[end if is_plain else replace(end, subtype=TRANSFORMATION)] = None
        return tuple(found)

    def of_feature(self, name: str, description: str) -> tuple[MadeOf, ...]:
        found = (replace(end, subtype=TRANSFORMATION) for end in self.of("feature", name))
        return tuple(replace(end, description=end.description or description) for end in found)

    def _ends(self, kind: str, name: str) -> tuple[MadeOf, ...]:
        """Each column is followed once, however many ways lead to it: through views over views there are millions."""
        if kind not in {"column", "file"}:
            return ()
        if (kind, name) in self.known:
            return self.known[kind, name]
        self.known[kind, name] = ()  # what leads back to itself ends there
        steps = self.into.get(("column", name), ())
        found: dict[MadeOf, None] = {}
        if kind == "file" or any(step.from_kind == "unknown" for step in steps) or not steps:
            why = next((step.how for step in steps if step.from_kind == "unknown"), None)
            found[self.column(kind, name, why)] = None
        for step in steps:
            for end in self._ends(step.from_kind, step.from_name):
                found[end if step.how is None else replace(end, subtype=TRANSFORMATION)] = None
        self.known[kind, name] = tuple(found)
        return self.known[kind, name]

    def column(self, kind: str, name: str, why_unknown: str | None = None) -> MadeOf:
        *parts, column = split_name(name)
        place = file_place(".".join(parts)) if kind == "file" else self.places.table(parts)
        return MadeOf(*place, column, IDENTITY, f"not known further: {why_unknown}" if why_unknown else None)

    def base_tables(self) -> dict[tuple[str, str, str], None]:
        """Paths of the tables at the end of all columns."""
        ends: dict[tuple[str, str, str], None] = {}
        for (_, _), steps in self.into.items():
            for edge in steps:
                if edge.from_kind == "column" and ("column", edge.from_name) not in self.into:
                    ends[self.places.path(split_name(edge.from_name)[:-1])] = None
        return ends


def _sources(bases: _Bases, version: Version, relation: Relation | None) -> list[Dataset]:
    places = bases.places
    if relation is None:
        return []
    if relation.kind == "file":
        return [Dataset(*file_place(relation.parts[0]), "FILE", tuple(relation.types.items()))]
    own = places.path(relation.parts)
    tables = [path for path in bases.base_tables() if path != own]
    types = places.types([own, *tables])
    made_of: dict[str, tuple[MadeOf, ...]] = {}
    if relation.kind == "view":
        for column in relation.types:
            through = bases.of("column", label(own, column, home=places.home))
            if through:
                made_of[column] = through
    first = Dataset(*places.table(own), relation.kind.upper(), types.get(own, ()), made_of)
    return [first, *(Dataset(*places.table(path), "TABLE", types.get(path, ())) for path in tables)]


def _model(version: Version) -> list[Dataset]:
    run = json.loads(version.run) if version.run else {}
    tags = {
        "engine": version.engine,
        "model_sha256": version.model_sha256,
        "artifact_sha256": version.artifact_sha256,
        "resolved": version.resolved,
    }
    features = tuple((column.name, column.type) for column in version.contract.columns)
    found = [Dataset(*model_place(version), "MODEL", features, version=version.model_version, tags=tags)]
    place = run_place(version)
    if place is not None:
        datasets = [dataset_name(entry) for entry in run.get("datasets") or ()]
        of_run = {"experiment": run.get("experiment"), "training dataset": "; ".join(datasets)}
        found.append(Dataset(*place, "RUN", tags={key: value for key, value in of_run.items() if value}))
    return found


def _outputs(bases: _Bases, version: Version, target: str | None) -> tuple[Dataset, ...]:
    places = bases.places
    columns = output_columns(version.contract)
    features: dict[MadeOf, None] = {}
    for column in version.contract.columns:
        how = f"feature {column.name} of {version.deployment} v{version.version}"
        features.update(dict.fromkeys(bases.of_feature(column.name, how)))
    made_of = {name: tuple(features) for name, _ in columns if features}
    if version.prediction_table is None and target is None:
        function = places.table((version.deployment, f"predict_v{version.version}"))
        return (Dataset(*function, "FUNCTION", columns, made_of),)
    keys = {key: bases.of("key", key) for key in version.key_columns}
    made_of = {**{key: found for key, found in keys.items() if found}, **made_of}
    if features:
        made_of["input_hash"] = tuple(replace(feature, is_masked=True) for feature in features)
    if target is None or target == label((version.deployment, version.prediction_table or "")):
        own = (places.home, version.deployment, version.prediction_table or "")
        return (Dataset(*places.table(own), "TABLE", places.types([own]).get(own, ()), made_of),)
    return (Dataset(*_target_place(places, target), "FILE" if _is_path(target) else "TABLE", columns, made_of),)


def _is_path(target: str) -> bool:
    return "/" in target or "://" in target or target.lower().endswith((".parquet", ".csv", ".json", ".jsonl"))


def _target_place(places: Places, target: str) -> tuple[str, str]:
    return file_place(target) if _is_path(target) else places.table(split_name(target))
