"""How files lie in an HBase table: the keys of the rows, and what the cells hold. Storage format 1.

Row                    Column  Holds
m/<path>               m:c     the manifest of the file at that path, or the tombstone of one that was removed
i/<id>                 m:c     an intent: the write or removal that this id stands for is under way, or crashed
g/<id>                 m:c     garbage: the object that the file <id> took the place of, left for its readers until gc
d/<id>/<number>        d:c     a chunk of the file's bytes: 1 MiB, the last one less, with a checksum before it

An id is random and used once. That is what makes everything else simple: no chunk, intent or garbage row is ever
written again after it was removed. (Measured on HBase 2.6: a put that follows a delete of the same key within its
millisecond stays invisible.) Manifest rows keep their key, so they are never removed but overwritten, with a tombstone;
gc removes old tombstones by a delete that carries the tombstone's own timestamp, which leaves anything newer standing.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

from sqlml.errors import ArtifactError

FORMAT = 1
CHUNK_BYTES = 1 << 20
MANIFEST_COLUMN = b"m:c"
CHUNK_COLUMN = b"d:c"
MANIFEST_ROWS, INTENT_ROWS, GARBAGE_ROWS, CHUNK_ROWS = b"m/", b"i/", b"g/", b"d/"
CHECK_DIGITS = 16
REMEMBERED = 32
_CHECKSUM = struct.Struct(">I")
UPGRADE = "Upgrade sqlml: the file was written by a newer one."
LOG_AGAIN = "Run sqlml hbase fsck, and log the file again."
REMOVE = (
    "Remove its row in the HBase shell (deleteall TABLE, 'i/ID' of an intent, 'g/ID' of garbage); sqlml hbase gc"
    " --orphans then finds the chunks that it knew of."
)


@dataclass(frozen=True)
class Manifest:
    """A file: `chunks` chunks under the id `object`, in all `size` bytes with this sha256.

    `replaced` are the ids of what was at the path before, the last first, at most REMEMBERED: see switching.
    `fenced` is set by gc when it collects another write of the same path: see collecting.
    """

    object: str
    size: int
    chunks: int
    chunk_bytes: int
    sha256: str
    replaced: tuple[str, ...] = ()
    fenced: str | None = None

    @property
    def id(self) -> str:
        return self.object

    def __post_init__(self) -> None:
        if not (self.size >= 0 < self.chunk_bytes and self.chunks == -(-self.size // self.chunk_bytes)):
            raise ValueError(f"{self.chunks} chunks of {self.chunk_bytes} bytes do not make {self.size} bytes")

    def chunk_size(self, number: int) -> int:
        """The payload of chunk `number`, in bytes."""
        return min(self.chunk_bytes, self.size - number * self.chunk_bytes)


@dataclass(frozen=True)
class Tombstone:
    """A file that was removed; `object` is what it was. `tombstone` is the id of the removal."""

    tombstone: str
    object: str
    replaced: tuple[str, ...] = ()
    fenced: str | None = None

    @property
    def id(self) -> str:
        return self.tombstone


@dataclass(frozen=True)
class Intent:
    """What is about to happen at `path`; `replaces` is the object that becomes garbage when it succeeds.

    `phase` is writing, removing, collecting (gc has taken over what crashed) or gc (a run of it). `attempt` counts the
    times that somebody else was faster.
    """

    path: str
    phase: str
    replaces: str | None
    who: str
    attempt: int = 0


@dataclass(frozen=True)
class Garbage:
    """The object that lay at `path` before; `tombstone` says that nothing took its place."""

    path: str
    object: str
    tombstone: bool


Record = TypeVar("Record", Manifest, Tombstone, Intent, Garbage)


def new_id() -> str:
    return uuid4().hex


def manifest_row(path: str) -> bytes:
    return MANIFEST_ROWS + path.encode()


def below(path: str) -> tuple[bytes, bytes]:
    """First and last (exclusive) row of the manifests below the folder `path`; "" is the whole table."""
    folder = MANIFEST_ROWS + (f"{path}/".encode() if path else b"")
    return folder, after_prefix(folder)


def after_prefix(prefix: bytes) -> bytes:
    """The first row after all that begin with `prefix` (which ends with a byte below 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def intent_row(id_: str) -> bytes:
    return INTENT_ROWS + id_.encode()


def garbage_row(id_: str) -> bytes:
    return GARBAGE_ROWS + id_.encode()


def id_of(row: bytes) -> str:
    """The id in an intent's, garbage's or chunk's row."""
    return row.split(b"/")[1].decode()


def chunk_row(object_: str, number: int) -> bytes:
    return b"d/%s/%08x" % (object_.encode(), number)


def chunk_rows(object_: str) -> tuple[bytes, bytes]:
    """First and last (exclusive) row of an object's chunks."""
    prefix = b"d/%s/" % object_.encode()
    return prefix, after_prefix(prefix)


def with_checksum(row: bytes, payload: bytes | memoryview) -> bytes:
    """A chunk's cell: CRC-32 of the row key and the payload, big-endian, then the payload.

    With the key in it, a chunk that turns up in another one's place does not pass either.
    """
    return b"".join((_CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(row))), payload))


def payload(row: bytes, cell: bytes) -> memoryview | None:
    """The payload of a chunk's cell; None where it is not what was written."""
    if len(cell) < _CHECKSUM.size:
        return None
    found = memoryview(cell)[_CHECKSUM.size :]
    return found if _CHECKSUM.unpack_from(cell)[0] == zlib.crc32(found, zlib.crc32(row)) else None


def encoded(record: Manifest | Tombstone | Intent | Garbage) -> bytes:
    """One line of JSON, and the first half of its sha256: a record cut short or changed is told from a whole one."""
    text = json.dumps({"format": FORMAT, **vars(record)}, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " + sha256(text).hexdigest()[:CHECK_DIGITS].encode()


def decoded_file(cell: bytes, what: str) -> Manifest | Tombstone:
    """The manifest or tombstone in a cell. Raises ArtifactError; `what` names it."""
    values = _values(cell, what)
    if isinstance(values.get("replaced"), list):
        values["replaced"] = tuple(values["replaced"])
    if "tombstone" in values:
        return _record(Tombstone, values, what)
    return _record(Manifest, values, what)


def decoded_intent(cell: bytes, what: str) -> Intent:
    return _record(Intent, _values(cell, what, REMOVE), what, REMOVE)


def decoded_garbage(cell: bytes, what: str) -> Garbage:
    return _record(Garbage, _values(cell, what, REMOVE), what, REMOVE)


def _values(cell: bytes, what: str, mend: str = LOG_AGAIN) -> dict[str, Any]:  # Any: JSON
    text, _, check = cell.rpartition(b" ")
    whole = check == sha256(text).hexdigest()[:CHECK_DIGITS].encode()
    # A newer format may well check itself otherwise, so what it says of its number comes first.
    number = _format(text) or _format(cell)
    if number is not None and number != FORMAT:
        raise ArtifactError(
            f"{what} has the storage format {number}, and this sqlml knows format {FORMAT}.",
            hint=UPGRADE,
            format=number,
        )
    if not whole or number is None:
        raise ArtifactError(
            f"{what} is damaged: its {len(cell)} bytes are not what was written.",
            hint=mend,
            damaged=True,
        )
    values: dict[str, Any] = json.loads(text)
    del values["format"]
    return values


def _format(text: bytes) -> int | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError too
        return None
    number = values.get("format") if isinstance(values, dict) else None
    return number if isinstance(number, int) else None


def _is_text(value: object) -> bool:
    if isinstance(value, str):
        value.encode()  # raises a ValueError for a lone surrogate, which JSON may hold
        return True
    return False


_FITS: dict[str, Callable[[object], bool]] = {
    "str": _is_text,
    "str | None": lambda value: value is None or _is_text(value),
    "int": lambda value: type(value) is int,
    "bool": lambda value: type(value) is bool,
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(map(_is_text, value)),
}
"""What a value out of JSON must be, by the annotation of its field: the check at a record's end is no secret."""


def _record(kind: type[Record], values: Mapping[str, Any], what: str, mend: str = LOG_AGAIN) -> Record:
    try:
        for field in fields(kind):
            if field.name in values and not _FITS[str(field.type)](values[field.name]):
                raise TypeError(f"{field.name} is no {field.type}")
        return kind(**values)
    except (TypeError, ValueError) as error:  # a key is missing, or there is one that format 1 does not have
        raise ArtifactError(
            f"{what} is damaged: it is no {kind.__name__.lower()} of storage format {FORMAT}.",
            hint=mend,
            damaged=True,
        ) from error
