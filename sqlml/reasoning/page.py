"""The answer as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from sqlml.reasoning import words
from sqlml.reasoning.facts import Flip, Why
from sqlml.reasoning.style import STYLE
from sqlml.reasoning.words import shown

# Any in this module: SQL values. Every text of somebody else's goes through `_text`.
HEAD = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
"""Even what slipped through could neither run nor load anything."""


def page(why: Why) -> str:
    """The whole page."""
    title = _text(f"{why.deployment} v{why.version}: {words.key_of(why)}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{HEAD}<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n'
        f"{_headline(why)}\n{_inputs(why)}\n{_flips(why)}\n{_origin(why)}\n"
        f"<footer>Made by <code>sqlml why</code>{_as_of(why)}. Times are UTC. Names of people are what the machines said:"
        " claims, not proofs.</footer>\n</main></body></html>\n"
    )


def _text(value: Any, digits: int = 6) -> str:
    return escape(shown(value, digits))


def _as_of(why: Why) -> str:
    return "" if why.as_of is None else f" for {_text(why.as_of)}"


def _headline(why: Why) -> str:
    said = why.prediction
    keys = "".join(f"<span><b>{_text(name)}</b> {_text(value)}</span>" for name, value in why.key.items())
    if said.error is not None:
        answer = f'<p class="answer bad">No prediction</p><p class="reason">{_text(said.error)}</p>'
    else:
        answer = f'<p class="answer">{_text(said.value)}</p>'
    when = f"Scored {_text(said.scored_at)}"
    if not said.stored:
        when += "; overwritten since, and computed again from the inputs that were kept"
    recalled = "" if why.recalled is None else f'<p class="reason">{escape(words.recall_line(why.recalled))}</p>'
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in why.notes)
    return (
        f'<header><p class="kind">{_text(why.deployment)} <span>v{why.version}, {_text(why.deployed["state"])}</span></p>'
        f'<p class="key">{keys}</p>{answer}{recalled}{_gauge(why)}<p class="when">{when}</p>{notes}</header>'
    )


def _gauge(why: Why) -> str:
    """The score between 0 and 1, with the threshold where the deployment has its own."""
    said = why.prediction
    if said.score is None or not 0 <= said.score <= 1:
        return ""
    mark = "" if said.threshold is None else f'<i style="left:{100 * said.threshold:.2f}%"></i>'
    rule = f", threshold {_text(said.threshold)}" if said.threshold is not None else ""
    note = (
        f" ({_text(said.threshold_note)})"
        if rule
        else f"; threshold: {said.threshold_note}"
        if said.threshold_note
        else ""
    )
    return (
        f'<div class="gauge"><div style="width:{100 * said.score:.2f}%"></div>{mark}</div>'
        f'<p class="score"><code>{_text(said.score_of)}</code> <b>{_text(said.score)}</b>{rule}{note}</p>'
        f"{_classes(why)}"
    )


def _classes(why: Why) -> str:
    """The probabilities of several classes, the likeliest first."""
    known = [
        (n.removeprefix("probability_"), v) for n, v in why.prediction.outputs.items() if n.startswith("probability_")
    ]
    numbers = sorted(((n, v) for n, v in known if isinstance(v, float)), key=lambda pair: -pair[1])
    if len(numbers) < 3:
        return ""
    rows = "".join(
        f'<li><span>{_text(name)}</span><i style="width:{100 * value:.2f}%"></i><b>{_text(value, 3)}</b></li>'
        for name, value in numbers[:12]
    )
    return f'<ul class="classes">{rows}</ul>'


def _inputs(why: Why) -> str:
    found = why.contributions
    size = {row.column: row.contribution for row in found.rows if row.target is None}
    largest = max((abs(value) for value in size.values()), default=0.0)
    order = sorted(why.inputs.columns, key=lambda column: -abs(size.get(column.column, 0.0)))
    rows = []
    for column in order:
        then = (
            '<td class="unknown">not known</td>'
            if why.inputs.then_known == "unknown"
            else f"<td>{_text(column.then)}</td>"
        )
        if column.changed is False:
            now = '<td class="same">same</td>'
        elif not why.inputs.in_source:
            now = '<td class="unknown">gone</td>' if why.inputs.in_source is False else '<td class="unknown">?</td>'
        else:
            now = f'<td class="{"changed" if column.changed else ""}">{_text(column.now)}</td>'
        bar = f"<td>{_bar(size[column.column], largest)}</td>" if column.column in size else "<td></td>" if size else ""
        name = f'<th scope="row">{_text(column.column)} <small>{_text(column.type)}</small></th>'
        rows.append(f"<tr>{name}{then}{now}{bar}</tr>")
    unit = ""
    if size:
        of = ", of the inputs of now" if found.of == "now" else ""
        unit = f'<th class="wide">contribution, <small>{_text(found.unit)}{of}</small></th>'
    head = f"<thead><tr><th>input</th><th>then</th><th>now</th>{unit}</tr></thead>"
    return (
        f"<section><h2>What the model saw</h2><p>{_text(why.inputs.note)}</p>"
        f'<div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>{_sum(why, size)}</section>'
    )


def _sum(why: Why, size: dict[str, float]) -> str:
    found = why.contributions
    if size:
        of = "" if found.label is None else f" of {_text(found.label)}"
        return (
            f'<p class="sum">base <b>{_text(found.base)}</b> + contributions <b>{_text(sum(size.values()))}</b>'
            f" = score{of} <b>{_text(found.score)}</b> <small>{_text(found.unit)}</small></p>"
        )
    if found.rows:
        rows = "".join(
            f'<tr><td>{_text(r.target)}</td><th scope="row">{_text(r.column)}</th><td>{_text(r.contribution)}</td></tr>'
            for r in found.rows
        )
        head = "<thead><tr><th>target</th><th>input</th><th>contribution</th></tr></thead>"
        return f'<p class="sum">{_text(found.note)}</p><div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'
    return f'<p class="note">{_text(found.note)}</p>' if found.note else ""


def _bar(value: float, largest: float) -> str:
    """A bar to the right for what raises the score, to the left for what lowers it."""
    width = 0.0 if not largest else 50 * abs(value) / largest
    side = "up" if value > 0 else "down" if value < 0 else "none"
    place = f"left:50%;width:{width:.2f}%" if value > 0 else f"right:50%;width:{width:.2f}%"
    sign = "+" if value > 0 else ""
    drawn = f'<div class="bar"><i class="{side}" style="{place}"></i></div>'
    return f'<div class="part">{drawn}<b class="{side}">{sign}{_text(value, 4)}</b></div>'


def _flips(why: Why) -> str:
    found = why.flips
    if not found.columns and not found.unflipped:
        return f'<section><h2>What would change the label</h2><p class="note">{_text(found.note)}</p></section>'
    rows = "".join(map(_flip, found.columns))
    first = found.columns[0] if found.columns else None
    said = f"<p>{_text(found.note)}</p>"
    if first is not None:
        said = (
            f'<p class="nearest">The nearest change of one input: <b>{_text(first.column)}</b> from'
            f" <b>{_text(first.before)}</b> to <b>{escape(words.exactly(first.value))}</b> gives"
            f" <b>{_text(first.becomes)}</b>{_beyond(first)}.</p>"
        )
    of = "<p>Of the inputs of now.</p>" if found.of == "now" else ""
    head = "<thead><tr><th>input</th><th>from</th><th>to</th><th>gives</th><th>distance</th><th></th></tr></thead>"
    table = f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>' if rows else ""
    without = "".join(
        f"<li>{_text(note)}: <b>{', '.join(map(_text, columns))}</b></li>"
        for note, columns in words.without_any(found).items()
    )
    scale = f'<p class="small">Distance: {_text(found.scale)}. Each answer was found by predicting: {found.evaluations:,} rows.</p>'
    listed = f'<ul class="plain">{without}</ul>' if without else ""
    return f"<section><h2>What would change the label</h2>{said}{of}{table}{listed}{scale}</section>"


def _beyond(flip: Flip) -> str:
    return ", beyond what the source has" if flip.in_range is False else ""


def _flip(flip: Flip) -> str:
    notes = [part for part in ("beyond what the source has" if flip.in_range is False else "", flip.note or "") if part]
    distance = "" if flip.distance is None else _text(flip.distance, 3)
    return (
        f'<tr><th scope="row">{_text(flip.column)}</th><td>{_text(flip.before)}</td>'
        f"<td><b>{escape(words.exactly(flip.value))}</b></td><td>{_text(flip.becomes)}</td><td>{distance}</td>"
        f'<td class="unknown">{_text("; ".join(notes))}</td></tr>'
    )


def _origin(why: Why) -> str:
    """From the data to the prediction, each step with what it is known by."""
    steps = [_step("Training data", _datasets(why))]
    if why.run is not None:
        run = why.run
        pairs = [
            ("run", run["run_id"]),
            ("name", run["name"]),
            ("experiment", run["experiment"]),
            ("by", run["user"]),
            ("server", run["tracking_uri"]),
            ("not known", run["problem"]),
        ]
        steps.append(
            _step("MLflow run", _pairs(pairs) + _chips("metrics", run["metrics"]) + _chips("parameters", run["params"]))
        )
    else:
        steps.append(_step("MLflow run", "<p>The model has none.</p>"))
    model, deployed = why.model, why.deployed
    named = (
        f"{model['name']} version {model['version']}" if model["name"] and model["version"] else deployed["resolved"]
    )
    steps.append(
        _step(
            "Model",
            _pairs(
                [
                    ("registered", named),
                    ("estimator", model["estimator"]),
                    ("bytes sha256", model["sha256"]),
                    ("files sha256", model["artifact_sha256"]),
                    ("files", model["artifact_uri"]),
                ]
            ),
        )
    )
    steps.append(
        _step(
            f"Deployment version {why.version}",
            _pairs(
                [
                    ("state", deployed["state"]),
                    ("engine", f"{deployed['engine']}: {deployed['engine_why']}"),
                    ("source", deployed["source"]),
                    ("deployed", f"{shown(deployed['deployed_at'])} by {deployed['deployed_by']}"),
                    ("why", deployed["why"]),
                    ("parity", words.parity_line(why)),
                ]
            )
            + _history(why.history),
        )
    )
    scoring = why.scoring
    pairs = [("scoring", scoring["scoring_id"]), ("problem", scoring.get("problem"))]
    if "problem" not in scoring:
        rows = None if scoring["rows_scored"] is None else f"{scoring['rows_scored']:,}"
        pairs += [("kind", scoring["kind"]), ("rows", rows), ("by", scoring["who"]), ("job", scoring["job_id"])]
    steps.append(_step("Scoring", _pairs(pairs)))
    return f'<section><h2>Where it comes from</h2><ol class="chain">{"".join(steps)}</ol></section>'


def _step(title: str, content: str) -> str:
    return f"<li><h3>{title}</h3>{content}</li>"


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    known = "".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in pairs if value not in (None, ""))
    return f"<dl>{known}</dl>"


def _chips(title: str, values: dict[str, Any]) -> str:
    if not values:
        return ""
    listed = "".join(f"<span><b>{_text(name)}</b> {_text(value)}</span>" for name, value in sorted(values.items()))
    return f'<h4>{title}</h4><p class="chips">{listed}</p>'


def _datasets(why: Why) -> str:
    if not why.datasets:
        return "<p>The run logged none.</p>"
    names = ("name", "digest", "version", "source", "context")
    return "".join(_pairs([(name, found[name]) for name in names]) for found in why.datasets)


def _history(events: Sequence[dict[str, Any]]) -> str:
    listed = "".join(f"<li>{escape(words.history_line(event))}</li>" for event in events)
    return f'<h4>history</h4><ul class="plain">{listed}</ul>' if listed else ""
