"""Rounds on a database file: it is open only while it is read or written, so that shells and BI tools get at it in between.

While the registry is asked, which may take long where it is away, nobody has the file open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlml import writing_back
from sqlml.catalog import records
from sqlml.errors import DatabaseLocked
from sqlml.syncing import outcomes
from sqlml.syncing.acting import How, act, checked, is_anything_to_do
from sqlml.syncing.looking import ask, look
from sqlml.syncing.outcomes import Synced

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

Opening = Callable[[], AbstractContextManager["Connection"]]

LONGEST_PAUSE = 300.0
"""Seconds between rounds while nothing answers, where `every` is shorter."""


@dataclass(frozen=True)
class Places:
    """How the file is opened to be read, and to be written."""

    reading: Opening
    writing: Opening


def one_round(places: Places, name: str | None, how: How, *, check: bool = False) -> Synced:
    """See `sqlml.sync`. Opens the file for writing only if there is something to write.

    Raises:
        DatabaseLocked: another process has the file open.
    """
    with places.reading() as connection:
        looked = look(connection, name)
        due = writing_back.due(connection, name, now=records.now(), everything=how.retry)
    answers = ask(looked, tracking_uri=how.tracking_uri, registry_uri=how.registry_uri)
    if check or not is_anything_to_do(looked, due, answers, retry=how.retry):
        return checked(looked, answers, retry=how.retry)
    with places.writing() as connection:
        return act(connection, name, answers, how)


def rounds(
    places: Places,
    name: str | None,
    how: How,
    *,
    every: float,
    check: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Synced]:
    """One round after another, without end. A file that another process has open is a round in which nothing was done."""
    pause = every
    while True:
        began = time.monotonic()
        try:
            done = one_round(places, name, how, check=check)
        except DatabaseLocked as error:
            done = Synced(records.now(), (), problem=error.message)
        yield done
        pause = min(2 * pause, max(every, LONGEST_PAUSE)) if _nothing_answers(done) else every
        sleep(max(0.0, pause - (time.monotonic() - began)))


def _nothing_answers(done: Synced) -> bool:
    asked = [o for o in done.outcomes if o.what not in (outcomes.PINNED, outcomes.UNFINISHED)]
    return bool(asked) and all(o.what == outcomes.UNREACHABLE for o in asked)
