"""The predictions of every deployment as Parquet, one directory per deployment, replaced as a whole.

    TARGET/churn -> .churn.sqlml-1f0c...    a symbolic link, exchanged by one rename
    TARGET/churn/current.parquet            the active version's predictions
    TARGET/churn/predictions_v1.parquet     each version's

A directory cannot be renamed over another, but a link can: who opens TARGET/churn/current.parquet opens the old file or
the new one. The directory published before stays until the next time, for readers in the middle of it; who reads several
files and wants them of one moment resolves the link first (`realpath TARGET/churn`).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import placing, sql
from sqlml.catalog import records
from sqlml.database import DatabaseFacts, translated
from sqlml.errors import Conflict, DatabaseError, NotDeployed, UsageError
from sqlml.publication import Published

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

MARK = "sqlml-"
WIDE = frozenset({"HUGEINT", "UHUGEINT"})
"""Parquet has no such integers, and DuckDB would write them as DOUBLE: they are written as text, which loses nothing."""


def write_parquet(connection: Connection, database: DatabaseFacts, place: Path, began: float) -> Published:
    """Raises NotDeployed if there are no predictions to publish, Conflict if another publishes there."""
    if place.is_file():
        raise UsageError(f"{place} is a file.", hint="Name a directory for --format parquet.")
    contents = _contents(connection)
    if not contents:
        raise NotDeployed(
            f"{database.path or database.name} has no stored predictions to publish.",
            hint="Deploy with --table and --key, or score first.",
        )
    place.mkdir(exist_ok=True)
    with _alone(place), translated(str(place)):
        made = _write_all(connection, place, contents)
        size = sum(file.stat().st_size for directory in made.values() for file in directory.iterdir())
        for deployment, directory in made.items():
            _exchange(directory, place / folder_name(deployment))
    return Published(
        path=str(place),
        format="parquet",
        bytes=size,
        contents=tuple(f"{folder_name(d)}/{name}.parquet" for d, names in contents.items() for name in names),
        left_out=(),
        storage=None,
        seconds=round(time.monotonic() - began, 3),
    )


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One publisher at a time: another's half-written directory and an old one look the same."""
    with (place / ".sqlml-publish.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"Another process publishes to {place}.", hint="Run it again when that has finished."
            ) from error
        yield


def _contents(connection: Connection) -> dict[str, list[str]]:
    """Deployment -> its `current` and its prediction tables, as far as they are there."""
    found: dict[str, list[str]] = {}
    for deployment in records.deployments(connection):
        names = ["current", *(v.prediction_table or "" for v in records.versions(connection, deployment.name))]
        there = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = $1"
            " UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = current_database() AND schema_name = $1",
            [deployment.name],
        ).fetchall()
        kept = [name for name in names if (name,) in there]
        if kept:
            found[deployment.name] = kept
    return found


def _write_all(connection: Connection, place: Path, contents: dict[str, list[str]]) -> dict[str, Path]:
    made: dict[str, Path] = {}
    connection.execute("BEGIN")  # one snapshot for all deployments
    try:
        for deployment, names in contents.items():
            target = place / folder_name(deployment)
            _remove_old(target)
            made[deployment] = target.with_name(f".{target.name}.{MARK}{secrets.token_hex(8)}")
            made[deployment].mkdir()
            for name in names:
                _write(connection, (deployment, name), made[deployment] / f"{name}.parquet")
            placing.sync(made[deployment])
    except BaseException:
        for directory in made.values():
            placing.remove(directory)
        raise
    finally:
        connection.execute("ROLLBACK")
    return made


def _remove_old(target: Path) -> None:
    """What was interrupted, and what was published before the present one."""
    if target.exists() and not target.is_symlink():
        raise DatabaseError(
            f"{target} is there and was not published by sqlml.", hint="Publish to another directory, or move it."
        )
    present = os.readlink(target) if target.is_symlink() else None
    ours = re.compile(rf"\.{re.escape(target.name)}\.{MARK}[0-9a-f]{{16}}(\.link)?")
    for path in target.parent.iterdir():
        if ours.fullmatch(path.name) and path.name != present:
            placing.remove(path)


def _write(connection: Connection, path: tuple[str, str], file: Path) -> None:
    described = connection.execute(f"DESCRIBE {sql.render(sql.table(*path))}").fetchall()
    columns = [
        sql.alias(sql.cast(sql.column(name), "VARCHAR"), name) if kind in WIDE else sql.column(name)
        for name, kind, *_ in described
    ]
    query = exp.select(*columns).from_(sql.table(*path))
    connection.execute(sql.copy_to(sql.render(query), str(file), "PARQUET", ()))
    placing.sync(file)


def _exchange(directory: Path, target: Path) -> None:
    link = directory.with_name(f"{directory.name}.link")
    link.symlink_to(directory.name)
    os.replace(link, target)
    placing.sync(target.parent)


def folder_name(deployment: str) -> str:
    """The deployment's name as a directory: letters that a path or a pattern would read otherwise become %XX.

    >>> folder_name("a/b *")
    'a%2Fb %2A'
    """
    return re.sub(r"^\.|[/\\%*?\[\]\x00-\x1f]", lambda found: f"%{ord(found[0]):02X}", deployment)
