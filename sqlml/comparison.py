"""Two versions' stored predictions, compared key by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import shift, sql
from sqlml.catalog import collected, records, states
from sqlml.catalog.collected import PREDICTIONS
from sqlml.catalog.records import Version
from sqlml.engines.surface import class_fields
from sqlml.errors import SqlmlError, UsageError
from sqlml.labels.comparable import Metrics, metrics_of_both
from sqlml.labels.tables import existing
from sqlml.predictions import stored_key_types
from sqlml.relation import can_hold
from sqlml.shift import PAIRS, Shift
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SHOWN = 10


@dataclass(frozen=True)
class Difference:
    """What changes between two versions, on the keys that both have.

    For a classifier `flipped` counts labels that differ, `confusion` lists (from, to, rows), `mean_before` and
    `mean_after` are the mean probability of the positive (binary) or first class; for a regressor `flipped` counts
    predictions that differ and the means are those of the prediction. `agreement` is the share of predictions that are
    the same, `shift` how far the distribution of the score has moved, `movers` the rows that move most: key values,
    before, after, difference of the score. `truth` is how right both are on the labels that both were
    scored before; `unjudged` says why that is not known although there are labels.
    """

    deployment: str
    before: int
    after: int
    common: int
    only_before: int
    only_after: int
    flipped: int
    score: str
    mean_before: float | None
    mean_after: float | None
    largest_move: float | None
    confusion: tuple[tuple[str | None, str | None, int], ...]
    key_columns: tuple[str, ...]
    movers: tuple[tuple[Any, ...], ...]  # Any: key values have the source's own types
    agreement: float | None = None
    shift: Shift | None = None
    truth: tuple[Metrics, Metrics] | None = None
    unjudged: str | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)

    def sentences(self) -> list[str]:
        """What would change, for people."""
        share = f" ({self.flipped / self.common:.1%})" if self.common else ""
        lines = [f"{self.flipped:,} of {self.common:,} predictions change{share} from v{self.before} to v{self.after}"]
        if self.mean_before is not None and self.mean_after is not None:
            moved = self.mean_after - self.mean_before
            lines.append(f"mean of {self.score}: {self.mean_before:.4g} -> {self.mean_after:.4g} ({moved:+.4g})")
        if self.shift is not None:
            lines.append(f"distribution of {self.score}: PSI {self.shift.psi:.3f}, KS {self.shift.ks:.3f}")
        lines += [f"{before} -> {after}: {rows:,} rows" for before, after, rows in self.confusion if before != after][
            :SHOWN
        ]
        for mover in self.movers[:3]:
            keys = ", ".join(map(str, mover[: len(self.key_columns)]))
            before, after = mover[len(self.key_columns) : len(self.key_columns) + 2]
            lines.append(f"largest move: {', '.join(self.key_columns)} {keys}: {before:.4g} -> {after:.4g}")
        if self.truth is not None:
            before, after = self.truth
            names = dict.fromkeys([*before.known, *after.known])
            moves = [f"{n} {_number(before.known.get(n))} -> {_number(after.known.get(n))}" for n in names]
            lines.append(
                f"where the label is known, {before.labels:,} rows: {', '.join(moves) or 'nothing to compare'}"
            )
        if self.unjudged is not None:
            lines.append(self.unjudged)
        return lines


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def diff(connection: Connection, name: str, before: int, after: int) -> Difference:
    """Compare the stored predictions of two deployment versions.

    Raises:
        NotDeployed: no such deployment or version.
        UsageError: one of them has no stored predictions, or their keys differ.
        BindingError: somebody dropped the predictions of one.
    """
    deployment = records.deployment(connection, name)
    return compare(
        connection, records.version(connection, deployment, before), records.version(connection, deployment, after)
    )


def told(connection: Connection, before: Version, after: Version) -> list[str]:
    """What changes for those who read `current`, in sentences; that it cannot be compared is no reason to stop."""
    try:
        return compare(connection, before, after).sentences()
    except SqlmlError as error:  # other keys, or no stored predictions
        return [f"not compared with v{before.version}: {error.message}"]


def compare(connection: Connection, before: Version, after: Version) -> Difference:
    for version in (before, after):
        if version.state == states.FAILED:
            raise UsageError(
                f"{version.deployment} v{version.version} has failed, and has no predictions: {version.failure}",
                hint="Compare versions that were scored.",
            )
        if version.prediction_table is None:
            raise UsageError(
                f"{version.deployment} v{version.version} has no stored predictions: it was deployed as functions only.",
                hint="Deploy with --table and --key to compare versions row by row.",
            )
        gone = collected.of(connection, version.deployment, version.version)
        if PREDICTIONS in gone:
            raise UsageError(
                f"The predictions of {version.deployment} v{version.version} were {gone[PREDICTIONS].sentence()}.",
                hint="Compare versions that have theirs; what both said is not known any more.",
            )
    if [k.lower() for k in before.key_columns] != [k.lower() for k in after.key_columns]:
        raise UsageError(
            f"v{before.version} and v{after.version} of {before.deployment} have different keys:"
            f" {', '.join(before.key_columns)} and {', '.join(after.key_columns)}.",
            hint="Only versions with the same key columns can be compared row by row.",
        )
    _check_key_types(connection, before, after)
    score = _score_column(before.contract, after.contract)
    return _compared(connection, before, after, score)


def _check_key_types(connection: Connection, before: Version, after: Version) -> None:
    """
    Raises:
        BindingError: a prediction table was dropped.
        UsageError: a key has one type here and another there, as it has when the source's was changed in between.
    """
    stored = [stored_key_types(connection, version) for version in (before, after)]
    for key, one, other in zip(before.key_columns, *stored, strict=True):
        if not (can_hold(connection, one, other) or can_hold(connection, other, one)):
            raise UsageError(
                f"The key {key} is {one} in v{before.version} of {before.deployment}, and {other} in v{after.version}.",
                hint="Only versions with the same key columns can be compared row by row.",
            )


def _score_column(before: Signature, after: Signature) -> str | None:
    """The number that both versions have and that says most: the positive class's probability, or the prediction."""
    if _is_number(before) and _is_number(after):
        return "prediction"
    if not (before.probabilities and after.probabilities):
        return None
    fields = class_fields(before)
    wanted = fields[1] if before.is_binary else fields[0]
    return f"probability_{wanted}" if wanted in class_fields(after) and len(fields) <= 200 else None


def _is_number(signature: Signature) -> bool:
    return signature.kind != "classifier" and not signature.targets and signature.prediction in ("DOUBLE", "BIGINT")


def _says_labels(signature: Signature) -> bool:
    """A python_function that answers with texts or truth values is a classifier in all but name."""
    return signature.kind == "classifier" or signature.prediction in ("VARCHAR", "BOOLEAN")


def _compared(connection: Connection, before: Version, after: Version, score: str | None) -> Difference:
    keys = before.key_columns
    connection.execute(sql.create_temporary(PAIRS, _joined(before, after, score)))
    try:
        return _measured(connection, before, after, score, keys)
    finally:
        connection.execute(sql.drop_object("TABLE", (PAIRS,)))


def _measured(
    connection: Connection, before: Version, after: Version, score: str | None, keys: tuple[str, ...]
) -> Difference:
    counts = exp.select(
        _count_if(sql.all_of([_there("a"), _there("b")])),
        _count_if(exp.Not(this=_there("b"))),
        _count_if(exp.Not(this=_there("a"))),
        _count_if(sql.all_of([_there("a"), _there("b"), sql.column("sqlml flips")])),
        sql.call("avg", sql.case([(_there("b"), sql.column("sqlml before_score"))])),
        sql.call("avg", sql.case([(_there("a"), sql.column("sqlml after_score"))])),
        sql.call("max", sql.column("sqlml move")),
    )
    row = connection.execute(sql.render(counts.from_(sql.table(PAIRS)))).fetchone()
    assert row is not None  # an aggregate without GROUP BY always gives one row
    both = sql.all_of([_there("a"), _there("b")])
    truth, unjudged = _judged(connection, before, after)
    common, flipped = row[0] or 0, row[3] or 0  # count_if of no rows is NULL
    return Difference(
        deployment=before.deployment,
        before=before.version,
        after=after.version,
        common=common,
        only_before=row[1] or 0,
        only_after=row[2] or 0,
        flipped=flipped,
        score=score or "none",
        mean_before=row[4],
        mean_after=row[5],
        largest_move=row[6],
        confusion=_confusion(connection, both) if _says_labels(before.contract) else (),
        key_columns=keys,
        movers=_movers(connection, both, keys) if score is not None else (),
        agreement=(common - flipped) / common if common else None,
        shift=shift.measured(connection) if score is not None else None,
        truth=truth,
        unjudged=unjudged,
    )


def _judged(
    connection: Connection, before: Version, after: Version
) -> tuple[tuple[Metrics, Metrics] | None, str | None]:
    if not existing(connection, before.deployment):
        return None, None
    truth = metrics_of_both(connection, before, after)
    if truth is not None:
        return truth, None
    return (
        None,
        "not measured: no label was observed after both versions had scored its key, or it means something else",
    )


def _there(side: str) -> exp.Expression:
    return sql.column(f"sqlml in_{side}")


def _count_if(condition: exp.Expression) -> exp.Expression:
    return sql.call("count_if", condition)


def _joined(before: Version, after: Version, score: str | None) -> str:
    """One row per key of either version. Names that a key column could have too are not used."""
    columns: list[exp.Expression] = [
        sql.alias(sql.call("coalesce", sql.column(key, "sqlml a"), sql.column(other, "sqlml b")), key)
        for key, other in zip(before.key_columns, after.key_columns, strict=True)
    ]
    number = sql.null("DOUBLE") if score is None else None
    scores = [number or sql.cast(sql.column(str(score), side), "DOUBLE") for side in ("sqlml a", "sqlml b")]
    labels = [sql.cast(sql.column("prediction", side), "VARCHAR") for side in ("sqlml a", "sqlml b")]
    same_type = before.contract.prediction == after.contract.prediction
    compared = (
        [sql.column("prediction", "sqlml a"), sql.column("prediction", "sqlml b")]
        if same_type
        else [n.copy() for n in labels]
    )
    flips = exp.NullSafeNEQ(this=compared[0], expression=compared[1])
    named = {
        "sqlml in_a": exp.Not(this=exp.Is(this=sql.column("scoring_id", "sqlml a"), expression=exp.Null())),
        "sqlml in_b": exp.Not(this=exp.Is(this=sql.column("scoring_id", "sqlml b"), expression=exp.Null())),
        "sqlml before_label": labels[0],
        "sqlml after_label": labels[1],
        "sqlml flips": flips,
        "sqlml before_score": scores[0],
        "sqlml after_score": scores[1],
        "sqlml move": sql.call("abs", exp.Sub(this=scores[1].copy(), expression=scores[0].copy())),
    }
    columns += [sql.alias(node, name) for name, node in named.items()]
    tables = [
        sql.named(sql.table(v.deployment, str(v.prediction_table)), side)
        for v, side in ((before, "sqlml a"), (after, "sqlml b"))
    ]
    matches = [
        exp.EQ(this=sql.column(key, "sqlml a"), expression=sql.column(other, "sqlml b"))
        for key, other in zip(before.key_columns, after.key_columns, strict=True)
    ]
    joined = exp.select(*columns).from_(tables[0]).join(tables[1], on=sql.all_of(matches), join_type="full outer")
    return sql.render(joined)


def _confusion(connection: Connection, both: exp.Expression) -> tuple[tuple[str | None, str | None, int], ...]:
    labels = [sql.column("sqlml before_label"), sql.column("sqlml after_label")]
    query = exp.select(*labels, sql.call("count", exp.Star())).from_(sql.table(PAIRS)).where(both)
    rows = connection.execute(f"{sql.render(query)} GROUP BY ALL ORDER BY 3 DESC, 1, 2").fetchall()
    return tuple((before, after, number) for before, after, number in rows)


def _movers(connection: Connection, both: exp.Expression, keys: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
    columns = [sql.column(key) for key in keys]
    columns += [sql.column("sqlml before_score"), sql.column("sqlml after_score"), sql.column("sqlml move")]
    moved = exp.GT(this=sql.column("sqlml move"), expression=sql.integer(0))
    query = exp.select(*columns).from_(sql.table(PAIRS)).where(sql.all_of([both.copy(), moved]))
    rows = connection.execute(f"{sql.render(query)} ORDER BY {len(columns)} DESC, 1 LIMIT {SHOWN}").fetchall()
    return tuple(rows)
