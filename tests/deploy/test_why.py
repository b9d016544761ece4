"""`why`: everything behind one prediction, through deployments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

import sqlml
from sqlml import cli, reasoning
from sqlml.errors import NotDeployed, UsageError
from sqlml.reasoning import words
from tests.deploy.conftest import fill

pytestmark = pytest.mark.usefixtures("converted")

KEY = "2"


def deploy(connection: Any, model: str = "churn:1", **more: Any) -> None:
    sqlml.deploy_db(connection, model, **({"table": "customers", "key": "customer_id"} | more))


@pytest.fixture
def connection(customer_rows: object) -> Iterator[Any]:
    with duckdb.connect() as opened:
        fill(opened, customer_rows, 120)
        yield opened


def predicted(connection: Any, **changed: Any) -> Any:
    """What the deployed function says about customer 2 with something else in a column."""
    new = ", ".join(f"$${value}$$ AS {name}" for name, value in changed.items())
    replaced = f"* REPLACE ({new})" if new else "*"
    row = connection.execute(
        f"SELECT churn.predict_v1(c) FROM (SELECT {replaced} FROM customers WHERE customer_id = {KEY}) c"
    ).fetchone()
    return row[0]


def test_everything_behind_a_prediction_is_found(connection: Any) -> None:
    deploy(connection, why="the first one")
    found = sqlml.why(connection, "churn", KEY)
    label, yes, scoring = connection.execute(
        f'SELECT prediction, "probability_Yes", scoring_id::VARCHAR FROM churn.current WHERE customer_id = {KEY}'
    ).fetchone()
    sha, artifact = connection.execute("SELECT model_sha256, artifact_sha256 FROM sqlml.versions").fetchone()

    assert (found.prediction.value, found.prediction.score, found.prediction.scoring_id) == (label, yes, scoring)
    assert found.key == {"customer_id": 2}
    assert found.inputs.then_known == "by hash"
    assert {i.column: i.then for i in found.inputs.columns}["contract"] == "One year"
    assert all(i.changed is False for i in found.inputs.columns)
    sizes = [row.contribution for row in found.contributions.rows]
    assert found.contributions.unit == "log-odds"
    assert found.contributions.base + sum(sizes) == pytest.approx(found.contributions.score, rel=1e-12)
    assert sizes == sorted(sizes, key=abs, reverse=True)
    assert found.deployed["why"] == "the first one"
    assert [event["action"] for event in found.history] == ["stage", "activate"]
    assert found.parity["passed"]
    assert (found.model["sha256"], found.model["artifact_sha256"]) == (sha, artifact)
    assert found.scoring["kind"] == "full"


def test_the_answer_at_a_flip_and_one_step_before_it(connection: Any) -> None:
    deploy(connection)
    found = {flip.column: flip for flip in sqlml.why(connection, "churn", KEY).flips.columns}
    tenure = found["tenure"].value
    step = 1 if tenure > 34 else -1

    assert predicted(connection) == "No"
    assert predicted(connection, tenure=tenure) == found["tenure"].becomes == "Yes"
    assert predicted(connection, tenure=tenure - step) == "No"
    fee = found["monthly_charges"].value
    (before,) = connection.execute("SELECT nextafter($1::DOUBLE, 0::DOUBLE)", [fee]).fetchone()
    assert predicted(connection, monthly_charges=repr(fee)) == "Yes"
    assert predicted(connection, monthly_charges=repr(before)) == "No"
    assert all(flip.in_range is False for flip in found.values())


def test_inputs_of_then_are_those_that_were_kept(connection: Any) -> None:
    deploy(connection, keep="inputs")
    before = sqlml.why(connection, "churn", KEY)
    connection.execute(f"UPDATE customers SET tenure = 1, contract = 'Month-to-month' WHERE customer_id = {KEY}")
    found = sqlml.why(connection, "churn", KEY)
    inputs = {i.column: i for i in found.inputs.columns}

    assert found.inputs.then_known == "kept"
    assert (inputs["tenure"].then, inputs["tenure"].now, inputs["tenure"].changed) == (34, 1, True)
    assert inputs["monthly_charges"].changed is False
    assert found.inputs.now["probability_Yes"] > before.prediction.score == found.prediction.score
    assert found.contributions == before.contributions
    assert [(f.column, f.value) for f in found.flips.columns] == [(f.column, f.value) for f in before.flips.columns]


def test_what_was_shown_then_is_computed_again_from_kept_inputs(connection: Any) -> None:
    deploy(connection, keep="inputs")
    then = sqlml.why(connection, "churn", KEY)
    (moment,) = connection.execute("SELECT max(finished_at) FROM sqlml.scorings").fetchone()
    connection.execute(f"UPDATE customers SET tenure = 1, contract = 'Month-to-month' WHERE customer_id = {KEY}")
    sqlml.score(connection, "churn")
    now, past = sqlml.why(connection, "churn", KEY), sqlml.why(connection, "churn", KEY, as_of=moment)

    assert (now.prediction.stored, past.prediction.stored) == (True, False)
    assert now.prediction.score > past.prediction.score == then.prediction.score
    assert past.scoring == then.scoring
    assert past.inputs.columns[0].changed


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_kept_inputs_of_a_key_that_one_transaction_wrote_twice(connection: Any, deleted: int) -> None:
    """Both rows have one time, and rows that left move what is kept away from where its prediction is."""
    deploy(connection, keep="inputs", live=True)
    connection.execute(f"DELETE FROM customers WHERE customer_id > {120 - deleted}")
    connection.execute("BEGIN")
    for tenure in (5, 6):
        connection.execute(f"UPDATE customers SET tenure = {tenure} WHERE customer_id = {KEY}")
    connection.execute("COMMIT")
    found = sqlml.why(connection, "churn", KEY)

    assert {i.column: (i.then, i.now, i.changed) for i in found.inputs.columns}["tenure"] == (6, 6, False)
    assert found.inputs.now["prediction"] == found.prediction.value


def test_what_could_not_be_read_then_is_said(connection: Any) -> None:
    connection.execute("ALTER TABLE customers ALTER tenure TYPE DOUBLE")
    connection.execute(f"UPDATE customers SET tenure = 2.5 WHERE customer_id = {KEY}")
    deploy(connection, keep="inputs")
    (moment,) = connection.execute("SELECT max(finished_at) FROM sqlml.scorings").fetchone()
    then = sqlml.why(connection, "churn", KEY)
    connection.execute(f"UPDATE customers SET tenure = 12 WHERE customer_id = {KEY}")
    sqlml.score(connection, "churn")
    past = sqlml.why(connection, "churn", KEY, as_of=moment)

    assert then.prediction.error is not None
    assert "2.5" in then.prediction.error
    assert (past.prediction.stored, past.prediction.value, past.prediction.error) == (
        False,
        None,
        then.prediction.error,
    )
    assert (past.inputs.then_known, past.inputs.columns[0].then) == ("unknown", None)
    assert "2.5" in past.inputs.note
    assert past.contributions.of == past.flips.of == "now"
    assert then.inputs.columns[0].then == 2.5  # by its hash
    assert then.contributions.rows == then.flips.columns == ()


@pytest.mark.parametrize("keep", ["none", "hash", "inputs"])
@pytest.mark.parametrize("value", ["'inf'::DOUBLE", "'-inf'::DOUBLE", "'nan'::DOUBLE", "1e308", "2.5", "NULL"])
def test_a_value_that_gives_no_prediction_is_no_crash(connection: Any, keep: str, value: str) -> None:
    connection.execute("ALTER TABLE customers ALTER tenure TYPE DOUBLE")
    connection.execute("ALTER TABLE customers ALTER monthly_charges TYPE FLOAT")
    connection.execute(f"UPDATE customers SET tenure = {value} WHERE customer_id = {KEY}")
    deploy(connection, keep=keep)
    found = sqlml.why(connection, "churn", KEY)

    assert found.prediction.value is None
    assert found.flips.columns == found.contributions.rows == ()
    assert found.flips.evaluations == 0
    assert found.flips.note == "The row has no prediction that could change."
    connection.execute(f"UPDATE customers SET tenure = 12 WHERE customer_id = {KEY}")
    mended = sqlml.why(connection, "churn", KEY)
    sizes = {row.column: row.contribution for row in mended.contributions.rows}
    rows = connection.execute(f"SELECT item, number FROM churn.why({KEY}) WHERE section = 'contribution'").fetchall()
    if keep != "inputs" or found.inputs.then_known != "kept":
        assert mended.contributions.of == mended.flips.of == "now"
        assert sizes == {item: pytest.approx(n, rel=1e-9) for item, n in rows if not item.startswith("(")}


def test_rows_and_python_find_the_same_flips_to_the_last_bit(connection: Any) -> None:
    connection.execute("UPDATE customers SET monthly_charges = 1e12 WHERE customer_id = 5")
    deploy(connection)
    seen = 0
    for key in range(2, 14):
        flips = sqlml.why(connection, "churn", key).flips.columns
        near = {flip.column: str(flip.value) for flip in flips if flip.in_range and flip.exact}
        rows = connection.execute(
            f"SELECT item, value FROM churn.why({key}) WHERE section = 'flip' AND value IS NOT NULL AND note NOT LIKE '%beyond%'"
        ).fetchall()
        exactly = {item: value if near.get(item) == value else str(float(value)) for item, value in rows}
        assert exactly == near
        seen += len(near)
    assert seen > 5


def test_what_has_not_changed_to_the_model_is_not_called_changed(connection: Any) -> None:
    connection.execute("ALTER TABLE customers ALTER monthly_charges TYPE FLOAT")
    deploy(connection, keep="inputs")
    connection.execute("ALTER TABLE customers ALTER tenure TYPE DECIMAL(9, 3)")
    connection.execute(f"UPDATE customers SET contract = 'Two year' WHERE customer_id = {KEY}")
    changed = {i.column: i.changed for i in sqlml.why(connection, "churn", KEY).inputs.columns}
    rows = connection.execute(f"SELECT item, note FROM churn.why({KEY}) WHERE section = 'input now'").fetchall()

    assert {column for column, is_changed in changed.items() if is_changed} == {"contract"}
    assert {item for item, note in rows if note == "changed"} == {"contract"}


def test_a_key_of_several_columns_may_have_one_called_rowid(connection: Any) -> None:
    connection.execute("CREATE TABLE shifted AS SELECT customer_id % 3 AS rowid, customer_id AS id, * FROM customers")
    deploy(connection, table="shifted", key=["rowid", "id"])
    for key in (2, 5, 7):
        found = sqlml.why(connection, "churn", [key % 3, key])
        assert found.key == {"rowid": key % 3, "id": key}
        tenure = connection.execute(f"SELECT tenure FROM customers WHERE customer_id = {key}").fetchone()
        assert (found.inputs.columns[0].then,) == tenure


def test_a_source_may_have_a_column_called_rowid(connection: Any) -> None:
    connection.execute("CREATE TABLE with_rowid AS SELECT *, 119 - customer_id AS rowid FROM customers")
    deploy(connection, table="with_rowid")
    inputs = {i.column: i for i in sqlml.why(connection, "churn", KEY).inputs.columns}

    assert (inputs["tenure"].now, inputs["tenure"].changed) == (34, False)


def test_with_a_hash_alone_changed_inputs_are_called_unknown(connection: Any) -> None:
    deploy(connection)
    connection.execute(f"UPDATE customers SET tenure = 1 WHERE customer_id = {KEY}")
    found = sqlml.why(connection, "churn", KEY)

    assert found.inputs.then_known == "unknown"
    assert all(i.then is None and i.changed is None for i in found.inputs.columns)
    assert found.contributions.of == found.flips.of == "now"
    connection.execute(f"DELETE FROM customers WHERE customer_id = {KEY}")
    gone = sqlml.why(connection, "churn", KEY)
    assert gone.inputs.in_source is False
    assert gone.contributions.rows == gone.flips.columns == ()
    assert gone.contributions.note is not None


def test_a_row_without_a_prediction_says_why(connection: Any) -> None:
    connection.execute(f"UPDATE customers SET tenure = NULL WHERE customer_id = {KEY}")
    deploy(connection)
    found = sqlml.why(connection, "churn", KEY)

    assert found.prediction.value is None
    assert found.prediction.error is not None
    assert found.contributions.rows == found.flips.columns == ()
    assert found.prediction.error in "\n".join(reasoning.lines(found))


def test_a_key_that_is_not_there(connection: Any) -> None:
    deploy(connection)
    connection.execute("INSERT INTO customers SELECT * REPLACE (990 AS customer_id) FROM customers LIMIT 1")

    with pytest.raises(NotDeployed, match="customers has that row") as new:
        sqlml.why(connection, "churn", 990)
    assert new.value.details["in_source"] is True
    with pytest.raises(NotDeployed, match=r"customers has no such row\. The closest keys are 120") as missing:
        sqlml.why(connection, "churn", "991")
    assert missing.value.details["in_source"] is False
    with pytest.raises(NotDeployed, match="no prediction"):
        sqlml.why(connection, "churn", "12.5")
    with pytest.raises(UsageError, match="1 values, and 2 were given"):
        sqlml.why(connection, "churn", [1, 2])


def test_predictions_of_every_version(connection: Any) -> None:
    deploy(connection)
    deploy(connection, "churn:2")
    connection.execute(f"DELETE FROM customers WHERE customer_id = {KEY}")
    sqlml.score(connection, "churn")

    assert sqlml.why(connection, "churn", 3).version == 2
    assert sqlml.why(connection, "churn", 3, version=1).deployed["state"] == "retired"
    with pytest.raises(NotDeployed, match="v1 has one: --version 1"):
        sqlml.why(connection, "churn", KEY)


def test_hostile_names_several_keys_and_a_file_that_is_only_read(tmp_path: Path, customer_rows: object) -> None:
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        fill(connection, customer_rows, 60)
        connection.execute(
            'CREATE TABLE "select" AS SELECT DATE \'2026-01-01\' + customer_id::INTEGER AS "the day",'
            ' (customer_id / 4)::DECIMAL(10, 2) AS "a""b", \'x\' || chr(27) || \'[31m\' AS "it\'s", tenure,'
            " monthly_charges::DECIMAL(8, 2) AS monthly_charges, contract FROM customers"
        )
        deploy(connection, name="my model", table='"select"', key='the day, "a""b", "it\'s"', why="\x1b[2J<b>&")
    key = ["2026-01-03", "0.5", "x\x1b[31m"]
    with sqlml.connect(path, read_only=True) as connection:
        found = sqlml.why(connection, "my model", key)
        shown = "\n".join(reasoning.lines(found))
        assert [str(v) for v in found.key.values()] == ["2026-01-03", "0.50", "x\x1b[31m"]
        assert found.flips.columns[0].column in ("tenure", "monthly_charges")
        assert {flip.column: str(flip.value) for flip in found.flips.columns}["monthly_charges"].split(".")[
            1
        ].__len__() == 2
        assert "\x1b" not in shown
        assert "\\x1b[2J<b>&" in shown
    done = CliRunner().invoke(cli.cli, ["why", "my model", *key, "-d", str(path), "--json"], obj=cli.Session())
    assert json.loads(done.stdout)["prediction"]["value"] == found.prediction.value


def test_the_page_needs_nothing_and_shows_texts_as_they_are(connection: Any, tmp_path: Path) -> None:
    connection.execute("UPDATE customers SET contract = '<script>x</script>' WHERE customer_id = 2")
    deploy(connection, name="my model", why='"><img src=x onerror=y>')
    page = reasoning.page(sqlml.why(connection, "my model", KEY))

    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "&quot;&gt;&lt;img src=x" in page
    for outside in ("<script", "<img", "<link", "http://", "https://", "url(", "@import"):
        assert outside not in page
    assert "prefers-color-scheme: dark" in page


def test_one_statement_leads_from_any_row_to_bytes_run_and_dataset(connection: Any) -> None:
    deploy(connection)
    deploy(connection, "churn:2")
    sqlml.rollback(connection, "churn")
    connection.execute(
        "UPDATE sqlml.versions SET run = $1 WHERE version = 2",
        [json.dumps({"run_id": "r2", "datasets": [{"name": "d", "digest": "abc"}, {"name": "e", "digest": "def"}]})],
    )
    rows = []
    for number in (1, 2):
        rows += connection.execute(
            "SELECT o.version, o.model, o.model_sha256, o.run_id, o.dataset_digest, o.dataset_digests, count(*)"
            f" FROM churn.predictions_v{number} p JOIN sqlml.provenance o USING (scoring_id) GROUP BY ALL"
        ).fetchall()

    assert [(version, count) for version, *_, count in rows] == [(1, 120), (2, 120)]
    assert [hashlib.sha256(model).hexdigest() for _, model, *_ in rows] == [sha for _, _, sha, *_ in rows]
    assert rows[1][3:6] == ("r2", "abc", ["abc", "def"])


def as_rows(connection: Any, call: str) -> dict[tuple[str, str], tuple[Any, Any, Any]]:
    found = connection.execute(f"FROM {call}")
    assert [column[0] for column in found.description] == ["section", "item", "value", "number", "note"]
    return {(section, item): tuple(rest) for section, item, *rest in found.fetchall()}


def assert_says_the_same(rows: dict[tuple[str, str], tuple[Any, Any, Any]], found: Any) -> None:
    assert rows["prediction", "prediction"][0] == str(found.prediction.value)
    contributions = {item: number for (section, item), (_, number, _) in rows.items() if section == "contribution"}
    wanted = {row.column: row.contribution for row in found.contributions.rows}
    assert contributions == wanted | {"(base)": found.contributions.base, "(score)": found.contributions.score}
    flips = {
        item: value.removesuffix(".0") for (section, item), (value, _, _) in rows.items() if section == "flip" and item
    }
    assert flips == {f.column: words.exactly(f.value) for f in found.flips.columns if f.in_range}
    assert rows["scoring", "scoring_id"][0] == found.prediction.scoring_id
    assert rows["model", "sha256"][0] == found.model["sha256"]
    assert rows["parity", "rows_compared"][1] == found.parity["rows_compared"]


def test_as_rows_in_a_plain_shell(tmp_path: Path, customer_rows: object) -> None:
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        fill(connection, customer_rows, 60)
        deploy(connection, why="first")
        deploy(connection, "churn:2")
        found = sqlml.why(connection, "churn", 3)
        connection.execute("UPDATE customers SET tenure = 1 WHERE customer_id = 4")
        connection.execute("DELETE FROM customers WHERE customer_id = 5")
    with duckdb.connect(str(path), read_only=True) as plain:
        rows = as_rows(plain, "churn.why(3)")
        assert_says_the_same(rows, found)
        assert rows["contribution", "tenure"][2] == "log-odds"
        assert rows["input then", "tenure"][2] == "unchanged since: the hash is the same"
        assert rows["deployment", "version"][0] == "2"
        first = as_rows(plain, "churn.why_v1('3')")
        assert (first["deployment", "version"][0], first["deployment", "stage"][2][-7:]) == ("1", ": first")
        changed = as_rows(plain, "churn.why(4)")
        assert "not known" in changed["input then", None][2]
        assert changed["contribution", "tenure"][2] == "of the inputs of now"
        assert "not in customers" in as_rows(plain, "churn.why(5)")["input now", None][2]
        assert "no such row" in as_rows(plain, "churn.why(990)")["prediction", "prediction"][2]
    with duckdb.connect() as other:
        other.execute(f"ATTACH '{path}' AS \"x y\" (READ_ONLY)")
        other.execute('USE "x y"')
        assert as_rows(other, "churn.why(3)") == rows


def test_as_rows_of_kept_inputs_and_hostile_keys(connection: Any) -> None:
    connection.execute(
        "CREATE TABLE people AS SELECT 'it''s \"' || customer_id AS shop, DATE '2026-01-01' + customer_id::INTEGER AS id,"
        " CASE WHEN customer_id = 7 THEN NULL ELSE tenure END AS tenure, monthly_charges::DECIMAL(8, 2) AS monthly_charges,"
        " contract FROM customers"
    )
    deploy(connection, name="my model", table="people", key="shop,id", keep="inputs", threshold=0.25)
    connection.execute("UPDATE people SET tenure = 1 WHERE id = DATE '2026-01-03'")
    found = sqlml.why(connection, "my model", ["it's \"2", "2026-01-03"])
    rows = as_rows(connection, "\"my model\".why('it''s \"2', DATE '2026-01-03')")

    assert_says_the_same(rows, found)
    assert rows["prediction", "threshold"][1:] == (0.25, "the deployment's own")
    assert rows["input then", "tenure"] == ("34", 34.0, "kept")
    assert rows["input now", "tenure"] == ("1", 1.0, "changed")
    assert rows["input now", "monthly_charges"][2] == "same"
    missing = as_rows(connection, "\"my model\".why('it''s \"7', '2026-01-08')")
    assert missing["prediction", "error"][0]
    assert "no prediction" in missing["contribution", None][2]


def test_versions_of_before_get_it_with_the_next_deploy(connection: Any) -> None:
    deploy(connection)
    for statement in (
        "DELETE FROM sqlml.objects WHERE name IN ('why', 'why_v1')",
        "DROP MACRO TABLE churn.why",
        "DROP MACRO TABLE churn.why_v1",
        "DELETE FROM sqlml.turning_points",
    ):
        connection.execute(statement)
    assert sqlml.why(connection, "churn", 3).flips.columns  # read from the model itself
    found = sqlml.why(connection, "churn", 3)
    deploy(connection, "churn:2")

    assert_says_the_same(as_rows(connection, "churn.why_v1(3)"), found)
    assert connection.execute("SELECT count(DISTINCT model_sha256) FROM sqlml.turning_points").fetchone() == (2,)
    sqlml.rollback(connection, "churn")
    assert as_rows(connection, "churn.why(3)")["deployment", "version"][0] == "1"
    sqlml.undeploy(connection, "churn")
    assert connection.execute("SELECT count(*) FROM duckdb_functions() WHERE schema_name = 'churn'").fetchone() == (0,)
