"""How right two versions were, where the truth is known: the relation `<deployment>.labels`, if there is one.

It has the key columns of the predictions and a column `label`, one row for each observation; who makes it is not this
module's business. Both versions' predictions of now are judged. Rows count where the label is known and both versions have a prediction, so that both are judged by the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.catalog.records import Version
from sqlml.engines.surface import class_fields, label_text
from sqlml.errors import BindingError
from sqlml.relation import Relation, find
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

RELATION, LABEL = "labels", "label"
SMALLEST = 2.0**-52
"""Probabilities are kept this far from 0 and 1, as scikit-learn's log_loss keeps them: one certain error is not infinite."""
JOINED = "sqlml labelled"


@dataclass(frozen=True)
class Metric:
    """One measure of both versions; None where a version cannot be measured so. A higher one is better but for log loss,
    MAE and RMSE."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Truth:
    rows: int
    metrics: tuple[Metric, ...]


def judged(connection: Connection, before: Version, after: Version) -> Truth | None:
    """Both versions against the labels; None where the deployment has none for these keys."""
    labels = _labels(connection, before)
    if labels is None:
        return None
    _join(connection, before, after, labels)
    try:
        row = connection.execute(
            sql.render(exp.select(sql.call("count", exp.Star())).from_(sql.table(JOINED)))
        ).fetchone()
        rows = int(row[0]) if row else 0
        found = [
            _measures(connection, version, side) if rows else {} for version, side in ((before, "a"), (after, "b"))
        ]
    finally:
        connection.execute(sql.drop_table((JOINED,)))
    names = list(dict.fromkeys([*found[0], *found[1]]))
    return Truth(rows, tuple(Metric(name, found[0].get(name), found[1].get(name)) for name in names))


def _labels(connection: Connection, version: Version) -> Relation | None:
    try:
        relation = find(connection, sql.quote_path(version.deployment, RELATION))
    except BindingError:
        return None
    there = {name.lower() for name in relation.types}
    return relation if {key.lower() for key in version.key_columns} | {LABEL} <= there else None


def _join(connection: Connection, before: Version, after: Version, labels: Relation) -> None:
    sides = ((before, "a"), (after, "b"))
    columns = [sql.alias(sql.column(LABEL, "sqlml l"), LABEL)]
    columns += [
        sql.alias(sql.column(name, f"sqlml {side}"), f"{side} {name}")
        for version, side in sides
        for name in ("prediction", *_probabilities(version.contract))
    ]
    query = exp.select(*columns).from_(sql.named(labels.node, "sqlml l"))
    known = [sql.column(LABEL, "sqlml l")]
    for version, side in sides:
        stored = sql.named(sql.table(version.deployment, str(version.prediction_table)), f"sqlml {side}")
        matches = [
            exp.EQ(this=sql.column(theirs, "sqlml l"), expression=sql.column(key, f"sqlml {side}"))
            for theirs, key in zip(before.key_columns, version.key_columns, strict=True)
        ]
        query = query.join(stored, on=sql.all_of(matches))
        known.append(sql.column("prediction", f"sqlml {side}"))
    query = query.where(sql.all_of([exp.Not(this=exp.Is(this=node, expression=exp.Null())) for node in known]))
    connection.execute(sql.create_temporary(JOINED, sql.render(query)))


def _probabilities(signature: Signature) -> list[str]:
    if not signature.probabilities or len(signature.classes) > 200:  # more are stored as one MAP
        return []
    return [f"probability_{name}" for name in class_fields(signature)]


def _measures(connection: Connection, version: Version, side: str) -> dict[str, float | None]:
    signature = version.contract
    if signature.targets:
        return {}
    label = sql.try_cast(sql.column(LABEL), signature.prediction)
    said = sql.column(f"{side} prediction")
    if signature.kind != "classifier" and signature.prediction in ("DOUBLE", "BIGINT"):
        off = exp.Paren(this=exp.Sub(this=said, expression=label))
        squared = sql.call("avg", exp.Mul(this=off, expression=off.copy()))
        return _one(
            connection, ("MAE", "RMSE"), (sql.call("avg", sql.call("abs", off.copy())), sql.call("sqrt", squared))
        )
    right = sql.cast(exp.NullSafeEQ(this=said, expression=label), "INTEGER")
    found = _one(connection, ("accuracy",), (sql.call("avg", right),))
    columns = [f"{side} {name}" for name in _probabilities(signature)]
    if columns:
        if signature.is_binary:
            found["AUC"] = _auc(connection, columns[1], signature)
        found |= _one(connection, ("log loss",), (_log_loss(columns, signature),))
    return found


def _one(connection: Connection, names: Sequence[str], nodes: Sequence[exp.Expression]) -> dict[str, float | None]:
    row = connection.execute(sql.render(exp.select(*nodes).from_(sql.table(JOINED)))).fetchone()
    assert row is not None  # an aggregate without GROUP BY always gives one row
    return dict(zip(names, row, strict=True))


def _is_class(signature: Signature, index: int) -> exp.Expression:
    known = sql.cast(sql.try_cast(sql.column(LABEL), signature.prediction), "VARCHAR")
    return exp.EQ(this=known, expression=sql.text(label_text(signature.classes[index])))


def _log_loss(columns: Sequence[str], signature: Signature) -> exp.Expression:
    """Over the rows whose label is a class of the model: it says nothing about any other."""
    branches = [(_is_class(signature, i), sql.column(column)) for i, column in enumerate(columns)]
    kept = sql.call("least", sql.call("greatest", sql.case(branches), sql.double(SMALLEST)), sql.double(1 - SMALLEST))
    # least and greatest pass NULL by, where there is no such class
    known = sql.any_of([condition.copy() for condition, _ in branches])
    return sql.call("avg", sql.case([(known, exp.Neg(this=sql.call("ln", kept)))]))


def _auc(connection: Connection, column: str, signature: Signature) -> float | None:
    """The share of pairs, one row of each class, that the score puts in the right order; a tie counts half (Hanley and
    McNeil, 1982). None where the labels are all of one class."""
    positive, negative = _is_class(signature, 1), _is_class(signature, 0)
    by_score = exp.select(
        sql.alias(sql.column(column), "score"),
        sql.alias(sql.call("count_if", positive), "p"),
        sql.alias(sql.call("count_if", negative), "n"),
    ).from_(sql.table(JOINED))
    row = connection.execute(sql.with_source("by_score", f"{sql.render(by_score)} GROUP BY ALL", AUC)).fetchone()
    return None if row is None else row[0]


AUC = """
SELECT sum(p * (below + n / 2)) / nullif(sum(p)::DOUBLE * sum(n), 0)
FROM (SELECT p, n, coalesce(sum(n) OVER (ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS below
      FROM by_score)
"""
