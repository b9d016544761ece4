"""What depends on a run, a dataset, a column, a model, a version, a scoring: direct, downstream, and not known."""

from __future__ import annotations

import json
from datetime import datetime

import duckdb
import pytest

from sqlml.catalog.migrations import migrate
from sqlml.errors import BindingError, NotDeployed, UsageError
from sqlml.lineage import Dependents, dependents
from tests.lineage.test_lineage_queries import CHURN, RISK, SCORING, deploy

JANUARY, MARCH, MAY = (datetime(2026, month, 1) for month in (1, 3, 5))
LATER = "99999999-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """For tests that only read."""
    return chained()


@pytest.fixture
def own() -> duckdb.DuckDBPyConnection:
    return chained()


def chained() -> duckdb.DuckDBPyConnection:
    """`churn` v1 until March, v2 since; `my risk` reads churn.current through a view, `end` reads that."""
    made = duckdb.connect()
    migrate(made)
    made.execute('CREATE TABLE customers (customer_id BIGINT, "Tenure" BIGINT, monthly DOUBLE)')
    made.execute("CREATE VIEW enriched AS SELECT customer_id, tenure, monthly * 2 AS fee FROM customers")
    deploy(made, "churn", 1, CHURN, "enriched", state="retired")
    deploy(made, "churn", 2, CHURN, "enriched")
    made.execute("CREATE VIEW churn.current AS SELECT * FROM churn.predictions_v2")
    made.execute(
        'CREATE VIEW "a view" AS SELECT c.customer_id, upper(p.prediction) AS prediction, c.tenure'
        " FROM enriched c JOIN churn.current p USING (customer_id)"
    )
    deploy(made, "my risk", 1, RISK, "a view")
    made.execute('CREATE VIEW "my risk"."current" AS SELECT * FROM "my risk".predictions_v1')
    made.execute(
        "CREATE VIEW last AS SELECT customer_id, prediction::VARCHAR AS prediction, prediction AS tenure"
        ' FROM "my risk"."current"'
    )
    deploy(made, "end", 1, RISK, "last")
    for name, version, moment in (
        ("churn", 1, JANUARY),
        ("churn", 2, MARCH),
        ("my risk", 1, JANUARY),
        ("end", 1, JANUARY),
    ):
        made.execute(
            "INSERT INTO sqlml.history VALUES (?, 'activate', NULL, ?, NULL, 'alex', NULL, ?, NULL)",
            [name, version, moment],
        )
    store(made, "churn.predictions_v1", {SCORING: JANUARY})
    store(made, "churn.predictions_v2", {SCORING: MARCH, LATER: MAY}, keys=3)
    store(made, '"my risk".predictions_v1', {SCORING: datetime(2026, 2, 1), LATER: MAY})
    store(made, '"end".predictions_v1', {SCORING: datetime(2026, 2, 1)})
    return made


def store(connection: duckdb.DuckDBPyConnection, table: str, scorings: dict[object, datetime], keys: int = 2) -> None:
    for scoring, moment in scorings.items():
        for key in range(keys):
            connection.execute(
                f"INSERT INTO {table} (customer_id, input_hash, scoring_id, scored_at) VALUES (?, 7, ?, ?)",
                [key, scoring, moment],
            )


def rows(found: Dependents) -> tuple[list[tuple[str, int | None]], list[tuple[str, int | None]]]:
    return [(d.name, d.rows) for d in found.found], [(d.name, d.rows) for d in found.downstream]


def test_a_run_and_what_was_made_of_its_predictions(connection: duckdb.DuckDBPyConnection) -> None:
    found = dependents(connection, "run", "runs:/run1/model")

    everything = [("churn v1", 2), ("churn v2", 6), ("end v1", 2), ("my risk v1", 4)]
    assert rows(found) == (everything, [])  # each comes from the run itself
    assert (found.value, found.rows, found.uncertain) == ("run1", 14, ())
    json.dumps(found.to_dict(), default=str)


def test_a_version_and_what_read_it_while_it_was_active(connection: duckdb.DuckDBPyConnection) -> None:
    first, second = (dependents(connection, "version", f"churn v{number}") for number in (1, 2))

    # In February both read v1; `end` still reads predictions that were made of it then.
    assert rows(first) == ([("churn v1", 2)], [("end v1", 2), ("my risk v1", 2)])
    assert rows(second) == ([("churn v2", 6)], [("end v1", 0), ("my risk v1", 2)])
    assert [d.through for d in first.downstream] == [("my risk v1",), ("churn v1",)]
    assert [d.scorings for d in first.downstream] == [(str(SCORING),), (str(SCORING),)]
    assert [d.is_reading for d in first.downstream] == [True, False]


@pytest.mark.parametrize(
    "written",
    ["customers.tenure", "CUSTOMERS.TENURE", '"customers"."Tenure"', "main.customers.tenure", "enriched.tenure"],
)
def test_a_column_however_it_is_written(connection: duckdb.DuckDBPyConnection, written: str) -> None:
    found = dependents(connection, "column", written)

    assert [d.name for d in found.found] == ["churn v1", "churn v2", "my risk v1"]
    assert found.found[0].how == "feature tenure"
    assert rows(found)[1] == [("end v1", 2)]


def test_a_column_of_predictions(connection: duckdb.DuckDBPyConnection) -> None:
    found = dependents(connection, "column", "churn.current.prediction")

    assert rows(found) == ([("my risk v1", 4)], [("end v1", 2)])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("run", "run1"),
        ("version", "churn v1"),
        ("model", "2222222"),
        ("dataset", "abc"),
        ("column", "customers.Tenure"),
        ("column", "churn.current.prediction"),
        ("column", "nobody.knows"),
    ],
)
def test_any_shell_says_which_versions(connection: duckdb.DuckDBPyConnection, kind: str, value: str) -> None:
    found = connection.execute(
        "SELECT deployment || ' v' || version, depends FROM sqlml.depends_on(?, ?) ORDER BY ALL", [kind, value]
    ).fetchall()

    if value == "nobody.knows":
        assert found == []
        return
    known = dependents(connection, kind, value)
    expected = [(d.name, "directly") for d in known.found] + [(d.name, "downstream") for d in known.downstream]
    assert found == sorted(expected)


@pytest.mark.parametrize("name", ["telco", "abc", "telco (abc)", "customers.parquet"])
def test_a_dataset_by_any_of_its_names(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    assert len(dependents(connection, "dataset", name).found) == 4


def test_a_model_by_the_first_digits_of_its_hash(connection: duckdb.DuckDBPyConnection) -> None:
    found = dependents(connection, "model", "2222222")

    assert (found.value, [d.name for d in found.found]) == ("2" * 64, ["churn v2"])
    assert len(dependents(connection, "model", "ffffff").found) == 4  # the files
    with pytest.raises(UsageError, match="no sha256"):
        dependents(connection, "model", "2'; --")


def test_a_scoring(own: duckdb.DuckDBPyConnection) -> None:
    own.execute(
        "INSERT INTO sqlml.scorings VALUES (?, 'churn', 2, 'full', 's', 't', 'complete', 3, 0, 0, 0, 1, '2', '1', 'alex', NULL, ?, ?)",
        [LATER, MAY, MAY],
    )

    found = dependents(own, "scoring", LATER)

    assert rows(found) == ([("churn v2", 3)], [("end v1", 0), ("my risk v1", 2)])
    with pytest.raises(NotDeployed):
        dependents(own, "scoring", str(SCORING))


def test_a_function_called_in_a_view_is_a_reader_too(own: duckdb.DuckDBPyConnection) -> None:
    own.execute("CREATE MACRO churn.predict(c) AS 'Yes'; CREATE MACRO churn.predict_v1(c) AS 'Yes'")
    own.execute(
        "CREATE VIEW called AS SELECT customer_id, churn.predict_v1(c) AS prediction, monthly AS tenure FROM customers c"
    )
    deploy(own, "caller", 1, RISK, "called")

    assert "caller v1" in [d.name for d in dependents(own, "version", "churn v1").downstream]
    assert "caller v1" not in [d.name for d in dependents(own, "version", "churn v2").downstream]


def test_what_nobody_can_know_is_listed_and_not_left_out(own: duckdb.DuckDBPyConnection) -> None:
    own.execute(
        "CREATE VIEW opaque AS SELECT 1::BIGINT AS customer_id, 'x' AS prediction, generate_series::DOUBLE AS tenure"
        " FROM generate_series(1, 3)"
    )
    deploy(own, "hidden", 1, RISK, "opaque")
    own.execute("UPDATE sqlml.versions SET run_id = NULL, run = NULL WHERE deployment = 'end'")

    column = dependents(own, "column", "customers.monthly")
    run = dependents(own, "run", "another")
    dataset = dependents(own, "dataset", "another")

    said = own.execute(
        "SELECT deployment FROM sqlml.depends_on('column', 'customers.monthly') WHERE depends = 'not known'"
    )
    assert said.fetchall() == [("hidden",)]
    assert [(u.deployment, u.rows) for u in column.uncertain] == [("hidden", 0)]
    assert "tenure" in column.uncertain[0].why
    assert (run.found, [u.deployment for u in run.uncertain if "run that made" in u.why]) == ((), ["end"])
    assert [u.deployment for u in dataset.uncertain if "run that made" in u.why] == ["end"]
    assert run.hint == "Valid: 'run1'."


def test_what_is_asked_for_must_be_there(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(BindingError, match="no column"):
        dependents(connection, "column", "customers.tenur")
    with pytest.raises(UsageError, match="Nothing can depend"):
        dependents(connection, "colour", "red")
    with pytest.raises(UsageError, match="no scoring's id"):
        dependents(connection, "scoring", "yesterday")
    with duckdb.connect() as unused:
        assert dependents(unused, "run", "run1").found == ()


CALLS = {
    "a macro over the function": "CREATE MACRO likely(r) AS churn.predict(r)",
    "a macro over a macro": "CREATE MACRO said(r) AS churn.predict(r); CREATE MACRO likely(r) AS upper(said(r))",
    "a macro of the view's schema": (
        "CREATE SCHEMA feat; CREATE MACRO feat.likely(r) AS churn.predict(r); CREATE MACRO main.likely(r) AS 'No'"
    ),
    "the plain function": (
        "CREATE MACRO likely(r) AS CASE WHEN r.monthly > 5 THEN 'Yes' ELSE 'No' END;"
        " INSERT INTO sqlml.objects VALUES ('churn', 2, 'active', 'macro', 'main', 'likely', 'CREATE MACRO ...')"
    ),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_function_called_by_another_name_is_read_too(own: duckdb.DuckDBPyConnection, kind: str) -> None:
    own.execute("CREATE MACRO churn.predict(c) AS CASE WHEN c.monthly > 5 THEN 'Yes' ELSE 'No' END")
    own.execute(CALLS[kind])
    schema = "feat" if "feat" in CALLS[kind] else "main"
    own.execute(
        f"CREATE VIEW {schema}.called AS SELECT customer_id, likely(c) AS prediction, tenure FROM main.customers c"
    )
    deploy(own, "caller", 1, RISK, f"{schema}.called")

    assert "caller v1" in [d.name for d in dependents(own, "version", "churn v2").downstream]


def test_a_function_of_that_name_in_another_schema_is_not_read(own: duckdb.DuckDBPyConnection) -> None:
    own.execute("CREATE MACRO churn.predict(c) AS 'Yes'; CREATE SCHEMA feat; CREATE MACRO main.likely(r) AS 'No'")
    own.execute("CREATE MACRO feat.likely(r) AS churn.predict(r)")
    own.execute("CREATE VIEW called AS SELECT customer_id, likely(c) AS prediction, tenure FROM customers c")
    deploy(own, "caller", 1, RISK, "called")

    found = dependents(own, "version", "churn v2")

    assert "caller" not in [d.deployment for d in (*found.downstream, *found.uncertain)]


def test_a_macro_that_reads_predictions_itself_is_listed(own: duckdb.DuckDBPyConnection) -> None:
    own.execute("CREATE SCHEMA feat; USE feat")
    own.execute(
        "CREATE MACRO feat.level(x) AS (SELECT max(u.prediction) FROM churn.current u WHERE u.customer_id = x);"
        "CREATE VIEW feat.v AS SELECT customer_id, level(customer_id) AS prediction, tenure FROM main.customers;"
        "USE main"
    )
    deploy(own, "caller", 1, RISK, "feat.v")

    [listed] = dependents(own, "version", "churn v2").uncertain

    assert (listed.deployment, "level reads tables of its own" in listed.why) == ("caller", True)


@pytest.mark.parametrize(
    "feature",
    [
        "EXISTS(SELECT 1 FROM churn.current u JOIN customers k USING (customer_id) WHERE u.prediction = 'Yes')",
        "(SELECT count(*) FROM churn.current u WHERE u.customer_id = c.customer_id AND u.prediction = 'Yes')",
        "c.customer_id IN (SELECT 1 FROM churn.current u WHERE u.prediction = 'Yes')",
    ],
)
def test_predictions_that_are_only_counted_are_read_too(own: duckdb.DuckDBPyConnection, feature: str) -> None:
    own.execute(
        f"CREATE VIEW counted AS SELECT customer_id, ({feature})::VARCHAR AS prediction, tenure FROM customers c"
    )
    deploy(own, "counting", 1, RISK, "counted")

    found = dependents(own, "version", "churn v2")
    column = dependents(own, "column", "churn.current.prediction")

    assert "counting" in [d.deployment for d in found.downstream]
    assert "counting" in [d.deployment for d in column.found]


def test_a_table_that_is_only_counted_is_listed(own: duckdb.DuckDBPyConnection) -> None:
    own.execute(
        "CREATE VIEW counted AS SELECT customer_id, (SELECT count(*) FROM churn.current)::VARCHAR AS prediction, tenure"
        " FROM customers"
    )
    deploy(own, "counting", 1, RISK, "counted")

    [listed] = dependents(own, "version", "churn v2").uncertain

    assert "it depends on which rows churn.current has" in listed.why


def test_a_generated_column_leads_to_what_it_is_made_of(own: duckdb.DuckDBPyConnection) -> None:
    own.execute("CREATE TABLE t (customer_id BIGINT, raw BIGINT, prediction VARCHAR, tenure BIGINT AS (raw * 2))")
    deploy(own, "made", 1, RISK, "t")

    assert [(d.name, d.how) for d in dependents(own, "column", "t.raw").found] == [("made v1", "feature tenure")]
