"""A foreign ONNX file's own answers, by onnxruntime on the bytes as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.foreign_onnx import Foreign, feeds
from sqlml.convert.isolated.foreign_session import session_of
from sqlml.convert.isolated.pairs import zipped
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
            fed = feeds(foreign, columns)
        return answer_of(foreign, self._one_by_one(fed) if foreign.one_by_one else self._run(fed))

    def _run(self, fed: Mapping[str, Any]) -> list[Any]:
        return [_unmapped(values, self._foreign.classes) for values in self._session.run(self._names, fed)]

    def _one_by_one(self, fed: Mapping[str, Any]) -> list[Any]:
        """A file whose batch is fixed answers one row at a time, as it came."""
        rows = len(next(iter(fed.values())))
        said = [self._run({name: values[i : i + 1] for name, values in fed.items()}) for i in range(rows)]
        return [np.concatenate(values) for values in zip(*said)]


def answer_of(foreign: Foreign, found: Sequence[Any]) -> Answer:
    """The model's tensors as predictions and scores."""
    labels = [values for values in found if values.dtype.kind not in "f"]
    floats = [values for values in found if values.dtype.kind == "f"]
    if foreign.kind == "regressor":
        parts = [values.astype(np.float64).reshape(-1, width) for values, width in zipped(floats, foreign.widths)]
        return np.column_stack(parts), None
    scores = floats[0].astype(np.float64).reshape(-1, len(foreign.classes)) if floats else None
    return labels[0].reshape(-1), scores


def _unmapped(values: Any, classes: Sequence[Any]) -> Any:
    """What ZipMap made a list of dictionaries, as a matrix again."""
    if isinstance(values, list):
        return np.array([[row[label] for label in classes] for row in values], dtype=np.float64).reshape(
            -1, len(classes)
        )
    return np.asarray(values)
