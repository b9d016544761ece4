"""A manifest is switched from what it was to something else, atomically, and what it replaced is left to gc.

The order is: intent, (chunks,) manifest by checkAndPut, garbage, intent removed. Killed anywhere, readers see the old
file or the new one, and gc finds by the intent what has to go. Two writers of one path: each switch names the cell that
it replaces, so one of them is first, and the other replaces it; no object is lost from the records.

gc may take an intent over when it is old. It does so in two steps, and that keeps a slow writer from losing anything:
it claims the intent, and then rewrites the manifest's cell ("fenced"). A switch that comes later, even one that was
under way all the time, expects the cell before that, fails, and finds its intent gone when it tries again.
"""

from __future__ import annotations

import getpass
import os
import random
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlml.errors import StoreConflict
from sqlml.hbase import files, layout
from sqlml.hbase.layout import MANIFEST_COLUMN, Garbage, Intent, Manifest, Tombstone

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway

ATTEMPTS = 32
LONGEST_PAUSE_S = 0.5


class TakenOver(StoreConflict):
    """gc took this write for crashed: its manifest was not switched, and cannot be any more."""


def begin(gateway: Gateway, id_: str, path: str, phase: str, replaces: str | None) -> Intent:
    """Record the intent; what follows may crash at any point."""
    intent = Intent(path, phase, replaces, who())
    doing = f"beginning to write {path}" if path else f"beginning {phase}"  # a run of gc has no path
    gateway.put(layout.intent_row(id_), MANIFEST_COLUMN, layout.encoded(intent), doing=doing)
    return intent


def switch(gateway: Gateway, id_: str, intent: Intent, before: bytes | None, after: Manifest | Tombstone) -> None:
    """Put `after` in the place of the cell there, record what became garbage, end the intent.

    `before` is the cell as it was when the intent was begun; None where there was none.
    Where somebody else was faster, what they wrote is replaced in turn, unless it is a file that was removed and this is
    a removal.

    Raises:
        TakenOver: gc took the intent over; nothing has changed.
        StoreConflict: others kept being faster, or were so in the moment in which the connection broke.
        StoreError: the store does not answer; whether the switch happened is then not known.
    """
    path, row = intent.path, layout.manifest_row(intent.path)
    doing = f"switching the manifest of {path}"
    # During a long upload others may have replaced it any number of times, which is more than records remember.
    known, before = before, _cell(gateway, row, doing)
    for attempt in range(ATTEMPTS):
        old = None if before is None else files.object_of(path, before)
        if isinstance(after, Tombstone) and old is None:
            break  # somebody else has removed it already
        if attempt > 0 or before != known:
            # What was read since the intent began may be what gc has fenced it with; then this fails.
            intent = _renewed(gateway, id_, intent, replace(intent, replaces=old, attempt=intent.attempt + 1))
        new = layout.encoded(replace(after, replaced=_chain(path, before)))
        now = new if gateway.switch(row, MANIFEST_COLUMN, before, new, doing=doing) else _cell(gateway, row, doing)
        if now == new or _was_there(gateway, path, id_, before, now):
            if old is not None:
                garbage = layout.encoded(Garbage(path, old, isinstance(after, Tombstone)))
                gateway.put(layout.garbage_row(id_), MANIFEST_COLUMN, garbage, doing=f"ending the write of {path}")
            break
        if now != before:
            # Somebody was faster, and that is settled. What they wrote may not be the last any more after the pause.
            time.sleep(random.uniform(0, min(LONGEST_PAUSE_S, 0.005 * 2**attempt)))
            now = _cell(gateway, row, doing)
        before = now
    else:
        raise StoreConflict(
            f"{path} was changed by others {ATTEMPTS} times while it was written; it holds what they wrote.",
            hint="Have one writer per file, or try again.",
        )
    gateway.delete(layout.intent_row(id_), MANIFEST_COLUMN, doing=f"ending the write of {path}")


def _chain(path: str, before: bytes | None) -> tuple[str, ...]:
    """The ids that a record written over `before` remembers."""
    if before is None or files.object_of(path, before) == "":
        return ()
    record = files.decoded(path, before)
    return (record.id, *record.replaced)[: layout.REMEMBERED]


def _was_there(gateway: Gateway, path: str, id_: str, before: bytes | None, now: bytes | None) -> bool:
    """Whether the switch to `id_` happened, although it was not answered with yes and `now` is in the cell.

    Its answer may have got lost; and when a region server dies, the gateway itself asks again, and a switch that
    happened is answered with no. Each record remembers what it replaced, so `now` tells. Only if it does not, by too
    many switches in between, nobody knows; to go on would risk to bring an object back that is recorded as garbage.
    """
    if now is None or now == before:
        return False
    record, was = files.decoded(path, now), _chain(path, before)[:1]
    if id_ in record.replaced:
        return True
    if len(record.replaced) < layout.REMEMBERED or set(was) & {record.id, *record.replaced}:
        return False
    raise StoreConflict(
        f"{path} was changed by others many times while it was written to {gateway.location.place}; whether this write"
        " was among what they replaced is not known.",
        hint="Have one writer per file, or look at what is there and try again.",
    )


def _renewed(gateway: Gateway, id_: str, old: Intent, new: Intent) -> Intent:
    row, doing = layout.intent_row(id_), f"renewing the intent to write {new.path}"
    before, after = layout.encoded(old), layout.encoded(new)
    for _ in range(ATTEMPTS):
        if gateway.switch(row, MANIFEST_COLUMN, before, after, doing=doing):
            return new
        now = _cell(gateway, row, doing)
        if now == after:
            return new
        if now != before:
            break
    raise TakenOver(
        f"The write of {new.path} took so long that sqlml hbase gc took it for crashed and removed it.",
        hint="Write it again, and give gc an age limit (--older-than) that is longer than any write.",
    )


def _cell(gateway: Gateway, row: bytes, doing: str) -> bytes | None:
    found = gateway.get(row, MANIFEST_COLUMN, doing=doing)
    return None if found is None else found.value


def who() -> str:
    """For people who look at intents: a claim, not a proof."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"
