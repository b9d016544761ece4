"""Settings: flags win over the environment, the environment over `sqlml.toml` (or `[tool.sqlml]` in pyproject.toml).

Where each value came from is kept, so that `sqlml doctor` can say it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

from sqlml.errors import UsageError, choices

FILE_NAME = "sqlml.toml"

Kind = Literal[
    "text",
    "path",
    "uri",
    "flag",
    "number",
    "whole number",
    "names",
    "places",
    "engine",
    "environment",
    "amount to keep",
]
ENGINES = ("auto", "sql", "native", "python", "pyfunc")
KEEPS = ("none", "hash", "inputs")
CHOICES = {"engine": ENGINES, "amount to keep": KEEPS}

SETTINGS: dict[str, Kind] = {
    "database": "path",
    "tracking_uri": "uri",
    "registry_uri": "uri",
    "allow_pickle": "flag",
    "require_isolation": "flag",
    "model_env": "environment",
    "model_timeout": "number",
    "model_memory": "number",
}
# Read where it is needed, from the variable only: where models' environments are kept says nothing about a project.
CACHE_VARIABLE = "SQLML_MODEL_ENV_CACHE"
DEPLOYMENT_SETTINGS: dict[str, Kind] = {
    "model": "text",
    "table": "text",
    "key": "names",
    "engine": "engine",
    "threshold": "number",
    "live": "flag",
    "keep": "amount to keep",
    "keep_versions": "whole number",
    "older_than": "text",
}
# The variables that MLflow's own tools read; sqlml's win over them.
MLFLOW_VARIABLES = {"tracking_uri": "MLFLOW_TRACKING_URI", "registry_uri": "MLFLOW_REGISTRY_URI"}
# The hbase:// store, section [hbase]; each has a variable SQLML_HBASE_..., and `sqlml.hbase.settings` knows their meaning.
HBASE_SETTINGS: dict[str, Kind] = {
    "allow": "places",
    "timeout": "number",
    "deadline": "number",
    "first_contact": "number",
    "idle": "number",
    "connections": "number",
    "transport": "text",
    "protocol": "text",
    "tls": "flag",
    "tls_ca": "path",
    "tls_certificate": "path",
    "tls_key": "path",
    "tls_key_password_file": "path",
    "tls_check_name": "flag",
    "sasl": "text",
    "sasl_service": "text",
    "sasl_user": "text",
    "sasl_password_file": "path",
}
HBASE_SECRETS = ("sasl_password", "tls_key_password")  # only a variable, or a file of its own, may hold these
# Settings of the deployment at hand that a variable may give, so that CI needs no file.
ENVIRONMENT_OF_DEPLOYMENT = ("table", "key", "engine", "threshold", "live", "keep")


@dataclass(frozen=True)
class DeploymentSettings:
    """What is said about one deployment; None where nothing is."""

    name: str | None = None  # the deployment's, where the file has a section for it
    model: str | None = None  # the registered model's name, where it is not the deployment's
    table: str | None = None
    key: tuple[str, ...] | None = None
    engine: str | None = None
    threshold: float | None = None
    live: bool | None = None
    keep: str | None = None
    keep_versions: int | None = None
    older_than: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Settings:
    """All settings of this run. `origins` says per setting where its value came from."""

    database: str | None = None
    tracking_uri: str | None = None
    registry_uri: str | None = None
    allow_pickle: bool = True
    require_isolation: bool = False
    model_env: str = "auto"
    model_timeout: float = 120
    """Seconds that a model's process may take for one request: a conversion, or a batch of rows."""
    model_memory: float = 4096  # MB
    deployments: Mapping[str, DeploymentSettings] = field(default_factory=dict)
    hbase: Mapping[str, Any] = field(default_factory=dict)  # Any: each of its kind in HBASE_SETTINGS
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    file: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def require_database(self) -> str:
        if self.database is None:
            raise UsageError(
                "No database is named.",
                hint=f'Give --database FILE, set SQLML_DATABASE, or write database = "warehouse.duckdb" into {FILE_NAME}'
                " (sqlml init makes one).",
            )
        return self.database

    def deployment(
        self, model: str | None, name: str | None = None, flags: Mapping[str, object] | None = None
    ) -> DeploymentSettings:
        """The settings for deploying `model` (a registered name) under `name`, the flags already laid over them.

        A section of the file is meant by the deployment's name, or, where no name is given, by its model.
        """
        section = self._section(model, name)
        values = {key: getattr(section, key) for key in DEPLOYMENT_SETTINGS if getattr(section, key) is not None}
        origins = dict(section.origins)
        for key in ENVIRONMENT_OF_DEPLOYMENT:
            variable = f"SQLML_{key.upper()}"
            if self.environ.get(variable):
                values[key] = _converted(self.environ[variable], DEPLOYMENT_SETTINGS[key], variable)
                origins[key] = variable
        for key, value in (flags or {}).items():
            if value is not None:
                values[key] = _converted(value, DEPLOYMENT_SETTINGS[key], f"--{key}")
                origins[key] = f"--{key}"
        return DeploymentSettings(name=name or section.name, origins=origins, **values)

    def _section(self, model: str | None, name: str | None) -> DeploymentSettings:
        if name is not None:
            return self.deployments.get(name, DeploymentSettings())
        fitting = [d for d in self.deployments.values() if model is not None and (d.model or d.name) == model]
        if len(fitting) > 1:
            raise UsageError(
                f"{self.file} has several deployments of the model {model!r}.",
                hint=f"Say which one with --name. {choices([d.name or '' for d in fitting])}",
            )
        return fitting[0] if fitting else DeploymentSettings()


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    start: Path | None = None,
) -> Settings:
    """The settings in force: `flags` (None means not given), `environ` (default: the process's own), and the file
    found upward from `start` (default: the working directory).

    Raises:
        UsageError: an unknown setting, a value of the wrong kind, or a file that is not TOML.
    """
    environ = os.environ if environ is None else environ
    file, document = _find_file(start or Path.cwd())
    values: dict[str, Any] = {}  # Any: converted by SETTINGS, which mirrors the fields of Settings
    origins: dict[str, str] = {}
    if file is not None:
        _refuse_unknown(document, [*SETTINGS, "deployments", "hbase"], str(file))
    _refuse_misspelt(environ)
    for key, kind in SETTINGS.items():
        for origin, value in _candidates(key, flags or {}, environ, file, document):
            values[key] = _converted(value, kind, origin)
            if origin == str(file):
                values[key] = _beside(values[key], kind, cast(Path, file).parent)
            origins[key] = origin
            break
    deployments = _deployments(document.get("deployments", {}), file) if file is not None else {}
    hbase = _hbase(document.get("hbase", {}), file, environ, origins)
    return Settings(deployments=deployments, hbase=hbase, origins=origins, file=file, environ=dict(environ), **values)


def _candidates(
    key: str, flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None, document: Mapping[str, Any]
) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    if flags.get(key) is not None:
        found.append((f"--{key.replace('_', '-')}", flags[key]))
    for variable in (f"SQLML_{key.upper()}", MLFLOW_VARIABLES.get(key)):
        if variable and environ.get(variable):  # empty counts as not set, as shells unset things that way
            found.append((variable, environ[variable]))
    if key in document:
        found.append((str(file), document[key]))
    return found


def _find_file(start: Path) -> tuple[Path | None, dict[str, Any]]:
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME, _read(folder / FILE_NAME)
        project = folder / "pyproject.toml"
        if project.is_file():
            section = _read(project).get("tool", {}).get("sqlml")
            if isinstance(section, dict):
                return project, section
    return None, {}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.", hint="Correct that line.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error


def _deployments(sections: object, file: Path) -> dict[str, DeploymentSettings]:
    if not isinstance(sections, dict):
        raise UsageError(
            f"deployments in {file} is not a table.", hint="Write [deployments.churn] and settings under it."
        )
    result = {}
    for name, section in sections.items():
        where = f"[deployments.{name}] in {file}"
        if not isinstance(section, dict):
            raise UsageError(f"{where} is not a table.", hint="Write its settings under it, one a line.")
        _refuse_unknown(section, list(DEPLOYMENT_SETTINGS), where)
        values = {key: _converted(value, DEPLOYMENT_SETTINGS[key], where) for key, value in section.items()}
        result[name] = DeploymentSettings(name=name, origins=dict.fromkeys(values, str(file)), **values)
    return result


def _hbase(
    section: object, file: Path | None, environ: Mapping[str, str], origins: dict[str, str]
) -> dict[str, Any]:  # Any: converted by HBASE_SETTINGS
    if not isinstance(section, dict):
        raise UsageError(f"hbase in {file} is not a table.", hint="Write [hbase] and settings under it.")
    where = f"[hbase] in {file}"
    for key in HBASE_SECRETS:
        if key in section:
            raise UsageError(
                f"{where} holds {key}.",
                hint=f"Set SQLML_HBASE_{key.upper()}, or name a file that only you can read with {key}_file.",
            )
    _refuse_unknown(section, list(HBASE_SETTINGS), where)
    values = {}
    for key, kind in HBASE_SETTINGS.items():
        variable = f"SQLML_HBASE_{key.upper()}"
        if environ.get(variable):
            values[key], origins[f"hbase.{key}"] = _converted(environ[variable], kind, variable), variable
        elif key in section and file is not None:
            value = _converted(section[key], kind, f"{key} of {where}")
            values[key], origins[f"hbase.{key}"] = _beside(value, kind, file.parent), str(file)
    return values


def _refuse_unknown(document: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in document:
        if key not in known:
            raise UsageError(f"{where} has an unknown setting {key!r}.", hint=choices(known, wrong=key))


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours; other SQLML_ names may belong to somebody else's tool."""
    known = [f"SQLML_{key.upper()}" for key in (*SETTINGS, *ENVIRONMENT_OF_DEPLOYMENT)]
    known += [CACHE_VARIABLE]
    known += [f"SQLML_HBASE_{key.upper()}" for key in (*HBASE_SETTINGS, *HBASE_SECRETS)]
    for variable in environ:
        if variable.startswith("SQLML_") and variable not in known and get_close_matches(variable, known, 1, 0.88):
            raise UsageError(
                f"There is no setting for the environment variable {variable}.", hint=choices(known, wrong=variable)
            )


def names(text: str) -> tuple[str, ...]:
    """Names as a person lists them on a command line: commas separate, double quotes protect.

    >>> names('country, "a,b", id DECIMAL(10, 2)')
    ('country', 'a,b', 'id DECIMAL(10, 2)')
    """
    parts = [part.strip() for part in re.findall(r'(?:"(?:[^"]|"")*"|\([^()]*\)|[^,"])+', text)]
    return tuple(
        part[1:-1].replace('""', '"') if re.fullmatch(r'"(?:[^"]|"")*"', part) else part for part in parts if part
    )


def _converted(value: object, kind: Kind, where: str) -> Any:  # Any: the type follows from `kind`
    """`value` as its setting wants it; texts come from flags and the environment, anything from TOML."""
    if kind == "flag":
        return _flag(value, where)
    if kind == "number":
        try:
            return float(cast(str, value)) if not isinstance(value, bool) else _wrong(value, "a number", where)
        except (TypeError, ValueError):
            return _wrong(value, "a number", where)
    if kind == "whole number":
        return (
            value if isinstance(value, int) and not isinstance(value, bool) else _wrong(value, "a whole number", where)
        )
    if kind == "names":
        listed = names(value) if isinstance(value, str) else value
        if not isinstance(listed, list | tuple) or not listed or not all(isinstance(n, str) and n for n in listed):
            return _wrong(value, "a column name or a list of them", where)
        return tuple(listed)
    if kind == "places":
        listed = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(part, str) and part for part in listed):
            return _wrong(value, 'a list like ["hbase.example:9090"]', where)
        return tuple(listed)
    if not isinstance(value, str) or not value:
        return _wrong(value, "a text" if value != "" else "a text with anything in it", where)
    if kind in CHOICES and value not in CHOICES[kind]:
        raise UsageError(f"{where}: {value!r} is not an {kind}.", hint=choices(CHOICES[kind], wrong=value))
    return value


def _flag(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    spelled = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if str(value).lower() not in spelled:
        _wrong(value, "true or false (1 or 0)", where)
    return spelled[str(value).lower()]


def _wrong(value: object, expected: str, where: str) -> None:
    raise UsageError(f"{where}: {value!r} is not {expected}.", hint=f"Give {expected}.")


def _beside(value: Any, kind: Kind, folder: Path) -> Any:  # Any: passed through
    """Paths in a file are meant from the file's own folder, wherever the command runs."""
    if kind == "environment":
        return value if value in ("auto", "current") else str(folder / Path(value).expanduser())
    if kind == "path" and value != ":memory:" and "://" not in value:
        return str(folder / Path(value).expanduser())
    if kind == "uri" and value.startswith("sqlite:///") and not value.startswith("sqlite:////"):
        return f"sqlite:///{folder / value.removeprefix('sqlite:///')}"
    if kind == "uri" and ":" not in value and value != "databricks":
        return str(folder / value)
    return value
