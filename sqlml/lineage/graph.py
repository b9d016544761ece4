"""Lineage as boxes with rows and links between them: what every drawing is made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlml.catalog import records
from sqlml.catalog.records import Version
from sqlml.lineage.columns import Edge, label
from sqlml.lineage.edges import version_name
from sqlml.lineage.present import edges_of
from sqlml.relation import split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Row:
    """A line of a box: a column, a feature, a prediction; `note` is its type, or why it is not known."""

    id: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Box:
    """`kind` is table, view, file, features, version, predictions, function, dataset, run, model version, model, stored
    file, constant or unknown. `layer` counts from the left; those of the model's own history are `above`."""

    id: str
    kind: str
    title: str
    layer: int
    above: bool = False
    rows: tuple[Row, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Link:
    """From a row (or a whole box) to another; `how` is the expression in between."""

    start: str
    end: str
    how: str | None = None


@dataclass(frozen=True)
class Graph:
    """`changed`: views under the source were replaced since it was deployed; they are shown as they are now."""

    title: str
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    changed: bool

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


HISTORY = ("dataset", "run", "stored file", "model version", "model")
ENDS = {"prediction": "predictions", "function": "function"}


def graph_of(connection: Connection, name: str, version: int | None = None) -> Graph:
    """The graph of a version of a deployment, the active one by default.

    Raises:
        NotDeployed: there is no such deployment or version.
    """
    deployment = records.deployment(connection, name)
    chosen = records.active_or(connection, deployment, version)
    edges, changed = edges_of(connection, chosen)
    made = _Making(chosen, edges)
    return Graph(version_name(chosen), made.boxes(), made.links(), changed)


class _Making:
    """A graph in the making: every name gets a number, so that no drawing has to care what names hold."""

    def __init__(self, version: Version, edges: Iterable[Edge]) -> None:
        self.version = version
        self.edges = list(edges)
        self.ids: dict[tuple[str, str], str] = {}
        self.rows: dict[tuple[str, str], dict[str, Row]] = {}
        types = {column.name: column.type for column in version.contract.columns}
        for edge in self.edges:
            for end in self._ends(edge):
                kind, title = self._box(*end)
                rows = self.rows.setdefault((kind, title), {})
                if self._has_rows(kind):
                    text = end[1] if end[0] in ("feature", "key") else split_name(end[1])[-1]
                    note = types.get(text, "") if end[0] == "feature" else "key" if end[0] == "key" else ""
                    rows[self.id(*end)] = Row(self.id(*end), text, note)
        steps = [(e, self._box("column", e.to_name)) for e in self.edges if e.to_kind == "column"]
        # A step within one is a table's generated column.
        self.made_of_views = {box for e, box in steps if self._box(*self._ends(e)[0]) != box}

    def _ends(self, edge: Edge) -> list[tuple[str, str]]:
        """Both ends; what is not known, or constant, is one of its own for each column."""
        from_name = edge.to_name if edge.from_kind in ("unknown", "constant") else edge.from_name
        return [(edge.from_kind, from_name), (edge.to_kind, edge.to_name)]

    def id(self, kind: str, name: str) -> str:
        return self.ids.setdefault((kind, name), f"n{len(self.ids)}")

    def _box(self, kind: str, name: str) -> tuple[str, str]:
        if kind in ("column", "file", "prediction", "function"):
            parts = split_name(name)
            if kind == "function":
                return kind, name
            return ("prediction" if kind == "prediction" else kind), label(parts[:-1])
        if kind in ("feature", "key"):
            return "features", f"inputs of {version_name(self.version)}"
        return kind, name

    def _has_rows(self, kind: str) -> bool:
        return kind in ("column", "file", "prediction", "features")

    def _links(self) -> Iterable[tuple[tuple[str, str], tuple[str, str], Link]]:
        """Each with the boxes that it leads from and to; between whole boxes there is one."""
        seen: set[tuple[str, str]] = set()
        for edge in self.edges:
            a, b = self._ends(edge)
            start, end = self._box(*a), self._box(*b)
            whole = edge.from_kind == "feature" or edge.to_kind in ENDS
            first = self.id(*start) if whole else self.id(*a) if self._has_rows(start[0]) else self.id(*start)
            last = self.id(*end) if whole or not self._has_rows(end[0]) else self.id(*b)
            if (first, last) not in seen:
                seen.add((first, last))
                yield start, end, Link(first, last, edge.how)

    def links(self) -> tuple[Link, ...]:
        return tuple(link for _, _, link in self._links())

    def _layers(self) -> dict[tuple[str, str], int]:
        """Each box right of all that lead to it."""
        before: dict[tuple[str, str], set[tuple[str, str]]] = {box: set() for box in self.rows}
        for start, end, _ in self._links():
            if start != end:
                before[end].add(start)
        found: dict[tuple[str, str], int] = {}

        def layer(box: tuple[str, str], above: frozenset[tuple[str, str]]) -> int:
            if box not in found:
                steps = [layer(b, above | {box}) for b in sorted(before[box]) if b not in above]
                found[box] = 1 + max(steps, default=-1)
            return found[box]

        for box in before:
            layer(box, frozenset())
        return found

    def _drawn_together(self, layers: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
        """Each box directly before the first that it leads to, and not at the far left: links that pass behind other
        boxes look as if they led to these."""
        onward: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for start, end, _ in self._links():
            onward.setdefault(start, set()).add(end)
        found: dict[tuple[str, str], int] = {}
        for box in sorted(layers, key=lambda box: -layers[box]):  # from the right: what it leads to is placed
            ends = [found[end] for end in onward.get(box, ()) if end in found]
            found[box] = max(layers[box], min(ends) - 1) if ends else layers[box]
        return found

    def boxes(self) -> tuple[Box, ...]:
        layers = self._drawn_together(self._layers())
        made = []
        for (kind, title), rows in self.rows.items():
            shown = ENDS.get(kind, kind)
            if kind == "column":
                shown = "view" if (kind, title) in self.made_of_views else "table"
            above = kind in HISTORY
            named, note = self._named(kind, title)
            made.append(Box(self.id(kind, title), shown, named, layers[kind, title], above, tuple(rows.values()), note))
        return tuple(sorted(made, key=lambda box: (not box.above, box.layer)))

    def _named(self, kind: str, title: str) -> tuple[str, str]:
        """What a person reads, and what is said below it."""
        how = {(e.to_kind, e.to_name, e.from_kind): e.how or "" for e in self.edges}
        if kind == "unknown":
            return "unknown", next(h for (k, n, f), h in how.items() if n == title and f == "unknown")
        if kind == "constant":
            return "constant", next(h for (k, n, f), h in how.items() if n == title and f == "constant")
        if kind == "version":
            return title, f"engine {self.version.engine}, {self.version.state}"
        if kind == "model":
            return f"sha256 {title[:12]}", "python_function" if self.version.engine == "pyfunc" else "ONNX"
        if kind in ("run", "dataset"):
            return title, next((e.how or "" for e in self.edges if e.from_kind == kind and e.from_name == title), "")
        return title, ""
