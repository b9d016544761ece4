"""gc: what crashed writes, replaced files and removals left behind goes, once nobody can need it any more.

An object belongs to one path for ever and is live exactly while that path's manifest names it, so whether its chunks may
go is one look at that manifest. gc may be killed anywhere and run again, and several may run at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from sqlml.errors import ArtifactError, StoreConflict
from sqlml.hbase import files, layout, switching
from sqlml.hbase.files import StoredFile
from sqlml.hbase.layout import CHUNK_COLUMN, MANIFEST_COLUMN, Garbage, Intent, Manifest, Tombstone
from sqlml.hbase.scanning import PAGE, pages

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Cell, Gateway

DEFAULT_AGE_S = 24 * 3600
TOMBSTONE_AGE_MS = 120_000
"""A tombstone younger than this stays, whatever the age limit: it goes by a delete with its own timestamp, which must be
older than that of any write to come, also by a region server whose clock is behind. HBase's master turns away region
servers whose clocks differ by more than 30 s."""


@dataclass
class Collected:
    """What gc removed, or would remove."""

    crashed: int = 0
    """Writes and removals that did not end."""
    replaced: int = 0
    """Files that were overwritten or removed."""
    tombstones: int = 0
    orphans: int = 0
    """Objects that no record knows of: what a write left whose last call arrived after gc had been there."""
    chunks: int = 0
    """Of at most 1 MiB each, of all of these."""
    younger: int = 0
    """Records within the age limit, left alone."""
    problems: list[str] = field(default_factory=list)


def collect(gateway: Gateway, *, age_s: float = DEFAULT_AGE_S, apply: bool = False, orphans: bool = False) -> Collected:
    """Remove what is older than `age_s` seconds by the region server's clock; only look, unless `apply`.

    `orphans` also looks for chunks that no record knows of, which reads all chunks in the table.

    Raises:
        StoreError: the store does not answer; what was removed so far is removed.
    """
    done = Collected()
    run = layout.new_id()
    switching.begin(gateway, run, "", "gc", None)
    try:
        own = gateway.get(layout.intent_row(run), MANIFEST_COLUMN, doing="reading the store's clock")
        # The intent of this run carries the region server's time: the clocks of clients do not matter.
        now = int(time.time() * 1000) if own is None else own.timestamp
        limit = now - int(age_s * 1000)
        _crashed(gateway, run, limit, apply, done)
        _replaced(gateway, limit, min(limit, now - TOMBSTONE_AGE_MS), apply, done)
        if orphans:
            with _noting(done):  # with one record that cannot be read, nothing is an orphan for certain
                for object_, timestamp in list(orphaned(gateway)):
                    if timestamp <= limit:
                        done.orphans += 1
                        _remove_chunks(gateway, object_, apply, done)
    finally:
        gateway.delete(layout.intent_row(run), MANIFEST_COLUMN, doing="ending the collection")
    return done


def _crashed(gateway: Gateway, run: str, limit: int, apply: bool, done: Collected) -> None:
    for row, cell in _records(gateway, layout.INTENT_ROWS):
        id_ = layout.id_of(row)
        if id_ == run:
            continue
        if cell.timestamp > limit:
            done.younger += 1
            continue
        with _noting(done):
            intent = layout.decoded_intent(cell.value, f"The intent {id_}")
            if apply and not _claimed(gateway, row, cell.value, intent):
                continue  # it is alive, and has just renewed its intent
            done.crashed += 1
            if intent.phase != "gc":  # what a killed run of gc had not done yet is in the other records
                _settle(gateway, id_, intent, apply, done)
            if apply:
                gateway.delete(row, MANIFEST_COLUMN, doing=f"collecting what crashed at {intent.path}")


def _claimed(gateway: Gateway, row: bytes, cell: bytes, intent: Intent) -> bool:
    """Take the intent over. A lost answer counts as no: the next gc looks again."""
    if intent.phase in ("collecting", "gc"):
        return True
    claim = layout.encoded(replace(intent, phase="collecting"))
    doing = f"collecting what crashed at {intent.path}"
    return bool(gateway.switch(row, MANIFEST_COLUMN, cell, claim, doing=doing))


def _settle(gateway: Gateway, id_: str, intent: Intent, apply: bool, done: Collected) -> None:
    """Find out whether the crashed switch happened, see to it that it cannot happen later, and remove what lost."""
    if not _happened(gateway, id_, intent, apply):
        _remove_chunks(gateway, id_, apply, done)  # none for a removal
    if intent.replaces and not _is_live(gateway, intent.path, intent.replaces):
        _remove_chunks(gateway, intent.replaces, apply, done)


def _happened(gateway: Gateway, id_: str, intent: Intent, apply: bool) -> bool:
    """Whether the manifest was switched by this id; if not, it is rewritten ("fenced") so that it cannot be any more.

    A switch that is still under way expects the cell as it was before. Where there is none, a tombstone takes its place.
    """
    row, doing = layout.manifest_row(intent.path), f"collecting what crashed at {intent.path}"
    # An id of its own, and always the same: a gc that comes after a killed one finds it.
    fence_id = sha256(id_.encode()).hexdigest()[: len(id_)]
    for _ in range(switching.ATTEMPTS):
        found = gateway.get(row, MANIFEST_COLUMN, doing=doing)
        record = None if found is None else files.decoded(intent.path, found.value)
        if isinstance(record, Tombstone) and apply and record.id in (id_, fence_id):
            # A removal that crashed after its switch, or the fence of a gc that was killed: it has no record yet.
            removed = Garbage(intent.path, intent.replaces or "", tombstone=True)
            gateway.put(layout.garbage_row(record.id), MANIFEST_COLUMN, layout.encoded(removed), doing=doing)
        if record is not None and record.id == id_:
            return True
        if not apply or (record is not None and id_ in (record.fenced, *record.replaced)):
            return record is not None and id_ in record.replaced
        fence: Manifest | Tombstone
        fence = Tombstone(fence_id, "", fenced=id_) if record is None else replace(record, fenced=id_)
        gateway.switch(row, MANIFEST_COLUMN, found and found.value, layout.encoded(fence), doing=doing)
    raise StoreConflict(f"{intent.path} was changed by others {switching.ATTEMPTS} times.", hint="Run gc again.")


def _replaced(gateway: Gateway, limit: int, tombstone_limit: int, apply: bool, done: Collected) -> None:
    for row, cell in _records(gateway, layout.GARBAGE_ROWS):
        if cell.timestamp > limit:
            done.younger += 1
            continue
        with _noting(done):
            garbage = layout.decoded_garbage(cell.value, f"The garbage record {layout.id_of(row)}")
            if garbage.object and not _is_live(gateway, garbage.path, garbage.object):
                done.replaced += 1
                _remove_chunks(gateway, garbage.object, apply, done)
            if garbage.tombstone and not _tombstone_gone(gateway, row, garbage, tombstone_limit, apply, done):
                continue  # its record stays too
            if apply:
                gateway.delete(row, MANIFEST_COLUMN, doing=f"collecting what was at {garbage.path}")


def _tombstone_gone(gateway: Gateway, row: bytes, garbage: Garbage, limit: int, apply: bool, done: Collected) -> bool:
    """Whether this removal's tombstone is not there any more: something was written over it, or it is old enough."""
    doing = f"removing the tombstone of {garbage.path}"
    found = gateway.get(layout.manifest_row(garbage.path), MANIFEST_COLUMN, doing=doing)
    record = None if found is None else files.decoded(garbage.path, found.value)
    if found is None or not isinstance(record, Tombstone) or record.tombstone != layout.id_of(row):
        return True
    if found.timestamp > limit:
        done.younger += 1
        return False
    done.tombstones += 1
    if apply:
        # There is no checkAndDelete. This delete reaches only what is not newer than the tombstone.
        gateway.delete(layout.manifest_row(garbage.path), MANIFEST_COLUMN, until=found.timestamp, doing=doing)
    return True


def orphaned(gateway: Gateway) -> Iterator[tuple[str, int]]:
    """Objects that no manifest, intent or garbage record knows, with the time of their first chunk.

    The order makes it right while others write: first the chunks, of which each has had its intent before; then the
    manifests; and then once more the records that a switch in between would have left.
    """
    chunks = dict(_objects(gateway))
    known = _recorded(gateway)
    known |= {file.manifest.object for file in _readable(gateway)}
    known |= _recorded(gateway)
    yield from ((object_, timestamp) for object_, timestamp in chunks.items() if object_ not in known)


def _objects(gateway: Gateway) -> Iterator[tuple[str, int]]:
    start, stop, last = layout.CHUNK_ROWS, layout.after_prefix(layout.CHUNK_ROWS), ""
    while True:
        page = gateway.page(start, stop, CHUNK_COLUMN, limit=PAGE, keys_only=True, doing="listing the chunks")
        for row, cell in page:
            if layout.id_of(row) != last:
                last = layout.id_of(row)
                yield last, cell.timestamp
        if len(page) < PAGE:
            return
        start = layout.chunk_rows(last)[1]


def _recorded(gateway: Gateway) -> set[str]:
    found: set[str] = set()
    for row, cell in _records(gateway, layout.INTENT_ROWS):
        id_ = layout.id_of(row)
        found |= {id_, layout.decoded_intent(cell.value, f"The intent {id_}").replaces or ""}
    for row, cell in _records(gateway, layout.GARBAGE_ROWS):
        found.add(layout.decoded_garbage(cell.value, f"The garbage record {layout.id_of(row)}").object)
    return found


def _readable(gateway: Gateway) -> Iterator[StoredFile]:
    """All files. A damaged manifest stops this: what it referred to is not known, so nothing is an orphan for certain."""
    return files.below(gateway, "")


def _records(gateway: Gateway, rows: bytes) -> Iterator[tuple[bytes, Cell]]:
    for page in pages(gateway, rows, layout.after_prefix(rows), MANIFEST_COLUMN, doing="listing what to collect"):
        yield from page


def _is_live(gateway: Gateway, path: str, object_: str) -> bool:
    found = gateway.get(layout.manifest_row(path), MANIFEST_COLUMN, doing=f"reading the manifest of {path}")
    return found is not None and files.object_of(path, found.value) == object_


def _remove_chunks(gateway: Gateway, object_: str, apply: bool, done: Collected) -> None:
    start, stop = layout.chunk_rows(object_)
    doing = f"collecting object {object_}"
    for page in pages(gateway, start, stop, CHUNK_COLUMN, keys_only=True, doing=doing):
        if apply:
            gateway.delete_many([row for row, _ in page], CHUNK_COLUMN, doing=doing)
        done.chunks += len(page)


@contextmanager
def _noting(done: Collected) -> Iterator[None]:
    """A record that cannot be read is left alone and told of; the others are collected."""
    try:
        yield
    except ArtifactError as error:
        if str(error) not in done.problems:  # met once more while looking for orphans
            done.problems.append(str(error))
