"""Talking to MLflow: quietly, within seconds, and with its errors as ours.

mlflow is imported here and only when something is asked of a registry.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from sqlml.errors import ModelNotFound, RegistryError, SqlmlError
from sqlml.silence import no_lines_of_mlflow, no_warnings

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own defaults try an unreachable server 8 times for 120 seconds each. What the caller has set stays.
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
# A server that has the files elsewhere brings them whole before it sends the first byte, and waits itself, minutes if
# need be, for a store that is just not there. More patience than its own helps nobody.
BOUNDS_OF_DOWNLOADS = {**BOUNDS, "MLFLOW_HTTP_REQUEST_TIMEOUT": "300"}
# A request took 21 s of a rollback that was done, and the database's file with it, where a server did not answer.
BOUNDS_IN_PASSING = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
CHECK_URI = "Check --tracking-uri, SQLML_TRACKING_URI or tracking_uri in sqlml.toml."


@dataclass(frozen=True)
class Store:
    """An open MLflow: its client, and the URIs that its artifact stores want to know."""

    client: MlflowClient
    tracking_uri: str
    registry_uri: str


@contextmanager
def opened(
    tracking_uri: str | None, registry_uri: str | None, *, bounds: Mapping[str, str] = BOUNDS
) -> Iterator[Store]:
    """MLflow at these URIs; None means what MLflow itself would use. Nothing is created that is not there.

    `bounds` limit every request to MLflow's server.

    Raises:
        ModelNotFound: MLflow says that what was asked for does not exist.
        RegistryError: the registry is unreachable, refuses us, or is not an MLflow registry.
    """
    for uri in (tracking_uri, registry_uri):
        if uri is not None:
            _refuse_absent(uri)
    # What matters to a person of MLflow's warnings and log lines, sqlml says.
    with no_warnings(), no_lines_of_mlflow(), environment(bounds):
        import mlflow

        tracking = tracking_uri or mlflow.get_tracking_uri()
        registry = registry_uri or (tracking if tracking_uri else mlflow.get_registry_uri())
        if tracking_uri is None:
            _refuse_absent(tracking, is_default=True)
        with our_errors(registry):
            yield Store(mlflow.MlflowClient(tracking, registry), tracking, registry)


def _refuse_absent(uri: str, *, is_default: bool = False) -> None:
    """MLflow would create a missing SQLite file or folder: an empty registry out of a typing mistake."""
    path = _sqlite_file(uri)
    hint = (
        "Name one with --tracking-uri, SQLML_TRACKING_URI or tracking_uri in sqlml.toml." if is_default else CHECK_URI
    )
    if path is not None:
        if not path.is_file():
            raise RegistryError(f"There is no MLflow registry: the file {path} does not exist.", hint=hint)
        _refuse_other_sqlite(path)
        return
    folder = local_path(uri)
    if folder is not None and not folder.is_dir():
        raise RegistryError(f"There is no MLflow registry: the folder {folder} does not exist.", hint=hint)


def _refuse_other_sqlite(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'registered_models'").fetchone()
    except sqlite3.Error as error:
        raise RegistryError(f"{path} cannot be read as an MLflow registry: {error}.", hint=CHECK_URI) from error
    if found is None:
        raise RegistryError(f"{path} is a SQLite file, but not an MLflow registry.", hint=CHECK_URI)


def _sqlite_file(uri: str) -> Path | None:
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]*)", uri)
    return Path(match[1]) if match and match[1] not in ("", ":memory:") else None


def local_path(uri: str) -> Path | None:
    """The path that a `file:` URI or a plain path means; None for any other scheme."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme == "" and uri and uri != "databricks":
        return Path(uri)
    return None


def shown(text: str) -> str:
    """A URI, or a message with one in it, as it may be printed: without a user's name, password or token.

    >>> shown("http://me:secret@host:5000/x failed")
    'http://...@host:5000/x failed'
    >>> shown("hbase://models@host:9090/churn")  # the name of a table
    'hbase://models@host:9090/churn'
    """
    return _USER.sub(_without_user, text)


# A password may hold an unescaped slash (SQLAlchemy reads it so); digits before the slash are a port.
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)?://(?P<user>[^/\s]+|[^/\s:@\[]*:(?!\d{1,5}/)[^\s@]*)@")


def _without_user(match: re.Match[str]) -> str:
    is_table = (match["scheme"] or "").lower() == "hbase" and re.fullmatch(r"[A-Za-z0-9_.-]+", match["user"])
    return match[0] if is_table else f"{match['scheme'] or ''}://...@"


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """The variables set unless the caller has set them, for the length of the block."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def in_passing() -> Iterator[None]:
    """For what MLflow is told beside something else and can be told later: no request of the process is made twice or waits
    for long while the block runs."""
    with environment(BOUNDS_IN_PASSING):
        yield


@contextmanager
def our_errors(uri: str) -> Iterator[None]:
    """What MLflow, or a plugin of its, raises inside the block as ours."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except SqlmlError:
        raise
    except MlflowException as error:
        raise _ours(str(error), error.error_code, uri) from error
    except Exception as error:
        # SQLAlchemy, requests and any plugin raise what they like: everything here is "the registry could not be read".
        raise RegistryError(f"The registry {shown(uri)} failed: {_first_line(str(error))}.", hint=CHECK_URI) from error


def _ours(message: str, code: str, uri: str) -> RegistryError:
    line = _first_line(message)
    status = re.search(r"error code (\d{3})", message)
    if "failed with exception" in message:  # requests' own exception, wrapped: no answer at all
        return RegistryError(
            f"The registry {shown(uri)} cannot be reached: {_reason(message)}.",
            hint="Check that it runs and that the address is right: --tracking-uri, SQLML_TRACKING_URI or sqlml.toml.",
        )
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or (status and status[1] in ("401", "403")):
        return RegistryError(
            f"The registry {shown(uri)} refuses access: {line}.",
            hint="Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return ModelNotFound(f"{line}.", hint="Check the reference.")
    if "out-of-date database schema" in message or "Can't locate revision" in message:
        return RegistryError(
            f"The registry {shown(uri)} was made by another version of MLflow: {line}.",
            hint="Take a backup, then run: mlflow db upgrade URI.",
        )
    return RegistryError(f"The registry {shown(uri)} failed: {line}.", hint=CHECK_URI)


def _first_line(message: str) -> str:
    return shown(
        message.strip().splitlines()[0].removeprefix("RESOURCE_DOES_NOT_EXIST: ").rstrip(". ") if message else ""
    )


def _reason(message: str) -> str:
    if answered := re.search(r"too many (\d{3}) error responses", message):
        return f"it answers with errors ({answered[1]})"
    for sign, reason in (
        ("NameResolution", "the host name is unknown"),
        ("Name or service not known", "the host name is unknown"),
        ("timed out", "it did not answer in time"),
        ("refused", "the connection was refused"),
        ("SSL", "the TLS connection failed"),
    ):
        if sign in message:
            return reason
    return _first_line(message)
