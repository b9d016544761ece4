"""The table itself: its column families, as they are and as they are made."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlml.errors import StoreConflict, UsageError, choices
from sqlml.hbase.location import Location
from sqlml.hbase.messages import exceptions_in
from sqlml.hbase.transport import thrift

CODECS = ("NONE", "GZ", "SNAPPY", "LZO", "LZ4", "ZSTD")


class FamilyFacts(NamedTuple):
    """A column family as it was made."""

    versions: int
    compression: str
    bloom: str
    block_cache: bool


def known_codec(name: str) -> str:
    """
    >>> known_codec("zstd")
    'ZSTD'
    """
    codec = name.upper()
    if codec not in CODECS:
        raise UsageError(f"{name!r} is not a compression.", hint=choices(CODECS, wrong=codec))
    return codec


def families(table: bytes, client: Any) -> dict[bytes, FamilyFacts]:  # Any: methods that thriftpy2 makes at run time
    return {
        name.rstrip(b":"): FamilyFacts(
            family.maxVersions,
            _text(family.compression).upper(),
            _text(family.bloomFilterType).upper(),
            bool(family.blockCacheEnabled),
        )
        for name, family in client.getColumnDescriptors(table).items()
    }


class Creation:
    """Makes the table, and knows when an earlier try of its own did."""

    def __init__(self, location: Location, codec: str) -> None:
        self._location = location
        self._codec = codec
        self._tries = 0

    def __call__(self, client: Any) -> None:  # Any: as above
        self._tries += 1
        # Through Thrift the defaults are no bloom filter and no block cache. Chunks are read once, and would push the
        # manifests out of the cache.
        descriptors = [
            thrift().ColumnDescriptor(
                name=name, maxVersions=1, compression=self._codec, bloomFilterType="ROW", blockCacheEnabled=cached
            )
            for name, cached in ((b"m:", True), (b"d:", False))
        ]
        try:
            client.createTable(self._location.table.encode(), descriptors)
        except (thrift().AlreadyExists, thrift().IOError) as error:
            # The gateway looks first, and says so itself; of two at once the master refuses one, as an IOError.
            if isinstance(error, thrift().IOError) and "TableExistsException" not in exceptions_in(error.message):
                raise
            if self._tries == 1:
                raise StoreConflict(
                    f"The table {self._location.table} exists already in HBase at {self._location.place}.",
                    hint=f"Use it as it is: {self._location.uri}",
                ) from error


def _text(value: bytes | str | None) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
