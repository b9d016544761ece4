"""--engine pyfunc: a model that cannot become SQL fills a prediction table, and everything else is as with any engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import sqlml
from sqlml.errors import (
    ArtifactError,
    ModelEnvironmentRefused,
    ParityFailed,
    PolicyRefused,
    UnsupportedModel,
    UsageError,
    WorkerError,
)
from tests.deploy.pyfuncs import INPUTS, outputs, save

DOUBLE_THE_AGE = "return rows['age'].to_numpy() * 2 + rows['visits'].to_numpy()"


@pytest.fixture
def shop(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """300 visitors in no order, the columns in another one than the model's, with NULLs and an infinite age."""
    connection = sqlml.connect(tmp_path / "warehouse.duckdb")
    connection.execute(
        "CREATE TABLE visitors AS SELECT CASE WHEN id % 10 = 0 THEN NULL ELSE 'plan ' || id % 3 END AS plan, id,"
        " (id % 7)::INTEGER AS visits, CASE WHEN id % 13 = 0 THEN NULL WHEN id = 5 THEN 'inf'::DOUBLE ELSE id / 4 END AS age"
        " FROM range(300) t(id) ORDER BY hash(id)"
    )
    yield connection
    connection.close()


def deploy(connection: duckdb.DuckDBPyConnection, model: Path, **more: object) -> sqlml.Deployed:
    given = {"name": "shop", "table": "visitors", "key": "id", "engine": "pyfunc", "model_env": "current", **more}
    return sqlml.deploy_db(connection, str(model), **given)


def test_predictions_are_the_models_own_for_every_row(shop, tmp_path):
    deployed = deploy(shop, save(tmp_path / "model", DOUBLE_THE_AGE, input_example=INPUTS))

    stored = shop.execute(
        "SELECT c.prediction, c.error, v.age * 2 + v.visits FROM shop.current c JOIN visitors v USING (id) ORDER BY id"
    ).fetchall()
    assert len(stored) == 300
    answered = [(got, expected) for got, _, expected in stored if expected is not None]
    assert all(got == expected for got, expected in answered)
    # pandas has one missing number: the model gives NaN for it, as it would in Python.
    assert [row for row in stored if row[2] is None and str(row[0]) != "nan"] == []
    assert {error for _, error, _ in stored} == {None}
    assert "no shell can call it" in deployed.sentence().lower()
    assert "no second implementation" in deployed.evidence


def test_it_has_the_columns_stamps_and_provenance_of_other_engines_and_no_functions(shop, tmp_path):
    model = save(tmp_path / "model", DOUBLE_THE_AGE)
    deployed = deploy(shop, model)

    columns = shop.execute("DESCRIBE shop.current").fetchall()
    assert [(name, kind) for name, kind, *_ in columns] == [
        ("id", "BIGINT"),
        ("prediction", "DOUBLE"),
        ("error", "VARCHAR"),
        ("input_hash", "UBIGINT"),
        ("scoring_id", "UUID"),
        ("scored_at", "TIMESTAMP"),
        ("deployment_version", "INTEGER"),
        ("recalled_at", "TIMESTAMP"),
    ]
    functions = shop.execute("SELECT function_name FROM duckdb_functions() WHERE schema_name = 'shop' ORDER BY ALL")
    assert functions.fetchall() == [("why",), ("why_v1",)]
    why = shop.execute(
        "SELECT section, note FROM shop.why(5) WHERE section IN ('contribution', 'input then')"
    ).fetchall()
    assert ("contribution", "A python_function says what it predicts, and not of what.") in why
    assert ("input then", "unchanged since: the hash is the same") in why
    engine, sha256, artifact, scored = shop.execute(
        "SELECT engine, model_sha256, artifact_sha256, rows_scored FROM sqlml.versions v JOIN sqlml.scorings s"
        " ON s.deployment = v.deployment WHERE s.scoring_id = (SELECT any_value(scoring_id) FROM shop.current)"
    ).fetchone()
    assert (engine, sha256, scored) == ("pyfunc", artifact, 300)
    passed, compared, evidence = shop.execute("SELECT passed, rows_compared, evidence FROM sqlml.parity").fetchone()
    assert passed
    outcomes = json.loads(evidence)["outcomes"]
    assert compared == outcomes["agrees"] + outcomes["raises"] == sum(outcomes.values())
    assert {edge[0] for edge in shop.execute("SELECT DISTINCT from_kind FROM sqlml.lineage").fetchall()} >= {
        "column",
        "feature",
        "model",
        "version",
    }
    assert deployed.engine == "pyfunc"
    assert sqlml.verify(shop, "shop").passed


def test_only_what_changed_is_asked_again_and_what_left_goes(shop, tmp_path):
    deploy(shop, save(tmp_path / "model", DOUBLE_THE_AGE))
    shop.execute("UPDATE visitors SET visits = 100 WHERE id < 10")
    shop.execute("DELETE FROM visitors WHERE id = 20")
    shop.execute("INSERT INTO visitors (id, age, visits, plan) VALUES (1000, 2, 3, 'basic')")

    again = sqlml.score(shop, "shop")
    unchanged = sqlml.score(shop, "shop")

    assert (again.rows, again.removed, again.unchanged) == (11, 1, 289)
    assert (unchanged.rows, unchanged.unchanged) == (0, 300)
    assert shop.execute("SELECT prediction FROM shop.current WHERE id = 1000").fetchone() == (7.0,)


def test_scoring_needs_neither_the_registry_nor_the_files_any_more(shop, tmp_path):
    model = save(tmp_path / "model", DOUBLE_THE_AGE)
    deploy(shop, model, score=False)
    for file in sorted(model.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()

    assert sqlml.score(shop, "shop").rows == 300


def test_files_that_somebody_changed_in_the_database_are_not_run(shop, tmp_path):
    deploy(shop, save(tmp_path / "model", DOUBLE_THE_AGE), score=False)
    shop.execute("UPDATE sqlml.model_files SET content = content || '\\x20'::BLOB WHERE path = 'MLmodel'")

    with pytest.raises(ArtifactError, match="damaged"):
        sqlml.score(shop, "shop")
    assert shop.execute("SELECT count(*) FROM shop.current").fetchone() == (0,)


def test_a_row_that_makes_the_model_raise_has_its_error_and_the_others_their_predictions(shop, tmp_path):
    predict = f"if (rows['visits'] == 6).any():\n    raise ValueError('six visits are too many')\n{DOUBLE_THE_AGE}"
    deployed = deploy(shop, save(tmp_path / "model", predict))

    found = shop.execute(
        "SELECT v.visits = 6, c.prediction IS NULL, c.error, count(*) FROM shop.current c JOIN visitors v USING (id)"
        " GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert found == [(False, False, None, 258), (True, True, "ValueError: six visits are too many", 42)]
    assert deployed.scored.failed == 42


def test_missing_values_arrive_as_pandas_has_them(shop, tmp_path):
    predict = "return [f'{a!r} {p!r} {v!r}' for a, p, v in zip(rows['age'], rows['plan'], rows['visits'])]"
    shop.execute("UPDATE visitors SET visits = NULL WHERE id = 1")
    deploy(shop, save(tmp_path / "model", predict))

    said = dict(shop.execute("SELECT id, coalesce(prediction, error) FROM shop.current").fetchall())
    assert said[0] == "nan None 0"
    assert said[2] == "0.5 'plan 2' 2"
    # MLflow's own schema check refuses a missing integer: the row's error is what it says anywhere.
    assert "Incompatible input types for column visits" in said[1]


@pytest.mark.parametrize(
    ("predict", "kind", "third"),
    [
        ("return rows[['visits']].to_numpy()", "BIGINT", 3),
        ("return [str(p) for p in rows['plan']]", "VARCHAR", "plan 0"),
        ("return rows['visits'] > 2", "BOOLEAN", True),
        ("return np.column_stack([rows['visits'], rows['visits'] * 0.5])", "STRUCT(target_0 DOUBLE, target_1 DOUBLE)", {"target_0": 3.0, "target_1": 1.5}),
        ("return pd.DataFrame({'n': rows['visits'], 'p': rows['plan']})", "STRUCT(n BIGINT, p VARCHAR)", {"n": 3, "p": "plan 0"}),
        ("return [{'n': int(v), 'x': None} for v in rows['visits']]", None, None),
        ("return rows['visits'].mean()", None, None),
        ("return [object()] * len(rows)", None, None),
    ],
)  # fmt: skip
def test_answers_of_every_shape_have_the_type_that_the_model_gives_them(shop, tmp_path, predict, kind, third):
    model = save(tmp_path / "model", predict)
    if kind is None:
        with pytest.raises(UnsupportedModel):
            deploy(shop, model)
        return
    deploy(shop, model)

    assert shop.execute("SELECT DISTINCT typeof(prediction) FROM shop.current").fetchone() == (kind,)
    assert shop.execute("SELECT prediction FROM shop.current WHERE id = 3").fetchone() == (third,)


def test_the_output_signature_names_and_types_the_predictions(shop, tmp_path):
    predict = "return np.column_stack([rows['visits'], rows['visits'] * 2])"
    deploy(shop, save(tmp_path / "model", predict, gives=outputs(once="double", twice="long")))

    kinds = shop.execute("SELECT DISTINCT typeof(prediction) FROM shop.current").fetchone()
    assert kinds == ("STRUCT(once DOUBLE, twice BIGINT)",)
    with pytest.raises(UnsupportedModel, match="declares once DOUBLE"):
        deploy(shop, save(tmp_path / "other", "return rows['visits']", gives=outputs(once="double", twice="long")))


def test_answers_of_another_type_than_before_stop_the_scoring_and_are_named(shop, tmp_path):
    shop.execute("UPDATE visitors SET age = NULL WHERE age = 'inf'::DOUBLE")
    predict = "return rows['visits'].to_numpy() if (rows['age'].fillna(0) < 1000).all() else rows['plan']"
    deploy(shop, save(tmp_path / "model", predict))
    before = shop.execute("FROM shop.current ORDER BY id").fetchall()
    shop.execute("INSERT INTO visitors (id, age, visits, plan) VALUES (5000, 2000, 1, 'pro')")

    with pytest.raises(UnsupportedModel, match="VARCHAR here, and with BIGINT before"):
        sqlml.score(shop, "shop")
    assert shop.execute("FROM shop.current ORDER BY id").fetchall() == before
    assert "did not finish" in sqlml.status(shop)[0].problems[0]


@pytest.mark.parametrize(
    "predict",
    ["return rows['age'].rank().to_numpy()", "return np.random.default_rng().normal(size=len(rows))"],
    ids=["depends on the other rows", "is another one every time"],
)
def test_a_model_that_contradicts_itself_is_refused_with_the_evidence(shop, tmp_path, predict):
    with pytest.raises(ParityFailed, match="contradicts itself") as refused:
        deploy(shop, save(tmp_path / "model", predict))

    assert refused.value.details["evidence"]["unstable"]
    assert sqlml.status(shop) == []


def test_the_network_is_closed_and_the_error_says_that_there_is_no_switch(shop, tmp_path):
    predict = "socket.create_connection(('localhost', 9), timeout=1)\nreturn rows['age']"
    with pytest.raises(UnsupportedModel, match=r"it has no network.*no switch"):
        deploy(shop, save(tmp_path / "model", predict))


def test_artifacts_code_paths_and_parameters_come_along(shop, tmp_path):
    (tmp_path / "factor.txt").write_text("3")
    (tmp_path / "helping").mkdir()
    (tmp_path / "helping" / "__init__.py").write_text("def added(value):\n    return value + 1000\n")
    model = save(
        tmp_path / "model",
        "from helping import added\nreturn added(rows['visits'] * self.factor) + params['shift']",
        load="self.factor = int(open(context.artifacts['factor']).read())",
        artifacts={"factor": str(tmp_path / "factor.txt")},
        code_paths=[str(tmp_path / "helping")],
        params={"shift": 7},
    )
    deploy(shop, model)

    assert shop.execute("SELECT bool_and(prediction = v.visits * 3 + 1007) FROM shop.current JOIN visitors v USING (id)").fetchone() == (True,)  # fmt: skip
    planned = sqlml.plan(shop, str(model), name="shop", engine="pyfunc", model_env="current")
    assert any("shift = 7" in note for note in planned.notes)
    assert any("No shell can call this model" in note for note in planned.notes)


def test_times_and_bytes_and_great_integers_are_exact(tmp_path):
    inputs = pd.DataFrame({"at": pd.to_datetime(["2020-01-01"]), "raw": [b"x"], "great": [1]})
    predict = (
        "return [f'{a.isoformat()} {bytes(r).hex()} {g}' for a, r, g in zip(rows['at'], rows['raw'], rows['great'])]"
    )
    model = save(tmp_path / "model", predict, inputs=inputs)
    with sqlml.connect(tmp_path / "t.duckdb") as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT * FROM (VALUES (1, TIMESTAMP '1969-07-20 20:17:40', '\\x00\\xFF'::BLOB, 9007199254740993),"
            " (2, TIMESTAMP '2020-02-29 00:00:00.000001', ''::BLOB, -9223372036854775808), (3, 'infinity'::TIMESTAMP, ''::BLOB, 0))"
            ' v(id, "at", raw, great)'
        )
        deploy(connection, model, table="t")
        said = connection.execute("SELECT prediction, error FROM shop.current ORDER BY id").fetchall()
        known = [sqlml.why(connection, "shop", key).inputs for key in (1, 2, 3)]

    assert [inputs.then_known for inputs in known] == ["by hash"] * 3
    assert [inputs.columns[1].then for inputs in known] == [b"\x00\xff", b"", b""]
    assert said[0] == ("1969-07-20T20:17:40 00ff 9007199254740993", None)
    assert said[1] == ("2020-02-29T00:00:00.000001  -9223372036854775808", None)
    assert said[2][0] is None
    assert said[2][1].startswith("at is not a time")


def test_without_a_signature_the_whole_table_is_given_to_the_model(shop, tmp_path):
    model = save(tmp_path / "model", "return [','.join(rows.columns)] * len(rows)", signature=False)
    deploy(shop, model)
    shop.execute("ALTER TABLE visitors ADD COLUMN later INTEGER")
    shop.execute("UPDATE visitors SET visits = 50 WHERE id = 1")

    assert sqlml.score(shop, "shop").rows == 1  # asked with the columns that it was deployed with
    assert shop.execute("SELECT DISTINCT prediction FROM shop.current").fetchall() == [("plan,visits,age",)]


def test_an_empty_table_is_deployed_by_the_input_example_alone(shop, tmp_path):
    shop.execute("CREATE TABLE nobody AS FROM visitors LIMIT 0")
    with pytest.raises(UnsupportedModel, match="no row to ask"):
        deploy(shop, save(tmp_path / "bare", DOUBLE_THE_AGE), table="nobody")
    deploy(shop, save(tmp_path / "model", DOUBLE_THE_AGE, input_example=INPUTS), table="nobody")
    shop.execute("INSERT INTO nobody FROM visitors WHERE id < 3")

    assert sqlml.score(shop, "shop").rows == 3


def test_a_model_that_never_answers_is_ended(shop, tmp_path):
    slow = save(tmp_path / "model", f"time.sleep(120 if (rows['age'] > 500).any() else 0)\n{DOUBLE_THE_AGE}")
    shop.execute("UPDATE visitors SET age = NULL WHERE age = 'inf'::DOUBLE")
    deploy(shop, slow)
    shop.execute("INSERT INTO visitors (id, age, visits, plan) VALUES (5000, 2000, 1, 'pro')")

    with pytest.raises(WorkerError, match="The model took more than 6 s"):
        sqlml.score(shop, "shop", policy=sqlml.Policy(timeout_s=6))
    assert shop.execute("SELECT count(*) FROM shop.current").fetchone() == (300,)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"live": True}, UsageError, "--live does not go with"),
        ({"threshold": 0.5}, UsageError, "--threshold does not go with"),
        ({"function": "predict"}, UsageError, "--as does not go with"),
        ({"table": None, "key": None}, UsageError, "needs a table"),
        ({"table": None, "key": "id BIGINT"}, UsageError, "live always"),
        ({"allow_pickle": False}, PolicyRefused, "SQLML_ALLOW_PICKLE=0"),
        ({"engine": "auto"}, UnsupportedModel, "arbitrary Python code cannot become SQL"),
    ],
)
def test_what_it_cannot_have_is_refused_with_a_sentence(shop, tmp_path, more, error, said):
    with pytest.raises(error, match=said) as refused:
        deploy(shop, save(tmp_path / "model", DOUBLE_THE_AGE), **more)
    if error is UnsupportedModel:
        assert "--engine pyfunc" in refused.value.hint
    assert sqlml.status(shop) == []


def test_rows_from_elsewhere_are_scored_to_elsewhere(shop, tmp_path):
    deploy(shop, save(tmp_path / "model", DOUBLE_THE_AGE), score=False)
    target = tmp_path / "out.parquet"

    scored = sqlml.score_to(shop, "shop", "visitors", str(target), key=["id"], where="id BETWEEN 1 AND 9")

    assert scored.rows == 9
    assert shop.execute(f"SELECT prediction FROM '{target}' WHERE id = 4").fetchone() == (6.0,)


def test_a_second_version_takes_over_and_the_first_comes_back(shop, tmp_path):
    deploy(shop, save(tmp_path / "one", DOUBLE_THE_AGE))
    second = deploy(shop, save(tmp_path / "two", "return rows['age'] + 1"))
    same = deploy(shop, tmp_path / "two")
    shop.execute("UPDATE visitors SET visits = 60 WHERE id = 4")

    back = sqlml.rollback(shop, "shop")

    assert (second.version, same.is_new, back.to_version, back.scored.rows) == (2, False, 1, 1)
    assert shop.execute("SELECT prediction, deployment_version FROM shop.current WHERE id = 4").fetchone() == (62.0, 1)
    assert sqlml.undeploy(shop, "shop").kept == ("shop.predictions_v1", "shop.predictions_v2")


SCORE = """
import sys
import sqlml

with sqlml.connect(sys.argv[1]) as connection:
    sqlml.score(connection, "shop", listener=lambda line: print(line.phase, line.details.get("batch"), flush=True))
"""


@pytest.mark.faults
def test_a_scoring_that_is_killed_leaves_whole_batches_and_no_process_and_goes_on(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    model = save(tmp_path / "model", "time.sleep(len(rows) / 50_000)\nreturn rows['visits'] * 2")
    with sqlml.connect(path) as connection:
        connection.execute(
            "CREATE TABLE visitors AS SELECT id, id / 2 AS age, 'pro' AS plan, id AS visits FROM range(60000) t(id)"
        )
        deploy(connection, model, score=False)
    environment = {**os.environ, "PYTHONPATH": str(Path(sqlml.__file__).parents[1])}
    scoring = subprocess.Popen(
        [sys.executable, "-c", SCORE, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert scoring.stdout is not None
    for line in scoring.stdout:
        if line == "score 1\n":
            break
    workers = Path(f"/proc/{scoring.pid}/task/{scoring.pid}/children").read_text().split()
    scoring.kill()
    scoring.communicate()

    with sqlml.connect(path) as connection:
        left = connection.execute(
            "SELECT count(*), count(DISTINCT id), bool_and(prediction = id * 2) FROM shop.current"
        ).fetchone()
        assert "did not finish" in sqlml.status(connection)[0].problems[0]
        rest = sqlml.score(connection, "shop")
        whole = connection.execute(
            "SELECT count(*), count(DISTINCT id), bool_and(prediction = id * 2) FROM shop.current"
        ).fetchone()
        assert sqlml.status(connection)[0].problems == ()
    assert workers
    assert not any(
        Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers
    )
    assert left[0] in (24_576, 49_152)
    assert left == (left[0], left[0], True)
    assert rest.rows == 60_000 - left[0]
    assert whole == (60_000, 60_000, True)


def test_where_it_is_asked_is_recorded(shop, tmp_path):
    """Which environment that is, tests/environments has everything about."""
    model = save(tmp_path / "model", "import cloudpickle\nreturn [cloudpickle.__version__] * len(rows)")
    (model / "requirements.txt").write_text("mlflow\ncloudpickle==3.0.0\n")

    with pytest.raises(ModelEnvironmentRefused):
        deploy(shop, model, model_env=str(tmp_path / "nowhere"))
    deploy(shop, model)
    recorded = shop.execute(
        "SELECT model_env, evidence FROM sqlml.versions JOIN sqlml.parity USING (deployment, version)"
    ).fetchone()

    assert recorded[0] == "current"
    assert "model environment" in json.loads(recorded[1])["versions"]
