"""Every example in the documentation runs, and the catalog's page says what the catalog is."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest

import sqlml
from sqlml import cli, config, extension
from sqlml.catalog.migrations import migrate
from sqlml.demo.customers import customers

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/sql.md",
    "docs/catalog.md",
    "docs/operations.md",
    "docs/labels.md",
    "docs/lineage.md",
    "docs/provenance.md",
    "docs/why.md",
    "docs/recall.md",
    "docs/security.md",
    "docs/hbase.md",
    "docs/pyfunc.md",
    "docs/native.md",
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.fixture(scope="module")
def warehouse(registered: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The customers, and two deployment versions of churn that differ in their threshold."""
    path = tmp_path_factory.mktemp("docs") / "warehouse.duckdb"
    with sqlml.connect(path) as connection:
        rows = customers()
        connection.register("rows", rows)
        connection.execute("CREATE TABLE customers AS FROM rows")
        connection.unregister("rows")
        for threshold in (None, 0.4):
            sqlml.deploy_db(
                connection,
                "churn:Production",
                table="customers",
                key="customer_id",
                threshold=threshold,
                tracking_uri=registered.uri,  # type: ignore[attr-defined]
            )
        connection.execute(
            "CREATE TABLE outcomes AS SELECT customer_id, prediction AS churned, make_timestamp(epoch_us(now())) AS observed_at"
            " FROM churn.current LIMIT 50"
        )
        sqlml.label(connection, "churn", "outcomes", label="churned", at="observed_at")
    return path


@pytest.mark.parametrize("page", ["docs/sql.md", "docs/catalog.md", "docs/labels.md", "docs/recall.md"])
def test_the_statements_on_a_page_run_in_a_plain_duckdb(warehouse: Path, page: str) -> None:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for block in blocks(page, "sql"):
            for statement in duckdb.extract_statements(block):
                connection.execute(statement).fetchall()


def test_what_is_said_of_attached_files_holds(warehouse: Path, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        for block in blocks("docs/operations.md", "sql"):
            for statement in duckdb.extract_statements(block.replace("warehouse.duckdb", str(warehouse))):
                connection.execute(statement).fetchall()


def test_the_catalogs_page_has_every_table_and_column() -> None:
    text = (ROOT / "docs/catalog.md").read_text(encoding="utf-8")
    documented = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name = section.splitlines()[0].removeprefix("sqlml.")
        table = section.split("| column | type | |", 1)[1].split("\n\n", 1)[0]
        documented[name] = re.findall(r"^\| (\w+) \| ([A-Z\[\]]+) \|", table, re.MULTILINE)
    with duckdb.connect() as connection:
        migrate(connection)
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'sqlml'"
            " ORDER BY table_name, column_index"
        ).fetchall()
    real: dict[str, list[tuple[str, str]]] = {}
    for table_name, column, kind in rows:
        real.setdefault(table_name, []).append((column, kind))

    assert documented == real


COMMANDS = [
    (page, line)
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line.startswith("sqlml ")
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_the_commands_on_a_page_are_commands_with_these_options(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    name, *arguments = itertools.takewhile(lambda word: word not in (">", "|"), words)
    command = cli.cli.get_command(click.Context(cli.cli), name)

    assert command is not None
    command.make_context(name, arguments, obj=cli.Session())


def test_the_page_on_hbase_has_every_setting() -> None:
    text = (ROOT / "docs/hbase.md").read_text(encoding="utf-8")
    table = text.split("| setting | variable | |", 1)[1].split("\n\n", 1)[0]

    assert set(re.findall(r"`([a-z_]+)`(?=[^|]*\| `SQLML)", table)) == set(config.HBASE_SETTINGS)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_in_a_text_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = set(cli.cli.list_commands(click.Context(cli.cli)))

    assert set(re.findall(r"`sqlml ([a-z]+)", text)) <= known


def test_the_settings_in_a_text_exist() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    known = {f"SQLML_{name.upper()}" for name in (*config.SETTINGS, *config.ENVIRONMENT_OF_DEPLOYMENT)}
    known |= {config.CACHE_VARIABLE, extension.OVERRIDE, extension.ONNXRUNTIME, "SQLML_BUILD_EXTENSION"}
    known |= {"SQLML_ISA", "SQLML_CACHE_BYTES"}
    known |= {f"SQLML_HBASE_{name.upper()}" for name in (*config.HBASE_SETTINGS, *config.HBASE_SECRETS)}

    assert set(re.findall(r"SQLML_[A-Z_]+", text)) <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    for target in re.findall(r"\]\(([^)#]+\.md)", text):
        assert ((ROOT / page).parent / target).is_file(), target


def test_the_estimators_that_the_readme_names_are_converted() -> None:
    import lightgbm  # noqa: F401  # its estimators are known once it is there

    from sqlml.convert.isolated import libraries
    from sqlml.convert.isolated.sklearn import registry

    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## What works", 1)[1].split("- **Exactness", 1)[0]
    tables = (registry.predictors(), libraries.predictors(), registry.transformers(), registry.wrappers())
    known = {kind.__name__ for table in tables for kind in table}

    assert set(re.findall(r"`([A-Z]\w+)`", text)) <= known


@pytest.mark.slow
def test_the_readmes_example_runs_and_answers_as_it_says(tmp_path: Path) -> None:
    [example] = blocks("README.md", "python")
    [query] = blocks("README.md", "sql")
    [answer] = blocks("README.md", "text")

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # it runs elsewhere, and must find this very sqlml
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, env=environment, check=True, capture_output=True)
    plain = (
        "import duckdb\n"
        f"rows = duckdb.connect('warehouse.duckdb').execute({query!r}).fetchall()\n"
        "print(*('  '.join('NULL' if v is None else str(v) for v in row) for row in rows), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", plain], cwd=tmp_path, check=True, capture_output=True, text=True)

    assert done.stdout.split() == answer.split()


TRIGGER = (
    "CREATE TRIGGER follow AFTER INSERT ON live REFERENCING NEW TABLE AS n FOR EACH STATEMENT"
    " INSERT INTO followed (id) SELECT id FROM n"
)
needs_triggers = pytest.mark.skipif(
    int(duckdb.__version__.split(".")[0]) < 2, reason="DuckDB before 2.0 has no triggers"
)


@pytest.fixture
def live() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE live (id BIGINT PRIMARY KEY, x DOUBLE); CREATE TABLE followed (id BIGINT)")
    connection.execute(TRIGGER)
    return connection


@needs_triggers
@pytest.mark.parametrize(
    "statement",
    [
        "MERGE INTO live USING (SELECT 1 AS id) s ON live.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, 0)",
        "INSERT INTO live VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET x = excluded.x",
        "INSERT OR REPLACE INTO live VALUES (1, 2)",
        "ALTER TABLE live DROP COLUMN x",
        "ALTER TABLE live RENAME COLUMN x TO y",
        "ALTER TABLE live ALTER COLUMN x TYPE VARCHAR",
        "ALTER TABLE live RENAME TO other",
    ],
)
def test_what_operations_says_duckdb_refuses_on_a_live_table(live: duckdb.DuckDBPyConnection, statement: str) -> None:
    with pytest.raises(duckdb.Error):
        live.execute(statement)


@needs_triggers
def test_what_operations_says_passes_by_the_triggers(live: duckdb.DuckDBPyConnection) -> None:
    live.execute("ALTER TABLE live ADD COLUMN z INTEGER; CREATE INDEX i ON live (x); INSERT INTO live (id) VALUES (1)")
    live.execute("INSERT INTO live (id) VALUES (1) ON CONFLICT DO NOTHING")
    assert live.execute("FROM followed").fetchall() == [(1,)]

    live.execute("CREATE OR REPLACE TABLE live (id BIGINT)")
    assert live.execute("SELECT count(*) FROM duckdb_triggers()").fetchall() == [(0,)]


@needs_triggers
def test_what_operations_says_a_truncate_is(live: duckdb.DuckDBPyConnection) -> None:
    live.execute(
        "CREATE TRIGGER gone AFTER DELETE ON live REFERENCING OLD TABLE AS o"
        " FOR EACH STATEMENT DELETE FROM followed WHERE id IN (SELECT id FROM o)"
    )
    live.execute("INSERT INTO live (id) VALUES (1)")
    live.execute("TRUNCATE live")
    assert live.execute("FROM followed").fetchall() == []


@needs_triggers
def test_a_live_table_is_not_written_under_another_name(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE live (id BIGINT); CREATE TABLE followed (id BIGINT)")
        connection.execute(TRIGGER)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path / 'w.duckdb'}' AS other")
        with pytest.raises(duckdb.Error):
            connection.execute("INSERT INTO other.live VALUES (1)")
