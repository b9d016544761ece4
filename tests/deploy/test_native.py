"""Deployments with the engine native: everything that the others can, and from any name that the file is attached under."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import extension
from sqlml.deploy.prepare import Prepared
from sqlml.engines.native import NativeEngine
from sqlml.engines.python import PythonEngine
from sqlml.errors import DatabaseError, EngineUnavailable, PolicyRefused

pytestmark = pytest.mark.native

UNSIGNED = {"allow_unsigned_extensions": "true"}


@pytest.fixture(scope="module")
def prepared_versions(prepared_versions: dict[str, Prepared]) -> dict[str, Prepared]:
    """The same models, for the native engine, and the first for the python engine as `churn:python`."""

    def by(prepared: Prepared, engine: Any) -> Prepared:
        return dataclasses.replace(prepared, engine=engine, engine_why="asked for")

    made = {name: by(prepared, NativeEngine.of(prepared.content)) for name, prepared in prepared_versions.items()}
    first = prepared_versions["churn:1"]
    onnx = first.content
    made["churn:python"] = by(first, PythonEngine(onnx.sha256, onnx.signature, onnx.reasons))
    made["churn:sql"] = first
    return made


@pytest.fixture
def deployed(warehouse: Path, converted: None) -> Path:
    with sqlml.connect(warehouse) as connection:
        done = sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id")
        assert done.engine == "native"
    return warehouse


def loaded(path: Path | str = ":memory:", **options: Any) -> duckdb.DuckDBPyConnection:
    """A client that knows nothing of sqlml but the one line that doctor prints."""
    connection = duckdb.connect(str(path), config=UNSIGNED, **options)
    file = extension.find()
    assert file is not None
    connection.execute(extension.load_statement(file))
    return connection


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """As in a process that has just begun."""
    connection.execute("SELECT sqlml_forget(key) FROM (SELECT key FROM sqlml_models())").fetchall()


STORED = 'SELECT prediction, "probability_Yes", error FROM churn.current ORDER BY customer_id'
CALLED = "SELECT churn.predict(c), churn.probability(c), churn.error(c) FROM customers c ORDER BY customer_id"


def test_a_client_that_loads_the_extension_predicts(deployed: Path) -> None:
    with loaded(deployed, read_only=True) as shell:
        forget(shell)
        rows = shell.execute(CALLED).fetchall()
        assert rows == shell.execute(STORED).fetchall()
        assert len(rows) == 400
        assert {row[0] for row in rows} == {"Yes", "No"}
        proba = shell.execute('SELECT churn.predict_proba(c)."Yes", churn.predict_proba(c) FROM customers c').fetchall()
        assert all(sum(both.values()) == pytest.approx(1) and yes == both["Yes"] for yes, both in proba)


def test_a_client_without_it_opens_the_file_and_reads_what_is_stored(deployed: Path) -> None:
    with duckdb.connect(str(deployed)) as shell:
        assert len(shell.execute(STORED).fetchall()) == 400
        with pytest.raises(duckdb.CatalogException, match="sqlml_class_2"):
            shell.execute(CALLED)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FILTER (churn.predict(c) = 'Yes') FROM customers c",
        "SELECT count(*) FROM customers c WHERE churn.predict(c) = 'Yes'",
        "WITH s AS (SELECT churn.predict(c) AS p FROM customers c) SELECT count(*) FROM s WHERE p = 'Yes'",
        "WITH s AS MATERIALIZED (SELECT churn.predict(c) AS p FROM customers c) SELECT count(*) FROM s WHERE p = 'Yes'",
        "SELECT count(*) FROM churn.predict_table('customers') WHERE prediction = 'Yes'",
        "SELECT count(*) FROM sqlml.predict('churn', 'customers') WHERE prediction = 'Yes'",
        "SELECT count(*) FROM customers c JOIN churn.current p USING (customer_id) WHERE churn.predict_v1(c) = 'Yes'",
        "SELECT count(*) FROM churn.scored WHERE prediction = 'Yes'",
    ],
)
def test_a_query_of_any_shape_loads_the_model_itself(deployed: Path, query: str) -> None:
    with loaded(deployed, read_only=True) as shell:
        (yes,) = shell.execute("SELECT count(*) FROM churn.current WHERE prediction = 'Yes'").fetchone()
        forget(shell)
        assert shell.execute(query).fetchall() == [(yes,)]
        assert shell.execute(query).fetchall() == [(yes,)]


def test_views_updates_prepared_statements_and_open_transactions(deployed: Path) -> None:
    with loaded(deployed) as shell:
        yes = shell.execute("SELECT count(*) FROM churn.current WHERE prediction = 'Yes'").fetchone()
        shell.execute("CREATE VIEW v AS SELECT customer_id, churn.predict(c) AS p FROM customers c")
        shell.execute("PREPARE q AS SELECT churn.predict(c) FROM customers c WHERE customer_id = ?")
        key, stored = shell.execute("SELECT customer_id, prediction FROM churn.current LIMIT 1").fetchone()
        forget(shell)
        assert shell.execute("SELECT count(*) FROM v WHERE p = 'Yes'").fetchone() == yes
        forget(shell)
        assert shell.execute(f"EXECUTE q({key})").fetchone() == (stored,)
        forget(shell)
        shell.execute("ALTER TABLE customers ADD COLUMN said VARCHAR")
        shell.execute("UPDATE customers SET said = churn.predict(customers)")
        assert shell.execute("SELECT count(*) FROM customers WHERE said = 'Yes'").fetchone() == yes
        forget(shell)
        shell.execute("BEGIN; UPDATE customers SET tenure = 0")
        assert shell.execute("SELECT count(churn.predict(c)) FROM customers c").fetchone() == (400,)
        shell.execute("ROLLBACK")


def test_attached_under_any_name_one_statement_makes_the_functions_answer(deployed: Path) -> None:
    with loaded() as shell:
        shell.execute(f"ATTACH '{deployed}' AS \"x y\" (READ_ONLY)")
        forget(shell)
        count = 'SELECT count(*) FROM "x y".main.customers c WHERE "x y".churn.predict(c) = \'Yes\''
        with pytest.raises(duckdb.Error):
            shell.execute(count).fetchall()
        assert len(shell.execute('FROM "x y".churn.load').fetchall()) == 1
        yes = shell.execute("SELECT count(*) FROM \"x y\".churn.current WHERE prediction = 'Yes'").fetchall()
        assert shell.execute(count).fetchall() == yes
        table = '"x y".churn.predict_table(\'"x y".main.customers\')'
        assert shell.execute(f"SELECT count(*) FROM {table} WHERE prediction = 'Yes'").fetchall() == yes


def test_attached_and_used_the_functions_load_the_model_themselves(deployed: Path) -> None:
    with loaded() as shell:
        shell.execute(f"ATTACH '{deployed}' AS \"x y\" (READ_ONLY)")
        forget(shell)
        shell.execute('USE "x y"')
        assert shell.execute("SELECT count(churn.predict(c)) FROM customers c").fetchone() == (400,)


def test_in_another_process_the_model_is_not_loaded_yet(deployed: Path) -> None:
    code = (
        f"import duckdb; c = duckdb.connect({str(deployed)!r}, read_only=True, config={UNSIGNED!r})\n"
        f"c.execute({extension.load_statement(extension.find())!r})\n"
        "assert c.execute('SELECT count(*) FROM sqlml_models()').fetchone() == (0,)\n"
        "assert c.execute('SELECT count(churn.predict(c)) FROM customers c').fetchone() == (400,)\n"
        "assert c.execute('SELECT count(*) FROM sqlml_models()').fetchone() == (1,)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("converted")
def test_engines_hash_the_same_inputs(warehouse: Path) -> None:
    with sqlml.connect(warehouse) as connection:
        connection.execute("UPDATE customers SET tenure = NULL WHERE customer_id % 7 = 0")
        connection.execute("ALTER TABLE customers ALTER tenure TYPE DOUBLE")
        connection.execute("UPDATE customers SET tenure = 'nan' WHERE customer_id % 11 = 0")
        connection.execute("UPDATE customers SET tenure = 2.5 WHERE customer_id % 13 = 0")
        for reference in ("churn:1", "churn:sql", "churn:python"):
            sqlml.deploy_db(connection, reference, table="customers", key="customer_id")
        one, two, three = (
            connection.execute(
                f"SELECT * EXCLUDE (scoring_id, scored_at) FROM churn.predictions_v{number} ORDER BY customer_id"
            ).fetchall()
            for number in (1, 2, 3)
        )
    hashes = [[row[-1] for row in rows] for rows in (one, two, three)]
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(set(hashes[0])) > 100
    for row, other in zip(one, two, strict=True):
        assert row[:2] == other[:2]
        assert row[4] == other[4]  # error
        assert row[2:4] == pytest.approx(other[2:4], abs=1e-12) if row[2] is not None else other[2] is None


def test_score_rollback_verify_and_undeploy(deployed: Path) -> None:
    with sqlml.connect(deployed) as connection:
        sqlml.deploy_db(connection, "churn:2", table="customers", key="customer_id")
        assert sqlml.score(connection, "churn").rows == 0
        connection.execute("UPDATE customers SET tenure = tenure + 1 WHERE customer_id % 2 = 0")
        assert sqlml.score(connection, "churn").rows > 0
        sqlml.rollback(connection, "churn")
        found = sqlml.verify(connection, "churn", original=False)
        assert found.passed, found.checks
        [status] = sqlml.status(connection)
        assert (status.active_version, status.problems) == (1, ())
        sqlml.undeploy(connection, "churn")
        assert connection.execute("SELECT count(*) FROM duckdb_functions() WHERE schema_name = 'churn'").fetchone() == (
            0,
        )


def test_a_published_copy_has_the_functions(deployed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "readers.duckdb"
    sqlml.publish(deployed, copy)
    with loaded(copy, read_only=True) as shell:
        forget(shell)
        assert shell.execute(CALLED).fetchall() == shell.execute(STORED).fetchall()


@pytest.mark.usefixtures("converted")
@pytest.mark.skipif(int(duckdb.__version__.split(".")[0]) < 2, reason="DuckDB before 2.0 has no triggers")
def test_a_live_table_follows_in_a_shell_that_has_loaded_it(warehouse: Path) -> None:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id", live=True, engine="native")
    with loaded(warehouse) as shell:
        forget(shell)
        shell.execute("INSERT INTO customers BY NAME SELECT * REPLACE (90001 AS customer_id) FROM customers LIMIT 1")
        shell.execute("UPDATE customers SET tenure = 0 WHERE customer_id = 90001")
        wrong = shell.execute(
            "SELECT count(*) FROM customers c FULL JOIN churn.current p USING (customer_id)"
            " WHERE p.prediction IS DISTINCT FROM churn.predict(c)"
        ).fetchone()
        assert wrong == (0,)
        assert shell.execute("SELECT count(*) FROM churn.current").fetchone() == (401,)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT churn.predict(c), churn.predict(c) || '!', churn.predict(c, threshold := 0.3), churn.probability(c),"
        " churn.predict_proba(c), churn.predict_v1(c) FROM customers c",
        'SELECT churn.predict(c), avg(churn.predict_proba(c)."Yes") FROM customers c GROUP BY ALL',
        "SELECT prediction, error FROM churn.predict_table('customers') WHERE prediction = 'Yes' AND \"probability_Yes\" > 0.5",
    ],
)
def test_equal_calls_of_one_select_are_computed_once(deployed: Path, query: str) -> None:
    with loaded(deployed, read_only=True) as shell:
        shell.execute("FROM churn.load").fetchall()
        shell.execute("SET explain_output = 'physical_only'")
        shell.execute("PRAGMA enable_profiling = 'no_output'")
        plan = shell.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()[0][1]
        assert plan.count("sqlml_class_2_of(") == 1, plan


def test_a_connection_without_permission_is_told_and_auto_takes_another_engine(
    warehouse: Path, registered: Any
) -> None:
    arguments = {"table": "customers", "key": "customer_id", "tracking_uri": registered.uri}
    with duckdb.connect(str(warehouse)) as connection:
        with pytest.raises(EngineUnavailable, match=r"opened without permission.*sqlml\.connect") as refused:
            sqlml.deploy_db(connection, "churn:2", engine="native", **arguments)
        assert "pyfunc" not in str(refused.value.hint)  # the model is not what is in the way
        done = sqlml.deploy_db(connection, "churn:2", **arguments)
        assert done.engine in ("sql", "python")
        assert "opened without permission" in done.engine_why


def test_auto_takes_it_for_a_large_model_and_says_why(warehouse: Path, registered: Any) -> None:
    arguments = {"table": "customers", "key": "customer_id", "tracking_uri": registered.uri}
    with sqlml.connect(warehouse) as connection:
        plan = sqlml.plan(connection, "churn:2", **arguments)
        assert plan.engine == "native"
        assert "leaves" in plan.engine_why
        done = sqlml.deploy_db(connection, "churn:2", **arguments)
        assert done.engine == "native"
        assert done.evidence is not None
        [status] = sqlml.status(connection)
        assert status.problems == ()
        found = sqlml.verify(connection, "churn", tracking_uri=registered.uri)
        assert found.passed, found.checks


def test_rolling_back_without_the_extension_names_it(deployed: Path) -> None:
    with sqlml.connect(deployed) as connection:
        sqlml.deploy_db(connection, "churn:2", table="customers", key="customer_id")
    with duckdb.connect(str(deployed)) as plain, pytest.raises(DatabaseError, match="native extension"):
        sqlml.score(plain, "churn", all_rows=True)


def test_live_is_refused_where_nobody_asked_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlml import live
    from sqlml.database import DatabaseFacts
    from sqlml.relation import Relation

    facts = DatabaseFacts("w", None, False, "v2.0.0", ("w",))
    relation = Relation(("main", "customers"), "table", {})
    monkeypatch.setattr(DatabaseFacts, "has_triggers", True)
    live.require(facts, relation, None, "native")
    with pytest.raises(PolicyRefused, match="--engine native"):
        live.require(facts, relation, None, "native", asked_for=False)
