"""A key as a person types it on a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlml.catalog import records
from sqlml.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

VALUE = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)|([^,]*)(?:,|$)')


def typed(connection: Connection, name: str, text: str) -> tuple[str, ...]:
    """The values of a key of this deployment. Where it has one column, the text is the value, to the letter.

    Raises:
        NotDeployed: there is no such deployment, nor was there.
        UsageError: a double quote begins a value and does not end it.
    """
    known = records.versions(connection, records.name_of(connection, name))
    widths = {len(version.key_columns) for version in known}
    return (text,) if widths - {0} == {1} else listed(text)


def of_columns(columns: Sequence[str], text: str) -> tuple[str, ...]:
    """The values of these key columns. Of one column the text is the value, to the letter.

    Raises:
        UsageError: a double quote begins a value and does not end it.
    """
    return (text,) if len(columns) == 1 else listed(text)


def listed(text: str) -> tuple[str, ...]:
    """The values of several columns: commas separate them, double quotes around a whole value protect it.

    >>> listed('north, 4711')
    ('north', '4711')
    >>> listed('"a,b",12",,"one ""x"" two"')
    ('a,b', '12"', '', 'one "x" two')
    """
    found: list[str] = []
    at = 0
    while True:
        part = VALUE.match(text, at)
        assert part  # the second half of the pattern takes anything
        quoted, plain = part.groups()
        if quoted is None and plain.lstrip().startswith('"'):
            raise UsageError(
                f"{text!r} is no list of values: a double quote begins one, and is not its end.",
                hint='Write "a,b" for a value with a comma, and """x" for one that begins with a quote: each is doubled inside.',
            )
        found.append(plain.strip() if quoted is None else quoted.replace('""', '"'))
        at = part.end()
        if not part.group().endswith(","):
            return tuple(found)
