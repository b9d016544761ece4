"""Rounds of `sync` as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlml.cli import output

if TYPE_CHECKING:
    from sqlml.syncing.outcomes import Outcome, Synced


def synced(done: Synced, as_json: bool) -> None:
    if as_json:
        output.as_json(done.to_dict())
        return
    if not done.outcomes:
        output.data(done.problem or "Nothing is deployed here.")
    for outcome in done.outcomes:
        output.data(_synced(outcome))
    _write_backs(done)


def synced_again(done: Synced, said: dict[tuple[str, bool], str], as_json: bool) -> None:
    """One round of many: a line of JSON, or what is not as it was said before; `said` remembers that."""
    if as_json:
        output.json_line(done.to_dict())
        return
    now = {(o.name, o.beside): _synced(o) for o in done.outcomes}
    if done.problem is not None:
        now[("", False)] = done.problem
    for key, text in now.items():
        if said.get(key) != text:
            output.data(f"{output.cell(done.at)}  {text}")
    said.clear()
    said.update(now)
    _write_backs(done)


def _synced(outcome: Outcome) -> str:
    beside = " (shadows)" if outcome.beside else ""
    return f"{output.cell(outcome.name)}{beside}  {outcome.what}: {output.cell(outcome.sentence)}"


def _write_backs(done: Synced) -> None:
    for label in done.told:
        output.say(f"MLflow says where {label} is deployed.")
    for label, problem in done.pending:
        output.say(f"MLflow was not told about {label}, which is tried again: {problem}")
