"""Settings: which source wins, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlml import config, settings_file
from sqlml.errors import UsageError


def written(folder: Path, text: str, name: str = "sqlml.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, flags: dict[str, object] | None = None, **environ: str) -> config.Settings:
    return config.load(flags, environ=environ, start=folder)


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    written(tmp_path, 'database = "file.db"\ntracking_uri = "http://file"\nregistry_uri = "http://file"')

    settings = load(tmp_path, {"database": "flag.db"}, SQLML_DATABASE="env.db", SQLML_TRACKING_URI="http://env")

    assert (settings.database, settings.tracking_uri, settings.registry_uri) == ("flag.db", "http://env", "http://file")
    assert dict(settings.origins) == {
        "database": "--database",
        "tracking_uri": "SQLML_TRACKING_URI",
        "registry_uri": str(tmp_path / "sqlml.toml"),
    }


def test_mlflows_own_variables_count_after_ours_and_before_the_file(tmp_path: Path) -> None:
    written(tmp_path, 'tracking_uri = "http://file"')

    assert load(tmp_path, MLFLOW_TRACKING_URI="http://mlflow").tracking_uri == "http://mlflow"
    both = load(tmp_path, MLFLOW_TRACKING_URI="http://mlflow", SQLML_TRACKING_URI="http://ours")
    assert both.tracking_uri == "http://ours"


def test_the_file_is_found_upward_and_its_paths_are_meant_from_its_folder(tmp_path: Path) -> None:
    written(tmp_path, 'database = "data/w.duckdb"\ntracking_uri = "sqlite:///mlflow.db"')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    settings = load(below)

    assert settings.database == str(tmp_path / "data/w.duckdb")
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"


def test_pyproject_serves_as_the_file_when_it_has_a_section(tmp_path: Path) -> None:
    written(tmp_path, '[tool.sqlml]\ndatabase = ":memory:"', "pyproject.toml")
    inner = tmp_path / "inner"
    inner.mkdir()
    written(inner, "[tool.other]\nx = 1", "pyproject.toml")

    assert load(inner).database == ":memory:"


def test_nothing_anywhere_gives_defaults_and_a_remedy(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert (settings.database, settings.allow_pickle, settings.require_isolation) == (None, True, False)
    with pytest.raises(UsageError, match=r"--database FILE, set SQLML_DATABASE"):
        settings.require_database()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('databse = "x"', "unknown setting 'databse'. Did you mean 'database'"),
        ('[deployments.churn]\ntabel = "x"', "unknown setting 'tabel'. Did you mean 'table'"),
        ("database = 3", "3 is not a text"),
        ('allow_pickle = "perhaps"', "'perhaps' is not true or false"),
        ('[deployments.churn]\nengine = "sqll"', "'sqll' is not an engine. Did you mean 'sql'"),
        ("[deployments.churn]\nkey = []", "is not a column name or a list"),
        ('[deployments.churn]\nthreshold = "high"', "'high' is not a number"),
        ("deployments = 1", "is not a table"),
        ("a = = 1", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path, text)

    with pytest.raises(UsageError, match=r"sqlml\.toml") as raised:
        load(tmp_path)

    assert message in str(raised.value)


def test_a_misspelt_variable_is_refused_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    assert load(tmp_path, SQLML_SOMETHING_ELSE="1").database is None
    with pytest.raises(UsageError, match="Did you mean 'SQLML_DATABASE'"):
        load(tmp_path, SQLML_DATABSE="x")


@pytest.mark.parametrize(("spelled", "meant"), [("1", True), ("on", True), ("0", False), ("False", False)])
def test_flags_in_the_environment(tmp_path: Path, spelled: str, meant: bool) -> None:
    assert load(tmp_path, SQLML_REQUIRE_ISOLATION=spelled).require_isolation is meant


def test_a_deployment_is_found_by_its_model_and_flags_win(tmp_path: Path) -> None:
    written(
        tmp_path,
        '[deployments.churn]\ntable = "customers"\nkey = ["a", "b"]\nthreshold = 1\n[deployments.late]\nmodel = "delays"\n',
    )
    settings = load(tmp_path, SQLML_THRESHOLD="0.25")

    churn = settings.deployment("churn", flags={"table": "other", "engine": None})

    assert (churn.name, churn.table, churn.key, churn.threshold) == ("churn", "other", ("a", "b"), 0.25)
    assert (churn.origins["table"], churn.origins["threshold"]) == ("--table", "SQLML_THRESHOLD")
    assert settings.deployment("delays").name == "late"
    assert settings.deployment("unknown").table is None


def test_two_deployments_of_one_model_need_a_name(tmp_path: Path) -> None:
    written(tmp_path, '[deployments.a]\nmodel = "churn"\n[deployments.b]\nmodel = "churn"\ntable = "t"\n')
    settings = load(tmp_path)

    with pytest.raises(UsageError, match=r"--name. Valid: 'a', 'b'"):
        settings.deployment("churn")
    assert settings.deployment("churn", "b").table == "t"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer_id", ("customer_id",)),
        ("country,id", ("country", "id")),
        ('"a,b", "say ""x""" ,c d', ("a,b", 'say "x"', "c d")),
        ("id DECIMAL(10,2)", ("id DECIMAL(10,2)",)),
        (" , ", ()),
    ],
)
def test_names_are_listed_with_commas(text: str, expected: tuple[str, ...]) -> None:
    assert config.names(text) == expected


def test_the_template_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    path = settings_file.write_template(tmp_path)

    assert load(tmp_path).database == str(tmp_path / "warehouse.duckdb")
    with pytest.raises(UsageError, match="exists already"):
        settings_file.write_template(tmp_path)
    uncommented = path.read_text(encoding="utf-8").replace("# [dep", "[dep")
    for line in ("model", "table", "key", "engine", "threshold", "live", "allow_pickle", "require_isolation"):
        uncommented = uncommented.replace(f"# {line} =", f"{line} =")
    path.write_text(uncommented, encoding="utf-8")
    assert load(tmp_path).deployment("churn").key == ("customer_id",)


def test_the_section_of_hbase_is_under_its_variables_and_says_where_values_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, '[hbase]\nallow = ["h:9090"]\ntimeout = 5\ntls_ca = "ca.pem"')

    settings = load(tmp_path, SQLML_HBASE_TIMEOUT="2", SQLML_HBASE_TLS="on", SQLML_HBASE_IDLE="")

    assert dict(settings.hbase) == {"allow": ("h:9090",), "timeout": 2, "tls": True, "tls_ca": str(tmp_path / "ca.pem")}
    assert settings.origins["hbase.timeout"] == "SQLML_HBASE_TIMEOUT"
    assert settings.origins["hbase.allow"] == str(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hbase = 3", "hbase in .* is not a table"),
        ("[hbase]\nalow = []", "unknown setting 'alow'. Did you mean 'allow'"),
        ('[hbase]\nsasl_password = "s3cret"', "holds sasl_password"),
    ],
)
def test_a_mistake_in_the_section_of_hbase_is_named(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path, text)

    with pytest.raises(UsageError, match=message) as refused:
        load(tmp_path)
    assert "s3cret" not in str(refused.value)
