"""A graph as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from sqlml.lineage.graph import Box, Graph, Link, Row

WIDTH, GAP, LINE, HEAD, SPACE, MARGIN = 230, 84, 22, 48, 22, 16
NOTE = 22
LETTERS = 28
"""That fit into a box; the rest is in the tooltip."""
STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --ink: #1f2328; --soft: #5d6570; --line: #d5d9de; --box: #ffffff;
  --link: #9aa5b1; --table: #2563a8; --view: #0f766e; --model: #7c3aed; --out: #b45309; --bad: #b42318; --lit: #d97706; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e6e8ea; --soft: #9aa4ae; --line: #343b42;
  --box: #1c2024; --link: #56616c; --table: #6aa9e9; --view: #4fc4b5; --model: #b79bf5; --out: #eda54c; --bad: #f2857b;
  --lit: #f5b642; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main, section { padding: 0 24px; } header { padding-top: 22px; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 17px; margin: 28px 0 8px; } p { margin: 4px 0 14px; color: var(--soft); }
.graph { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--box); }
svg { display: block; font: 13px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .note { fill: var(--soft); font-size: 11.5px; } svg .kind { font-size: 11px;
  letter-spacing: .04em; fill: var(--c); } svg .title { font-weight: 600; }
rect.box { fill: var(--page); stroke: var(--line); } rect.bar { fill: var(--c); } rect.row { fill: transparent; }
path { fill: none; stroke: var(--link); stroke-width: 1.2; } path.whole { stroke-width: 2.4; }
.table, .file, .dataset { --c: var(--table); } .view { --c: var(--view); } .features, .version, .run, .model,
.model-version, .stored-file { --c: var(--model); } .predictions, .function { --c: var(--out); }
.unknown { --c: var(--bad); } .constant { --c: var(--soft); } .unknown .title { fill: var(--bad); }
.some path, .some g.line { opacity: .16; } .some path.lit, .some g.line.lit { opacity: 1; }
path.lit { stroke: var(--lit); stroke-width: 2; } g.line.lit rect.row { fill: var(--lit); fill-opacity: .16; }
g.line { cursor: default; outline: none; } g.line:focus-visible rect.row { stroke: var(--lit); }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin-bottom: 40px; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; } th { color: var(--soft); font-weight: 500; } code { font: 12.5px ui-monospace, monospace; }
.bad { color: var(--bad); }
"""
# Marks what a row is made of and what is made of it. Only numbers of rows stand in the attributes, never names.
SCRIPT = """
const svg = document.querySelector("svg"), links = [...svg.querySelectorAll("path")];
const lines = new Map([...svg.querySelectorAll("g.line")].map(g => [g.id, g]));
function walk(id, from, to, lit) { for (const p of links) if (p.dataset[from] === id && !lit.has(p)) {
  lit.add(p); walk(p.dataset[to], from, to, lit); } }
function show(id) { const lit = new Set(); clear(); svg.classList.add("some"); walk(id, "end", "start", lit);
  walk(id, "start", "end", lit); const ids = new Set([id]);
  for (const p of lit) { p.classList.add("lit"); ids.add(p.dataset.start).add(p.dataset.end); }
  for (const i of ids) lines.get(i)?.classList.add("lit"); }
function clear() { svg.classList.remove("some"); for (const e of svg.querySelectorAll(".lit")) e.classList.remove("lit"); }
for (const [id, g] of lines) { for (const on of ["mouseenter", "focus"]) g.addEventListener(on, () => show(id));
  for (const off of ["mouseleave", "blur"]) g.addEventListener(off, clear); }
"""


@dataclass(frozen=True)
class _Placed:
    box: Box
    x: int
    y: int

    @property
    def height(self) -> int:
        return HEAD + LINE * len(self.box.rows) + (6 if self.box.rows else 0) + (NOTE if self.note else 0)

    @property
    def title(self) -> str:
        return self.box.note if self.box.title == self.box.kind else self.box.title

    @property
    def note(self) -> str:
        return "" if self.box.title == self.box.kind else self.box.note


def page(graph: Graph) -> str:
    """The whole page."""
    boxes = _placed(graph)
    right = max((p.x + WIDTH for p in boxes), default=0) + MARGIN
    bottom = max((p.y + p.height for p in boxes), default=0) + MARGIN
    changed = " Its views have changed since it was deployed; this is how they are now." if graph.changed else ""
    title = escape(f"Lineage of {graph.title}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
        f"<header><h1>{title}</h1><p>From the tables on the left to the predictions on the right; above, where the model"
        f" comes from. Point at a row to see what it is made of.{changed}</p></header>\n<main>"
        f'<div class="graph"><svg width="{right}" height="{bottom}" viewBox="0 0 {right} {bottom}" role="img"'
        f' aria-label="{title}">\n{_paths(graph, boxes)}\n{"".join(map(_drawn, boxes))}</svg></div></main>\n'
        f"<section><h2>Column by column</h2>{_table(graph)}</section>\n<script>{SCRIPT}</script></body></html>\n"
    )


def _placed(graph: Graph) -> list[_Placed]:
    """Columns of boxes; the model's history above, ending beside the version that it leads to."""
    boxes = _ordered(graph)
    version = next(box for box in boxes if box.kind == "version")
    flow = [box for box in boxes if not box.above and box.kind != "version"]
    history = [box for box in boxes if box.above]
    last = max((box.layer for box in flow if box.kind == "features"), default=0) + 1
    last = max(last, max((box.layer for box in history), default=0) + 1)
    shift = last - version.layer  # to the right, where the history is longer than the flow
    placed = []
    heights: dict[int, int] = {}
    for box in [*history, version]:
        layer = box.layer + shift if box is version else last - (version.layer - box.layer)
        y = heights.get(layer, MARGIN)
        placed.append(_Placed(box, MARGIN + layer * (WIDTH + GAP), y))
        heights[layer] = y + placed[-1].height + SPACE
    top = max(heights.values(), default=MARGIN) + SPACE
    below: dict[int, int] = {}
    for box in flow:
        layer = box.layer + shift
        is_end = box.kind in ("predictions", "function")
        y = below.get(layer, MARGIN if is_end else top)
        placed.append(_Placed(box, MARGIN + layer * (WIDTH + GAP), y))
        below[layer] = y + placed[-1].height + SPACE
    least = min(p.x for p in placed)
    return [_Placed(p.box, p.x - least + MARGIN, p.y) for p in placed]


def _ordered(graph: Graph) -> list[Box]:
    """Boxes and their rows in the order of what they lead to, so that fewer links cross: from the right to the left."""
    order: dict[str, float] = {}
    found: list[Box] = []
    onward: dict[str, list[str]] = {}
    for link in graph.links:
        onward.setdefault(link.start, []).append(link.end)

    def place(id_: str) -> float:
        ends = [order[end] for end in onward.get(id_, ()) if end in order]
        return sum(ends) / len(ends) if ends else float("inf")

    number = 0
    for layer in sorted({box.layer for box in graph.boxes}, reverse=True):
        of_layer = [box for box in graph.boxes if box.layer == layer]

        def key(box: Box) -> float:
            places = [p for p in map(place, [box.id, *(row.id for row in box.rows)]) if p != float("inf")]
            return sum(places) / len(places) if places else float("inf")

        for box in sorted(of_layer, key=key):
            is_fixed = box.kind in ("features", "predictions")  # as the signature and the table have them
            rows = box.rows if is_fixed else tuple(sorted(box.rows, key=lambda row: place(row.id)))
            for id_ in (box.id, *(row.id for row in rows)):
                order[id_] = number = number + 1
            found.append(Box(box.id, box.kind, box.title, box.layer, box.above, rows, box.note))
    return found


def _paths(graph: Graph, boxes: list[_Placed]) -> str:
    at: dict[str, tuple[int, int]] = {}
    for p in boxes:
        at[p.box.id] = p.x, p.y + HEAD // 2
        for number, row in enumerate(p.box.rows):
            at[row.id] = p.x, p.y + HEAD + LINE * number + LINE // 2
    whole = {p.box.id for p in boxes}
    found = []
    for link in graph.links:
        (x1, y1), (x2, y2) = at[link.start], at[link.end]
        x1 += WIDTH
        bend = max(40, (x2 - x1) // 2)
        kind = ' class="whole"' if link.start in whole and link.end in whole else ""
        how = f"<title>{escape(link.how)}</title>" if link.how else ""
        found.append(
            f'<path{kind} data-start="{link.start}" data-end="{link.end}"'
            f' d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}">{how}</path>'
        )
    return "".join(found)


def _drawn(p: _Placed) -> str:
    box = p.box
    note = f'<text class="note" x="{p.x + 12}" y="{p.y + 57}">{_cut(p.note, LETTERS + 4)}</text>' if p.note else ""
    height = p.height
    rows = "".join(_line(row, p.x, p.y + HEAD + LINE * number) for number, row in enumerate(box.rows))
    return (
        f'<g class="{box.kind.replace(" ", "-")}"><title>{escape(f"{box.kind} {box.title} {box.note}".strip())}</title>'
        f'<rect class="box" x="{p.x}" y="{p.y}" width="{WIDTH}" height="{height}" rx="6"/>'
        f'<rect class="bar" x="{p.x}" y="{p.y}" width="4" height="{height}" rx="2"/>'
        f'<text class="kind" x="{p.x + 12}" y="{p.y + 18}">{escape(box.kind.upper())}</text>'
        f'<text class="title" x="{p.x + 12}" y="{p.y + 38}">{_cut(p.title, LETTERS - 5)}</text>{note}{rows}</g>\n'
    )


def _line(row: Row, x: int, y: int) -> str:
    room = LETTERS - (len(row.note) + 2 if row.note else 0)
    note = f'<text class="note" x="{x + WIDTH - 10}" y="{y + 15}" text-anchor="end">{escape(row.note)}</text>'
    return (
        f'<g class="line" id="{row.id}" tabindex="0"><title>{escape(f"{row.text} {row.note}".strip())}</title>'
        f'<rect class="row" x="{x + 5}" y="{y}" width="{WIDTH - 6}" height="{LINE}"/>'
        f'<text x="{x + 12}" y="{y + 15}">{_cut(row.text, max(room, 12))}</text>{note if row.note else ""}</g>'
    )


def _cut(text: str, length: int = LETTERS) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return escape(text if len(text) <= length else f"{text[: length - 1]}\u2026")


def _table(graph: Graph) -> str:
    """The same in words: each input of the model, the columns at the end of its ways, and the steps in between."""
    into: dict[str, list[Link]] = {}
    for link in graph.links:
        into.setdefault(link.end, []).append(link)
    names = {row.id: (f"{box.title}.{row.text}", box) for box in graph.boxes for row in box.rows}
    names |= {box.id: (f"{box.title}: {box.note}".rstrip(": "), box) for box in graph.boxes if not box.rows}
    rows = []
    for box in (box for box in graph.boxes if box.kind == "features"):
        for row in box.rows:
            ends, steps = _followed(row.id, into, names)
            rows.append(
                f"<tr><td>{escape(row.text)}</td><td>{escape(row.note)}</td><td>{'<br>'.join(ends) or 'no column'}</td>"
                f"<td>{'<br>'.join(f'<code>{escape(step)}</code>' for step in steps)}</td></tr>"
            )
    head = "<tr><th>input</th><th>type</th><th>made of</th><th>by</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>" if rows else "<p>It has no source: functions only.</p>"


def _followed(
    start: str, into: dict[str, list[Link]], names: dict[str, tuple[str, Box]]
) -> tuple[Iterable[str], Iterable[str]]:
    ends: dict[str, None] = {}
    steps: dict[str, None] = {}
    waiting, seen = [start], {start}
    while waiting:
        for link in into.get(waiting.pop(0), ()):
            name, box = names[link.start]
            if link.how and box.kind not in ("unknown", "constant"):
                steps[f"{names[link.end][0].rsplit('.', 1)[-1]} = {link.how}"] = None
            if link.start not in into:
                is_bad = box.kind == "unknown"
                ends[f'<span class="bad">{escape(name)}</span>' if is_bad else escape(name)] = None
            elif link.start not in seen:
                seen.add(link.start)
                waiting.append(link.start)
    return ends, steps
