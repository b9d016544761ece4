"""One prediction and the rows that it was made of: as stored, as kept, and as they are in the source now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import sql
from sqlml.binding import WHOLE
from sqlml.kept import KeptInputs
from sqlml.keys import is_key
from sqlml.parsing import parsed
from sqlml.predictions import Target
from sqlml.relation import Relation
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

# Any in this module: SQL values.
ROWID = "rowid"
AS_TEXT = frozenset({"ENUM", "UUID", "VARCHAR", "JSON"})


@dataclass(frozen=True)
class Values:
    """The model's inputs of one row, in the signature's order: values, and texts that their types read back exactly."""

    values: tuple[Any, ...]
    texts: tuple[str | None, ...]
    types: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """Inputs that were kept, and of which scoring."""

    inputs: Values
    input_hash: int | None
    unreadable: str | None
    seen_at: datetime
    scoring_id: str


def stored_row(
    connection: Connection, target: Target, values: Sequence[str]
) -> tuple[dict[str, Any], int | None] | None:
    """The stored prediction of a key with its row id (None where a key column hides that); None if there is none.

    Measured over 10 million rows: reading all columns where the key is costs half as much again as finding the row id.
    """
    if ROWID in {key.lower() for key in target.keys}:
        row = _one(connection, _selecting(target.table, target.keys, target.key_types, at_row=False), values)
        return None if row is None else (row, None)
    number = _number(connection, _numbering(target.table, target.keys, target.key_types), values)
    if number is None:
        return None
    return _one(connection, _selecting(target.table, (), (), at_row=True), [number]) or {}, number


def source_row(
    connection: Connection, target: Target, signature: Signature, values: Sequence[str], near: int | None
) -> Values | None:
    """The inputs of this key in the source. `near` is the row id of its prediction: a table that was scored in its own
    order has it there too, which saves looking through all keys."""
    relation = target.relation
    by_folded = {name.lower(): (name, kind) for name, kind in relation.types.items()}
    keys, kinds = zip(*(by_folded[key.lower()] for key in target.keys), strict=True)
    types = [by_folded[c.name.lower()][1] for c in signature.columns]

    def read(given: Sequence[object], *, by_key: bool, at_row: bool) -> Values | None:
        known = (keys, kinds) if by_key else ((), ())
        return _read(connection, signature, _selecting(relation.parts, *known, at_row=at_row), given, types)

    if not relation.is_local_table or ROWID in by_folded:
        return read(values, by_key=True, at_row=False)
    found = None if near is None else read([*values, near], by_key=True, at_row=True)
    if found is not None:
        return found
    number = _number(connection, _numbering(relation.parts, keys, kinds), values)
    return None if number is None else read([number], by_key=False, at_row=True)


def kept_row(
    connection: Connection,
    target: Target,
    kept: KeptInputs,
    signature: Signature,
    values: Sequence[str],
    until: datetime,
    stored: Mapping[str, Any] | None,
    near: int | None,
) -> Kept | None:
    """What was kept of this key last, until then; None if nothing was, or it had left the source. `stored` is its
    prediction, and `near` that one's row id: what the first scoring kept lies where it wrote the prediction."""
    by_key = (target.keys, target.key_types)
    stamp, number = None, near
    if stored is not None and near is not None:
        stamp = _one(connection, _selecting(kept.path, *by_key, at_row=True), [*values, near])
    # The time alone would not do: one transaction may have written a key twice.
    same = ("scored_at", "input_hash")
    if stamp is None or stored is None or any(stamp[name] != stored[name] for name in same):
        number = _number(connection, _numbering_last(kept.path, *by_key), [*values, until])
        if number is None:
            return None
        stamp = _one(connection, _selecting(kept.path, (), (), at_row=True), [number]) or {}
    if stamp[kept.removed]:
        return None
    rows, types = kept.as_source(_selecting(kept.path, (), (), at_row=True)), [c.type for c in signature.columns]
    inputs = _read(connection, signature, rows, [number], types)
    if inputs is None:
        return None
    return Kept(inputs, stamp["input_hash"], stamp[kept.unreadable], stamp["scored_at"], str(stamp["scoring_id"]))


def as_source_holds(connection: Connection, signature: Signature, inputs: Values, relation: Relation) -> Values:
    """Kept numbers in the types of the source's columns, where these hold them as they are: what a column could be instead
    is what the source could have."""
    types = {name.lower(): kind for name, kind in relation.types.items()}
    kinds = [types.get(column.name.lower(), column.type) for column in signature.columns]
    checks: list[exp.Expression] = []
    for number, (column, kind) in enumerate(zip(signature.columns, kinds, strict=True), 1):
        holds: exp.Expression = exp.false()
        if not column.is_text and kind.split("(")[0] in WHOLE | {"DECIMAL", "FLOAT"}:
            text = sql.parameter(number)
            through = sql.try_cast(sql.try_cast(text, kind), column.type)
            holds = exp.NullSafeEQ(this=through, expression=sql.try_cast(text.copy(), column.type))
        checks.append(sql.all_of([holds, exp.NullSafeEQ(this=sql.parameter(number), expression=sql.parameter(number))]))
    row = connection.execute(parsed(connection, sql.render(exp.select(*checks))), list(inputs.texts)).fetchone() or ()
    return replace(
        inputs, types=tuple(k if held else own for k, held, own in zip(kinds, row, inputs.types, strict=True))
    )


def _number(connection: Connection, query: str, given: Sequence[object]) -> int | None:
    row = connection.execute(parsed(connection, query), list(given)).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _one(connection: Connection, query: str, given: Sequence[object]) -> dict[str, Any] | None:
    found = connection.execute(parsed(connection, query), list(given))
    names = [column[0] for column in found.description or ()]
    row = found.fetchone()
    return None if row is None else dict(zip(names, row, strict=True))


def _read(
    connection: Connection, signature: Signature, rows: str, given: Sequence[object], types: Sequence[str]
) -> Values | None:
    """The model's inputs of the one row of `rows`, each as value and as text; without the model, which takes longer to
    plan than all else."""
    query = sql.select_from(_values_and_texts(tuple(column.name for column in signature.columns)), rows)
    found = connection.execute(parsed(connection, query), list(given)).fetchone()
    if found is None:
        return None
    read = tuple("VARCHAR" if kind.split("(")[0].upper() in AS_TEXT else kind for kind in types)
    return Values(found[: len(types)], found[len(types) :], read)


# Statements take keys as parameters, as many as there are key columns, so that each is made and parsed once.


@lru_cache(maxsize=64)
def _values_and_texts(names: tuple[str, ...]) -> str:
    fields = [sql.column(name) for name in names]
    columns = [sql.alias(field, f"v{i}") for i, field in enumerate(fields)]
    columns += [sql.alias(sql.cast(field.copy(), "VARCHAR"), f"t{i}") for i, field in enumerate(fields)]
    return sql.render(exp.select(*columns))


@lru_cache(maxsize=64)
def _selecting(path: tuple[str, ...], keys: tuple[str, ...], types: tuple[str, ...], *, at_row: bool) -> str:
    """The row of a key that has, `at_row`, a row id (the last parameter)."""
    conditions = [is_key(keys, types)] if keys else []
    if at_row:
        number = exp.Parameter(this=sql.integer(len(keys) + 1))
        conditions.append(exp.EQ(this=sql.column(ROWID), expression=number))
    return sql.render(exp.select(exp.Star()).from_(sql.table(*path)).where(*conditions).limit(1))


@lru_cache(maxsize=64)
def _numbering(path: tuple[str, ...], keys: tuple[str, ...], types: tuple[str, ...]) -> str:
    """The row id of a key."""
    return sql.render(exp.select(sql.column(ROWID)).from_(sql.table(*path)).where(is_key(keys, types)).limit(1))


@lru_cache(maxsize=64)
def _numbering_last(path: tuple[str, ...], keys: tuple[str, ...], types: tuple[str, ...]) -> str:
    """The row id of what was kept of a key last, until a moment (the last parameter)."""
    until = sql.cast(exp.Parameter(this=sql.integer(len(keys) + 1)), "TIMESTAMP")
    before = exp.LTE(this=sql.column("scored_at"), expression=until)
    last = exp.select(sql.call("max", sql.column(ROWID))).from_(sql.table(*path))
    return sql.render(last.where(is_key(keys, types), before))


def closest_keys(connection: Connection, target: Target, values: Sequence[str], limit: int = 100_000) -> list[str]:
    """Keys that a person may have meant: the neighbours of a number or a date, the most alike of the first texts."""
    if len(target.keys) != 1:
        return []
    (key,), (kind,) = target.keys, target.key_types
    column, given = sql.column(key), sql.try_cast(sql.text(values[0]), kind)
    if kind.split("(")[0] in AS_TEXT:
        some = exp.select(sql.alias(sql.cast(column, "VARCHAR"), "k")).from_(sql.table(*target.table)).limit(limit)
        likeness = sql.call("jaro_winkler_similarity", sql.column("k"), sql.text(values[0]))
        near = exp.select(sql.column("k")).from_(some.subquery("s")).order_by(exp.Ordered(this=likeness, desc=True))
        return [row[0] for row in connection.execute(sql.render(near.limit(2))).fetchall()]
    ends = []
    for name, side in (("max", exp.LT), ("min", exp.GT)):
        beside = side(this=column.copy(), expression=given.copy())
        query = exp.select(sql.cast(sql.call(name, column.copy()), "VARCHAR"))
        row = connection.execute(sql.render(query.from_(sql.table(*target.table)).where(beside))).fetchone()
        ends += [row[0]] if row is not None and row[0] is not None else []
    return ends
