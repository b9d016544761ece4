"""What a person names as a source: a table, a view, a file, in this database or an attached one."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from sqlml import sql
from sqlml.database import first_line, is_interrupt, translated
from sqlml.errors import BindingError, KeyRefused, UsageError, choices
from sqlml.parsing import parsed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

WHOLE_NUMBERS = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")} | {
    "INTEGER",
    "UINTEGER",
}
KEYS_A_PASS = 5_000_000
"""Keys grouped at a time when looking for duplicates: bounds the memory, whatever the number of rows."""


@dataclass(frozen=True)
class Relation:
    """Something that can stand after FROM.

    `parts` is the name as (schema, table), or (database, schema, table) for another database; a file has one part and
    `kind` "file". `types` gives the SQL type of each column, in order.
    """

    parts: tuple[str, ...]
    kind: str  # "table", "view" or "file"
    types: dict[str, str]

    @property
    def is_local_table(self) -> bool:
        """A table of the current database: it has row ids, and can have triggers."""
        return self.kind == "table" and len(self.parts) == 2

    @property
    def node(self) -> exp.Expression:
        if self.kind == "file":
            return exp.Table(this=sql.identifier(self.parts[0]))
        return sql.table(*self.parts)

    @property
    def name(self) -> str:
        """SQL text that names it, as stored in the catalog."""
        return sql.quote_path(*self.parts)

    @property
    def label(self) -> str:
        """For people: without quotes, without the schema where it is main."""
        return ".".join(part for part in self.parts if part != "main" or len(self.parts) == 1)


NAME_PART = r'"(?:[^"]|"")*"|[^".]+'


def split_name(name: str) -> list[str]:
    """The parts of a dotted name, honouring double quotes; a text that is no such name is one part as it stands.

    >>> split_name('shop."my table"')
    ['shop', 'my table']
    >>> split_name('pre"dict')
    ['pre"dict']
    """
    if not name.strip():
        raise UsageError(f"{name!r} is not a name.")
    if not re.fullmatch(rf"(?:{NAME_PART})(?:\.(?:{NAME_PART}))*", name):
        return [name]
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in re.findall(NAME_PART, name)]


def mentions(text: str, schema: str, relations: Collection[str], functions: Collection[str]) -> bool:
    """Whether SQL names one of these tables, views or functions of a schema, in a text handed to a function too.

    >>> mentions("SELECT r.id FROM src AS r", "r", {"current"}, {"predict"})
    False
    >>> mentions("FROM r.current", "r", {"current"}, {"predict"})
    True
    """
    try:
        tokens = sqlglot.tokenize(text, dialect=sql.DIALECT)
    except SqlglotError:  # a string that is no SQL
        return False
    words = [token.text.lower() for token in tokens]
    for place, (token, word) in enumerate(zip(tokens, words, strict=True)):
        if token.token_type == TokenType.STRING:
            if mentions(token.text, schema, relations, functions):
                return True
        elif word == schema.lower() and words[place + 1 : place + 2] == ["."] and place + 2 < len(words):
            named, is_call = words[place + 2], words[place + 3 : place + 4] == ["("]
            if named in {name.lower() for name in (functions if is_call else relations)}:
                return True
    return False


def find(connection: Connection, name: str) -> Relation:
    """The table or view of this name, matched as DuckDB does (without regard to case).

    The whole text is tried as one name first (`my table`, `a.b`), then as schema.table or database.schema.table.

    Raises:
        BindingError: there is none; the close matches are listed.
    """
    rows = connection.execute(
        "SELECT database_name, schema_name, table_name, 'table', database_name = current_database()"
        " FROM duckdb_tables() WHERE NOT internal"
        " UNION ALL SELECT database_name, schema_name, view_name, 'view', database_name = current_database()"
        " FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    visible = [row for row in rows if row[0] != "temp"]
    for candidate in ([name], split_name(name)):
        wanted = [part.lower() for part in candidate]
        found = [row for row in visible if _matches(row, wanted)]
        if found:
            database, schema, table, kind, is_own = found[0]
            parts = (schema, table) if is_own else (database, schema, table)
            return _described(connection, parts, kind)
    labels = sorted(
        ".".join(p for p in ((() if own else (db,)) + (schema, table)) if p != "main")
        for db, schema, table, _, own in visible
        if schema != "sqlml" and not table.startswith(("predictions_v", "labels_v"))
    )
    raise BindingError(f"There is no table or view {name!r} in the database.", hint=choices(labels, wrong=name))


def _matches(row: tuple[str, str, str, str, bool], wanted: list[str]) -> bool:
    database, schema, table, _, is_own = row
    if len(wanted) == 1:
        return is_own and schema == "main" and table.lower() == wanted[0]
    if len(wanted) == 2:
        in_schema = is_own and [schema.lower(), table.lower()] == wanted
        in_database = not is_own and schema == "main" and [database.lower(), table.lower()] == wanted
        return in_schema or in_database
    return [database.lower(), schema.lower(), table.lower()] == wanted


def find_or_file(connection: Connection, name: str) -> Relation:
    """A table or view, or else a path that DuckDB reads by itself (Parquet, CSV, JSON; globs and URLs too)."""
    try:
        return find(connection, name)
    except BindingError as not_a_table:
        if not re.search(r"\.(parquet|csv|tsv|json|jsonl|ndjson|gz|zst|xlsx)\b|[/*]", name, re.IGNORECASE):
            raise
        try:
            with translated(name):
                return _described(connection, (name,), "file")
        except BindingError:
            raise
        except Exception as error:
            raise BindingError(f"{name} could not be read: {error}") from not_a_table


def own_table(connection: Connection, path: tuple[str, str]) -> Relation:
    """A table of the current database, by its exact name: `find` reads the names of all.

    Raises:
        BindingError: there is none; the close matches are listed.
    """
    if not table_exists(connection, path):
        return find(connection, sql.quote_path(*path))
    return _described(connection, path, "table")


def _described(connection: Connection, parts: tuple[str, ...], kind: str) -> Relation:
    relation = Relation(parts, kind, {})
    query = exp.select("*").from_(relation.node)
    with translated(relation.label):
        described = connection.execute(f"DESCRIBE {sql.render(query)}").fetchall()
    return Relation(parts, kind, {row[0]: row[1] for row in described})


def resolve_columns(relation: Relation, names: Sequence[str], what: str) -> tuple[str, ...]:
    """The relation's own spelling of the columns named, matched without regard to case."""
    by_folded = {column.lower(): column for column in relation.types}
    missing = [name for name in names if name.lower() not in by_folded]
    if missing:
        raise BindingError(
            f"{relation.label} has no column {missing[0]!r}, named as {what}.",
            hint=choices(list(relation.types), wrong=missing[0]),
        )
    return tuple(by_folded[name.lower()] for name in names)


def can_hold(connection: Connection, stored: str, given: str) -> bool:
    """Whether a key column of the type `stored` has every value of the type `given` as itself, or refuses it: no two of
    them become one. Whole numbers that are too large are refused when they are written."""
    if stored == given or {stored, given} <= WHOLE_NUMBERS:
        return True
    if stored in ("FLOAT", "DOUBLE"):
        return False
    values = (sql.null(given), sql.null(stored))
    row = connection.execute(sql.render(exp.select(sql.call("can_cast_implicitly", *values)))).fetchone()
    return bool(row and row[0])


def count(connection: Connection, relation: Relation) -> int:
    row = connection.execute(sql.render(exp.select("count(*)").from_(relation.node))).fetchone()
    return int(row[0]) if row else 0


def why_unreadable(connection: Connection, relation: Relation) -> str | None:
    """What DuckDB says when every value is read: a view may fail on one of its rows. None where that works."""
    import duckdb

    whole = sql.call("max", sql.call("hash", sql.column("sqlml r")))
    try:
        connection.execute(sql.render(exp.select(whole).from_(sql.named(relation.node, "sqlml r")))).fetchone()
    except duckdb.Error as error:
        if is_interrupt(error):
            raise
        return first_line(error)
    return None


def check_keys(
    connection: Connection,
    relation: Relation,
    keys: Sequence[str],
    rows: int,
    where: exp.Expression | None = None,
) -> None:
    """Refuse NULL and repeated keys, with examples; memory does not grow with the number of rows.

    Raises:
        KeyRefused: nothing was written.
    """
    columns = [sql.column(key) for key in keys]
    is_null = sql.any_of([exp.Is(this=column, expression=exp.Null()) for column in columns])
    chosen = () if where is None else (where,)
    missing = exp.select("count(*)").from_(relation.node).where(is_null, *chosen)
    row = connection.execute(sql.render(missing)).fetchone()
    if row and row[0]:
        raise KeyRefused(
            f"{row[0]} rows of {relation.label} have no key: {', '.join(keys)} is NULL there.",
            hint="Give every row a key, or deploy on a view that leaves those rows out.",
            rows=row[0],
        )
    if _is_declared_unique(connection, relation, keys):
        return
    passes = max(1, -(-rows // KEYS_A_PASS))
    for part in range(passes):
        query = (
            exp.select(*columns, exp.alias_(sql.call("count", exp.Star()), sql.identifier("times")))
            .from_(relation.node)
            .where(*chosen)
            .group_by(*columns)
            .having(exp.GT(this=sql.call("count", exp.Star()), expression=sql.integer(1)))
            .limit(3)
        )
        if passes > 1:
            bucket = exp.Mod(this=sql.call("hash", *columns), expression=sql.integer(passes))
            query = query.where(exp.EQ(this=bucket, expression=sql.integer(part)))
        repeated = connection.execute(sql.render(query)).fetchall()
        if repeated:
            shown = "; ".join(f"{', '.join(map(str, found[:-1]))} ({found[-1]} times)" for found in repeated)
            raise KeyRefused(
                f"{', '.join(keys)} is not unique in {relation.label}: {shown}.",
                hint="Name more key columns (--key a,b), or deploy on a view with one row per key.",
                examples=repeated,
            )


def _is_declared_unique(connection: Connection, relation: Relation, keys: Sequence[str]) -> bool:
    if not relation.is_local_table:
        return False
    declared = connection.execute(
        "SELECT constraint_column_names FROM duckdb_constraints() WHERE database_name = current_database()"
        " AND schema_name = ? AND table_name = ? AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')",
        list(relation.parts),
    ).fetchall()
    return any({c.lower() for c in columns} <= {k.lower() for k in keys} for (columns,) in declared)


def schema_exists(connection: Connection, name: str) -> bool:
    """Whether the current database has the schema, in whatever case it was written."""
    found = connection.execute(
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = current_database() AND lower(schema_name) = lower(?)",
        [name],
    )
    return found.fetchone() is not None


def table_exists(connection: Connection, path: tuple[str, str]) -> bool:
    """Whether the current database has a table of this schema and name."""
    query = (
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    )
    found = connection.execute(parsed(connection, query), list(path))
    return found.fetchone() is not None
