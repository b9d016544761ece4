"""Whether a text names a key: as it was given, or as messages spell it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)")


def naming(connection: Connection, tables: Iterable[Sequence[str]], values: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text has every value of the key in it, as a word of its own; chance hits are erased too.

    `tables`: the types of the key's columns, in each table that may have it. As it was given, and as messages spell what the
    columns' types made of it: 4711 for 04711, a UUID in lower case.
    """
    spellings = [{value} for value in values]
    moments: list[set[datetime]] = [set() for _ in values]
    for types in tables:
        if len(types) != len(values):
            continue
        for number, (value, kind) in enumerate(zip(values, types, strict=True)):
            read = sql.try_cast(sql.parameter(1), kind)
            query = exp.select(read, sql.cast(read.copy(), "VARCHAR"))
            found = connection.execute(sql.render(query), [value]).fetchone() or ()
            spellings[number] |= {str(spelled) for spelled in found if spelled is not None}
            moments[number] |= {at for at in found if isinstance(at, datetime) and at.tzinfo is not None}
    known = [({text for text in texts if text.strip()}, at) for texts, at in zip(spellings, moments, strict=True)]
    named = [_value_named(texts, at) for texts, at in known if texts]
    return lambda text: bool(named) and all(is_named(text) for is_named in named)


def _value_named(spellings: set[str], moments: set[datetime]) -> Callable[[str], bool]:
    """`moments`: with a zone, which a message may have told in any other one."""
    quoted = {json.dumps(spelled, ensure_ascii=False)[1:-1] for spelled in spellings}  # in a line that was cut off
    words = "|".join(re.escape(spelled) for spelled in sorted(spellings | quoted, key=len, reverse=True))
    word = re.compile(rf"(?<![\w])(?:{words})(?![\w])")
    return lambda text: (
        word.search(text) is not None
        or bool(moments and any(_moment(told) in moments for told in MOMENT.findall(text)))
    )


def _moment(told: str) -> datetime | None:
    try:
        return datetime.fromisoformat(told)
    except ValueError:
        return None
