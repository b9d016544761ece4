"""The columns of a query, each with the table columns that its value is made of.

It binds names as DuckDB does: columns before the row of a table, that before an earlier alias, that before an outer
query. What it does not know it answers with `Unknown` and why; it never guesses. Only values count: a column that
filters, joins or groups decides which rows there are, not what is in them; it counts where a value says just that (`rows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlglot import exp

from sqlml.lineage.expressions import Names, Scope, part_of, shown
from sqlml.lineage.references import (
    NOTHING,
    Columns,
    From,
    Output,
    References,
    Source,
    fold,
    opaque,
    union,
    unknown,
)
from sqlml.lineage.rows import join_rows, not_known, select_rows, set_rows


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


def _with_ctes(query: exp.Expr, names: Names) -> Names:
    clause = part_of(query, "with")
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
    return set_rows(query, _united(query, left, right), left, right)


def _united(query: exp.SetOperation, left: Columns, right: Columns) -> Columns:
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
    scope = Scope(visible, names, bind_query)
    columns = [union(scope.references(row[i]) for row in rows) for i in range(width)]
    return Columns(tuple(Output(f"col{i}", references) for i, references in enumerate(columns)))


def _bind_select(query: exp.Select, names: Names) -> Columns:
    source = part_of(query, "from")
    parts = [source.this] if source is not None else []
    parts += [*(query.args.get("joins") or ()), *(query.args.get("laterals") or ())]
    visible = _from_parts(parts, names)
    scope = Scope(visible, names, bind_query)
    return select_rows(query, _projected(query, scope), scope)


def _projected(query: exp.Select, scope: Scope) -> Columns:
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
            return opaque(f"{shown(projection)} stands for columns that are not named")
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
    if isinstance(inner, exp.Table | exp.Subquery) and not part.alias and part_of(part, "with") is None:
        nested = _from_parts([inner], names)  # parentheses around a join
        visible.sources += nested.sources
        visible.rows |= nested.rows
        visible.number |= nested.number
        visible.merged.update(nested.merged)
    else:
        visible.add(_source(part, visible, names))
    for join in part.args.get("joins") or ():
        _join(join, visible, names)


def _join(join: exp.Join, visible: From, names: Names) -> None:
    right = From()
    _add(join.this, right, replace(names, outer=(visible, *names.outer)))
    using = [node.name for node in join.args.get("using") or ()]
    if join.method == "NATURAL":
        shared = _shared_names(visible, right)
        if shared is None:
            closed = next(s for s in (*visible.sources, *right.sources) if s.columns.outputs is None)
            not_known(visible, right, f"NATURAL JOIN with something unknown: {closed.columns.why}")
            return
        using = shared
    both = From([*visible.sources, *right.sources], {**visible.merged, **right.merged})
    merged = {fold(name): _merged(name, join.side, visible, right) for name in using}
    equal = {fold(name): _merged(name, "FULL", visible, right) for name in using}
    join_rows(join, visible, right, equal, Scope(both, names, bind_query))
    if join.kind in {"SEMI", "ANTI"}:
        return  # shows nothing of its right side
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
        scope = Scope(visible, names, bind_query)
        made = [Output("unnest", scope.references(item), shown(item)) for item in node.expressions]
        of = union(output.references for output in made)  # a list's length is a number of rows
        return Source(node.alias or "unnest", Columns(tuple(made), rows=of, number=of).renamed(renames))
    if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
        return Source(node.alias, bind_query(node.this, beside).renamed(renames))
    if isinstance(node, exp.Subquery):
        return Source(node.alias, bind_query(node, beside).renamed(renames))
    return Source(node.alias_or_name, opaque(f"{shown(node.this)} is a table function"))
