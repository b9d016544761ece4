"""The labels of one version, each with the prediction that was current when it was observed.

Predictions are overwritten when they are scored again, so a stored one is that of the moment only if it was made before
it. One that was made later is never taken: it may know what happened since. What an earlier label of the same key was
joined to is taken where it was still current at the moment: from when it was scored until when it was last seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.labels.kinds import as_label
from sqlml.labels.reading import AT, LABEL, READ, VERSION, WHY, Given, as_key, has_key, key_name
from sqlml.labels.tables import LabelTable

OTHER, TIMES, BEFORE = "sqlml other", "sqlml times", "sqlml before"
SEEN, NOW, STORED = "sqlml seen", "sqlml now", "sqlml stored"
OUTPUT = "sqlml out "
"""The beginning of what a prediction's column is called beside a label: a key may have any name."""


@dataclass(frozen=True)
class Joining:
    """Statements for one version. `predictions` is the name of its prediction table, `known` whether there are labels.

    `gone`: gc has removed predictions, so that of a key without one nobody knows whether it had one.
    """

    given: Given
    table: LabelTable
    predictions: tuple[str, str]
    known: bool
    gone: bool
    positions: tuple[int, ...]
    """Of each of the version's key columns the place among those of the source."""

    @property
    def temporary(self) -> tuple[str, str, str]:
        """Temporary tables of this version: labels by key and time ("asked"), those that say something new beside the
        predictions of now ("joined"), and those whose prediction of then an earlier label kept ("kept")."""
        return self._asked, self._joined, self._kept

    @property
    def _asked(self) -> str:
        return f"sqlml labels asked {self.table.version}"

    @property
    def _joined(self) -> str:
        return f"sqlml labels joined {self.table.version}"

    @property
    def _kept(self) -> str:
        return f"sqlml labels kept {self.table.version}"

    @property
    def taken(self) -> list[str]:
        """What is copied of a prediction."""
        return [*(name for name, _ in self.table.outputs), "scoring_id", "scored_at"]

    @property
    def event(self) -> list[str]:
        return [*(key_name(number) for number in range(len(self.table.keys))), AT]

    def _chosen(self) -> exp.Expression:
        """The rows of this version that have all they need."""
        of_version = exp.EQ(this=sql.column(VERSION), expression=sql.integer(self.table.version))
        return sql.all_of([of_version, exp.Is(this=sql.column(WHY), expression=exp.Null())])

    def _label(self) -> exp.Expression:
        return as_label(self.table.signature, sql.column(LABEL), self.given.label_type, f"The label {self.given.label}")

    def unknown(self) -> str:
        """Labels that are none of the version's classes, with how many rows have each."""
        missing = exp.Is(this=exp.Paren(this=self._label()), expression=exp.Null())
        said = sql.cast(sql.column(LABEL), "VARCHAR")
        rows = exp.select(said, "count(*)").from_(sql.table(READ)).where(self._chosen(), missing)
        return f"{sql.render(rows.group_by(said.copy()))} ORDER BY 2 DESC, 1"

    def ask(self) -> str:
        """One row per key and time; `other` is another label of the same, where there are two."""
        keys = [
            sql.alias(as_key(place, self.given.relation.types[self.given.keys[place]], kind), key_name(number))
            for number, (place, kind) in enumerate(zip(self.positions, self.table.key_types, strict=True))
        ]
        rows = exp.select(*keys, sql.column(AT), sql.alias(self._label(), LABEL)).from_(sql.table(READ))
        rows = rows.where(self._chosen())
        label = sql.column(LABEL)
        event = [sql.column(name) for name in self.event]
        grouped = exp.select(
            *event,
            sql.alias(sql.call("min", label), LABEL),
            sql.alias(sql.call("max", label.copy()), OTHER),
            sql.alias(sql.call("count", exp.Star()), TIMES),
        )
        there = exp.Not(this=exp.Is(this=label.copy(), expression=exp.Null()))
        grouped = grouped.from_(rows.subquery(alias=sql.identifier("sqlml s"))).where(there)
        return sql.create_temporary(self._asked, sql.render(grouped.group_by(*(column.copy() for column in event))))

    def asked(self) -> str:
        """Of those asked: rows with a key that cannot be read, rows that contradict each other, repeated rows, labels."""
        fine, times = sql.all_of([has_key(len(self.table.keys)), self._agrees()]), sql.column(TIMES)
        unread, contradicting = exp.Not(this=has_key(len(self.table.keys))), exp.Not(this=self._agrees())
        parts = [
            (unread, times),
            (sql.all_of([has_key(len(self.table.keys)), contradicting]), times),
            (fine, exp.Sub(this=times.copy(), expression=sql.integer(1))),
            (fine, sql.integer(1)),
        ]
        sums = [
            sql.cast(sql.call("coalesce", sql.call("sum", sql.case([(when.copy(), then)])), sql.integer(0)), "BIGINT")
            for when, then in parts
        ]
        return sql.render(exp.select(*sums).from_(sql.table(self._asked)))

    def _agrees(self) -> exp.Expression:
        return exp.EQ(this=sql.column(LABEL), expression=sql.column(OTHER))

    def join(self) -> str:
        """The labels that say something new, with the prediction of now and the revision before."""
        named = sql.named(sql.table(self._asked), "sqlml a")
        columns = [sql.column(name, "sqlml a") for name in (*self.event, LABEL)]
        columns += [sql.alias(sql.column(name, "sqlml p"), OUTPUT + name) for name in self.taken]
        before = sql.column(BEFORE, "sqlml k") if self.known else sql.null("INTEGER")
        columns += [sql.alias(before, BEFORE)]
        columns += [sql.alias(sql.UTC_NOW.copy(), name) for name in (SEEN, NOW)]
        rows = exp.select(*columns).from_(named)
        matches = self._matches("sqlml a", "sqlml p", self.table.keys)
        stored = sql.named(sql.table(*self.predictions), "sqlml p")
        rows = rows.join(stored, on=sql.all_of(matches), join_type="left")
        conditions = [
            has_key_of("sqlml a", len(self.table.keys)),
            exp.EQ(this=sql.column(LABEL, "sqlml a"), expression=sql.column(OTHER, "sqlml a")),
        ]
        if self.known:
            on = sql.all_of(self._matches("sqlml a", "sqlml k", self.table.event))
            known = self._known().subquery(alias=sql.identifier("sqlml k"))
            rows = rows.join(known, on=on, join_type="left")
            conditions.append(
                exp.NullSafeNEQ(this=sql.column(LABEL, "sqlml k"), expression=sql.column(LABEL, "sqlml a"))
            )
        return sql.create_temporary(self._joined, sql.render(rows.where(sql.all_of(conditions))))

    def _matches(self, ours: str, theirs: str, names: Sequence[str]) -> list[exp.Expression]:
        """The event's columns here, against the columns of these names there."""
        return [
            exp.EQ(this=sql.column(own, ours), expression=sql.column(name, theirs))
            for own, name in zip(self.event[: len(names)], names, strict=True)
        ]

    def _known(self) -> exp.Select:
        table = self.table
        columns = [sql.column(name) for name in table.event]
        columns += [sql.alias(sql.column(table.label), LABEL), sql.alias(sql.column(table.revision), BEFORE)]
        return exp.select(*columns).from_(table.current().subquery(alias=sql.identifier("sqlml c")))

    def in_time(self) -> exp.Expression:
        """Of those joined: the stored prediction was there already; NULL where there is none of the key."""
        return exp.LTE(this=sql.column(f"{OUTPUT}scored_at"), expression=sql.column(AT))

    def keep(self) -> str:
        """Of those whose prediction was not there yet what an earlier label of the key kept, if it was current."""
        table, copy = self.table, "sqlml e"
        copies = exp.select(
            *(sql.column(key) for key in table.keys),
            *(sql.alias(sql.call("any_value", sql.column(name)), name) for name in self.taken if name != "scored_at"),
            sql.column("scored_at"),
            sql.alias(sql.call("max", sql.column(table.seen_at)), SEEN),
        ).from_(sql.table(*table.path))
        copies = copies.group_by(*(sql.column(name) for name in (*table.keys, "scored_at")))
        columns = [sql.column(name, "sqlml j") for name in (*self.event, LABEL)]
        columns += [sql.alias(sql.column(name, copy), OUTPUT + name) for name in self.taken]
        columns += [sql.column(BEFORE, "sqlml j"), sql.column(SEEN, copy), sql.column(NOW, "sqlml j")]
        stored = sql.alias(sql.column(f"{OUTPUT}scored_at", "sqlml j"), STORED)
        matches = self._matches("sqlml j", copy, table.keys)
        at = sql.column(AT, "sqlml j")
        matches.append(exp.LTE(this=sql.column("scored_at", copy), expression=at))
        matches.append(exp.GTE(this=sql.column(SEEN, copy), expression=at.copy()))
        rows = exp.select(*columns, stored).from_(sql.named(sql.table(self._joined), "sqlml j"))
        rows = rows.join(copies.subquery(alias=sql.identifier(copy)), on=sql.all_of(matches))
        late = exp.Not(this=sql.call("coalesce", self._in_time_of("sqlml j"), exp.false()))
        return sql.create_temporary(self._kept, sql.render(rows.where(late)))

    def _in_time_of(self, name: str) -> exp.Expression:
        return exp.Paren(this=exp.LTE(this=sql.column(f"{OUTPUT}scored_at", name), expression=sql.column(AT, name)))

    def joined(self) -> str:
        """Of those joined: labels, of keys that have no prediction, and of keys whose prediction was made later."""
        none = exp.Is(this=sql.column(f"{OUTPUT}scored_at"), expression=exp.Null())
        later = exp.Not(this=exp.Paren(this=self.in_time()))
        return sql.render(
            exp.select("count(*)", *(_count_if(node) for node in (none, later))).from_(sql.table(self._joined))
        )

    def kept(self) -> str:
        """Of those kept: keys that have no prediction now, and keys whose prediction was made later."""
        none = exp.Is(this=sql.column(STORED), expression=exp.Null())
        return sql.render(
            exp.select(_count_if(none), _count_if(exp.Not(this=none.copy()))).from_(sql.table(self._kept))
        )

    def insert(self, labelling_id: str) -> list[str]:
        """Append what was in time, and what an earlier label kept."""
        table = self.table
        revision = exp.Add(this=sql.call("coalesce", sql.column(BEFORE), sql.integer(0)), expression=sql.integer(1))
        values = [sql.column(name) for name in self.event[:-1]]
        values += [sql.column(LABEL), sql.column(AT), revision]
        values += [sql.column(OUTPUT + name) for name in self.taken]
        values += [sql.column(SEEN), sql.column(NOW), sql.cast(sql.text(labelling_id), "UUID")]
        rows = [exp.select(*values).from_(sql.table(self._joined)).where(self.in_time())]
        if self.known:
            rows.append(exp.select(*(value.copy() for value in values)).from_(sql.table(self._kept)))
        return [sql.insert_select(table.path, table.names, sql.render(part)) for part in rows]

    def added(self, labelling_id: str) -> str:
        """New labels, corrected ones, and of both those whose prediction is NULL, of a labelling."""
        table = self.table
        first = exp.EQ(this=sql.column(table.revision), expression=sql.integer(1))
        own = exp.EQ(this=sql.column(table.labelling_id), expression=sql.cast(sql.text(labelling_id), "UUID"))
        none = exp.Is(this=sql.column("prediction"), expression=exp.Null())
        counts = [_count_if(node) for node in (first, exp.Not(this=exp.Paren(this=first.copy())), none)]
        return sql.render(exp.select(*counts).from_(sql.table(*table.path)).where(own))


def has_key_of(name: str, count: int) -> exp.Expression:
    return sql.all_of(
        [exp.Not(this=exp.Is(this=sql.column(key_name(n), name), expression=exp.Null())) for n in range(count)]
    )


def _count_if(node: exp.Expression) -> exp.Expression:
    counted = sql.call("count_if", node)
    return sql.cast(sql.call("coalesce", counted, sql.integer(0)), "BIGINT")
