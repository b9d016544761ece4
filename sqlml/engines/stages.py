"""Named intermediates put to use: substituted, bound once inside a macro, or as one subquery per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from sqlml import sql

Lets = tuple[tuple[str, exp.Expression], ...]

ATOMS = (exp.Column, exp.Var, exp.Literal, exp.Paren, exp.Func, exp.Case, exp.Cast, exp.Boolean, exp.Null, exp.Dot)
LARGE = 400
"""Nodes that repeating an intermediate may add before it is bound. Measured: binding costs 35 ns a row; 800 leaves are
6,000 nodes, which take 0.3 s to plan each time they are repeated, and 1 µs a row to run."""


def inline(lets: Lets, result: exp.Expression, *, repeat: bool = False) -> exp.Expression:
    """One expression that needs no names from outside; `repeat` binds nothing, whatever it costs.

    Repeats an intermediate where that is cheap; a large one that is needed twice, and every call of a user-defined
    function, is bound once by `list_transform([{...}], lambda ...)`, the only LET that a scalar macro has. What is bound
    is computed outside of the lambda: inside, measured, a column costs as much as ten outside.
    """
    used = _needed(lets, [result])
    if repeat:
        return _replace(result, _substituted(used))
    spelt, stages = _spelt(used, _mentions(used, result), set())
    if stages:
        # Once there is a lambda, what stands in it must not mention columns: a test of ten columns that was left inside
        # cost more than the hundred trees outside (2.3 s against 0.5 s for 100,000 rows).
        spelt, stages = _spelt(used, _mentions(used, result), set(_references(result, {name for name, _ in used})))
    body = _replace(result, spelt)
    for number in range(len(stages) - 1, -1, -1):
        function = exp.Lambda(this=body, expressions=[sql.identifier(_stage_name(number))], colon=True)
        listed = sql.call("list_transform", exp.Array(expressions=[sql.struct(stages[number])]), function)
        body = exp.Bracket(this=listed, expressions=[sql.integer(1)], offset=1, safe=True)
    return body


def _substituted(lets: Lets) -> dict[str, exp.Expression]:
    spelt: dict[str, exp.Expression] = {}
    for name, node in lets:
        spelt[name] = _replace(node, spelt)
    return spelt


def _spelt(
    lets: Lets, mentions: Mapping[str, int], bound: set[str]
) -> tuple[dict[str, exp.Expression], list[dict[str, exp.Expression]]]:
    """How a later expression says each intermediate, in full or as a field of a stage; and the stages.

    Those in `bound` have a stage if they mention a column; any has one where repeating it would cost more.
    """
    spelt: dict[str, exp.Expression] = {}
    stages: list[dict[str, exp.Expression]] = []
    for name, node in lets:
        full = _replace(node, spelt)
        repeated = mentions[name] - 1
        costly = repeated > 0 and (calls_udf(node) or repeated * _size(full) > LARGE)
        if not costly and not (name in bound and _mentions_column(full)):
            spelt[name] = full
            continue
        level = _level(full)
        stages += [{} for _ in range(level + 1 - len(stages))]
        stages[level][name] = full
        spelt[name] = sql.column(name, _stage_name(level))
    return spelt, stages


def _mentions_column(node: exp.Expression) -> bool:
    return any(not c.table.startswith("sqlml s") for c in node.find_all(exp.Column))


def _stage_name(level: int) -> str:
    return f"sqlml s{level}"


def _level(node: exp.Expression) -> int:
    """One past the last stage that the expression mentions."""
    mentioned = [c.table for c in node.find_all(exp.Column) if c.table.startswith("sqlml s")]
    return 1 + max((int(table.removeprefix("sqlml s")) for table in mentioned), default=-1)


def _mentions(lets: Lets, result: exp.Expression) -> dict[str, int]:
    """How often each intermediate is named by the others and the result, as they are written."""
    names = {name for name, _ in lets}
    mentions = dict.fromkeys(names, 0)
    for node in (*(node for _, node in lets), result):
        for name in _references(node, names):
            mentions[name] += 1
    return mentions


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


def _size(node: exp.Expression) -> int:
    """Nodes; for what is written already (`sql.written`), about as many as its text would have."""
    return sum(1 + len(part.name) // 12 if isinstance(part, exp.Var) else 1 for part in node.walk())


def calls_udf(node: exp.Expression) -> bool:
    """Only `sql.call_quoted` makes a call whose name is an identifier, and only for functions of an engine."""
    return any(isinstance(f.this, exp.Identifier) for f in node.find_all(exp.Anonymous))


def _replace(node: exp.Expression, ready: Mapping[str, exp.Expression]) -> exp.Expression:
    def swap(part: exp.Expression) -> exp.Expression:
        if isinstance(part, exp.Column) and not part.table and part.name in ready:
            found = ready[part.name].copy()
            return found if isinstance(found, ATOMS) else exp.Paren(this=found)
        return part

    return node.transform(swap)
