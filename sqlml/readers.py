"""Views and functions of others: whether they read what belongs to a deployment, and which deployments a source reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from sqlml import sql
from sqlml.catalog import records, states
from sqlml.catalog.records import Deployment
from sqlml.lineage.macros import LONGEST_MACRO
from sqlml.lineage.objects import parse, view_query
from sqlml.relation import split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

Path = tuple[str, str]
"""Schema and name, in small letters."""


@dataclass(frozen=True)
class Text:
    """A view or a function (a macro of either kind) of this database, and its SQL."""

    kind: str  # "view" or "function"
    schema: str
    name: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.kind} {self.schema}.{self.name}"

    @property
    def path(self) -> Path:
        return self.schema.lower(), self.name.lower()

    @cached_property
    def references(self) -> frozenset[tuple[Path, bool]]:
        """All that it may name, and whether as a call. A bare name is looked for in the schema of the view that says it,
        and then in main (measured on DuckDB 2.0.0)."""
        found = set(_named(self.text, every_word=False))
        tables = self._tables()
        if tables is None:  # any word may be a table
            found |= set(_named(self.text, every_word=True))
        else:
            found |= {("", name, False) for name in tables}
        return frozenset(
            ((place, name), is_call)
            for schema, name, is_call in found
            for place in ({schema} if schema else {self.schema.lower(), "main"})
        )

    def _tables(self) -> set[str] | None:
        """What stands in FROM by its bare name and is no CTE; None of a text that is not parsed."""
        if len(self.text) > LONGEST_MACRO:
            return None
        try:
            tree = parse(view_query(self.text)[0] if self.kind == "view" else self.text)
        except (SqlglotError, RecursionError):  # syntax that sqlglot does not know
            return None
        ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        return {table.name.lower() for table in tree.find_all(exp.Table) if not table.db} - ctes

    def reads(self, schema: str, relations: Collection[str], functions: Collection[str]) -> bool:
        """Whether it names one of these tables, views or functions of a schema."""
        is_near = schema.lower() in (self.schema.lower(), "main")
        if not is_near and _unquoted(schema) not in _unquoted(self.text):  # taking megabytes apart would take longer
            return False
        wanted = {((schema.lower(), name.lower()), False) for name in relations}
        wanted |= {((schema.lower(), name.lower()), True) for name in functions}
        return not wanted.isdisjoint(self.references)


def texts(connection: Connection) -> list[Text]:
    """Every view and macro but those in sqlml's own schema."""
    rows = connection.execute(
        "SELECT 'view', schema_name, view_name, sql FROM duckdb_views()"
        " WHERE database_name = current_database() AND NOT internal AND schema_name <> 'sqlml'"
        " UNION ALL SELECT 'function', schema_name, function_name, macro_definition FROM duckdb_functions()"
        " WHERE database_name = current_database() AND NOT internal AND macro_definition IS NOT NULL"
        " AND schema_name <> 'sqlml'"
    ).fetchall()
    return [Text(*row) for row in rows]


def made(connection: Connection, deployment: str | None = None) -> set[tuple[str, Path]]:
    """Kind and path of what sqlml made, for one deployment or for all: whoever reads that knows it from its records."""
    rows = connection.execute(
        "SELECT CASE WHEN kind = 'view' THEN 'view' ELSE 'function' END, lower(schema_name), lower(name) FROM sqlml.objects"
        " WHERE kind IN ('view', 'macro', 'table macro') AND (deployment = ? OR ? IS NULL)",
        [deployment, deployment],
    ).fetchall()
    return {(kind, (schema, name)) for kind, schema, name in rows}


def in_order(connection: Connection, deployments: Sequence[Deployment]) -> list[Deployment]:
    """Each deployment after those whose predictions its versions read, through whatever views and functions.

    Deployments that read each other are taken in the order in which they come: none of them can be the first.
    """
    read = _read(connection, deployments)
    by_name = {d.name: d for d in deployments}
    ordered: dict[str, Deployment] = {}
    visiting: set[str] = set()

    def visit(deployment: Deployment) -> None:
        if deployment.name in ordered or deployment.name in visiting:
            return
        visiting.add(deployment.name)
        for name in sorted(read[deployment.name] & by_name.keys()):
            visit(by_name[name])
        ordered[deployment.name] = deployment

    for deployment in deployments:
        visit(deployment)
    return list(ordered.values())


def _read(connection: Connection, deployments: Sequence[Deployment]) -> dict[str, set[str]]:
    """Whose predictions each deployment reads: its active version and its shadows, which are scored together."""
    # Its functions are none of them: they say what the model makes of a row, however old its predictions are.
    stored: dict[Path, str] = {
        (schema, name): deployment
        for deployment, schema, name in connection.execute(
            "SELECT DISTINCT deployment, lower(schema_name), lower(name) FROM sqlml.objects"
            " WHERE kind IN ('table', 'view') AND role IN ('version', 'active')"
        ).fetchall()
    }
    ours = made(connection)
    others: dict[Path, list[Text]] = {}
    for text in texts(connection):
        if (text.kind, text.path) not in ours:
            others.setdefault(text.path, []).append(text)
    found: dict[str, set[str]] = {}
    for deployment in deployments:
        waiting = [
            path
            for version in records.versions(connection, deployment.name)
            if version.state in (states.ACTIVE, states.SHADOW) and (path := _path(version.source)) is not None
        ]
        seen: set[Path] = set()
        read = found[deployment.name] = set()
        while waiting:
            path = waiting.pop()
            if path in stored:
                read.add(stored[path])
            elif path not in seen:
                seen.add(path)
                waiting += [named for text in others.get(path, ()) for named, _ in text.references]
    return found


def _path(source: str | None) -> Path | None:
    """A table or view of this database; None for another's and for a file."""
    parts = [part.lower() for part in split_name(source)] if source else []
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _named(text: str, *, every_word: bool) -> Iterator[tuple[str, str, bool]]:
    """Schema (empty for a bare name), name, and whether it is called. Of bare names those that are called, and
    `every_word` of a text that is handed to a function: nobody knows what becomes of it."""
    try:
        tokens = sqlglot.tokenize(text, dialect=sql.DIALECT)
    except SqlglotError:  # a string that is no SQL
        return
    words = ["", *(token.text.lower() for token in tokens), "", ""]
    for place, token in enumerate(tokens, start=1):
        if token.token_type == TokenType.STRING:
            yield from _named(token.text, every_word=True)
            continue
        is_call = words[place + 1] == "("
        if words[place - 1] != "." and words[place + 1] != "." and (is_call or every_word):
            yield "", words[place], is_call
        elif words[place + 1] == ".":
            yield words[place], words[place + 2], words[place + 3 : place + 4] == ["("]


def _unquoted(text: str) -> str:
    """Without case and quotes: a name that has a quote in it is written with two."""
    return text.lower().replace('"', "").replace("'", "")
