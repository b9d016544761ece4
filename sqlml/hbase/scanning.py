"""Rows of a range, page by page: no scanner stays open between two calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Cell, Gateway

PAGE = 256
"""Rows per call: of manifests about 60 kB."""


def pages(
    gateway: Gateway, start: bytes, stop: bytes, column: bytes, *, doing: str, keys_only: bool = False
) -> Iterator[list[tuple[bytes, Cell]]]:
    """The rows from `start` to before `stop` that have a cell in `column`, in order; the last page may be empty."""
    while True:
        page = gateway.page(start, stop, column, limit=PAGE, keys_only=keys_only, doing=doing)
        yield page
        if len(page) < PAGE:
            return
        start = page[-1][0] + b"\0"
