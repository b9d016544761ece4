"""The answer as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlml.reasoning import words
from sqlml.reasoning.facts import KEPT, UNKNOWN, Why
from sqlml.reasoning.words import shown

BAR = 16
WIDEST = 40
PARAMETERS = 12
"""Of a run's parameters and metrics so many are listed; --json and the page have all."""


def lines(why: Why) -> Iterator[str]:
    """Sections with an empty line between them."""
    said = why.prediction
    yield f"{shown(why.deployment)} v{why.version}, {words.key_of(why)}: {words.headline(why)}"
    if (score := words.scored_with(why)) is not None:
        yield f"  {score}"
    when = f"scored {shown(said.scored_at)} UTC"
    yield (
        f"  {when}"
        if said.stored
        else f"  {when}; overwritten since, and computed again from the inputs that were kept"
    )
    if why.recalled is not None:
        yield f"  {words.recall_line(why.recalled)}"
    for note in why.notes:
        yield f"  {shown(note)}"
    yield ""
    yield from _inputs(why)
    yield ""
    yield from _flips(why)
    yield ""
    yield from _origin(why)


def _inputs(why: Why) -> Iterator[str]:
    yield why.inputs.note
    if why.inputs.in_source is False and why.inputs.then_known == KEPT:
        yield "The key has left the source."
    found = why.contributions
    size = {row.column: row.contribution for row in found.rows if row.target is None}
    largest = max((abs(value) for value in size.values()), default=0.0)
    head = ["input", "then", "now"]
    if size:
        head += [f"contribution ({found.unit})" + (", of the inputs of now" if found.of == "now" else "")]
    rows = []
    order = sorted(why.inputs.columns, key=lambda c: -abs(size.get(c.column, 0.0)))
    for column in order:
        then = "not known" if why.inputs.then_known == UNKNOWN else shown(column.then)
        now = "same" if column.changed is False else "-" if not why.inputs.in_source else shown(column.now)
        row = [shown(column.column), then, now]
        if size:
            value = size.get(column.column, 0.0)
            row.append(f"{shown(value):>12} {_bar(value, largest)}")
        rows.append(row)
    yield from _table(head, rows)
    if size:
        label = "" if found.label is None else f" of {shown(found.label)}"
        yield f"  base {shown(found.base)} + contributions = score{label} {shown(found.score)}"
    elif found.rows:
        yield f"  {found.note}"
        yield from _table(
            ["target", "input", "contribution"],
            [[shown(row.target), shown(row.column), shown(row.contribution)] for row in found.rows],
        )
    elif found.note:
        yield f"  {shown(found.note)}"


def _bar(value: float, largest: float) -> str:
    length = 0 if not largest else round(BAR * abs(value) / largest)
    return ("+" if value > 0 else "-") * length


def _flips(why: Why) -> Iterator[str]:
    found = why.flips
    if found.note and not found.unflipped:
        yield f"nearest change of label: {shown(found.note)}"
        return
    now = ", of the inputs of now" if found.of == "now" else ""
    if found.columns:
        yield f"the nearest change of one input that gives another label{now}"
    else:
        yield f"nearest change of label{now}: {shown(found.note)}"
    yield from _table(
        ["input", "from", "to", "gives", "distance", ""],
        [
            [
                shown(flip.column),
                shown(flip.before),
                words.exactly(flip.value),
                shown(flip.becomes),
                "" if flip.distance is None else shown(flip.distance, 3),
                "; ".join(
                    part for part in ("beyond what the source has" if flip.in_range is False else "", flip.note) if part
                ),
            ]
            for flip in found.columns
        ],
    )
    for note, columns in words.without_any(found).items():
        yield f"  {note}: {', '.join(map(shown, columns))}"
    if found.columns and found.scale:
        yield f"  distance: {shown(found.scale)}"


def _origin(why: Why) -> Iterator[str]:
    deployed, model = why.deployed, why.model
    pairs = [
        ("scoring", words.scoring_line(why)),
        (
            "version",
            f"v{why.version} ({deployed['state']}), engine {deployed['engine']}, {shown(deployed['resolved'])}",
        ),
        (
            "deployed",
            f"{shown(deployed['deployed_at'])} UTC by {shown(deployed['deployed_by'])}"
            + (f": {shown(deployed['why'])}" if deployed["why"] else ""),
        ),
        *(("", words.history_line(event)) for event in why.history if event["action"] != "stage"),
        ("parity", words.parity_line(why)),
        ("model", f"sha256 {model['sha256']}" + (f", {shown(model['estimator'])}" if model["estimator"] else "")),
        ("files", f"{shown(model['artifact_uri'])}, sha256 {model['artifact_sha256']}"),
    ]
    if why.run is None:
        pairs.append(("run", "the model has no MLflow run"))
    else:
        run = why.run
        where = f" in experiment {shown(run['experiment'])}" if run["experiment"] else ""
        pairs.append(("run", f"{shown(run['run_id'])}{where}" + (f" by {shown(run['user'])}" if run["user"] else "")))
        for kind in ("params", "metrics"):
            listed = [f"{shown(name)} {shown(value)}" for name, value in run[kind].items()]
            more = f" and {len(listed) - PARAMETERS} more" if len(listed) > PARAMETERS else ""
            if listed:
                pairs.append(("", f"{kind}: {', '.join(listed[:PARAMETERS])}{more}"))
        if run["problem"]:
            pairs.append(("", shown(run["problem"])))
    pairs += [("dataset", words.dataset_line(found)) for found in why.datasets]
    if why.run is not None and not why.datasets:
        pairs.append(("dataset", "the run logged none"))
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        yield f"{name.ljust(width)}  {value}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    cells = [[_cut(text) for text in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield ("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))).rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST * 2 else f"{text[: WIDEST * 2 - 1]}\u2026"
