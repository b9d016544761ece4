"""What is known, while a graph is built, about the columns that flow through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# Any in dtype annotations: numpy's dtype is generic over a scalar type that only exists at run time here.
FLOAT64: np.dtype[Any] = np.dtype(np.float64)
FLOAT32: np.dtype[Any] = np.dtype(np.float32)
INT64: np.dtype[Any] = np.dtype(np.int64)
BOOL: np.dtype[Any] = np.dtype(np.bool_)
OBJECT: np.dtype[Any] = np.dtype(object)

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Feature:
    """One column of a table inside the graph.

    `dtype` is what numpy would say of it in the original (object for text and for numbers among text); the tensor
    itself is string for text and double for everything else. `low` and `high` bound every value that is not NaN.
    `missing` are the input columns whose NULL makes this one NaN (or the missing text) for certain; `sources` those
    it is computed from. `exact` says that its bits equal the original's, so that comparing them is safe.
    """

    dtype: np.dtype[Any]
    text: bool = False
    low: float = -math.inf
    high: float = math.inf
    nan: bool = True
    missing: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    name: str | None = None
    exact: bool = True

    @property
    def infinite(self) -> bool:
        """May it be infinite?"""
        return not self.text and (self.low == -math.inf or self.high == math.inf)

    @property
    def label(self) -> str:
        """The column as a reason names it."""
        if len(self.sources) == 1:
            return self.sources[0]
        if self.sources and len(self.sources) <= 3:
            return "a value computed from " + ", ".join(self.sources)
        return "a computed value" if self.sources else "a value"

    @property
    def direct(self) -> bool:
        """Is it missing exactly when one input column is?"""
        return len(self.sources) == 1 and self.missing == frozenset(self.sources)


@dataclass(frozen=True)
class Segment:
    """Columns `picks` of a tensor [N, width]; all of them where `picks` is every position in order."""

    tensor: str
    width: int
    picks: tuple[int, ...]

    @property
    def whole(self) -> bool:
        return self.picks == tuple(range(self.width))


@dataclass(frozen=True)
class Table:
    """Columns between two steps. `frame`: the original holds a DataFrame here (each column its own dtype and a name);
    `sparse`: it holds a scipy sparse matrix, for which some steps compute in another order."""

    features: tuple[Feature, ...]
    segments: tuple[Segment, ...]
    frame: bool = False
    sparse: bool = False

    def __len__(self) -> int:
        return len(self.features)

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of the whole as check_array sees it."""
        dtypes = {f.dtype for f in self.features}
        if not dtypes:
            return FLOAT64
        return OBJECT if OBJECT in dtypes else np.result_type(*dtypes)

    def as_array(self) -> Table:
        """The table after numpy.asarray: one dtype for all; pandas gives object for booleans among numbers."""
        if not self.frame:
            return self
        dtypes = {f.dtype for f in self.features}
        mixed = OBJECT in dtypes or (BOOL in dtypes and len(dtypes) > 1)
        dtype = OBJECT if mixed else self.array_dtype
        return replace(self, frame=False, features=tuple(replace(f, dtype=dtype, name=None) for f in self.features))

    def select(self, indices: Sequence[int]) -> Table:
        """The columns at these positions, in this order; no node is needed for it yet."""
        flat = [(s, pick) for s in self.segments for pick in s.picks]
        segments: list[Segment] = []
        for index in indices:
            segment, pick = flat[index]
            if segments and segments[-1].tensor == segment.tensor:
                segments[-1] = replace(segments[-1], picks=(*segments[-1].picks, pick))
            else:
                segments.append(replace(segment, picks=(pick,)))
        return replace(self, features=tuple(self.features[i] for i in indices), segments=tuple(segments))

    @property
    def places(self) -> list[tuple[str, int]]:
        """Where each column stands: its tensor and its position there."""
        return [(s.tensor, pick) for s in self.segments for pick in s.picks]

    def with_features(self, features: Sequence[Feature]) -> Table:
        return replace(self, features=tuple(features))


def table_of(tensor: str, features: Sequence[Feature], *, frame: bool = False, sparse: bool = False) -> Table:
    """A table that is one tensor."""
    width = len(features)
    segments = (Segment(tensor, width, tuple(range(width))),) if width else ()
    return Table(tuple(features), segments, frame, sparse)


def beside(tables: Sequence[Table], *, frame: bool = False, sparse: bool = False) -> Table:
    """Tables side by side; the caller settles the dtypes."""
    return Table(
        tuple(f for t in tables for f in t.features), tuple(s for t in tables for s in t.segments), frame, sparse
    )
