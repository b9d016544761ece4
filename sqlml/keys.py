"""The key of one row as a person gives it: texts, which the key columns' types read, exactly or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from sqlml import sql
from sqlml.binding import WHOLE
from sqlml.errors import UsageError

Bytes = bytes | bytearray | memoryview


def key_values(key: Sequence[object] | object) -> tuple[str, ...]:
    """The values of a key as texts, which the key columns' types read.

    Raises:
        UsageError: one of them is NULL, which is no key, or no text.
    """
    values = list(key) if isinstance(key, Sequence) and not isinstance(key, str | Bytes) else [key]
    if any(value is None for value in values):
        raise UsageError("NULL is no key: a row without a key is never predicted.")
    texts = tuple(_as_blob(bytes(value)) if isinstance(value, Bytes) else str(value) for value in values)
    for text in texts:
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise UsageError(
                f"{text!a} is no key: these bytes are no UTF-8 text.",
                hint="Write the key in the terminal's own UTF-8.",
            )
    return texts


def _as_blob(value: bytes) -> str:
    r"""As DuckDB spells a BLOB, and reads it from a text.

    >>> print(_as_blob(b"k3\x00\xff'"))
    k3\x00\xFF\x27
    """
    return "".join(chr(b) if 32 <= b < 127 and b not in b"\\'\"" else f"\\x{b:02X}" for b in value)


def is_key(keys: Sequence[str], types: Sequence[str], values: Sequence[str] | None = None) -> exp.Expression:
    """Whether the key columns have these values: texts as the columns' types read them, nothing where they cannot.

    Without values they are the statement's parameters, so that no message of DuckDB's repeats them.
    """
    found: list[exp.Expression] = []
    for number, (key, kind) in enumerate(zip(keys, types, strict=True)):
        given = sql.parameter(number + 1) if values is None else sql.text(values[number])
        read = sql.try_cast(given, kind)
        column = sql.column(key)
        if kind == "VARCHAR":
            # To the letter, whatever collation the source or the connection has: stored keys have none.
            column = exp.Collate(this=column, expression=sql.identifier("binary"))
        found.append(exp.EQ(this=column, expression=read))
        if kind.split("(")[0] in WHOLE | {"DECIMAL"}:  # DuckDB reads '12.4' as the BIGINT 12
            number_given = sql.try_cast(given.copy(), "DOUBLE")
            found.append(exp.EQ(this=number_given, expression=sql.try_cast(read.copy(), "DOUBLE")))
    return sql.all_of(found)
