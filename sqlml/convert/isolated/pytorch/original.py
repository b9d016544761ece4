"""The module's own answers: forward in eval mode, without gradients, on as many rows as are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlml.convert.isolated.foreign_onnx import Foreign, feeds
from sqlml.convert.isolated.foreign_reference import answer_of
from sqlml.convert.isolated.reference import Answer, Group
from sqlml.convert.isolated.refusal import unsupported

# Any in this module: PyTorch's modules and tensors.


class TorchOriginal:
    """One module with the dtype of its input."""

    def __init__(self, module: Any, dtype: Any) -> None:
        self.module = module
        self.dtype = dtype

    def answers(self, rows: Any) -> list[Any]:
        """The tensors of its answer, as arrays."""
        import torch

        with torch.no_grad():
            said = self.module(rows)
        parts = list(said) if isinstance(said, (tuple, list)) else [said]
        if not parts or not all(isinstance(part, torch.Tensor) for part in parts):
            kinds = ", ".join(type(part).__name__ for part in parts[:3])
            raise unsupported(f"The model's forward gives {kinds}, not tensors.", "Let it return a tensor, or a tuple.")
        return [part.detach().cpu().numpy() for part in parts]

    def group(self, foreign: Foreign, columns: Sequence[Any], rows: Any) -> Group:
        """Rows answered by the module; `columns` are arrays over all rows."""
        import torch

        def ask(positions: Any) -> Answer:
            with np.errstate(over="ignore"):
                fed = feeds(foreign, [values[rows[positions]] for values in columns])
            (values,) = fed.values()
            tensor = torch.from_numpy(np.ascontiguousarray(values)).to(self.dtype)
            return answer_of(foreign, self.answers(tensor))

        return Group(rows, ask)
