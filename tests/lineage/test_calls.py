"""What a name in a view means where it is less than plain: a function called with a dot, a macro, a repeated name."""

from __future__ import annotations

import duckdb
import pytest

from sqlml.lineage.columns import trace
from sqlml.relation import Relation, find
from tests.lineage.test_columns import CHANGES, TABLES, bases

ID, TENURE, FEE, OTHER, UNKNOWN = "customers.id", "customers.Tenure", "customers.fee", "s.customers.other", "unknown"
MACROS = (
    "CREATE MACRO top() AS (SELECT max(amount) FROM s.pay)",
    "CREATE MACRO above(x) AS x - top()",
    "CREATE MACRO initcap(x) AS x + (SELECT max(amount) FROM s.pay)",
    "CREATE MACRO s.half(x) AS x / 2",
)
BOTH = "customers c JOIN s.customers o ON o.id = c.id"
VIEWS = {
    "a function called on a column": (
        "SELECT fee.round() AS x, c.tenure.abs().sqrt() AS y FROM customers c",
        {FEE},
        {TENURE},
    ),
    "a macro called on a column": (
        "SELECT fee.twice() AS x, tenure.greatest(fee) AS y FROM customers",
        {FEE},
        {TENURE, FEE},
    ),
    "an aggregate called on a column": (
        "SELECT fee.sum() FILTER (id > 0) AS x, tenure % 3 AS y FROM customers GROUP BY ALL",
        {FEE, ID},
        {TENURE},
    ),
    "a list's function with a lambda": (
        "SELECT l.list_transform(lambda e: e + fee) AS x, l.list_sum() AS y FROM (SELECT [tenure] AS l, fee FROM customers)",
        {TENURE, FEE},
        {TENURE},
    ),
    "a macro's schema, and a column of its name": (
        "SELECT s.half(fee) AS x, main.abs(fee) AS y FROM (SELECT tenure AS s, fee FROM customers)",
        {FEE},
        {FEE},
    ),
    "a macro that reads tables, without an argument": ("SELECT top() AS x, 1 AS y", {UNKNOWN}, set()),
    "a macro that calls such a one": ("SELECT above(fee) AS x, fee AS y FROM customers", {FEE, UNKNOWN}, {FEE}),
    "a macro called as a function of SQL": ("SELECT initcap(fee) AS x, fee AS y FROM customers", {FEE, UNKNOWN}, {FEE}),
    "two columns of one name": (
        f"SELECT id_1 AS x, id AS y FROM (SELECT c.id, o.other AS id FROM {BOTH})",
        {OTHER},
        {ID},
    ),
    "a name like the number of a repeated one": (
        f"SELECT id_1 AS x, id_1_1 AS y FROM (SELECT c.id, o.other AS id, c.fee AS id_1 FROM {BOTH})",
        {OTHER},
        {FEE},
    ),
    "rowid of a table": ("SELECT c.rowid AS x, c.fee AS y FROM customers c", {UNKNOWN}, {FEE}),
    "a parameter with a table's name": (
        "SELECT list_transform([1], lambda c: c.fee)[1] AS x, list_transform([tenure], lambda fee: fee + 1) AS y"
        " FROM customers c",
        {FEE},
        {TENURE},
    ),
    "a parameter with a table's name, whole": (
        "SELECT list_transform([st], lambda c: risk(c))[1] AS x, list_transform([st], lambda c: c.z)[1] AS y"
        " FROM (SELECT {'fee': 1, 'tenure': tenure, 'z': 2} AS st, fee FROM customers) c",
        {TENURE},
        {TENURE},
    ),
    "a field of a row": (
        "SELECT struct_extract(c, 'fee') + c['fee'] + (c).fee AS x, c['Tenure'] AS y FROM customers c",
        {FEE},
        {TENURE},
    ),
    "what a row that exists says": (
        "SELECT EXISTS(SELECT * FROM customers c WHERE c.fee > o.other) AS x, EXISTS(FROM customers) AS y FROM s.customers o",
        {FEE, OTHER},
        {UNKNOWN},
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_names_mean_what_duckdb_takes_them_for(name: str) -> None:
    query, x, y = VIEWS[name]
    with duckdb.connect() as connection:
        for statement in (*TABLES, *MACROS, f"CREATE VIEW looked_at AS {query}"):
            connection.execute(statement)

        found = bases(connection, find(connection, "looked_at"))
        before = {column: connection.sql(f"SELECT {column} FROM looked_at ORDER BY ALL").fetchall() for column in found}
        changed: dict[str, set[str]] = {column: set() for column in found}
        for base, change in CHANGES.items():
            connection.execute(f"BEGIN; {change}")
            for column in found:
                if connection.sql(f"SELECT {column} FROM looked_at ORDER BY ALL").fetchall() != before[column]:
                    changed[column].add(base)
            connection.execute("ROLLBACK")

    assert found == {"x": x, "y": y}
    for column in found:
        assert changed[column] <= found[column] or UNKNOWN in found[column]


def test_a_macro_that_is_not_followed_is_named() -> None:
    with duckdb.connect() as connection:
        for statement in (*TABLES, *MACROS, "CREATE VIEW looked_at AS SELECT above(1) AS x"):
            connection.execute(statement)

        [edge] = trace(connection, find(connection, "looked_at"))

    assert (edge.from_kind, edge.how) == ("unknown", "the macro above calls top, which reads tables of its own")


def test_what_a_side_of_union_by_name_computes_is_kept() -> None:
    query = "SELECT id, fee FROM customers UNION ALL BY NAME SELECT -fee AS fee, id FROM customers"
    with duckdb.connect() as connection:
        for statement in (*TABLES, f"CREATE VIEW looked_at AS {query}"):
            connection.execute(statement)

        edges = trace(connection, find(connection, "looked_at"))

    assert [(edge.to_name, edge.how) for edge in edges] == [("looked_at.id", None), ("looked_at.fee", "-(fee)")]


SCHEMAS = (
    "CREATE SCHEMA m; CREATE SCHEMA o",
    "CREATE MACRO m.f(r) AS r.fee; CREATE MACRO main.f(r) AS r.tenure",
    "CREATE MACRO o.g(r) AS r.fee; CREATE MACRO m.calls(r) AS f(r)",
)


@pytest.mark.parametrize(
    ("schema", "call", "expected"),
    [
        ("m", "f(c)", {FEE}),
        ("main", "f(c)", {TENURE}),
        ("o", "f(c)", {TENURE}),  # not in its own schema: main's
        ("main", "m.f(c)", {FEE}),
        ("main", "memory.m.f(c)", {FEE}),
        ("m", "calls(c)", {FEE}),
        ("main", "m.calls(c)", {TENURE}),  # the body is looked up where it is called
    ],
)
def test_a_macro_is_the_one_of_the_views_own_schema(schema: str, call: str, expected: set[str]) -> None:
    with duckdb.connect() as connection:
        for statement in (*TABLES, *SCHEMAS, f"CREATE VIEW {schema}.v AS SELECT {call} AS x FROM main.customers c"):
            connection.execute(statement)
        connection.execute(f"CREATE VIEW looked_at AS SELECT * FROM {schema}.v")
        before = connection.sql("SELECT x FROM looked_at ORDER BY ALL").fetchall()
        changed = set()
        for base in (TENURE, FEE):
            connection.execute(f"BEGIN; {CHANGES[base]}")
            changed |= {base} if connection.sql("SELECT x FROM looked_at ORDER BY ALL").fetchall() != before else set()
            connection.execute("ROLLBACK")

        assert (bases(connection, find(connection, "looked_at")), changed) == ({"x": expected}, expected)


def test_a_macro_that_only_a_reader_in_its_schema_finds_is_not_known() -> None:
    with duckdb.connect() as connection:
        for statement in (*TABLES, *SCHEMAS, "USE o; CREATE VIEW main.v AS SELECT g(c) AS x FROM main.customers c"):
            connection.execute(statement)
        connection.execute("USE main")

        edges = trace(connection, Relation(("main", "v"), "view", {"x": "DOUBLE"}))

    assert ("unknown", "the macro g is in another schema: which one depends on who reads the view") in {
        (edge.from_kind, edge.how) for edge in edges
    }
