"""Named intermediates put to use: substituted, bound once inside a macro, or as one subquery per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from sqlml import sql

Lets = tuple[tuple[str, exp.Expression], ...]

ATOMS = (exp.Column, exp.Literal, exp.Paren, exp.Func, exp.Case, exp.Cast, exp.Boolean, exp.Null, exp.Dot)
BLOW_UP = 4
"""A macro's body may grow by this factor before it binds its intermediates instead of repeating them."""
SMALL_BODY = 4_000
"""Nodes up to which repeating is cheaper: binding costs a list, a struct and a lambda's vectors for every row."""


def inline(lets: Lets, result: exp.Expression) -> exp.Expression:
    """One expression that needs no names from outside.

    Repeats an intermediate where that is cheap; else binds each stage once by `list_transform([{...}], lambda ...)`,
    the only LET that a scalar macro has. A call of a user-defined function is never repeated.
    """
    used = _needed(lets, [result])
    if _repeats_cheaply(used, result):
        ready: dict[str, exp.Expression] = {}
        for name, node in used:
            ready[name] = _replace(node, ready)
        return _replace(result, ready)
    return _bound(used, result)


def nested(
    source: exp.Expression,
    passthrough: Sequence[tuple[str, exp.Expression]],
    lets: Lets,
    results: Sequence[tuple[str, exp.Expression]],
) -> exp.Select:
    """`SELECT passthrough, results FROM (SELECT ... FROM (SELECT ... FROM source))`, one subquery per stage."""
    kept = [(f"sqlml k{i}", node) for i, (_, node) in enumerate(passthrough)]
    stages = _stages(_needed(lets, [node for _, node in results]))
    wanted = _wanted_after(stages, results)
    select = exp.Select()
    relation = source
    names: list[str] = []
    for number, (stage, live) in enumerate(zip(stages, wanted, strict=True)):
        carried = kept if number == 0 else [(name, sql.column(name)) for name, _ in kept]
        columns = carried + [(name, sql.column(name)) for name in names if name in live]
        columns += [(name, node) for name, node in stage]
        select = exp.select(*(_alias(node, name) for name, node in columns)).from_(relation)
        relation = select.subquery(f"sqlml s{number}", copy=False)
        relation.args["alias"].this.set("quoted", True)
        names = [name for name, _ in columns if not name.startswith("sqlml k")]
    last = [(shown, sql.column(name)) for (shown, _), (name, _) in zip(passthrough, kept, strict=True)]
    return exp.select(*(_alias(node, name) for name, node in (*last, *results))).from_(relation)


def _alias(node: exp.Expression, name: str) -> exp.Expression:
    return exp.Alias(this=node.copy(), alias=sql.identifier(name))


def _references(node: exp.Expression, known: set[str]) -> list[str]:
    """The intermediates that a node mentions, once per mention."""
    return [c.name for c in node.find_all(exp.Column) if not c.table and c.name in known]


def _needed(lets: Lets, results: Sequence[exp.Expression]) -> Lets:
    """The intermediates that the results are made of, in order."""
    names = {name for name, _ in lets}
    wanted = {name for node in results for name in _references(node, names)}
    kept: list[tuple[str, exp.Expression]] = []
    for name, node in reversed(lets):
        if name in wanted:
            wanted.update(_references(node, names))
            kept.append((name, node))
    return tuple(reversed(kept))


def _stages(lets: Lets) -> list[Lets]:
    """Groups of intermediates such that each needs only earlier groups; at least one group."""
    level: dict[str, int] = {}
    groups: list[list[tuple[str, exp.Expression]]] = [[]]
    for name, node in lets:
        needed = _references(node, set(level))
        level[name] = 1 + max(level[n] for n in needed) if needed else 0
        while len(groups) <= level[name]:
            groups.append([])
        groups[level[name]].append((name, node))
    return [tuple(group) for group in groups]


def _wanted_after(stages: Sequence[Lets], results: Sequence[tuple[str, exp.Expression]]) -> list[set[str]]:
    """Per stage, the names that a later stage or the results still mention."""
    names = {name for stage in stages for name, _ in stage}
    live = {name for _, node in results for name in _references(node, names)}
    wanted: list[set[str]] = []
    for stage in reversed(stages):
        wanted.append(set(live))
        live = live | {name for _, node in stage for name in _references(node, names)}
    return list(reversed(wanted))


def _repeats_cheaply(lets: Lets, result: exp.Expression) -> bool:
    names = {name for name, _ in lets}
    own = {name: _size(node) for name, node in lets}
    full: dict[str, int] = {}
    mentions: dict[str, int] = dict.fromkeys(names, 0)
    for name, node in lets:
        inner = _references(node, names)
        full[name] = own[name] + sum(full[n] for n in inner)
        for n in inner:
            mentions[n] += 1
    outer = _references(result, names)
    for n in outer:
        mentions[n] += 1
    if any(mentions[name] > 1 and _calls_udf(node) for name, node in lets):
        return False
    total = _size(result) + sum(full[n] for n in outer)
    return total <= max(SMALL_BODY, BLOW_UP * (_size(result) + sum(own.values())))


def _size(node: exp.Expression) -> int:
    return sum(1 for _ in node.walk())


def _calls_udf(node: exp.Expression) -> bool:
    """Only `sql.call_quoted` makes a call whose name is an identifier, and only for functions of an engine."""
    return any(isinstance(f.this, exp.Identifier) for f in node.find_all(exp.Anonymous))


def _replace(node: exp.Expression, ready: Mapping[str, exp.Expression]) -> exp.Expression:
    def swap(part: exp.Expression) -> exp.Expression:
        if isinstance(part, exp.Column) and not part.table and part.name in ready:
            found = ready[part.name].copy()
            return found if isinstance(found, ATOMS) else exp.Paren(this=found)
        return part

    return node.transform(swap)


def _bound(lets: Lets, result: exp.Expression) -> exp.Expression:
    """Innermost last: each stage becomes the one struct of a list that a lambda is applied to."""
    stages = _stages(lets)
    home = {name: f"sqlml s{number}" for number, stage in enumerate(stages) for name, _ in stage}
    there: dict[str, exp.Expression] = {name: sql.column(name, row) for name, row in home.items()}
    body = _replace(result, there)
    for number in range(len(stages) - 1, -1, -1):
        row = sql.struct({name: _replace(node, there) for name, node in stages[number]})
        function = exp.Lambda(this=body, expressions=[sql.identifier(f"sqlml s{number}")], colon=True)
        listed = sql.call("list_transform", exp.Array(expressions=[row]), function)
        body = exp.Bracket(this=listed, expressions=[sql.integer(1)], offset=1, safe=True)
    return body
