"""zip that insists on equal lengths: what zip(strict=True) is from Python 3.10 on, and models may be of Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, overload

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


@overload
def zipped(first: Iterable[A], second: Iterable[B], /) -> Iterator[tuple[A, B]]: ...
@overload
def zipped(first: Iterable[A], second: Iterable[B], third: Iterable[C], /) -> Iterator[tuple[A, B, C]]: ...
def zipped(*columns: Iterable[Any]) -> Iterator[tuple[Any, ...]]:  # Any: the overloads say it
    """The columns side by side.

    Raises:
        ValueError: one of them is longer than another.
    """
    rows = [list(column) for column in columns]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"columns of {', '.join(str(len(row)) for row in rows)} values beside each other")
    return zip(*rows)
