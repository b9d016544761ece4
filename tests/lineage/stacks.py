"""Random stacks of views whose lineage is known, since they are put together from parts that say what they read.

Nothing here parses SQL: each part is a text with the columns that it reads. `surely` is the part of these with which the
value must change when the column does; the rest (what a window partitions or orders by, a maximum) may or may not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlml.sql import quote

NAMES = ("a", "b", "c", "d", "e", "select", "x y", "Naïve", 'q"q', "it's", "A_b", "order", "prediction", "id2")
TABLES = {"t1": ("id", "p", "q", "r"), "s.t2": ("id", "p", "u"), "up.predictions_v1": ("id", "prediction", "score")}
BASES = tuple(f"{table}.{column}" for table, columns in TABLES.items() for column in columns if column != "id")
SETUP = (
    "CREATE SCHEMA s",
    "CREATE SCHEMA up",
    "CREATE TABLE t1 (id BIGINT, p BIGINT, q BIGINT, r BIGINT)",
    "CREATE TABLE s.t2 (id BIGINT, p BIGINT, u BIGINT)",
    "CREATE TABLE up.predictions_v1 (id BIGINT, prediction BIGINT, score BIGINT)",
    "INSERT INTO t1 SELECT i, i * 37 % 11, i * 53 % 17, i % 4 FROM range(1, 9) t(i)",
    "INSERT INTO s.t2 SELECT i, i * 29 % 13, i % 5 FROM range(1, 9) t(i)",
    "INSERT INTO up.predictions_v1 SELECT i, i * 31 % 7, i * 41 % 19 FROM range(1, 9) t(i)",
    # What a deployment leaves: the view that others read, and its function of a row.
    "CREATE VIEW up.current AS SELECT p.*, 1 AS deployment_version FROM up.predictions_v1 p",
    "CREATE MACRO pair(r) AS struct_extract(r, 'p') * 3::HUGEINT + r.p2::HUGEINT",
)
CHANGED = {base: f"UPDATE {base.rsplit('.', 1)[0]} SET {base.rsplit('.', 1)[1]} = {base.rsplit('.', 1)[1]} * 5 + 1000 + id * id * 7" for base in BASES}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """An expression: its text, the base columns it is made of, and those it must change with."""

    text: str
    reads: frozenset[str]
    surely: frozenset[str]


@dataclass(frozen=True)
class Made:
    """Something in FROM: `id` and other columns by name."""

    sql: str
    columns: dict[str, Value]


@dataclass
class Stack:
    chance: random.Random
    statements: list[str] = field(default_factory=list)
    views: list[Made] = field(default_factory=list)

    def source(self) -> Made:
        """The latest view, or (less often) an older one or a table."""
        if self.views and self.chance.random() < 0.7:
            return self.views[-1]
        if len(self.views) > 1 and self.chance.random() < 0.4:
            return self.chance.choice(self.views[:-1])
        table = self.chance.choice([*TABLES, "up.current"])
        of = "up.predictions_v1" if table == "up.current" else table
        columns = {c: Value(c, frozenset({f"{of}.{c}"}), frozenset({f"{of}.{c}"})) for c in TABLES[of] if c != "id"}
        return Made(table, columns)

    def pick(self, made: Made, alias: str) -> Value:
        name = self.chance.choice(list(made.columns))
        value = made.columns[name]
        return Value(f"{alias}.{self.spelled(name)}", value.reads, value.surely)

    def spelled(self, name: str) -> str:
        """Sometimes in other case, sometimes without quotes: DuckDB does not care."""
        plain = name.isascii() and name.isalpha() and name not in ("select", "order")
        return self.chance.choice([name.upper(), name, quote(name)]) if plain else quote(name)

    def value(self, *from_: tuple[Made, str]) -> Value:
        """An expression over columns of one or several sources."""
        made, alias = self.chance.choice(from_)
        a = self.pick(made, alias)
        made, alias = self.chance.choice(from_)
        b = self.pick(made, alias)
        both = a.reads | b.reads
        weight = self.chance.choice(("2::HUGEINT", "3::HUGEINT", "5::HUGEINT"))
        kinds: tuple[Callable[[], Value], ...] = (
            lambda: a,
            lambda: Value(f"{a.text} * {weight} + 1", a.reads, a.surely),
            lambda: Value(f"({a.text} * {weight} + {b.text} * 100003)", both, self.independent(a, b)),
            lambda: Value(f"CASE WHEN {a.text} > 5 THEN {b.text} ELSE -1 END", both, frozenset()),
            lambda: Value(f"coalesce({a.text}, {b.text})", both, frozenset()),
            lambda: Value(f"CAST({a.text} AS HUGEINT)", a.reads, a.surely),
            lambda: Value(f"greatest({a.text}, {b.text})", both, frozenset()),
            lambda: Value(
                f"list_sum(list_transform([{a.text}, {b.text}], lambda id: id * {weight}))",
                both,
                self.independent(a, b),
            ),
            lambda: Value(f"{{'f': {a.text}, 'g': {b.text}}}.f", both, a.surely),
            lambda: Value(weight, frozenset(), frozenset()),
        )
        return self.chance.choice(kinds)()

    @staticmethod
    def independent(a: Value, b: Value) -> frozenset[str]:
        """A sum of two changes with each of what only one of them reads: what both read could cancel out."""
        return (a.surely - b.reads) | (b.surely - a.reads)

    def _windowed(self, a: Value, b: Value, c: Value, reads: frozenset[str]) -> Value:
        return self.chance.choice(
            (
                Value(f"sum({a.text}) OVER ()", a.reads, a.surely),
                Value(f"sum({a.text}) OVER (PARTITION BY {b.text})", a.reads | b.reads, frozenset()),
                Value(f"sum({a.text}) OVER (PARTITION BY {b.text} ORDER BY {c.text})", reads, frozenset()),
                Value(f"rank() OVER (ORDER BY {a.text} DESC, {b.text})", a.reads | b.reads, frozenset()),
                Value(f"min({a.text}) FILTER ({b.text} > 3) OVER (ORDER BY {c.text})", reads, frozenset()),
            )
        )

    def outputs(self, values: list[Value]) -> tuple[str, dict[str, Value]]:
        """A select list with names, and the columns it makes."""
        names = self.chance.sample(NAMES, len(values))
        listed = ", ".join(f"{v.text} AS {quote(n)}" for v, n in zip(values, names, strict=True))
        return listed, dict(zip(names, values, strict=True))

    def level(self) -> Made:
        kinds = (self.projected, self.joined, self.with_cte, self.windows, self.united, self.starred, self.grouped)
        kinds += (self.subquery, self.of_a_row, self.united_by_name)
        return self.chance.choice(kinds)()

    def projected(self) -> Made:
        made = self.source()
        listed, columns = self.outputs([self.value((made, "v")) for _ in range(3)])
        return Made(f"SELECT v.id, {listed} FROM {made.sql} v", columns)

    @staticmethod
    def left_out(value: Value) -> Value:
        """A constant that an outer join may leave out says whether there is a row, and that the ids decide."""
        return value if value.reads else Value(value.text, frozenset({"id"}), frozenset())

    def joined(self) -> Made:
        left, right = self.source(), self.source()
        how = self.chance.choice(("JOIN", "LEFT JOIN", "INNER JOIN"))
        seen = Made(right.sql, {n: self.left_out(v) for n, v in right.columns.items()}) if how == "LEFT JOIN" else right
        listed, columns = self.outputs([self.value((left, "l"), (seen, "r")) for _ in range(3)])
        on = self.chance.choice(("USING (id)", "ON l.id = r.id"))
        key = "id" if on.startswith("USING") else "l.id"
        return Made(f"SELECT {key}, {listed} FROM {left.sql} l {how} {right.sql} r {on}", columns)

    def with_cte(self) -> Made:
        made = self.source()
        inner = [self.value((made, "v")) for _ in range(2)]
        names = self.chance.sample(NAMES, 2)
        # A list of names over the CTE's columns; a name of its own that hides a table of the database.
        cte = Made("t1", dict(zip(names, inner, strict=True)))
        made_sql = made.sql if made.sql != "t1" else "main.t1"
        listed, columns = self.outputs([self.value((cte, "t1")) for _ in range(3)])
        header = ", ".join(["id", *map(quote, names)])
        return Made(
            f"WITH t1({header}) AS (SELECT v.id, {', '.join(v.text for v in inner)} FROM {made_sql} v)"
            f" SELECT t1.id, {listed} FROM t1",
            columns,
        )

    def windows(self) -> Made:
        made = self.source()
        values = [self._windowed(*self._three(made)) for _ in range(2)]
        listed, columns = self.outputs([*values, self.value((made, "v"))])
        return Made(f"SELECT v.id, {listed} FROM {made.sql} v", columns)

    def _three(self, made: Made) -> tuple[Value, Value, Value, frozenset[str]]:
        a, b, c = (self.pick(made, "v") for _ in range(3))
        return a, b, c, a.reads | b.reads | c.reads

    def united(self) -> Made:
        left, right = self.source(), self.source()
        first = [self.value((left, "v")) for _ in range(3)]
        second = [self.value((right, "v")) for _ in range(3)]
        listed, columns = self.outputs(first)
        both = {
            n: Value("", a.reads | b.reads, a.surely | b.surely)
            for (n, a), b in zip(columns.items(), second, strict=True)
        }
        return Made(
            f"SELECT v.id, {listed} FROM {left.sql} v UNION ALL"
            f" SELECT v.id, {', '.join(v.text for v in second)} FROM {right.sql} v",
            both,
        )

    def united_by_name(self) -> Made:
        left, right = self.source(), self.source()
        first, columns = self.outputs([self.value((left, "v")) for _ in range(3)])
        second = {n: self.value((right, "v")) for n in reversed(list(columns)[:2])}
        listed = ", ".join(f"{v.text} AS {quote(n)}" for n, v in second.items())
        # Nothing is sure from here on: the second part's rows have a NULL, and NULLs stay what they are.
        both = {
            n: Value("", v.reads | (second[n].reads if n in second else frozenset()), frozenset())
            for n, v in columns.items()
        }
        return Made(
            f"SELECT v.id, {first} FROM {left.sql} v UNION ALL BY NAME SELECT {listed}, v.id FROM {right.sql} v", both
        )

    def starred(self) -> Made:
        made = self.source()
        columns = dict(made.columns)
        hidden = self.chance.choice(list(columns)) if len(columns) > 1 else None
        if hidden is not None:
            del columns[hidden]
        replaced = self.chance.choice(list(columns))
        new = self.value((made, "v"))
        columns[replaced] = new
        exclude = f" EXCLUDE ({quote(hidden)})" if hidden is not None else ""
        if made.sql == "up.current":
            exclude = f" EXCLUDE ({', '.join(['deployment_version', *([quote(hidden)] if hidden else [])])})"
        return Made(f"SELECT v.*{exclude} REPLACE ({new.text} AS {quote(replaced)}) FROM {made.sql} v", columns)

    def grouped(self) -> Made:
        made = self.source()
        a, b = self.pick(made, "v"), self.pick(made, "v")
        values = [
            Value(f"sum({a.text})", a.reads, a.surely),
            Value(f"max({b.text}) - min({a.text})", a.reads | b.reads, frozenset()),
            Value("count(*)", frozenset({"id"}), frozenset()),  # everything here is joined and grouped by ids
        ]
        listed, columns = self.outputs(values)
        return Made(f"SELECT v.id, {listed} FROM {made.sql} v GROUP BY v.id", columns)

    def subquery(self) -> Made:
        outer, inner = self.source(), self.source()
        a = self.pick(inner, "w")
        b = self.pick(outer, "v")
        values = [
            Value(f"(SELECT sum({a.text}) FROM {inner.sql} w WHERE w.id = v.id)", a.reads, a.surely),
            Value(
                f"(SELECT max({a.text} + {b.text}) FROM {inner.sql} w WHERE w.id = v.id)",
                a.reads | b.reads,
                frozenset(),
            ),
            self.value((outer, "v")),
        ]
        listed, columns = self.outputs(values)
        renamed = self.chance.sample(NAMES, 3)
        made = dict(zip(renamed, columns.values(), strict=True))
        header = ", ".join(["id", *map(quote, renamed)])
        return Made(f"SELECT * FROM (SELECT v.id, {listed} FROM {outer.sql} v) AS z({header})", made)

    def of_a_row(self) -> Made:
        """A function of a whole row, as a deployment's `predict` is: it reads its own fields and no other."""
        made = self.source()
        a, b, c = (self.value((made, "v")) for _ in range(3))
        inner = f"(SELECT v.id, {a.text} AS p, {b.text} AS p2, {c.text} AS p3 FROM {made.sql} v)"
        values = [
            Value("pair(z)", a.reads | b.reads, self.independent(a, b)),
            Value("z.p3", c.reads, c.surely),
            Value("pair({'p': z.p3, 'p2': z.p})", c.reads | a.reads, frozenset()),
        ]
        listed, columns = self.outputs(values)
        return Made(f"SELECT z.id, {listed} FROM {inner} z", columns)


def made(seed: int, depth: int = 5) -> Stack:
    """A stack of views v1, s.v2 ...: the last one's columns are looked at."""
    stack = Stack(random.Random(seed))
    for number in range(1, depth + 1):
        level = stack.level()
        name = f"s.v{number}" if stack.chance.random() < 0.3 else f"v{number}"
        stack.statements.append(f"CREATE VIEW {name} AS {level.sql}")
        stack.views.append(Made(name, level.columns))
    return stack
