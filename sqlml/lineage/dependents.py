"""The other way round: what depends on a run, a dataset, a column, a model, a version or a scoring, counted in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlglot import exp

from sqlml import sql
from sqlml.catalog import recalls, records, states
from sqlml.catalog.migrations import applied
from sqlml.catalog.recalls import Mark
from sqlml.catalog.records import Version
from sqlml.errors import NotDeployed, UsageError, choices
from sqlml.lineage.columns import Edge, label
from sqlml.lineage.downstream import Reader, readers
from sqlml.lineage.matching import KINDS, Matches, Name, matches, name_of, unknown
from sqlml.lineage.present import edges_of, recorded_edges
from sqlml.lineage.query import has_table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

ALWAYS = datetime.min


@dataclass(frozen=True)
class Elsewhere:
    """Predictions that were written to another table or to files (`sqlml score --to`), which no mark reaches."""

    target: str
    rows: int | None
    scored_at: datetime
    scoring_id: str


@dataclass(frozen=True)
class Dependent:
    """A deployment version that depends on what was asked for: `rows` of its stored predictions do, by `scorings`.

    `rows` is None where its prediction table is gone, or it never had one. `through` names the versions whose predictions
    it reads, empty where it depends directly; `is_reading`: what it scores from now on depends on it too.
    """

    deployment: str
    version: int
    state: str
    how: str
    through: tuple[str, ...]
    prediction_table: str | None
    rows: int | None
    scorings: tuple[str, ...]
    is_reading: bool
    recalled_at: datetime | None
    elsewhere: tuple[Elsewhere, ...]

    @property
    def name(self) -> str:
        return f"{self.deployment} v{self.version}"


@dataclass(frozen=True)
class Uncertain:
    """A version that may depend on it: nobody can know, and why."""

    deployment: str
    version: int
    state: str
    why: str
    rows: int | None


@dataclass(frozen=True)
class Dependents:
    """`value` is what was asked for, in full. `hint` says what there is, where nothing is known to depend on it."""

    kind: str
    value: str
    found: tuple[Dependent, ...]
    downstream: tuple[Dependent, ...]
    uncertain: tuple[Uncertain, ...]
    rows: int
    downstream_rows: int
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def dependents(connection: Connection, kind: str, value: str) -> Dependents:
    """Every deployment version that depends on it, undeployed ones included, and how many prediction rows.

    Args:
        kind: run, dataset, column, model, version or scoring.
        value: A run id; a dataset's name, digest or source; `table.column`; the first digits of a sha256, of the ONNX
            bytes or of the model's files; `churn v2`; a scoring's id.

    Raises:
        UsageError: no such kind, or the value is not one thing.
        BindingError: there is no such column; close matches are listed.
        NotDeployed: there is no such scoring.
    """
    if kind not in KINDS:
        raise UsageError(f"Nothing can depend on a {kind!r}.", hint=choices(list(KINDS), wrong=kind))
    versions = _versions(connection)
    edges = {name_of(v): _edges(connection, v) for v in versions}
    scoring = _scoring(connection, value) if kind == "scoring" else None
    if scoring is not None:
        found = Matches(scoring[2], {(scoring[0], scoring[1]): f"scoring {scoring[2]}"}, {}, ())
    else:
        found = matches(connection, kind, value, versions, edges)
    since = ALWAYS if scoring is None else scoring[3]
    reading = readers(connection, dict.fromkeys(found.found, since), versions, edges)
    counting = _Counting(connection, recalls.standing(connection))
    direct = [
        counting.dependent(v, found.found[name_of(v)], None if scoring is None else scoring[2])
        for v in versions
        if name_of(v) in found.found
    ]
    after = [counting.reader(v, reading[name_of(v)]) for v in versions if name_of(v) in reading]
    after = [one for one in after if one.rows or (one.is_reading and one.state in states.CALLABLE)]
    return Dependents(
        kind=kind,
        value=found.value,
        found=tuple(direct),
        downstream=tuple(after),
        uncertain=tuple(_uncertain(counting, versions, edges, found, reading)),
        rows=sum(one.rows or 0 for one in direct),
        downstream_rows=sum(one.rows or 0 for one in after),
        hint=None if direct else choices(list(found.known), wrong=found.value) if found.known else None,
    )


def _versions(connection: Connection) -> list[Version]:
    """Those that have or had functions or predictions, in order."""
    if applied(connection) == 0:
        return []
    names = connection.execute("SELECT DISTINCT deployment FROM sqlml.versions ORDER BY 1").fetchall()
    return [v for (name,) in names for v in records.versions(connection, name) if v.state != states.FAILED]


def _edges(connection: Connection, version: Version) -> list[Edge]:
    """As recorded, and as the views are now: its rows may be of both times."""
    return list(dict.fromkeys([*recorded_edges(connection, version), *edges_of(connection, version)[0]]))


def _scoring(connection: Connection, value: str) -> tuple[str, int, str, datetime]:
    """Its deployment, version, id and beginning."""
    try:
        wanted = UUID(value.strip())
    except ValueError as error:
        raise UsageError(f"{value!r} is no scoring's id.", hint="They stand in sqlml.scorings, as UUIDs.") from error
    row = (
        connection.execute(
            "SELECT deployment, version, scoring_id::VARCHAR, started_at FROM sqlml.scorings WHERE scoring_id = ?",
            [wanted],
        ).fetchone()
        if applied(connection) > 0
        else None
    )
    if row is None:
        raise NotDeployed(f"There is no scoring {wanted}.", hint="sqlml.scorings lists them.")
    return row[0], row[1], row[2], row[3]


def _uncertain(
    counting: _Counting,
    versions: Sequence[Version],
    edges: Mapping[Name, list[Edge]],
    found: Matches,
    reading: Mapping[Name, Reader],
) -> list[Uncertain]:
    """Those of which it is not known; and, where something depends on it, those that may read predictions of that."""
    listed = []
    for version in versions:
        name = name_of(version)
        if name in found.found or name in reading:
            continue
        why = found.uncertain.get(name)
        if why is None and (found.found or found.uncertain) and (lost := unknown(edges[name])) is not None:
            why = f"it may read such predictions: {lost}"
        if why is not None:
            rows = counting.rows(version, None)
            total = None if rows is None else sum(rows.values())
            listed.append(Uncertain(version.deployment, version.version, version.state, why, total))
    return listed


class _Counting:
    """Rows of prediction tables, by scoring."""

    def __init__(self, connection: Connection, marks: Sequence[Mark]) -> None:
        self._connection = connection
        self._marks = marks

    def dependent(self, version: Version, how: str, scoring: str | None) -> Dependent:
        rows = self.rows(version, scoring)
        only = None if scoring is None else [scoring]
        return self._made(version, how, (), rows, self._elsewhere(version, only, None), is_reading=scoring is None)

    def reader(self, version: Version, reader: Reader) -> Dependent:
        through = tuple(sorted(f"{name} v{number}" for name, number in reader.through))
        rows = self.rows(version, None, reader)
        how = f"reads {', '.join(through)}"
        elsewhere = self._elsewhere(version, None, reader)
        return self._made(version, how, through, rows, elsewhere, is_reading=reader.is_reading)

    def _made(
        self,
        version: Version,
        how: str,
        through: tuple[str, ...],
        rows: dict[str, int] | None,
        elsewhere: tuple[Elsewhere, ...],
        *,
        is_reading: bool,
    ) -> Dependent:
        mark = recalls.whole(self._marks, version.deployment, version.version)
        table = version.prediction_table
        return Dependent(
            deployment=version.deployment,
            version=version.version,
            state=version.state,
            how=how,
            through=through,
            prediction_table=None if table is None else label((version.deployment, table)),
            rows=None if rows is None else sum(rows.values()),
            scorings=tuple(rows or ()),
            is_reading=is_reading,
            recalled_at=None if mark is None else mark.recalled_at,
            elsewhere=elsewhere,
        )

    def rows(self, version: Version, scoring: str | None, reader: Reader | None = None) -> dict[str, int] | None:
        """How many by each scoring; None where there is no table."""
        if version.prediction_table is None or not has_table(self._connection, version):
            return None
        query = exp.select(sql.column("scoring_id"), sql.call("count", exp.Star())).from_(
            sql.table(version.deployment, version.prediction_table)
        )
        if scoring is not None:
            query = query.where(exp.EQ(this=sql.column("scoring_id"), expression=sql.cast(sql.text(scoring), "UUID")))
        if reader is not None:
            query = query.where(_within(reader, "scored_at"))
        found = self._connection.execute(f"{sql.render(query)} GROUP BY ALL ORDER BY ALL").fetchall()
        return {str(scoring_id): rows for scoring_id, rows in found}

    def _elsewhere(
        self, version: Version, scorings: Sequence[str] | None, reader: Reader | None
    ) -> tuple[Elsewhere, ...]:
        rows = self._connection.execute(
            "SELECT target, rows_scored, started_at, scoring_id::VARCHAR FROM sqlml.scorings WHERE deployment = ?"
            " AND version = ? AND kind = 'external' ORDER BY started_at",
            [version.deployment, version.version],
        ).fetchall()
        return tuple(
            Elsewhere(*row)
            for row in rows
            if (scorings is None or row[3] in scorings)
            and (reader is None or any(a <= row[2] and (b is None or row[2] < b) for a, b in reader.windows))
        )


def _within(reader: Reader, column: str) -> exp.Expression:
    conditions: list[exp.Expr] = []
    for start, end in sorted(reader.windows, key=lambda window: window[0]):
        parts: list[exp.Expr] = [exp.true()]
        if start != ALWAYS:
            parts.append(exp.GTE(this=sql.column(column), expression=sql.timestamp(start)))
        if end is not None:
            parts.append(exp.LT(this=sql.column(column), expression=sql.timestamp(end)))
        conditions.append(sql.all_of(parts))
    return sql.any_of(conditions)
