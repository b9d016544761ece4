"""What a column of a query refers to, and the names by which DuckDB would find it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Ref(NamedTuple):
    """A column of a table or view: `parts` are database, schema and name."""

    parts: tuple[str, str, str]
    column: str


class Unknown(NamedTuple):
    """Something that could not be followed, and why."""

    why: str


class Rows(NamedTuple):
    """Which rows a table or view has, or how many: something depends on that, and not on what the rows say."""

    parts: tuple[str, str, str]
    how_many: bool = False


class Counted(NamedTuple):
    """Stands for what decides which rows a query counts, until that is known: a WHERE may name what is counted."""


class IfConstant(NamedTuple):
    """Where these columns turn out to be constants of a view that an outer join may leave out: what decides that it is."""

    of: frozenset[Ref]
    decides: frozenset[Ref | Unknown | Rows]


References = frozenset[Ref | Unknown | Rows | Counted | IfConstant]
NOTHING: References = frozenset()
COUNTED: References = frozenset({Counted()})


class Output(NamedTuple):
    """A column of a query: its name as DuckDB would give it (empty where an expression has none)."""

    name: str
    references: References
    how: str | None = None
    """The expression, where the value is not simply passed on."""


@dataclass(frozen=True)
class Columns:
    """The columns of a query or of something in FROM; `outputs` is None where not even their names are known."""

    outputs: tuple[Output, ...] | None
    why: str = ""
    rows: References = NOTHING
    """What decides whether there are rows: filters and the conditions of joins, and the tables themselves."""
    number: References = NOTHING
    """What decides, beyond that, how many there are: columns that group, and of rows that are taken once."""

    def renamed(self, names: Sequence[str]) -> Columns:
        """With the first columns renamed, as `AS t(a, b)` does, and repeated names numbered as DuckDB numbers them in
        anything that stands in FROM: a, a becomes a, a_1."""
        if self.outputs is None:
            return self
        if len(names) > len(self.outputs):
            return opaque("a list of column names that is longer than the columns")
        given: set[str] = set()
        new = []
        for place, output in enumerate(self.outputs):
            base = name = names[place] if place < len(names) else output.name
            number = 0
            while name and fold(name) in given:
                number += 1
                name = f"{base}_{number}"
            given.add(fold(name))
            new.append(output._replace(name=name))
        return replace(self, outputs=tuple(new))

    def named(self, name: str) -> References | None:
        """What the column refers to; None if there is none of this name."""
        if self.outputs is None:
            return None
        found = [output for output in self.outputs if fold(output.name) == fold(name)]
        if len(found) > 1:
            return unknown(f"{len(found)} columns are called {name}")
        return found[0].references if found else None

    @property
    def all(self) -> References:
        if self.outputs is None:
            return unknown(self.why)
        return union(output.references for output in self.outputs)


def opaque(why: str) -> Columns:
    return Columns(None, why, unknown(why))


def unknown(why: str) -> References:
    return frozenset({Unknown(why)})


def union(many: Iterable[References]) -> References:
    return NOTHING.union(*many)


def fold(name: str) -> str:
    """The name as DuckDB compares it: ASCII letters without case, every other letter as it is."""
    return name.encode().lower().decode()


@dataclass(frozen=True)
class Source:
    """One thing in FROM: found as `name`, or as `schema.name` where `path` says so."""

    name: str
    columns: Columns
    path: tuple[str, ...] = ()


@dataclass
class From:
    """All that a FROM clause makes visible, in order; `merged` are the columns that USING made one; `rows` and `number`
    as in `Columns`."""

    sources: list[Source] = field(default_factory=list)
    merged: dict[str, References] = field(default_factory=dict)
    rows: References = NOTHING
    number: References = NOTHING

    def add(self, source: Source) -> None:
        self.sources.append(source)
        self.rows |= source.columns.rows
        self.number |= source.columns.number

    def flagged(self, decides: References) -> None:
        """What an outer join may leave empty: of a column that is made of nothing, that decides whether it is."""

        plain = frozenset(one for one in decides if isinstance(one, Ref | Unknown | Rows))

        def shown(output: Output) -> Output:
            refs = frozenset(one for one in output.references if isinstance(one, Ref))
            known = all(isinstance(one, Ref | IfConstant) for one in output.references)
            more = plain if not output.references else {IfConstant(refs, plain)} if known else NOTHING
            return output._replace(references=output.references | more)

        self.sources = [
            source
            if source.columns.outputs is None
            else replace(source, columns=replace(source.columns, outputs=tuple(map(shown, source.columns.outputs))))
            for source in self.sources
        ]

    def source(self, name: str, schema: str | None = None) -> Source | None:
        for source in self.sources:
            if fold(source.name) == fold(name) and (schema is None or fold(schema) in map(fold, source.path[:-1])):
                return source
        return None

    def column(self, name: str) -> References | None:
        """What an unqualified column refers to; None if nothing visible has it."""
        if fold(name) in self.merged:
            return self.merged[fold(name)]
        found = [r for source in self.sources if (r := source.columns.named(name)) is not None]
        if len(found) > 1:
            return unknown(f"more than one source has a column {name}")
        if found:
            return found[0]
        closed = [source for source in self.sources if source.columns.outputs is None]
        return unknown(closed[0].columns.why) if closed else None

    def star(self) -> Columns:
        """`*`: every column once, those of USING where they come first."""
        outputs: list[Output] = []
        given: set[str] = set()
        for source in self.sources:
            if source.columns.outputs is None:
                return replace(source.columns, rows=self.rows, number=self.number)
            for output in source.columns.outputs:
                name = fold(output.name)
                if name not in self.merged:
                    outputs.append(output)
                elif name not in given:
                    given.add(name)
                    outputs.append(Output(output.name, self.merged[name]))
        return Columns(tuple(outputs), rows=self.rows, number=self.number)


def in_from(parts: Sequence[str], visible: From) -> References | None:
    """`column`, `table.column`, `schema.table.column`, `column.field`, or the row of a table."""
    if (found := of_a_table(parts, visible)) is not None:
        return found
    open_sources = [source for source in visible.sources if source.columns.outputs is not None]
    known = From(open_sources, visible.merged)
    found = known.column(parts[0])
    if found is not None:
        return found
    closed = visible.column(parts[0])
    row = visible.source(parts[0]) if len(parts) == 1 else None
    return closed if closed is not None else row.columns.all if row is not None else None


def of_a_table(parts: Sequence[str], visible: From) -> References | None:
    """`table.column`, with its schema and database or without."""
    if len(parts) > 2 and (source := visible.source(parts[1], schema=parts[0])) is not None:
        return _of_source(source, parts[2])
    if len(parts) > 3 and (source := visible.source(parts[2], schema=parts[1])) is not None:
        return _of_source(source, parts[3])
    if len(parts) > 1 and (source := visible.source(parts[0])) is not None:
        return _of_source(source, parts[1])
    return None


def _of_source(source: Source, column: str) -> References | None:
    if source.columns.outputs is None:
        return unknown(source.columns.why)
    return source.columns.named(column)
