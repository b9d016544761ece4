"""Votes that hang on rounding: comparisons that are counted, and the choice of the nearest, on the way to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Any in this module: protobuf messages and arrays of several dtypes.
ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24}
DECIDES = {"ArgMax", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
COUNTED = {"And", "Or", "Not", "Gather"}
ANYWHERE = 1e300
"""The bound of a value that is another one altogether if a comparison on the way to it goes the other way."""


def votes_that_hang(graph: Any, values: Mapping[str, Any], errors: Mapping[str, Any], rows: int) -> NDArray[np.bool_]:
    """Rows in which a vote, or the choice of the nearest, hangs on the rounding of what it compares.

    A comparison that is counted (cast to a number) is a vote. One that only chooses between values is none: most of them,
    such as clipping at 0, choose between equals there.
    """
    import numpy as np

    makers = {name: node for node in graph.node for name in node.output}
    found = np.zeros(rows, dtype=bool)
    for node in graph.node:
        if node.op_type == "TopK" and np.shape(values[node.input[0]])[:1] == (rows,):
            nearest, bound = values[node.output[0]], errors.get(node.input[0], np.zeros(values[node.input[0]].shape))
            if nearest.shape[1] > 1 and nearest.shape[1] <= bound.shape[1]:
                gap = nearest[:, -1] - nearest[:, -2]
                at = np.take_along_axis(bound, values[node.output[1]][:, -2:], axis=1)
                found |= ~(gap > at.sum(axis=1))  # NaN: the distances overflow
        if node.op_type != "Cast" or values[node.input[0]].dtype.name != "bool":
            continue
        if values[node.output[0]].dtype.name not in ROUNDOFF:
            continue  # a label, which is no part of a number
        pending, seen = [node.input[0]], set()
        while pending:
            name = pending.pop()
            maker = makers.get(name)
            if maker is None or name in seen:
                continue
            seen.add(name)
            if maker.op_type in COUNTED:
                pending += maker.input
            elif maker.op_type in DECIDES - {"ArgMax"}:
                left, right = (values[side] for side in maker.input)
                if left.dtype.name not in ROUNDOFF or np.shape(values[maker.output[0]])[:1] != (rows,):
                    continue
                spread = sum(errors.get(side, 0.0) for side in maker.input)
                near = (np.abs(left - right) <= spread) & (spread > 0)
                found |= np.broadcast_to(near, (rows, near.shape[-1])).any(axis=1)
    return found
