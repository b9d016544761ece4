"""What a label may look like, what is refused, and that a labelling is all or nothing."""

from __future__ import annotations

import json
import re
import threading
from datetime import timedelta
from typing import Any

import duckdb
import pandas as pd
import pytest

import sqlml
from sqlml.errors import BindingError, Conflict, NotDeployed, Refused, SqlmlError, UsageError
from sqlml.labelling import CONTRADICTING, NEVER_PREDICTED, REPEATED, UNKNOWN
from sqlml.labels.reading import FUTURE, NO_KEY, NO_LABEL, NO_TIME, given
from sqlml.relation import find
from sqlml.signature import Signature
from tests.deploy.faults import FaultyConnection, InjectedFault
from tests.labels.conftest import BINARY, NUMBER, START, Staged

SEEN = START + timedelta(days=1)


def classifier(kind: str, *classes: Any) -> Signature:
    return Signature((), "classifier", kind, classes)


def outcomes(staged: Staged, rows: str, columns: str = "id, y, seen") -> None:
    staged.connection.execute(f"CREATE OR REPLACE TABLE outcomes AS SELECT * FROM (VALUES {rows}) t({columns})")


def label(staged: Staged, **more: Any) -> sqlml.Labelled:
    return sqlml.label(staged.connection, "m", "outcomes", label="y", at="seen", **more)


def predicted(staged: Staged, signature: Signature, *predictions: Any) -> None:
    version = staged.version(signature)
    staged.predict(version, [{"id": i, "prediction": p, "scored_at": START} for i, p in enumerate(predictions)])


READ_AS = [
    (classifier("VARCHAR", "No", "Yes"), "'Yes'", "Yes"),
    (classifier("VARCHAR", "No", "Yes"), "true", "Yes"),
    (classifier("VARCHAR", "No", "Yes"), "'Yes'::ENUM ('Yes', 'x')", "Yes"),
    (classifier("VARCHAR", "0", "1"), "1", "1"),
    (classifier("VARCHAR", "0", "1"), "1.0::DOUBLE", "1"),
    (classifier("BIGINT", 0, 1), "true", 1),
    (classifier("BIGINT", 0, 1), "'1'", 1),
    (classifier("BIGINT", 0, 1), "1::DECIMAL(9, 2)", 1),
    (classifier("BIGINT", 7, 9007199254740993), "9007199254740993", 9007199254740993),
    (classifier("BOOLEAN", False, True), "1", True),
    (classifier("BOOLEAN", False, True), "'true'", True),
    (classifier("DOUBLE", 0.5, 1.5), "1.5", 1.5),
    (NUMBER, "3", 3.0),
    (Signature((), "pyfunc", "BOOLEAN"), "true", True),
    (Signature((), "pyfunc", "VARCHAR"), "'anything'", "anything"),
]


@pytest.mark.parametrize(("signature", "said", "expected"), READ_AS)
def test_labels_are_read_as_the_models_own(staged: Staged, signature: Signature, said: str, expected: Any) -> None:
    predicted(staged, signature, None)
    outcomes(staged, f"(0, {said}, TIMESTAMP '2026-01-02')")
    label(staged)

    assert staged.rows("SELECT label FROM m.labels") == [(expected,)]


NOT_READ = [
    (classifier("VARCHAR", "No", "Yes"), "1", "Valid: 'No', 'Yes'"),
    (classifier("VARCHAR", "low", "high"), "true", "Valid: 'low', 'high'"),
    (classifier("VARCHAR", "No", "Yes"), "DATE '2026-01-01'", "cannot be one of the model's labels"),
    (NUMBER, "'3'", "TRY_CAST it to DOUBLE"),
    (NUMBER, "[3]", "cannot be a number"),
    (Signature((), "pyfunc", "VARCHAR"), "3", "cannot be a text"),
]


@pytest.mark.parametrize(("signature", "said", "message"), NOT_READ)
def test_a_type_that_cannot_be_a_label_is_refused(
    staged: Staged, signature: Signature, said: str, message: str
) -> None:
    predicted(staged, signature, None)
    outcomes(staged, f"(0, {said}, TIMESTAMP '2026-01-02')")

    with pytest.raises(BindingError, match=message):
        label(staged)


def test_several_targets_cannot_be_labelled(staged: Staged) -> None:
    predicted(staged, Signature((), "regressor", "DOUBLE", targets=("a", "b")), None)
    outcomes(staged, "(0, 1, TIMESTAMP '2026-01-02')")

    with pytest.raises(UsageError, match="it predicts 2 targets"):
        label(staged)


def test_labels_that_are_none_of_the_models_are_named_or_left_out(staged: Staged) -> None:
    predicted(staged, BINARY, "No", "No", "No")
    outcomes(
        staged,
        "(0, 'yes', TIMESTAMP '2026-01-02'), (1, 'Maybe', TIMESTAMP '2026-01-02'), (2, 'No', TIMESTAMP '2026-01-02')",
    )

    with pytest.raises(Refused, match=r"2 labels are none of m v1's: 'Maybe' \(1\), 'yes' \(1\)"):
        label(staged)
    assert staged.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'labels_v1'") == []
    done = label(staged, skip_unknown=True)
    assert (done.added, done.left_out, done.unknown) == (1, {UNKNOWN: 2}, {"Maybe": 1, "yes": 1})


def test_rows_that_say_nothing_are_counted_by_reason(staged: Staged) -> None:
    predicted(staged, NUMBER, 1.0, 1.0, 1.0, 1.0)
    at = "TIMESTAMP '2026-01-02'"
    outcomes(
        staged,
        f"(NULL, 1e0, {at}), (0, NULL, {at}), (0, 'nan'::DOUBLE, {at}), (0, 1, NULL), (0, 1, 'infinity'::TIMESTAMP),"
        f" (0, 1, TIMESTAMP '2999-01-01'), (1, 1, {at}), (1, 2, {at}), (2, 1, {at}), (2, 1, {at}), (2, 1, {at}),"
        f" (77, 1, {at}), (3, 1, {at})",
    )
    done = label(staged)

    assert done.left_out == {
        NO_KEY: 1, NO_LABEL: 2, NO_TIME: 2, FUTURE: 1, CONTRADICTING: 2, REPEATED: 2, NEVER_PREDICTED: 1
    }  # fmt: skip
    assert (done.read, done.added, done.unchanged) == (13, 2, 0)
    kept = staged.rows("SELECT rows_read, rows_added, rows_left_out, left_out, versions FROM sqlml.labellings")
    assert kept == [(13, 2, 11, json.dumps(done.left_out), '{"1": 2}')]


def test_the_same_rows_again_change_nothing(staged: Staged) -> None:
    predicted(staged, BINARY, "No", "Yes")
    outcomes(staged, "(0, 'No', TIMESTAMP '2026-01-02'), (1, 'No', TIMESTAMP '2026-01-02')")
    label(staged)
    before = staged.rows("SELECT * FROM m.labels_v1 ORDER BY id")
    views = staged.rows("SELECT view_oid FROM duckdb_views() WHERE schema_name = 'm' ORDER BY ALL")
    again = label(staged)

    assert (again.added, again.corrected, again.unchanged) == (0, 0, 2)
    assert staged.rows("SELECT * FROM m.labels_v1 ORDER BY id") == before
    assert staged.rows("SELECT view_oid FROM duckdb_views() WHERE schema_name = 'm' ORDER BY ALL") == views


def test_times_with_a_zone_are_utc(staged: Staged) -> None:
    predicted(staged, NUMBER, 1.0)
    staged.connection.execute("SET timezone = 'America/New_York'")
    outcomes(staged, "(0, 1, TIMESTAMPTZ '2026-01-02 10:00:00+02')")
    label(staged)

    assert staged.rows("SELECT observed_at FROM m.labels") == [(START + timedelta(days=1, hours=8),)]


def test_a_day_is_its_first_moment(staged: Staged) -> None:
    version = staged.version(NUMBER)
    staged.predict(version, [{"id": 0, "prediction": 1.0, "scored_at": SEEN + timedelta(hours=9)}])
    outcomes(staged, "(0, 1, DATE '2026-01-02'), (0, 1, DATE '2026-01-03')")

    assert label(staged).versions == {1: 1}


@pytest.mark.parametrize("kind", ["'2026-01-02'", "1767312000"])
def test_a_time_that_is_none_is_refused(staged: Staged, kind: str) -> None:
    predicted(staged, NUMBER, 1.0)
    outcomes(staged, f"(0, 1, {kind})")

    with pytest.raises(BindingError, match="and no time"):
        label(staged)


def test_what_is_advised_for_texts_can_be_executed_and_keeps_their_zone() -> None:
    with duckdb.connect() as connection:
        connection.execute("""CREATE TABLE o AS SELECT 1 AS id, 1 AS y, '2026-01-02 12:00:00+09' AS "at" """)
        with pytest.raises(BindingError) as caught:
            given(find(connection, "o"), ["id"], [], "y", "at")
        advised = re.findall(r"CAST\(.+? AS \w+\)", caught.value.hint or "")

        for cast, micros in zip(advised, [None, 1_767_322_800_000_000], strict=True):
            [(found,)] = connection.sql(f"SELECT epoch_us({cast}) FROM o").fetchall()
            assert micros is None or found == micros  # what becomes of a zone in a plain TIMESTAMP is DuckDB's to say


def test_names_of_any_kind_and_keys_of_several_columns(staged: Staged) -> None:
    keys = [("select", "VARCHAR"), ('a"b', "INTEGER"), ("Label", "BIGINT"), ("observed_at", "DATE")]
    version = staged.version(BINARY, name="my model", keys=keys)
    row = {"select": "it's", 'a"b': 3, "Label": 9, "observed_at": START.date()}
    staged.predict(
        version, [row | {"prediction": "Yes", "probability_No": 0.2, "probability_Yes": 0.8, "scored_at": START}]
    )
    staged.connection.execute(
        'CREATE TABLE "out comes" AS SELECT \'it\'\'s\' AS "SELECT", 3::BIGINT AS "a""b", \'9\' AS label,'
        " DATE '2026-01-01' AS observed_at, 'Yes' AS \"was so\", TIMESTAMP '2026-01-02' AS \"sqlml at\""
    )
    done = sqlml.label(staged.connection, "my model", "out comes", label="was so", at="sqlml at")

    assert (done.added, done.left_out) == (1, {})
    assert staged.rows('SELECT "select", "label_2", "observed_at_2", prediction FROM "my model".labels') == [
        ("it's", "Yes", SEEN, "Yes")
    ]
    assert staged.rows('SELECT accuracy, brier FROM "my model".metrics') == [(1.0, pytest.approx(0.04))]


def test_versions_may_have_their_keys_in_another_order_or_others(staged: Staged) -> None:
    keys = [("shop", "VARCHAR"), ("id", "BIGINT")]
    orders = (keys, keys[::-1], [("id", "BIGINT")], keys)
    for number, order in enumerate(orders):
        version = staged.version(NUMBER, keys=order, active_since=START + timedelta(days=number))
        row = {"shop": "a", "id": 1, "prediction": 1.0, "scored_at": START}
        staged.predict(version, [row if len(order) == 2 else {k: v for k, v in row.items() if k != "shop"}])
    staged.connection.execute("UPDATE sqlml.deployments SET key_columns = ['shop', 'id']")
    outcomes(
        staged, ", ".join(f"(1, 'a', 1, TIMESTAMP '2026-01-0{day} 12:00')" for day in (1, 2, 3, 4)), "ID, Shop, y, seen"
    )
    done = label(staged)

    assert done.versions == {1: 1, 2: 1, 4: 1}
    assert done.left_out == {"the version of then has another key": 1}
    assert staged.rows("SELECT shop, id, deployment_version FROM m.labels ORDER BY ALL") == [
        ("a", 1, 1),
        ("a", 1, 2),
        ("a", 1, 4),
    ]


def test_keys_of_another_type_and_name(staged: Staged) -> None:
    predicted(staged, NUMBER, 1.0, 1.0, 1.0)
    rows = "('0', 1, TIMESTAMP '2026-01-02'), ('01', 1, TIMESTAMP '2026-01-02'), ('x', 1, TIMESTAMP '2026-01-02')"
    outcomes(staged, rows, "customer, y, seen")
    done = label(staged, key=["CUSTOMER"])

    assert (done.added, done.left_out) == (1, {NEVER_PREDICTED: 2})
    outcomes(staged, "(1.5, 1, TIMESTAMP '2026-01-02'), (2.0, 1, TIMESTAMP '2026-01-02')")
    assert label(staged).left_out == {NEVER_PREDICTED: 1}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"label": "yy"}, BindingError, "Did you mean 'y'"),
        ({"at": "sen"}, BindingError, "Did you mean 'seen'"),
        ({"key": ["idd"]}, BindingError, "Did you mean 'id'"),
        ({"key": ["id", "y"]}, UsageError, "The deployment's key is id; 2 columns are named"),
    ],
)
def test_wrong_names_are_refused_with_close_ones(
    staged: Staged, arguments: dict[str, Any], kind: type[SqlmlError], message: str
) -> None:
    predicted(staged, NUMBER, 1.0)
    outcomes(staged, "(0, 1, TIMESTAMP '2026-01-02')")

    with pytest.raises(kind, match=message):
        sqlml.label(staged.connection, "m", "outcomes", **({"label": "y", "at": "seen"} | arguments))
    with pytest.raises(BindingError, match="Did you mean 'outcomes'"):
        sqlml.label(staged.connection, "m", "outcome", label="y", at="seen")
    with pytest.raises(NotDeployed):
        sqlml.label(staged.connection, "none", "outcomes", label="y", at="seen")


def test_labels_come_from_views_and_files(staged: Staged, tmp_path: Any) -> None:
    predicted(staged, NUMBER, 1.0, 1.0)
    outcomes(staged, "(0, 1, TIMESTAMP '2026-01-02'), (1, 1, TIMESTAMP '2026-01-02')")
    staged.connection.execute("CREATE VIEW seen_first AS SELECT * FROM outcomes WHERE id = 0")
    staged.connection.execute(f"COPY outcomes TO '{tmp_path}/outcomes.csv'")

    assert sqlml.label(staged.connection, "m", "seen_first", label="y", at="seen").added == 1
    assert sqlml.label(staged.connection, "m", f"{tmp_path}/outcomes.csv", label="y", at="seen").added == 1


def test_two_at_once_do_not_mix(staged: Staged) -> None:
    predicted(staged, NUMBER, *[1.0] * 50)
    outcomes(staged, ", ".join(f"({i}, 1, TIMESTAMP '2026-01-02')" for i in range(50)))
    label_first = label(staged)
    outcomes(staged, ", ".join(f"({i}, 2, TIMESTAMP '2026-01-02')" for i in range(50)))
    results: list[object] = []

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        with connection:
            try:
                results.append(sqlml.label(connection, "m", "outcomes", label="y", at="seen"))
            except Conflict as error:
                results.append(error)

    threads = [threading.Thread(target=work, args=(staged.connection.cursor(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    done = [found for found in results if isinstance(found, sqlml.Labelled)]
    assert label_first.added == 50
    assert sum(found.corrected for found in done) == 50
    assert staged.rows("SELECT revision, count(*) FROM m.labels_v1 GROUP BY ALL ORDER BY ALL") == [(1, 50), (2, 50)]
    assert staged.rows("SELECT count(*) FROM m.labels WHERE label = 2") == [(50,)]


def test_a_failure_in_the_middle_changes_nothing(staged: Staged) -> None:
    predicted(staged, NUMBER, 1.0, 1.0, 1.0)
    outcomes(staged, "(0, 1, TIMESTAMP '2026-01-02')")
    label(staged)
    second = staged.version(NUMBER, active_since=START + timedelta(days=10))
    staged.predict(second, [{"id": 0, "prediction": 2.0, "scored_at": START}])
    outcomes(staged, "(0, 5, TIMESTAMP '2026-01-02'), (1, 1, TIMESTAMP '2026-01-02'), (0, 1, TIMESTAMP '2026-02-02')")
    state = "SELECT (SELECT count(*) FROM sqlml.labellings), l FROM m.labels l ORDER BY ALL"
    before = staged.rows(state)
    fail_at, finished = 0, False
    while not finished:
        fail_at += 3
        broken: Any = FaultyConnection(staged.connection, fail_at)
        try:
            sqlml.label(broken, "m", "outcomes", label="y", at="seen")
            finished = True
        except InjectedFault:
            after = staged.rows(state)
            if after != before:  # done already: only tidying up and the job's record came after
                assert {row[0] for row in after} == {2}
                assert len(after) == 3
                break
    assert fail_at > 20
    again = label(staged)
    assert again.added + again.corrected + again.unchanged == 3
    assert staged.rows("SELECT id, label, revision, deployment_version FROM m.labels ORDER BY ALL") == [
        (0, 1.0, 1, 2),
        (0, 5.0, 2, 1),
        (1, 1.0, 1, 1),
    ]
    assert staged.rows("SELECT table_name FROM duckdb_tables() WHERE temporary") == []


def test_both_versions_are_measured_on_the_labels_that_both_could_know(staged: Staged) -> None:
    from sqlml.labels.comparable import metrics_of_both

    first, shadow = staged.version(NUMBER), staged.version(NUMBER, active_since=None)
    for version, value, scored in ((first, 1.0, START), (shadow, 2.0, START + timedelta(days=2))):
        staged.predict(version, [{"id": i, "prediction": value, "scored_at": scored} for i in range(3)])
    assert metrics_of_both(staged.connection, first, shadow) is None
    outcomes(staged, "(0, 1, TIMESTAMP '2026-01-02'), (0, 2, TIMESTAMP '2026-01-05'), (1, 4, TIMESTAMP '2026-01-06')")
    label(staged)

    found = metrics_of_both(staged.connection, first, shadow)

    assert found is not None
    assert [(one.version, one.labels, one.mae, one.bias) for one in found] == [(1, 2, 2.0, -2.0), (2, 2, 1.0, -1.0)]
    assert found[0].known == pytest.approx({"mae": 2, "rmse": 5**0.5, "r2": -4, "bias": -2})


def test_a_frame_is_a_source_too_when_it_is_a_view(staged: Staged) -> None:
    predicted(staged, BINARY, "No")
    staged.source(pd.DataFrame({"id": [0], "y": ["No"], "seen": [pd.Timestamp("2026-01-02", tz="UTC")]}))

    assert label(staged).added == 1
