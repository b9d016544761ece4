"""Stored predictions of a python_function asked for again: some of them, by the files that the database keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.catalog.records import Version
from sqlml.convert.pyfunc import Policy
from sqlml.engines.pyfunc import INPUT_HASH
from sqlml.predictions import Target
from sqlml.pyfunc.answering import answered, arrow, askers
from sqlml.pyfunc.gate import apart, unpacked
from sqlml.relation import count

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SAMPLE_ROWS = 2_000
TOLERANCE = 1e-5
"""What the wider of the two tolerances allows that a model is deployed with: its floats may be 32 bits wide."""


def asked_again(
    connection: Connection, target: Target, version: Version, policy: Policy, log: Callable[[str], None]
) -> tuple[int, int]:
    """How many rows were compared, and how many of their stored predictions the model does not give now.

    Rows whose inputs have changed since are left out: their predictions are stale, which is another finding.
    """
    rows = target.all_rows()
    total = count(connection, target.relation)
    if total > SAMPLE_ROWS:
        parts = sql.integer(-(-total // SAMPLE_ROWS))
        bucket = exp.Mod(this=sql.call("hash", *(sql.column(key) for key in target.keys)), expression=parts)
        rows = rows.where(exp.EQ(this=bucket, expression=sql.integer(0)))
    signature = version.contract
    with (
        askers(connection, policy, log) as opened,
        answered(connection, lambda: opened.worker(version), signature, target.keyed(rows), target.keys) as found,
    ):
        matches = sql.equal([*target.keys, INPUT_HASH], "sqlml p", "sqlml k")
        columns = [
            sql.alias(sql.column(o, side), f"{side} {o}") for side in ("sqlml p", "sqlml k") for o in target.outputs
        ]
        stored = sql.named(sql.table(*target.table), "sqlml p")
        again = exp.select("*").from_(sql.table("sqlml again"))
        joined = exp.select(*columns).from_(again.subquery("sqlml k")).join(stored, on=sql.all_of(matches))
        table = arrow(connection, sql.with_source("sqlml again", found, sql.render(joined)))
    sides = [
        unpacked(signature, table.column(f"{side} prediction"), table.column(f"{side} error"))
        for side in ("sqlml p", "sqlml k")
    ]
    differing = sum(apart(one, other) > TOLERANCE for one, other in zip(*sides, strict=True))
    return table.num_rows, differing
