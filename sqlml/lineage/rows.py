"""What decides which rows a query has: filters, joins and grouping, for what only says that there are rows, or how many."""

from __future__ import annotations

from sqlglot import exp

from sqlml.lineage.expressions import Scope, part_of
from sqlml.lineage.references import COUNTED, NOTHING, Columns, From, References, Source, opaque, union, unknown

ALWAYS_ONE = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max)
"""Aggregates that make one row of all where nothing groups: of others it does not matter if it is not noticed."""


def select_rows(query: exp.Select, found: Columns, scope: Scope) -> Columns:
    """The columns with what decides the rows, which also takes the place of `COUNTED`."""

    def of(name: str) -> References:
        node = part_of(query, name)
        return scope.references(node) if node is not None else NOTHING

    visible = scope.visible
    where, having, group = of("where"), of("having"), _grouping(query, found, scope)
    counted = visible.rows | visible.number | where | group
    if having and query.find(exp.Window) is not None:  # a window counts the groups that are left
        counted |= having
    counted -= COUNTED

    def settled(references: References) -> References:
        return (references - COUNTED) | counted if references & COUNTED else references

    if found.outputs is not None:
        made = tuple(output._replace(references=settled(output.references)) for output in found.outputs)
        found = Columns(made, found.why)
    chosen = settled(having | of("qualify"))
    limits = settled(of("limit") | of("offset"))
    if part_of(query, "group") is None and any(_makes_one_row(projection) for projection in query.expressions):
        return _with(found, chosen | limits, NOTHING)
    rows = visible.rows | where | chosen | limits
    if chosen:  # which groups stay depends on how many rows are in them
        rows |= visible.number | group
    distinct = part_of(query, "distinct")
    once = NOTHING
    if distinct is not None:
        once = settled(scope.references(distinct)) if distinct.args.get("on") else found.all
    return _with(found, rows, visible.number | group | once)


def set_rows(query: exp.SetOperation, found: Columns, left: Columns, right: Columns) -> Columns:
    rows, number = left.rows | right.rows, left.number | right.number
    values = left.all | right.all
    if isinstance(query, exp.Except | exp.Intersect):
        return _with(found, rows | values, number)
    return _with(found, rows, number | values if query.args.get("distinct") else number)


def _with(found: Columns, rows: References, number: References) -> Columns:
    return Columns(found.outputs, found.why, rows, number)


def _grouping(query: exp.Select, found: Columns, scope: Scope) -> References:
    group = part_of(query, "group")
    if group is None:
        return NOTHING
    if group.args.get("all"):
        if found.outputs is None or len(found.outputs) != len(query.expressions):  # a star in it
            return found.all - COUNTED
        pairs = zip(query.expressions, found.outputs, strict=True)
        return union(o.references for e, o in pairs if not any(scope.aggregates(n) for n in _outside_subqueries(e)))
    return union(_group_key(node, found, scope) for node in group.iter_expressions())


def _group_key(node: exp.Expr, found: Columns, scope: Scope) -> References:
    """An expression, or the number of a column of the select list."""
    if not isinstance(node, exp.Literal) or node.is_string:
        return scope.references(node)
    if found.outputs is None:
        return unknown(found.why)
    place = int(node.name) if node.is_int else 0
    return found.outputs[place - 1].references if 0 < place <= len(found.outputs) else NOTHING


def _outside_subqueries(node: exp.Expr) -> list[exp.Expr]:
    return [found for found in node.walk(prune=lambda n: isinstance(n, exp.Query)) if not isinstance(found, exp.Query)]


def _makes_one_row(projection: exp.Expr) -> bool:
    aggregates = [
        node
        for node in _outside_subqueries(projection)
        if isinstance(node, ALWAYS_ONE) or (isinstance(node, exp.Anonymous) and node.name.lower() == "count_star")
    ]
    return any(
        node.find_ancestor(exp.Window, exp.Select) is projection.find_ancestor(exp.Select) for node in aggregates
    )


def join_rows(join: exp.Join, visible: From, right: From, using: dict[str, References], scope: Scope) -> None:
    """What a join adds to that; `scope` is of both its sides."""
    on = join.args.get("on")
    conditions = union([scope.references(on) if on is not None else NOTHING, *using.values()]) - COUNTED
    if join.kind in {"SEMI", "ANTI"}:
        visible.rows |= right.rows | conditions
        return
    either = right.rows | right.number | conditions
    if join.side == "LEFT":
        right.flagged(right.rows | conditions)
        visible.number |= either
    elif join.side == "RIGHT":
        visible.flagged(visible.rows | conditions)
        visible.rows, visible.number = right.rows, visible.rows | visible.number | either
    elif join.side == "FULL":
        right.flagged(right.rows | conditions)
        visible.flagged(visible.rows | conditions)
        visible.rows |= right.rows
        visible.number |= right.number | conditions
    else:
        visible.rows |= right.rows | conditions
        visible.number |= right.number


def not_known(visible: From, right: From, why: str) -> None:
    """A join of which not even the columns are known."""
    visible.sources = []
    visible.add(Source("", opaque(why)))
    visible.rows |= right.rows
    visible.number |= right.number
