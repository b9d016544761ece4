"""Labels of any version in columns that are the same for all, so that one text of SQL measures every kind of model."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.engines.surface import label_text
from sqlml.labels.kinds import classes_of, is_number, positive_of, probability_columns
from sqlml.labels.tables import LabelTable
from sqlml.signature import Label

ROWS = (
    ("version", "INTEGER"),
    ("slot", "TIMESTAMP"),  # where the window begins
    ("observed_at", "TIMESTAMP"),
    ("positive", "VARCHAR"),  # of two classes; NULL elsewhere
    ("label", "VARCHAR"),  # of classifiers, and so is the prediction
    ("prediction", "VARCHAR"),
    ("p_label", "DOUBLE"),  # the probability of the class that the label is
    ("squares", "DOUBLE"),  # what the row adds to the Brier score
    ("confidence", "DOUBLE"),  # of two classes the positive one's probability, else the largest
    ("is_so", "BOOLEAN"),  # whether that class is the label
    ("label_number", "DOUBLE"),  # of regressors, and so is the prediction
    ("predicted_number", "DOUBLE"),
)
"""One row a label."""
CLASSES = (
    ("version", "INTEGER"),
    ("slot", "TIMESTAMP"),
    ("positive", "VARCHAR"),
    ("class", "VARCHAR"),
    ("is_class", "BOOLEAN"),
    ("score", "DOUBLE"),
)
"""One row a label and class with a probability."""


@dataclass(frozen=True)
class Source:
    """Labels of one version: `rows` has the columns of its label table, in their types."""

    table: LabelTable
    rows: exp.Query


def canonical_rows(source: Source, slot: exp.Expression) -> exp.Select:
    """`slot` is an expression over the column `sqlml observed_at`."""
    table = source.table
    signature = table.signature
    label, prediction = sql.column(table.label), sql.column("prediction")
    values = dict.fromkeys([name for name, _ in ROWS], None) | {
        "version": sql.cast(sql.integer(table.version), "INTEGER"),
        "slot": _at(slot, table),
        "observed_at": sql.column(table.observed_at),
    }
    if is_number(signature):
        values |= {
            "label_number": label,
            "predicted_number": _number(sql.cast(prediction, "DOUBLE")),
        }
    else:
        positive = positive_of(signature)
        values |= {
            "positive": None if positive is None else sql.text(label_text(positive)),
            "label": sql.cast(label, "VARCHAR"),
            "prediction": sql.cast(prediction, "VARCHAR"),
            **(_probabilities(table) if signature.probabilities else {}),
        }
    return _select(values, ROWS, source)


def canonical_classes(source: Source, slot: exp.Expression, *, every: bool) -> exp.Select | None:
    """None where there is no probability per class. Of two classes only the positive one, unless `every` is wanted."""
    table = source.table
    names = probability_columns(table.signature)
    if not names:
        return None
    classes = classes_of(table.signature)
    positive = positive_of(table.signature)
    chosen = [(label, name) for label, name in zip(classes, names, strict=True) if every or positive in (None, label)]
    columns = {
        "version": sql.cast(sql.integer(table.version), "INTEGER"),
        "slot": _at(slot, table),
        "positive": None if positive is None else sql.text(label_text(positive)),
        "class": _unnested([sql.text(label_text(label)) for label, _ in chosen]),
        "is_class": _unnested([_is(table, label) for label, _ in chosen]),
        "score": _unnested([_number(sql.column(name)) for _, name in chosen]),
    }
    return _select(columns, CLASSES, source)


def _unnested(values: list[exp.Expression]) -> exp.Expression:
    return values[0] if len(values) == 1 else sql.call("unnest", exp.Array(expressions=values))


def _at(slot: exp.Expression, table: LabelTable) -> exp.Expression:
    """The window's expression over what the table calls the time."""

    def named(node: exp.Expression) -> exp.Expression:
        return sql.column(table.observed_at) if node == sql.column(OBSERVED_AT) else node

    return slot.copy().transform(named)


OBSERVED_AT = "sqlml observed_at"


def _select(
    values: dict[str, exp.Expression | None], columns: tuple[tuple[str, str], ...], source: Source
) -> exp.Select:
    nodes = [sql.alias(sql.null(kind) if (node := values[name]) is None else node, name) for name, kind in columns]
    return exp.select(*nodes).from_(source.rows.subquery(alias=sql.identifier("sqlml s")))


def _is(table: LabelTable, label: Label) -> exp.Expression:
    return exp.Paren(this=exp.EQ(this=sql.column(table.label), expression=sql.value(label)))


def _number(node: exp.Expression) -> exp.Expression:
    """NaN says nothing."""
    return sql.call("nullif", node, sql.double(float("nan")))


def _probabilities(table: LabelTable) -> dict[str, exp.Expression]:
    classes = classes_of(table.signature)
    names = probability_columns(table.signature)
    if not names:
        return _many_probabilities(table)
    scores = [_number(sql.column(name)) for name in names]
    p_label = sql.case([(_is(table, label), score) for label, score in zip(classes, scores, strict=True)])
    gaps = [
        exp.Paren(this=exp.Sub(this=score.copy(), expression=sql.cast(_is(table, label), "INTEGER")))
        for label, score in zip(classes, scores, strict=True)
    ]
    squares = [exp.Mul(this=gap, expression=gap.copy()) for gap in gaps]
    positive = positive_of(table.signature)
    if positive is not None:
        found = {"squares": squares[1], "confidence": scores[1].copy(), "is_so": _is(table, positive)}
    else:
        largest = sql.call("greatest", *(score.copy() for score in scores))
        is_so = exp.EQ(this=exp.Paren(this=p_label.copy()), expression=largest)
        found = {"squares": sql.sum_balanced(squares), "confidence": largest.copy(), "is_so": exp.Paren(this=is_so)}
    return {"p_label": p_label, **found}


def _many_probabilities(table: LabelTable) -> dict[str, exp.Expression]:
    """Past 200 classes they are in a MAP, by the text of the class."""
    values = sql.call("map_values", sql.column("probabilities"))
    found = sql.call("map_extract", sql.column("probabilities"), sql.cast(sql.column(table.label), "VARCHAR"))
    p_label = _number(sql.call("list_extract", found, sql.integer(1)))
    largest = sql.call("list_max", values)
    dot = sql.call("list_dot_product", values.copy(), values.copy())
    twice = exp.Mul(this=sql.integer(2), expression=exp.Paren(this=p_label.copy()))
    squares = exp.Add(this=exp.Sub(this=dot, expression=twice), expression=sql.integer(1))
    return {
        "p_label": p_label,
        "squares": squares,
        "confidence": largest,
        "is_so": exp.Paren(this=exp.EQ(this=p_label.copy(), expression=largest.copy())),
    }


def union(parts: list[exp.Select], columns: tuple[tuple[str, str], ...]) -> exp.Query:
    """All of the parts; no rows where there are none."""
    if not parts:
        nothing = [sql.alias(sql.null(kind), name) for name, kind in columns]
        return exp.select(*nothing).where(exp.false())
    query: exp.Query = parts[0]
    for part in parts[1:]:
        query = exp.union(query, part, distinct=False)
    return query
