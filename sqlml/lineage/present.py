"""The edges of a version as they are now: a view may have been replaced since they were recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlml.catalog.records import Version
from sqlml.errors import SqlmlError
from sqlml.lineage.columns import Edge
from sqlml.lineage.edges import edges
from sqlml.relation import find

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def edges_of(connection: Connection, version: Version) -> tuple[list[Edge], bool]:
    """The edges, and whether views between the tables and the source have changed since they were recorded.

    What was recorded counts where more was known then: an attached database may be missing now.
    """
    recorded = recorded_edges(connection, version)
    if version.source is None or version.state != "active":
        return recorded, False
    try:
        now = list(edges(connection, version, find(connection, version.source)))
    except SqlmlError:  # the source is gone, or a view over it is broken
        return recorded, False
    if _unknown(now) - _unknown(recorded):
        return recorded, False
    return now, _comparable(now) != _comparable(recorded)


def recorded_edges(connection: Connection, version: Version) -> list[Edge]:
    """The edges as they were when the version was deployed."""
    rows = connection.execute(
        "SELECT from_kind, from_name, to_kind, to_name, how FROM sqlml.lineage"
        " WHERE deployment = ? AND version = ? ORDER BY rowid",
        [version.deployment, version.version],
    ).fetchall()
    return [Edge(*row) for row in rows]


def _unknown(found: Iterable[Edge]) -> set[tuple[str, str]]:
    return {(edge.to_kind, edge.to_name) for edge in found if edge.from_kind == "unknown"}


def _comparable(found: Iterable[Edge]) -> set[tuple[str, str, str, str | None]]:
    """Steps between columns; of another deployment's predictions it does not matter which version's they are."""
    return {
        (edge.from_kind, _any_version(edge.from_name), _any_version(edge.to_name), edge.how)
        for edge in found
        if edge.to_kind == "column"
    }


def _any_version(name: str) -> str:
    return re.sub(r"\.predictions_v\d+\.", ".predictions_v.", name)
