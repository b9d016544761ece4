"""Stored predictions of one version computed again from the inputs that they were made of, as far as those are known.

Everything is compared in temporary tables of the connection, so that memory does not grow with the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import objects, pyfunc, sql
from sqlml.catalog.records import Version
from sqlml.database import is_interrupt
from sqlml.kept import KeptInputs
from sqlml.keys import is_key
from sqlml.predictions import Target, hash_check
from sqlml.pyfunc.verifying import TOLERANCE as ASKED_TOLERANCE
from sqlml.relation import Relation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

EQUAL, CHANGED, NOT_KEPT, UNEQUAL = "equal", "inputs changed", "inputs not kept", "not equal"
RECOMPUTED = "recomputed"
"""Nothing is stored any more to compare with: what was said then is computed from the inputs that were kept."""
CHOSEN, ANSWERED, LEFT = "sqlml chosen", "sqlml answered", "sqlml left"
ID, COMPARABLE, STORED, OUTCOME, WHY, DIFFERENCE = (
    f"sqlml {name}" for name in ("id", "comparable", "stored", "outcome", "why", "difference")
)
UNREAD, SEEN_AT = "sqlml unread", "sqlml seen at"
TOLERANCES = {"double": 1e-9, "float": 1e-6}
"""What a deployment is checked with: another processor or DuckDB may round the last bit of an exponential otherwise."""
SEED = 7

NO_HASH = "no hash of the inputs is stored"
OTHER_HASH = "the hash was made by a DuckDB that hashes otherwise"
GONE = "the key has left the source, and only a hash of the inputs was kept"
NO_SOURCE = "the source cannot be read any more ({problem}), and only a hash of the inputs was kept"
AGAIN = "it was scored again since, and the inputs of then were not kept"
OTHERS = "the source has other inputs now"


@dataclass(frozen=True)
class Chosen:
    """Which stored predictions: of one key (as texts, cast to the key's types), a sample, or all."""

    key: Sequence[str] | None = None
    sample: int | None = None
    as_of: datetime | None = None


class AnswerFailed(Exception):
    """DuckDB failed, and ended the transaction, over the rows of `source` (or, without a relation, over what it is)."""

    def __init__(self, source: str, relation: Relation | None, error: Exception) -> None:
        super().__init__(str(error))
        self.source, self.relation, self.error = source, relation, error


def tolerance_of(connection: Connection, version: Version) -> float:
    if version.engine == "pyfunc":
        return ASKED_TOLERANCE
    row = connection.execute("SELECT precision FROM sqlml.models WHERE sha256 = ?", [version.model_sha256]).fetchone()
    return TOLERANCES.get(row[0], 1e-9) if row else 1e-9


@contextlib.contextmanager
def recomputed(
    connection: Connection,
    version: Version,
    target: Target,
    chosen: Chosen,
    askers: pyfunc.Askers,
    *,
    source_problem: str | None,
) -> Iterator[str]:
    """A temporary table with a row for each prediction chosen: id, keys, outcome, why, difference.

    `source_problem`: why the source is not to be read, None where it is.

    Raises:
        AnswerFailed: predictions could not be compared with the source's rows.
    """
    import duckdb

    work = _Work(connection, version, target, chosen, askers, tolerance_of(connection, version))
    made = [CHOSEN, ANSWERED, LEFT, OUTCOME]
    try:
        work.choose()
        if target.kept is not None:
            work.compare_kept(target.kept)
        if target.keep != "none":
            work.compare_source(source_problem)
        else:
            work.decide(sql.text(NOT_KEPT), sql.text(NO_HASH))
        yield OUTCOME
    finally:
        for name in made:
            with contextlib.suppress(duckdb.Error):  # the transaction is aborted, and takes them with it
                connection.execute(sql.drop_object("TABLE", ("temp", name)))


@dataclass
class _Work:
    connection: Connection
    version: Version
    target: Target
    chosen: Chosen
    askers: pyfunc.Askers
    tolerance: float

    def choose(self) -> None:
        """CHOSEN: stored predictions, or (as of then, where inputs are kept) what was shown, stored still or not."""
        target = self.target
        stored = exp.select(exp.Star()).from_(sql.table(*target.table))
        if self.chosen.key is not None:
            stored = stored.where(is_key(target.keys, target.key_types, self.chosen.key))
        if self.chosen.as_of is not None and target.kept is not None:
            query = self._shown_then(target.kept, sql.render(stored), self.chosen.as_of)
        else:
            named = exp.select(exp.Star(), sql.alias(exp.true(), STORED), sql.alias(sql.column("scored_at"), SEEN_AT))
            query = sql.select_from(sql.render(named), sql.render(stored))
        if self.chosen.sample is not None:
            query = sql.sampled(query, self.chosen.sample, SEED)
        comparable = exp.In(this=sql.column("scoring_id"), query=self._comparable().subquery())
        numbered = exp.select(
            exp.Star(),
            sql.alias(comparable, COMPARABLE),
            sql.alias(exp.Window(this=sql.call("row_number")), ID),
        )
        self._make(CHOSEN, sql.select_from(sql.render(numbered), query))
        columns = [ID, OUTCOME, WHY, DIFFERENCE]
        kinds = ["BIGINT", "VARCHAR", "VARCHAR", "DOUBLE"]
        empty = exp.select(*(sql.alias(sql.null(k), n) for n, k in zip(columns, kinds, strict=True))).where(exp.false())
        outputs = [sql.alias(sql.null(kind), f"{OUTCOME} {n}") for n, kind in enumerate(target.output_types)]
        self._make(OUTCOME, sql.render(empty.select(*outputs)))

    def _shown_then(self, kept: KeptInputs, stored: str, moment: datetime) -> str:
        until = exp.LTE(this=sql.column("scored_at"), expression=sql.timestamp(moment))
        these = None
        if self.chosen.key is not None:
            one = exp.select(*(sql.column(k) for k in kept.keys)).from_(sql.table(*kept.path)).distinct()
            these = sql.render(one.where(is_key(kept.keys, self.target.key_types, self.chosen.key)))
        shown = sql.select_from(
            "SELECT *", kept.last(these, until), alias="h", where=sql.render(exp.Not(this=sql.column(kept.removed)))
        )
        still = sql.select_from("SELECT *", stored, alias="p", where=sql.render(until.copy()))
        here, there = "sqlml s", "sqlml p"
        is_stored = exp.Not(this=exp.Is(this=sql.column("scoring_id", there), expression=exp.Null()))
        columns = [
            *(sql.column(key, here) for key in kept.keys),
            *(sql.column(output, there) for output in self.target.outputs),
            *(
                sql.column(name, here) if name == "scored_at" else _first(name, there, here)
                for name in ("input_hash", "scoring_id", "scored_at")
            ),
            sql.alias(is_stored, STORED),
            sql.alias(sql.column("scored_at", here), SEEN_AT),
        ]
        return sql.left_join(sql.render(exp.select(*columns)), shown, here, still, there, kept.keys)

    def _comparable(self) -> exp.Select:
        same = exp.EQ(this=sql.column("hash_check"), expression=sql.integer(hash_check(self.connection)))
        return exp.select(sql.column("scoring_id")).from_(sql.table("sqlml", "scorings")).where(same)

    def compare_kept(self, kept: KeptInputs) -> None:
        """By the inputs that were kept last (until then): they are those of the prediction, unless it is a later one's."""
        moment = self.chosen.as_of
        until = None if moment is None else exp.LTE(this=sql.column("scored_at"), expression=sql.timestamp(moment))
        self._list_undecided()
        there = sql.render(exp.Not(this=sql.column(kept.removed)))
        last = sql.select_from("SELECT *", kept.last(self._keys_left(), until), alias="h", where=there)
        self._make(f"{ANSWERED} kept", last)
        try:
            self._answer(kept.as_source(sql.read_path(f"{ANSWERED} kept")))
            p, k, h = "sqlml p", "sqlml k", "sqlml h"
            unread = exp.Not(this=exp.Is(this=sql.column(kept.unreadable, h), expression=exp.Null()))
            said_so = exp.NullSafeEQ(this=sql.column("error", p), expression=sql.column(kept.unreadable, h))
            is_stored = sql.column(STORED, p)
            differs = sql.all_of(
                [
                    sql.column(COMPARABLE, p),
                    exp.NEQ(this=sql.column("input_hash", p), expression=sql.column("input_hash", k)),
                ]
            )
            later = exp.GT(this=sql.column("scored_at", h), expression=sql.column("scored_at", p))
            other = sql.all_of([is_stored, sql.any_of([sql.all_of([exp.Not(this=unread), differs]), later])])
            outcome = sql.case(
                [
                    (exp.Not(this=is_stored), sql.text(RECOMPUTED)),
                    (other, sql.text(CHANGED)),
                    (
                        sql.all_of(
                            [unread.copy(), said_so, exp.Is(this=sql.column("prediction", p), expression=exp.Null())]
                        ),
                        sql.text(EQUAL),
                    ),
                    (sql.all_of([exp.Not(this=unread.copy()), self._same(p, k)]), sql.text(EQUAL)),
                ],
                sql.text(UNEQUAL),
            )
            why = sql.case([(other.copy(), sql.text("the inputs that were kept are those of another prediction"))])
            self._decide_by(outcome, why, f"{ANSWERED} kept", h, [], unread=(unread, sql.column(kept.unreadable, h)))
        finally:
            self.connection.execute(sql.drop_object("TABLE", ("temp", f"{ANSWERED} kept")))

    def compare_source(self, problem: str | None) -> None:
        """By the source's present rows, where their hash is that of the prediction."""
        import duckdb

        if not self._list_undecided():
            return  # the source is not needed, and may not be readable
        p, k, s = "sqlml p", "sqlml k", "sqlml s"
        no_hash = exp.Is(this=sql.column("input_hash", p), expression=exp.Null())
        moment = self.chosen.as_of
        again: exp.Expression = exp.false()
        if moment is not None:
            again = exp.GT(this=sql.column("scored_at", p), expression=sql.timestamp(moment))
        reasons = [
            (again, sql.text(AGAIN)),
            (no_hash, sql.text(NO_HASH)),
            (exp.Not(this=sql.column(COMPARABLE, p)), sql.text(OTHER_HASH)),
        ]
        if problem is not None:
            self.decide(sql.text(NOT_KEPT), sql.case(reasons, sql.text(problem)))
            return
        source = sql.named(self.target.relation.node, "sqlml r")
        keys = [
            exp.EQ(this=sql.column(key, "sqlml r"), expression=sql.column(key, "sqlml c")) for key in self.target.keys
        ]
        listed = exp.select("1").from_(sql.named(sql.table(LEFT), "sqlml c")).where(sql.all_of(keys))
        try:
            self._answer(sql.render(exp.select("*").from_(source).where(exp.Exists(this=listed))))
        except duckdb.Error as error:
            if is_interrupt(error):
                raise
            raise AnswerFailed(self.version.source or "", self.target.relation, error) from error
        there = exp.select(*(sql.column(key) for key in self.target.keys)).from_(sql.table(ANSWERED)).distinct()
        self._make(f"{ANSWERED} keys", sql.render(there))
        try:
            undecided = sql.any_of([when.copy() for when, _ in reasons])
            found = exp.Not(this=exp.Is(this=sql.column("input_hash", k), expression=exp.Null()))
            is_left = exp.Is(this=sql.column(self.target.keys[0], s), expression=exp.Null())
            outcome = sql.case(
                [
                    (undecided, sql.text(NOT_KEPT)),
                    (sql.all_of([found, self._same(p, k)]), sql.text(EQUAL)),
                    (found.copy(), sql.text(UNEQUAL)),
                    (is_left, sql.text(NOT_KEPT)),
                ],
                sql.text(CHANGED),
            )
            why = sql.case(
                [*reasons, (found.copy(), sql.null("VARCHAR")), (is_left.copy(), sql.text(GONE))], sql.text(OTHERS)
            )
            self._decide_by(outcome, why, f"{ANSWERED} keys", s, ["input_hash"])
        finally:
            self.connection.execute(sql.drop_object("TABLE", ("temp", f"{ANSWERED} keys")))

    def decide(self, outcome: exp.Expression, why: exp.Expression) -> None:
        """One outcome for all that is left."""
        self._list_undecided()
        nothing = [sql.null(kind) for kind in self.target.output_types]
        query = exp.select(sql.column(ID), outcome, why, sql.null("DOUBLE"), *nothing).from_(
            sql.named(sql.table(LEFT), "sqlml p")
        )
        self._insert(sql.render(query))

    def _decide_by(
        self,
        outcome: exp.Expression,
        why: exp.Expression,
        beside: str,
        side: str,
        more: Sequence[str],
        unread: tuple[exp.Expression, exp.Expression] | None = None,
    ) -> None:
        """Left joins of what is left with `beside` and with the answers; what is in neither stays undecided for kept."""
        p, k = "sqlml p", "sqlml k"
        answers = [sql.column(output, k) for output in self.target.outputs]
        if unread is not None:  # the model was not asked: what it says about the columns that are left means nothing
            answers = [
                sql.case([(unread[0].copy(), unread[1].copy() if name == "error" else sql.null(kind))], answer)
                for name, kind, answer in zip(self.target.outputs, self.target.output_types, answers, strict=True)
            ]
        query = exp.select(sql.column(ID, p), outcome, why, self._difference(p, k), *answers)
        query = query.from_(sql.named(sql.table(LEFT), p)).join(
            sql.named(sql.table(beside), side),
            on=sql.all_of(sql.equal(self.target.keys, p, side)),
            join_type="inner" if unread is not None else "left",
        )
        matches = sql.equal([*self.target.keys, *more], p, k)
        self._insert(
            sql.render(query.join(sql.named(sql.table(ANSWERED), k), on=sql.all_of(matches), join_type="left"))
        )

    def _insert(self, query: str) -> None:
        columns = [ID, OUTCOME, WHY, DIFFERENCE, *(f"{OUTCOME} {n}" for n, _ in enumerate(self.target.outputs))]
        self.connection.execute(sql.insert_select((OUTCOME,), columns, query))

    def _list_undecided(self) -> bool:
        """Whether there are any."""
        decided = exp.select(sql.column(ID)).from_(sql.table(OUTCOME))
        undecided = exp.Not(this=exp.In(this=sql.column(ID), query=decided.subquery()))
        self._make(LEFT, sql.render(exp.select(exp.Star()).from_(sql.table(CHOSEN)).where(undecided)))
        some = exp.select("1").from_(sql.table(LEFT)).limit(1)
        return self.connection.execute(sql.render(some)).fetchone() is not None

    def _keys_left(self) -> str:
        keys = exp.select(*(sql.column(key) for key in self.target.keys)).distinct()
        return sql.render(keys.from_(sql.table(LEFT)))

    def _answer(self, rows: str) -> None:
        """ANSWERED: what the version says about these rows now, each once."""
        target = self.target
        keyed = sql.with_source(objects.SOURCE, rows, target.keyed_query)
        named = [*target.keys, "input_hash"]
        columns = exp.select(*(sql.column(name) for name in [*named, *target.outputs]))
        columns = columns.distinct(*(sql.column(name) for name in named))
        if self.version.engine != "pyfunc":
            self._make(ANSWERED, sql.select_from(sql.render(columns), keyed))
            return
        with pyfunc.answered(
            self.connection, lambda: self.askers.worker(self.version), self.version.contract, keyed, target.keys
        ) as found:
            self._make(ANSWERED, sql.select_from(sql.render(columns), found))

    def _same(self, left: str, right: str) -> exp.Expression:
        """Whether all outputs agree: labels and texts exactly, numbers within the tolerance."""
        found: list[exp.Expression] = []
        for name, kind in zip(self.target.outputs, self.target.output_types, strict=True):
            a, b = sql.column(name, left), sql.column(name, right)
            alike: list[exp.Expression] = [exp.NullSafeEQ(this=a, expression=b)]
            numbers = self._numbers(name, kind, left, right)
            if numbers:
                alike.append(sql.all_of([_close(x, y, self.tolerance) for x, y in numbers]))
            found.append(sql.any_of(alike))
        return sql.all_of(found)

    def _difference(self, left: str, right: str) -> exp.Expression:
        """The largest distance of two numbers, relative to max(1, |a|, |b|); NULL where there is none."""
        pairs = [
            pair
            for name, kind in zip(self.target.outputs, self.target.output_types, strict=True)
            for pair in self._numbers(name, kind, left, right)
        ]
        if not pairs:
            return sql.null("DOUBLE")
        distances = [
            sql.case(
                [(exp.NullSafeEQ(this=a, expression=b), sql.double(0.0))],
                exp.Div(this=_apart(a, b), expression=_scale(a, b)),
            )
            for a, b in pairs
        ]
        return sql.call("greatest", *distances) if len(distances) > 1 else distances[0]

    def _numbers(self, name: str, kind: str, left: str, right: str) -> list[tuple[exp.Expression, exp.Expression]]:
        a, b = sql.column(name, left), sql.column(name, right)
        targets = self.version.contract.targets
        if name == "prediction" and targets:
            types = self.version.contract.target_types or ("DOUBLE",) * len(targets)
            return (
                [
                    (sql.field(a.copy(), field), sql.field(b.copy(), field))
                    for field, of in zip(targets, types, strict=True)
                    if of in ("DOUBLE", "FLOAT")
                ]
                if all(of in ("DOUBLE", "FLOAT") for of in types)
                else []
            )
        return [(a, b)] if kind in ("DOUBLE", "FLOAT") else []

    def _make(self, name: str, query: str) -> None:
        self.connection.execute(sql.create_temporary(name, query))


def _first(name: str, *sides: str) -> exp.Expression:
    return sql.alias(sql.call("coalesce", *(sql.column(name, side) for side in sides)), name)


def _apart(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    return sql.call("abs", exp.Sub(this=a.copy(), expression=b.copy()))


def _scale(a: exp.Expression, b: exp.Expression) -> exp.Expression:
    return sql.call("greatest", sql.double(1.0), sql.call("abs", a.copy()), sql.call("abs", b.copy()))


def _close(a: exp.Expression, b: exp.Expression, tolerance: float) -> exp.Expression:
    apart = _apart(a, b)
    near = exp.LTE(this=apart, expression=exp.Mul(this=sql.double(tolerance), expression=_scale(a, b)))
    finite = exp.LT(this=apart.copy(), expression=sql.double(float("inf")))  # two infinities are no number apart
    same = exp.NullSafeEQ(this=a.copy(), expression=b.copy())
    return sql.call("coalesce", sql.any_of([same, sql.all_of([near, finite])]), exp.false())
