"""From any prediction row, with the database and MLflow alone: its bytes, its run, its training data, and itself again.

After deploys, three rollbacks, scorings of changed rows, a recall and a gc, for rows of every version that has any. SQLML_DEPLOYS=10 is the whole.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
import sqlml.deploy.routine
from sqlml.deploy.prepare import prepare
from tests.deploy.conftest import fewer_questions, fill
from tests.deploy.faults import assert_whole

DEPLOYS = int(os.environ.get("SQLML_DEPLOYS", "3"))
ROLLBACKS = (1, 2, DEPLOYS - 1)
"""After which deploys."""
RECALLED = 1
"""Old enough for gc, were it not recalled."""

FROM_A_ROW = """SELECT p.customer_id, p.prediction, o.deployment, o.version, o.model, o.model_sha256, o.run_id, o.dataset, o.dataset_digest
FROM churn.predictions_v{number} p JOIN sqlml.provenance o USING (scoring_id)"""


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is converted once, with its run and its training data from the registry."""
    known: dict[str, Any] = {}

    def prepared(connection: Any, options: Any, job: Any, *, with_reference: bool) -> Any:
        if options.reference not in known:
            known[options.reference] = fewer_questions(prepare(connection, options, job, with_reference=with_reference))
        return known[options.reference]

    monkeypatch.setattr("sqlml.parity.asking.LARGEST_SIZE", 40)
    monkeypatch.setattr("sqlml.parity.asking.WHOLE_SIZES", ())
    monkeypatch.setattr("sqlml.parity.asking.SMALL_SIZES", ())
    monkeypatch.setattr(sqlml.deploy.routine, "prepare", prepared)


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.usefixtures("once")
def test_rows_of_every_version_lead_back_and_are_the_same_again(
    own_registry: Any, tmp_path: Path, customer_rows: object
) -> None:
    import mlflow

    path = tmp_path / "warehouse.duckdb"
    with sqlml.connect(path) as connection:
        fill(connection, customer_rows, 120)
        for number in range(DEPLOYS):
            done = sqlml.deploy_db(
                connection,
                f"churn:{number % 2 + 1}",
                table="customers",
                key="customer_id",
                threshold=0.2 + number / 20,
                keep="inputs",
                tracking_uri=own_registry.uri,
            )
            assert isinstance(done, sqlml.Deployed)
            assert done.version == number + 1
            if number in ROLLBACKS:
                sqlml.rollback(connection, "churn")
            connection.execute(
                f"UPDATE customers SET tenure = (tenure * 7 + {number}) % 70 WHERE customer_id % 3 = {number % 3}"
            )
            sqlml.score(connection, "churn")
        recalled = sqlml.recall(connection, name="churn", version=RECALLED, apply=True, why="a drill")
        assert recalled.marked == (f"churn v{RECALLED}",)
        assert_whole(connection)
        collected = sqlml.gc(
            connection, "churn", retention=sqlml.Retention(keep_versions=max(0, DEPLOYS - 5)), apply=True
        )
        gone = {removal.version for removal in collected.removed}
        assert gone
        assert sqlml.status(connection, "churn")[0].problems == ()

    left = sorted(set(range(1, DEPLOYS + 1)) - gone)
    assert RECALLED in left
    client = mlflow.MlflowClient(own_registry.uri)
    with duckdb.connect(str(path), read_only=True) as connection:
        for number in left:
            rows = connection.execute(FROM_A_ROW.format(number=number)).fetchall()
            assert len(rows) == 120
            assert {row[:4] for row in rows} == {(key, said, "churn", number) for key, said, *_ in rows}
            [(onnx, sha256, run_id, dataset, digest)] = {row[4:] for row in rows}
            assert hashlib.sha256(onnx).hexdigest() == sha256
            run = client.get_run(run_id)
            assert client.get_model_version("churn", str((number - 1) % 2 + 1)).run_id == run_id
            assert (dataset, digest) in [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs]
        marks = connection.execute("SELECT version, why FROM sqlml.recalled").fetchall()
    assert marks == [(RECALLED, "a drill")]
    with sqlml.connect(path, read_only=True) as connection:
        replayed = sqlml.replay(connection, "churn", all_rows=True)
    found = {v.version: v.outcomes for v in replayed.versions if v.rows}
    assert found == {number: {"equal": 120} for number in left}
