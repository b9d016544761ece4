"""The values that a column can have, numbered in their order, so that "the next one" is exact: doubles and float32 by
their bits, whole numbers, decimals."""

from __future__ import annotations

import decimal
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sqlml.binding import WHOLE
from sqlml.signature import Column

Kind = Literal["double", "single", "whole", "decimal"]
EXACT = 2**53
"""Whole numbers up to here are DOUBLEs of their own; the features that a model sees are DOUBLEs."""
_CONTEXT = decimal.Context(prec=400)
_PACKED = {
    "double": (struct.Struct("<d"), struct.Struct("<q")),
    "single": (struct.Struct("<f"), struct.Struct("<i")),
}
LIMITS = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63, "HUGEINT": 127}


@dataclass(frozen=True)
class Grid:
    """Numbers between `low` and `high` (numbers of places, not values)."""

    kind: Kind
    scale: int
    low: int
    high: int

    def above(self, value: float) -> int:
        """The place of the least value that is not below this one."""
        if self.kind == "single":
            place = _bits(_single(value), "single")
            return place if self.value(place) >= value else place + 1
        if self.kind == "double":
            return _bits(value, "double")
        return math.ceil(value) if self.kind == "whole" else self._scaled(value, decimal.ROUND_CEILING)

    def below(self, value: float) -> int:
        """The place of the greatest value that is not above this one."""
        return -self.above(-value)

    def nearest(self, value: float) -> int:
        """The place of the value itself where it has one; float32: of what it is rounded to."""
        if self.kind == "single":
            return _bits(_single(value), "single")
        if self.kind == "whole":
            return round(value)
        return self.above(value) if self.kind == "double" else self._scaled(value, decimal.ROUND_HALF_EVEN)

    def value(self, place: int) -> float:
        if self.kind in ("double", "single"):
            return _number(place, self.kind)
        return float(place) if self.kind == "whole" else float(self.text(place))

    def text(self, place: int) -> str:
        """As DuckDB reads it back exactly."""
        if self.kind == "whole":
            return str(place)
        if self.kind == "decimal":
            return format(decimal.Decimal(place).scaleb(-self.scale, _CONTEXT), "f")
        return repr(self.value(place))

    def texts(self, places: Sequence[int]) -> list[str]:
        """The same of many; a tree has hundreds of thresholds."""
        if self.kind != "double":
            return [self.text(place) for place in places]
        numbered = np.array(places, np.int64)
        sizes = np.abs(numbered).view(np.float64)
        return list(map(repr, np.where(numbered < 0, -sizes, sizes).tolist()))

    def _scaled(self, value: float, rounding: str) -> int:
        exact = decimal.Decimal(value).scaleb(self.scale, _CONTEXT)
        return int(exact.to_integral_value(rounding, _CONTEXT))


def grid_of(column: Column, kind: str) -> Grid | None:
    """Of a column whose values have this type in the source; None for texts and booleans."""
    base = re.split(r"\(", kind)[0].strip().upper()
    if column.is_text or column.type == "BOOLEAN" or base == "BOOLEAN":
        return None
    if base in WHOLE or column.type in ("BIGINT", "INTEGER"):
        unsigned = base.startswith("U")
        bits = min(LIMITS.get(name.removeprefix("U"), 127) for name in (base, column.type))
        most = min(2 ** (bits + unsigned) - 1, EXACT)
        return Grid("whole", 0, 0 if unsigned else -most, most)
    if base == "DECIMAL":
        precision, scale = (*map(int, re.findall(r"\d+", kind)), 18, 3)[:2] if "(" in kind else (18, 3)
        return Grid("decimal", scale, 1 - 10**precision, 10**precision - 1)
    if base == "FLOAT" or column.type == "FLOAT":
        most = _bits(3.4028234663852886e38, "single")
        return Grid("single", 0, -most, most)
    most = _bits(1.7976931348623157e308, "double")
    return Grid("double", 0, -most, most)


def _single(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(3.4028234663852886e38, value)


def _bits(value: float, kind: Kind) -> int:
    """Doubles (float32 numbers) in their order: 0 is 0.0, 1 the smallest above it, -1 the greatest below."""
    number, whole = _PACKED[kind]
    bits = int(whole.unpack(number.pack(abs(value)))[0])
    return -bits if value < 0 else bits


def _number(place: int, kind: Kind) -> float:
    number, whole = _PACKED[kind]
    size = float(number.unpack(whole.pack(abs(place)))[0])
    return -size if place < 0 else size
