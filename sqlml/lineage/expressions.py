"""What an expression in a query is made of: columns, and what DuckDB would find under their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from sqlml import sql
from sqlml.lineage.macros import chain
from sqlml.lineage.references import (
    COUNTED,
    NOTHING,
    Columns,
    From,
    Output,
    References,
    fold,
    in_from,
    of_a_table,
    opaque,
    union,
    unknown,
)

HOW_LENGTH = 200

Find = Callable[[tuple[str, ...]], tuple[tuple[str, ...], Columns]]
"""A table name's parts as written -> the path under which it was found, and its columns."""
UsedFields = Callable[[tuple[str, ...], int], frozenset[str] | str | None]
"""A function's name and an argument's place -> the fields it reads of a row given there; None: it may read all;
a text: why what the function reads is not known. An unknown (built-in) function answers None."""
IsMacro = Callable[[tuple[str, ...]], bool]
"""Whether there is a macro of this name, the schema first where one is written."""


@dataclass(frozen=True)
class Names:
    """What a name can mean at one place in a query."""

    find: Find
    used_fields: UsedFields
    is_macro: IsMacro
    is_aggregate: Callable[[str], bool]
    """Whether DuckDB has an aggregate function of this name."""
    ctes: Mapping[str, Columns] = field(default_factory=dict)
    outer: tuple[From, ...] = ()
    """The FROM clauses around this query, the nearest first."""


Bind = Callable[[exp.Expr, Names], Columns]
"""The columns of a query that stands in an expression."""

RANKING = (exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile)
"""Aggregates to sqlglot, though they only stand before OVER."""


def part_of(node: exp.Expr, name: str) -> exp.Expr | None:
    """An argument that newer versions of sqlglot spell with an underscore, because it is a word of Python."""
    found = node.args.get(f"{name}_") or node.args.get(name)
    return found if isinstance(found, exp.Expression) else None


def shown(node: object) -> str:
    if not isinstance(node, exp.Expression):
        return "what stands there"
    text = node.sql(dialect=sql.DIALECT, comments=False)
    return text if len(text) <= HOW_LENGTH else f"{text[: HOW_LENGTH - 3]}..."


@dataclass
class Scope:
    """One SELECT while its expressions are bound."""

    visible: From
    names: Names
    bind: Bind
    aliases: dict[str, References] = field(default_factory=dict)

    def star(self, projection: exp.Expr) -> Columns:
        """`*` or `t.*`, with EXCLUDE, REPLACE and RENAME."""
        star = projection if isinstance(projection, exp.Star) else projection.this
        if isinstance(projection, exp.Column) and projection.table:
            source = self.visible.source(projection.table, projection.db or None)
            columns = source.columns if source else opaque(f"{shown(projection)} takes a struct apart")
        else:
            columns = self.visible.star()
        if columns.outputs is None:
            return columns
        left_out = {fold(node.name) for node in _items(star, "except")}
        replaced = {fold(node.alias): node for node in _items(star, "replace")}
        renamed = {fold(node.this.name): node.alias for node in _items(star, "rename")}
        outputs: list[Output] = []
        for output in columns.outputs:
            name = fold(output.name)
            if name in left_out:
                continue
            if name in replaced:
                output = self.output(replaced[name])._replace(name=output.name)
            outputs.append(output._replace(name=renamed.get(name, output.name)))
        return Columns(tuple(outputs))

    def output(self, projection: exp.Expr) -> Output:
        value = (projection.this if isinstance(projection, exp.Alias) else projection).unnest()
        plain = isinstance(value, exp.Column)
        return Output(projection.alias_or_name, self.references(value), None if plain else shown(value))

    def references(self, node: exp.Expr, shadowed: frozenset[str] = frozenset()) -> References:
        """All that the value of an expression is made of; `shadowed` are the parameters of lambdas around it."""
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier | exp.Star):
            return self._column([part.name for part in node.parts], shadowed)
        if isinstance(node, exp.Exists):  # what the rows say, or `*`, is nothing to it
            return self._bound(node.this).rows if isinstance(node.this, exp.Query) else unknown(shown(node))
        if isinstance(node, exp.In | exp.Any | exp.All):
            asked = node.args.get("query") or node.this
            rows = self._bound(asked).rows if isinstance(asked, exp.Query) else NOTHING
            return union([rows, *(self.references(child, shadowed) for child in node.iter_expressions())])
        if (field := self._field(node, shadowed)) is not None:
            return field
        if isinstance(node, exp.Query):
            return self._subquery(node)
        if isinstance(node, exp.Lambda):
            inside = shadowed | {fold(parameter.name) for parameter in node.expressions}
            return self.references(node.this, inside)
        if isinstance(node, exp.PropertyEQ | exp.Kwarg):  # f(name := value): the name is no column
            return self.references(node.expression, shadowed)
        if isinstance(node, exp.PositionalColumn | exp.Parameter | exp.Placeholder | exp.Comprehension | exp.Columns):
            return unknown(f"{shown(node)} is not followed")
        if isinstance(node, exp.Func | exp.Dot | exp.Column):
            return self._call(node, shadowed) or (COUNTED if self.aggregates(node) else NOTHING)
        found = union(self.references(child, shadowed) for child in node.iter_expressions())
        return found or (COUNTED if isinstance(node, exp.Window) else NOTHING)

    def aggregates(self, node: exp.Expr) -> bool:
        """Whether it is the call of an aggregate: one that is given no column counts rows, as `count(*)` does."""
        function = chain(node)[1]
        if isinstance(function, exp.Anonymous):
            return self.names.is_aggregate(function.name)
        return isinstance(function, exp.AggFunc) and not isinstance(function, RANKING)

    def _call(self, node: exp.Expr, shadowed: frozenset[str]) -> References:
        """A function, which may be a macro: of a row given to it, only the fields that it reads. What stands before its
        name with a dot is its schema, or its first argument (`fee.abs()`), as DuckDB has it: a macro of that schema goes
        before a column."""
        before, function = chain(node)
        if before and isinstance(function, exp.Identifier) and not isinstance(node, exp.Column):
            return self._column([*before, function.name], shadowed)  # c.fee, where a lambda has a parameter c
        called = function if isinstance(function, exp.Anonymous) else function.find(exp.Anonymous)
        if called is None or not (before or function is called):
            return union([*self._not_followed(node), *(self.references(c, shadowed) for c in node.iter_expressions())])
        name, found, places = (*before, called.name), [], 0
        if before and not self.names.is_macro(name):
            first = self._named(before, shadowed)
            if first is not None:
                name, found, places = (called.name,), [first], 1
        if function is not called:  # FILTER, OVER
            rest = union(self.references(child, shadowed) for child in function.iter_expressions())
            return union([*found, rest - COUNTED if found else rest])
        if not called.expressions and isinstance(why := self.names.used_fields(name, 0), str):
            return union([*found, unknown(why)])
        for place, argument in enumerate(called.expressions, places):
            fields = self.names.used_fields(name, place)
            if isinstance(fields, str):
                found.append(unknown(fields))
            row = self._row(argument, shadowed) if isinstance(fields, frozenset) else None
            if row is not None and isinstance(fields, frozenset):
                columns = [row.named(field) for field in sorted(fields)]
                found.append(union(c if c is not None else unknown(row.why or "a field not found") for c in columns))
            else:
                found.append(self.references(argument, shadowed))
        return union(found)

    def _not_followed(self, node: exp.Expr) -> list[References]:
        """A macro that has the name of a function sqlglot knows, and reads tables."""
        names = node.sql_names() if isinstance(node, exp.Func) else []
        fields = [self.names.used_fields((name,), 0) for name in names]
        return [unknown(why) for why in fields if isinstance(why, str)]

    def _field(self, node: exp.Expr, shadowed: frozenset[str]) -> References | None:
        """What `struct_extract(row, 'field')`, `row['field']` or `(row).field` says of a table's row."""
        row = node.this.unnest() if isinstance(node, exp.StructExtract | exp.Bracket | exp.Dot) else None
        name = (
            node.expressions[0] if isinstance(node, exp.Bracket) and node.expressions else node.args.get("expression")
        )
        if not isinstance(row, exp.Column) or not (
            isinstance(name, exp.Identifier) or (isinstance(name, exp.Literal) and name.is_string)
        ):
            return None
        columns = self._row(row, shadowed)
        found = columns.named(name.name) if columns is not None else None
        return found

    def _row(self, argument: exp.Expr, shadowed: frozenset[str]) -> Columns | None:
        """The columns of the table whose row is passed, if that is what the argument says."""
        if isinstance(argument, exp.Column) and fold(argument.name) in shadowed:
            return None
        if isinstance(argument, exp.Column) and not argument.table and self.visible.column(argument.name) is None:
            source = self.visible.source(argument.name)
            return source.columns if source else None
        return None

    def _bound(self, query: exp.Expr) -> Columns:
        return self.bind(query, replace(self.names, outer=(self.visible, *self.names.outer)))

    def _subquery(self, query: exp.Query) -> References:
        """Its columns; of one that says nothing but that there is a row, what decides that."""
        columns = self._bound(query)
        return columns.all or columns.rows

    def _column(self, parts: list[str], shadowed: frozenset[str]) -> References:
        found = self._named(parts, shadowed)
        return unknown(f"{'.'.join(parts)} could not be resolved") if found is None else found

    def _named(self, parts: Sequence[str], shadowed: frozenset[str]) -> References | None:
        if fold(parts[0]) in shadowed:  # a table's column goes before a field of the parameter, as DuckDB has it
            return of_a_table(parts, self.visible) or NOTHING
        for visible, aliases in ((self.visible, self.aliases), *((outer, {}) for outer in self.names.outer)):
            found = in_from(parts, visible)
            if found is None:
                found = aliases.get(fold(parts[0]))
            if found is not None:
                return found
        return None


def _items(star: exp.Expr, name: str) -> list[exp.Expr]:
    return list(star.args.get(f"{name}_") or star.args.get(name) or ())
