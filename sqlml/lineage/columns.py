"""Column-level lineage of a source: from the columns it has, through views over views, down to the tables' columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot.errors import SqlglotError

from sqlml.lineage.binder import Names, bind_query
from sqlml.lineage.macros import Macros
from sqlml.lineage.objects import Objects, Path, folded, parse, view_query
from sqlml.lineage.references import Columns, Output, Ref, fold, opaque
from sqlml.relation import Relation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

LONGEST_VIEW = 300_000


@dataclass(frozen=True)
class Edge:
    """What `to` is made of; `how` is the expression in between, or why it is not known (`from_kind` "unknown")."""

    from_kind: str  # column, file, constant, unknown, and the kinds of record.py
    from_name: str
    to_kind: str
    to_name: str
    how: str | None = None


def label(path: Iterable[str], column: str | None = None, *, home: str = "") -> str:
    """A column's name for people and for the catalog, as `relation.split_name` reads it.

    The home database and its schema main are left out; a part with a dot or a quote in it is quoted.

    >>> label(("shop", "main", "customers"), "tenure", home="shop")
    'customers.tenure'
    >>> label(("other", "main", "customers"), "a.b", home="shop")
    'other.main.customers."a.b"'
    """
    parts = list(path)
    if len(parts) == 3 and parts[0] == home:
        parts = parts[1:]
    if len(parts) == 2 and parts[0] == "main":
        parts = parts[1:]
    if column is not None:
        parts.append(column)
    return ".".join(
        '"' + part.replace('"', '""') + '"' if re.search(r'[."]', part) or not part else part for part in parts
    )


def trace(connection: Connection, relation: Relation, columns: Iterable[str] | None = None) -> tuple[Edge, ...]:
    """Every step from the tables' columns to `columns` of the relation (all of them by default).

    A table's own columns have no step. Never raises for what it cannot follow: the edge says unknown, and why.
    """
    if relation.kind == "file":
        return ()
    objects = Objects(connection)
    macros = Macros(objects)
    start = path_of(relation, objects.home)
    waiting = [Ref(start, column) for column in (relation.types if columns is None else columns)]
    views: dict[Path, tuple[Output, ...]] = {}
    edges: dict[Edge, None] = {}
    seen: set[Ref] = set()
    while waiting:
        column = waiting.pop(0)
        if column in seen:
            continue
        seen.add(column)
        spelled, statement = objects.relations.get(folded(column.parts), (column.parts, None))
        if statement is None:
            continue
        if spelled not in views:
            views[spelled] = view_columns(macros, spelled, statement)
        output = next(output for output in views[spelled] if fold(output.name) == fold(column.column))
        to = label(spelled, output.name, home=objects.home)
        if not output.references:
            edges[Edge("constant", output.how or "", "column", to, output.how)] = None
        for reference in sorted(output.references, key=str):
            if isinstance(reference, Ref):
                name = label(reference.parts, reference.column, home=objects.home)
                edges[Edge("column", name, "column", to, output.how)] = None
                waiting.append(reference)
            else:
                edges[Edge("unknown", "unknown", "column", to, reference.why)] = None
    return tuple(edges)


def path_of(relation: Relation, home: str) -> Path:
    parts = (home, *relation.parts) if len(relation.parts) == 2 else relation.parts
    return parts[0], parts[1], parts[2]


def view_columns(macros: Macros, path: Path, statement: str) -> tuple[Output, ...]:
    """The view's columns, under the names that DuckDB gives them, with what each refers to."""
    names = macros.objects.columns(path)
    columns = _bound(macros, path, statement, names)
    if columns.outputs is None:
        return tuple(Output(name, columns.all) for name in names)
    return tuple(output._replace(name=name) for name, output in zip(names, columns.outputs, strict=True))


def _bound(macros: Macros, path: Path, statement: str, names: tuple[str, ...]) -> Columns:
    if len(statement) > LONGEST_VIEW:
        return opaque(f"the view {path[2]} is longer than {LONGEST_VIEW} characters")
    try:
        text, named = view_query(statement)
        query = parse(text)
        found = bind_query(
            query,
            Names(
                find=lambda parts: macros.objects.find(parts, database=path[0], schema=path[1]),
                used_fields=lambda function, argument: macros.used_fields(function, argument, path[:2]),
                is_macro=lambda function: macros.named(function, path[:2]) is not None,
            ),
        )
    except (SqlglotError, RecursionError) as error:
        return opaque(f"the SQL of the view {path[2]} could not be parsed ({type(error).__name__})")
    except Exception as error:  # whatever sqlglot's trees hold that we did not expect: lineage never stops a deploy
        return opaque(f"the SQL of the view {path[2]} could not be followed ({type(error).__name__}: {error})")
    if found.outputs is None:
        return found
    # DuckDB itself says which columns the view has: where we count or name them otherwise, we have understood it wrongly.
    fits = len(found.outputs) == len(names) and (named or all(map(_same_name, found.outputs, names)))
    return found if fits else opaque(f"the columns of the view {path[2]} came out otherwise than DuckDB has them")


def _same_name(output: Output, name: str) -> bool:
    """Equal, or with the number that DuckDB appends to a repeated name; an expression without a name has DuckDB's."""
    base = re.sub(r"_\d+$", "", name)
    return output.name == "" or fold(output.name) in {fold(name), fold(base)}
