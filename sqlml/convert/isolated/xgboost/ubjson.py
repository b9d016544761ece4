"""Universal Binary JSON as XGBoost writes it, draft 12 (read in XGBoost: src/common/json.cc, UBJReader and UBJWriter).

Objects have neither a type nor a count of their own; arrays may have both, and are then numpy arrays.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

# Any in this module: whatever JSON holds.
NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
CONSTANTS = {"Z": None, "T": True, "F": False}
DEEPEST = 100


def loads(content: bytes) -> Any:
    """The value; raises ValueError where the bytes are something else."""
    try:
        value, end = _value(content, 0, 0)
    except (IndexError, struct.error) as error:
        raise ValueError(f"UBJSON that ends too early ({error})") from error
    if content[end:].strip(b"\x00N"):
        raise ValueError("UBJSON that goes on after its end")
    return value


def _value(content: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind, at = _marker(content, at)
    if depth > DEEPEST:
        raise ValueError("UBJSON that is nested too deep")
    if kind == "{":
        return _object(content, at, depth)
    if kind == "[":
        return _array(content, at, depth)
    return _scalar(kind, content, at)


def _marker(content: bytes, at: int) -> tuple[str, int]:
    """The next type marker, past those that say nothing."""
    while content[at] == ord("N"):
        at += 1
    return chr(content[at]), at + 1


def _scalar(kind: str, content: bytes, at: int) -> tuple[Any, int]:
    if kind in NUMBERS:
        dtype = np.dtype(NUMBERS[kind])
        (value,) = np.frombuffer(_taken(content, at, dtype.itemsize), dtype=dtype).tolist()
        return value, at + dtype.itemsize
    if kind == "S":
        return _text(content, at)
    if kind == "C":
        return chr(content[at]), at + 1
    if kind in CONSTANTS:
        return CONSTANTS[kind], at
    raise ValueError(f"UBJSON with a value of type {kind!r}")


def _text(content: bytes, at: int) -> tuple[str, int]:
    length, at = _length(content, at)
    return _taken(content, at, length).decode("utf-8", "surrogateescape"), at + length


def _length(content: bytes, at: int) -> tuple[int, int]:
    kind, at = _marker(content, at)
    value, at = _scalar(kind, content, at)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"UBJSON with the length {value!r}")
    return value, at


def _object(content: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
    made: dict[str, Any] = {}
    while True:
        while content[at] == ord("N"):
            at += 1
        if content[at] == ord("}"):
            return made, at + 1
        name, at = _text(content, at)
        made[name], at = _value(content, at, depth + 1)


def _array(content: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind, count = None, None
    if content[at] == ord("$"):
        kind, at = chr(content[at + 1]), at + 2
        if content[at] != ord("#"):
            raise ValueError("UBJSON with a typed array without a length")
    if content[at] == ord("#"):
        count, at = _length(content, at + 1)
    if kind is not None:
        if kind not in NUMBERS or count is None:
            raise ValueError(f"UBJSON with an array of {kind!r}")
        dtype = np.dtype(NUMBERS[kind])
        size = dtype.itemsize * count
        return np.frombuffer(_taken(content, at, size), dtype=dtype).astype(dtype.newbyteorder("=")), at + size
    made: list[Any] = []
    while count is None or len(made) < count:
        if count is None and content[at] == ord("]"):
            return made, at + 1
        value, at = _value(content, at, depth + 1)
        made.append(value)
    return made, at


def _taken(content: bytes, at: int, size: int) -> bytes:
    if at + size > len(content):
        raise ValueError("UBJSON that ends too early")
    return content[at : at + size]
