"""Where the labels of a version are kept, each with the prediction that was current when it was observed.

`<deployment>.labels_v<N>` is appended to and never changed: a label that is corrected is a row more, of the next revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.catalog import records
from sqlml.catalog.records import Version
from sqlml.engines.surface import output_columns
from sqlml.labels.kinds import label_type
from sqlml.relation import find
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

STAMP = (("scoring_id", "UUID"), ("scored_at", "TIMESTAMP"))


def table_name(version: int) -> str:
    return f"labels_v{version}"


@dataclass(frozen=True)
class LabelTable:
    """The table of one version. Names of columns that a key column has too get `_2`.

    `seen_at` is when the prediction was last seen to be the stored one: from `scored_at` until then it was current."""

    deployment: str
    version: int
    signature: Signature
    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    label: str
    observed_at: str
    revision: str
    seen_at: str
    labelled_at: str
    labelling_id: str

    @property
    def path(self) -> tuple[str, str]:
        return self.deployment, table_name(self.version)

    @property
    def outputs(self) -> tuple[tuple[str, str], ...]:
        return output_columns(self.signature)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(name, type) in order; what the prediction table has is called as it is there."""
        return [
            *zip(self.keys, self.key_types, strict=True),
            (self.label, label_type(self.signature)),
            (self.observed_at, "TIMESTAMP"),
            (self.revision, "INTEGER"),
            *self.outputs,
            *STAMP,
            (self.seen_at, "TIMESTAMP"),
            (self.labelled_at, "TIMESTAMP"),
            (self.labelling_id, "UUID"),
        ]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.columns]

    @property
    def event(self) -> list[str]:
        """What a label is of: a key at a time."""
        return [*self.keys, self.observed_at]

    def create(self) -> str:
        return sql.create_table(self.path, self.columns)

    def current(self) -> exp.Select:
        """Of each label the last revision, without a sort: those that were superseded are few, and are taken out."""
        later = exp.select(*(sql.column(name) for name in (*self.event, self.revision)))
        later = later.from_(sql.table(*self.path)).where(
            exp.GT(this=sql.column(self.revision), expression=sql.integer(1))
        )
        matches = sql.equal(self.event, "sqlml l", "sqlml r")
        matches.append(
            exp.LT(this=sql.column(self.revision, "sqlml l"), expression=sql.column(self.revision, "sqlml r"))
        )
        rows = exp.select(*(sql.column(name, "sqlml l") for name in self.names))
        rows = rows.from_(sql.named(sql.table(*self.path), "sqlml l"))
        return rows.join(later.subquery(alias=sql.identifier("sqlml r")), on=sql.all_of(matches), join_type="anti")


def label_table(version: Version, key_types: tuple[str, ...]) -> LabelTable:
    signature = version.contract
    taken = {name.lower() for name in (*version.key_columns, *(n for n, _ in output_columns(signature)))}
    taken |= {name for name, _ in STAMP} | {"deployment_version"}

    def free(name: str) -> str:
        found, number = name, 1
        while found in taken:
            number += 1
            found = f"{name}_{number}"
        return found

    own = [free(name) for name in ("label", "observed_at", "revision", "seen_at", "labelled_at", "labelling_id")]
    return LabelTable(version.deployment, version.version, signature, version.key_columns, key_types, *own)


def existing(connection: Connection, deployment: str) -> list[LabelTable]:
    """The tables that are there, in the order of the versions, also those of versions that were undeployed."""
    there = {
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ?",
            [deployment],
        ).fetchall()
    }
    found = []
    for version in records.versions(connection, deployment):
        name = table_name(version.version)
        if name in there:
            types = find(connection, sql.quote_path(deployment, name)).types
            found.append(label_table(version, tuple(types[key] for key in version.key_columns)))
    return found
