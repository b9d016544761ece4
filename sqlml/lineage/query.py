"""Lineage read back: of a deployment, of a column (which live models use it), of one prediction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import sql
from sqlml.catalog import records
from sqlml.catalog.records import Version
from sqlml.database import first_line, translated
from sqlml.errors import BindingError, DatabaseError, NotDeployed, UsageError, choices
from sqlml.keys import is_key, key_values
from sqlml.lineage.columns import Edge, label
from sqlml.lineage.edges import dataset_name
from sqlml.lineage.present import edges_of
from sqlml.lineage.references import fold
from sqlml.registry import StoreManifest
from sqlml.relation import find, own_table, split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Column:
    """A column and what it is made of; `why_unknown` is set where the way ends without being known."""

    name: str
    kind: str  # column, file, constant, unknown
    how: str | None = None
    why_unknown: str | None = None
    made_of: tuple[Column, ...] = ()

    def bases(self) -> Iterable[str]:
        """The tables' columns at the end."""
        if not self.made_of and self.kind in {"column", "file"}:
            yield self.name
        for column in self.made_of:
            yield from column.bases()


@dataclass(frozen=True)
class Feature:
    """One input of the model; `made_of` is empty where the deployment has no source."""

    name: str
    type: str
    made_of: tuple[Column, ...]


@dataclass(frozen=True)
class Origin:
    """The model of one deployment version: which bytes, from which run, trained on what.

    `artifact_store` is what the store of its files had recorded of them, where it keeps such a record.
    """

    deployment: str
    version: int
    state: str
    resolved: str
    engine: str
    model_sha256: str
    artifact_sha256: str
    artifact_uri: str | None
    artifact_store: StoreManifest | None
    run_id: str | None
    experiment: str | None
    datasets: tuple[dict[str, str | None], ...]
    deployed_by: str
    deployed_at: datetime


@dataclass(frozen=True)
class DeploymentLineage:
    """`changed`: views under the source were replaced since it was deployed; the features are shown as they are now."""

    origin: Origin
    source: str | None
    features: tuple[Feature, ...]
    predictions: tuple[str, ...]
    changed: bool

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


@dataclass(frozen=True)
class Use:
    """A live deployment that uses a column: `path` leads from it to the feature, `through` names the deployments whose
    predictions it passes on the way."""

    deployment: str
    version: int
    feature: str
    path: tuple[str, ...]
    through: tuple[str, ...]
    predictions: tuple[str, ...]


@dataclass(frozen=True)
class ColumnLineage:
    """`uncertain` lists features whose origin is not known: these may use the column too."""

    column: str
    uses: tuple[Use, ...]
    uncertain: tuple[dict[str, str], ...]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


@dataclass(frozen=True)
class Prediction:
    """One stored prediction with what made it. `scoring` is empty only where somebody deleted its record."""

    outputs: dict[str, Any]  # Any: SQL values
    scored_at: datetime
    scoring_id: str
    scoring: dict[str, Any]
    origin: Origin


@dataclass(frozen=True)
class KeyLineage:
    """The active version's prediction first, then what other versions said."""

    deployment: str
    key: dict[str, str]
    predictions: tuple[Prediction, ...]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def of_deployment(connection: Connection, name: str, version: int | None = None) -> DeploymentLineage:
    """The lineage of a version of a deployment, the active one by default.

    Raises:
        NotDeployed: there is no such deployment or version.
    """
    deployment = records.deployment(connection, name)
    chosen = records.active_or(connection, deployment, version)
    found, changed = edges_of(connection, chosen)
    into: dict[tuple[str, str], list[Edge]] = {}
    for edge in found:
        into.setdefault((edge.to_kind, edge.to_name), []).append(edge)
    known: dict[tuple[str, str], tuple[Column, ...]] = {}
    features = tuple(Feature(c.name, c.type, _made_of(into, "feature", c.name, known)) for c in chosen.contract.columns)
    ends = tuple(edge.to_name for edge in found if edge.to_kind in {"prediction", "function"})
    return DeploymentLineage(_origin(chosen), chosen.source, features, ends, changed)


def _made_of(
    into: dict[tuple[str, str], list[Edge]],
    kind: str,
    name: str,
    known: dict[tuple[str, str], tuple[Column, ...]],
) -> tuple[Column, ...]:
    """What is made of the same is the same object: through views over views there may be millions of ways."""
    if (kind, name) in known:
        return known[kind, name]
    known[kind, name] = ()  # what leads back to itself ends there
    found = []
    for edge in into.get((kind, name), ()):
        if edge.from_kind == "unknown":
            found.append(Column("unknown", "unknown", why_unknown=edge.how))
        else:
            below = _made_of(into, edge.from_kind, edge.from_name, known)
            found.append(Column(edge.from_name, edge.from_kind, edge.how, None, below))
    known[kind, name] = tuple(found)
    return known[kind, name]


def _origin(version: Version) -> Origin:
    run = json.loads(version.run) if version.run else {}
    return Origin(
        deployment=version.deployment,
        version=version.version,
        state=version.state,
        resolved=version.resolved,
        engine=version.engine,
        model_sha256=version.model_sha256,
        artifact_sha256=version.artifact_sha256,
        artifact_uri=version.artifact_uri,
        artifact_store=None if version.artifact_store is None else StoreManifest.from_json(version.artifact_store),
        run_id=version.run_id or run.get("run_id"),
        experiment=run.get("experiment"),
        datasets=tuple(
            {
                "dataset": dataset_name(d),
                "source": d.get("source"),
                "context": d.get("context"),
                "version": d.get("version"),
            }
            for d in run.get("datasets") or ()
        ),
        deployed_by=version.deployed_by,
        deployed_at=version.deployed_at,
    )


def of_column(connection: Connection, column: str) -> ColumnLineage:
    """Which live deployments use the column of a table or view, through which features.

    It is followed through views, and through other deployments' predictions.

    Raises:
        UsageError: no table is named.
        BindingError: there is no such table, view or column; close matches are listed.
    """
    active = [records.active(connection, d) for d in records.deployments(connection) if d.active_version is not None]
    edges = {version.deployment: edges_of(connection, version)[0] for version in active}
    versions = {version.deployment: version.version for version in active}
    start = named_column(connection, column, edges)
    uses: list[Use] = []
    waiting: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [(start, (start,), ())]
    seen: set[str] = {fold(start)}
    while waiting:
        name, path, through = waiting.pop(0)
        for deployment, known in edges.items():
            for edge in known:
                if edge.from_kind not in {"column", "file"} or fold(edge.from_name) != fold(name):
                    continue
                if edge.to_kind == "column" and fold(edge.to_name) not in seen:
                    seen.add(fold(edge.to_name))
                    waiting.append((edge.to_name, (*path, edge.to_name), through))
                elif edge.to_kind == "feature":
                    ends = tuple(e.to_name for e in known if e.to_kind in {"prediction", "function"})
                    uses.append(Use(deployment, versions[deployment], edge.to_name, path, through, ends))
                    for onward in _onward(deployment, edges, seen):
                        seen.add(fold(onward))
                        waiting.append((onward, (*path, edge.to_name, onward), (*through, deployment)))
    uncertain = tuple(
        {"deployment": deployment, "column": edge.to_name, "why": edge.how or ""}
        for deployment, known in edges.items()
        for edge in known
        if edge.from_kind == "unknown"
    )
    return ColumnLineage(start, tuple(dict.fromkeys(uses)), uncertain)


def _onward(deployment: str, edges: dict[str, list[Edge]], seen: set[str]) -> list[str]:
    """The deployment's prediction columns that other deployments read, of whichever version they were when that was
    recorded: after a switch, `current` and `scored` read the new version's table."""
    own = re.compile(re.escape(fold(label((deployment,), "predictions_v"))) + r"\d+\.")
    names = {e.from_name for known in edges.values() for e in known if e.from_kind == "column"}
    return sorted(name for name in names if own.match(fold(name)) and fold(name) not in seen)


def named_column(connection: Connection, column: str, edges: Mapping[Any, list[Edge]]) -> str:  # Any: whose they are
    """The column as lineage spells it."""
    known = {
        fold(e.from_name): e.from_name for found in edges.values() for e in found if e.from_kind in {"column", "file"}
    }
    known |= {fold(e.to_name): e.to_name for found in edges.values() for e in found if e.to_kind == "column"}
    if fold(column) in known:
        return known[fold(column)]
    parts = split_name(column)
    if len(parts) < 2:
        raise UsageError(f"{column!r} names no table.", hint="Write table.column, such as customers.tenure.")
    relation = find(connection, ".".join(sql.quote(part) for part in parts[:-1]))
    names = {fold(name): name for name in relation.types}
    if fold(parts[-1]) not in names:
        raise BindingError(
            f"{relation.label} has no column {parts[-1]!r}.", hint=choices(list(relation.types), wrong=parts[-1])
        )
    spelled = label(relation.parts, names[fold(parts[-1])])
    return known.get(fold(spelled), spelled)


def of_key(connection: Connection, name: str, key: Sequence[object]) -> KeyLineage:
    """What is stored about one key, and everything it came from.

    Args:
        key: One value per key column, in the deployment's order; text is read as the column's type.

    Raises:
        NotDeployed: there is no such deployment, or it stores no predictions.
        UsageError: another number of values than key columns, or one that is not of the column's type.
        DatabaseError: no prediction has this key.
    """
    deployment = records.deployment(connection, name)
    versions = [v for v in records.versions(connection, deployment.name) if v.prediction_table is not None]
    if not versions:
        raise NotDeployed(
            f"{deployment.name} stores no predictions: it was deployed without a table.",
            hint="Deploy it with --table and --key to have predictions that can be traced.",
        )
    versions.sort(key=lambda v: (v.version != deployment.active_version, -v.version))
    values = key_values(key)
    found: list[Prediction] = []
    for version in versions:
        found += _predictions(connection, version, values)
    columns = deployment.key_columns or versions[0].key_columns
    named = dict(zip(columns, values, strict=False))
    if not found:
        shown = ", ".join(f"{column} = {value}" for column, value in named.items())
        raise DatabaseError(
            f"{deployment.name} has no prediction for {shown}.",
            hint=f"Check the key, or run sqlml score {deployment.name} if the row is new.",
        )
    return KeyLineage(deployment.name, named, tuple(found))


def _predictions(connection: Connection, version: Version, key: Sequence[str]) -> list[Prediction]:
    if len(key) != len(version.key_columns):
        raise UsageError(
            f"The key of {version.deployment} has {len(version.key_columns)} columns"
            f" ({', '.join(version.key_columns)}), and {len(key)} values were given.",
            hint="Separate the values with commas.",
        )
    if not has_table(connection, version):
        return []
    import duckdb

    stored = own_table(connection, (version.deployment, version.prediction_table or ""))
    kinds = [stored.types[column] for column in version.key_columns]
    try:
        typed = exp.select(*(sql.cast(sql.parameter(number), kind) for number, kind in enumerate(kinds, 1)))
        connection.execute(sql.render(typed), list(key))
    except duckdb.ConversionException as error:
        raise UsageError(
            f"{', '.join(key)!r} is no key of {version.deployment}: {first_line(error)}",
            hint=f"The key is {', '.join(version.key_columns)}.",
        ) from error
    query = exp.select("*").from_(stored.node).where(is_key(version.key_columns, kinds))
    result = connection.execute(sql.render(query), list(key))
    names = [column[0] for column in result.description or ()]
    rows = result.fetchall()
    return [_prediction(connection, version, dict(zip(names, row, strict=True))) for row in rows]


def has_table(connection: Connection, version: Version) -> bool:
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [version.deployment, version.prediction_table],
    ).fetchall()
    return bool(found)


def _prediction(connection: Connection, version: Version, row: dict[str, Any]) -> Prediction:
    with translated("sqlml.scorings"):
        result = connection.execute(
            "SELECT kind, source, target, state, rows_scored, duckdb_version, sqlml_version, who, job_id, started_at,"
            " finished_at FROM sqlml.scorings WHERE scoring_id = ?",
            [row["scoring_id"]],
        )
        names = [column[0] for column in result.description or ()]
        found = result.fetchone()
    outputs = {name: value for name, value in row.items() if name not in {"input_hash", "scoring_id", "scored_at"}}
    return Prediction(
        outputs=outputs,
        scored_at=row["scored_at"],
        scoring_id=str(row["scoring_id"]),
        scoring=dict(zip(names, found, strict=True)) if found else {},
        origin=_origin(version),
    )
