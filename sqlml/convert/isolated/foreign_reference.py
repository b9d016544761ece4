"""A foreign ONNX file's own answers, by onnxruntime on the bytes as they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.foreign_onnx import Foreign, feeds, session_of
from sqlml.convert.isolated.reference import Answer, Group


class ForeignOriginal:
    """One session on the file, kept for all questions."""

    def __init__(self, content: bytes, foreign: Foreign) -> None:
        self._foreign = foreign
        self._session = session_of(content)
        self._names = [output.name for output in self._session.get_outputs()]

    def group(self, columns: Sequence[Any], rows: Any) -> Group:
        """Rows answered by the file; `columns` are arrays over all rows (float64, or objects for text)."""

        def ask(positions: Any) -> Answer:
            return self._answer([values[rows[positions]] for values in columns])

        return Group(rows, ask)

    def _answer(self, columns: Sequence[Any]) -> Answer:
        foreign = self._foreign
        with np.errstate(over="ignore"):
            given = self._session.run(self._names, feeds(foreign, columns))
        found = [_unmapped(values, foreign.classes) for values in given]
        labels = [values for values in found if values.dtype.kind not in "f"]
        floats = [values for values in found if values.dtype.kind == "f"]
        if foreign.kind == "regressor":
            return floats[0].astype(np.float64).reshape(-1, foreign.targets), None
        scores = floats[0].astype(np.float64).reshape(-1, len(foreign.classes)) if floats else None
        return labels[0].reshape(-1), scores


def _unmapped(values: Any, classes: Sequence[Any]) -> Any:
    """What ZipMap made a list of dictionaries, as a matrix again."""
    if isinstance(values, list):
        return np.array([[row[label] for label in classes] for row in values], dtype=np.float64).reshape(
            -1, len(classes)
        )
    return np.asarray(values)
