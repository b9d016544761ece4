"""Values as people read them, the same on the terminal, in SQL rows and on the page."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

from sqlml.reasoning.facts import Flip, Flips, Why

# Any in this module: SQL values.


def shown(value: Any, digits: int = 6) -> str:
    """On one line; what is not printable (and could move a cursor, or hide text) is escaped."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{value:.0f}"
        return f"{value:.{digits}g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return ", ".join(f"{shown(name)} {shown(entry, digits)}" for name, entry in value.items())
    text = value.hex() if isinstance(value, bytes) else str(value)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def exactly(value: Any) -> str:
    """A number with every digit that it takes to write it again: the last one decides which side of a threshold it is."""
    return repr(value) if isinstance(value, float) and not value.is_integer() else shown(value)


def key_of(why: Why) -> str:
    return ", ".join(f"{shown(name)} = {shown(value)}" for name, value in why.key.items())


def headline(why: Why) -> str:
    """The prediction in one sentence."""
    said = why.prediction
    if said.error is not None:
        return f"no prediction: {shown(said.error)}"
    return shown(said.value)


def scored_with(why: Why) -> str | None:
    """Score and threshold."""
    said = why.prediction
    if said.score is None:
        return None
    if said.threshold is not None:
        return f"{shown(said.score_of)} {shown(said.score)}, threshold {shown(said.threshold)} ({said.threshold_note})"
    rule = f"; threshold: {said.threshold_note}" if said.threshold_note else ""
    return f"{shown(said.score_of)} {shown(said.score)}{rule}"


def change(flip: Flip) -> str:
    """What would have to change."""
    return f"{shown(flip.column)}: {shown(flip.before)} -> {exactly(flip.value)}"


def how_far(flip: Flip) -> str:
    parts = [] if flip.distance is None else [f"distance {shown(flip.distance, 3)}"]
    if flip.in_range is False:
        parts.append("beyond what the source has")
    if flip.note:
        parts.append(flip.note)
    return "; ".join(parts)


def nearest(why: Why) -> str:
    """The nearest change, or why there is none."""
    if not why.flips.columns:
        return why.flips.note or ""
    first = why.flips.columns[0]
    far = how_far(first)
    return f"{change(first)} gives {shown(first.becomes)}" + (f" ({far})" if far else "")


def without_any(found: Flips) -> dict[str, list[str]]:
    """Columns of which no change gives another label, by the reason, in their order."""
    by_note: dict[str, list[str]] = {}
    for one in found.unflipped:
        by_note.setdefault(one.note, []).append(one.column)
    return by_note


def history_line(event: dict[str, Any]) -> str:
    """One thing that happened to the version."""
    moved = "" if event["from_version"] is None else f" from v{event['from_version']}"
    because = f": {shown(event['why'])}" if event["why"] else ""
    return f"{shown(event['happened_at'])} UTC  {shown(event['action'])}{moved} by {shown(event['who'])}{because}"


def parity_line(why: Why) -> str:
    found = why.parity
    if found is None:
        return "no evidence is recorded"
    verdict = "passed" if found["passed"] else "failed"
    far = found["largest_difference"]
    apart = "" if far is None or not math.isfinite(far) else f", largest difference {shown(far, 2)}"
    aside = f", {found['rows_set_aside']:,} set aside" if found["rows_set_aside"] else ""
    return (
        f"{verdict} on {found['rows_compared']:,} rows{apart} (tolerance {shown(found['tolerance'])}){aside},"
        f" {shown(found['checked_at'])} UTC"
    )


def dataset_line(found: dict[str, Any]) -> str:
    parts = [shown(found["name"]), f"digest {shown(found['digest'])}"]
    if found["version"]:
        parts.append(f"version {shown(found['version'])}")
    if found["source"]:
        parts.append(f"from {shown(found['source'])}")
    if found["context"]:
        parts.append(f"({shown(found['context'])})")
    return " ".join(parts)


def recall_line(found: dict[str, Any]) -> str:
    because = f": {shown(found['why'])}" if found["why"] else ""
    of = f"{shown(found['kind'])} {shown(found['value'])}"
    return f"Recalled {shown(found['recalled_at'])} UTC by {shown(found['who'])} ({of}){because}"


def scoring_line(why: Why) -> str:
    found = why.scoring
    if "problem" in found:
        return f"{found['scoring_id']}: {found['problem']}"
    rows = "" if found["rows_scored"] is None else f", {found['rows_scored']:,} rows"
    return f"{found['scoring_id']} ({shown(found['kind'])}{rows}) by {shown(found['who'])}"
