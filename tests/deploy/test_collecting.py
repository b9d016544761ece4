"""gc: only what nothing needs goes, all of it is told before and after, and it can be brought back."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlml
from sqlml import cli, jobs, sql
from sqlml.catalog import leases, recalls, records
from sqlml.errors import Conflict, DatabaseError, NotDeployed, UsageError
from sqlml.retention import Retention
from tests.deploy.faults import FaultyConnection, InjectedFault
from tests.deploy.test_faults import copied
from tests.deploy.test_keep import HOSTILE

pytestmark = pytest.mark.usefixtures("converted")
NAME = "my model"
NOTHING_KEPT = Retention(keep_versions=0)
FAULTS = 8
GONE = {(number, part) for number in (1, 2) for part in ("predictions", "inputs", "bytes")}


def deploy(connection: Any, model: str, threshold: float, **more: Any) -> Any:
    arguments = {"name": NAME, "table": "people", "key": ("shop", "id"), "keep": "inputs"} | more
    return sqlml.deploy_db(connection, model, threshold=threshold, **arguments)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gc") / "ware house.duckdb"


@pytest.fixture
def built(start: Path) -> Path:
    """Versions 1 and 2 of one model and 3 and 4 of another; 4 is active, and 3 is where a rollback goes."""
    if not start.exists():
        with duckdb.connect(str(start)) as made:
            made.execute(HOSTILE)
            for model, threshold in (("churn:2", 0.2), ("churn:2", 0.3), ("churn:1", 0.4), ("churn:1", 0.5)):
                deploy(made, model, threshold)
    return start


@pytest.fixture
def connection(built: Path) -> Any:
    with copied(built) as opened:
        yield opened


def parts(found: Any) -> set[tuple[int, str]]:
    return {(r.version, r.part) for r in found}


def gc(connection: Any, retention: Any = NOTHING_KEPT, name: str | None = NAME, **more: Any) -> Any:
    return sqlml.gc(connection, name, retention=retention, **({"apply": True} | more))


def counts(connection: Any) -> dict[str, int]:
    names = "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
    return {
        f"{schema}.{table}": connection.execute(f"SELECT count(*) FROM {sql.quote_path(schema, table)}").fetchone()[0]
        for schema, table in connection.execute(names).fetchall()
    }


def outcomes(connection: Any, version: int | None = None) -> dict[int, Any]:
    found = sqlml.replay(connection, NAME, all_rows=True, version=version)
    return {one.version: one.skipped or one.outcomes for one in found.versions}


def test_a_dry_run_tells_what_would_go_and_changes_nothing(connection: Any, built: Path) -> None:
    before = counts(connection)
    told = gc(connection, apply=False)
    assert counts(connection) == before
    assert (told.applied, parts(told.removed)) == (False, GONE)
    assert {r.rows for r in told.removed if r.part != "bytes"} == {8}
    assert {s.version: s.why for s in told.spared} == {3: "a rollback goes back to it", 4: "it is the active version"}
    with duckdb.connect(str(built), read_only=True) as reader:
        assert parts(gc(reader, apply=False).removed) == GONE
        with pytest.raises(DatabaseError, match="read-only"):
            gc(reader)


def test_what_went_is_said_wherever_it_is_missed_and_the_rest_is_whole(connection: Any) -> None:
    before = counts(connection)
    done = gc(connection, why="the quarter is closed")
    assert parts(done.removed) == GONE
    after = counts(connection)
    changed = {table for table in before if before[table] != after[table]}
    emptied = {f"{NAME}.{table}_v{number}" for table in ("predictions", "inputs") for number in (1, 2)}
    assert changed == emptied | {
        "sqlml.models",
        "sqlml.turning_points",
        "sqlml.history",
        "sqlml.jobs",
        "sqlml.collected",
    }
    assert after["sqlml.models"] == before["sqlml.models"] - 1
    assert after["sqlml.turning_points"] == before["sqlml.turning_points"] / 2
    assert all(after[table] > before[table] for table in ("sqlml.history", "sqlml.jobs", "sqlml.collected"))

    [status] = sqlml.status(connection, NAME)
    assert status.problems == ()
    assert [f"gc at {records.now():%Y-}" in said for said in status.versions] == [True, True, False, False]
    assert sqlml.verify(connection, NAME, original=False).passed
    found = outcomes(connection)
    assert all("collected by gc" in found[number] for number in (1, 2))
    assert all(found[number] == {"equal": 8} for number in (3, 4))
    with pytest.raises(UsageError, match=r"collected by gc at .* by "):
        sqlml.diff(connection, NAME, 1, 4)
    with pytest.raises(NotDeployed, match="collected by gc") as refused:
        sqlml.rollback(connection, NAME, to=1)
    assert "--name 'my model'" in (refused.value.hint or "")
    with pytest.raises(NotDeployed, match="collected by gc"):
        sqlml.why(connection, NAME, ("Zürich", 1), version=1)
    assert records.deployment(connection, NAME).active_version == 4
    events = [(e.from_version, e.why) for e in sqlml.history(connection, NAME) if e.action == "gc"]
    assert events == [(2, "the quarter is closed"), (1, "the quarter is closed")]
    assert gc(connection).removed == ()
    assert counts(connection)["sqlml.history"] == after["sqlml.history"]
    assert sqlml.rollback(connection, NAME).to_version == 3
    assert not sqlml.forget(connection, NAME, ("Zürich", 9)).rows
    sqlml.undeploy(connection, NAME, drop_predictions=True)


def test_deploying_it_again_brings_back_the_very_version(connection: Any) -> None:
    bodies = "SELECT function_name, macro_definition FROM duckdb_functions() WHERE schema_name = ? ORDER BY ALL"
    before = connection.execute(bodies, [NAME]).fetchall()
    gc(connection)
    again = deploy(connection, "churn:2", 0.2)
    assert (again.version, again.state, again.scored.rows) == (1, "active", 8)
    assert outcomes(connection, 1) == {1: {"equal": 8}}
    deploy(connection, "churn:2", 0.3, shadow=True)
    assert sqlml.status(connection, NAME)[0].problems == ()
    assert [v.split(" (")[0] for v in sqlml.status(connection, NAME)[0].versions] == [
        "v1 active",
        "v2 shadow",
        "v3 retired",
        "v4 retired",
    ]
    sqlml.rollback(connection, NAME, to=4)
    assert connection.execute(bodies, [NAME]).fetchall() == before
    left = connection.execute("SELECT DISTINCT version FROM sqlml.collected WHERE restored_at IS NULL").fetchall()
    assert left == []


def test_a_version_without_predictions_is_scored_before_anybody_reads_it(connection: Any) -> None:
    assert parts(gc(connection, Retention(0, parts=("predictions",))).removed) == {
        (1, "predictions"),
        (2, "predictions"),
    }
    assert "collected by gc" in outcomes(connection)[1]
    kept = gc(connection, Retention(0, parts=("bytes",)))
    assert kept.removed == ()
    assert "its inputs stay, and are replayed with them" in {s.why for s in kept.spared}
    phases: list[str] = []
    sqlml.rollback(connection, NAME, to=1, listener=lambda line: phases.append(line.phase))
    assert phases.index("score") < phases.index("switch")
    assert connection.execute('SELECT count(*) FROM "my model".current').fetchone() == (8,)
    assert outcomes(connection, 1) == {1: {"equal": 8}}


@pytest.mark.parametrize(
    ("statement", "reader"),
    [
        ('CREATE VIEW report AS SELECT * FROM "my model".predictions_v1', "the view main.report reads it"),
        ('CREATE MACRO old(r) AS "my model".predict_v1(r)', "the function main.old reads it"),
        ('CREATE VIEW "my model".mine AS FROM "MY MODEL".inputs_v1', "the view my model.mine reads it"),
        ('CREATE VIEW "my model".mine AS FROM inputs_v1', "the view my model.mine reads it"),
    ],
)
def test_what_others_read_stays(connection: Any, statement: str, reader: str) -> None:
    connection.execute(statement)
    done = gc(connection)
    assert (1, None, reader) in {(s.version, s.part, s.why) for s in done.spared}
    assert parts(done.removed) == {(2, "predictions"), (2, "inputs")}  # the model is that of version 1 too
    assert "my model v1 has the same model" in {s.why for s in done.spared}
    assert outcomes(connection, 1) == {1: {"equal": 8}}


def test_what_is_recalled_stays_until_that_is_undone(connection: Any) -> None:
    mark = recalls.Mark(NAME, 1, None, records.now(), "run", "r1", False, None, "ana", str(uuid.uuid4()))
    recalls.append(connection, "recall", mark, why=None, who="ana", job_id=None)
    assert {r.version for r in gc(connection).removed} == {2}
    assert any("recalled" in s.why for s in gc(connection).spared if s.version == 1)
    recalls.append(connection, "undo", mark, why=None, who="ana", job_id=None)
    assert parts(gc(connection).removed) == {(1, "predictions"), (1, "inputs"), (1, "bytes"), (2, "bytes")}


def test_policies_say_which_and_for_how_long(connection: Any) -> None:
    assert parts(gc(connection, Retention(keep_versions=1)).removed) == {(1, "predictions"), (1, "inputs")}
    assert gc(connection, Retention(keep_versions=1, older_than="90d")).removed == ()
    assert gc(connection, Retention(older_than="1h")).removed == ()
    connection.execute("UPDATE sqlml.history SET happened_at = happened_at - INTERVAL 91 DAY WHERE to_version < 4")
    connection.execute(  # version 3 took over from 2 then
        "UPDATE sqlml.history SET happened_at = happened_at - INTERVAL 1 DAY WHERE to_version < 3"
    )
    assert {r.version for r in gc(connection, Retention(older_than="92d")).removed} == set()
    assert {r.version for r in gc(connection, {NAME: Retention(older_than="91d")}, None).removed} == {1, 2}
    for wrong in ({}, {"keep_versions": -1}, {"older_than": "soon"}, {"keep_versions": 1, "parts": ("history",)}):
        with pytest.raises(UsageError):
            Retention(**wrong)  # type: ignore[arg-type]
    with pytest.raises(NotDeployed, match="no deployment 'others'"):
        gc(connection, name="others")


def labelled(connection: Any) -> Any:
    """Labels of version 4, which is active."""
    moment = "(SELECT happened_at + INTERVAL 1 SECOND FROM sqlml.history WHERE to_version = 4 AND action = 'activate')"
    connection.execute(
        f"UPDATE sqlml.history SET happened_at = happened_at - INTERVAL 1 HOUR; UPDATE"
        f' "my model".predictions_v4 SET scored_at = scored_at - INTERVAL 2 HOUR; CREATE TABLE outcomes AS'
        f" SELECT shop, id, 'Yes' AS churned, {moment} AS seen_at FROM people"
    )
    return label(connection)


def label(connection: Any) -> Any:
    return sqlml.label(connection, NAME, "outcomes", key=["shop", "id"], label="churned", at="seen_at")


def test_labels_go_only_where_they_are_named(connection: Any) -> None:
    labelled(connection)
    deploy(connection, "churn:2", 0.6)
    deploy(connection, "churn:2", 0.7)
    assert (4, "labels") not in parts(gc(connection, apply=False).removed)
    done = gc(connection, Retention(0, parts=("labels",)))
    assert parts(done.removed) == {(4, "labels")}
    assert connection.execute('SELECT count(*) FROM "my model".labels').fetchone() == (0,)


def test_labels_that_are_joined_again_are_back(connection: Any) -> None:
    labelled(connection)
    deploy(connection, "churn:2", 0.6)
    deploy(connection, "churn:2", 0.7)
    gc(connection, Retention(0, parts=("labels",)))
    assert "labels collected by gc" in sqlml.status(connection, NAME)[0].versions[3]
    assert label(connection).versions == {4: 8}
    assert sqlml.status(connection, NAME)[0].versions[3] == "v4 retired"

    gc(connection, Retention(0, parts=("predictions", "labels")))
    again = label(connection)
    assert (again.added, again.left_out) == (0, {"predictions of then are gone": 8})
    assert "predictions, labels collected by gc" in sqlml.status(connection, NAME)[0].versions[3]


def test_labels_of_an_undeployed_deployment_go_with_their_table(connection: Any) -> None:
    labelled(connection)
    sqlml.undeploy(connection, NAME)
    gc(connection)
    deploy(connection, "churn:1", 0.5)
    assert parts(gc(connection, Retention(0, parts=("labels",))).removed) == {(4, "labels")}
    label(connection)  # the views of the new deployment read the table, which is empty
    assert parts(gc(connection, Retention(0, parts=("labels",))).removed) == set()
    assert sqlml.status(connection, NAME)[0].problems == ()
    sqlml.undeploy(connection, NAME)
    gc(connection, Retention(0, parts=("predictions", "inputs", "bytes", "labels")))
    assert not connection.execute("SELECT 1 FROM duckdb_schemas() WHERE schema_name = ?", [NAME]).fetchall()


def test_of_an_undeployed_deployment_nothing_is_left_but_what_is_known_of_it(connection: Any) -> None:
    sqlml.deploy_db(connection, "churn:1", name="other", table="people", key=("shop", "id"))
    sqlml.undeploy(connection, NAME)
    done = gc(connection, name=None)
    assert {r.deployment for r in done.removed} == {NAME}
    assert {(r.version, r.part) for r in done.removed if r.part == "bytes"} == {(1, "bytes"), (2, "bytes")}
    assert not [name for name in counts(connection) if name.startswith(NAME)]
    assert not connection.execute("SELECT 1 FROM duckdb_schemas() WHERE schema_name = ?", [NAME]).fetchall()
    assert connection.execute("SELECT count(*) FROM sqlml.scorings WHERE deployment = ?", [NAME]).fetchone()[0] > 0
    assert sqlml.verify(connection, "other", original=False).passed
    assert gc(connection, name=None).removed == ()


def test_nothing_goes_beside_another_job_nor_bytes_beside_a_deployment(connection: Any) -> None:
    with leases.lease(connection, NAME, "score-1"):
        with pytest.raises(Conflict, match="score-1"):
            gc(connection)
        assert gc(connection, name=None).waiting == (NAME,)
    with leases.lease(connection, "another", "deploy-1"):
        done = gc(connection)
        assert {r.part for r in done.removed} == {"predictions", "inputs"}
    assert {r.part for r in gc(connection).removed} == {"bytes"}


def test_a_deployment_waits_while_model_bytes_are_removed(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SECONDS_FOR_BYTES", 0.1)
    with leases.lease(connection, leases.MODEL_BYTES, "gc-1"), pytest.raises(Conflict, match="gc-1"):
        deploy(connection, "churn:2", 0.8)
    assert deploy(connection, "churn:2", 0.8).version == 5


@pytest.mark.faults
def test_a_fault_at_any_statement_leaves_whole_versions_and_the_next_gc_ends_it(built: Path) -> None:
    with copied(built) as connection:
        gc(counting := FaultyConnection(connection, None))
        whole = counts(connection)
    for fail_at in range(3, counting.counter[0] + 1, counting.counter[0] // FAULTS):
        with copied(built) as again:
            try:
                gc(FaultyConnection(again, fail_at))
            except InjectedFault:
                stored = counts(again)
                for number in (1, 2):  # all of a version went, or nothing
                    held = {stored[f"{NAME}.{table}_v{number}"] for table in ("predictions", "inputs")}
                    functions = again.execute(
                        "SELECT count(*) FROM duckdb_functions() WHERE function_name = ?", [f"predict_v{number}"]
                    ).fetchone()
                    assert (held, functions[0] > 0) in (({8}, True), ({0}, False)), (fail_at, number)
                assert sqlml.status(again, NAME)[0].problems == ()
                gc(again)
            ended = counts(again)
            assert {t: n for t, n in ended.items() if t != "sqlml.jobs"} == {
                t: n for t, n in whole.items() if t != "sqlml.jobs"
            }, fail_at


def test_the_command_line_tells_first_and_removes_when_it_is_told_to(
    connection: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()[0]
    connection.close()
    monkeypatch.chdir(tmp_path)
    assert cli.run(["gc", "-d", path]) == 2
    assert "--keep-versions" in capsys.readouterr().err
    (tmp_path / "sqlml.toml").write_text(f'[deployments."{NAME}"]\nkeep_versions = 0\n')
    assert cli.run(["gc", "-d", path]) == 0
    said = capsys.readouterr().out
    assert "would go" in said
    assert "--apply removes it" in said
    assert cli.run(["gc", NAME, "-d", path, "--apply", "--keep-versions", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(r["version"], r["part"]) for r in found["removed"]} == GONE
    assert found["after"]["file"] >= found["after"]["free"]
    assert cli.run(["gc", NAME, "-d", path, "--apply", "--older-than", "1h"]) == 0
    assert "Nothing was removed." in capsys.readouterr().out
    assert jobs.user() in found["removed"][0]["deployment"] or found["job_id"].startswith("gc-")
