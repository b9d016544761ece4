"""The k nearest of the kept rows, also where several are equally near.

Read in scikit-learn 1.9.1: utils/_heap.pyx, neighbors/_binary_tree.pxi, _kd_tree.pyx, metrics/_pairwise_distances_reduction/.
The original pushes one kept row after another on a heap of k; where several are equally far, which of them stay follows
from the order in which they come (for a KDTree: leaf by leaf, the nearer half first) and from how the heap is laid out.
So wherever that decides, the very heap is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.table import Table

Outputs = Sequence[tuple[str, int, Sequence[Any]]]
"""(name, element type, shape) of a subgraph's inputs or outputs."""


@dataclass(frozen=True)
class Nearest:
    """Positions among the kept rows (int64 [N, k]) and reduced distances [N, k], the nearest first."""

    places: str
    distances: str


def subgraph(graph: Graph, name: str, inputs: Outputs, outputs: Outputs) -> onnx.GraphProto:
    return helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        list(graph.initializers.values()),
    )


def k_nearest(
    graph: Graph, table: Table, distances: str, count: int, k: int, empty: float, tree: Any = None, power: float = 2.0
) -> Nearest:
    """The k of `count` columns of `distances` that the original would choose.

    `empty` is what its heap is filled with: what is not below it never comes in, and leaves row 0 in its place.
    `tree` is the fitted KDTree and `power` its metric's exponent; without it the rows are taken in order.
    """
    if k == count:
        values, places = sorted_k(graph, distances, k)
        return settled(graph, values, graph.as_double(places), empty)
    values, places = sorted_k(graph, distances, k + 1)
    last, next_one = graph.gather(values, [k - 1]), graph.gather(values, [k])
    tie = graph.op("And", graph.op("Equal", last, next_one), graph.op("Less", last, graph.double([empty])))
    # One more row without a tie stands for no rows at all.
    marks = graph.op("Concat", graph.as_double(tie), graph.double([[0.0]]), axis=0)
    some = graph.op("Greater", graph.op("ReduceMax", marks, keepdims=0), graph.double(0.5))

    columns = range(k)
    first = graph.join([graph.gather(values, columns), graph.as_double(graph.gather(places, columns))])
    plain, heaped = graph.inner(), graph.inner()
    branches = {}
    for branch, inner, tensor in (
        ("then_branch", heaped, untied(heaped, table, distances, count, k, empty, tree, power, tie, first)),
        ("else_branch", plain, first),
    ):
        name = inner.fresh("chosen")
        inner.named(tensor, name)
        branches[branch] = subgraph(inner, branch, [], [(name, TensorProto.DOUBLE, ["N", 2 * k])])
    chosen = graph.op("If", some, **branches)
    return settled(graph, graph.gather(chosen, range(k)), graph.gather(chosen, range(k, 2 * k)), empty)


def untied(
    graph: Graph,
    table: Table,
    distances: str,
    count: int,
    k: int,
    empty: float,
    tree: Any,
    power: float,
    tie: str,
    first: str,
) -> str:
    """`first` with what the heap says in the rows that have a tie."""
    which = graph.op("Gather", graph.op("NonZero", tie), graph.constant(np.array(0)), axis=0)
    far = graph.op("Gather", distances, which, axis=0)
    x = graph.op("Gather", graph.tensor(table), which, axis=0)
    # Constants of these rows have as many rows as this.
    graph.inputs = [helper.make_tensor_value_info(graph.gather(far, [0]), TensorProto.DOUBLE, [None, 1])]
    chosen = heap(graph, *order(graph, x, far, count, tree, power), k, empty)
    return graph.op("ScatterND", first, graph.op("Unsqueeze", which, graph.ints([1])), chosen)


def sorted_k(graph: Graph, distances: str, k: int) -> tuple[str, str]:
    values, places = graph.several(
        "TopK", distances, graph.ints([k]), count=2, axis=1, largest=0, sorted=1
    )  # of equals, the one that stands first
    return values, places


def settled(graph: Graph, values: str, places: str, empty: float) -> Nearest:
    outside = graph.op("GreaterOrEqual", values, graph.double([empty]))
    places = graph.op("Where", outside, graph.double([0.0]), places)
    return Nearest(graph.as_int(places), graph.op("Where", outside, graph.double([empty]), values))


def order(graph: Graph, x: str, distances: str, count: int, tree: Any, power: float) -> tuple[str, str]:
    """Distances and positions of the kept rows in the order in which the original meets them."""
    if tree is None:
        return distances, graph.rows(np.arange(count, dtype=np.float64))
    _, indices, nodes, bounds = (np.asarray(part) for part in tree.get_arrays())
    if len(nodes) == 1:
        return graph.gather(distances, indices.tolist()), graph.rows(indices.astype(np.float64))
    rank = leaf_ranks(graph, x, np.asarray(bounds, dtype=np.float64), power)
    leaves = nodes[len(nodes) // 2 :]
    widest = int((leaves["idx_end"] - leaves["idx_start"]).max())
    leaf_of, slot = np.empty(count, dtype=np.int64), np.empty(count)
    for number, (start, end) in enumerate(zipped(leaves["idx_start"], leaves["idx_end"])):
        leaf_of[indices[start:end]] = number
        slot[indices[start:end]] = np.arange(end - start)
    places = graph.op("Mul", graph.gather(rank, leaf_of.tolist()), graph.double(np.full(count, float(widest))))
    places = graph.as_int(graph.op("Add", places, graph.double(slot)))
    slots = widest * len(leaves)
    far = graph.op("ScatterElements", graph.rows(np.full(slots, np.inf)), places, distances, axis=1)
    own = graph.rows(np.arange(count, dtype=np.float64))
    return far, graph.op("ScatterElements", graph.rows(np.zeros(slots)), places, own, axis=1)


def leaf_ranks(graph: Graph, x: str, bounds: Array, power: float) -> str:
    """[N, leaves]: the place of each leaf in the order in which the tree is gone through for a row."""
    low, high = bounds
    half = graph.double([0.5])
    total: str | None = None
    for j in range(low.shape[1]):
        own = graph.gather(x, [j])
        below = graph.op("Sub", graph.double(low[:, j]), own)
        over = graph.op("Sub", own, graph.double(high[:, j]))
        sides = [graph.op("Add", side, graph.op("Abs", side)) for side in (below, over)]
        off = graph.op("Mul", graph.op("Add", *sides), half)
        term = raised(graph, off, power, len(low))
        total = term if total is None else graph.op("Max" if power == np.inf else "Add", total, term)
    assert total is not None
    inner = len(low) // 2
    firsts = graph.gather(total, range(1, 2 * inner, 2))
    seconds = graph.gather(total, range(2, 2 * inner + 1, 2))
    swapped = graph.as_double(graph.op("Not", graph.op("LessOrEqual", firsts, seconds)))
    rank, start, width = graph.rows([0.0]), 0, 1
    while start < inner:
        here = graph.gather(swapped, range(start, start + width))
        parents = [m // 2 for m in range(2 * width)]
        side = graph.double([float(m % 2) for m in range(2 * width)])
        turn = graph.op("Abs", graph.op("Sub", side, graph.gather(here, parents)))
        doubled = graph.op("Mul", graph.gather(rank, parents), graph.double(np.full(2 * width, 2.0)))
        rank = graph.op("Add", doubled, turn)
        start, width = start + width, 2 * width
    return rank


def raised(graph: Graph, size: str, power: float, width: int) -> str:
    """size ** power for sizes [N, width] of 0 or more, as C's pow has it."""
    if power in (1.0, np.inf):
        return size
    if power == 2.0:
        return graph.op("Mul", size, size)
    # One exponent per column: for a single one of 3, onnxruntime multiplies, which rounds otherwise.
    return graph.op("Pow", size, graph.double(np.full(width, power)))


def heap(graph: Graph, distances: str, places: str, k: int, empty: float) -> str:
    """utils/_heap.pyx: heap_push for one slot after another; [N, 2k]: distances and places, sorted by distance."""
    start = graph.rows([empty] * k + [0.0] * k)
    inner = graph.inner()
    state, far, place = (inner.fresh(stem) for stem in ("heap", "far", "place"))
    after = inner.fresh("heap")
    inner.named(pushed(inner, state, far, place, k), after)
    # No name for the number of rows: onnxruntime takes equal names for equal sizes, and these rows are a selection.
    pair: Sequence[Any] = [None, 2 * k]
    taken: Outputs = [
        (state, TensorProto.DOUBLE, pair),
        (far, TensorProto.DOUBLE, [None]),
        (place, TensorProto.DOUBLE, [None]),
    ]
    body = subgraph(inner, "push", taken, [(after, TensorProto.DOUBLE, pair)])
    done = graph.op("Scan", start, distances, places, body=body, num_scan_inputs=2, scan_input_axes=[1, 1])
    values, at = sorted_k(graph, graph.gather(done, range(k)), k)
    held = graph.op("GatherElements", graph.gather(done, range(k, 2 * k)), at, axis=1)
    return graph.join([values, held])


def pushed(graph: Graph, state: str, far: str, place: str, k: int) -> str:
    column = graph.ints([1])
    value, index = (graph.op("Unsqueeze", tensor, column) for tensor in (far, place))
    values, indices = graph.gather(state, range(k)), graph.gather(state, range(k, 2 * k))
    going = graph.op("Not", graph.op("GreaterOrEqual", value, graph.gather(values, [0])))
    come, positions = going, graph.ints([list(range(k))])
    at = graph.op("Mul", graph.as_int(going), graph.ints([[0]]))
    one, two, beyond = graph.ints([[1]]), graph.ints([[2]]), graph.ints([[k]])
    for _ in range(k.bit_length() - 1):
        left = graph.op("Add", graph.op("Mul", at, two), one)
        right = graph.op("Add", left, one)
        # Past the end there is nothing, which is nearer than anything.
        padded = graph.join([values, graph.op("Min", graph.gather(values, [0]), graph.double([-np.inf]))])
        sides = [graph.op("GatherElements", padded, graph.op("Min", side, beyond), axis=1) for side in (left, right)]
        to_left = graph.op("GreaterOrEqual", *sides)
        child = graph.op("Where", to_left, left, right)
        greatest = graph.op("Where", to_left, *sides)
        going = graph.op("And", going, graph.op("Less", value, greatest))
        here = graph.op("And", graph.op("Equal", positions, at), going)
        moved = graph.op("GatherElements", indices, graph.op("Min", child, graph.ints([[k - 1]])), axis=1)
        values, indices = graph.op("Where", here, greatest, values), graph.op("Where", here, moved, indices)
        at = graph.op("Where", going, child, at)
    here = graph.op("And", graph.op("Equal", positions, at), come)
    return graph.join([graph.op("Where", here, value, values), graph.op("Where", here, index, indices)])
