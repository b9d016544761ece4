"""Two versions measured on the same labels, whichever of them was active: what a comparison of versions needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import sql
from sqlml.catalog.records import Version
from sqlml.errors import BindingError, UsageError
from sqlml.labels import measures
from sqlml.labels.canonical import Source
from sqlml.labels.kinds import as_label, is_number, label_type, require_measurable
from sqlml.labels.tables import LabelTable, existing, label_table
from sqlml.labels.views import ALWAYS, measured
from sqlml.relation import find

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Metrics:
    """A version's metrics over `labels` labels; None is what is undefined, or of another kind of model."""

    version: int
    labels: int
    unpredicted: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None
    log_loss: float | None
    brier: float | None
    ece: float | None
    mae: float | None
    rmse: float | None
    r2: float | None
    bias: float | None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)

    @property
    def known(self) -> dict[str, float]:
        """The metrics that have a value, by name, in the order in which they are told."""
        values = asdict(self)
        return {name: values[name] for name in NAMES if values[name] is not None}


NAMES = ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "ece", "mae", "rmse", "r2", "bias")


def metrics_of_both(connection: Connection, before: Version, after: Version) -> tuple[Metrics, Metrics] | None:
    """Both versions on the labels that both can be held against; None where there are none.

    A version is held against a label with the prediction that was joined to it, or with its stored one if that was made
    before the label was observed (a shadow's): one that was made later may know the outcome. Only labels are read, of
    both; nothing is written.
    """
    tables = existing(connection, before.deployment)
    same = [t for t in tables if [k.lower() for k in t.keys] == [k.lower() for k in before.key_columns]]
    if not same or [k.lower() for k in before.key_columns] != [k.lower() for k in after.key_columns]:
        return None
    if is_number(before.contract) != is_number(after.contract):
        return None
    try:
        sides = [_said(connection, version, same) for version in (before, after)]
    except (BindingError, UsageError):  # labels of one are no labels of the other, or nothing can be measured
        return None
    query = measured(_common(*sides), ALWAYS, measures.METRICS, measures.PER_VERSION)
    found: dict[int, Metrics] = {}
    for row in connection.execute(query).fetchall():
        found[row[0]] = Metrics(*row[: 3 + len(NAMES)])
    if before.version not in found or after.version not in found:
        return None
    return found[before.version], found[after.version]


def _said(connection: Connection, version: Version, tables: list[LabelTable]) -> Source:
    """All labels beside what this version says of them, in the columns of its own label table."""
    require_measurable(version.contract, f"v{version.version}")
    stored = find(connection, sql.quote_path(version.deployment, str(version.prediction_table))).types
    own = label_table(version, tuple(stored[key] for key in version.key_columns))
    wanted = [*own.event, own.label, *(name for name, _ in own.outputs)]
    parts: list[exp.Query] = []
    for table in tables:
        rows = table.current().subquery(alias=sql.identifier("sqlml o"))
        if table.version == version.version:
            parts.append(exp.select(*(sql.column(name) for name in wanted)).from_(rows))
            continue
        label = as_label(
            own.signature, sql.column(table.label, "sqlml o"), label_type(table.signature), f"v{table.version}'s label"
        )
        columns = [sql.column(key, "sqlml p") for key in own.keys]
        columns += [sql.alias(sql.column(table.observed_at, "sqlml o"), own.observed_at), sql.alias(label, own.label)]
        columns += [sql.column(name, "sqlml p") for name, _ in own.outputs]
        matches: list[exp.Expression] = [
            exp.EQ(this=sql.column(key, "sqlml p"), expression=sql.column(other, "sqlml o"))
            for key, other in zip(own.keys, table.keys, strict=True)
        ]
        scored, at = sql.column("scored_at", "sqlml p"), sql.column(table.observed_at, "sqlml o")
        matches.append(exp.LTE(this=scored, expression=at))
        predictions = sql.named(sql.table(version.deployment, str(version.prediction_table)), "sqlml p")
        parts.append(exp.select(*columns).from_(rows).join(predictions, on=sql.all_of(matches)))
    query = parts[0]
    for part in parts[1:]:
        query = exp.union(query, part, distinct=False)
    there = exp.Not(this=exp.Is(this=sql.column(own.label), expression=exp.Null()))
    known = exp.select("*").from_(query.subquery(alias=sql.identifier("sqlml u"))).where(there)
    return Source(own, known)


def _common(before: Source, after: Source) -> list[Source]:
    """The rows of each whose key and time the other has too."""

    def kept(own: Source, other: Source) -> Source:
        matches = [
            exp.EQ(this=sql.column(name, "sqlml x"), expression=sql.column(same, "sqlml y"))
            for name, same in zip(own.table.event, other.table.event, strict=True)
        ]
        rows = exp.select("*").from_(own.rows.subquery(alias=sql.identifier("sqlml x")))
        others = other.rows.copy().subquery(alias=sql.identifier("sqlml y"))
        return Source(own.table, rows.join(others, on=sql.all_of(matches), join_type="semi"))

    return [kept(before, after), kept(after, before)]
