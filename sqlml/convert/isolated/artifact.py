"""A loaded model, of whatever library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from sqlml.convert.isolated.inputs import Input, Tensor

Declared = Union[tuple[Input, ...], Tensor, None]
"""What the MLflow signature says of the inputs."""


@dataclass(frozen=True)
class Artifact:
    """`onnx` (a file's bytes) for the flavor onnx, `estimator` (what answers) for every other one.

    `origin` is kept with the result: class, file, its sha256, serialization, versions it was trained with.
    """

    flavor: str
    origin: Mapping[str, str]
    notes: tuple[str, ...] = ()
    inputs: Declared = None
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the MLflow signature, where it has names."""
    example: tuple[Path, Mapping[str, Any]] | None = None  # Any: YAML
    estimator: Any = field(default=None, repr=False)  # Any: libraries ship no types
    onnx: bytes = field(default=b"", repr=False)
