"""Columns that say whether there are rows, or how many: they are made of what decides that."""

from __future__ import annotations

import duckdb
import pytest

from sqlml.lineage.columns import trace
from sqlml.relation import find
from tests.lineage.test_columns import CHANGES, TABLES, bases

ID, TENURE, FEE, CONTRACT = "customers.id", "customers.Tenure", "customers.fee", "customers.contract"
CID, AMOUNT, OID, OTHER, UNKNOWN = "s.pay.cid", "s.pay.amount", "s.customers.id", "s.customers.other", "unknown"
OF_ONE = "SELECT {} AS x FROM customers c"
VIEWS = {
    "exists, a join's condition": (
        OF_ONE.format("EXISTS(SELECT 1 FROM s.pay p JOIN s.customers o ON p.cid = o.id AND o.other > c.tenure * 10)"),
        {TENURE, CID, OID, OTHER},
    ),
    "exists, a filter in a subquery": (
        OF_ONE.format("EXISTS(SELECT 1 FROM (SELECT * FROM s.pay WHERE cid = c.id AND amount > 5) z)"),
        {ID, CID, AMOUNT},
    ),
    "exists, a filter in a common table expression": (
        OF_ONE.format("EXISTS(WITH z AS (SELECT * FROM s.pay WHERE amount > c.fee AND cid = c.id) SELECT 1 FROM z)"),
        {ID, FEE, CID, AMOUNT},
    ),
    "exists, a union": (
        OF_ONE.format(
            "EXISTS(SELECT fee FROM s.pay p WHERE p.cid = c.id AND amount > 110"
            " UNION ALL SELECT 1 FROM s.customers o WHERE o.id = c.id AND other > 60)"
        ),
        {ID, FEE, CID, AMOUNT, OID, OTHER} - {FEE},
    ),
    "exists, groups": (
        OF_ONE.format("EXISTS(SELECT cid FROM s.pay WHERE amount > 60 GROUP BY cid)"),
        {AMOUNT},  # how many groups there are is nothing to it
    ),
    "exists, groups that are chosen": (
        OF_ONE.format("EXISTS(SELECT 1 FROM s.pay GROUP BY cid HAVING sum(amount) > c.fee * 8)"),
        {FEE, CID, AMOUNT},
    ),
    "exists, an outer join": (
        OF_ONE.format(
            "EXISTS(SELECT 1 FROM s.pay p LEFT JOIN s.customers o ON o.other = p.cid WHERE p.amount > c.fee)"
        ),
        {FEE, AMOUNT},
    ),
    "exists, a semi join": (
        OF_ONE.format("EXISTS(SELECT 1 FROM s.pay p SEMI JOIN s.customers o ON o.id = p.cid AND o.other > c.fee)"),
        {FEE, CID, OID, OTHER},
    ),
    "exists, of a view": (OF_ONE.format("EXISTS(SELECT 1 FROM large l WHERE l.cid = c.id)"), {ID, CID, AMOUNT}),
    "exists, one row at any rate": (OF_ONE.format("EXISTS(SELECT count(*) FROM s.pay)"), set()),
    "exists, a whole table": (OF_ONE.format("EXISTS(FROM s.pay)"), {UNKNOWN}),
    "in, with a filter": (OF_ONE.format("c.id IN (SELECT cid FROM s.pay WHERE amount > 50)"), {ID, CID, AMOUNT}),
    "not in, with a join": (
        OF_ONE.format("c.id NOT IN (SELECT cid FROM s.pay JOIN s.customers o ON o.id = cid AND o.other > 60)"),
        {ID, CID, OID, OTHER},
    ),
    "count of groups": (
        "SELECT count(*) AS x FROM customers WHERE tenure > 3 GROUP BY contract",
        {TENURE, CONTRACT},
    ),
    "count without a word in it": ("SELECT count() + 1 AS x FROM customers GROUP BY contract", {CONTRACT}),
    "count by place": ("SELECT count(*) AS x, contract AS y FROM customers GROUP BY 2", {CONTRACT}),
    "count by a name": ("SELECT count(*) AS x, upper(contract) AS y FROM customers GROUP BY y", {CONTRACT}),
    "count by all": ("SELECT count(*) AS x, contract AS y, max(fee) AS z FROM customers GROUP BY ALL", {CONTRACT}),
    "sum of ones": ("SELECT sum(1) AS x FROM customers GROUP BY contract", {CONTRACT}),
    "count of some": ("SELECT count(*) FILTER (fee > 20) AS x FROM customers GROUP BY contract", {FEE, CONTRACT}),
    "count of a value": ("SELECT count(fee) AS x FROM customers GROUP BY contract", {FEE}),  # that is made of the value
    "count over a window": ("SELECT count(*) OVER (PARTITION BY contract) AS x FROM customers", {CONTRACT}),
    "row numbers": ("SELECT row_number() OVER () AS x FROM customers WHERE tenure > 3", {TENURE}),
    "count of a join": (
        "SELECT count(*) AS x FROM customers c LEFT JOIN s.pay p ON p.cid = c.id AND p.amount > c.fee GROUP BY contract",
        {CONTRACT, ID, FEE, CID, AMOUNT},
    ),
    "count of every pair": (
        "SELECT count(*) AS x FROM customers c, s.pay p GROUP BY contract",
        {CONTRACT, UNKNOWN},  # nothing says which rows s.pay has
    ),
    "count of a table": ("SELECT count(*) AS x FROM customers", {UNKNOWN}),
    "count of a filtered table": ("SELECT count(*) AS x FROM customers WHERE fee > 20", {FEE}),
    "count of different values": ("SELECT count(*) AS x FROM (SELECT DISTINCT contract FROM customers)", {CONTRACT}),
    "count of a view": ("SELECT count(*) AS x FROM large GROUP BY cid", {CID, AMOUNT}),
    "count of a view of groups": ("SELECT count(*) AS x FROM paid WHERE n > 1", {CID, AMOUNT}),
    "count in a subquery": (
        OF_ONE.format("(SELECT count(*) FROM s.pay p WHERE p.cid = c.id AND amount > 50)"),
        {ID, CID, AMOUNT},
    ),
    "count in what is joined": (
        "SELECT coalesce(n, 0) AS x FROM customers c LEFT JOIN"
        " (SELECT cid, count(*) AS n FROM s.pay WHERE amount > 50 GROUP BY cid) p ON p.cid = c.id",
        {CID, AMOUNT},
    ),
    "a mark on what is joined": (
        "SELECT p.yes IS NOT NULL AS x FROM customers c LEFT JOIN"
        " (SELECT DISTINCT cid, true AS yes FROM s.pay WHERE amount > 50) p ON p.cid = c.id",
        {ID, CID, AMOUNT},
    ),
    "a mark of a view that is joined": (
        "SELECT p.yes IS NOT NULL AS x FROM customers c LEFT JOIN (SELECT DISTINCT * FROM marked) p ON p.cid = c.id",
        {ID, CID, AMOUNT},
    ),
    "a subquery that says only that there is a row": (
        OF_ONE.format("(SELECT true FROM s.pay p WHERE p.cid = c.id AND amount > 110)"),
        {ID, CID, AMOUNT},
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_decides_the_rows_is_what_it_is_made_of(name: str) -> None:
    query, expected = VIEWS[name]
    with duckdb.connect() as connection:
        for statement in (
            *TABLES,
            "CREATE VIEW large AS SELECT * FROM s.pay WHERE amount > 50",
            "CREATE VIEW paid AS SELECT cid, count(*) AS n FROM large GROUP BY cid",
            "CREATE VIEW marked AS SELECT cid, true AS yes FROM large",
            f"CREATE VIEW looked_at AS {query}",
        ):
            connection.execute(statement)
        found = bases(connection, find(connection, "looked_at"))["x"]
        before = connection.sql("SELECT x FROM looked_at ORDER BY ALL").fetchall()
        changed = set()
        for base, change in CHANGES.items():
            connection.execute(f"BEGIN; {change}")
            if connection.sql("SELECT x FROM looked_at ORDER BY ALL").fetchall() != before:
                changed.add(base)
            connection.execute("ROLLBACK")

    assert found == expected
    assert changed <= found or UNKNOWN in found


def test_a_table_whose_rows_are_counted_is_named() -> None:
    with duckdb.connect() as connection:
        for statement in (*TABLES, "CREATE VIEW looked_at AS SELECT (SELECT count(*) FROM s.pay) AS x FROM customers"):
            connection.execute(statement)

        [edge] = trace(connection, find(connection, "looked_at"))

    assert (edge.from_kind, edge.how) == ("unknown", "it depends on which rows s.pay has")


def test_a_generated_column_is_made_of_its_expression() -> None:
    with duckdb.connect() as connection:
        for statement in (
            "CREATE TABLE t (id BIGINT, raw DOUBLE, b DOUBLE AS (raw * 2), c DOUBLE AS (b + 1), k INTEGER AS (5))",
            "CREATE VIEW looked_at AS SELECT id, c, k FROM t",
        ):
            connection.execute(statement)
        view, table = find(connection, "looked_at"), find(connection, "t")

        assert bases(connection, view) == {"id": {"t.id"}, "c": {"t.raw"}, "k": set()}
        assert [(e.from_name, e.to_name, e.how) for e in trace(connection, table, ["b"])] == [
            ("t.raw", "t.b", "CAST((raw * 2) AS DOUBLE)")
        ]
