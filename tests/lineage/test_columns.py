"""Column lineage, compared with expectations written by hand, and with what DuckDB does when a column is changed."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlml.lineage.columns import label, trace
from sqlml.relation import Relation, find, find_or_file, split_name
from sqlml.sql import quote

TABLES = (
    "CREATE SCHEMA s",
    'CREATE TABLE customers (id BIGINT, "Tenure" BIGINT, fee DOUBLE, contract VARCHAR)',
    "CREATE TABLE s.pay (cid BIGINT, amount DOUBLE)",
    "CREATE TABLE s.customers (id BIGINT, other BIGINT)",
    'CREATE TABLE "a""b" ("select" BIGINT, "x y" DOUBLE, "naïve" VARCHAR)',
    "INSERT INTO customers SELECT i, i % 7, i * 1.5, 'c' || (i % 3) FROM range(1, 30) t(i)",
    "INSERT INTO s.pay SELECT i % 29 + 1, i * 2.0 FROM range(60) t(i)",
    "INSERT INTO s.customers SELECT i, i * 3 FROM range(1, 30) t(i)",
    "CREATE MACRO twice(x) AS x * 2",
    "CREATE MACRO risk(r) AS r.fee + struct_extract(r, 'tenure')",
    "CREATE MACRO lookup(x) AS (SELECT max(amount) FROM s.pay WHERE cid = x)",
    "CREATE MACRO cheap() AS TABLE SELECT id, fee FROM customers",
)
ID, TENURE, FEE, CONTRACT = "customers.id", "customers.Tenure", "customers.fee", "customers.contract"
CID, AMOUNT = "s.pay.cid", "s.pay.amount"
UNKNOWN = "unknown"

# The view's query (or the views, the last one being looked at), and for each of its columns the table columns that its
# value is made of; "" where it is made of none.
STACKS = {
    "star": ("SELECT * FROM customers", {"id": ID, "Tenure": TENURE, "fee": FEE, "contract": CONTRACT}),
    "renamed": ("SELECT id AS k, TENURE AS t FROM customers", {"k": ID, "t": TENURE}),
    "expression": (
        "SELECT fee / nullif(tenure, 0) + 1 AS x, 1 AS one FROM customers",
        {"x": f"{TENURE} {FEE}", "one": ""},
    ),
    "exclude, replace, rename": (
        "SELECT * EXCLUDE (contract) REPLACE (fee + tenure AS fee) RENAME (id AS k) FROM customers",
        {"k": ID, "Tenure": TENURE, "fee": f"{TENURE} {FEE}"},
    ),
    "an alias used in the same select": (
        "SELECT fee * 2 AS dbl, dbl + tenure AS more FROM customers",
        {"dbl": FEE, "more": f"{TENURE} {FEE}"},
    ),
    "a column before an alias of its name": (
        "SELECT tenure AS fee, fee + 1 AS y FROM customers",
        {"fee": TENURE, "y": FEE},
    ),
    "column list": (["CREATE VIEW looked_at(a, b) AS SELECT tenure, id FROM customers"], {"a": TENURE, "b": ID}),
    "subquery with renamed columns": (
        "SELECT * FROM (SELECT id, fee FROM customers) AS t(k, f)",
        {"k": ID, "f": FEE},
    ),
    "common table expressions": (
        "WITH a AS (SELECT id, fee AS f FROM customers), b(k, g) AS (SELECT id, f * 2 FROM a) SELECT k, g FROM b",
        {"k": ID, "g": FEE},
    ),
    "a name shadowed by a common table expression": (
        "WITH customers AS (SELECT cid AS id, amount AS fee FROM s.pay) SELECT id, fee FROM customers",
        {"id": CID, "fee": AMOUNT},
    ),
    "join": (
        "SELECT c.id, p.amount + c.fee AS x FROM customers c JOIN s.pay p ON p.cid = c.id",
        {"id": ID, "x": f"{FEE} {AMOUNT}"},
    ),
    "join of three with stars": (
        "SELECT p.*, c.fee, o.other FROM customers c LEFT JOIN s.pay p ON p.cid = c.id, s.customers o WHERE o.id = c.id",
        {"cid": CID, "amount": AMOUNT, "fee": FEE, "other": "s.customers.other"},
    ),
    "using takes the left side": (
        "SELECT id, other FROM customers JOIN s.customers o USING (id)",
        {"id": ID, "other": "s.customers.other"},
    ),
    "using in a full join takes both": (
        "SELECT id FROM customers FULL JOIN s.customers o USING (id)",
        {"id": f"{ID} s.customers.id"},
    ),
    "using in a right join takes the right side": (
        "SELECT id FROM customers RIGHT JOIN s.customers o USING (id)",
        {"id": "s.customers.id"},
    ),
    "natural join": (
        "SELECT * FROM customers NATURAL JOIN s.customers o",
        {"id": ID, "Tenure": TENURE, "fee": FEE, "contract": CONTRACT, "other": "s.customers.other"},
    ),
    "semi join shows its left side": (
        "SELECT * FROM (SELECT id, fee FROM customers) SEMI JOIN s.pay ON cid = id",
        {"id": ID, "fee": FEE},
    ),
    "asof join": (
        "SELECT c.id, p.amount FROM customers c ASOF JOIN s.pay p ON c.id >= p.cid",
        {"id": ID, "amount": AMOUNT},
    ),
    "union by position": (
        "SELECT id, fee AS v FROM customers UNION ALL SELECT cid, amount FROM s.pay",
        {"id": f"{ID} {CID}", "v": f"{FEE} {AMOUNT}"},
    ),
    "union by name": (
        "SELECT id AS a, fee AS b FROM customers UNION ALL BY NAME SELECT amount AS b, cid AS c FROM s.pay",
        {"a": ID, "b": f"{FEE} {AMOUNT}", "c": CID},
    ),
    "except takes the left side": ("SELECT id FROM customers EXCEPT SELECT cid FROM s.pay", {"id": ID}),
    "window": (
        "SELECT id, sum(fee) OVER (PARTITION BY contract ORDER BY tenure) AS w FROM customers",
        {"id": ID, "w": f"{TENURE} {CONTRACT} {FEE}"},
    ),
    "aggregate": (
        "SELECT contract, count(*) AS n, avg(fee) FILTER (tenure > 3) AS m FROM customers GROUP BY ALL",
        {"contract": CONTRACT, "n": CONTRACT, "m": f"{TENURE} {FEE}"},
    ),
    "scalar subquery": (
        "SELECT id, (SELECT max(amount) FROM s.pay WHERE cid = c.id) AS m FROM customers c",
        {"id": ID, "m": AMOUNT},
    ),
    "a subquery that uses the outer row": (
        "SELECT id, (SELECT max(amount + c.fee) FROM s.pay WHERE cid = c.id) AS m FROM customers c",
        {"id": ID, "m": f"{FEE} {AMOUNT}"},
    ),
    "exists": (
        "SELECT id, EXISTS (SELECT 1 FROM s.pay WHERE cid = c.id AND amount > 50) AS e FROM customers c",
        {"id": ID, "e": f"{ID} {AMOUNT} {CID}"},
    ),
    "in": ("SELECT fee IN (SELECT amount FROM s.pay) AS i FROM customers", {"i": f"{FEE} {AMOUNT}"}),
    "lateral": (
        "SELECT l.z FROM customers c, LATERAL (SELECT c.fee + c.tenure AS z) l",
        {"z": f"{TENURE} {FEE}"},
    ),
    "unnest": ("SELECT c.id, x FROM customers c, unnest([fee, tenure]) u(x)", {"id": ID, "x": f"{TENURE} {FEE}"}),
    "lambda": (
        "SELECT list_transform([fee], lambda z: z + tenure) AS l, list_transform([1], lambda fee: fee + 1) AS m"
        " FROM customers",
        {"l": f"{TENURE} {FEE}", "m": ""},
    ),
    "struct and its field": (
        [
            "CREATE VIEW packed AS SELECT id, {'a': fee, 'b': tenure} AS st FROM customers",
            "CREATE VIEW looked_at AS SELECT id, st.a AS sa FROM packed",
        ],
        {"id": ID, "sa": f"{TENURE} {FEE}"},
    ),
    "the row of a table": ("SELECT c FROM customers c", {"c": f"{TENURE} {CONTRACT} {FEE} {ID}"}),
    "macro": ("SELECT id, twice(fee) AS t FROM customers", {"id": ID, "t": FEE}),
    "macro of a row uses its fields only": ("SELECT risk(c) AS r FROM customers c", {"r": f"{TENURE} {FEE}"}),
    "case and cast": (
        "SELECT CASE WHEN tenure > 3 THEN fee ELSE 0 END AS x, CAST(contract AS VARCHAR) AS y FROM customers",
        {"x": f"{TENURE} {FEE}", "y": CONTRACT},
    ),
    "qualify, distinct on, limit": (
        "SELECT DISTINCT ON (id) id, fee FROM customers QUALIFY row_number() OVER (PARTITION BY id) = 1 LIMIT 5",
        {"id": ID, "fee": FEE},
    ),
    "values": ("SELECT x, y FROM (VALUES (1, 2)) v(x, y)", {"x": "", "y": ""}),
    "names that need quoting": (
        'SELECT "select" AS "from", "x y" || "naïve" AS "d""q" FROM "a""b"',
        {"from": '"a""b".select', 'd"q': '"a""b".naïve "a""b".x y'},
    ),
    "schema-qualified columns": (
        "SELECT s.customers.other, main.customers.fee FROM s.customers, main.customers WHERE false",
        {"other": "s.customers.other", "fee": FEE},
    ),
    "views over views": (
        [
            "CREATE VIEW v1 AS SELECT *, fee * 2 AS f2 FROM customers",
            "CREATE VIEW s.v2 AS SELECT v.*, p.amount FROM main.v1 v LEFT JOIN pay p ON p.cid = v.id",
            "CREATE VIEW v3 AS SELECT id, f2 - amount AS rest FROM s.v2",
            "CREATE VIEW looked_at AS SELECT id AS k, avg(rest) AS mean FROM v3 GROUP BY k",
        ],
        {"k": ID, "mean": f"{FEE} {AMOUNT}"},
    ),
    "an unqualified name means the view's own schema": (
        ["CREATE VIEW s.v AS SELECT id FROM s.customers", "CREATE VIEW looked_at AS SELECT id FROM s.v"],
        {"id": "s.customers.id"},
    ),
    "a repeated name": (
        "SELECT c.id, o.id, o.other FROM customers c JOIN s.customers o ON o.id = c.id",
        {"id": ID, "id_1": "s.customers.id", "other": "s.customers.other"},
    ),
    # What cannot be known says so, and only for the columns that it concerns.
    "pivot": (
        "PIVOT customers ON contract IN ('c0', 'c1') USING sum(fee) GROUP BY id",
        {"id": UNKNOWN, "c0": UNKNOWN, "c1": UNKNOWN},
    ),
    "unpivot": (
        "SELECT vl FROM (UNPIVOT customers ON fee, tenure INTO NAME nm VALUE vl)",
        {"vl": UNKNOWN},
    ),
    "recursion": (
        "WITH RECURSIVE r AS (SELECT id, fee FROM customers UNION ALL SELECT id + 1, fee FROM r WHERE id < 5)"
        " SELECT r.id, c.tenure FROM r JOIN customers c ON c.id = r.id",
        {"id": UNKNOWN, "Tenure": TENURE},
    ),
    "table function": ("SELECT range AS r, fee FROM range(3), customers", {"r": UNKNOWN, "fee": FEE}),
    "table macro": ("SELECT * FROM cheap()", {"id": UNKNOWN, "fee": UNKNOWN}),
    "macro that reads a table": ("SELECT lookup(id) AS l, fee FROM customers", {"l": f"{ID} {UNKNOWN}", "fee": FEE}),
    "columns by pattern": ("SELECT COLUMNS('f.*') FROM customers", {"fee": UNKNOWN}),
    "position": ("SELECT #2 AS x, id FROM customers", {"x": UNKNOWN, "id": ID}),
    "rowid": ("SELECT rowid AS r FROM customers", {"r": UNKNOWN}),
}


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    for statement in TABLES:
        made.execute(statement)
    return made


def make(connection: duckdb.DuckDBPyConnection, stack: str | list[str]) -> Relation:
    statements = [f"CREATE VIEW looked_at AS {stack}"] if isinstance(stack, str) else stack
    for statement in statements:
        connection.execute(statement)
    return find(connection, "looked_at")


def bases(connection: duckdb.DuckDBPyConnection, relation: Relation) -> dict[str, set[str]]:
    """Column -> the table columns at the end of its edges, "unknown" among them where a way is not known."""
    into: dict[str, list[tuple[str, str]]] = {}
    for edge in trace(connection, relation):
        into.setdefault(edge.to_name, []).append((edge.from_kind, edge.from_name))

    def ends(name: str) -> set[str]:
        found: set[str] = set()
        for kind, source in into.get(name, [("end", name)]):
            found |= {source} if kind in {"end", "unknown"} else set() if kind == "constant" else ends(source)
        return found

    return {column: ends(label(relation.parts, column)) for column in relation.types}


def expected(columns: dict[str, str]) -> dict[str, set[str]]:
    names = [
        ID,
        TENURE,
        FEE,
        CONTRACT,
        CID,
        AMOUNT,
        "s.customers.id",
        "s.customers.other",
        UNKNOWN,
        '"a""b".x y',
        '"a""b".select',
        '"a""b".naïve',
    ]
    found = {}
    for column, text in columns.items():
        padded = f" {text} "
        found[column] = {name for name in names if f" {name} " in padded}
        assert len(" ".join(found[column])) == len(text), "the expectation itself is wrong"
    return found


@pytest.mark.parametrize("name", STACKS)
def test_lineage_is_what_a_person_says_it_is(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    stack, columns = STACKS[name]
    relation = make(connection, stack)

    assert bases(connection, relation) == expected(columns)


CHANGES = {
    TENURE: 'UPDATE customers SET "Tenure" = "Tenure" + 3',
    FEE: "UPDATE customers SET fee = fee * 1.7 + 1",
    CONTRACT: "UPDATE customers SET contract = 'z' || contract",
    AMOUNT: "UPDATE s.pay SET amount = amount * 1.3 + 2",
    "s.customers.other": "UPDATE s.customers SET other = other + 100",
}
ROW_BY_ROW = sorted(
    name
    for name in STACKS
    if name
    not in {
        "aggregate",
        "table function",
        "unpivot",
        "qualify, distinct on, limit",
        "except takes the left side",
        "names that need quoting",
        "in",
    }
)


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_no_column_changes_with_another_than_lineage_says(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    relation = make(connection, STACKS[name][0])
    known = bases(connection, relation)
    columns = [column for column in relation.types if UNKNOWN not in known[column]]

    def values() -> dict[str, list[str]]:
        row_set = connection.execute("FROM looked_at").fetchall()
        return {c: sorted(map(str, v)) for c, v in zip(relation.types, zip(*row_set, strict=True), strict=False)}

    for base, change in CHANGES.items():
        connection.execute("BEGIN")
        before = values()
        connection.execute(change)
        after = values()
        connection.execute("ROLLBACK")
        changed = [column for column in columns if before.get(column) != after.get(column)]
        assert all(base in known[column] for column in changed), (base, changed)


def test_attached_databases_are_named_in_full(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("ATTACH ':memory:' AS other")
    connection.execute("CREATE TABLE other.plans (contract VARCHAR, price DOUBLE)")
    connection.execute("CREATE VIEW other.cheap AS SELECT contract, price * 0.9 AS price FROM plans")
    relation = make(connection, "SELECT c.id, p.price FROM customers c JOIN other.cheap p USING (contract)")

    assert bases(connection, relation) == {"id": {ID}, "price": {"other.main.plans.price"}}


def test_a_database_that_is_no_longer_attached_is_unknown(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("ATTACH ':memory:' AS other")
    connection.execute("CREATE TABLE other.plans (contract VARCHAR, price DOUBLE)")
    connection.execute("CREATE VIEW looked_at AS SELECT id, price FROM customers JOIN other.plans USING (contract)")
    relation = find(connection, "looked_at")
    connection.execute("DETACH other")

    edges = trace(connection, relation)

    assert [e.from_name for e in edges if e.to_name == "looked_at.id"] == [ID]
    assert [e.how for e in edges if e.from_kind == "unknown"] == [
        "other.plans is no table or view of the databases at hand (a file, or not attached)"
    ]


def test_a_parquet_file_in_a_view_is_unknown_and_named(connection: duckdb.DuckDBPyConnection, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "plans.parquet"
    connection.execute(f"COPY (SELECT 'c0' AS contract, 1.5 AS price) TO '{path}'")
    relation = make(connection, f"SELECT id, price FROM customers JOIN '{path}' USING (contract)")

    edges = trace(connection, relation)

    assert {e.to_name: e.from_name for e in edges} == {"looked_at.id": ID, "looked_at.price": UNKNOWN}
    assert any("plans.parquet" in (e.how or "") for e in edges)


def test_a_file_as_the_source_has_its_own_columns(connection: duckdb.DuckDBPyConnection, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "plans.parquet"
    connection.execute(f"COPY (SELECT 1 AS a) TO '{path}'")

    assert trace(connection, find_or_file(connection, str(path))) == ()


def test_a_whole_unknown_view_does_not_raise(connection: duckdb.DuckDBPyConnection) -> None:
    relation = make(connection, "SELECT * FROM (SUMMARIZE customers)")

    assert {e.from_kind for e in trace(connection, relation)} == {"unknown"}


def test_a_union_of_hundreds_of_queries_does_not_raise(connection: duckdb.DuckDBPyConnection) -> None:
    relation = make(connection, " UNION ALL ".join(["SELECT id FROM customers"] * 800))

    assert {e.from_name for e in trace(connection, relation)} <= {ID, UNKNOWN}


def test_only_the_columns_asked_for_are_traced(connection: duckdb.DuckDBPyConnection) -> None:
    relation = make(connection, "SELECT * FROM customers")

    assert [e.to_name for e in trace(connection, relation, ["fee"])] == ["looked_at.fee"]


def test_the_expression_in_between_is_kept(connection: duckdb.DuckDBPyConnection) -> None:
    relation = make(connection, "SELECT fee + 1 AS f FROM customers")

    assert [e.how for e in trace(connection, relation)] == ["fee + 1"]


NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(NAMES, min_size=2, max_size=3), NAMES)
def test_labels_can_be_read_back_whatever_the_names_are(path: list[str], column: str) -> None:
    named = [part for part in path if part != "main"] if len(path) == 2 else path

    assert split_name(label(path, column, home="\0")) == [*named, column]


@given(NAMES, NAMES, NAMES)
@settings(max_examples=40, deadline=None)
def test_any_name_is_followed_through_a_view(table: str, column: str, renamed: str) -> None:
    with duckdb.connect() as made:
        made.execute(f"CREATE SCHEMA s; CREATE TABLE s.{quote(table)} ({quote(column)} BIGINT)")
        made.execute(f"CREATE VIEW looked_at AS SELECT {quote(column)} AS {quote(renamed)} FROM s.{quote(table)}")

        [edge] = trace(made, find(made, "looked_at"))

    assert (edge.from_name, edge.to_name) == (label(("s", table), column), label(("main", "looked_at"), renamed))
