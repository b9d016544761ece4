"""What a graph comes to: outputs as nodes, the intermediates worth a name, and the size of the SQL before it is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlml.compile import trees
from sqlml.compile.graph import Traced, trace
from sqlml.compile.nodes import Const, Forest, Input, Lookup, Node, NotCompilable, Op, Select, children
from sqlml.convert.onnx_model import OnnxModel

LEAF_BYTES = 95
"""SQL per leaf, the condition above it included: measured 90 to 100 with the casts that a macro repeats."""
TERM_BYTES = 24
"""SQL per constant or name of an intermediate: a double has up to 24 characters."""
COLUMN_BYTES = 40
"""SQL per mention of a column: `TRY_CAST("r"."..." AS DOUBLE)`, a name of ten characters."""
WORTH_NAMING = 3
"""An expression of fewer nodes is repeated rather than named."""


@dataclass(frozen=True)
class Cost:
    """How large the SQL would be: known from counting, long before it exists."""

    leaves: int
    leaves_per_tree: int
    operations: int
    """Other than trees, per row; a column's CASE counts as one, since DuckDB does it per distinct text."""
    bytes: int
    """Of the largest function's body."""


@dataclass(frozen=True)
class Program:
    """A model as nodes over its input columns.

    `prediction` is the index of the class, or the targets. `lets` are the shared intermediates, each before its users.
    `error` is the number of the reason, 0 for none; where it is not 0 the others have no meaning.
    """

    columns: tuple[Input, ...]
    lets: tuple[tuple[str, Node], ...]
    prediction: tuple[Node, ...]
    probabilities: tuple[Node, ...]
    error: Node
    reasons: tuple[str, ...]
    cost: Cost


def compile_onnx(model: OnnxModel) -> Program:
    """The model's graph as a `Program`; raises `NotCompilable` for what has no exact SQL."""
    traced = trace(model)
    prediction = traced.output("prediction")
    probabilities = traced.output("probabilities") if model.signature.probabilities else ()
    (error,) = traced.output("error")
    return Program(
        columns=traced.columns,
        lets=lets_of((*prediction, *probabilities)),
        prediction=prediction,
        probabilities=probabilities,
        error=error,
        reasons=model.reasons,
        cost=_cost(traced, (*prediction, *probabilities, error)),
    )


def lets_of(results: Sequence[Node]) -> tuple[tuple[str, Node], ...]:
    """Nodes used more than once that cost more than repeating their name; results themselves count as one use."""
    order = _in_order(results)
    uses: dict[Node, int] = dict.fromkeys(order, 0)
    for node in order:
        for child in children(node):
            # A tree asks for a feature in many of its nodes.
            uses[child] += 2 if isinstance(node, Forest) else 1
    for node in results:
        uses[node] += 1
    named = [
        node
        for node in order
        if isinstance(node, Forest)
        or (uses[node] > 1 and isinstance(node, Op) and node.dtype == "double" and _weight(node) >= WORTH_NAMING)
    ]
    return tuple((f"sqlml x{i}", node) for i, node in enumerate(named))


def _weight(node: Node) -> int:
    """Nodes below it, up to `WORTH_NAMING`."""
    count, stack = 0, [node]
    while stack and count < WORTH_NAMING:
        count += 1
        stack += children(stack.pop())
    return count


def _in_order(results: Sequence[Node]) -> list[Node]:
    """All nodes, each after its children."""
    done: dict[Node, None] = {}
    stack = [(node, False) for node in reversed(results)]
    while stack:
        node, expanded = stack.pop()
        if node in done:
            continue
        if expanded:
            done[node] = None
            continue
        stack.append((node, True))
        stack += [(child, False) for child in children(node) if child not in done]
    return list(done)


def _cost(traced: Traced, results: Sequence[Node]) -> Cost:
    nodes = _in_order(results)
    forests = [node for node in nodes if isinstance(node, Forest)]
    leaves = largest = 0
    for found in {id(f.trees): f.trees for f in forests}.values():
        leaves += found.leaves
        largest = max(largest, int(trees.leaf_counts(found).max(initial=0)))
    operations = sum(max(1, len(children(node))) for node in nodes if not isinstance(node, Const))
    size = leaves * LEAF_BYTES + sum(_bytes(node) for node in nodes) + _repeated(results[-1]) * COLUMN_BYTES
    return Cost(leaves=leaves, leaves_per_tree=largest, operations=operations, bytes=size)


def _repeated(error: Node) -> int:
    """Nodes that the check of errors writes again: it stands on the columns alone, without names for intermediates."""
    order = _in_order([error])
    written: dict[Node, int] = {}
    for node in order:
        # A tree asks for a feature in many of its nodes.
        times = 2 * node.trees.leaves if isinstance(node, Forest) else 1
        written[node] = times * (1 + sum(written[child] for child in children(node)))
    return written[error] - len(order)


def _bytes(node: Node) -> int:
    if isinstance(node, Lookup):
        return COLUMN_BYTES + sum(len(str(key)) + len(str(value)) + 16 for key, value in node.table)
    if isinstance(node, Select):
        return TERM_BYTES * len(node.cases)
    if isinstance(node, Op):
        return 8 + sum(COLUMN_BYTES if isinstance(a, Input) else TERM_BYTES for a in node.args)
    return 0


__all__ = ["Cost", "NotCompilable", "Program", "compile_onnx"]
