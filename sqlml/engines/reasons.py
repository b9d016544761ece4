"""`FROM churn.why(4711)`: everything behind one prediction, as rows of a table macro.

What depends on the deployment's columns becomes lists of (item, value, number) in the steps that read a row; the rest is
one constant query over these steps and the catalog. The parameters have names that no column has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.engines.features import cast_error, input_hash, read
from sqlml.engines.pyfunc import asked_select
from sqlml.engines.reason_flips import WHOLE, called, flip_steps
from sqlml.signature import Signature

ROW, STORED, KEPT, ASKED, GIVEN = "sqlml r", "sqlml p", "sqlml k", "sqlml a", "sqlml g"
TEXT_KEYS = frozenset({"VARCHAR", "ENUM"})
NUMBERS = WHOLE | {"FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN"}


@dataclass(frozen=True)
class Behind:
    """What the rows are made from. `explains`: the sentence that says why there are no contributions, or None where
    `explain_vN` has them; `kept` names the column of each input in the table that keeps them."""

    deployment: str
    version: int
    signature: Signature
    keys: Mapping[str, str]
    """With their types."""
    outputs: Sequence[tuple[str, str]]
    source: exp.Expression
    source_name: str
    source_keys: Sequence[str]
    source_types: Mapping[str, str]
    """By column in small letters."""
    flips: bool
    """Whether any shell that has the engine can ask about rows that do not exist."""
    explains: str | None
    is_asked: bool
    threshold: float | None
    kept: tuple[tuple[str, str], Mapping[str, str], str, str] | None
    """(path, column by input, what `removed` is called, what `unreadable` is called)"""


def parameters(keys: Mapping[str, str]) -> list[str]:
    return [f"sqlml key {number}" for number in range(1, len(keys) + 1)]


def why_macro(behind: Behind) -> str:
    """Parameters and body, as `sql.create_macro` takes them."""
    steps = {
        "sqlml asked": sql.render(_asked(behind)),
        "sqlml stored": sql.render(_stored(behind)),
        "sqlml now": sql.render(_now(behind)),
        "sqlml then": sql.render(_then(behind)),
        **STEPS,
    }
    if behind.flips:
        found = flip_steps(behind.deployment, behind.version, behind.signature, behind.source, behind.source_types)
        return sql.table_macro_text(
            parameters(behind.keys), sql.with_results(steps | found, ROWS.replace("{flips}", FLIPS))
        )
    return sql.table_macro_text(parameters(behind.keys), sql.with_results(steps, ROWS.replace("{flips}", NO_FLIPS)))


def _asked(behind: Behind) -> exp.Select:
    """The constants of this version, and the key as it was given."""
    given = [_entry(key, sql.column(name)) for key, name in zip(behind.keys, parameters(behind.keys), strict=True)]
    is_binary = behind.signature.is_binary and behind.signature.probabilities
    rule = "the model's own rule" if behind.threshold is None else "the deployment's own"
    constants: dict[str, exp.Expression] = {
        "deployment": sql.text(behind.deployment),
        "version": sql.integer(behind.version),
        "source": sql.text(behind.source_name),
        "given": exp.Array(expressions=given),
        "threshold": sql.null("DOUBLE") if behind.threshold is None else sql.double(behind.threshold),
        "rule": sql.text(rule) if is_binary else sql.null("VARCHAR"),
        "unexplained": sql.null("VARCHAR") if behind.explains is None else sql.text(behind.explains),
        "kind": sql.text(behind.signature.kind),
        "targets": sql.integer(len(behind.signature.targets)),
        "comparable": sql.call("hash", sql.double(1.5), sql.text("sqlml"), sql.null("VARCHAR"), sql.value(42)),
    }
    return exp.select(*(sql.alias(node, name) for name, node in constants.items()))


def _entry(item: str, value: exp.Expression, kind: str = "") -> exp.Expression:
    """`number` of a number is that itself, of a text what it reads as: a FLOAT's text reads as another DOUBLE."""
    text = sql.cast(value.copy(), "VARCHAR")
    of = value.copy() if kind.split("(")[0] in NUMBERS else text.copy()
    return sql.struct({"item": sql.text(item), "value": text, "number": sql.try_cast(of, "DOUBLE")})


def _is_key(behind: Behind, columns: Sequence[str], alias: str) -> exp.Expression:
    """Texts and numbers are compared by the argument's text, as `sqlml why` reads it: DuckDB takes '3.7' for the BIGINT 4,
    and true for 1."""
    found: list[exp.Expression] = []
    for column, kind, name in zip(columns, behind.keys.values(), parameters(behind.keys), strict=True):
        base, given = kind.split("(")[0], sql.column(name)
        if base in TEXT_KEYS | NUMBERS - {"BOOLEAN"}:
            given = sql.cast(given, "VARCHAR")
        if base in WHOLE | {"DECIMAL"}:
            number, given = sql.try_cast(given, "DOUBLE"), sql.try_cast(given.copy(), kind)
            found.append(exp.EQ(this=number, expression=sql.cast(given.copy(), "DOUBLE")))
        elif base in NUMBERS - {"BOOLEAN"}:
            given = sql.try_cast(given, kind)
        found.append(exp.EQ(this=sql.column(column, alias), expression=given))
    return sql.all_of(found)


def _stored(behind: Behind) -> exp.Select:
    table = sql.named(sql.table(behind.deployment, f"predictions_v{behind.version}"), STORED)
    names = [name for name, _ in behind.outputs]
    positive = sql.null("DOUBLE")
    probabilities = [name for name in names if name.startswith("probability_")]
    if behind.signature.is_binary and len(probabilities) == 2:
        positive = sql.column(probabilities[1], STORED)
    elif len(probabilities) > 1:  # the class that was predicted, wherever it is the likeliest
        positive = sql.call("greatest", *(sql.column(name, STORED) for name in probabilities))
    columns = {
        "outputs": exp.Array(expressions=[_entry(name, sql.column(name, STORED)) for name in names]),
        "prediction": sql.try_cast(sql.cast(sql.column("prediction", STORED), "VARCHAR"), "DOUBLE"),
        "positive": positive,
        **{name: sql.column(name, STORED) for name in ("error", "input_hash", "scoring_id", "scored_at")},
    }
    query = exp.select(*(sql.alias(node, name) for name, node in columns.items())).from_(table)
    return query.where(_is_key(behind, list(behind.keys), STORED)).limit(1)


def _now(behind: Behind) -> exp.Select:
    source = sql.named(behind.source, ROW)
    query = exp.select(exp.Star()).from_(source).where(_is_key(behind, behind.source_keys, ROW)).limit(1)
    return _inputs(behind, query, {c.name: c.name for c in behind.signature.columns}, hashes=True)


def _then(behind: Behind) -> exp.Select:
    """The inputs that were kept for the stored prediction, or no row."""
    if behind.kept is None:
        return exp.select("*").from_(sql.table("sqlml now")).where(exp.false())
    path, columns, removed, unreadable = behind.kept
    table = sql.named(sql.table(*path), KEPT)
    stored = sql.named(sql.table("sqlml stored"), STORED)
    before = exp.LTE(this=sql.column("scored_at", KEPT), expression=sql.column("scored_at", STORED))
    last = exp.Ordered(this=sql.column("rowid", KEPT), desc=True)
    query = exp.select(exp.Column(this=exp.Star(), table=sql.identifier(KEPT))).from_(table).join(stored, on=before)
    query = query.where(_is_key(behind, list(behind.keys), KEPT)).order_by(last).limit(1)
    made = _inputs(behind, query, columns, hashes=False)
    there = exp.and_(
        exp.Not(this=sql.column(removed, ROW)), exp.Is(this=sql.column(unreadable, ROW), expression=exp.Null())
    )
    return made.where(there)


def _inputs(behind: Behind, rows: exp.Select, columns: Mapping[str, str], *, hashes: bool) -> exp.Select:
    """(inputs, input_hash, explained) of a row; `explained` is what `explain_vN` says, as (item, number)."""
    signature = behind.signature
    references = {name: sql.column(column, ROW) for name, column in columns.items()}
    digest = sql.column("input_hash", ROW)
    if hashes and behind.is_asked:
        asked = asked_select(signature, rows.copy().subquery(alias=sql.identifier(ROW)))
        digest = (
            exp.select(sql.column("input_hash", ASKED)).from_(asked.subquery(alias=sql.identifier(ASKED))).subquery()
        )
    elif hashes:
        values = [read(column, references[column.name]) for column in signature.columns]
        errors = [bad for column in signature.columns if (bad := cast_error(column, references[column.name]))]
        digest = input_hash(signature.columns, values, errors)
    explained: exp.Expression = exp.Array(expressions=[])
    if behind.explains is None:
        explained = _taken_apart(signature, called(behind.deployment, f"explain_v{behind.version}", GIVEN))
    kinds = [behind.source_types.get(c.name.lower(), "") if hashes else c.type for c in signature.columns]
    listed = [_entry(c.name, references[c.name], kind) for c, kind in zip(signature.columns, kinds, strict=True)]
    given = sql.alias(sql.struct({name: node.copy() for name, node in references.items()}), GIVEN)
    whole = exp.Column(this=exp.Star(), table=sql.identifier(ROW))
    source = exp.select(whole, given).from_(rows.subquery(alias=sql.identifier(ROW)))
    return exp.select(
        sql.alias(exp.Array(expressions=listed), "inputs"),
        sql.alias(digest, "input_hash"),
        sql.alias(sql.cast(explained, "STRUCT(item VARCHAR, number DOUBLE)[]"), "explained"),
    ).from_(source.subquery(alias=sql.identifier(ROW)))


def _taken_apart(signature: Signature, explained: exp.Expression) -> exp.Expression:
    """A list of (item, number), from one mention: DuckDB binds what a lambda gets once."""
    letter = "sqlml e"
    parts: list[tuple[str, exp.Expression]] = []
    if len(signature.targets) > 1:
        for target in signature.targets:
            parts += _parts(signature, sql.field(sql.column(letter), target), f"{target}: ")
    else:
        parts = _parts(signature, sql.column(letter), "")
    listed = exp.Array(expressions=[sql.struct({"item": sql.text(item), "number": number}) for item, number in parts])
    mapped = sql.call(
        "list_transform",
        exp.Array(expressions=[explained]),
        exp.Lambda(this=listed, expressions=[sql.identifier(letter)], colon=True),
    )
    return sql.call("list_extract", mapped, sql.integer(1))


def _parts(signature: Signature, node: exp.Expression, prefix: str) -> list[tuple[str, exp.Expression]]:
    found = [(f"{prefix}(base)", sql.field(node.copy(), "base")), (f"{prefix}(score)", sql.field(node.copy(), "score"))]
    sizes = sql.field(node.copy(), "contributions")
    return [*found, *((f"{prefix}{c.name}", sql.field(sizes.copy(), c.name)) for c in signature.columns)]


STEPS = {
    "sqlml scoring": """SELECT s.* FROM sqlml.scorings AS s JOIN "sqlml stored" AS p ON s.scoring_id = p.scoring_id""",
    "sqlml version": """SELECT v.* FROM sqlml.versions AS v JOIN "sqlml asked" AS a
        ON v.deployment = a.deployment AND v.version = a.version""",
    # How the inputs of then are known; see docs/why.md.
    "sqlml known": """SELECT
        CASE WHEN t.inputs IS NOT NULL AND (p.input_hash IS NULL OR t.input_hash = p.input_hash OR s.hash_check <> a.comparable)
                THEN 'kept'
            WHEN p.input_hash = n.input_hash AND s.hash_check = a.comparable THEN 'by hash'
            WHEN p.scored_at IS NOT NULL THEN 'unknown' END AS known,
        p.input_hash = n.input_hash AND s.hash_check = a.comparable AS same, n.inputs IS NOT NULL AS in_source
        FROM "sqlml asked" AS a LEFT JOIN "sqlml stored" AS p ON true LEFT JOIN "sqlml now" AS n ON true
        LEFT JOIN "sqlml then" AS t ON true LEFT JOIN "sqlml scoring" AS s ON true""",
    "sqlml said": """SELECT k.known, k.same, k.in_source, n.inputs AS now,
        CASE k.known WHEN 'kept' THEN t.inputs WHEN 'by hash' THEN n.inputs END AS then_,
        CASE WHEN k.known IN ('kept', 'by hash') THEN 'then' WHEN k.in_source THEN 'now' END AS of_,
        CASE k.known WHEN 'kept' THEN t.explained ELSE n.explained END AS explained
        FROM "sqlml known" AS k LEFT JOIN "sqlml now" AS n ON true LEFT JOIN "sqlml then" AS t ON true""",
    "sqlml chosen": """SELECT CASE s.of_ WHEN 'then' THEN s.then_ WHEN 'now' THEN s.now END AS chosen
        FROM "sqlml said" AS s JOIN "sqlml stored" AS p ON p.error IS NULL WHERE s.of_ IS NOT NULL""",
    "sqlml score": """SELECT list_filter(s.explained, lambda e: e.item = '(score)')[1].number AS score
        FROM "sqlml said" AS s""",
    "sqlml unit": """SELECT CASE
        WHEN a.targets > 1 THEN 'the target''s own unit'
        WHEN s.of_ <> 'then' THEN NULL
        WHEN a.kind = 'regressor' THEN CASE
            WHEN abs(c.score - p.prediction) <= 1e-5 * greatest(1, abs(c.score)) THEN 'the target''s own unit'
            WHEN abs(exp(least(c.score, 700e0)) - p.prediction) <= 1e-3 * abs(p.prediction)
                THEN 'the logarithm of the prediction'
            ELSE 'the score before the model''s link' END
        WHEN abs(c.score - p.positive) <= 1e-5 THEN 'probability'
        WHEN a.rule IS NOT NULL AND abs(1 / (1 + exp(least(-c.score, 700e0))) - p.positive) <= 1e-5 THEN 'log-odds'
        ELSE 'the class''s own score' END AS unit
        FROM "sqlml asked" AS a, "sqlml said" AS s LEFT JOIN "sqlml score" AS c ON true
        LEFT JOIN "sqlml stored" AS p ON true""",
}
NO_FLIPS = """UNION ALL SELECT 6, 0, 'flip', NULL, NULL, NULL, 'sqlml why finds the nearest change of one input that gives another label'
    FROM "sqlml asked" AS a, "sqlml stored" AS p WHERE a.kind = 'classifier'
"""
FLIPS = """UNION ALL SELECT 6, row_number() OVER (ORDER BY coalesce(NOT f.inside, false), f.distance NULLS LAST), 'flip',
        f.column_name, f.value, f.distance, 'from ' || coalesce(f.before, 'NULL') || ' gives ' || f.becomes
        || CASE WHEN NOT f.inside THEN '; beyond what the source has' ELSE '' END
        || CASE WHEN f.is_rough THEN '; of the values that were tried' ELSE '' END FROM "sqlml flips" AS f
UNION ALL SELECT 6, 0, 'flip', NULL, NULL, NULL, 'no change of one input that was tried here gives another label; sqlml why tries more'
    FROM "sqlml label" AS l WHERE l.label IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "sqlml flips")
"""
ROWS = """SELECT section, item, value, number, note FROM (
SELECT 1 AS n, e.i AS m, 'key' AS section, e.e.item AS item, e.e.value AS value, e.e.number AS number, NULL::VARCHAR AS note
    FROM (SELECT unnest(given) AS e, generate_subscripts(given, 1) AS i FROM "sqlml asked") AS e
UNION ALL SELECT 2, 0, 'prediction', 'prediction', NULL, NULL, 'there is none for this key; '
        || a.source || CASE WHEN k.in_source THEN ' has that row' ELSE ' has no such row' END
    FROM "sqlml asked" AS a, "sqlml known" AS k WHERE k.known IS NULL
UNION ALL SELECT 2, e.i, 'prediction', e.e.item, e.e.value, e.e.number, NULL
    FROM (SELECT unnest(outputs) AS e, generate_subscripts(outputs, 1) AS i FROM "sqlml stored") AS e
    WHERE e.e.value IS NOT NULL OR e.e.item = 'prediction'
UNION ALL SELECT 2, 90000, 'prediction', 'threshold', a.threshold::VARCHAR, a.threshold, a.rule
    FROM "sqlml asked" AS a, "sqlml stored" AS p WHERE a.rule IS NOT NULL
UNION ALL SELECT 2, 90001, 'prediction', 'scored_at', p.scored_at::VARCHAR, NULL, 'UTC' FROM "sqlml stored" AS p
UNION ALL SELECT 3, e.i, 'input then', e.e.item, e.e.value, e.e.number,
        CASE e.known WHEN 'kept' THEN 'kept' ELSE 'unchanged since: the hash is the same' END
    FROM (SELECT known, unnest(then_) AS e, generate_subscripts(then_, 1) AS i FROM "sqlml said") AS e
UNION ALL SELECT 3, 0, 'input then', NULL, NULL, NULL, 'not known: they are not those of now, and were not kept'
    FROM "sqlml known" AS k WHERE k.known = 'unknown'
UNION ALL SELECT 4, e.i, 'input now', e.e.item, e.e.value, e.e.number,
        CASE WHEN e.same THEN 'same' WHEN e.known = 'kept' THEN CASE WHEN e.t.number = e.e.number OR
            e.t.value IS NOT DISTINCT FROM e.e.value THEN 'same' ELSE 'changed' END END
    FROM (SELECT known, same, unnest(now) AS e, unnest(then_) AS t, generate_subscripts(now, 1) AS i FROM "sqlml said") AS e
UNION ALL SELECT 4, 0, 'input now', NULL, NULL, NULL, 'the key is not in ' || a.source
    FROM "sqlml asked" AS a, "sqlml known" AS k WHERE NOT k.in_source
UNION ALL SELECT 5, CASE e.e.item WHEN '(base)' THEN 0 WHEN '(score)' THEN 1 ELSE 2 END, 'contribution', e.e.item,
        e.e.number::VARCHAR, e.e.number, CASE WHEN e.of_ = 'now' THEN 'of the inputs of now' ELSE u.unit END
    FROM (SELECT of_, unnest(explained) AS e FROM "sqlml said") AS e, "sqlml unit" AS u WHERE e.e.number IS NOT NULL
UNION ALL SELECT 5, 0, 'contribution', NULL, NULL, NULL, coalesce(a.unexplained,
        CASE WHEN s.of_ IS NULL THEN 'the inputs are not known' ELSE 'the row has no prediction' END)
    FROM "sqlml asked" AS a, "sqlml said" AS s LEFT JOIN "sqlml score" AS c ON true
    WHERE s.known IS NOT NULL AND (a.unexplained IS NOT NULL OR (c.score IS NULL AND a.targets < 2))
{flips}UNION ALL SELECT 7, e.m, 'scoring', e.item, e.value, NULL, NULL FROM (
    SELECT unnest(['scoring_id', 'kind', 'who', 'started_at', 'finished_at', 'rows_scored']) AS item,
        unnest([s.scoring_id::VARCHAR, s.kind, s.who, s.started_at::VARCHAR, s.finished_at::VARCHAR,
            s.rows_scored::VARCHAR]) AS value, unnest(range(6)) AS m FROM "sqlml scoring" AS s) AS e WHERE e.value IS NOT NULL
UNION ALL SELECT 8, e.m, 'deployment', e.item, e.value, NULL, NULL FROM (
    SELECT unnest(['version', 'state', 'resolved', 'engine', 'deployed_by', 'deployed_at']) AS item,
        unnest([v.version::VARCHAR, v.state, v.resolved, v.engine, v.deployed_by, v.deployed_at::VARCHAR]) AS value,
        unnest(range(6)) AS m FROM "sqlml version" AS v) AS e
UNION ALL SELECT 8, 10 + row_number() OVER (ORDER BY h.happened_at, h.rowid), 'deployment', h.action, h.happened_at::VARCHAR,
        NULL, 'by ' || h.who || coalesce(': ' || h.why, '')
    FROM sqlml.history AS h JOIN "sqlml version" AS v ON h.deployment = v.deployment
        AND (h.to_version = v.version OR h.from_version = v.version)
UNION ALL SELECT 9, e.m, 'parity', e.item, e.value, TRY_CAST(e.value AS DOUBLE), NULL FROM (
    SELECT unnest(['passed', 'rows_compared', 'rows_set_aside', 'largest_difference', 'tolerance', 'checked_at']) AS item,
        unnest([q.passed::VARCHAR, q.rows_compared::VARCHAR, q.rows_set_aside::VARCHAR, q.largest_difference::VARCHAR,
            q.tolerance::VARCHAR, q.checked_at::VARCHAR]) AS value, unnest(range(6)) AS m
    FROM sqlml.parity AS q JOIN "sqlml version" AS v ON q.deployment = v.deployment AND q.version = v.version) AS e
UNION ALL SELECT 10, e.m, 'model', e.item, e.value, NULL, NULL FROM (
    SELECT unnest(['sha256', 'name', 'version', 'files', 'files sha256']) AS item,
        unnest([v.model_sha256, v.model_name, v.model_version, v.artifact_uri, v.artifact_sha256]) AS value,
        unnest(range(5)) AS m FROM "sqlml version" AS v) AS e WHERE e.value IS NOT NULL
UNION ALL SELECT 11, e.m, 'run', e.item, e.value, NULL, NULL FROM (
    SELECT unnest(['run_id', 'name', 'experiment', 'user', 'problem']) AS item,
        unnest([coalesce(v.run_id, json_extract_string(v.run, '$.run_id')), json_extract_string(v.run, '$.name'),
            json_extract_string(v.run, '$.experiment'), json_extract_string(v.run, '$.user'),
            json_extract_string(v.run, '$.problem')]) AS value,
        unnest(range(5)) AS m FROM "sqlml version" AS v) AS e WHERE e.value IS NOT NULL
UNION ALL SELECT 12, 0, 'parameter', e.e.key, e.e.value, TRY_CAST(e.e.value AS DOUBLE), NULL FROM (
    SELECT unnest(map_entries(from_json(json_extract(v.run, '$.params'), '"MAP(VARCHAR, VARCHAR)"'))) AS e
    FROM "sqlml version" AS v) AS e
UNION ALL SELECT 13, 0, 'metric', e.e.key, e.e.value::VARCHAR, e.e.value, NULL FROM (
    SELECT unnest(map_entries(from_json(json_extract(v.run, '$.metrics'), '"MAP(VARCHAR, DOUBLE)"'))) AS e
    FROM "sqlml version" AS v) AS e
UNION ALL SELECT 14, e.m, 'dataset', e.e.name, e.e.digest, NULL,
        concat_ws(', ', 'from ' || e.e.source, 'version ' || e.e.version, e.e.context) FROM (
    SELECT unnest(d) AS e, generate_subscripts(d, 1) AS m FROM (SELECT from_json(json_extract(v.run, '$.datasets'),
        '[{"name":"VARCHAR","digest":"VARCHAR","source":"VARCHAR","version":"VARCHAR","context":"VARCHAR"}]') AS d
    FROM "sqlml version" AS v)) AS e
) ORDER BY n, m, CASE WHEN n = 5 THEN -abs(number) END, item"""
