"""What is kept, and shown, of what stands behind a prediction: statements of the catalog."""

from __future__ import annotations

TURNING_POINTS = """CREATE TABLE sqlml.turning_points (
        model_sha256 VARCHAR NOT NULL,
        position INTEGER NOT NULL,        -- of the column in the signature, from 0
        column_name VARCHAR NOT NULL,
        way VARCHAR NOT NULL,             -- steps: the answer changes at thresholds only; monotone; anyhow
        thresholds DOUBLE[] NOT NULL,     -- each the last value on one of its sides
        categories VARCHAR[] NOT NULL,
        learned DOUBLE[] NOT NULL         -- values that scalers know of the column
    )"""

# Schema-qualified, so that it works in a file that is attached under another name. The bytes are read where they are
# asked for only: a subquery that nobody selects is not run.
PROVENANCE = """CREATE VIEW sqlml.provenance AS
    SELECT s.scoring_id, s.deployment, s.version, s.kind AS scoring_kind, s.who AS scored_by, s.started_at,
        v.state, v.engine, v.deployed_by, v.deployed_at, v.resolved, v.model_name, v.model_version, v.artifact_uri,
        v.artifact_sha256, v.model_sha256,
        (SELECT any_value(m.onnx) FROM sqlml.models AS m WHERE m.sha256 = v.model_sha256) AS model,
        (SELECT list(f.path ORDER BY f.path, f.part) FROM sqlml.model_files AS f
            WHERE f.artifact_sha256 = v.artifact_sha256) AS file_paths,
        (SELECT list(f.content ORDER BY f.path, f.part) FROM sqlml.model_files AS f
            WHERE f.artifact_sha256 = v.artifact_sha256) AS file_parts,
        coalesce(v.run_id, json_extract_string(v.run, '$.run_id')) AS run_id,
        json_extract_string(v.run, '$.experiment') AS experiment,
        json_extract_string(v.run, '$.datasets[0].name') AS dataset,
        json_extract_string(v.run, '$.datasets[0].digest') AS dataset_digest,
        json_extract_string(v.run, '$.datasets[*].name') AS datasets,
        json_extract_string(v.run, '$.datasets[*].digest') AS dataset_digests
    FROM sqlml.scorings AS s JOIN sqlml.versions AS v ON v.deployment = s.deployment AND v.version = s.version"""

COLLECTED = """CREATE TABLE sqlml.collected (
        deployment VARCHAR NOT NULL,
        version INTEGER NOT NULL,
        part VARCHAR NOT NULL,        -- predictions, inputs, labels, bytes
        what VARCHAR NOT NULL,        -- the table, or the sha256 of the bytes
        rows BIGINT,
        bytes BIGINT,                 -- of a table about, of a model exactly
        policy VARCHAR NOT NULL,
        who VARCHAR NOT NULL,
        job_id VARCHAR NOT NULL,
        collected_at TIMESTAMP NOT NULL,
        restored_at TIMESTAMP         -- when it was back: scored again, or deployed again
    )"""

RECALLS = """CREATE TABLE sqlml.recalls (
            recall_id UUID NOT NULL,      -- of a recall and of its undoing
            action VARCHAR NOT NULL,      -- recall, undo
            deployment VARCHAR NOT NULL,
            version INTEGER NOT NULL,
            scoring_id UUID,              -- NULL: every prediction of the version, later ones too
            kind VARCHAR NOT NULL,        -- what it was asked for: run, dataset, model, version, scoring
            value VARCHAR NOT NULL,
            downstream BOOLEAN NOT NULL,  -- it reads predictions of what was asked for
            why VARCHAR,
            who VARCHAR NOT NULL,
            database_user VARCHAR,
            job_id VARCHAR,
            happened_at TIMESTAMP NOT NULL
        )"""

RECALLED = """CREATE VIEW sqlml.recalled AS
        SELECT r.deployment, r.version, r.scoring_id, r.happened_at AS recalled_at, r.kind, r.value, r.downstream, r.why,
            r.who, r.recall_id
        FROM sqlml.recalls AS r
        WHERE r.action = 'recall' AND NOT EXISTS (
            SELECT 1 FROM sqlml.recalls AS u WHERE u.action = 'undo' AND u.recall_id = r.recall_id
            AND u.deployment = r.deployment AND u.version = r.version AND u.scoring_id IS NOT DISTINCT FROM r.scoring_id)"""
