"""Column-level lineage of a source: from the columns it has, through views over views, down to the tables' columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot.errors import SqlglotError

from sqlml.lineage.binder import bind_query
from sqlml.lineage.expressions import Names, Scope
from sqlml.lineage.macros import Macros
from sqlml.lineage.objects import Objects, Path, folded, parse, view_query
from sqlml.lineage.references import (
    Columns,
    From,
    IfConstant,
    Output,
    Ref,
    References,
    Rows,
    Source,
    Unknown,
    fold,
    opaque,
    unknown,
)
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
    tracing = _Tracing(Macros(Objects(connection)))
    start = path_of(relation, tracing.home)
    tracing.follow([Ref(start, column) for column in (relation.types if columns is None else columns)])
    return tuple(tracing.edges) + tracing.of_rows()


class _Tracing:
    """Edges in the making, from the columns asked for down to the tables."""

    def __init__(self, macros: Macros) -> None:
        self.macros = macros
        self.home = macros.objects.home
        self.edges: dict[Edge, None] = {}
        self._derived: dict[Path, Columns] = {}
        self._made_of: dict[Ref, list[Ref]] = {}
        self._rows: dict[Ref, set[Path]] = {}
        """Tables and views whose rows a column depends on."""

    def follow(self, waiting: list[Ref]) -> None:
        while waiting:
            column = waiting.pop(0)
            if column in self._made_of:
                continue
            self._made_of[column] = []
            spelled, statement = self.macros.objects.relations.get(folded(column.parts), (column.parts, None))
            outputs = self._columns(spelled, statement).outputs or ()
            output = next((output for output in outputs if fold(output.name) == fold(column.column)), None)
            if output is not None:
                self._step(column, spelled, output)
                waiting += self._made_of[column]

    def _columns(self, path: Path, statement: str | None) -> Columns:
        """A view's columns, or a table's generated ones."""
        if path not in self._derived:
            made = view_columns if statement is not None else generated_columns
            self._derived[path] = made(self.macros, path, statement or "")
        return self._derived[path]

    def _step(self, column: Ref, spelled: Path, output: Output) -> None:
        to = label(spelled, output.name, home=self.home)
        references, self._rows[column] = self._with_rows(output.references)
        if not references and not self._rows[column]:
            self.edges[Edge("constant", output.how or "", "column", to, output.how)] = None
        for reference in sorted(references, key=str):
            if isinstance(reference, Ref):
                name = label(reference.parts, reference.column, home=self.home)
                self.edges[Edge("column", name, "column", to, output.how)] = None
                self._made_of[column].append(reference)
            else:
                self.edges[Edge("unknown", "unknown", "column", to, reference.why)] = None

    def _with_rows(self, references: References) -> tuple[set[Ref | Unknown], set[Path]]:
        """What a view's rows depend on instead of these rows, and the tables and views of which that is said."""
        found: set[Ref | Unknown] = set()
        seen: set[Rows] = set()
        waiting = list(references)
        while waiting:
            reference = waiting.pop()
            if isinstance(reference, Rows) and reference not in seen:
                seen.add(reference)
                spelled, statement = self.macros.objects.relations[folded(reference.parts)]
                if statement is not None:
                    columns = self._columns(spelled, statement)
                    waiting += columns.number if reference.how_many else columns.rows
            elif isinstance(reference, IfConstant):
                waiting += reference.decides if all(map(self._is_constant, reference.of)) else ()
            elif isinstance(reference, Ref | Unknown):
                found.add(reference)
        return found, {rows.parts for rows in seen}

    def _is_constant(self, column: Ref) -> bool:
        """Whether a view makes it of nothing, or of such columns."""
        spelled, statement = self.macros.objects.relations.get(folded(column.parts), (column.parts, None))
        outputs = self._columns(spelled, statement).outputs or ()
        output = next((output for output in outputs if fold(output.name) == fold(column.column)), None)
        return output is not None and all(
            isinstance(one, IfConstant) or (isinstance(one, Ref) and self._is_constant(one))
            for one in output.references
        )

    def of_rows(self) -> tuple[Edge, ...]:
        """Unknown steps of the columns that depend on the rows of something of which no column leads to them."""
        found = []
        for column, counted in self._rows.items():
            reached = {reference.parts for reference in self._reached(column)} if counted else set()
            to = label(column.parts, column.column, home=self.home)
            for path in sorted(counted - reached):
                how = f"it depends on which rows {label(path, home=self.home)} has"
                found.append(Edge("unknown", "unknown", "column", to, how))
        return tuple(found)

    def _reached(self, column: Ref) -> set[Ref]:
        reached: set[Ref] = set()
        waiting = list(self._made_of[column])
        while waiting:
            here = waiting.pop()
            if here not in reached:
                reached.add(here)
                waiting += self._made_of[here]
        return reached


def path_of(relation: Relation, home: str) -> Path:
    parts = (home, *relation.parts) if len(relation.parts) == 2 else relation.parts
    return parts[0], parts[1], parts[2]


def view_columns(macros: Macros, path: Path, statement: str) -> Columns:
    """The view's columns, under the names that DuckDB gives them, with what each refers to."""
    names = macros.objects.columns(path)
    columns = _bound(macros, path, statement, names)
    outputs = columns.outputs or [Output(name, columns.all) for name in names]
    made = tuple(output._replace(name=name) for name, output in zip(names, outputs, strict=True))
    return replace(columns, outputs=made)


def generated_columns(macros: Macros, path: Path, _: str) -> Columns:
    """Of a table, the columns that DuckDB computes from others whenever they are read."""
    generated = macros.objects.generated(path)
    if not generated:
        return Columns(())
    table = macros.objects.find(path, database=path[0], schema=path[1])[1]
    scope = Scope(From([Source(path[2], table)]), _names(macros, path), bind_query)
    outputs = []
    for column, expression in generated.items():
        try:
            references = scope.references(parse(expression))
        except (SqlglotError, RecursionError) as error:
            references = unknown(f"the expression of {column} could not be parsed ({type(error).__name__})")
        outputs.append(Output(column, references, expression))
    return Columns(tuple(outputs))


def _names(macros: Macros, path: Path) -> Names:
    return Names(
        find=lambda parts: macros.objects.find(parts, database=path[0], schema=path[1]),
        used_fields=lambda function, argument: macros.used_fields(function, argument, path[:2]),
        is_macro=lambda function: macros.named(function, path[:2]) is not None,
        is_aggregate=lambda name: fold(name) in macros.aggregates,
    )


def _bound(macros: Macros, path: Path, statement: str, names: tuple[str, ...]) -> Columns:
    if len(statement) > LONGEST_VIEW:
        return opaque(f"the view {path[2]} is longer than {LONGEST_VIEW} characters")
    try:
        text, named = view_query(statement)
        query = parse(text)
        found = bind_query(query, _names(macros, path))
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
