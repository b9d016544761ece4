"""Text columns as numbers, before onnxruntime sees them.

Measured: in the Telco pipeline nine tenths of onnxruntime's time went into comparing strings with categories, row by
row. Arrow finds a text among the categories by hashing; the graph then compares numbers. Only a column that nothing but
comparisons with constants reads is coded, so no answer changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlml.convert.onnx_model import MISSING_TEXT

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Any in this module: protobuf messages.
UNSEEN = -1


@dataclass(frozen=True)
class Codes:
    """The texts that a column is compared with; a text's code is its position, and `UNSEEN` for every other."""

    texts: pa.Array
    missing: int

    def encode(self, column: pa.Array) -> np.ndarray[Any, Any]:
        """int64 [N, 1]."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(column, value_set=self.texts).fill_null(UNSEEN).cast(pa.int64())
        if column.null_count and self.missing != UNSEEN:
            found = pc.if_else(column.is_null(), self.missing, found)
        return cast("np.ndarray[Any, Any]", found.to_numpy(zero_copy_only=False).reshape(-1, 1))


def code_texts(onnx_bytes: bytes) -> tuple[bytes, Mapping[str, Codes]]:
    """The graph with int64 in place of string inputs, and how to make them; columns used otherwise stay as they are."""
    import numpy as np
    import onnx
    import pyarrow as pa
    from onnx import numpy_helper

    model = onnx.load_model_from_string(onnx_bytes)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    codes: dict[str, Codes] = {}
    for column in graph.input:
        if column.type.tensor_type.elem_type != onnx.TensorProto.STRING:
            continue
        compared = _comparisons(graph, column.name, constants)
        if compared is None:
            continue
        # Not numpy_helper.to_array: numpy's own strings lose a NUL at the end.
        tables = {name: [text.decode() for text in constants[name].string_data] for name in set(compared.values())}
        texts = list(dict.fromkeys(text for table in tables.values() for text in table))
        positions = {text: position for position, text in enumerate(texts)}
        for name, table in tables.items():
            coded = np.array([positions[text] for text in table], dtype=np.int64).reshape(constants[name].dims)
            graph.initializer.append(numpy_helper.from_array(coded, _coded_name(name, column.name)))
        for index, name in compared.items():
            node = graph.node[index]
            renamed = [_coded_name(name, column.name) if given == name else given for given in node.input]
            node.input[:] = renamed
        column.type.tensor_type.elem_type = onnx.TensorProto.INT64
        codes[column.name] = Codes(pa.array(texts, pa.string()), positions.get(MISSING_TEXT, UNSEEN))
    return (model.SerializeToString(), codes) if codes else (onnx_bytes, codes)


def _comparisons(graph: Any, column: str, constants: Mapping[str, Any]) -> dict[int, str] | None:
    """Position of each node that reads the column -> the constant it is compared with; None if one does more."""
    found: dict[int, str] = {}
    for index, node in enumerate(graph.node):
        if column not in node.input:
            # A subgraph could read the column by name.
            if any(attribute.g.node or attribute.graphs for attribute in node.attribute):
                return None
            continue
        others = [name for name in node.input if name != column]
        if node.op_type != "Equal" or node.domain or len(others) != 1 or others[0] not in constants:
            return None
        found[index] = others[0]
    return None if any(output.name == column for output in graph.output) else found


def _coded_name(constant: str, column: str) -> str:
    return f"{constant} as codes of {column}"
