"""`verify` asks the model again: what has changed since the deployment shows, and in whom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import sqlml
from sqlml import cli
from sqlml.cli import exits
from sqlml.parity.recorded import unpacked
from sqlml.signature import Signature
from tests.deploy.conftest import save_small_model


@pytest.fixture(scope="module")
def deployed(customer_rows: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which a model's folder is deployed as `churn`."""
    folder = tmp_path_factory.mktemp("verify")
    save_small_model(folder / "model", customer_rows, 1.0)
    with sqlml.connect(folder / "warehouse.duckdb") as connection:
        connection.register("customer_rows", customer_rows)
        connection.execute("CREATE TABLE customers AS SELECT * FROM customer_rows ORDER BY customer_id LIMIT 300")
        sqlml.deploy_db(connection, str(folder / "model"), name="churn", table="customers", key="customer_id")
    return folder


@pytest.fixture
def own(deployed: Path, tmp_path: Path) -> Path:
    """A database of the test's own; the model's folder is the deployment's."""
    return Path(shutil.copy(deployed / "warehouse.duckdb", tmp_path / "own.duckdb"))


def checks(found: sqlml.Verification) -> dict[str, sqlml.verification.Check]:
    return {check.name: check for check in found.checks}


def test_an_unchanged_deployment_is_verified_and_the_evidence_is_stored(own):
    with sqlml.connect(own) as connection:
        found = sqlml.verify(connection, "churn")
        stored = connection.execute(
            "SELECT passed, rows_compared, evidence, recorded IS NULL FROM sqlml.parity ORDER BY checked_at"
        ).fetchall()
        status = sqlml.status(connection, "churn")[0]
    assert found.complete
    assert found.passed, found.checks
    assert {"functions", "model", "answers", "parity"} <= set(checks(found))
    assert [(row[0], row[3]) for row in stored] == [(True, False), (True, True)]
    now = json.loads(stored[1][2])
    assert now["versions"]["duckdb"] == duckdb.__version__
    assert {"onnxruntime", "python", "converted with scikit-learn", "estimator"} <= set(now["versions"])
    assert {"thresholds", "categories of the model"} <= set(now["hostile"])
    assert now["by_kind"]["sample"] == {"compared": 300}
    assert f"{stored[1][1]:,} rows" in str(status.parity)


def test_what_was_recorded_holds_nobodys_data(own, customer_rows):
    with sqlml.connect(own) as connection:
        content, signature = connection.execute(
            "SELECT recorded, signature FROM sqlml.parity JOIN sqlml.versions USING (deployment, version)"
        ).fetchone()
    kept = unpacked(Signature.from_json(signature), content)
    assert kept is not None
    assert 100 < len(kept.rows) <= 500
    assert len(content) < 100_000
    theirs = set(map(tuple, customer_rows[["tenure", "monthly_charges", "contract"]].to_numpy().tolist()))
    assert not theirs & {tuple(row.values()) for row in kept.rows.features.to_pylist()}


def test_a_function_with_another_constant_is_drift_even_where_the_record_was_changed_with_it(own):
    with sqlml.connect(own) as connection:
        for kind in ("version", "active"):
            [(name, statement)] = connection.execute(
                "SELECT name, statement FROM sqlml.objects WHERE role = ? AND name LIKE 'probability%'", [kind]
            ).fetchall()
            changed = statement.replace("CREATE MACRO", "CREATE OR REPLACE MACRO").replace("exp(", "1.001e0 * exp(", 1)
            assert changed.count("1.001e0") == 1, statement
            connection.execute(changed)
            connection.execute("UPDATE sqlml.objects SET statement = ? WHERE name = ?", [changed, name])
        found = sqlml.verify(connection, "churn")
    wrong = {name: check.detail for name, check in checks(found).items() if not check.passed}
    assert set(wrong) == {"functions", "parity"}
    assert "another score or value" in wrong["parity"]
    assert "no longer answer as the model did" in wrong["functions"]


OTHERWISE = """

def _a_little_surer(self, X, before=LogisticRegression.predict_proba):
    found = before(self, X) ** 1.01
    return found / found.sum(axis=1, keepdims=True)


LogisticRegression.predict_proba = _a_little_surer
"""


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment like this one, with a scikit-learn in which logistic regression answers a little otherwise."""
    import sklearn

    folder = tmp_path_factory.mktemp("upgraded") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    here = Path(sklearn.__file__).parent

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(here, site / "sklearn", copy_function=link, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    for libraries in here.parent.glob("scikit_learn.libs"):
        shutil.copytree(libraries, site / libraries.name, copy_function=link)
    about = f"scikit_learn-{sklearn.__version__}.dist-info"
    shutil.copytree(here.parent / about, site / "scikit_learn-99.0.dist-info")
    metadata = site / "scikit_learn-99.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace(f"\nVersion: {sklearn.__version__}", "\nVersion: 99.0", 1))
    changed = site / "sklearn" / "linear_model" / "_logistic.py"
    source = changed.read_text()
    changed.unlink()  # it may be a link
    changed.write_text(source + OTHERWISE)
    (site / "the rest.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder


def test_a_library_upgrade_that_changes_the_models_answers_is_drift_and_is_named(own, upgraded):
    with sqlml.connect(own) as connection:
        found = sqlml.verify(connection, "churn", model_env=str(upgraded))
        stored = connection.execute("SELECT passed FROM sqlml.parity ORDER BY checked_at").fetchall()
    assert {name for name, check in checks(found).items() if not check.passed} == {"answers", "parity"}
    assert "otherwise than at deployment" in checks(found)["answers"].detail
    assert "-> 99.0" in checks(found)["answers"].detail
    assert checks(found)["functions"].passed  # SQL says what the model said then
    assert stored == [(True,), (False,)]


def test_another_model_in_its_place_is_drift(own, deployed, customer_rows, tmp_path):
    save_small_model(tmp_path / "other", customer_rows, 0.1)
    with sqlml.connect(own) as connection:
        connection.execute("UPDATE sqlml.versions SET reference = ?", [str(tmp_path / "other")])
        found = sqlml.verify(connection, "churn")
    assert not checks(found)["model"].passed
    assert "other files than were deployed" in checks(found)["model"].detail


def test_a_model_that_is_gone_is_no_drift_but_nothing_to_be_silent_about(own, tmp_path, capsys):
    with sqlml.connect(own) as connection:
        connection.execute("UPDATE sqlml.versions SET reference = ?", [str(tmp_path / "gone")])
        found = sqlml.verify(connection, "churn")
    assert found.passed
    assert not found.complete
    assert checks(found)["functions"].passed
    assert checks(found)["functions"].checked
    assert "could not be asked" in checks(found)["model"].detail
    assert cli.run(["verify", "churn", "--database", str(own)]) == exits.FAILED
    assert "NOT COMPARED" in capsys.readouterr().out


def test_verify_all_exits_with_4_when_one_of_several_has_drifted(own, deployed, capsys):
    with sqlml.connect(own) as connection:
        sqlml.deploy_db(connection, str(deployed / "model"), name="other")
    assert cli.run(["verify", "--all", "--database", str(own), "--json"]) == exits.DONE
    assert [one["deployment"] for one in json.loads(capsys.readouterr().out)] == ["churn", "other"]
    with sqlml.connect(own) as connection:
        connection.execute("CREATE OR REPLACE MACRO other.probability_v1(r) AS 0.5e0")
    assert cli.run(["verify", "--all", "--quick", "--database", str(own), "--json"]) == exits.DRIFTED == 4
    assert [one["passed"] for one in json.loads(capsys.readouterr().out)] == [True, False]


def test_a_database_that_may_only_be_read_is_verified_all_the_same(own):
    with sqlml.connect(own, read_only=True) as connection:
        found = sqlml.verify(connection, "churn")
        assert found.complete
        assert found.passed, found.checks
        assert connection.execute("SELECT count(*) FROM sqlml.parity").fetchone() == (1,)


def test_rows_that_came_later_are_among_those_compared(own):
    with sqlml.connect(own) as connection:
        connection.execute(
            "UPDATE customers SET contract = 'Weekly' WHERE customer_id IN (SELECT customer_id FROM customers LIMIT 5)"
        )
        sqlml.score(connection, "churn")
        found = sqlml.verify(connection, "churn")
        [(evidence,)] = connection.execute(
            "SELECT evidence FROM sqlml.parity ORDER BY checked_at DESC LIMIT 1"
        ).fetchall()
    assert found.passed, found
    assert json.loads(evidence)["by_kind"]["sample"] == {"compared": 300}


def test_a_deployment_of_before_answers_were_kept_gets_them_now(own):
    with sqlml.connect(own) as connection:
        connection.execute("UPDATE sqlml.parity SET recorded = NULL")
        first = sqlml.verify(connection, "churn")
        second = sqlml.verify(connection, "churn")
    assert "functions" not in checks(first)
    assert first.passed
    assert first.complete
    assert checks(second)["functions"].passed


def test_quick_needs_nothing_but_the_database(own, tmp_path):
    with sqlml.connect(own) as connection:
        connection.execute("UPDATE sqlml.versions SET reference = ?", [str(tmp_path / "gone")])
        found = sqlml.verify(connection, "churn", original=False)
    assert found.passed
    assert found.complete
    assert "functions" in checks(found)
    assert "model" not in checks(found)
