"""The result of a conversion: an ONNX graph in one fixed form, whatever it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlml.signature import Signature

Precision = Literal["double", "float"]


@dataclass(frozen=True)
class OnnxModel:
    """ONNX that gives the model's own answers.

    The graph has one input per signature column, named as the column, in signature order, shape [N, 1]:
    tensor(string) for VARCHAR, tensor(double) for everything else (FLOAT columns are cast to float inside the graph).
    A missing number is NaN; a missing text is `MISSING_TEXT`.

    Outputs, all with N rows:
      "prediction"    classifier: int64 [N, 1], the index into `signature.classes`;
                      regressor: double [N, T], T = 1 or len(signature.targets)
      "probabilities" double [N, K], in the order of `signature.classes`; only if `signature.probabilities`
      "error"         int64 [N, 1]: 0, or i when the original raises for this row, because of reasons[i - 1]; always there
    Where "error" is not 0 the other outputs have no meaning.
    """

    onnx: bytes
    sha256: str
    signature: Signature
    reasons: tuple[str, ...]
    precision: Precision
    """What the original computes in: parity tolerance is 1e-9 for "double", 1e-6 for "float"."""
    origin: Mapping[str, str]
    """Names and versions worth keeping: estimator, flavor, python, scikit-learn, onnx, converter ..."""


# ONNX has no missing string. U+10FFFF is a Unicode noncharacter: valid in UTF-8 and so in every engine, used by no text.
MISSING_TEXT = "\U0010ffffmissing\U0010ffff"
