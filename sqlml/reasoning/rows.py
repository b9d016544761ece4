"""One prediction and the rows that it was made of: as stored, as kept, and as they are in the source now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import objects, sql
from sqlml.kept import KeptInputs
from sqlml.predictions import Target
from sqlml.recomputing import is_key
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
class Found:
    """A row of the source or of the kept inputs with what the version says about it."""

    inputs: Values
    outputs: dict[str, Any] | None
    input_hash: int | None
    unreadable: str | None
    seen_at: datetime | None = None
    scoring_id: str | None = None


def stored_row(connection: Connection, target: Target, values: Sequence[str]) -> tuple[dict[str, Any], int] | None:
    """The stored prediction of a key with its row id; None if there is none.

    Measured over 10 million rows: reading all columns where the key is costs half as much again as finding the row id.
    """
    number = _rowid(connection, target.table, is_key(target.keys, target.key_types, values))
    if number is None:
        return None
    query = exp.select(exp.Star()).from_(sql.table(*target.table)).where(_is_row(number))
    return _one(connection, sql.render(query)) or {}, number


def _rowid(connection: Connection, path: Sequence[str], condition: exp.Expression) -> int | None:
    query = exp.select(sql.column(ROWID)).from_(sql.table(*path)).where(condition).limit(1)
    row = connection.execute(sql.render(query)).fetchone()
    return None if row is None else int(row[0])


def _is_row(number: int) -> exp.Expression:
    return exp.EQ(this=sql.column(ROWID), expression=sql.integer(number))


def _one(connection: Connection, query: str) -> dict[str, Any] | None:
    found = connection.execute(query)
    names = [column[0] for column in found.description or ()]
    row = found.fetchone()
    return None if row is None else dict(zip(names, row, strict=True))


def source_row(
    connection: Connection, target: Target, signature: Signature, values: Sequence[str], near: int | None, query: str
) -> Found | None:
    """The row of this key in the source, and what the version says about it. `near` is the row id of its prediction:
    a table that was scored in its own order has it there too, which saves looking through all keys; `query` is the
    version's own, over whole rows."""
    relation = target.relation
    types = [relation.types[_spelled(relation, key)] for key in target.keys]
    condition = is_key([_spelled(relation, key) for key in target.keys], types, values)
    by_folded = {name.lower(): kind for name, kind in relation.types.items()}
    read = [by_folded[c.name.lower()] for c in signature.columns]

    def where(condition: exp.Expression) -> Found | None:
        rows = sql.render(exp.select(exp.Star()).from_(relation.node).where(condition).limit(1))
        return answered(connection, target, signature, rows, query, read)

    if not relation.is_local_table:
        return where(condition)
    found = None if near is None else where(sql.all_of([_is_row(near), condition]))
    if found is not None:
        return found
    number = _rowid(connection, relation.parts, condition)
    return None if number is None else where(_is_row(number))


def _spelled(relation: Relation, key: str) -> str:
    return next((name for name in relation.types if name.lower() == key.lower()), key)


def answered(
    connection: Connection, target: Target, signature: Signature, rows: str, query: str, types: Sequence[str]
) -> Found | None:
    """The one row of `rows` as the model's inputs, with the answer of the statement that the version was deployed with."""
    fields = [sql.field(sql.column(objects.ROW), column.name) for column in signature.columns]
    is_asked = not any(name == "prediction" for name in target.outputs) or "sqlml w0" in query
    outputs = [] if is_asked else list(target.outputs)
    columns = _both(fields)
    columns += [sql.alias(sql.column(name), f"o{i}") for i, name in enumerate(outputs)]
    columns.append(sql.alias(sql.column("input_hash"), "h"))
    head = sql.render(exp.select(*columns))
    found = _one(connection, sql.select_from(head, sql.with_source(objects.SOURCE, rows, query)))
    if found is None:
        return None
    said = {name: found[f"o{i}"] for i, name in enumerate(outputs)} if outputs else None
    return Found(_values(found, types), said, found["h"], None)


def _read(connection: Connection, signature: Signature, rows: str) -> dict[str, Any] | None:
    """The same of the inputs alone, without asking the model, which takes longer to plan than all else."""
    columns = _both([sql.column(column.name) for column in signature.columns])
    return _one(connection, sql.select_from(sql.render(exp.select(*columns)), rows))


def _both(fields: Sequence[exp.Expression]) -> list[exp.Expression]:
    """Each as value and as text."""
    columns = [sql.alias(field, f"v{i}") for i, field in enumerate(fields)]
    return columns + [sql.alias(sql.cast(field.copy(), "VARCHAR"), f"t{i}") for i, field in enumerate(fields)]


def _values(found: dict[str, Any], types: Sequence[str]) -> Values:
    read = tuple("VARCHAR" if kind.split("(")[0].upper() in AS_TEXT else kind for kind in types)
    places = range(len(types))
    return Values(tuple(found[f"v{i}"] for i in places), tuple(found[f"t{i}"] for i in places), read)


def kept_row(
    connection: Connection,
    target: Target,
    kept: KeptInputs,
    signature: Signature,
    values: Sequence[str],
    until: datetime,
    query: str | None,
) -> Found | None:
    """What was kept of this key last, until then; None if nothing was, or it had left the source. What the version says
    about it only where its `query` is given."""
    condition = is_key(kept.keys, target.key_types, values)
    before = exp.LTE(this=sql.column("scored_at"), expression=sql.timestamp(until))
    last = exp.select(sql.call("max", sql.column(ROWID))).from_(sql.table(*kept.path)).where(condition, before)
    row = connection.execute(sql.render(last)).fetchone()
    if row is None or row[0] is None:
        return None
    one = sql.render(exp.select(exp.Star()).from_(sql.table(*kept.path)).where(_is_row(int(row[0]))))
    stamp = _one(connection, one) or {}
    if stamp[kept.removed]:
        return None
    rows, types = kept.as_source(one), [c.type for c in signature.columns]
    if query is None:
        read = _read(connection, signature, rows)
        inputs, outputs = None if read is None else _values(read, types), None
    else:
        found = answered(connection, target, signature, rows, query, types)
        inputs, outputs = (None, None) if found is None else (found.inputs, found.outputs)
    if inputs is None:
        return None
    return Found(
        inputs,
        outputs,
        stamp["input_hash"],
        stamp[kept.unreadable],
        stamp["scored_at"],
        str(stamp["scoring_id"]),
    )


def as_row(signature: Signature, inputs: Values) -> exp.Select:
    """The inputs written down, as a query of one row."""
    return exp.select(
        *(
            sql.alias(written(text, kind), column.name)
            for column, text, kind in zip(signature.columns, inputs.texts, inputs.types, strict=True)
        )
    )


def written(text: str | None, kind: str) -> exp.Expression:
    return sql.null(kind) if text is None else sql.cast(sql.text(text), kind)


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
