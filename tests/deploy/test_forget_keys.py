"""forget: which rows a key means, where versions have other key columns, and whatever a key is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli
from sqlml.errors import KeyRefused, UsageError
from tests.deploy import conftest
from tests.deploy.conftest import fill
from tests.deploy.test_keep import deploy

pytestmark = pytest.mark.usefixtures("converted")


@pytest.fixture
def connection(customer_rows: object) -> Iterator[Any]:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 30)
        yield opened


def keyed(monkeypatch: pytest.MonkeyPatch, connection: Any, table: str, *keys: str, model: str, **more: Any) -> None:
    """Deploy `model` on a copy of the customers that has these key columns."""
    monkeypatch.setitem(conftest.COMPOSITE, table, keys)
    shop = next((key for key in keys if key.lower() == "shop"), "shop")
    connection.execute(
        f"CREATE TABLE {table} AS SELECT *, customer_id % 7 AS {shop}, customer_id + 1 AS account_id FROM customers"
    )
    deploy(connection, "inputs", model, table=table, key=keys, **more)


def rows(connection: Any, version: int, condition: str) -> int:
    query = f"SELECT count(*) FROM churn.predictions_v{version} WHERE {condition}"
    return int(connection.execute(query).fetchone()[0])


def test_the_same_number_under_another_key_is_somebody_else(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(connection, "inputs")
    keyed(monkeypatch, connection, "accounts", "account_id", model="churn:2")
    done = sqlml.forget(connection, "churn", 5)
    assert rows(connection, 1, "customer_id = 5") == 1
    assert rows(connection, 2, "account_id = 5") == 0
    erased = [entry.table for entry in done.erased if "churn" in entry.table]
    assert erased == ['"churn"."predictions_v2"', '"churn"."inputs_v2"']
    told = [sentence for sentence in done.left if "has another key (customer_id, not account_id)" in sentence]
    assert [sentence.split()[0] for sentence in told] == ['"churn"."predictions_v1"', '"churn"."inputs_v1"']


def test_key_columns_in_another_order_or_case_are_the_same_key(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed(monkeypatch, connection, "first", "customer_id", "shop", model="churn:1")
    keyed(monkeypatch, connection, "second", "SHOP", "customer_id", model="churn:2")
    sqlml.undeploy(connection, "churn")
    done = sqlml.forget(connection, "churn", (2, 9))
    assert {entry.table for entry in done.erased} >= {
        f'"churn"."{table}_v{n}"' for n in (1, 2) for table in ("predictions", "inputs")
    }
    for version in (1, 2):
        assert rows(connection, version, "customer_id = 9") == 0
        assert rows(connection, version, "true") == 29
    assert not any("another key" in sentence for sentence in done.left)


def test_a_key_that_is_given_is_that_of_the_active_version(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed(monkeypatch, connection, "accounts", "account_id", model="churn:1")
    keyed(monkeypatch, connection, "shops", "shop", "customer_id", model="churn:2", shadow=True)
    done = sqlml.forget(connection, "churn", 5)
    assert rows(connection, 1, "account_id = 5") == 0
    assert any('"churn"."predictions_v2" has another key' in sentence for sentence in done.left)
    sqlml.undeploy(connection, "churn")
    sqlml.forget(connection, "churn", 6)  # the shadow came later, and was never what the deployment answered with
    assert rows(connection, 1, "account_id = 6") == 0


def test_another_number_of_values_is_refused_by_naming_the_columns(
    customer_rows: object, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "warehouse.duckdb")
    with duckdb.connect(path) as connection:
        fill(connection, customer_rows, 30)
        deploy(connection)
        keyed(monkeypatch, connection, "shops", "shop", "customer_id", model="churn:2")
        with pytest.raises(UsageError, match="The key of churn is shop, customer_id, and 1 value was given"):
            sqlml.forget(connection, "churn", 5)
        assert rows(connection, 1, "customer_id = 5") == 1
    assert cli.run(["forget", "churn", "--key", "5", "-d", path]) == 2
    assert "shop, customer_id" in capsys.readouterr().err
    assert cli.run(["forget", "churn", "--key", "5,5", "-d", path]) == 0


def test_other_deployments_that_have_the_key_are_told_and_left(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deploy_as(name: str, table: str) -> None:
        arguments = {"table": table, "key": "customer_id", "keep": "inputs"}
        sqlml.deploy_db(connection, "churn:2", name=name, **arguments)

    deploy(connection)
    columns = "c.customer_id, c.tenure, c.monthly_charges, c.contract"
    connection.execute(
        f"CREATE VIEW upstream AS SELECT {columns} FROM churn.current JOIN customers c USING (customer_id)"
    )
    connection.execute("CREATE VIEW the_same AS FROM customers")
    monkeypatch.setitem(conftest.COMPOSITE, "another", ("id",))
    connection.execute("CREATE TABLE another AS SELECT customer_id AS id, * FROM customers")
    for name, table in {"agg": "upstream", "other": "the_same", "gone": "customers", "apart": "another"}.items():
        deploy_as(name, table)
    sqlml.undeploy(connection, "gone")
    deploy_as("beside", "customers")
    sqlml.forget(connection, "beside", 3)
    left = sqlml.forget(connection, "churn", 3).left

    for name in ("agg", "other", "gone"):
        told = (
            f'{name} has the key too, in "{name}"."predictions_v1", "{name}"."inputs_v1": sqlml forget {name} --key KEY'
        )
        assert any(sentence.startswith(told) for sentence in left)
        assert connection.execute(f"SELECT count(*) FROM {name}.predictions_v1").fetchone() == (30,)
        assert sqlml.forget(connection, name, 3).rows
    assert any(sentence.startswith("beside predicts from the same rows") for sentence in left)
    assert not any("apart" in sentence for sentence in left)
    connection.execute("DELETE FROM customers WHERE customer_id = 3")
    assert not any("has the key too" in s or "same rows" in s for s in sqlml.forget(connection, "churn", 3).left)


def made_of(monkeypatch: pytest.MonkeyPatch, connection: Any, expression: str) -> None:
    """A deployment whose key `id` is made of the customers' number."""
    monkeypatch.setitem(conftest.COMPOSITE, "made", ("id",))
    connection.execute(f"CREATE TABLE made AS SELECT {expression} AS id, * FROM customers")
    deploy(connection, "inputs", table="made", key="id")


@pytest.mark.parametrize(
    "given", [b"k\xff'3", bytearray(b"k\xff'3"), memoryview(b"k\xff'3"), [b"k\xff'3"], "k\\xFF\\x273"]
)
def test_a_key_of_bytes_is_data(connection: Any, monkeypatch: pytest.MonkeyPatch, given: object) -> None:
    made_of(monkeypatch, connection, r"encode('k') || '\xFF\x27'::BLOB || encode(customer_id::VARCHAR)")
    connection.execute("INSERT INTO made FROM made WHERE customer_id = 3")
    with pytest.raises(KeyRefused, match="made: b"):
        sqlml.score(connection, "churn", all_rows=True)
    done = sqlml.forget(connection, "churn", given)
    erased = {entry.table: entry.rows for entry in done.erased}
    assert erased == {'"churn"."predictions_v1"': 1, '"churn"."inputs_v1"': 1, "sqlml.jobs": 1}
    assert done.in_source
    assert sqlml.replay(connection, "churn", key=b"k\xff'4").rows


def test_keys_are_the_same_to_the_letter_whatever_the_collation(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of(monkeypatch, connection, "('k' || customer_id) COLLATE NOCASE")
    for collation in ("binary", "nocase"):
        connection.execute(f"SET default_collation = '{collation}'")
        done = sqlml.forget(connection, "churn", "K3")
        assert (done.in_source, [entry for entry in done.erased if "churn" in entry.table]) == (False, [])
        assert rows(connection, 1, "true") == 30
    done = sqlml.forget(connection, "churn", "k3")
    assert (done.in_source, rows(connection, 1, "true")) == (True, 29)
