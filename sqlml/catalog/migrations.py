"""The tables of the `sqlml` schema, as numbered migrations, each applied once with its record in the same transaction.

Never change a migration that was released; add one. Texts that hold JSON are VARCHAR: a shell without DuckDB's json
extension can still read every table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from sqlml.catalog.dependents import DEPENDS_ON
from sqlml.catalog.first import FIRST_CATALOG
from sqlml.catalog.policies import FOLLOWING
from sqlml.catalog.provenance import COLLECTED, PROVENANCE, RECALLED, RECALLS, TURNING_POINTS
from sqlml.database import atomic
from sqlml.errors import CatalogTooNew, Conflict, NameRefused
from sqlml.relation import schema_exists, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SCHEMA = "sqlml"
LONGEST_S = 10.0
"""What another connection's migrations may take before ours are given up: they are many times faster."""
KEEPS_ANSWERS = 4
"""The migration since which sqlml.parity has the model's own answers beside the evidence."""


def first_catalog(connection: Connection) -> None:
    for statement in FIRST_CATALOG:
        connection.execute(statement)


def artifact_stores(connection: Connection) -> None:
    connection.execute("ALTER TABLE sqlml.versions ADD COLUMN artifact_store VARCHAR")


def model_files(connection: Connection) -> None:
    connection.execute(
        """CREATE TABLE sqlml.model_files (
            artifact_sha256 VARCHAR NOT NULL, -- as in sqlml.versions: over all files' paths and hashes
            path VARCHAR NOT NULL,
            part INTEGER NOT NULL,            -- 0, 1, 2 ... of the file
            content BLOB NOT NULL
        )"""
    )
    # auto, current or a path: where a model is asked again, which must be where it was asked first.
    connection.execute("ALTER TABLE sqlml.versions ADD COLUMN model_env VARCHAR")


def recorded_answers(connection: Connection) -> None:
    # An Arrow file: rows made from the model alone, with what it answered to them then.
    connection.execute("ALTER TABLE sqlml.parity ADD COLUMN recorded BLOB")


def models_uncompressed(connection: Connection) -> None:
    # Measured, a first query of one model of 4 MB among 30: DuckDB 2 compresses BLOBs together (ZSTD) and read all 126 MB
    # of them for it, with a primary key half; uncompressed it reads that model's own.
    connection.execute(
        """CREATE TABLE sqlml.models_uncompressed (
            sha256 VARCHAR NOT NULL,
            onnx BLOB NOT NULL USING COMPRESSION uncompressed,
            bytes BIGINT NOT NULL,
            signature VARCHAR NOT NULL,
            reasons VARCHAR[] NOT NULL,
            precision VARCHAR NOT NULL,
            origin VARCHAR NOT NULL,
            created_at TIMESTAMP NOT NULL
        )"""
    )
    connection.execute("INSERT INTO sqlml.models_uncompressed SELECT * FROM sqlml.models ORDER BY created_at")
    connection.execute("DROP TABLE sqlml.models")
    connection.execute("ALTER TABLE sqlml.models_uncompressed RENAME TO models")


def labellings(connection: Connection) -> None:
    connection.execute(
        """CREATE TABLE sqlml.labellings (
            labelling_id UUID NOT NULL,       -- as in <deployment>.labels_v<N>
            deployment VARCHAR NOT NULL,
            source VARCHAR NOT NULL,
            key_columns VARCHAR[] NOT NULL,   -- as they are called in the source, in the deployment's order
            label_column VARCHAR NOT NULL,
            time_column VARCHAR NOT NULL,
            rows_read BIGINT NOT NULL,
            rows_added BIGINT NOT NULL,
            rows_corrected BIGINT NOT NULL,   -- another label than before, of the same key and time; both are kept
            rows_unchanged BIGINT NOT NULL,   -- known already
            rows_left_out BIGINT NOT NULL,
            left_out VARCHAR NOT NULL,        -- JSON: why, and how many
            versions VARCHAR NOT NULL,        -- JSON: how many rows each version got
            who VARCHAR NOT NULL,
            job_id VARCHAR,
            started_at TIMESTAMP NOT NULL,
            finished_at TIMESTAMP NOT NULL
        )"""
    )


def lifecycle(connection: Connection) -> None:
    # Why an attempt failed, of versions whose state is that.
    connection.execute("ALTER TABLE sqlml.versions ADD COLUMN failure VARCHAR")
    # What the database itself calls the user, beside the operating system's name: a claim too.
    connection.execute("ALTER TABLE sqlml.history ADD COLUMN database_user VARCHAR")
    connection.execute("UPDATE sqlml.versions SET state = 'planned' WHERE state = 'staged'")


def write_backs(connection: Connection) -> None:
    connection.execute(
        """CREATE TABLE sqlml.write_backs (
            deployment VARCHAR NOT NULL,
            version INTEGER NOT NULL,
            tries INTEGER NOT NULL,
            problem VARCHAR,              -- of the last try
            wanted_at TIMESTAMP NOT NULL,
            tried_at TIMESTAMP
        )"""
    )


def kept_inputs(connection: Connection) -> None:
    connection.execute("ALTER TABLE sqlml.versions ADD COLUMN keep VARCHAR")


def recalls(connection: Connection) -> None:
    connection.execute(RECALLS)
    connection.execute(RECALLED)


def behind_predictions(connection: Connection) -> None:
    connection.execute(TURNING_POINTS)
    connection.execute(PROVENANCE)


def collected(connection: Connection) -> None:
    connection.execute(COLLECTED)


def depends_on(connection: Connection) -> None:
    connection.execute(DEPENDS_ON)


def following(connection: Connection) -> None:
    connection.execute(FOLLOWING)


MIGRATIONS: tuple[tuple[str, Callable[[Connection], None]], ...] = (
    ("first catalog", first_catalog),
    # JSON: where an artifact store keeps each file, under which id, with its sha256; NULL where the store does not say.
    ("what the artifact store recorded, per version", artifact_stores),
    # Of models that are asked and not converted, so that scoring needs neither the registry nor the network.
    ("files of models that are asked, and the environment they are asked in", model_files),
    ("answers of then, which verify compares with those of now", recorded_answers),
    ("models that are read one at a time", models_uncompressed),
    ("labels that were observed", labellings),
    ("states of the lifecycle, failed attempts, and the database's own notion of who", lifecycle),
    # A row is what MLflow is still to be told: written before it is tried, removed when it is done.
    ("what MLflow is still to be told", write_backs),
    # none, hash or inputs; NULL is hash, which every version before kept.
    ("what is kept of the inputs that a version saw", kept_inputs),
    # Append-only: a recall that was undone is two rows.
    ("recalls of predictions", recalls),
    ("where a model's answers change, and what is behind every prediction", behind_predictions),
    ("what gc has removed, and whether it is back", collected),
    ("what depends on something, from any shell", depends_on),
    ("what deployments follow in the registry", following),
)
COLLECTS = 1 + [change for _, change in MIGRATIONS].index(collected)
"""The migration since which gc can say what it has removed."""
KEEPS_RECALLS = 1 + [change for _, change in MIGRATIONS].index(recalls)
"""The migration since which predictions can be recalled."""
FOLLOWS = 1 + [change for _, change in MIGRATIONS].index(following)
"""The migration since which it is recorded what a deployment follows."""
KEEPS_WRITE_BACKS = 1 + [change for _, change in MIGRATIONS].index(write_backs)
"""The migration since which what MLflow is still to be told is remembered."""
KEEPS_INPUTS = 1 + [change for _, change in MIGRATIONS].index(kept_inputs)
"""The migration since which versions say what is kept of their inputs."""
LIFECYCLE = 1 + [change for _, change in MIGRATIONS].index(lifecycle)
"""The migration since which a version can be planned, shadow or failed."""
TURNING = 1 + [change for _, change in MIGRATIONS].index(behind_predictions)
"""The migration since which it is kept where a model's answers change."""


_applied: ContextVar[tuple[Connection, int] | None] = ContextVar("applied", default=None)


@contextmanager
def asked_once(connection: Connection) -> Iterator[None]:
    """Within the block `applied` answers this connection from memory: for routines that ask often and migrate nothing."""
    token = _applied.set((connection, applied(connection)))
    try:
        yield
    finally:
        _applied.reset(token)


def applied(connection: Connection) -> int:
    """How many migrations the database has had; 0 where sqlml was never used.

    Raises:
        CatalogTooNew: a newer sqlml made the file.
        NameRefused: there is a schema `sqlml` that sqlml did not make.
    """
    known = _applied.get()
    if known is not None and known[0] is connection:
        return known[1]
    records = (SCHEMA, "migrations")
    if not table_exists(connection, records):
        if not schema_exists(connection, SCHEMA):
            return 0
        # Asked again: another connection may have made both since, which it does at once.
        if not table_exists(connection, records):
            raise NameRefused(
                "The database has a schema called sqlml that sqlml did not make.",
                hint="Rename it: sqlml keeps its catalog there.",
            )
    row = connection.execute(
        "SELECT coalesce(max(number), 0), max_by(sqlml_version, number) FROM sqlml.migrations"
    ).fetchone()
    number, maker = row if row else (0, None)
    if number > len(MIGRATIONS):
        raise CatalogTooNew(
            f"This database was written by sqlml {maker}, whose catalog (format {number}) is newer than"
            f" this sqlml's (format {len(MIGRATIONS)}).",
            hint=f"Upgrade: pip install 'sqlml>={maker}'.",
        )
    return int(number)


def migrate(connection: Connection) -> int:
    """Bring the catalog up to date; returns how many migrations this connection applied.

    Another connection that does so too is waited for.

    Raises:
        Conflict: it did not end within `LONGEST_S`.
        CatalogTooNew, NameRefused: as `applied` does.
    """
    until = time.monotonic() + LONGEST_S
    own = 0
    while (number := applied(connection) + 1) <= len(MIGRATIONS):
        try:
            own += _apply(connection, number)
        except Conflict:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
    return own


def _apply(connection: Connection, number: int) -> bool:
    """False: another connection has done it since."""
    import duckdb

    from sqlml.version import __version__

    name, change = MIGRATIONS[number - 1]
    with atomic(connection, "the sqlml catalog"):
        if applied(connection) >= number:
            return False
        if number == 1:
            connection.execute("CREATE SCHEMA sqlml")
            connection.execute(
                "CREATE TABLE sqlml.migrations (number INTEGER NOT NULL, name VARCHAR NOT NULL,"
                " sqlml_version VARCHAR NOT NULL, duckdb_version VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)"
            )
        change(connection)
        connection.execute(
            "INSERT INTO sqlml.migrations VALUES (?, ?, ?, ?, make_timestamp(epoch_us(now())))",
            [number, name, __version__, duckdb.__version__],
        )
        return True
