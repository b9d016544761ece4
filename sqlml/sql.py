"""Names and values become SQL here, and nowhere else.

Expressions are sqlglot nodes until `render`. Every identifier is quoted, so that a table called `select` or `a"b`
is only a name. Statements that sqlglot cannot express (macros with defaults, triggers) are put together here too,
from rendered parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce

from sqlglot import exp

DIALECT = "duckdb"


def render(node: exp.Expression) -> str:
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
    if math.isnan(value) or math.isinf(value):
        return cast(text({True: "nan"}.get(math.isnan(value), "inf" if value > 0 else "-inf")), "DOUBLE")
    mantissa = repr(value)
    return exp.Literal.number(mantissa if "e" in mantissa else mantissa + "e0")


def integer(value: int) -> exp.Expression:
    return exp.Literal.number(str(int(value)))


def null(type_name: str | None = None) -> exp.Expression:
    return exp.Null() if type_name is None else cast(exp.Null(), type_name)


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
    return exp.Cast(this=node, to=exp.DataType.build(type_name, dialect=DIALECT))


def try_cast(node: exp.Expression, type_name: str) -> exp.Expression:
    return exp.TryCast(this=node, to=exp.DataType.build(type_name, dialect=DIALECT), requires_string=False)


def call(name: str, *args: exp.Expression) -> exp.Expression:
    """A plain function by its own (lower-case, unquoted) name, never translated by sqlglot."""
    return exp.Anonymous(this=name, expressions=list(args))


def call_quoted(name: str, *args: exp.Expression) -> exp.Expression:
    """A function whose name needs quoting, such as the UDF of the python engine."""
    return exp.Anonymous(this=identifier(name), expressions=list(args))


def field(struct: exp.Expression, name: str) -> exp.Expression:
    """A field of a struct, by name."""
    return call("struct_extract", struct, text(name))


def case(
    branches: Sequence[tuple[exp.Expression, exp.Expression]], default: exp.Expression | None = None
) -> exp.Expression:
    return exp.Case(ifs=[exp.If(this=when, true=then) for when, then in branches], default=default)


def all_of(conditions: Sequence[exp.Expression]) -> exp.Expression:
    return exp.and_(*conditions) if conditions else exp.true()


def any_of(conditions: Sequence[exp.Expression]) -> exp.Expression:
    return exp.or_(*conditions) if conditions else exp.false()


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


def create_macro(
    path: Sequence[str],
    parameters: Sequence[tuple[str, exp.Expression | None]],
    body: exp.Expression,
    *,
    replace: bool = False,
) -> str:
    """A scalar macro as SQL text, or a table macro where `body` is a query; a parameter may have a default.

    sqlglot has no node for defaults of macro parameters, so the text is put together here.

    >>> create_macro(("m", "f"), [("r", None), ("t", exp.Null())], column("age", "r"))
    'CREATE MACRO "m"."f"("r", "t" := NULL) AS "r"."age"'
    """
    listed = ", ".join(quote(name) + ("" if node is None else f" := {render(node)}") for name, node in parameters)
    verb = "CREATE OR REPLACE MACRO" if replace else "CREATE MACRO"
    kind = "AS TABLE" if isinstance(body, exp.Query) else "AS"
    return f"{verb} {quote_path(*path)}({listed}) {kind} {render(body)}"


def insert_statement(parts: Sequence[str], columns: Sequence[str]) -> str:
    """INSERT with one bound parameter per column."""
    names = ", ".join(quote(name) for name in columns)
    return f"INSERT INTO {quote_path(*parts)} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names are quoted


UTC_NOW = call("make_timestamp", call("epoch_us", call("now")))
"""The transaction's time as a TIMESTAMP in UTC; casts between TIMESTAMPTZ and TIMESTAMP would need the session's time zone."""
