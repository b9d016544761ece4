"""A version's prediction table, and the relation that it follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import objects, sql
from sqlml.binding import bind
from sqlml.catalog.records import Version
from sqlml.engines.surface import output_columns
from sqlml.errors import BindingError, UsageError
from sqlml.kept import KeptInputs, kept_inputs
from sqlml.relation import Relation, can_hold, find, own_table, resolve_columns

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Target:
    """One version's prediction table and the relation it follows."""

    deployment: str
    version: int
    table: tuple[str, str]
    relation: Relation
    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    """As they are stored; the source's may have changed since, and DuckDB's hash of 5 depends on its type."""
    outputs: tuple[str, ...]
    output_types: tuple[str, ...]
    keyed_query: str
    hashed_query: str
    rows_query: str
    """Whole rows and predictions over rows of the source: what `why` asks."""
    keep: str
    """none, hash or inputs."""
    kept: KeptInputs | None
    """Where the inputs are kept that the version sees."""

    def keyed(self, rows: exp.Query) -> str:
        """Keys, predictions and input_hash over rows of the source, as SQL text."""
        return sql.with_source(objects.SOURCE, sql.render(rows), self.keyed_query)

    def hashed(self, rows: exp.Query) -> str:
        """Keys and input_hash over rows of the source, as SQL text: the model is not asked, where a hash is kept."""
        return sql.with_source(objects.SOURCE, sql.render(rows), self.hashed_query)

    def all_rows(self) -> exp.Select:
        return exp.select("*").from_(self.relation.node)


def target_of(connection: Connection, version: Version) -> Target:
    """The prediction table of a version with its source as it is now.

    Raises:
        UsageError: the deployment has functions only.
        BindingError: the source is gone, or has not the columns any more, or keys that the table cannot hold; or somebody
            dropped the table.
    """
    if version.source is None or version.prediction_table is None:
        raise UsageError(
            f"{version.deployment} has no source table: it was deployed as functions only.",
            hint="Deploy it with --table and --key, or score other rows with --from and --to.",
        )
    relation = find(connection, version.source)
    check_source(version, relation)
    target = target_on(connection, version, relation)
    check_key_types(connection, version, relation, target.key_types)
    return target


def target_on(connection: Connection, version: Version, relation: Relation) -> Target:
    """The same where the source is known, or where it is gone and nothing reads it.

    Raises:
        BindingError: somebody dropped a table of the version's.
    """
    table = version.prediction_table or ""
    stored = stored_table(connection, version, table)
    kept = inputs_of(version)
    if kept is not None:
        stored_table(connection, version, kept.path[1])
    queries = objects.recorded_queries(connection, version.deployment, version.version)
    return Target(
        deployment=version.deployment,
        version=version.version,
        table=(version.deployment, table),
        relation=relation,
        keys=version.key_columns,
        key_types=tuple(stored.types[key] for key in version.key_columns),
        outputs=tuple(name for name, _ in output_columns(version.contract)),
        output_types=tuple(kind for _, kind in output_columns(version.contract)),
        keyed_query=queries["keyed"],
        hashed_query=queries.get("hashed", queries["keyed"]),
        rows_query=queries["rows"],
        keep=version.keeps,
        kept=kept,
    )


def inputs_of(version: Version) -> KeptInputs | None:
    """Where a version keeps its inputs; None where it does not."""
    if version.keeps != "inputs" or version.prediction_table is None:
        return None
    asked = version.engine == "pyfunc"
    return kept_inputs(version.deployment, version.version, version.contract, version.key_columns, is_asked=asked)


def check_source(version: Version, relation: Relation) -> None:
    """Refuse a source that has changed since: without a key or feature column, or with another type of one.

    Raises:
        BindingError: each column is named.
    """
    resolve_columns(relation, version.key_columns, "key")
    bind(version.contract, relation)


def key_misfits(
    connection: Connection, keys: Sequence[str], stored: Sequence[str], relation: Relation
) -> list[tuple[str, str, str]]:
    """(column, type in the relation, type in the prediction table) of keys that the table cannot hold."""
    given = [relation.types[key] for key in resolve_columns(relation, keys, "key")]
    return [
        (key, now, kind)
        for key, kind, now in zip(keys, stored, given, strict=True)
        if not can_hold(connection, kind, now)
    ]


def stored_key_types(connection: Connection, version: Version) -> tuple[str, ...]:
    """Of the key columns of a version's prediction table.

    Raises:
        BindingError: somebody dropped it.
    """
    types = stored_table(connection, version, str(version.prediction_table)).types
    return tuple(types[key] for key in version.key_columns)


def check_key_types(connection: Connection, version: Version, relation: Relation, stored: Sequence[str]) -> None:
    """Refuse a source whose key has another type since, so that its rows are not those that were scored.

    Raises:
        BindingError: the column is named.
    """
    for key, now, kind in key_misfits(connection, version.key_columns, stored, relation):
        raise BindingError(
            f"The key {key} of {relation.label} is {now} now, and the predictions of {version.deployment}"
            f" v{version.version} are stored by a key of type {kind}.",
            hint="Deploy the model again: that makes a version whose predictions have the new key. Or give the column its"
            " type back.",
        )


def stored_table(connection: Connection, version: Version, name: str) -> Relation:
    """A version's own table.

    Raises:
        BindingError: somebody dropped it.
    """
    try:
        return own_table(connection, (version.deployment, name))
    except BindingError as error:
        raise BindingError(
            f"The table {version.deployment}.{name} of {version.deployment} v{version.version} is gone: somebody dropped it.",
            hint="Deploying the same model again makes it again, and scores it.",
        ) from error


def insert_predictions(target: Target, scoring_id: str, keyed: str, where: exp.Expression | None = None) -> str:
    """INSERT of keyed predictions with their stamp, columns named; also what a trigger does."""
    named = [*target.keys, *target.outputs, "input_hash"]
    stamp = [sql.cast(sql.text(scoring_id), "UUID"), sql.UTC_NOW.copy()]
    head = exp.select(*(sql.column(name) for name in named), *stamp)
    query = sql.select_from(sql.render(head), keyed, where=None if where is None else sql.render(where))
    return sql.insert_select(target.table, [*named, "scoring_id", "scored_at"], query)


def hash_check(connection: Connection) -> int:
    """DuckDB's hash of a fixed row: where two are equal, stored hashes of two DuckDB versions are comparable."""
    row = connection.execute("SELECT hash(1.5e0, 'sqlml', NULL::VARCHAR, 42::BIGINT)").fetchone()
    return int(row[0]) if row else 0


def holds_rows(connection: Connection, table: tuple[str, str]) -> bool:
    return connection.execute(sql.render(exp.select("1").from_(sql.table(*table)).limit(1))).fetchone() is not None


def stored_rows(connection: Connection, target: Target) -> int:
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(*target.table)))).fetchone()
    return int(row[0]) if row else 0
