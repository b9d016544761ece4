"""forget: a key is nowhere in the database any more, and what cannot be erased is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli, sql
from sqlml.catalog import leases, records
from sqlml.cli import keys
from sqlml.errors import Conflict, KeyRefused, NotDeployed, UsageError
from tests.deploy.conftest import fill
from tests.deploy.faults import FaultyConnection, InjectedFault
from tests.deploy.test_faults import copied
from tests.deploy.test_keep import HOSTILE, deploy, needs_triggers

pytestmark = pytest.mark.usefixtures("converted")
KEY = 98765432
EXAMPLE = {
    "row": 3,
    "kind": "sample",
    "what": "wrong",
    "input": {"tenure": 61},
    "expected": {"label": "Yes"},
    "got": {},
}


SUMMARY = f"1 rows: wrong. First: row 3 (sample), constant: expected Yes, got No, for {json.dumps({'tenure': 61})}."
FAILURE = f"It was not deployed. {SUMMARY}"


def place(path: Path, rows: object) -> None:
    """A file in which the key is in every place that sqlml has for one."""
    with duckdb.connect(str(path)) as connection:
        fill(connection, rows, 60)
        connection.execute(
            f"UPDATE customers SET customer_id = {KEY}, tenure = 61, monthly_charges = 123.25 WHERE customer_id = 3"
        )
        deploy(connection)
        sqlml.undeploy(connection, "churn")
        deploy(connection, None, "churn:1")
        deploy(connection, "inputs", "churn:2", shadow=True)
        connection.execute("UPDATE sqlml.versions SET failure = ? WHERE version = 1", [FAILURE])
        connection.execute("UPDATE customers SET tenure = tenure + 1")
        sqlml.score(connection, "churn")
        connection.execute(
            f"CREATE TABLE outcomes AS SELECT {KEY} AS id, 'Yes' AS churned, make_timestamp(epoch_us(now())) AS seen_at"
        )
        sqlml.label(connection, "churn", "outcomes", key=["id"], label="churned", at="seen_at")
        connection.execute("DROP TABLE outcomes")
        connection.execute(f"INSERT INTO customers FROM customers WHERE customer_id = {KEY}")
        with pytest.raises(KeyRefused, match=str(KEY)):
            sqlml.score(connection, "churn", all_rows=True)
        connection.execute(
            f"DELETE FROM customers WHERE rowid = (SELECT max(rowid) FROM customers WHERE customer_id = {KEY})"
        )
        evidence = json.dumps({"passed": False, "failed": {"wrong": 1}, "counter_examples": [EXAMPLE]})
        connection.execute("UPDATE sqlml.parity SET evidence = ? WHERE version = 2", [evidence])
        line = {
            "at": "2026-01-01T00:00:00",
            "phase": "parity",
            "message": SUMMARY,
            "details": {"evidence": json.loads(evidence)},
        }
        compare = {
            **line,
            "phase": "compare",
            "message": f"largest move: customer_id {KEY}: 1 -> 2",
            "details": {"seconds": 1},
        }
        lines = [json.dumps(line), json.dumps(compare)]
        connection.execute("UPDATE sqlml.jobs SET log = list_concat(log, ?) WHERE kind = 'deploy'", [lines])
        connection.execute("UPDATE sqlml.following SET problem = ?", [f"customer_id {KEY} is there twice"])


def mentions(connection: Any, text: str) -> dict[str, int]:
    """Tables that have the text in a column of any type, with the number of rows."""
    found = {}
    names = "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
    for schema, table in connection.execute(names).fetchall():
        path = sql.quote_path(schema, table)
        rows = connection.execute(f"SELECT count(*) FROM {path} t WHERE contains(t::VARCHAR, '{text}')").fetchone()
        if rows[0]:
            found[f"{schema}.{table}"] = rows[0]
    return found


@pytest.fixture
def warehouse(customer_rows: object, tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    place(path, customer_rows)
    return path


def test_a_key_is_erased_everywhere_and_comes_back_only_with_its_source(warehouse: Path) -> None:
    killed = Path(f"{warehouse}.jobs") / "score-20260101-000000-abcdef.jsonl"
    killed.parent.mkdir(exist_ok=True)
    started = {"at": "2026-01-01T00:00:00", "phase": "score", "message": f"key {KEY}", "details": {"pid": 2**22 + 1}}
    killed.write_text(json.dumps(started) + f'\n{{"half a line about {KEY}')
    with duckdb.connect(str(warehouse)) as connection:
        before = mentions(connection, str(KEY))
        assert set(before) == {
            "main.customers",
            "sqlml.jobs",
            "sqlml.following",
            "churn.inputs_v3",
            "churn.labels_v2",
            *(f"churn.predictions_v{n}" for n in (1, 2, 3)),
        }
        assert mentions(connection, "123.25") == {"main.customers": 1, "churn.inputs_v3": 2}
        done = sqlml.forget(connection, "churn", KEY, why="asked for by letter")

        assert mentions(connection, str(KEY)) == {"main.customers": 1}
        assert str(KEY) not in killed.read_text()
        erased = {entry.table: entry.rows for entry in done.erased}
        assert erased['"churn"."inputs_v3"'] == 2
        assert [erased[f'"churn"."predictions_v{n}"'] for n in (1, 2, 3)] == [1, 1, 1]
        failure = connection.execute("SELECT failure FROM sqlml.versions WHERE version = 1").fetchone()
        assert failure == ("It was not deployed. 1 rows: wrong. [The example was erased.]",)
        assert mentions(connection, '"tenure": 61') == {}
        assert {
            "sqlml.parity",
            "sqlml.jobs",
            "sqlml.versions",
            '"churn"."labels_v2"',
            "warehouse.duckdb.jobs/*.jsonl",
        } < set(erased)
        assert done.in_source
        assert any("predicts it again" in sentence for sentence in done.left)
        [(text,)] = connection.execute("SELECT evidence FROM sqlml.parity WHERE version = 2").fetchall()
        assert json.loads(text)["counter_examples"] == [{"row": 3, "kind": "sample", "what": "wrong"}]
        assert [e.why for e in sqlml.history(connection, "churn") if e.action == "forget"] == ["asked for by letter"]
        assert connection.execute("SELECT count(*) FROM churn.current").fetchone() == (59,)

        sqlml.score(connection, "churn")
        assert connection.execute("SELECT count(*) FROM churn.current").fetchone() == (60,)
        connection.execute(f"DELETE FROM customers WHERE customer_id = {KEY}")
        again = sqlml.forget(connection, "churn", str(KEY))
        assert (again.in_source, again.rows) == (False, 3)  # of the active version, of the shadow, and its inputs
        sqlml.score(connection, "churn")
        assert mentions(connection, str(KEY)) == {}
        assert sqlml.forget(connection, "churn", [KEY]).erased == ()


def test_a_published_copy_has_no_bytes_of_a_forgotten_key(customer_rows: object, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute(HOSTILE)
        connection.execute("INSERT INTO people VALUES ('Nobodyelse-Müller', 9, 1, 2, 'One year')")
        deploy(connection, "inputs", table="people", key=("shop", "id"))
        connection.execute("DELETE FROM people WHERE id = 9; CHECKPOINT")
        done = sqlml.forget(connection, "churn", ("Nobodyelse-Müller", 9))
        assert any("sqlml publish" in sentence for sentence in done.left)
        sqlml.publish(connection, tmp_path / "clean.duckdb")
    assert b"Nobodyelse" not in (tmp_path / "clean.duckdb").read_bytes()


@pytest.mark.parametrize(
    ("key", "left"),
    [
        (("Zürich", "1"), 7), (("zürich", 1), 7), (("日本", 1), 7), (("", 1), 7), (('it\'s "x"', "01"), 7),
        (("Zürich", "9"), 8), (("Zürich", "1.5"), 8), (("1", "Zürich"), None), (("Zürich",), None), (("Zürich", None), None),
    ],
)  # fmt: skip
def test_composite_keys_are_matched_by_value_and_type(shops: Any, key: Any, left: int | None) -> None:
    shops.execute("BEGIN; ROLLBACK")
    if left is None:
        with pytest.raises(UsageError):
            sqlml.forget(shops, "churn", key)
        left = 8
    else:
        done = sqlml.forget(shops, "churn", key)
        assert sum(entry.rows for entry in done.erased if "churn" in entry.table) == 2 * (8 - left)
    assert shops.execute("SELECT count(*) FROM churn.current").fetchone() == (left,)
    sqlml.score(shops, "churn")


@pytest.fixture(scope="module")
def shops_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shops") / "start.duckdb"


@pytest.fixture
def shops(shops_file: Path) -> Any:
    if not shops_file.exists():
        with duckdb.connect(str(shops_file)) as connection:
            connection.execute(HOSTILE)
            deploy(connection, "inputs", table="people", key=("shop", "id"))
    with copied(shops_file) as connection:
        yield connection


def test_logs_that_spell_the_key_otherwise_are_erased_too(customer_rows: object) -> None:
    with duckdb.connect() as connection:
        fill(connection, customer_rows, 20)
        connection.execute(
            "CREATE TABLE events AS SELECT customer_id::DECIMAL(9, 2) AS amount, DATE '2024-01-01' AS day,"
            " '0AF3c0de-0000-4000-8000-000000000001'::UUID AS visit, TIMESTAMPTZ '2024-03-01 23:30:00+00' AS at,"
            " tenure, monthly_charges, contract FROM customers"
        )
        deploy(connection, table="events", key=("amount", "day", "visit", "at"))
        connection.execute("SET TimeZone = 'Europe/Zurich'; INSERT INTO events FROM events WHERE amount = 7")
        with pytest.raises(KeyRefused, match=r"7\.00, 2024-01-01, 0af3c0de.*, 2024-03-02 00:30:00\+01:00"):
            sqlml.score(connection, "churn", all_rows=True)
        connection.execute("RESET TimeZone; DELETE FROM events WHERE amount = 7")
        visit = "0AF3C0DE000040008000000000000001"
        done = sqlml.forget(connection, "churn", ("07", "2024-1-1", visit, "2024-03-01 23:30:00+00"))
        assert {entry.table for entry in done.erased} == {'"churn"."predictions_v1"', "sqlml.jobs"}
        assert mentions(connection, "7.00, 2024-01-01") == {}


def test_a_text_that_is_a_key_is_typed_to_the_letter(
    customer_rows: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "parts.duckdb"
    names = ["12", '12"', "a,b", "x", " x", "", '"q"', "q"]
    with duckdb.connect(str(path)) as connection:
        fill(connection, customer_rows, len(names))
        connection.execute("CREATE TABLE parts AS SELECT $1[customer_id] AS name, * FROM customers", [names])
        deploy(connection, table="parts", key="name")
    for name in names:
        for command in (
            ["why", "churn", name],
            ["replay", "churn", "--key", name],
            ["lineage", "churn", "--key", name],
        ):
            assert cli.run([*command, "-d", str(path), "--json"]) == 0
            found = json.loads(capsys.readouterr().out)
            assert (found.get("key") or found["rows"][0]["key"]) == {"name": name}
    for name in ('12"', " x", '"q"'):
        assert cli.run(["forget", "churn", "--key", name, "-d", str(path)]) == 0
    with duckdb.connect(str(path)) as connection:
        left = connection.execute("SELECT name FROM churn.current ORDER BY name").fetchall()
    assert left == [("",), ("12",), ("a,b",), ("q",), ("x",)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("north, 4711", ("north", "4711")), ('12" pipe,3', ('12" pipe', "3")), ("a,,b", ("a", "", "b")),
        ('" a,b" ,"c ""d"""', (" a,b", 'c "d"')), ('"""x",', ('"x', "")), ("a(1,2)", ("a(1", "2)")), ('1,"2', None),
    ],
)  # fmt: skip
def test_values_of_several_columns_are_told_apart(text: str, values: tuple[str, ...] | None) -> None:
    if values is None:
        with pytest.raises(UsageError, match="double quote"):
            keys.listed(text)
    else:
        assert keys.listed(text) == values


@needs_triggers
def test_rows_of_a_live_source_go_without_a_trace(customer_rows: object) -> None:
    with duckdb.connect() as connection:
        fill(connection, customer_rows, 30)
        deploy(connection, "inputs", live=True)
        connection.execute("UPDATE sqlml.deployments SET owns_source = true")
        done = sqlml.forget(connection, "churn", 3)
        assert {entry.table for entry in done.erased} >= {'"main"."customers"', '"churn"."inputs_v1"'}
        for table in ("customers", "churn.inputs_v1", "churn.predictions_v1"):
            assert connection.execute(f"SELECT count(*) FROM {table} WHERE customer_id = 3").fetchone() == (0,)
        assert not done.in_source


@pytest.mark.faults
def test_a_fault_at_any_statement_erases_nothing_or_all(warehouse: Path) -> None:
    with copied(warehouse) as connection:
        before = mentions(connection, str(KEY))
        counting = FaultyConnection(connection, None)
        sqlml.forget(counting, "churn", KEY)  # type: ignore[arg-type]
    for fail_at in range(2, counting.counter[0] + 1, 3):
        with copied(warehouse) as connection:
            try:
                sqlml.forget(FaultyConnection(connection, fail_at), "churn", KEY)  # type: ignore[arg-type]
            except InjectedFault:
                assert mentions(connection, str(KEY)) in (before, {"main.customers": 1})
                sqlml.forget(connection, "churn", KEY)
            assert mentions(connection, str(KEY)) == {"main.customers": 1}


def test_nothing_is_forgotten_beside_another_job(shops: Any) -> None:
    with leases.lease(shops, "churn", "score-1"), pytest.raises(Conflict, match="score-1"):
        sqlml.forget(shops, "churn", ("b", 3))
    assert records.deployment(shops, "churn")
    with pytest.raises(NotDeployed):
        sqlml.forget(shops, "nothing", 1)


def test_a_key_goes_from_what_undeploy_left(shops_file: Path, shops: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = shops.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()[0]
    sqlml.undeploy(shops, "churn")
    done = sqlml.forget(shops, "Churn", ("b", 3))
    assert [(entry.table, entry.rows) for entry in done.erased] == [
        ('"churn"."predictions_v1"', 1), ('"churn"."inputs_v1"', 1)
    ]  # fmt: skip
    assert '"main"."people" has the key still.' in done.left
    assert [e.action for e in sqlml.history(shops, "churn")][:2] == ["forget", "undeploy"]
    shops.close()
    assert cli.run(["forget", "churn", "--key", "c,4", "-d", path]) == 0
    assert cli.run(["forget", "nothing", "--key", "1", "-d", path]) == 3
    assert "no deployment 'nothing'" in capsys.readouterr().err


def test_the_command_line_says_what_was_erased(
    shops_file: Path, shops: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shops.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()[0]
    shops.close()
    assert cli.run(["forget", "churn", "--key", "b,3", "-d", path]) == 0
    said = capsys.readouterr()
    assert '"churn"."inputs_v1"' in said.out
    assert "predicts it again" in said.out
    assert cli.run(["forget", "churn", "--key", "b,3", "-d", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0
    assert cli.run(["forget", "churn", "--key", "b", "-d", path]) == 2
