"""A model whose source is another deployment's predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import sqlml
from sqlml.errors import Refused
from tests.deploy.conftest import fill

pytestmark = pytest.mark.usefixtures("converted")


@pytest.fixture
def follower(tmp_path: Path) -> Path:
    """retention = 10 * probability of churn + monthly charges, as an .onnx file."""
    rows = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 2])
    out = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])
    weights = onnx.numpy_helper.from_array(np.array([[10.0], [1.0]]), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "retention", [rows], [out], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "retention.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def chained(customer_rows: object, follower: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`churn`, and `retention` over a view of churn.scored that names its columns as the model does."""
    with duckdb.connect() as connection:
        fill(connection, customer_rows, 50)
        yield connection


def deploy_both(connection: Any, follower: Path, source: str, *, live: bool, real_prepare: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", table="customers", key="customer_id", live=live)
    real_prepare()
    sqlml.deploy_db(connection, str(follower), table=source, key="customer_id", live=live)


@pytest.fixture
def real_prepare(monkeypatch: pytest.MonkeyPatch) -> Any:
    from sqlml.deploy.prepare import prepare

    return lambda: monkeypatch.setattr("sqlml.deploy.routine.prepare", prepare)


def columns_named_as_in_scored(path: Path) -> Path:
    """The follower with an MLmodel that names its inputs after columns of churn.scored."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    folder = path.with_suffix("")
    inputs = Schema([ColSpec("double", "probability_Yes"), ColSpec("double", "monthly_charges")])
    signature = ModelSignature(inputs=inputs, outputs=Schema([ColSpec("double", "y")]))
    mlflow.onnx.save_model(onnx.load(path), folder, signature=signature, pip_requirements=["onnx"])
    return folder


WRONG = """SELECT count(*) FROM customers c JOIN churn.current p USING (customer_id)
    FULL JOIN retention.current r USING (customer_id)
    WHERE r.prediction IS DISTINCT FROM 10 * p."probability_Yes" + c.monthly_charges OR r.scoring_id IS NULL"""


@pytest.mark.filterwarnings("ignore")
def test_predictions_follow_through_a_live_chain(chained: Any, follower: Path, real_prepare: Any) -> None:
    folder = columns_named_as_in_scored(follower)
    deploy_both(chained, folder, "churn.scored", live=True, real_prepare=real_prepare)
    assert chained.execute(WRONG).fetchone() == (0,)
    chained.execute("INSERT INTO customers BY NAME SELECT * REPLACE (70001 AS customer_id) FROM customers LIMIT 1")
    chained.execute("UPDATE customers SET monthly_charges = monthly_charges + 1 WHERE customer_id % 2 = 0")
    chained.execute("DELETE FROM customers WHERE customer_id % 7 = 0")
    assert chained.execute(WRONG).fetchone() == (0,)
    counts = chained.execute(
        "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM retention.current)"
    ).fetchone()
    assert counts[0] == counts[1]


@pytest.mark.filterwarnings("ignore")
def test_score_all_deployments_goes_upstream_first(chained: Any, follower: Path, real_prepare: Any) -> None:
    folder = columns_named_as_in_scored(follower)
    deploy_both(chained, folder, "churn.scored", live=False, real_prepare=real_prepare)
    chained.execute("UPDATE customers SET monthly_charges = monthly_charges + 1")
    done = sqlml.score_all_deployments(chained)
    assert [scored.deployment for scored in done] == ["churn", "retention"]
    assert chained.execute(WRONG).fetchone() == (0,)


BEHIND = {
    "a view": ["CREATE VIEW behind AS {query}"],
    "a view over a view": ["CREATE VIEW first AS {query}", "CREATE VIEW behind AS FROM first"],
    "a function": ["CREATE MACRO reading() AS TABLE {query}", "CREATE VIEW behind AS FROM reading()"],
    "a filter alone": [
        'CREATE VIEW behind AS SELECT customer_id, monthly_charges AS "probability_Yes", monthly_charges FROM customers'
        ' WHERE customer_id IN (SELECT customer_id FROM churn.current WHERE "probability_Yes" < 2)'
    ],
}
QUERY = 'SELECT customer_id, "probability_Yes", monthly_charges FROM churn.current JOIN customers USING (customer_id)'


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("behind", list(BEHIND))
def test_what_is_read_through_views_of_anybodys_is_scored_first(
    chained: Any, follower: Path, real_prepare: Any, behind: str
) -> None:
    """The reader's name comes first in the alphabet, and it was not the first to be deployed."""
    folder = columns_named_as_in_scored(follower)
    sqlml.deploy_db(chained, "churn:1", table="customers", key="customer_id")
    for statement in BEHIND[behind]:
        chained.execute(statement.format(query=QUERY))
    real_prepare()
    sqlml.deploy_db(chained, str(folder), name="after", table="behind", key="customer_id")
    chained.execute("UPDATE customers SET monthly_charges = monthly_charges + 1")
    assert [scored.deployment for scored in sqlml.score_all_deployments(chained)] == ["churn", "after"]
    assert sqlml.score(chained, "after").rows == 0


@pytest.mark.filterwarnings("ignore")
def test_deployments_that_read_each_other_are_each_scored_once(chained: Any, follower: Path, real_prepare: Any) -> None:
    folder = columns_named_as_in_scored(follower)
    sqlml.deploy_db(chained, "churn:1", table="customers", key="customer_id")
    real_prepare()
    for name in ("one", "other"):
        chained.execute(f"CREATE VIEW of_{name} AS {QUERY}")
        sqlml.deploy_db(chained, str(folder), name=name, table=f"of_{name}", key="customer_id")
    for name, read in (("one", "other"), ("other", "one")):
        chained.execute(
            f'CREATE OR REPLACE VIEW of_{name} AS SELECT customer_id, c.prediction AS "probability_Yes", monthly_charges'
            f" FROM {read}.current c JOIN customers USING (customer_id)"
        )
    assert sorted(scored.deployment for scored in sqlml.score_all_deployments(chained)) == ["churn", "one", "other"]


@pytest.mark.filterwarnings("ignore")
def test_a_live_chain_goes_on_when_the_upstream_version_changes(
    chained: Any, follower: Path, real_prepare: Any, prepared_versions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = columns_named_as_in_scored(follower)
    deploy_both(chained, folder, "churn.scored", live=True, real_prepare=real_prepare)
    monkeypatch.setattr("sqlml.deploy.routine.prepare", lambda *a, **k: prepared_versions["churn:2"])
    sqlml.deploy_db(chained, "churn:2")
    sqlml.score(chained, "retention")
    assert chained.execute(WRONG).fetchone() == (0,)
    chained.execute("UPDATE customers SET monthly_charges = monthly_charges + 5 WHERE customer_id % 3 = 0")
    assert chained.execute(WRONG).fetchone() == (0,)


@pytest.mark.filterwarnings("ignore")
def test_an_upstream_deployment_that_is_read_is_not_undeployed(chained: Any, follower: Path, real_prepare: Any) -> None:
    folder = columns_named_as_in_scored(follower)
    deploy_both(chained, folder, "churn.scored", live=False, real_prepare=real_prepare)
    with pytest.raises(Refused, match="deployment retention"):
        sqlml.undeploy(chained, "churn")
    assert sqlml.status(chained, "churn")[0].problems == ()
