"""Reading what labels say of each version: the views that `sqlml label` makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import sql
from sqlml.catalog import records
from sqlml.database import translated
from sqlml.errors import NotDeployed, choices
from sqlml.labels.tables import existing

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

VIEWS = {
    "version": "metrics",
    "day": "metrics_by_day",
    "class": "metrics_by_class",
    "label": "confusion",
    "bin": "calibration",
}
"""What `by` says, and which view has it; anything else is a window."""


@dataclass(frozen=True)
class Measured:
    """Rows of a deployment's metrics: NULL is what is undefined."""

    deployment: str
    by: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]  # Any: DuckDB's values

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"deployment": self.deployment, "by": self.by, "rows": rows}


def metrics(connection: Connection, name: str, *, by: str = "version", version: int | None = None) -> Measured:
    """What the labels that were joined say of each version, of one `version`, and per window.

    `by` is version, day, class, label (predictions against labels) or bin (calibration), or a window: a length of time
    such as "7 days", or a unit of it such as "month".

    Raises:
        NotDeployed: no such deployment, or it has no labels.
        DatabaseError: `by` is no window.
    """
    deployment = records.deployment(connection, name)
    labelled = [table.version for table in existing(connection, deployment.name)]
    if not labelled:
        raise NotDeployed(
            f"{deployment.name} has no labels yet.",
            hint=f"sqlml label {deployment.name} --from TABLE --label COLUMN --at COLUMN joins what was observed.",
        )
    if version is not None and version not in labelled:
        raise NotDeployed(
            f"{deployment.name} v{version} has no labels.", hint=choices([str(number) for number in labelled])
        )
    rows: exp.Expression = sql.table(deployment.name, VIEWS.get(by, ""))
    if by not in VIEWS:
        rows = sql.table_call((deployment.name, "metrics_by"), sql.text(by))
    query = exp.select("*").from_(rows)
    if version is not None:
        query = query.where(exp.EQ(this=sql.column("deployment_version"), expression=sql.integer(version)))
    with translated(f"--by {by}"):
        found = connection.execute(f"{sql.render(query)} ORDER BY ALL")
        columns = tuple(column[0] for column in found.description or ())
        return Measured(deployment.name, by, columns, tuple(found.fetchall()))
