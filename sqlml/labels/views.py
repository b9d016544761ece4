"""The views of a deployment that has labels: what they say of each version, readable from any shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from sqlglot import exp

from sqlml import sql
from sqlml.labels import measures
from sqlml.labels.canonical import CLASSES, OBSERVED_AT, ROWS, Source, canonical_classes, canonical_rows, union
from sqlml.labels.tables import LabelTable

EVERY = "sqlml every"
"""The window's parameter has a name that no column has: a macro's parameter captures every column of its name."""
ALWAYS = sql.cast(sql.text("1970-01-01"), "TIMESTAMP")
"""The window of all labels."""
DAY = sql.call("date_trunc", sql.text("day"), sql.column(OBSERVED_AT))
NO_WINDOW = (
    "A window is a length of time, such as INTERVAL '7 days', or a unit of it, such as 'month': with its unit, longer than"
    " nothing, and in months or in days and hours, not in both."
)

Made = tuple[str, str, str]
"""Kind, name and statement of an object."""


def labels_view(tables: Sequence[LabelTable]) -> exp.Query:
    """Every version's labels, the last revision of each. A column whose type differs between versions is a text."""
    types: dict[str, set[str]] = {}
    for table in tables:
        for name, kind in table.columns:
            types.setdefault(name.lower(), set()).add(kind)
    parts = []
    for table in tables:
        columns = [
            sql.alias(
                sql.column(name) if len(types[name.lower()]) == 1 else sql.cast(sql.column(name), "VARCHAR"), name
            )
            for name in table.names
        ]
        version = sql.alias(sql.cast(sql.integer(table.version), "INTEGER"), "deployment_version")
        parts.append(exp.select(*columns, version).from_(table.current().subquery(alias=sql.identifier("sqlml c"))))
    query: exp.Query = parts[0]
    for part in parts[1:]:
        query = exp.Union(this=query, expression=part, distinct=False, by_name=True)
    return query


def sources(tables: Sequence[LabelTable]) -> list[Source]:
    return [Source(table, table.current()) for table in tables]


def measured(
    rows: Sequence[Source], slot: exp.Expression, steps: Mapping[str, str], last: str, *, every_class: bool = False
) -> str:
    """A query: the canonical rows, then the steps over them, then what is shown."""
    labelled = union([canonical_rows(source, slot) for source in rows], ROWS)
    found = [canonical_classes(source, slot, every=every_class) for source in rows]
    classes = union([part for part in found if part is not None], CLASSES)
    return sql.with_steps({"labelled": sql.render(labelled), "classes": sql.render(classes), **steps}, last)


def window() -> exp.Expression:
    """The beginning of the window that a label falls into: `time_bucket` over an interval, or over one of a unit."""
    said = sql.cast(sql.column(EVERY), "VARCHAR")
    one = exp.DPipe(this=sql.text("1 "), expression=said.copy())
    length = sql.call("coalesce", sql.try_cast(said, "INTERVAL"), sql.try_cast(exp.Paren(this=one), "INTERVAL"))
    # Under coalesce, not in an ELSE: DuckDB computes a constant's interval once, and an error never.
    checked = sql.call("coalesce", sql.case([(_is_window(said, length), length)]), sql.raised(NO_WINDOW))
    return sql.call("time_bucket", checked, sql.column(OBSERVED_AT))


def _is_window(said: exp.Expression, length: exp.Expression) -> exp.Expression:
    """Whether it is more than a number, which DuckDB takes for seconds, and what `time_bucket` can divide time by."""
    zero = sql.cast(sql.text("0 days"), "INTERVAL")
    years, months = (sql.call("date_part", sql.text(unit), length.copy()) for unit in ("year", "month"))
    number = exp.Add(this=exp.Mul(this=sql.integer(12), expression=years), expression=months)
    in_months = sql.call("to_months", sql.cast(exp.Paren(this=number), "INTEGER"))
    return sql.all_of(
        [
            exp.Is(this=sql.try_cast(said.copy(), "DOUBLE"), expression=exp.Null()),
            exp.GT(this=length.copy(), expression=zero),
            exp.Or(
                this=exp.EQ(this=in_months, expression=zero.copy()),
                expression=exp.EQ(this=in_months.copy(), expression=length.copy()),
            ),
        ]
    )


@lru_cache(maxsize=16)
def label_views(tables: tuple[LabelTable, ...]) -> list[Made]:
    """All views over the labels of these versions, in the order in which they are to be made.

    Kept, since every labelling compares them with what was recorded, and they take 0.1 s to write out.
    """
    schema, rows = tables[0].deployment, sources(tables)

    def view(name: str, query: str) -> Made:
        return "view", name, sql.create_view((schema, name), query)

    per_window = measured(rows, window(), measures.METRICS, measures.PER_WINDOW)
    return [
        view("labels", sql.render(labels_view(tables))),
        view("metrics", measured(rows, ALWAYS, measures.METRICS, measures.PER_VERSION)),
        view("metrics_by_day", measured(rows, DAY, measures.METRICS, measures.PER_DAY)),
        (
            "table macro",
            "metrics_by",
            sql.create_macro((schema, "metrics_by"), sql.table_macro_text([EVERY], per_window), replace=True),
        ),
        view("metrics_by_class", measured(rows, ALWAYS, measures.BY_CLASS, measures.PER_CLASS, every_class=True)),
        view("confusion", measured(rows, ALWAYS, {"confusion": measures.COUNTS["confusion"]}, measures.PER_CELL)),
        view("calibration", measured(rows, ALWAYS, {}, measures.PER_BIN)),
    ]
