"""The nearest change of one input that gives another label, as steps of `FROM churn.why(4711)`.

As `sqlml.reasoning` finds it, with what one statement can: every value beside a threshold, nearest first; categories, true and
false, missing values; and of columns that move the score one way the crossing, halved until two neighbouring values are
left. Within what the source's first rows hold; the command looks further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlglot import exp

from sqlml import sql
from sqlml.signature import Column, Signature

WHOLE = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
ROWS = 20_000
LARGEST = 1e150
BITS = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31}
"""Of other types, only so many that each whole number is a DOUBLE of its own."""
BASE, TRY, NARROW, GIVEN = "sqlml b", "sqlml t", "sqlml n", "sqlml g"
RECURSIVE = "sqlml narrowed"


def flip_steps(
    deployment: str, version: int, signature: Signature, source: exp.Expression, types: Mapping[str, str]
) -> dict[str, str]:
    """Steps that end in "sqlml flips": (column, before, value, number, becomes, distance, inside)."""
    label = sql.cast(called(deployment, f"predict_v{version}", GIVEN), "VARCHAR")
    return {
        "sqlml base": sql.render(_base(signature)),
        "sqlml columns": sql.render(_columns(signature, types)),
        "sqlml spread": sql.render(_spread(signature, source)),
        **CANDIDATES,
        "sqlml tried": sql.render(_tried(label, signature, types)),
        **TRIED,
        RECURSIVE: sql.render(_narrowed(label, signature, types)),
        **ANSWERS,
    }


def called(deployment: str, function: str, column: str) -> exp.Expression:
    """A function of a row that is a column already: a macro repeats its argument for each of the row's columns, which
    took half of the planning while that was the STRUCT's own expression."""
    return exp.Dot.build([sql.identifier(deployment), sql.call_quoted(function, sql.column(column))])


def _typed(column: Column, text: exp.Expression) -> exp.Expression:
    """A text as the model takes it; true and false may stand for 1 and 0."""
    if column.is_text:
        return text
    read = sql.try_cast(text.copy(), column.type)
    return sql.call("coalesce", read, sql.try_cast(sql.try_cast(text.copy(), "BOOLEAN"), column.type))


def _held(column: Column, text: exp.Expression, kind: str) -> exp.Expression:
    """The same by way of what the source's column makes of it."""
    if column.is_text or kind.split("(")[0] not in ("DECIMAL", "FLOAT"):
        return _typed(column, text)
    return sql.try_cast(sql.try_cast(text, kind), column.type)


def _grid(column: Column, kind: str) -> tuple[exp.Expression, exp.Expression]:
    """(per, ends) of what a column of this type can hold. `per`: so many values from one whole number to the next, 0 where
    they are FLOATs and NULL where they are DOUBLEs; `ends`: the least and the most."""
    base = kind.split("(")[0].upper()
    if base in WHOLE or column.type in ("BIGINT", "INTEGER"):
        most = (
            2.0 ** min(BITS.get(name.removeprefix("U"), 53) + name.startswith("U") for name in (base, column.type)) - 1
        )
        return sql.double(1.0), _ends(0.0 if base.startswith("U") else -most, most)
    if base == "DECIMAL":
        precision, scale = (*map(int, re.findall(r"\d+", kind)), 18, 3)[:2] if "(" in kind else (18, 3)
        most = 10.0 ** (precision - scale) - 10.0**-scale
        return sql.double(10.0**scale), _ends(-most, most)
    if base == "FLOAT" or column.type == "FLOAT":
        return sql.double(0.0), sql.null("DOUBLE[]")
    return sql.null("DOUBLE"), sql.null("DOUBLE[]")


def _ends(least: float, most: float) -> exp.Expression:
    return exp.Array(expressions=[sql.double(least), sql.double(most)])


def _base(signature: Signature) -> exp.Select:
    """The row whose columns are changed, typed as the model takes it."""
    chosen = sql.column("chosen", "s")
    values = []
    for i, column in enumerate(signature.columns, 1):
        entry = sql.field(sql.call("list_extract", chosen.copy(), sql.integer(i)), "value")
        values.append(sql.alias(_typed(column, entry), column.name))
    listed = exp.select(sql.alias(sql.column("chosen", "c"), "chosen")).from_(sql.named(sql.table("sqlml chosen"), "c"))
    return exp.select(*values).from_(listed.subquery("s"))


def _columns(signature: Signature, types: Mapping[str, str]) -> exp.Select:
    """(position, name, is_text, is_flag, takes_missing, per, ends) of each column."""
    entries: list[exp.Expression] = []
    for i, column in enumerate(signature.columns):
        kind = types.get(column.name.lower(), "").upper()
        fields: dict[str, exp.Expression] = {"position": sql.integer(i), "name": sql.text(column.name)}
        facts = {
            "is_text": column.is_text,
            "is_flag": column.type == "BOOLEAN" or (kind == "BOOLEAN" and not column.is_text),
            "takes_missing": column.nulls == "missing",
        }
        fields |= {name: exp.Boolean(this=fact) for name, fact in facts.items()}
        fields["per"], fields["ends"] = _grid(column, kind)
        entries.append(sql.struct(fields))
    listed = exp.select(sql.alias(sql.call("unnest", exp.Array(expressions=entries)), "c"))
    return exp.select(sql.call("unnest", sql.column("c", "s"))).from_(listed.subquery("s"))


def _spread(signature: Signature, source: exp.Expression) -> exp.Select:
    rows = exp.select(exp.Star()).from_(source).limit(ROWS).subquery(alias=sql.identifier(BASE))
    entries: list[exp.Expression] = []
    for i, column in enumerate(signature.columns):
        value = sql.column(column.name, BASE)
        number = sql.null("DOUBLE") if column.is_text else sql.try_cast(value.copy(), "DOUBLE")
        small = exp.LT(this=sql.call("abs", number.copy()), expression=sql.double(LARGEST))
        usual = sql.case([(small, number)])
        texts: exp.Expression = sql.null("VARCHAR[]")
        if column.is_text:
            texts = sql.call("list_distinct", sql.call("list", sql.cast(value.copy(), "VARCHAR")))
        sizes = {
            n: sql.call(f, usual.copy()) for n, f in (("low", "min"), ("high", "max"), ("deviation", "stddev_pop"))
        }
        nulls = exp.LT(this=sql.call("count", value.copy()), expression=sql.call("count", exp.Star()))
        entries.append(sql.struct({"position": sql.integer(i), **sizes, "texts": texts, "nulls": nulls}))
    listed = exp.select(sql.alias(exp.Array(expressions=entries), "l")).from_(rows)
    each = exp.select(sql.alias(sql.call("unnest", sql.column("l", "s")), "c")).from_(listed.subquery("s"))
    return exp.select(sql.call("unnest", sql.column("c", "s"))).from_(each.subquery("s"))


def _changed(
    signature: Signature, types: Mapping[str, str], place: exp.Expression, text: exp.Expression
) -> exp.Expression:
    """The row with one of its columns changed."""
    fields = {}
    for i, column in enumerate(signature.columns):
        mine = exp.EQ(this=place.copy(), expression=sql.integer(i))
        new = _held(column, text.copy(), types.get(column.name.lower(), ""))
        fields[column.name] = sql.case([(mine, new)], sql.column(column.name, BASE))
    return sql.struct(fields)


def _tried(label: exp.Expression, signature: Signature, types: Mapping[str, str]) -> exp.Select:
    row = _changed(signature, types, sql.column("position", TRY), sql.column("value", TRY))
    columns = [sql.column(name, TRY) for name in ("position", "value", "number")]
    tries, base = sql.named(sql.table("sqlml tries"), TRY), sql.named(sql.table("sqlml base"), BASE)
    rows = exp.select(*columns, sql.alias(row, GIVEN)).from_(tries).join(base, join_type="cross")
    named = [sql.column(name) for name in ("position", "value", "number")]
    return exp.select(*named, sql.alias(label.copy(), "label")).from_(rows.subquery("t"))


def _narrowed(label: exp.Expression, signature: Signature, types: Mapping[str, str]) -> exp.Expression:
    """From a value with the row's label and one with another to two neighbours, by halves."""
    names = ("position", "per", "same", "other", "label")
    first = exp.select(*(sql.column(name, "e") for name in names)).from_(sql.named(sql.table("sqlml ends"), "e"))
    low, high = sql.column("same", NARROW), sql.column("other", NARROW)
    half = exp.Add(
        this=exp.Div(this=low.copy(), expression=sql.double(2.0)),
        expression=exp.Paren(this=exp.Div(this=high.copy(), expression=sql.double(2.0))),
    )
    per = sql.column("per", NARROW)
    near = sql.call("round", exp.Mul(this=exp.Paren(this=half.copy()), expression=per.copy()))
    held: list[tuple[exp.Expression, exp.Expression]] = [
        (exp.GT(this=per, expression=sql.integer(0)), exp.Div(this=near, expression=per.copy())),
        (exp.EQ(this=per.copy(), expression=sql.integer(0)), sql.try_cast(exp.Paren(this=half.copy()), "FLOAT")),
    ]
    middle = sql.case(held, half)
    row = _changed(signature, types, sql.column("position", "m"), sql.cast(sql.column("middle", "m"), "VARCHAR"))
    halves = exp.select(*(sql.column(name, NARROW) for name in names), sql.alias(middle, "middle"))
    halves = halves.from_(sql.named(sql.table(RECURSIVE), NARROW))
    ends = [sql.column(name, "m") for name in ("same", "other")]
    middle_of = sql.column("middle", "m")
    between = [
        exp.GT(this=middle_of, expression=sql.call("least", *ends)),
        exp.LT(this=middle_of.copy(), expression=sql.call("greatest", *(end.copy() for end in ends))),
    ]
    whole = exp.Column(this=exp.Star(), table=sql.identifier("m"))
    rows = exp.select(whole, sql.alias(row, GIVEN)).from_(halves.subquery("m"))
    rows = rows.join(sql.named(sql.table("sqlml base"), BASE), join_type="cross").where(sql.all_of(between))
    said = exp.select(exp.Star(), sql.alias(label.copy(), "said")).from_(rows.subquery("r"))
    differs = exp.NEQ(this=sql.column("said", "k"), expression=sql.column("label", "l"))
    step = exp.select(
        sql.column("position", "k"),
        sql.column("per", "k"),
        sql.case([(differs, sql.column("same", "k"))], sql.column("middle", "k")),
        sql.case([(differs.copy(), sql.column("middle", "k"))], sql.column("other", "k")),
        sql.case([(differs.copy(), sql.column("said", "k"))], sql.column("label", "k")),
    ).from_(said.subquery("k"))
    step = step.join(sql.named(sql.table("sqlml label"), "l"), join_type="cross")
    return exp.union(first, step, distinct=False)


CANDIDATES = {
    "sqlml turning": """SELECT t.position, t.way, t.thresholds, t.categories FROM sqlml.turning_points AS t
        JOIN "sqlml version" AS v ON t.model_sha256 = v.model_sha256""",
    "sqlml places": """SELECT c.*, t.way, t.thresholds, t.categories, s.low, s.high, s.deviation, s.texts, s.nulls,
            e.e.value AS before, coalesce(e.e.number, TRY_CAST(TRY_CAST(e.e.value AS BOOLEAN) AS DOUBLE)) AS start
        FROM "sqlml columns" AS c JOIN "sqlml turning" AS t ON t.position = c.position
        JOIN "sqlml spread" AS s ON s.position = c.position
        JOIN (SELECT unnest(chosen) AS e, unnest(range(len(chosen))) AS position FROM "sqlml chosen") AS e
            ON e.position = c.position""",
    # A threshold is the last value on one of its sides: it and its neighbours, of those that the column can hold.
    "sqlml steps": """SELECT DISTINCT w.position, w.start, w.number FROM (
        SELECT u.position, u.start, unnest(CASE WHEN u.per > 0
            THEN list_transform([-1, 0, 1, 2], lambda k: (floor(u.t * u.per) + k) / u.per)
            WHEN u.per = 0 THEN [nextafter(TRY_CAST(u.t AS FLOAT), '-inf'::FLOAT), TRY_CAST(u.t AS FLOAT),
                nextafter(TRY_CAST(u.t AS FLOAT), 'inf'::FLOAT)]
            ELSE [nextafter(u.t, '-inf'::DOUBLE), u.t, nextafter(u.t, 'inf'::DOUBLE)] END) AS number
        FROM (SELECT p.position, p.start, p.per, unnest(p.thresholds) AS t FROM "sqlml places" AS p
            WHERE NOT p.is_text AND NOT p.is_flag AND p.way <> 'monotone') AS u) AS w
        WHERE w.number IS DISTINCT FROM w.start AND abs(w.number) < 1e30
        QUALIFY row_number() OVER (PARTITION BY w.position ORDER BY abs(w.number - w.start)) <= 4000""",
    "sqlml numbers": """SELECT DISTINCT p.position, n.number,
            CASE WHEN p.per = 1 THEN TRY_CAST(n.number AS HUGEINT)::VARCHAR ELSE n.number::VARCHAR END AS value
        FROM (SELECT s.position, s.number FROM "sqlml steps" AS s UNION ALL
            SELECT r.position, CASE WHEN r.per > 0 THEN round(r.number * r.per) / r.per
                WHEN r.per = 0 THEN TRY_CAST(r.number AS FLOAT) ELSE r.number END
            FROM (SELECT p.position, p.per, unnest(CASE p.way WHEN 'monotone' THEN [p.low, p.high]
                ELSE list_transform(range(257), lambda k: p.low + (p.high - p.low) * k / 256) END) AS number
                FROM "sqlml places" AS p WHERE (p.way <> 'steps' OR p.start IS NULL) AND NOT p.is_flag) AS r) AS n
        JOIN "sqlml places" AS p ON p.position = n.position
        WHERE coalesce(n.number BETWEEN p.ends[1] AND p.ends[2], n.number IS NOT NULL)""",
    # The row itself is the one at -1: a model is planned once for all of these.
    "sqlml tries": """SELECT -1 AS position, NULL::VARCHAR AS value, NULL::DOUBLE AS number FROM "sqlml base"
        UNION ALL SELECT n.position, n.value, n.number FROM "sqlml numbers" AS n
        UNION ALL SELECT p.position, unnest(p.categories), NULL FROM "sqlml places" AS p WHERE p.is_text
        UNION ALL SELECT p.position, unnest(['false', 'true']), NULL FROM "sqlml places" AS p WHERE p.is_flag
        UNION ALL SELECT p.position, NULL, NULL FROM "sqlml places" AS p WHERE p.takes_missing AND p.before IS NOT NULL""",
}
TRIED = {
    "sqlml label": """SELECT t.label FROM "sqlml tried" AS t WHERE t.position = -1""",
    "sqlml ends": """SELECT t.position, p.per, p.start AS same, t.number AS other, t.label FROM "sqlml tried" AS t
        JOIN "sqlml places" AS p ON p.position = t.position, "sqlml label" AS l
        WHERE p.way = 'monotone' AND t.number <> p.start AND t.label <> l.label""",
}
# Nearest first by the values themselves: far from a value, differences to it are the same for many neighbours.
ANSWERS = {
    "sqlml crossings": """SELECT DISTINCT ON (n.position, n.other > p.start) n.position,
            CASE WHEN p.per = 1 THEN n.other::HUGEINT::VARCHAR ELSE n.other::VARCHAR END AS value, n.other AS number, n.label
        FROM "sqlml narrowed" AS n JOIN "sqlml places" AS p ON p.position = n.position
        ORDER BY CASE WHEN n.other > p.start THEN n.other ELSE -n.other END""",
    "sqlml found": """SELECT * FROM "sqlml tried" UNION ALL SELECT * FROM "sqlml crossings\"""",
    "sqlml flips": """SELECT DISTINCT ON (p.position) p.name AS column_name, p.before, f.value, f.number, f.label AS becomes,
            CASE WHEN f.number IS NULL OR p.start IS NULL THEN 1 WHEN p.deviation > 0 THEN abs(f.number - p.start) / p.deviation END AS distance,
            CASE WHEN f.number IS NOT NULL THEN f.number BETWEEN p.low AND p.high
                WHEN f.value IS NULL THEN p.nulls WHEN p.is_text THEN list_contains(p.texts, f.value) ELSE true END AS inside,
            p.way = 'anyhow' OR p.start IS NULL AND f.number IS NOT NULL AS is_rough
        FROM "sqlml found" AS f JOIN "sqlml places" AS p ON p.position = f.position, "sqlml label" AS l
        WHERE f.label IS NOT NULL AND f.label <> l.label
        ORDER BY p.position, coalesce(NOT inside, false), distance NULLS LAST, f.value IS NULL,
            CASE WHEN f.number > p.start THEN f.number ELSE -f.number END""",
}
