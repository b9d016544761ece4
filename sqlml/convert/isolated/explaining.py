"""What explaining a prediction needs beside the graph, kept as metadata of the ONNX model.

TreeSHAP weighs a way that a row does not take by the training rows that took it. ONNX has `nodes_hitrates` for such
numbers, which cannot be used: for trees in double onnx 1.23 insists on float there, and onnxruntime 1.31 on double.

Keys, with <tensor> the output of a TreeEnsemble:
  sqlml.score            the tensor whose columns are the raw scores
  sqlml.covers.<tensor>  the weight of the training rows in each leaf, in the order of its leaves: "f4:" or "f8:" and the
                         little-endian numbers in base64, f4 where that loses nothing
  sqlml.parts.<tensor>   "column:feature" by blanks: a column that only some splits ask for (is the category in this set?)
                         and the feature of the model that it is a part of
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]  # Any: shape and dtype are known only at run time


def note_score(notes: dict[str, str], tensor: str) -> None:
    if tensor:
        notes["sqlml.score"] = tensor


def note_trees(notes: dict[str, str], tensor: str, covers: Array, parts_of: Mapping[int, int]) -> None:
    """Nothing where a weight is none: negative, not finite."""
    covers = np.asarray(covers, dtype=np.float64)
    if not (np.isfinite(covers) & (covers >= 0)).all():
        return
    short = covers.astype("<f4")
    kind, raw = ("f4", short.tobytes()) if (short == covers).all() else ("f8", covers.astype("<f8").tobytes())
    notes[f"sqlml.covers.{tensor}"] = f"{kind}:{b64encode(raw).decode('ascii')}"
    if parts_of:
        notes[f"sqlml.parts.{tensor}"] = " ".join(f"{part}:{feature}" for part, feature in sorted(parts_of.items()))
