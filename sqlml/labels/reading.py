"""What a source says, brought into one form: keys, the label as it is written there, the time in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.catalog.activity import Change, active_expression
from sqlml.errors import BindingError, UsageError
from sqlml.labels.kinds import base_type, is_missing
from sqlml.relation import Relation, resolve_columns

READ = "sqlml labels read"
"""A temporary table: `key 0` and on as in the source, `label`, `at`, the `version` that was active then, and `why` a row
says nothing (NULL where it does)."""
LABEL, AT, VERSION, WHY = "sqlml label", "sqlml at", "sqlml version", "sqlml why"
NO_KEY, NO_LABEL, NO_TIME = "without a key", "without a label", "without a time"
FUTURE, NOT_ACTIVE = "in the future", "no version was active then"
LOCAL_TIMES = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"})


def key_name(number: int) -> str:
    return f"sqlml key {number}"


@dataclass(frozen=True)
class Given:
    """The columns of a source that matter, spelt as they are there. `keys` are in the deployment's order."""

    relation: Relation
    keys: tuple[str, ...]
    label: str
    at: str

    @property
    def label_type(self) -> str:
        return self.relation.types[self.label]


def given(relation: Relation, wanted: Sequence[str], key: Sequence[str], label: str, at: str) -> Given:
    """The columns named, found in the source; `wanted` are the deployment's key columns.

    Raises:
        BindingError: there is no such column; or the time is of a type that is none.
        UsageError: the key is not the deployment's.
    """
    named = resolve_columns(relation, key or wanted, "key")
    (label,) = resolve_columns(relation, [label], "label")
    (at,) = resolve_columns(relation, [at], "the time of the label")
    declared = relation.types[at]
    if base_type(declared) not in LOCAL_TIMES | {"TIMESTAMP WITH TIME ZONE"}:
        raise BindingError(
            f"{at} of {relation.label} is {declared}, and no time.",
            hint=f"Convert it in a view: CAST({sql.quote(at)} AS TIMESTAMP) for texts in UTC, CAST({sql.quote(at)} AS"
            f" TIMESTAMPTZ) where a zone stands in them, make_timestamp({sql.quote(at)} * 1000000) for seconds.",
        )
    return Given(relation, _matched(named, wanted), label, at)


def _matched(named: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """By name; one column that is called otherwise is the one that is left."""
    shown = ", ".join(wanted)
    if len(named) != len(wanted):
        raise UsageError(
            f"The deployment's key is {shown}; {len(named)} columns are named.",
            hint="Name a column of the source for each of them with --key.",
        )
    by_name = {name.lower(): name for name in named}
    missing = [key for key in wanted if key.lower() not in by_name]
    others = [name for name in named if name.lower() not in {key.lower() for key in wanted}]
    if len(missing) > 1:
        raise UsageError(
            f"{', '.join(others)} could each be any of {', '.join(missing)}: the deployment's key is {shown}.",
            hint="Call them as the deployment does, in a view.",
        )
    return tuple(by_name.get(key.lower()) or others[0] for key in wanted)


def read(found: Given, changes: list[Change]) -> str:
    """The statement that makes the table `READ`, in one scan."""
    columns = [sql.alias(sql.column(key), key_name(number)) for number, key in enumerate(found.keys)]
    label = sql.column(found.label)
    there = exp.Not(this=exp.Paren(this=is_missing(label, found.label_type)))
    columns.append(sql.alias(sql.case([(there, label.copy())]), LABEL))
    columns.append(sql.alias(_utc(sql.column(found.at), found.relation.types[found.at]), AT))
    rows = exp.select(*columns).from_(found.relation.node)
    version = sql.alias(active_expression(changes, sql.column(AT)), VERSION)
    dated = exp.select("*", version).from_(rows.subquery(alias=sql.identifier("sqlml s")))
    reasons = [
        (exp.Not(this=has_key(len(found.keys))), NO_KEY),
        (exp.Is(this=sql.column(LABEL), expression=exp.Null()), NO_LABEL),
        (exp.Is(this=sql.column(AT), expression=exp.Null()), NO_TIME),
        (exp.GT(this=sql.column(AT), expression=sql.UTC_NOW.copy()), FUTURE),
        (exp.Is(this=sql.column(VERSION), expression=exp.Null()), NOT_ACTIVE),
    ]
    why = sql.case([(when, sql.text(said)) for when, said in reasons], sql.null("VARCHAR"))
    everything = exp.select("*", sql.alias(why, WHY)).from_(dated.subquery(alias=sql.identifier("sqlml d")))
    return sql.create_temporary(READ, sql.render(everything))


def counts() -> str:
    """Of READ: why, which version, how many rows."""
    columns = [sql.column(WHY), sql.column(VERSION)]
    return f"{sql.render(exp.select(*columns, 'count(*)').from_(sql.table(READ)))} GROUP BY ALL ORDER BY ALL"


def _utc(node: exp.Expression, declared: str) -> exp.Expression:
    """Without a zone it is UTC already, as all times of sqlml are; a DATE is its first moment. Infinity is no time."""
    moment = sql.cast(node, "TIMESTAMP")
    if base_type(declared) == "TIMESTAMP WITH TIME ZONE":
        moment = sql.call("make_timestamp", sql.call("epoch_us", node.copy()))
    return sql.case([(sql.call("isfinite", node.copy()), moment)])


def as_key(number: int, declared: str, wanted: str) -> exp.Expression:
    """The source's key in the type of the predictions'; NULL where that is another value, as 1.5 or '007' for a BIGINT."""
    node = sql.column(key_name(number))
    if declared == wanted:
        return node
    there = sql.try_cast(node, wanted)
    back = sql.try_cast(there.copy(), declared)
    return sql.case([(exp.EQ(this=back, expression=node.copy()), there)])


def has_key(count: int) -> exp.Expression:
    return sql.all_of(
        [exp.Not(this=exp.Is(this=sql.column(key_name(number)), expression=exp.Null())) for number in range(count)]
    )
