"""Names and values become SQL here, and nowhere else.

Expressions are sqlglot nodes until `render`. Every identifier is quoted, so that a table called `select` or `a"b`
is only a name. Statements that sqlglot cannot express (macros with defaults, triggers) are put together here too,
from rendered parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial, reduce

from sqlglot import exp

DIALECT = "duckdb"
_type = lru_cache(maxsize=256)(partial(exp.DataType.build, dialect=DIALECT))


def render(node: exp.Expr) -> str:
    """The node as DuckDB SQL, on one line."""
    return node.sql(dialect=DIALECT, identify=True, normalize_functions=False, comments=False)


def quote(name: str) -> str:
    """An identifier as SQL text.

    >>> quote('a"b')
    '"a""b"'
    """
    if "\x00" in name:
        raise ValueError("a name cannot contain a NUL character")
    return '"' + name.replace('"', '""') + '"'


def quote_path(*parts: str) -> str:
    """A qualified name as SQL text: `quote_path("churn", "current")` is `"churn"."current"`."""
    return ".".join(quote(part) for part in parts)


def string(value: str) -> str:
    """A string literal as SQL text.

    >>> string("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> exp.Identifier:
    return exp.Identifier(this=name, quoted=True)


def column(name: str, *qualifiers: str) -> exp.Expression:
    """A column reference; `column("age", "r")` is `"r"."age"`."""
    parts = [identifier(part) for part in (*qualifiers, name)]
    if len(parts) > 2:
        return exp.Dot.build(parts)
    return exp.Column(this=parts[-1], table=parts[0] if len(parts) == 2 else None)


def table(*parts: str) -> exp.Table:
    """A table name of one to three parts (catalog, schema, table)."""
    named = dict(zip(("this", "db", "catalog"), (identifier(p) for p in reversed(parts)), strict=False))
    return exp.Table(**named)


def text(value: str) -> exp.Expression:
    return exp.Literal.string(value)


def double(value: float) -> exp.Expression:
    """A DOUBLE literal with exactly this value.

    Measured: sqlglot's `exp.convert(0.94)` is a DECIMAL in DuckDB, NaN becomes NULL and inf a column named inf.
    A bare literal with an exponent is a DOUBLE and binds faster than a cast; both give the same bits (repr round-trips).
    """
    value = float(value)
    if not math.isfinite(value):
        return cast(text(str(value)), "DOUBLE")
    mantissa = repr(abs(value))
    literal = exp.Literal.number(mantissa if "e" in mantissa else mantissa + "e0")
    # The sign stays outside: sqlglot rewrites a negative number's text, and "-0.1e0" comes out as the DECIMAL -0.1.
    return exp.Neg(this=literal) if math.copysign(1.0, value) < 0 else literal


def integer(value: int) -> exp.Expression:
    return exp.Literal.number(str(int(value)))


def parameter(number: int) -> exp.Expression:
    """A text that is bound: `$1`, `$2` and on."""
    return cast(exp.Parameter(this=integer(number)), "VARCHAR")


def null(type_name: str | None = None) -> exp.Expression:
    return exp.Null() if type_name is None else cast(exp.Null(), type_name)


def timestamp(moment: datetime) -> exp.Expression:
    """A TIMESTAMP literal, to the microsecond."""
    return cast(text(moment.isoformat(sep=" ")), "TIMESTAMP")


def value(label: str | int | float | bool) -> exp.Expression:
    """A Python value as a literal of the SQL type a signature gives it (BIGINT, DOUBLE, BOOLEAN, VARCHAR)."""
    if isinstance(label, bool):
        return exp.Boolean(this=label)
    if isinstance(label, int):
        return cast(integer(label), "BIGINT")
    if isinstance(label, float):
        return double(label)
    return text(label)


def cast(node: exp.Expression, type_name: str) -> exp.Expression:
    return exp.Cast(this=node, to=_type(type_name).copy())


def try_cast(node: exp.Expression, type_name: str) -> exp.Expression:
    return exp.TryCast(this=node, to=_type(type_name).copy(), requires_string=False)


def written(node: exp.Expression) -> exp.Expression:
    """The node as text that is written already, in parentheses, with the columns that it mentions still to be found.

    For what is large and goes as it is into several functions: copying and rendering 800 leaves takes sqlglot 0.3 s.
    Its columns must be final, since nothing is replaced inside of it.
    """
    columns = {render(found): found.copy() for found in node.find_all(exp.Column)}
    return exp.Var(this=f"({render(node)})", expressions=list(columns.values()))


def call(name: str, *args: exp.Expression) -> exp.Expression:
    """A plain function by its own (lower-case, unquoted) name, never translated by sqlglot."""
    return exp.Anonymous(this=name, expressions=list(args))


def call_quoted(name: str, *args: exp.Expression) -> exp.Expression:
    """A function whose name needs quoting, such as the UDF of the python engine."""
    return exp.Anonymous(this=identifier(name), expressions=list(args))


def raised(message: str) -> exp.Expression:
    """A query error with this text. Qualified, for a deployment has a function `error` of its own."""
    path: list[exp.Expr] = [exp.Identifier(this="system"), exp.Identifier(this="main"), call("error", text(message))]
    return exp.Dot.build(path)


def field(struct: exp.Expression, name: str) -> exp.Expression:
    """A field of a struct, by name."""
    return call("struct_extract", struct, text(name))


def table_call(path: Sequence[str], *args: exp.Expression) -> exp.Expression:
    """A table macro by its qualified name, after FROM."""
    parts: list[exp.Expr] = [identifier(part) for part in path[:-1]]
    return exp.Table(this=exp.Dot.build([*parts, call_quoted(path[-1], *args)]))


def case(
    branches: Sequence[tuple[exp.Expression, exp.Expression]], default: exp.Expression | None = None
) -> exp.Expression:
    return exp.Case(ifs=[exp.If(this=when, true=then) for when, then in branches], default=default)


def all_of(conditions: Sequence[exp.Expr]) -> exp.Expression:
    """AND of the conditions; each is put into parentheses where it needs them."""
    return exp.Paren(this=exp.and_(*conditions)) if conditions else exp.true()


def any_of(conditions: Sequence[exp.Expr]) -> exp.Expression:
    """OR of the conditions."""
    return exp.Paren(this=exp.or_(*conditions)) if conditions else exp.false()


def alias(node: exp.Expr, name: str) -> exp.Expression:
    """A column of a SELECT under a name."""
    return exp.Alias(this=node, alias=identifier(name))


def named(relation: exp.Expression, name: str) -> exp.Expression:
    """A copy of a table under an alias."""
    copy = relation.copy()
    copy.set("alias", exp.TableAlias(this=identifier(name)))
    return copy


def equal(names: Sequence[str], left: str, right: str) -> list[exp.Expression]:
    """`left.name = right.name` for each name."""
    return [exp.EQ(this=column(name, left), expression=column(name, right)) for name in names]


def sum_in_order(terms: Sequence[exp.Expression]) -> exp.Expression:
    """Left to right, as a loop would add them: ((a + b) + c) + d."""
    return reduce(lambda a, b: exp.Add(this=a, expression=b), terms)


def sum_balanced(terms: Sequence[exp.Expression]) -> exp.Expression:
    """As a balanced tree: DuckDB refuses expressions deeper than 1000."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return exp.Add(this=sum_balanced(terms[:half]), expression=exp.Paren(this=sum_balanced(terms[half:])))


def struct(fields: Mapping[str, exp.Expression]) -> exp.Expression:
    """A STRUCT value; field names are data."""
    return exp.Struct(
        expressions=[exp.PropertyEQ(this=identifier(name), expression=node) for name, node in fields.items()]
    )


def macro_text(overloads: Sequence[tuple[Sequence[str], exp.Expr]]) -> str:
    """Parameters and body of each overload of a macro (which sqlglot has no node for); a table macro where it is a query.

    >>> macro_text([(("r",), column("age", "r"))])
    '("r") AS "r"."age"'
    """
    return ", ".join(
        f"({', '.join(map(quote, parameters))}) {'AS TABLE' if isinstance(body, exp.Query) else 'AS'} {render(body)}"
        for parameters, body in overloads
    )


def create_macro(path: Sequence[str], text: str, *, replace: bool = False) -> str:
    """CREATE MACRO of what `macro_text` gave."""
    return f"{'CREATE OR REPLACE MACRO' if replace else 'CREATE MACRO'} {quote_path(*path)}{text}"


def create_schema(name: str) -> str:
    return f"CREATE SCHEMA IF NOT EXISTS {quote(name)}"


def drop_schema(name: str) -> str:
    return f"DROP SCHEMA {quote(name)}"


def create_table(path: Sequence[str], columns: Sequence[tuple[str, str]]) -> str:
    """CREATE TABLE as SQL text; types are DuckDB's own names for them."""
    return f"CREATE TABLE {quote_path(*path)} ({', '.join(f'{quote(name)} {kind}' for name, kind in columns)})"


def create_view(path: Sequence[str], query: exp.Query | str) -> str:
    """CREATE VIEW of a query; a text is SQL made by us."""
    return f"CREATE OR REPLACE VIEW {quote_path(*path)} AS {query if isinstance(query, str) else render(query)}"


def with_steps(steps: Mapping[str, str], query: str) -> str:
    """`query` after named steps, each of which may read those before it; all as SQL text made by us."""
    listed = ", ".join(f"{quote(name)} AS NOT MATERIALIZED ({step})" for name, step in steps.items())
    return f"WITH {listed} {query}"


def with_results(steps: Mapping[str, str], query: str) -> str:
    """The same where each step is computed once, however many steps read it; a step may read itself."""
    listed = ", ".join(
        f"{quote(name)} AS {'' if quote(name) in step else 'MATERIALIZED '}({step})" for name, step in steps.items()
    )
    return f"WITH RECURSIVE {listed} {query}"


def table_macro_text(parameters: Sequence[str], query: str) -> str:
    """What `create_macro` takes, of a query that is SQL text made by us."""
    return f"({', '.join(map(quote, parameters))}) AS TABLE {query}"


def with_source(name: str, rows: str, query: str) -> str:
    """`query`, which reads from `name`, with `name` standing for `rows`; all three as SQL text made by us.

    NOT MATERIALIZED: DuckDB materializes CTEs otherwise, which keeps filters and unused columns from reaching the scan.
    """
    return with_steps({name: rows}, query)


def select_from(head: str, rows: str, *, alias: str = "rows", where: str | None = None) -> str:
    """`head` (a SELECT without FROM) over `rows` (a query), all as SQL text made by us."""
    condition = "" if where is None else f" WHERE {where}"
    return f"{head} FROM ({rows}) AS {quote(alias)}{condition}"


def create_trigger(name: str, table: Sequence[str], event: str, transition: str, action: str) -> str:
    """A trigger after `event` (insert, update, delete), per statement; `transition` names the OLD and NEW TABLE."""
    return (
        f"CREATE TRIGGER {quote(name)} AFTER {event.upper()} ON {quote_path(*table)}"
        f" REFERENCING {transition} FOR EACH STATEMENT {action}"
    )


def drop_trigger(name: str, table: Sequence[str]) -> str:
    return f"DROP TRIGGER IF EXISTS {quote(name)} ON {quote_path(*table)}"


def drop_object(kind: str, path: Sequence[str]) -> str:
    """DROP of what `kind` (a keyword of ours, such as MACRO TABLE) says; never CASCADE."""
    return f"DROP {kind} IF EXISTS {quote_path(*path)}"


def sampled(query: str, rows: int, seed: int) -> str:
    """The same `rows` rows of a query each time, as DuckDB's reservoir draws them: of ten million rows it takes fewer than 40
    from the first 82,000 alone (measured, 2.0.0), so that a few are drawn from a thousand that it has drawn."""
    query = query if rows >= 100 else sampled(query, 1000, seed)
    return f'SELECT * FROM ({query}) AS "all rows" USING SAMPLE reservoir({int(rows)} ROWS) REPEATABLE ({int(seed)})'  # noqa: S608 - made by us


def some_blocks(path: Sequence[str], percent: float, seed: int) -> str:
    """The same share of a table's rows each time, whole blocks of them: what was not drawn is not read."""
    return f"SELECT * FROM {quote_path(*path)} TABLESAMPLE system({percent:.9f}%) REPEATABLE ({int(seed)})"  # noqa: S608 - quoted


def add_column(path: Sequence[str], name: str, type_name: str) -> str:
    return f"ALTER TABLE {quote_path(*path)} ADD COLUMN {quote(name)} {type_name}"


def create_table_as(path: Sequence[str], query: str) -> str:
    return f"CREATE TABLE {quote_path(*path)} AS {query}"


def copy_to(query: str, path: str, file_format: str, partition_by: Sequence[str]) -> str:
    """COPY to a file, or to a folder of files by the values of `partition_by`."""
    parts = f", PARTITION_BY ({', '.join(map(quote, partition_by))})" if partition_by else ""
    return f"COPY ({query}) TO {string(path)} (FORMAT {file_format}{parts})"


def read_path(path: str) -> str:
    """Whatever DuckDB makes of a path after FROM."""
    return f"SELECT * FROM {quote(path)}"  # noqa: S608 - quoted


def insert_select(path: Sequence[str], columns: Sequence[str], query: str) -> str:
    return f"INSERT INTO {quote_path(*path)} ({', '.join(map(quote, columns))}) {query}"


def create_temporary(name: str, query: str) -> str:
    return f"CREATE OR REPLACE TEMPORARY TABLE {quote(name)} AS {query}"


def delete_matching(path: Sequence[str], keys: Sequence[str], keys_query: str) -> str:
    """DELETE the rows whose key columns equal those of a row of `keys_query`."""
    matches = " AND ".join(f'{quote_path(path[-1], key)} = "sqlml d".{quote(key)}' for key in keys)
    return f'DELETE FROM {quote_path(*path)} USING ({keys_query}) AS "sqlml d" WHERE {matches}'  # noqa: S608 - quoted


def exists_in(rows: str, name: str, condition: exp.Expression) -> exp.Expression:
    """EXISTS of a row of `rows` (a query, as SQL text made by us), called `name`, for which the condition holds."""
    listed = exp.Table(this=exp.Var(this=f"({rows})"), alias=exp.TableAlias(this=identifier(name)))
    return exp.Exists(this=exp.select("1").from_(listed).where(condition))


def left_join(head: str, left: str, left_name: str, right: str, right_name: str, keys: Sequence[str]) -> str:
    """`head` (a SELECT without FROM) over two queries, joined where their keys are equal; all SQL text made by us."""
    matches = render(all_of(equal(keys, left_name, right_name)))
    return f"{head} FROM ({left}) AS {quote(left_name)} LEFT JOIN ({right}) AS {quote(right_name)} ON {matches}"


def last_rows(path: Sequence[str], keys: Sequence[str], keys_query: str | None, condition: str | None) -> str:
    """Of each key (of `keys_query`) the row that was inserted last, among those for which the condition holds."""
    using = ", ".join(map(quote, keys))
    listed = "" if keys_query is None else f' SEMI JOIN ({keys_query}) AS "sqlml d" USING ({using})'
    chosen = "" if condition is None else f" WHERE {condition}"
    named = ", ".join(quote_path("sqlml h", key) for key in keys)
    last = f'SELECT max("sqlml h".rowid) FROM {quote_path(*path)} AS "sqlml h"{listed}{chosen} GROUP BY {named}'  # noqa: S608 - quoted
    return f"SELECT * FROM {quote_path(*path)} WHERE rowid IN ({last})"  # noqa: S608 - quoted


def select_rows(path: Sequence[str], columns: Sequence[str], equal_to: str | None) -> str:
    """SELECT of columns; `equal_to` is a column compared with the one bound parameter."""
    where = "" if equal_to is None else f" WHERE {quote(equal_to)} = ?"
    return f"SELECT {', '.join(map(quote, columns))} FROM {quote_path(*path)}{where}"  # noqa: S608 - names are quoted


def insert_statement(parts: Sequence[str], columns: Sequence[str]) -> str:
    """INSERT with one bound parameter per column."""
    values = ", ".join("?" * len(columns))
    return f"INSERT INTO {quote_path(*parts)} ({', '.join(map(quote, columns))}) VALUES ({values})"  # noqa: S608 - names are quoted


UTC_NOW = call("make_timestamp", call("epoch_us", call("now")))
"""The transaction's time as a TIMESTAMP in UTC; casts between TIMESTAMPTZ and TIMESTAMP would need the session's time zone."""


def attach(path: str, name: str, storage_version: str | None = None) -> str:
    """ATTACH for writing, whatever the connection's own database was opened for."""
    storage = "" if storage_version is None else f", STORAGE_VERSION {string(storage_version)}"
    return f"ATTACH {string(path)} AS {quote(name)} (READ_WRITE{storage})"


def detach(name: str) -> str:
    return f"DETACH {quote(name)}"


def use(name: str) -> str:
    return f"USE {quote(name)}"


def copy_database(source: str, target: str) -> str:
    """Schemas, tables with rows and indexes, views and macros of one attached database into another; no triggers."""
    return f"COPY FROM DATABASE {quote(source)} TO {quote(target)}"
