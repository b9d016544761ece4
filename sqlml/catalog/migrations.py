"""The tables of the `sqlml` schema, as numbered migrations, each applied once with its record in the same transaction.

Never change a migration that was released; add one. Texts that hold JSON are VARCHAR: a shell without DuckDB's json
extension can still read every table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from sqlml.catalog.dependents import DEPENDS_ON
from sqlml.catalog.policies import FOLLOWING
from sqlml.catalog.provenance import COLLECTED, PROVENANCE, RECALLED, RECALLS, TURNING_POINTS
from sqlml.database import atomic
from sqlml.errors import CatalogTooNew, NameRefused
from sqlml.relation import schema_exists, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SCHEMA = "sqlml"
KEEPS_ANSWERS = 4
"""The migration since which sqlml.parity has the model's own answers beside the evidence."""


def first_catalog(connection: Connection) -> None:
    for statement in FIRST_CATALOG:
        connection.execute(statement)


FIRST_CATALOG = (
    """CREATE TABLE sqlml.models (
        sha256 VARCHAR NOT NULL,      -- of the ONNX bytes
        onnx BLOB NOT NULL,
        bytes BIGINT NOT NULL,
        signature VARCHAR NOT NULL,   -- JSON: columns, kind, classes, targets
        reasons VARCHAR[] NOT NULL,   -- why a row has no prediction; the graph's error output is an index into it
        precision VARCHAR NOT NULL,   -- double or float: what the original computes in
        origin VARCHAR NOT NULL,      -- JSON: estimator, library versions, file hashes
        created_at TIMESTAMP NOT NULL
    )""",
    """CREATE TABLE sqlml.deployments (
        name VARCHAR NOT NULL,
        active_version INTEGER,       -- NULL until a version was switched to
        model VARCHAR NOT NULL,       -- the registered model, or the path, that was deployed last
        source VARCHAR,               -- SQL name of the table or view that is scored; NULL: functions only
        key_columns VARCHAR[] NOT NULL,
        live BOOLEAN NOT NULL,        -- triggers keep the predictions current
        owns_source BOOLEAN NOT NULL, -- the source is <deployment>.inputs, made by sqlml
        function_name VARCHAR[],      -- --as: the plain function, as schema and name
        changes BIGINT NOT NULL,      -- raised by every routine that writes, first thing: two at once conflict here
        created_at TIMESTAMP NOT NULL,
        updated_at TIMESTAMP NOT NULL
    )""",
    """CREATE TABLE sqlml.versions (
        deployment VARCHAR NOT NULL,
        version INTEGER NOT NULL,
        state VARCHAR NOT NULL,       -- staged (callable, not yet switched to), active, retired
        reference VARCHAR NOT NULL,   -- as it was typed
        resolved VARCHAR NOT NULL,    -- what it came to
        model_name VARCHAR,
        model_version VARCHAR,
        model_id VARCHAR,
        run_id VARCHAR,
        tracking_uri VARCHAR,
        registry_uri VARCHAR,
        artifact_uri VARCHAR,
        artifact_sha256 VARCHAR NOT NULL, -- over all files' paths and hashes
        artifact_files VARCHAR NOT NULL,  -- JSON: path, bytes, sha256 of each file
        run VARCHAR,                  -- JSON: experiment, parameters, metrics, training datasets
        model_sha256 VARCHAR NOT NULL,
        signature VARCHAR NOT NULL,
        engine VARCHAR NOT NULL,
        engine_why VARCHAR NOT NULL,
        threshold DOUBLE,             -- binary models: NULL is the model's own rule
        prediction_table VARCHAR,     -- NULL without a source
        source VARCHAR,
        key_columns VARCHAR[] NOT NULL,
        sqlml_version VARCHAR NOT NULL,
        duckdb_version VARCHAR NOT NULL,
        deployed_by VARCHAR NOT NULL,
        deployed_at TIMESTAMP NOT NULL
    )""",
    """CREATE TABLE sqlml.objects (
        deployment VARCHAR NOT NULL,
        version INTEGER NOT NULL,
        role VARCHAR NOT NULL,        -- version (made when staged), active (made by the switch), query (run by scoring)
        kind VARCHAR NOT NULL,        -- macro, table macro, table, view, query
        schema_name VARCHAR NOT NULL,
        name VARCHAR NOT NULL,
        statement VARCHAR NOT NULL    -- what makes it
    )""",
    """CREATE TABLE sqlml.history (
        deployment VARCHAR NOT NULL,
        action VARCHAR NOT NULL,      -- stage, activate, rollback, live on, live off, undeploy
        from_version INTEGER,
        to_version INTEGER,
        why VARCHAR,
        who VARCHAR NOT NULL,         -- the operating system's user: a claim, not a proof
        job_id VARCHAR,
        happened_at TIMESTAMP NOT NULL
    )""",
    """CREATE TABLE sqlml.scorings (
        scoring_id UUID NOT NULL,
        deployment VARCHAR NOT NULL,
        version INTEGER NOT NULL,
        kind VARCHAR NOT NULL,        -- full, incremental, live, external
        source VARCHAR NOT NULL,
        target VARCHAR NOT NULL,
        state VARCHAR NOT NULL,       -- running, complete, interrupted, live
        rows_scored BIGINT,           -- written by this scoring; NULL for a live one (count the stamps)
        rows_failed BIGINT,           -- of those, with an error instead of a prediction
        rows_removed BIGINT,          -- whose key left the source
        rows_unchanged BIGINT,
        hash_check UBIGINT NOT NULL,  -- DuckDB's hash of a fixed row: input_hash is comparable only where this is equal
        duckdb_version VARCHAR NOT NULL,
        sqlml_version VARCHAR NOT NULL,
        who VARCHAR NOT NULL,
        job_id VARCHAR,
        started_at TIMESTAMP NOT NULL,
        finished_at TIMESTAMP
    )""",
    """CREATE TABLE sqlml.lineage (
        deployment VARCHAR NOT NULL,
        version INTEGER NOT NULL,
        from_kind VARCHAR NOT NULL,   -- column, feature, model, run, dataset ...
        from_name VARCHAR NOT NULL,
        to_kind VARCHAR NOT NULL,
        to_name VARCHAR NOT NULL,
        how VARCHAR                   -- the view or expression in between, or why it is not known
    )""",
    """CREATE TABLE sqlml.parity (
        deployment VARCHAR NOT NULL,
        version INTEGER NOT NULL,
        passed BOOLEAN NOT NULL,
        rows_compared BIGINT NOT NULL,
        rows_set_aside BIGINT NOT NULL,
        largest_difference DOUBLE,
        tolerance DOUBLE NOT NULL,
        evidence VARCHAR NOT NULL,    -- JSON: counts by kind of row, counter-examples, library versions
        checked_at TIMESTAMP NOT NULL
    )""",
    """CREATE TABLE sqlml.jobs (
        job_id VARCHAR NOT NULL,
        kind VARCHAR NOT NULL,
        deployment VARCHAR,
        state VARCHAR NOT NULL,       -- done, failed, interrupted
        error VARCHAR,
        who VARCHAR NOT NULL,
        started_at TIMESTAMP NOT NULL,
        finished_at TIMESTAMP NOT NULL,
        log VARCHAR[] NOT NULL        -- JSON lines, as they were written beside the database
    )""",
    """CREATE TABLE sqlml.leases (
        deployment VARCHAR PRIMARY KEY, -- folded to lower case; the key makes a second holder fail
        job_id VARCHAR NOT NULL,
        process VARCHAR NOT NULL,       -- pid and start time: a lease of another process is stale, since one process writes
        taken_at TIMESTAMP NOT NULL
    )""",
    # A deployment as an argument; the second one is the name of a table, view or CTE, as for predict_table.
    """CREATE MACRO sqlml.predict(deployment, source) AS TABLE
        FROM query('FROM "' || replace(deployment, '"', '""') || '".predict_table(''' || replace(source, '''', '''''') || ''')')""",
)


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

    Raises:
        Conflict: another connection applied the same one at the same time.
        CatalogTooNew, NameRefused: as `applied` does.
    """
    import duckdb

    from sqlml.version import __version__

    before, own = applied(connection), 0
    for number, (name, change) in enumerate(MIGRATIONS[before:], start=before + 1):
        with atomic(connection, "the sqlml catalog"):
            if applied(connection) >= number:
                continue  # another connection was first
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
        own += 1
    return own
