"""The tables and views that a query's names mean, read from DuckDB's own catalog when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from sqlml import sql
from sqlml.lineage.references import Columns, Output, Ref, Rows, fold, opaque

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

Path = tuple[str, str, str]


@dataclass
class Objects:
    """What is in the databases of a connection; `home` is the one whose name is left out of labels."""

    connection: Connection
    columns_of: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def home(self) -> str:
        row = self.connection.execute("SELECT current_database()").fetchone()
        return str(row[0]) if row else ""

    @cached_property
    def relations(self) -> dict[Path, tuple[Path, str | None]]:
        """Folded path -> the path as it is spelled, and the SQL where it is a view. Temporary ones are left out: they
        are gone with the connection, and lineage is about what stays in the file."""
        rows = self.connection.execute(
            "SELECT database_name, schema_name, table_name, NULL FROM duckdb_tables() WHERE NOT internal AND NOT temporary"
            " UNION ALL SELECT database_name, schema_name, view_name, coalesce(sql, '')"
            " FROM duckdb_views() WHERE NOT internal AND NOT temporary"
        ).fetchall()
        return {folded(row[:3]): (row[:3], row[3]) for row in rows}

    def find(self, parts: tuple[str, ...], *, database: str, schema: str) -> tuple[tuple[str, ...], Columns]:
        """The columns of the table or view that `parts` means inside a view of that database and schema."""
        for path in candidates(parts, database, schema):
            found = self.relations.get(folded(path))
            if found is not None:
                spelled = found[0]
                outputs = tuple(Output(name, frozenset({Ref(spelled, name)})) for name in self.columns(spelled))
                return spelled, Columns(
                    outputs, rows=frozenset({Rows(spelled)}), number=frozenset({Rows(spelled, True)})
                )
        name = ".".join(parts)
        return parts, opaque(f"{name} is no table or view of the databases at hand (a file, or not attached)")

    def columns(self, path: Path) -> tuple[str, ...]:
        if path not in self.columns_of:
            rows = self.connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND schema_name = ? AND table_name = ?"
                " ORDER BY column_index",
                list(path),
            ).fetchall()
            self.columns_of[path] = tuple(row[0] for row in rows)
        return self.columns_of[path]

    def generated(self, path: Path) -> dict[str, str]:
        """The generated columns of a table, each with its expression."""
        rows = self.connection.execute(
            "SELECT column_name, generation_expression FROM information_schema.columns WHERE is_generated = 'ALWAYS'"
            " AND table_catalog = ? AND table_schema = ? AND table_name = ?",
            list(path),
        ).fetchall()
        return dict(rows)


def folded(path: tuple[str, ...]) -> Path:
    database, schema, name = map(fold, path)
    return database, schema, name


def candidates(parts: tuple[str, ...], database: str, schema: str) -> list[Path]:
    """Where DuckDB looks for a table or macro in a view (measured on 2.0.0): in the view's own schema, then in main."""
    if len(parts) == 1:
        return [(database, schema, parts[0]), (database, "main", parts[0])]
    if len(parts) == 2:
        return [(database, parts[0], parts[1]), (parts[0], "main", parts[1])]
    return [(parts[-3], parts[-2], parts[-1])]


def parse(text: str) -> exp.Expr:
    """One query or expression of DuckDB's, as DuckDB prints it.

    Raises:
        SqlglotError: sqlglot does not know the syntax.
    """
    return sqlglot.parse_one(_bare_lambdas(text), dialect=sql.DIALECT)


def view_query(statement: str) -> tuple[str, bool]:
    """The query inside CREATE VIEW, and whether the statement names the columns."""
    tokens = sqlglot.tokenize(statement, dialect=sql.DIALECT)
    depth = 0
    named = False
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        named = named or token.token_type == TokenType.L_PAREN
        if token.token_type == TokenType.ALIAS and depth == 0:
            return statement[token.end + 1 :].rstrip().rstrip(";"), named
    raise SqlglotError("no AS in CREATE VIEW")


def _bare_lambdas(text: str) -> str:
    """Without the parentheses that DuckDB prints around `lambda x: ...`: sqlglot does not parse them."""
    if "lambda" not in text.lower():
        return text
    tokens = sqlglot.tokenize(text, dialect=sql.DIALECT)
    removed: set[int] = set()
    opened: list[tuple[int, bool]] = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type == TokenType.L_PAREN:
            is_lambda = following is not None and following.text.lower() == "lambda"
            opened.append((token.start, is_lambda))
        elif token.token_type == TokenType.R_PAREN and opened:
            start, is_lambda = opened.pop()
            if is_lambda:
                removed |= {start, token.start}
    return "".join(" " if place in removed else letter for place, letter in enumerate(text))
