"""The inputs that a version saw, kept when they were scored: one row per key and change, appended and never overwritten.

`<deployment>.inputs_v<N>` has the key, every input column in the signature's own type as the model took it (NaN is NULL),
the text of the first value that could not be read (`unreadable`: that row was not asked), and which scoring saw it. A row
whose key left the source is kept as `removed`. Rows of one key are in the order of their row ids: those of a transaction
that has not been committed are the highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.engines.pyfunc import WHOLE, value_name, whole_name
from sqlml.engines.surface import CAST
from sqlml.signature import Column, Signature

DEFAULT = "hash"
"""Of the inputs nothing, their hash (the default), or the hash and the inputs themselves are kept: KEEPS."""
KEEPING = {
    "none": "Nothing is kept of the inputs (--keep none): each score computes every row again, since changed inputs cannot be"
    " told from unchanged ones, and no stored prediction can be replayed.",
    "hash": "A hash of the inputs is kept with each prediction (--keep hash): a prediction can be replayed while its row is"
    " unchanged in the source.",
    "inputs": "The inputs are kept whenever they change (--keep inputs): what was predicted at any time can be shown again.",
}
STAMP = (("input_hash", "UBIGINT"), ("scoring_id", "UUID"), ("scored_at", "TIMESTAMP"))
COMPRESSIONS = {"input_hash": "uncompressed", "scoring_id": "rle", "scored_at": "rle"}
"""A hash, which nothing makes smaller, and one value for each scoring. Measured, 491,520 rows: DuckDB takes 54 ns a row to
find out how to write a UUID that is the same in all of them, and 14 where it is told; of a hash 42, and 29 where it is told."""
NEW, LAST = "sqlml n", "sqlml l"


def key_columns(keys: Sequence[str], types: Sequence[str]) -> list[tuple[str, str]]:
    """As a table is to have them. Texts that are a key by themselves are all different, and only shorter, not fewer, when
    they are compressed. Measured, 10 million texts of 20 characters: DuckDB (DICT_FSST) needs 107 MB instead of 250, 0.37 us
    instead of 0.11 to write one, and 131 ms instead of 31 to find one."""
    if list(types) == ["VARCHAR"]:
        return [(keys[0], "VARCHAR USING COMPRESSION uncompressed")]
    return list(zip(keys, types, strict=True))


def stamp_columns(keep: str) -> list[tuple[str, str]]:
    """As a table is to have them: where no hash is kept, all are NULL, which takes no room if DuckDB finds out by itself."""
    told = {name: how for name, how in COMPRESSIONS.items() if keep != "none" or name != "input_hash"}
    return [(name, f"{kind} USING COMPRESSION {told[name]}" if name in told else kind) for name, kind in STAMP]


def table_name(version: int) -> str:
    return f"inputs_v{version}"


@dataclass(frozen=True)
class KeptInputs:
    """The table that keeps a version's inputs. `features` are the columns of its own, each with the signature's column;
    an input that is a key column too stands there already.

    `unreadable` and `removed` are what those columns are called: a key may have such a name."""

    path: tuple[str, str]
    keys: tuple[str, ...]
    features: tuple[tuple[str, int, Column], ...]
    unreadable: str
    removed: str
    is_asked: bool

    @property
    def names(self) -> list[str]:
        """Columns in which two rows can differ."""
        return [*(name for name, _, _ in self.features), self.unreadable]

    def create(self, key_types: Sequence[str]) -> str:
        columns = key_columns(self.keys, key_types)
        columns += [(name, column.type) for name, _, column in self.features]
        columns += [(self.unreadable, "VARCHAR"), (self.removed, "BOOLEAN")]
        return sql.create_table(self.path, [*columns, *stamp_columns("inputs")])

    def insert(self, keyed: str, scoring_id: str, these: str | None = None, where: exp.Expression | None = None) -> str:
        """INSERT of the inputs of `keyed`; with `these`, a query of its keys, only what differs from what was kept last."""
        values = [sql.alias(self._value(position, column), name) for name, position, column in self.features]
        values += [sql.alias(sql.column(CAST), self.unreadable), sql.column("input_hash")]
        head = sql.render(exp.select(*(sql.column(key) for key in self.keys), *values))
        given = sql.select_from(head, keyed, where=None if where is None else sql.render(where))
        columns = [*self.keys, *self.names]
        stamped = exp.select(
            *(sql.column(name) for name in columns),
            exp.false(),
            sql.column("input_hash"),
            sql.cast(sql.text(scoring_id), "UUID"),
            sql.UTC_NOW.copy(),
        )
        known = None if these is None else sql.render(exp.Not(this=self._known(these)))
        return sql.insert_select(
            self.path,
            [*columns, self.removed, "input_hash", "scoring_id", "scored_at"],
            sql.select_from(sql.render(stamped), given, alias=NEW, where=known),
        )

    def insert_removed(self, gone: str, scoring_id: str) -> str:
        """INSERT of what says that the keys of `gone` (a query) left the source, where they were there."""
        keys = [sql.column(key) for key in self.keys]
        stamped = exp.select(*keys, exp.true(), sql.cast(sql.text(scoring_id), "UUID"), sql.UTC_NOW.copy())
        there = exp.Not(this=sql.column(self.removed))
        last = sql.select_from(sql.render(stamped), self.last(gone), where=sql.render(there))
        return sql.insert_select(self.path, [*self.keys, self.removed, "scoring_id", "scored_at"], last)

    def last(self, these: str | None = None, until: exp.Expression | None = None) -> str:
        """What was kept last of each key (of `these`), removed ones included; `until` leaves later rows out."""
        return sql.last_rows(self.path, self.keys, these, None if until is None else sql.render(until))

    def as_source(self, rows: str) -> str:
        """Kept rows (of `last`) under the names that the source had, as the recorded queries take them."""
        columns = [sql.column(key) for key in self.keys]
        columns += [sql.alias(sql.column(name), column.name) for name, _, column in self.features]
        return sql.select_from(sql.render(exp.select(*columns)), rows)

    def _known(self, these: str) -> exp.Expression:
        """Whether the last row of a key is there and has the same inputs."""
        same: list[exp.Expression] = sql.equal(self.keys, LAST, NEW)
        same += [exp.NullSafeEQ(this=sql.column(name, LAST), expression=sql.column(name, NEW)) for name in self.names]
        same.append(exp.Not(this=sql.column(self.removed, LAST)))
        return sql.exists_in(self.last(these), LAST, sql.all_of(same))

    def _value(self, position: int, column: Column) -> exp.Expression:
        return typed_value(position, column, is_asked=self.is_asked)


def typed_value(position: int, column: Column, *, is_asked: bool) -> exp.Expression:
    """A feature of a scoring query in its column's type. What that type cannot hold is named by `unreadable`."""
    value = sql.column(value_name(position))
    if is_asked and column.type in WHOLE:
        value = sql.call("coalesce", sql.column(whole_name(position)), sql.try_cast(value, "BIGINT"))
    return sql.try_cast(value, column.type)


def kept_inputs(
    deployment: str, version: int, signature: Signature, keys: Sequence[str], *, is_asked: bool
) -> KeptInputs:
    """Where a version's inputs are kept: names that collide, ignoring case, get `_2`."""
    taken = {key.lower() for key in keys} | {"input_hash", "scoring_id", "scored_at", "rowid"}

    def free(name: str) -> str:
        found, number = name, 1
        while found.lower() in taken:
            number += 1
            found = f"{name}_{number}"
        taken.add(found.lower())
        return found

    unreadable, removed = free("unreadable"), free("removed")
    own = [(i, c) for i, c in enumerate(signature.columns) if c.name.lower() not in {key.lower() for key in keys}]
    features = tuple((free(column.name), position, column) for position, column in own)
    return KeptInputs((deployment, table_name(version)), tuple(keys), features, unreadable, removed, is_asked)
