"""From a registered model to SQL, through real MLflow, conversion and DuckDB."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

import sqlml
from sqlml import errors, names, registry


@pytest.fixture
def deployed(warehouse: Path, registered: object) -> Path:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(
            connection, "churn:Production", table="customers", key="customer_id", tracking_uri=registered.uri
        )
    return warehouse


def test_a_plain_shell_predicts_with_the_deployed_functions(deployed: Path, registered: object) -> None:
    with duckdb.connect(str(deployed)) as connection:
        rows = connection.execute(
            'SELECT churn.predict(c), churn.probability(c), churn.predict_proba(c)."Yes", churn.error(c) FROM customers c'
        ).fetchall()
        stored = connection.execute('SELECT prediction, "probability_Yes" FROM churn.current').fetchall()
    assert len(rows) == 400
    assert {row[0] for row in rows} == {"Yes", "No"}
    assert all(row[1] == row[2] and row[3] is None for row in rows)
    assert sorted(stored) == sorted((row[0], row[1]) for row in rows)


def test_the_answers_are_scikit_learns_own(
    deployed: Path, registered: object, customer_rows: object, tmp_path: Path
) -> None:
    import cloudpickle

    version = registry.resolve("churn:Production", tracking_uri=registered.uri)
    artifact = registry.download(version, tmp_path / "original")
    original = cloudpickle.loads((artifact.directory / "model.pkl").read_bytes())
    rows = customer_rows.sort_values("customer_id").head(400)
    expected = dict(
        zip(rows["customer_id"], original.predict_proba(rows[original.feature_names_in_])[:, 1], strict=True)
    )
    with duckdb.connect(str(deployed)) as connection:
        got = dict(connection.execute('SELECT customer_id, "probability_Yes" FROM churn.current').fetchall())
    assert got.keys() == expected.keys()
    assert max(abs(got[key] - expected[key]) for key in got) <= 1e-9


def test_history_parity_and_lineage_are_written_back(deployed: Path) -> None:
    with sqlml.connect(deployed) as connection:
        [status] = sqlml.status(connection)
        assert (status.active_version, status.problems, status.predictions) == (1, (), 400)
        assert [event.action for event in sqlml.history(connection)] == ["activate", "stage"]
        passed, compared = connection.execute("SELECT passed, rows_compared FROM sqlml.parity").fetchone()
        assert passed
        assert compared > 500
        run = json.loads(connection.execute("SELECT run FROM sqlml.versions").fetchone()[0])
        assert run["datasets"][0]["digest"]
        assert connection.execute("SELECT count(*) FROM sqlml.lineage").fetchone()[0] > 10
        kinds = connection.execute("SELECT kind, state FROM sqlml.jobs").fetchall()
        assert kinds == [("deploy", "done")]


def test_deploying_the_same_again_makes_nothing_new(deployed: Path, registered: object) -> None:
    with sqlml.connect(deployed) as connection:
        again = sqlml.deploy_db(connection, "churn:Production", tracking_uri=registered.uri)
        assert (again.version, again.is_new) == (1, False)
        assert connection.execute("SELECT count(*) FROM sqlml.versions").fetchone() == (1,)


def test_a_second_version_takes_over_and_a_rollback_brings_the_first_back(deployed: Path, registered: object) -> None:
    with sqlml.connect(deployed) as connection:
        first = connection.execute("FROM churn.current ORDER BY customer_id").fetchall()
        lines: list[str] = []
        second = sqlml.deploy_db(
            connection,
            "churn:2",
            tracking_uri=registered.uri,
            listener=lambda line: lines.append(f"{line.phase}: {line.message}"),
        )
        assert second.version == 2
        assert any(line.startswith("compare: ") and "predictions change" in line for line in lines)
        difference = sqlml.diff(connection, "churn", 1, 2)
        assert difference.common == 400
        assert sum(rows for before, after, rows in difference.confusion if before != after) == difference.flipped
        sqlml.rollback(connection, "churn", why="the second one flips too many")
        assert connection.execute("FROM churn.current ORDER BY customer_id").fetchall() == first
        assert sqlml.history(connection)[0].why == "the second one flips too many"
        assert connection.execute("SELECT churn.predict_v2(c) FROM customers c LIMIT 1").fetchone() is not None


def test_a_function_that_its_own_deployment_makes_meanwhile_is_not_somebody_elses(
    warehouse: Path, registered: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpatched = names.refuse_taken_function
    options = {"table": "customers", "key": "customer_id", "function": "risk", "tracking_uri": registered.uri}

    def late(*arguments: object) -> None:
        monkeypatch.undo()
        sqlml.deploy_db(connection.cursor(), "churn:1", **options)
        unpatched(*arguments)

    monkeypatch.setattr(names, "refuse_taken_function", late)
    with sqlml.connect(warehouse) as connection:
        again = sqlml.deploy_db(connection, "churn:1", **options)
    assert (again.version, again.is_new) == (1, False)


def test_a_live_table_follows_inserts_updates_and_deletes_of_a_plain_shell(warehouse: Path, registered: object) -> None:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(
            connection, "churn:1", table="customers", key="customer_id", live=True, tracking_uri=registered.uri
        )
    with duckdb.connect(str(warehouse)) as shell:
        shell.execute("INSERT INTO customers BY NAME SELECT * REPLACE (90001 AS customer_id) FROM customers LIMIT 1")
        shell.execute("UPDATE customers SET tenure = 0, total_charges = NULL WHERE customer_id = 90001")
        shell.execute("DELETE FROM customers WHERE customer_id = (SELECT min(customer_id) FROM customers)")
        wrong = shell.execute(
            "SELECT count(*) FROM customers c FULL JOIN churn.current p USING (customer_id)"
            " WHERE p.prediction IS DISTINCT FROM churn.predict(c)"
        ).fetchone()
        assert wrong == (0,)
        assert shell.execute("SELECT count(*) FROM churn.current").fetchone() == (400,)


def test_a_typed_key_without_a_table_makes_a_live_table_for_inputs(warehouse: Path, registered: object) -> None:
    with sqlml.connect(warehouse) as connection:
        sqlml.deploy_db(connection, "churn:1", key="id BIGINT", tracking_uri=registered.uri)
    with duckdb.connect(str(warehouse)) as shell:
        shell.execute(
            "INSERT INTO churn.inputs BY NAME SELECT customer_id AS id, * EXCLUDE (customer_id, churn) FROM customers"
        )
        assert shell.execute("SELECT count(*), count(prediction) FROM churn.current").fetchone() == (400, 400)
        got = shell.execute("SELECT prediction FROM churn.current ORDER BY id").fetchall()
        assert got == shell.execute("SELECT churn.predict(c) FROM customers c ORDER BY customer_id").fetchall()


def test_a_job_can_be_watched(warehouse: Path, registered: object) -> None:
    lines: list[str] = []
    with sqlml.connect(warehouse) as connection:
        job = sqlml.deploy_db(
            connection, "churn:1", table="customers", key="customer_id", wait=False, tracking_uri=registered.uri
        )
        result = sqlml.watch_job(job, on_line=lambda line: lines.append(line.phase))
        assert result.version == 1
        assert lines[0] == "resolve"
        assert lines[-1] == "end"


def test_a_failed_job_raises_where_it_is_watched(warehouse: Path, registered: object) -> None:
    with sqlml.connect(warehouse) as connection:
        job = sqlml.deploy_db(connection, "nothing:1", wait=False, tracking_uri=registered.uri)
        with pytest.raises(errors.JobFailed, match="nothing"):
            sqlml.watch_job(job, on_line=lambda line: None)
