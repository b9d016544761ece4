"""What of a source has no current prediction: found by hashes of the bound features.

A sum over hash(key, input_hash) on both sides tells in two scans that nothing changed; only otherwise are keys joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.predictions import Target, hash_check, stored_rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TODO = "sqlml todo"
"""A temporary table of the keys to compute, numbered from 1 in the column `NUMBER`."""
GONE = "sqlml gone"
"""A temporary table of the keys whose predictions are to go: they left the source."""
NUMBER = "sqlml number"


def agrees(connection: Connection, target: Target, *, keys_only: bool = False) -> bool:
    """Whether keys and input hashes of source and predictions are the same multiset.

    Where no hashes are kept, what the predictions say takes their place: every row is computed for it. `keys_only` leaves
    it at the keys then.

    The sums of 64-bit hashes differ by chance in one of 2^64 cases; comparing input_hash itself is no stronger.
    """
    if _stamped_by_another_hash(connection, target):
        return False
    stored = sql.render(exp.select("*").from_(sql.table(*target.table)))
    there = _fingerprint(connection, target, stored, keys_only)
    return there == _fingerprint(connection, target, target.hashed(target.all_rows()), keys_only)


def _told_by(target: Target, *side: str) -> exp.Expression:
    """What tells whether a stored prediction is that of a row: their input hashes, or hashes of what they say."""
    if target.keep != "none":
        return sql.column("input_hash", *side)
    outputs = zip(target.outputs, target.output_types, strict=True)
    return sql.call("hash", *(sql.cast(sql.column(name, *side), kind) for name, kind in outputs))


def _fingerprint(connection: Connection, target: Target, rows: str, keys_only: bool) -> tuple[int, int | None]:
    keys = [sql.cast(sql.column(key), kind) for key, kind in zip(target.keys, target.key_types, strict=True)]
    hashed = sql.call("hash", *keys, *([] if keys_only and target.keep == "none" else [_told_by(target)]))
    query = exp.select(sql.call("count", exp.Star()), sql.call("sum", hashed))
    found = connection.execute(sql.select_from(sql.render(query), rows)).fetchone()
    assert found is not None  # an aggregate without GROUP BY always gives one row
    return found[0], found[1]


def _stamped_by_another_hash(connection: Connection, target: Target) -> bool:
    """Whether a stored prediction's hash was made by a DuckDB whose hash function differs from this one's."""
    if target.keep == "none":
        return False
    row = connection.execute(
        "SELECT count(*) FROM sqlml.scorings WHERE deployment = ? AND version = ? AND hash_check <> ?",
        [target.deployment, target.version, hash_check(connection)],
    ).fetchone()
    if row is None or row[0] == 0:
        return False
    foreign = exp.Not(this=exp.In(this=sql.column("scoring_id"), query=_comparable(connection).subquery()))
    query = exp.select("1").from_(sql.table(*target.table)).where(foreign).limit(1)
    return connection.execute(sql.render(query)).fetchone() is not None


def _comparable(connection: Connection) -> exp.Select:
    """Scorings whose input hashes can be compared with hashes made now."""
    same_hash = exp.EQ(this=sql.column("hash_check"), expression=sql.integer(hash_check(connection)))
    return exp.select(sql.column("scoring_id")).from_(sql.table("sqlml", "scorings")).where(same_hash)


def find_differences(connection: Connection, target: Target) -> None:
    """Fill TODO with new keys, changed inputs and keys predicted twice, and GONE with keys that left the source."""
    matches = [exp.EQ(this=sql.column(key, "sqlml p"), expression=sql.column(key, "sqlml k")) for key in target.keys]
    fresh: list[exp.Expression] = [exp.EQ(this=_told_by(target, "sqlml p"), expression=_told_by(target, "sqlml k"))]
    if target.keep != "none":
        fresh.append(exp.In(this=sql.column("scoring_id", "sqlml p"), query=_comparable(connection).subquery()))
    stored = sql.named(sql.table(*target.table), "sqlml p")
    up_to_date = exp.select("1").from_(stored).where(sql.all_of([*matches, *fresh]))
    keys = [sql.column(key, "sqlml k") for key in target.keys]
    number = sql.alias(exp.Window(this=sql.call("row_number")), NUMBER)
    head = sql.render(exp.select(*keys, number))
    missing = exp.Not(this=exp.Exists(this=up_to_date))
    query = sql.select_from(head, target.hashed(target.all_rows()), alias="sqlml k", where=sql.render(missing))
    connection.execute(sql.create_temporary(TODO, query))
    _add_repeated(connection, target)
    source = sql.named(target.relation.node, "sqlml k")
    there = exp.select("1").from_(source).where(sql.all_of([m.copy() for m in matches]))
    gone = exp.select(*(sql.column(key, "sqlml p") for key in target.keys)).from_(stored.copy())
    connection.execute(sql.create_temporary(GONE, sql.render(gone.where(exp.Not(this=exp.Exists(this=there))))))


def _add_repeated(connection: Connection, target: Target) -> None:
    """Keys predicted twice: a write to the source raced with a scoring. They are written anew, once."""
    keys = [sql.column(key) for key in target.keys]
    once = exp.select(sql.call("count", exp.Star())).from_(
        exp.select(*keys).from_(sql.table(*target.table)).distinct().subquery(alias="d")
    )
    distinct = connection.execute(sql.render(once)).fetchone()
    if distinct is None or distinct[0] == stored_rows(connection, target):
        return
    repeated = (
        exp.select(*keys)
        .from_(sql.table(*target.table))
        .group_by(*(k.copy() for k in keys))
        .having(exp.GT(this=sql.call("count", exp.Star()), expression=sql.integer(1)))
    )
    known = exp.select(*(k.copy() for k in keys)).from_(sql.table(TODO))
    new = exp.Except(this=repeated, expression=known, distinct=True)
    row = connection.execute(sql.render(exp.select("count(*)").from_(sql.table(TODO)))).fetchone()
    offset = int(row[0]) if row else 0
    numbered = exp.Add(this=exp.Window(this=sql.call("row_number")), expression=sql.integer(offset))
    query = exp.select(*(k.copy() for k in keys), numbered).from_(new.subquery(alias="n"))
    connection.execute(sql.insert_select((TODO,), [*target.keys, NUMBER], sql.render(query)))
