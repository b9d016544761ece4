"""The columns of a query, each with the table columns that its value is made of.

It binds names as DuckDB does: columns before the row of a table, that before an earlier alias, that before an outer
query. What it does not know it answers with `Unknown` and why; it never guesses. Only values count: a column that
filters, joins or groups decides which rows there are, not what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from sqlml import sql
from sqlml.lineage.macros import chain
from sqlml.lineage.references import (
    NOTHING,
    Columns,
    From,
    Output,
    References,
    Source,
    fold,
    in_from,
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
    ctes: Mapping[str, Columns] = field(default_factory=dict)
    outer: tuple[From, ...] = ()
    """The FROM clauses around this query, the nearest first."""


def bind_query(query: exp.Expr, names: Names) -> Columns:
    names = _with_ctes(query, names)
    if isinstance(query, exp.Subquery):
        inner = query.this
        if isinstance(inner, exp.Query) and not isinstance(inner, exp.Table):
            return bind_query(inner, names)
        return _from_parts([query], names).star()
    if isinstance(query, exp.SetOperation):
        return _bind_set_operation(query, names)
    if isinstance(query, exp.Select):
        return _bind_select(query, names)
    if isinstance(query, exp.Values):
        return _bind_values(query, From(), names)
    return opaque(f"{type(query).__name__.upper()} is not followed")


def _clause(node: exp.Expr, name: str) -> exp.Expr | None:
    """An argument that newer versions of sqlglot spell with an underscore, because it is a word of Python."""
    found = node.args.get(f"{name}_") or node.args.get(name)
    return found if isinstance(found, exp.Expression) else None


def _with_ctes(query: exp.Expr, names: Names) -> Names:
    clause = _clause(query, "with")
    if clause is None:
        return names
    ctes = dict(names.ctes)
    for cte in clause.expressions:
        recursive = clause.args.get("recursive") and any(
            fold(table.name) == fold(cte.alias) and not table.db for table in cte.this.find_all(exp.Table)
        )
        if recursive:
            columns = opaque(f"{cte.alias} is a recursive query")
        else:
            columns = bind_query(cte.this, replace(names, ctes=ctes)).renamed(cte.alias_column_names)
        ctes[fold(cte.alias)] = columns
    return replace(names, ctes=ctes)


def _bind_set_operation(query: exp.SetOperation, names: Names) -> Columns:
    left, right = bind_query(query.left, names), bind_query(query.right, names)
    if isinstance(query, exp.Except | exp.Intersect):
        return left  # the right side only decides which rows stay
    if left.outputs is None or right.outputs is None:
        return left if left.outputs is None else right
    if query.args.get("by_name"):
        both = {fold(o.name): o.name for o in (*right.outputs, *left.outputs)}
        order = list(dict.fromkeys(fold(o.name) for o in (*left.outputs, *right.outputs)))
        sides = [{fold(o.name): o.how for o in c.outputs if o.how} for c in (left, right) if c.outputs is not None]
        hows = {**sides[1], **sides[0]}
        return Columns(
            tuple(
                Output(both[name], union(c.named(name) or NOTHING for c in (left, right)), hows.get(name))
                for name in order
            )
        )
    if len(left.outputs) != len(right.outputs):
        return opaque(f"the sides of {query.key.upper()} seem to differ in their number of columns")
    pairs = zip(left.outputs, right.outputs, strict=True)
    return Columns(tuple(Output(a.name, a.references | b.references, a.how or b.how) for a, b in pairs))


def _bind_values(query: exp.Values, visible: From, names: Names) -> Columns:
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in query.expressions]
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        return opaque("VALUES of different lengths")
    scope = _Scope(visible, names)
    columns = [union(scope.references(row[i]) for row in rows) for i in range(width)]
    return Columns(tuple(Output(f"col{i}", references) for i, references in enumerate(columns)))


def _bind_select(query: exp.Select, names: Names) -> Columns:
    source = _clause(query, "from")
    parts = [source.this] if source is not None else []
    parts += [*(query.args.get("joins") or ()), *(query.args.get("laterals") or ())]
    visible = _from_parts(parts, names)
    scope = _Scope(visible, names)
    outputs: list[Output] = []
    for projection in query.expressions:
        if isinstance(projection, exp.Star) or (
            isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star)
        ):
            columns = scope.star(projection)
            if columns.outputs is None:
                return columns
            outputs += columns.outputs
            continue
        if any(isinstance(node, exp.Star | exp.Columns) for node in _below(projection)):
            return opaque(f"{_shown(projection)} stands for columns that are not named")
        output = scope.output(projection)
        outputs.append(output)
        scope.aliases.setdefault(fold(output.name), output.references)
    return Columns(tuple(outputs))


def _below(projection: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of an expression, without `count(*)` and without the inside of subqueries."""
    for node in projection.walk(prune=lambda n: isinstance(n, exp.Query | exp.Count)):
        if not isinstance(node, exp.Count):
            yield node


def _from_parts(parts: list[exp.Expr], names: Names) -> From:
    visible = From()
    for part in parts:
        _add(part, visible, names)
    return visible


def _add(part: exp.Expr, visible: From, names: Names) -> None:
    """Add a table, subquery or join to what is visible; later parts may refer to earlier ones (LATERAL)."""
    if isinstance(part, exp.Join):
        _join(part, visible, names)
        return
    inner = part.this if isinstance(part, exp.Subquery) else None
    if isinstance(inner, exp.Table | exp.Subquery) and not part.alias and _clause(part, "with") is None:
        nested = _from_parts([inner], names)  # parentheses around a join
        visible.sources += nested.sources
        visible.merged.update(nested.merged)
    else:
        visible.sources.append(_source(part, visible, names))
    for join in part.args.get("joins") or ():
        _join(join, visible, names)


def _join(join: exp.Join, visible: From, names: Names) -> None:
    if join.kind in {"SEMI", "ANTI"}:
        return  # shows nothing of its right side
    right = From()
    beside = replace(names, outer=(visible, *names.outer))
    _add(join.this, right, beside)
    using = [node.name for node in join.args.get("using") or ()]
    if join.method == "NATURAL":
        shared = _shared_names(visible, right)
        if shared is None:
            closed = next(s for s in (*visible.sources, *right.sources) if s.columns.outputs is None)
            visible.sources = [Source("", opaque(f"NATURAL JOIN with something unknown: {closed.columns.why}"))]
            return
        using = shared
    merged = {fold(name): _merged(name, join.side, visible, right) for name in using}
    visible.sources += right.sources
    visible.merged.update(right.merged)
    visible.merged.update(merged)


def _shared_names(left: From, right: From) -> list[str] | None:
    a, b = left.star().outputs, right.star().outputs
    if a is None or b is None:
        return None
    there = {fold(output.name) for output in b}
    return [output.name for output in a if fold(output.name) in there]


def _merged(name: str, side: str, left: From, right: From) -> References:
    """The one column that USING makes of two: the side that always has a row, or whichever has one."""
    a = left.column(name) or unknown(f"{name} could not be resolved")
    b = right.column(name) or unknown(f"{name} could not be resolved")
    return {"FULL": a | b, "RIGHT": b}.get(side, a)


def _source(node: exp.Expr, visible: From, names: Names) -> Source:
    renames = node.alias_column_names
    if node.args.get("pivots"):
        pivot = node.args["pivots"][0]
        what = "UNPIVOT" if pivot.args.get("unpivot") else "PIVOT"
        alias = pivot.alias or node.alias_or_name
        return Source(alias, opaque(f"{what} makes columns out of rows"))
    beside = replace(names, outer=(visible, *names.outer))
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        parts = tuple(part.name for part in node.parts)
        if len(parts) == 1 and fold(parts[0]) in names.ctes:
            return Source(node.alias or parts[0], names.ctes[fold(parts[0])].renamed(renames))
        path, columns = names.find(parts)
        return Source(node.alias or parts[-1], columns.renamed(renames), path)
    if isinstance(node, exp.Values):
        return Source(node.alias, _bind_values(node, visible, names).renamed(renames))
    if isinstance(node, exp.Unnest):
        scope = _Scope(visible, names)
        made = [Output("unnest", scope.references(item), _shown(item)) for item in node.expressions]
        return Source(node.alias or "unnest", Columns(tuple(made)).renamed(renames))
    if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
        return Source(node.alias, bind_query(node.this, beside).renamed(renames))
    if isinstance(node, exp.Subquery):
        return Source(node.alias, bind_query(node, beside).renamed(renames))
    return Source(node.alias_or_name, opaque(f"{_shown(node.this)} is a table function"))


def _shown(node: object) -> str:
    if not isinstance(node, exp.Expression):
        return "what stands there"
    text = node.sql(dialect=sql.DIALECT, comments=False)
    return text if len(text) <= HOW_LENGTH else f"{text[: HOW_LENGTH - 3]}..."


@dataclass
class _Scope:
    """One SELECT while its expressions are bound."""

    visible: From
    names: Names
    aliases: dict[str, References] = field(default_factory=dict)

    def star(self, projection: exp.Expr) -> Columns:
        """`*` or `t.*`, with EXCLUDE, REPLACE and RENAME."""
        star = projection if isinstance(projection, exp.Star) else projection.this
        if isinstance(projection, exp.Column) and projection.table:
            source = self.visible.source(projection.table, projection.db or None)
            columns = source.columns if source else opaque(f"{_shown(projection)} takes a struct apart")
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
        return Output(projection.alias_or_name, self.references(value), None if plain else _shown(value))

    def references(self, node: exp.Expr, shadowed: frozenset[str] = frozenset()) -> References:
        """All that the value of an expression is made of; `shadowed` are the parameters of lambdas around it."""
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier | exp.Star):
            return self._column([part.name for part in node.parts], shadowed)
        if isinstance(node, exp.Exists):
            inner = node.this if isinstance(node.this, exp.Query) else None
            return self._exists(inner) if inner is not None else unknown(_shown(node))
        if isinstance(node, exp.Query):
            return self._subquery(node)
        if isinstance(node, exp.Lambda):
            inside = shadowed | {fold(parameter.name) for parameter in node.expressions}
            return self.references(node.this, inside)
        if isinstance(node, exp.PropertyEQ | exp.Kwarg):  # f(name := value): the name is no column
            return self.references(node.expression, shadowed)
        if isinstance(node, exp.PositionalColumn | exp.Parameter | exp.Placeholder | exp.Comprehension | exp.Columns):
            return unknown(f"{_shown(node)} is not followed")
        if isinstance(node, exp.Func | exp.Dot | exp.Column):
            return self._call(node, shadowed)
        return union(self.references(child, shadowed) for child in node.iter_expressions())

    def _call(self, node: exp.Expr, shadowed: frozenset[str]) -> References:
        """A function, which may be a macro: of a row given to it, only the fields that it reads. What stands before its
        name with a dot is its schema, or its first argument (`fee.abs()`), as DuckDB has it: a macro of that schema goes
        before a column."""
        before, function = chain(node)
        called = function if isinstance(function, exp.Anonymous) else function.find(exp.Anonymous)
        if called is None or not (before or function is called):
            return union([*self._not_followed(node), *(self.references(c, shadowed) for c in node.iter_expressions())])
        name, found, places = (*before, called.name), [], 0
        if before and not self.names.is_macro(name):
            first = self._named(before, shadowed)
            if first is not None:
                name, found, places = (called.name,), [first], 1
        if function is not called:  # FILTER, OVER
            return union([*found, *(self.references(child, shadowed) for child in function.iter_expressions())])
        if not called.expressions and isinstance(why := self.names.used_fields(name, 0), str):
            return union([*found, unknown(why)])
        for place, argument in enumerate(called.expressions, places):
            fields = self.names.used_fields(name, place)
            if isinstance(fields, str):
                found.append(unknown(fields))
            row = self._row(argument) if isinstance(fields, frozenset) else None
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

    def _row(self, argument: exp.Expr) -> Columns | None:
        """The columns of the table whose row is passed, if that is what the argument says."""
        if isinstance(argument, exp.Column) and not argument.table and self.visible.column(argument.name) is None:
            source = self.visible.source(argument.name)
            return source.columns if source else None
        return None

    def _subquery(self, query: exp.Query) -> References:
        return bind_query(query, replace(self.names, outer=(self.visible, *self.names.outer))).all

    def _exists(self, query: exp.Query) -> References:
        """What decides whether there is a row; what the rows say, or `*`, is nothing to it."""
        select = query.unnest() if isinstance(query, exp.Subquery) else query
        if not isinstance(select, exp.Select):
            return self._subquery(query)
        names = _with_ctes(select, replace(self.names, outer=(self.visible, *self.names.outer)))
        source = _clause(select, "from")
        parts = [*([source.this] if source is not None else []), *(select.args.get("joins") or ())]
        scope = _Scope(_from_parts(parts, names), names)
        clauses = [clause.this for name in ("where", "having", "qualify") if (clause := _clause(select, name))]
        return union(scope.references(clause) for clause in clauses)

    def _column(self, parts: list[str], shadowed: frozenset[str]) -> References:
        found = self._named(parts, shadowed)
        return unknown(f"{'.'.join(parts)} could not be resolved") if found is None else found

    def _named(self, parts: Sequence[str], shadowed: frozenset[str]) -> References | None:
        if fold(parts[0]) in shadowed:
            return NOTHING
        for visible, aliases in ((self.visible, self.aliases), *((outer, {}) for outer in self.names.outer)):
            found = in_from(parts, visible)
            if found is None:
                found = aliases.get(fold(parts[0]))
            if found is not None:
                return found
        return None


def _items(star: exp.Expr, name: str) -> list[exp.Expr]:
    return list(star.args.get(f"{name}_") or star.args.get(name) or ())
