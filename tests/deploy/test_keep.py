"""--keep none, hash and inputs: what is kept, and that scoring is right whatever is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml.errors import NameRefused, UsageError
from sqlml.kept import kept_inputs
from sqlml.signature import Column, Signature
from tests.deploy.conftest import fill
from tests.deploy.faults import FaultyConnection, InjectedFault, assert_current
from tests.deploy.test_faults import change_customers, copied

pytestmark = pytest.mark.usefixtures("converted")
needs_triggers = pytest.mark.skipif(int(duckdb.__version__.split(".")[0]) < 2, reason="triggers came with DuckDB 2")

HOSTILE = """CREATE TABLE people AS SELECT * FROM (VALUES
    ('Zürich', 1, 12.0, 70.5, 'One year'), ('Zürich', 2, 'nan'::DOUBLE, 70.5, 'One year'),
    ('zürich', 1, 12.0, '-0.0'::DOUBLE, 'Two year'), ('日本', 1, 1.0, 0.0, NULL), ('', 1, 2.5, 20.0, 'Month-to-month'),
    ('it''s "x"', 1, 'inf'::DOUBLE, 1e308, 'One yéar'), ('b', 3, NULL, NULL, ''), ('c', 4, 9007199254740993, 5e-324, '''')
) t(shop, id, tenure, monthly_charges, contract)"""


def deploy(connection: Any, keep: str | None = None, model: str = "churn:1", **more: Any) -> Any:
    arguments = {"table": "customers", "key": "customer_id"} | more
    return sqlml.deploy_db(connection, model, name="churn", keep=keep, **arguments)


def outcomes(connection: Any, **which: Any) -> dict[int, dict[str, int]]:
    found = sqlml.replay(connection, "churn", **({"all_rows": True} | which))
    return {one.version: one.outcomes for one in found.versions}


def assert_kept(connection: Any, version: int = 1, keys: str = "customer_id") -> None:
    """The last kept inputs of each key are those of its prediction, and there are none without."""
    table, predictions = f"churn.inputs_v{version}", f"churn.predictions_v{version}"
    last = f"SELECT * FROM {table} QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY rowid DESC) = 1"
    wrong = connection.execute(
        f"SELECT count(*) FROM (FROM ({last}) WHERE NOT removed) k FULL JOIN {predictions} p USING ({keys})"
        " WHERE k.input_hash IS DISTINCT FROM p.input_hash OR p.scoring_id IS NULL"
    ).fetchone()
    assert wrong == (0,)
    assert set(outcomes(connection, version=version)[version]) <= {"equal"}


@pytest.fixture
def connection(customer_rows: object) -> Any:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 120)
        yield opened


@pytest.mark.parametrize(
    ("keep", "replayed"),
    [("none", {"inputs not kept": 120}), ("hash", {"equal": 120}), ("inputs", {"equal": 120})],
)
def test_scoring_is_right_whatever_is_kept(connection: Any, keep: str, replayed: dict[str, int]) -> None:
    deploy(connection, keep)
    assert outcomes(connection) == {1: replayed}
    again = sqlml.score(connection, "churn")
    assert (again.rows, again.removed, again.unchanged) == (0, 0, 120)

    connection.execute("UPDATE customers SET tenure = 71 - tenure WHERE customer_id <= 30")
    change_customers(connection)
    connection.execute("CREATE TABLE shuffled AS FROM customers ORDER BY hash(customer_id)")
    connection.execute("TRUNCATE customers; INSERT INTO customers FROM shuffled")
    sqlml.score(connection, "churn")

    assert_current(connection)
    assert not sqlml.score(connection, "churn").rows
    checks = sqlml.verify(connection, "churn", original=False)
    assert checks.passed, checks
    assert "not equal" not in outcomes(connection)[1]


def test_without_a_hash_a_changed_row_is_told_by_what_it_says(connection: Any) -> None:
    deploy(connection, "none")
    connection.execute("UPDATE customers SET tenure = NULL WHERE customer_id = 3")
    assert "1 of" in str(sqlml.verify(connection, "churn", original=False))
    assert sqlml.score(connection, "churn").rows == 1
    assert connection.execute("SELECT count(input_hash), count(error) FROM churn.current").fetchone() == (0, 1)


def test_later_deployments_keep_what_the_active_one_does_unless_told(connection: Any) -> None:
    deploy(connection, "inputs")
    deploy(connection, None, "churn:2")
    assert sqlml.status(connection)[0].keep == "inputs"
    again = deploy(connection, "hash", "churn:2")
    assert (again.version, again.is_new, sqlml.status(connection)[0].keep) == (3, True, "hash")
    planned = sqlml.plan(connection, "churn:2", keep="none")
    assert planned.keep == "none"
    assert any("computes every row again" in note for note in planned.notes)
    with pytest.raises(UsageError, match="Valid: none, hash, inputs"):
        deploy(connection, "everything")


def test_inputs_are_appended_only_when_they_differ(connection: Any) -> None:
    deploy(connection, "inputs")
    sqlml.score(connection, "churn", all_rows=True)
    assert connection.execute("SELECT count(*) FROM churn.inputs_v1").fetchone() == (120,)
    for tenure in (5, 6, 5):
        connection.execute(f"UPDATE customers SET tenure = {tenure} WHERE customer_id = 1")
        sqlml.score(connection, "churn")
    row = connection.execute("FROM customers WHERE customer_id = 2").fetchone()
    connection.execute("DELETE FROM customers WHERE customer_id = 2")
    sqlml.score(connection, "churn")
    connection.execute(f"INSERT INTO customers VALUES ({', '.join('?' * len(row))})", row)
    sqlml.score(connection, "churn")

    kept = "SELECT tenure, removed FROM churn.inputs_v1 WHERE customer_id = {} ORDER BY rowid"
    assert [t for t, _ in connection.execute(kept.format(1)).fetchall()][1:] == [5, 6, 5]
    assert [r for _, r in connection.execute(kept.format(2)).fetchall()] == [False, True, False]
    assert_kept(connection)


def test_hostile_values_and_composite_keys_are_kept_as_the_model_saw_them(connection: Any) -> None:
    connection.execute(HOSTILE)
    deploy(connection, "inputs", table="people", key=("shop", "id"))
    assert_kept(connection, keys="shop, id")
    kept = "SELECT tenure, monthly_charges, unreadable FROM churn.inputs_v1 WHERE shop = ? AND id = ?"
    assert connection.execute(kept, ["Zürich", 2]).fetchone() == (None, 70.5, None)
    assert "2.5" in connection.execute(kept, ["", 1]).fetchone()[2]
    signed = connection.execute("SELECT signbit(monthly_charges) FROM churn.inputs_v1 WHERE shop = 'zürich'").fetchone()
    assert signed == (True,)

    before = connection.execute("SELECT * EXCLUDE (scored_at) FROM churn.current ORDER BY ALL").fetchall()
    connection.execute("UPDATE people SET tenure = 40, contract = 'Two year'")
    assert_kept(connection, keys="shop, id")
    rows = sqlml.replay(connection, "churn", all_rows=True).versions[0]
    assert rows.outcomes == {"equal": 8}
    assert len(before) == 8


@needs_triggers
def test_triggers_keep_inputs_too(connection: Any) -> None:
    deploy(connection, "inputs", live=True)
    connection.execute("UPDATE customers SET tenure = 3 WHERE customer_id <= 2")
    connection.execute("UPDATE customers SET phone_service = 1 - phone_service")  # no input of this model
    connection.execute("UPDATE customers SET customer_id = 5000 WHERE customer_id = 4")
    connection.execute("DELETE FROM customers WHERE customer_id = 5")
    connection.execute("INSERT INTO customers BY NAME SELECT * REPLACE (NULL AS customer_id) FROM customers LIMIT 1")
    connection.execute(
        "BEGIN; INSERT INTO customers BY NAME SELECT * REPLACE (7000 AS customer_id) FROM customers LIMIT 1"
    )
    connection.execute("UPDATE customers SET tenure = 9 WHERE customer_id = 7000; COMMIT")
    assert_kept(connection)
    kept = Counter(connection.execute("SELECT removed FROM churn.inputs_v1 WHERE customer_id IN (4, 5)").fetchall())
    assert kept == {(False,): 2, (True,): 2}
    assert connection.execute("SELECT count(*) FROM churn.inputs_v1").fetchone() == (120 + 2 + 2 + 1 + 2 - 0,)
    connection.execute('DROP TRIGGER "sqlml churn update 4" ON customers')
    assert any("8 of 9 triggers" in problem for problem in sqlml.status(connection)[0].problems)


def test_rows_that_go_elsewhere_take_their_inputs_along(connection: Any, tmp_path: Path) -> None:
    deploy(connection, "inputs")
    target = tmp_path / "scored.parquet"
    sqlml.score_to(connection, "churn", "customers", str(target), key=["customer_id"])
    differing = connection.execute(
        f"SELECT count(*) FROM '{target}' s JOIN customers c USING (customer_id)"
        " WHERE s.input_tenure IS DISTINCT FROM c.tenure OR s.input_contract IS DISTINCT FROM c.contract"
    ).fetchone()
    assert differing == (0,)
    [note] = sqlml.replay(connection, "churn").notes
    assert "scored.parquet" in note


@pytest.mark.faults
def test_a_fault_at_any_statement_keeps_inputs_and_predictions_together(customer_rows: object, tmp_path: Path) -> None:
    start = tmp_path / "start.duckdb"
    with duckdb.connect(str(start)) as connection:
        fill(connection, customer_rows, 60)
        deploy(connection, "inputs")
        change_customers(connection)
    with copied(start) as connection:
        counting = FaultyConnection(connection, None)
        sqlml.score(counting, "churn")  # type: ignore[arg-type]
    assert counting.counter[0] > 20
    for fail_at in range(2, counting.counter[0], 4):
        with copied(start) as connection:
            with pytest.raises(InjectedFault):
                sqlml.score(FaultyConnection(connection, fail_at), "churn")  # type: ignore[arg-type]
            assert_kept(connection)
            sqlml.score(connection, "churn")
            assert_kept(connection)
            assert_current(connection)


def test_names_that_collide_are_numbered_and_a_key_is_kept_once() -> None:
    columns = tuple(Column(name, "DOUBLE") for name in ("Id", "Removed", "scoring_id", "rowid", "unreadable_2"))
    kept = kept_inputs("m", 1, Signature(columns, "regressor", "DOUBLE"), ["id", "unreadable"], is_asked=False)
    assert [name for name, _, _ in kept.features] == ["Removed_2", "scoring_id_2", "rowid_2", "unreadable_2_2"]
    assert (kept.unreadable, kept.removed) == ("unreadable_2", "removed")


def test_under_a_key_called_rowid_a_hash_can_be_kept_and_inputs_cannot(connection: Any) -> None:
    """Such a column hides DuckDB's own row ids, by which the inputs that were kept last are found."""
    connection.execute('CREATE TABLE numbered AS SELECT 500 - customer_id AS "RowId", * FROM customers')
    for attempt in (
        deploy,
        lambda *asked, **more: sqlml.plan(asked[0], "churn:1", name="churn", keep="inputs", **more),
    ):
        with pytest.raises(NameRefused, match="under a key column called rowid"):
            attempt(connection, "inputs", table="numbered", key="RowId")
    deploy(connection, "hash", table="numbered", key="RowId")
    connection.execute("UPDATE numbered SET tenure = 7 WHERE customer_id = 2")
    sqlml.score(connection, "churn")

    assert outcomes(connection) == {1: {"equal": 120}}
    found = {i.column: (i.then, i.changed) for i in sqlml.why(connection, "churn", 498).inputs.columns}
    assert found["tenure"] == (7, False)


def test_an_older_file_keeps_hashes(connection: Any) -> None:
    deploy(connection)
    connection.execute("UPDATE sqlml.versions SET keep = NULL")
    assert sqlml.status(connection)[0].keep == "hash"
    assert not deploy(connection).is_new
    assert outcomes(connection) == {1: {"equal": 120}}
