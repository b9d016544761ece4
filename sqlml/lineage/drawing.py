"""A graph as text for other programs: Mermaid, Graphviz, and a browser."""

from __future__ import annotations

import re

from sqlml.lineage.graph import Box, Graph, Row
from sqlml.lineage.page import page


def drawn(graph: Graph, form: str) -> str:
    """`form` is mermaid, dot or html."""
    return {"mermaid": mermaid, "dot": dot, "html": page}[form](graph)


def mermaid(graph: Graph) -> str:
    """A flowchart, as Markdown pages show it."""
    lines = ["flowchart LR"]
    for box in graph.boxes:
        if box.rows:
            lines.append(f'  subgraph {box.id}["{_entities(_head(box))}"]')
            lines += [f'    {row.id}["{_entities(_line(row))}"]' for row in box.rows]
            lines.append("  end")
        else:
            lines.append(f'  {box.id}["{_entities(_head(box))}"]')
    lines += [f"  {link.start} --> {link.end}" for link in graph.links]
    return "\n".join(lines)


def _entities(text: str) -> str:
    """Letters that Mermaid, or the HTML that it makes, would read as something else, by their numbers."""
    return re.sub(r"[^\w .,:;()+*/=-]|[\r\n]", lambda found: f"#{ord(found[0])};", text)


def dot(graph: Graph) -> str:
    """For Graphviz: `sqlml lineage churn --format dot | dot -Tsvg`."""
    lines = [
        f"digraph {_quoted(graph.title)} {{",
        "  rankdir=LR; compound=true; node [shape=box, fontname=sans]; graph [fontname=sans];",
    ]
    for box in graph.boxes:
        if box.rows:
            # An edge of Graphviz joins nodes: that of a whole box hangs on a point inside, and is cut at its border.
            lines.append(f"  subgraph cluster_{box.id} {{ label={_quoted(_head(box))};")
            lines.append(f"    {box.id} [shape=point, style=invis];")
            lines += [f"    {row.id} [label={_quoted(_line(row))}];" for row in box.rows]
            lines.append("  }")
        else:
            lines.append(f"  {box.id} [label={_quoted(_head(box))}, style=rounded];")
    whole = {box.id for box in graph.boxes if box.rows}
    for link in graph.links:
        cut = [f"ltail=cluster_{link.start}"] if link.start in whole else []
        cut += [f"lhead=cluster_{link.end}"] if link.end in whole else []
        cut += [f"tooltip={_quoted(link.how)}"] if link.how else []
        lines.append(f"  {link.start} -> {link.end}" + (f" [{', '.join(cut)}];" if cut else ";"))
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _head(box: Box) -> str:
    kind = "" if box.kind == "features" else f"{box.kind} "
    title = "" if box.kind in ("unknown", "constant") else box.title
    return f"{kind}{title}" + (f" ({box.note})" if box.note else "")


def _line(row: Row) -> str:
    return f"{row.text} ({row.note})" if row.note else row.text
