"""Statements that are asked again and again, parsed once.

DuckDB 2.0.0 parses about a kilobyte of SQL in a millisecond: of a statement with a model in it (14 kB for logistic
regression over ten columns) that is 11 of 27 ms, and a prepared statement cannot be given other lists.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection
    from duckdb import Statement

MOST = 512 * 1024
"""Characters of SQL that are remembered for a connection; parsed, they take sixteen times as many bytes."""
_remembered: WeakKeyDictionary[Connection, OrderedDict[str, Statement]] = WeakKeyDictionary()


def parsed(connection: Connection, text: str) -> Statement:
    """The one statement of `text`, for `connection.execute`; what was not asked for the longest time is forgotten.

    By connection, for its settings are part of the meaning (`integer_division`): a text that was parsed before one of
    them was changed keeps the meaning that it had.

    Raises:
        duckdb.ParserException: it is no SQL.
    """
    known = _remembered.setdefault(connection, OrderedDict())
    statement = known.pop(text, None)
    if statement is None:
        (statement,) = connection.extract_statements(text)
    known[text] = statement
    while len(known) > 1 and sum(map(len, known)) > MOST:
        known.popitem(last=False)
    return statement
