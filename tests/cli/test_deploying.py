"""The commands around a deployment, end to end, on the demo's data and registry."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sqlml import cli
from sqlml.cli import exits


def sqlml(*arguments: str) -> int:
    return cli.run(list(arguments))


@pytest.fixture(scope="session")
def template(registered: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse, settings, and `churn` v1 deployed through the command line."""
    import duckdb

    from sqlml.demo.customers import customers

    folder = tmp_path_factory.mktemp("warehouse")
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.register("loaded", customers().head(500))
        connection.execute("CREATE TABLE customers AS FROM loaded")
    settings = (
        f'database = "warehouse.duckdb"\ntracking_uri = "{registered.uri}"\n'
        '[deployments.churn]\ntable = "customers"\nkey = "customer_id"\n'
    )
    (folder / "sqlml.toml").write_text(settings, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sqlml("deploy", "churn:Production") == exits.DONE
    return folder


@pytest.fixture
def warehouse(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template, as the working directory."""
    folder = shutil.copytree(template, tmp_path / "warehouse")
    monkeypatch.chdir(folder)
    return folder


def reported(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_settings_make_the_reference_enough_and_the_functions_work(
    warehouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT churn.predict(c) = s.prediction AS same, count(*) AS n FROM customers c JOIN churn.scored s USING (customer_id) GROUP BY 1"

    assert sqlml("sql", query, "--json") == exits.DONE

    assert reported(capsys) == [{"same": True, "n": 500}]


def test_status_and_history(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("status", "--json", "--check") == exits.DONE
    (status,) = reported(capsys)
    assert sqlml("status", "churn", "--history", "--json") == exits.DONE
    events = reported(capsys)
    assert sqlml("status") == exits.DONE
    text = capsys.readouterr().out

    assert (status["name"], status["active_version"], status["predictions"]) == ("churn", 1, 500)
    assert [event["action"] for event in events] == ["activate", "stage"]
    assert "churn v1, churn v1 (alias Production)" in text


def test_drift_exits_with_4(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("verify", "churn") == exits.DONE
    assert sqlml("sql", "DROP VIEW churn.scored") == exits.DONE

    assert sqlml("status", "--check") == exits.DRIFTED
    assert sqlml("verify", "churn", "--json") == exits.DRIFTED
    captured = capsys.readouterr().out
    assert "DIFFERS" not in captured.split("[\n")[-1]
    assert '"passed": false' in captured


def test_a_source_row_that_changes_is_scored_again(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("sql", "UPDATE customers SET tenure = tenure + 1 WHERE customer_id <= 3") == exits.DONE
    capsys.readouterr()

    assert sqlml("score", "churn", "--json") == exits.DONE
    (scored,) = reported(capsys)
    assert sqlml("score", "--all-deployments") == exits.DONE

    assert (scored["rows"], scored["unchanged"]) == (3, 497)
    assert "churn v1: 0 rows scored, 500 unchanged" in capsys.readouterr().out


def test_scoring_elsewhere(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--from", "customers", "--key", "customer_id", "--where", "tenure > 60", "--to", "out.parquet")
    assert sqlml("score", "churn", *arguments) == exits.DONE
    capsys.readouterr()

    assert sqlml("sql", "SELECT count(*) AS n, count(prediction) AS p FROM 'out.parquet'", "--json") == exits.DONE
    (row,) = reported(capsys)
    assert row["n"] == row["p"] > 0


def test_plan_says_everything_and_changes_nothing(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (warehouse / "warehouse.duckdb").read_bytes()

    assert sqlml("plan", "churn:1", "--threshold", "0.3") == exits.DONE
    text = capsys.readouterr().out
    assert sqlml("plan", "churn:1", "--threshold", "0.3", "--sql") == exits.DONE
    statements = capsys.readouterr().out

    assert "churn v2" in text
    assert "tenure" in text
    assert "CREATE" in statements
    assert all(line.startswith(("CREATE", "DROP", " ", ")")) or line for line in statements.splitlines())
    assert (warehouse / "warehouse.duckdb").read_bytes() == before


def test_a_second_version_diff_rollback_and_undeploy(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("deploy", "churn:1", "--threshold", "0.3", "--why", "more careful", "--json") == exits.DONE
    deployed = reported(capsys)
    assert sqlml("diff", "churn", "v1", "2", "--json") == exits.DONE
    difference = reported(capsys)
    assert sqlml("diff", "churn", "1", "2") == exits.DONE
    text = capsys.readouterr().out
    assert sqlml("rollback", "churn", "--json") == exits.DONE
    rolled_back = reported(capsys)
    assert sqlml("undeploy", "churn", "--json") == exits.DONE
    undeployed = reported(capsys)

    assert (deployed["name"], deployed["version"]) == ("churn", 2)
    assert difference["flipped"] > 0
    assert f"{difference['flipped']} of 500 predictions change" in text
    assert (rolled_back["from_version"], rolled_back["to_version"]) == (2, 1)
    assert any("predictions_v1" in kept for kept in undeployed["kept"])
    assert sqlml("status", "churn") == exits.REFUSED


def test_lineage_in_its_three_forms(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("churn",), ("churn", "--key", "7"), ("--column", "customers.tenure")):
        assert sqlml("lineage", *arguments, "--json") == exits.DONE
        assert reported(capsys)
        assert sqlml("lineage", *arguments) == exits.DONE
        assert "churn" in capsys.readouterr().out
    assert sqlml("lineage", "churn", "--key", "999999") != exits.DONE
    for form, begins in (("mermaid", "flowchart"), ("dot", "digraph"), ("html", "<!DOCTYPE"), ("json", "{")):
        assert sqlml("lineage", "churn", "--format", form) == exits.DONE
        assert capsys.readouterr().out.startswith(begins)
    assert sqlml("lineage", "churn", "--key", "7", "--format", "html") == exits.USAGE


def test_jobs_and_their_lines(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("logs", "--json") == exits.DONE
    (job,) = reported(capsys)
    assert sqlml("logs", job["id"][:8], "--follow") == exits.DONE
    lines = capsys.readouterr().out.splitlines()
    assert sqlml("logs", "nonsense") == exits.USAGE

    assert (job["kind"], job["state"], job["deployment"]) == ("deploy", "done", "churn")
    assert any("parity" in line for line in lines)


def test_publishing(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import duckdb

    assert sqlml("publish", "readers.duckdb") == exits.DONE
    with duckdb.connect("readers.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(churn.predict(c)) FROM customers c").fetchall() == [(500,)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("deploy", "churn:9"), exits.FAILED, "churn has no alias, stage or version '9'"),
        (("deploy", "churn:1", "--table", "custmers"), exits.REFUSED, "customers"),
        (("deploy", "churn:1", "--key", "contract"), exits.REFUSED, "contract"),
        (("deploy", "churn:1", "--name", "main"), exits.REFUSED, "main"),
        (("score", "chrun"), exits.REFUSED, "'churn'"),
        (("rollback", "churn"), exits.REFUSED, "No version of churn was active before v1."),
        (("rollback", "churn", "--to", "7"), exits.REFUSED, "7"),
        (("diff", "churn", "1", "5"), exits.REFUSED, "5"),
        (("deploy", "churn:1", "--threshold", "3"), exits.USAGE, "A threshold is a probability"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_exit_code(
    warehouse: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert sqlml(*arguments) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_pickle_is_refused_where_the_settings_say_so(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SQLML_ALLOW_PICKLE", "0")

    assert sqlml("check", "churn:1") == exits.REFUSED
    assert "pickle" in capsys.readouterr().out
    assert sqlml("deploy", "churn:2") == exits.REFUSED


def test_check_of_a_whole_registry(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("check", "--all", "--json") == exits.DONE
    assert [(result["model"], result["works"]) for result in reported(capsys)] == [
        ("churn v1 (version 1)", True),
        ("churn v2 (version 2)", True),
    ]


def test_a_model_table_is_made_and_followed(
    registered: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sqlml.demo.customers import FEATURES, customers

    where = ("--database", str(tmp_path / "w.duckdb"))
    assert sqlml("deploy", "churn:1", "--key", "id BIGINT", "--tracking-uri", registered.uri, *where) == exits.DONE
    customers().head(3).to_parquet(tmp_path / "new.parquet")
    insert = f"INSERT INTO churn.inputs BY NAME SELECT customer_id AS id, {', '.join(FEATURES)} FROM '{tmp_path}/new.parquet'"
    assert sqlml("sql", insert, *where) == exits.DONE
    capsys.readouterr()

    assert sqlml("sql", "SELECT id, prediction IS NOT NULL AS p FROM churn.current ORDER BY id", "--json", *where) == 0
    assert reported(capsys) == [{"id": 1, "p": True}, {"id": 2, "p": True}, {"id": 3, "p": True}]


@pytest.mark.parametrize("phase", ["convert", "compile", "apply"])
def test_ctrl_c_leaves_nothing_behind(warehouse: Path, capsys: pytest.CaptureFixture[str], phase: str) -> None:
    command = [sys.executable, "-c", "from sqlml.cli import main; main()", "deploy", "churn:2", "--name", "other"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if f"  {phase}  " in line)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait() == exits.INTERRUPTED
        assert "Interrupted: nothing partial was kept." in rest
        assert "Traceback" not in rest

    assert sqlml("status", "--json", "--check") == exits.DONE
    assert [status["name"] for status in reported(capsys)] == ["churn"]
    assert (
        sqlml("sql", "SELECT count(*) AS n FROM duckdb_schemas() WHERE schema_name = 'other'", "--json") == exits.DONE
    )
    assert reported(capsys) == [{"n": 0}]
    assert sqlml("logs", "--json") == exits.DONE
    assert reported(capsys)[0]["state"] == "interrupted"
