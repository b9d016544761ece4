"""The nearest change of one input that gives another label, as steps of `FROM churn.why(4711)`.

As `sqlml.reasoning` finds it, with what one statement can: every value beside a threshold, nearest first; categories, true and
false, missing values; and of columns that move the score one way the crossing, halved until two neighbouring values are
left. Within what the source's first rows hold; the command looks further.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from sqlml import sql
from sqlml.signature import Column, Signature

WHOLE = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
ROWS = 20_000
LARGEST = 1e150
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
        "sqlml tried": sql.render(_tried(label, signature)),
        **TRIED,
        RECURSIVE: sql.render(_narrowed(label, signature)),
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
    """(position, name, is_text, is_flag, is_whole, takes_missing) of each column."""
    entries: list[exp.Expression] = []
    for i, column in enumerate(signature.columns):
        kind = types.get(column.name.lower(), "").split("(")[0].upper()
        fields: dict[str, exp.Expression] = {"position": sql.integer(i), "name": sql.text(column.name)}
        facts = {
            "is_text": column.is_text,
            "is_flag": column.type == "BOOLEAN" or (kind == "BOOLEAN" and not column.is_text),
            "is_whole": column.type in ("BIGINT", "INTEGER") or kind in WHOLE,
            "takes_missing": column.nulls == "missing",
        }
        entries.append(sql.struct(fields | {name: exp.Boolean(this=fact) for name, fact in facts.items()}))
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


def _changed(signature: Signature, place: exp.Expression, text: exp.Expression) -> exp.Expression:
    """The row with one of its columns changed."""
    fields = {}
    for i, column in enumerate(signature.columns):
        mine = exp.EQ(this=place.copy(), expression=sql.integer(i))
        fields[column.name] = sql.case([(mine, _typed(column, text.copy()))], sql.column(column.name, BASE))
    return sql.struct(fields)


def _tried(label: exp.Expression, signature: Signature) -> exp.Select:
    row = _changed(signature, sql.column("position", TRY), sql.column("value", TRY))
    columns = [sql.column(name, TRY) for name in ("position", "value", "number")]
    tries, base = sql.named(sql.table("sqlml tries"), TRY), sql.named(sql.table("sqlml base"), BASE)
    rows = exp.select(*columns, sql.alias(row, GIVEN)).from_(tries).join(base, join_type="cross")
    named = [sql.column(name) for name in ("position", "value", "number")]
    return exp.select(*named, sql.alias(label.copy(), "label")).from_(rows.subquery("t"))


def _narrowed(label: exp.Expression, signature: Signature) -> exp.Expression:
    """From a value with the row's label and one with another to two neighbours, by halves."""
    names = ("position", "is_whole", "same", "other", "label")
    first = exp.select(*(sql.column(name, "e") for name in names)).from_(sql.named(sql.table("sqlml ends"), "e"))
    low, high = sql.column("same", NARROW), sql.column("other", NARROW)
    half = exp.Add(
        this=exp.Div(this=low.copy(), expression=sql.double(2.0)),
        expression=exp.Paren(this=exp.Div(this=high.copy(), expression=sql.double(2.0))),
    )
    middle = sql.case([(sql.column("is_whole", NARROW), sql.call("floor", exp.Paren(this=half)))], half.copy())
    row = _changed(signature, sql.column("position", "m"), sql.cast(sql.column("middle", "m"), "VARCHAR"))
    halves = exp.select(*(sql.column(name, NARROW) for name in names), sql.alias(middle, "middle"))
    halves = halves.from_(sql.named(sql.table(RECURSIVE), NARROW))
    between = [exp.NEQ(this=sql.column("middle", "m"), expression=sql.column(name, "m")) for name in ("same", "other")]
    whole = exp.Column(this=exp.Star(), table=sql.identifier("m"))
    rows = exp.select(whole, sql.alias(row, GIVEN)).from_(halves.subquery("m"))
    rows = rows.join(sql.named(sql.table("sqlml base"), BASE), join_type="cross").where(sql.all_of(between))
    said = exp.select(exp.Star(), sql.alias(label.copy(), "said")).from_(rows.subquery("r"))
    differs = exp.NEQ(this=sql.column("said", "k"), expression=sql.column("label", "l"))
    step = exp.select(
        sql.column("position", "k"),
        sql.column("is_whole", "k"),
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
    # A threshold is the last value on one of its sides: it and its neighbours, or the whole numbers around it.
    "sqlml steps": """SELECT DISTINCT w.position, w.start, w.number FROM (
        SELECT u.position, u.start, unnest(CASE WHEN u.is_whole THEN [floor(u.t) - 1, floor(u.t), floor(u.t) + 1, ceil(u.t) + 1]
            ELSE [nextafter(u.t, '-inf'::DOUBLE), u.t, nextafter(u.t, 'inf'::DOUBLE)] END) AS number
        FROM (SELECT p.position, p.start, p.is_whole, unnest(p.thresholds) AS t FROM "sqlml places" AS p
            WHERE NOT p.is_text AND NOT p.is_flag AND p.way <> 'monotone' AND p.start IS NOT NULL) AS u) AS w
        WHERE w.number <> w.start AND abs(w.number) < 1e30
        QUALIFY row_number() OVER (PARTITION BY w.position ORDER BY abs(w.number - w.start)) <= 4000""",
    # The row itself is the one at -1: a model is planned once for all of these.
    "sqlml tries": """SELECT -1 AS position, NULL::VARCHAR AS value, NULL::DOUBLE AS number FROM "sqlml base"
        UNION ALL SELECT s.position, CASE WHEN p.is_whole THEN s.number::HUGEINT::VARCHAR ELSE s.number::VARCHAR END,
            s.number FROM "sqlml steps" AS s JOIN "sqlml places" AS p ON p.position = s.position
        UNION ALL SELECT r.position, r.number::VARCHAR, r.number FROM (SELECT p.position,
            unnest(list_transform(range(257), lambda k: p.low + (p.high - p.low) * k / 256)) AS number
            FROM "sqlml places" AS p WHERE p.way = 'anyhow' AND NOT p.is_whole AND NOT p.is_flag) AS r
        UNION ALL SELECT r.position, r.number::VARCHAR, r.number FROM (SELECT p.position, unnest([p.low, p.high]) AS number
            FROM "sqlml places" AS p WHERE p.way = 'monotone' AND NOT p.is_text AND NOT p.is_flag AND p.start IS NOT NULL) AS r
        UNION ALL SELECT p.position, unnest(p.categories), NULL FROM "sqlml places" AS p WHERE p.is_text
        UNION ALL SELECT p.position, unnest(['false', 'true']), NULL FROM "sqlml places" AS p WHERE p.is_flag
        UNION ALL SELECT p.position, NULL, NULL FROM "sqlml places" AS p WHERE p.takes_missing AND p.before IS NOT NULL""",
}
TRIED = {
    "sqlml label": """SELECT t.label FROM "sqlml tried" AS t WHERE t.position = -1""",
    "sqlml ends": """SELECT t.position, p.is_whole, p.start AS same, t.number AS other, t.label FROM "sqlml tried" AS t
        JOIN "sqlml places" AS p ON p.position = t.position, "sqlml label" AS l
        WHERE p.way = 'monotone' AND t.number IS NOT NULL AND t.label <> l.label""",
}
# Nearest first by the values themselves: far from a value, differences to it are the same for many neighbours.
ANSWERS = {
    "sqlml crossings": """SELECT DISTINCT ON (n.position, n.other > p.start) n.position,
            CASE WHEN p.is_whole THEN n.other::HUGEINT::VARCHAR ELSE n.other::VARCHAR END AS value, n.other AS number, n.label
        FROM "sqlml narrowed" AS n JOIN "sqlml places" AS p ON p.position = n.position
        ORDER BY CASE WHEN n.other > p.start THEN n.other ELSE -n.other END""",
    "sqlml found": """SELECT * FROM "sqlml tried" UNION ALL SELECT * FROM "sqlml crossings\"""",
    "sqlml flips": """SELECT DISTINCT ON (p.position) p.name AS column_name, p.before, f.value, f.number, f.label AS becomes,
            CASE WHEN f.number IS NULL THEN 1 WHEN p.deviation > 0 THEN abs(f.number - p.start) / p.deviation END AS distance,
            CASE WHEN f.number IS NOT NULL THEN f.number BETWEEN p.low AND p.high
                WHEN f.value IS NULL THEN p.nulls WHEN p.is_text THEN list_contains(p.texts, f.value) ELSE true END AS inside,
            p.way = 'anyhow' AS is_rough
        FROM "sqlml found" AS f JOIN "sqlml places" AS p ON p.position = f.position, "sqlml label" AS l
        WHERE f.label IS NOT NULL AND f.label <> l.label
        ORDER BY p.position, coalesce(NOT inside, false), distance NULLS LAST, f.value IS NULL,
            CASE WHEN f.number > p.start THEN f.number ELSE -f.number END""",
}
