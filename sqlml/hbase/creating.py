"""The table itself: made once, and looked at before it is used for the first time by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlml.errors import StoreConflict

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway

FAMILIES = (b"m", b"d")


def create(gateway: Gateway, compression: str) -> bool:
    """Make the table with its two families; returns whether it had to be made.

    Raises:
        StoreConflict: there is a table of that name that is not one of sqlml's.
        StoreError: the codec is missing on the servers, or the store does not answer.
    """
    if not gateway.table_exists():
        try:
            gateway.create_table(compression)
            return True
        except StoreConflict:  # somebody else was faster
            pass
    found = gateway.families(doing="looking at the table")
    if missing := [family.decode() for family in FAMILIES if family not in found]:
        raise StoreConflict(
            f"The table {gateway.location.table} at {gateway.location.place} exists and is not one of sqlml's: it has no"
            f" column family {' and '.join(missing)}.",
            hint="Choose another name.",
        )
    if found[b"m"].versions != 1 or found[b"d"].versions != 1:
        raise StoreConflict(
            f"The table {gateway.location.table} at {gateway.location.place} keeps more than one version of a cell.",
            hint="Choose another name, or alter its families to VERSIONS => 1.",
        )
    return False
