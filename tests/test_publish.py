"""A copy for readers: whole, atomic, and answering without sqlml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pytest

from sqlml import placing
from sqlml.catalog import records
from sqlml.catalog.migrations import migrate
from sqlml.errors import (
    Conflict,
    DatabaseError,
    DatabaseLocked,
    NameRefused,
    NotDeployed,
    UsageError,
)
from sqlml.publishing import database_name, publish
from sqlml.publishing_parquet import folder_name

WHEN = records.now()
SCHEMA = (
    "CREATE TABLE customers (customer_id BIGINT, fee DOUBLE)",
    "INSERT INTO customers SELECT i, i * 1.5 FROM range(1000) t(i)",
    "CREATE SCHEMA churn",
    "CREATE MACRO churn.predict(r, threshold := 0.5) AS CASE WHEN r.fee > 100 + threshold THEN 'Yes' ELSE 'No' END",
    "CREATE MACRO churn.predict_table(t) AS TABLE SELECT * FROM query_table(t)",
    "CREATE TABLE churn.predictions_v1 AS SELECT customer_id, fee > 100 AS prediction FROM customers",
    "CREATE VIEW churn.current AS SELECT * FROM churn.predictions_v1",
    "CREATE VIEW churn.scored AS SELECT c.*, p.prediction FROM main.customers c"
    " LEFT JOIN churn.predictions_v1 p USING (customer_id)",
    "CREATE VIEW a_report AS SELECT count(*) AS n FROM churn.scored",
)


def make(connection: duckdb.DuckDBPyConnection) -> None:
    """A database as a deploy leaves it, as far as publishing sees it."""
    migrate(connection)
    for statement in SCHEMA:
        connection.execute(statement)
    deployment = records.Deployment(
        "churn", 1, "churn", "customers", ("customer_id",), False, False, None, 0, WHEN, WHEN
    )
    records.insert_row(connection, "deployments", deployment)
    connection.execute(
        "INSERT INTO sqlml.versions BY NAME SELECT 'churn' AS deployment, 1 AS version, 'active' AS state,"
        " 'churn' AS reference, 'churn v1' AS resolved, '' AS artifact_sha256, '[]' AS artifact_files, '' AS model_sha256,"
        " '{}' AS signature, 'sql' AS engine, '' AS engine_why, 'predictions_v1' AS prediction_table,"
        " 'customers' AS source, ['customer_id'] AS key_columns, '' AS sqlml_version, '' AS duckdb_version,"
        " '' AS deployed_by, now() AS deployed_at"
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        make(connection)
    return path


def plain(path: Path, query: str) -> object:
    """The answer of a DuckDB that knows nothing of sqlml, in a process of its own."""
    code = f"import duckdb, json; print(json.dumps(duckdb.connect({str(path)!r}, read_only=True).execute({query!r}).fetchall(), default=str))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_copy_answers_in_a_plain_duckdb(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "bi.duckdb"

    done = publish(source, target)

    assert plain(target, "SELECT churn.predict(c) FROM customers c WHERE customer_id IN (1, 900) ORDER BY ALL") == [
        ["No"],
        ["Yes"],
    ]
    assert plain(target, "SELECT n FROM a_report") == [[1000]]
    assert plain(target, "SELECT count(*) FROM churn.predict_table('customers')") == [[1000]]
    assert plain(target, "SELECT name FROM sqlml.deployments") == [["churn"]]
    assert done.bytes == target.stat().st_size
    assert hidden(tmp_path) == []


def test_the_source_may_be_open_and_in_a_transaction_in_this_process(source: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(source)) as connection:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM customers")
        publish(connection, tmp_path / "bi.duckdb")
        connection.execute("ROLLBACK")

    assert plain(tmp_path / "bi.duckdb", "SELECT count(*) FROM customers") == [[1000]]


def test_the_source_may_be_named_by_path_while_this_process_writes_it(source: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(source)) as connection:
        connection.execute("INSERT INTO customers VALUES (-1, 1)")
        publish(source, tmp_path / "bi.duckdb")

    assert plain(tmp_path / "bi.duckdb", "SELECT count(*) FROM customers") == [[1001]]


def test_a_database_in_memory_can_be_published(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        make(connection)
        publish(connection, tmp_path / "bi.duckdb")

    assert plain(tmp_path / "bi.duckdb", "SELECT n FROM a_report") == [[1000]]


def test_publishing_does_not_give_up_the_lock_on_the_source(source: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(source)) as connection:
        publish(connection, tmp_path / "bi.duckdb")
        code = f"import duckdb; duckdb.connect({str(source)!r})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "lock" in other.stderr


def test_a_source_that_another_process_writes_is_named_with_its_holder(source: Path, tmp_path: Path) -> None:
    code = f"import duckdb, sys; c = duckdb.connect({str(source)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(DatabaseLocked, match=str(other.pid)):
            publish(source, tmp_path / "bi.duckdb")
        other.communicate()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["warehouse.duckdb"]


def test_an_open_reader_keeps_the_old_copy_and_a_new_one_sees_the_new(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "bi.duckdb"
    publish(source, target)
    code = f"""
        import duckdb, sys
        c = duckdb.connect({str(target)!r}, read_only=True)
        print(c.execute("SELECT count(*) FROM customers").fetchall(), flush=True)
        sys.stdin.readline()
        print(c.execute("SELECT count(*), sum(fee) FROM customers").fetchall(), flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        with duckdb.connect(str(source)) as connection:
            connection.execute("DELETE FROM customers WHERE customer_id > 9")
        publish(source, target)
        answer, _ = reader.communicate("\n")

    assert answer.strip() == "[(1000, 749250.0)]"
    assert plain(target, "SELECT count(*) FROM customers") == [[10]]


def test_kill_in_the_middle_leaves_the_old_copy_and_the_next_time_cleans_up(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "bi.duckdb"
    publish(source, target)
    before = target.read_bytes()
    code = f"""
        import os, signal
        from sqlml import placing, publishing
        placing.put_in_place = lambda new, place: os.kill(os.getpid(), signal.SIGKILL)
        publishing.publish({str(source)!r}, {str(target)!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)

    assert killed.returncode == -9
    assert target.read_bytes() == before
    assert len(hidden(tmp_path)) == 1
    publish(source, target)
    assert hidden(tmp_path) == []


def test_a_failure_in_the_middle_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(new: Path, place: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(placing, "put_in_place", fail)
    with duckdb.connect(str(source)) as connection:
        with pytest.raises(KeyboardInterrupt):
            publish(connection, tmp_path / "bi.duckdb")
        attached = connection.execute("SELECT count(*) FROM duckdb_databases() WHERE NOT internal").fetchall()

    assert attached == [(1,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["warehouse.duckdb"]


@pytest.mark.parametrize("name", ["churn.duckdb", "CHURN.db", "churn", "churn.2026.duckdb", "sqlml.duckdb"])
def test_a_name_that_would_make_everything_ambiguous_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(NameRefused, match="ambiguous"):
        publish(source, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "called"), [("a b.duckdb", "a b"), (".hidden.duckdb", "hidden"), ("x.y.db", "x"), ("plain", "plain")]
)
def test_the_name_is_what_duckdb_calls_the_file(tmp_path: Path, name: str, called: str) -> None:
    with duckdb.connect(str(tmp_path / name)) as connection:
        assert connection.execute("SELECT current_database()").fetchall() == [(called,)]
    assert database_name(tmp_path / name) == called


def test_the_database_itself_is_refused_through_a_link_too(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(source)

    with pytest.raises(UsageError, match="the database itself"):
        publish(source, link)


def test_a_link_as_the_target_stays_a_link(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.duckdb"
    link.symlink_to("bi.duckdb")

    publish(source, link)

    assert link.is_symlink()
    assert plain(tmp_path / "bi.duckdb", "SELECT n FROM a_report") == [[1000]]


@pytest.mark.parametrize("target", ["missing/bi.duckdb", "."])
def test_a_target_that_cannot_be_written_is_refused(source: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises((DatabaseError, UsageError)):
        publish(source, tmp_path / target)


def test_a_copy_that_somebody_writes_to_is_not_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "bi.duckdb.wal").write_bytes(b"x")

    with pytest.raises(DatabaseError, match="Somebody writes"):
        publish(source, tmp_path / "bi.duckdb")


def test_a_missing_source_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no database file"):
        publish(tmp_path / "none.duckdb", tmp_path / "bi.duckdb")

    assert list(tmp_path.iterdir()) == []


def test_the_storage_version_stays_the_sources_own(tmp_path: Path) -> None:
    with duckdb.connect() as maker:
        maker.execute(f"ATTACH '{tmp_path / 'old.duckdb'}' AS old (STORAGE_VERSION 'v1.5.0')")
        maker.execute("CREATE TABLE old.t AS SELECT 1 AS a")

    publish(tmp_path / "old.duckdb", tmp_path / "bi.duckdb")

    assert plain(
        tmp_path / "bi.duckdb", "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
    ) == [["v1.5.0+"]]


def test_an_older_storage_version_leaves_the_triggers_out_and_says_so(source: Path, tmp_path: Path) -> None:
    if int(duckdb.__version__.split(".")[0]) < 2:
        pytest.skip("DuckDB before 2.0 has no triggers")
    with duckdb.connect(str(source)) as connection:
        connection.execute(
            "CREATE TRIGGER t AFTER INSERT ON customers REFERENCING NEW TABLE AS n FOR EACH STATEMENT"
            " INSERT INTO churn.predictions_v1 SELECT customer_id, true FROM n"
        )

    done = publish(source, tmp_path / "bi.duckdb", storage_version="v1.5.0")

    assert done.storage == "v1.5.0"
    assert done.left_out == ("1 triggers on main.customers: a copy is not live",)


def test_a_function_whose_engine_is_not_registered_comes_along(source: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(source)) as connection:
        connection.create_function("sqlml_engine", lambda x: x, ["DOUBLE"], "DOUBLE")
        connection.execute("CREATE MACRO churn.slow(r) AS sqlml_engine(r.fee)")

    publish(source, tmp_path / "bi.duckdb")

    assert plain(tmp_path / "bi.duckdb", "SELECT count(*) FROM duckdb_functions() WHERE function_name = 'slow'") == [
        [1]
    ]


def test_parquet_has_a_directory_per_deployment(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "exports"

    done = publish(source, target, format="parquet")

    assert done.contents == ("churn/current.parquet", "churn/predictions_v1.parquet")
    query = f"SELECT count(*), count(*) FILTER (prediction) FROM '{target}/churn/current.parquet'"
    assert duckdb.execute(query).fetchall() == [(1000, 933)]


def test_parquet_is_exchanged_as_a_whole_and_the_old_one_stays_for_a_while(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "exports"
    publish(source, target, format="parquet")
    first = (target / "churn").resolve()
    publish(source, target, format="parquet")
    second = (target / "churn").resolve()

    assert first != second
    assert first.is_dir()
    publish(source, target, format="parquet")
    assert not first.exists()
    assert second.is_dir()


def test_parquet_interrupted_leaves_the_old_and_is_cleaned(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "exports"
    publish(source, target, format="parquet")
    first = (target / "churn").resolve()
    code = f"""
        import os, signal
        from sqlml import publishing, publishing_parquet
        publishing_parquet._exchange = lambda directory, target: os.kill(os.getpid(), signal.SIGKILL)
        publishing.publish({str(source)!r}, {str(target)!r}, format="parquet")
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)

    assert killed.returncode == -9
    assert (target / "churn").resolve() == first
    publish(source, target, format="parquet")
    assert len([name for name in hidden(target) if name.startswith(".churn")]) == 2


def test_two_who_publish_parquet_to_one_place_do_not_mix(source: Path, tmp_path: Path) -> None:
    import fcntl

    target = tmp_path / "exports"
    target.mkdir()
    with (target / ".sqlml-publish.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict):
            publish(source, target, format="parquet")


def test_parquet_never_takes_the_place_of_somebody_elses_directory(source: Path, tmp_path: Path) -> None:
    (tmp_path / "exports" / "churn").mkdir(parents=True)

    with pytest.raises(DatabaseError, match="not published by sqlml"):
        publish(source, tmp_path / "exports", format="parquet")


def test_parquet_of_nothing_is_refused(tmp_path: Path) -> None:
    with duckdb.connect() as connection, pytest.raises(NotDeployed):
        publish(connection, tmp_path / "exports", format="parquet")


def test_wide_integers_are_written_as_text_not_as_doubles(source: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(source)) as connection:
        connection.execute(
            "CREATE OR REPLACE TABLE churn.predictions_v1 AS"
            " SELECT 170141183460469231731687303715884105727::HUGEINT AS customer_id, true AS prediction"
        )

    publish(source, tmp_path / "exports", format="parquet")

    file = tmp_path / "exports" / "churn" / "predictions_v1.parquet"
    assert duckdb.execute(f"SELECT customer_id FROM '{file}'").fetchall() == [
        ("170141183460469231731687303715884105727",)
    ]


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "*", "naïve", "my model"])
def test_folder_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / folder_name(name)

    folder.mkdir()

    assert os.path.realpath(folder) == str(tmp_path / folder_name(name))
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]
