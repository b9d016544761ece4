"""Rows on which the original is expected to raise, by the converted graph's own word.

Only a hint, which saves looking for them by halves; the original itself is asked about every row. So it may be absent:
the newest onnxruntime for an old Python (1.19.2 for 3.9) has no TreeEnsemble, and only a graph without one runs there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from sqlml.convert.isolated.foreign_session import session_of
from sqlml.convert.isolated.refusal import Refusal

# Any in this module: numpy arrays of several dtypes.


def expected(content: bytes, feed: Mapping[str, Any], rows: int) -> Any:
    """A boolean for each row."""
    if rows == 0:
        return np.zeros(0, dtype=bool)
    try:
        codes = session_of(errors_only(content)).run(["error"], feed)[0]
    except (ImportError, Refusal):
        return np.zeros(rows, dtype=bool)
    return codes.reshape(-1) != 0


def errors_only(content: bytes) -> bytes:
    """The part of a converted graph that computes "error": seldom any tree."""
    model = onnx.load_model_from_string(content)
    needed, nodes = {"error"}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    kept = [one for one in model.graph.initializer if one.name in needed]
    outputs = [one for one in model.graph.output if one.name == "error"]
    graph = onnx.helper.make_graph(list(reversed(nodes)), "errors", list(model.graph.input), outputs, kept)
    # The version that a domain without nodes is imported in matters to an onnxruntime that does not know it yet.
    domains = {node.domain for node in nodes}
    imports = [one for one in model.opset_import if one.domain in domains or one.domain == ""]
    return bytes(onnx.helper.make_model(graph, opset_imports=imports, ir_version=model.ir_version).SerializeToString())
