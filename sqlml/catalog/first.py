"""The tables that the first migration makes; what later ones changed of them stands in `migrations`."""

from __future__ import annotations

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
