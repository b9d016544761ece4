"""sqlml.depends_on(kind, value): the recorded edges walked the other way, from any shell.

It knows what was recorded, and no more: `sqlml depends` looks at the views as they are now too, at calls of functions in
them, and at the history for which of a reader's rows were made of which version's predictions, and it counts the rows.
"""

from __future__ import annotations

DEPENDS_ON = r"""CREATE MACRO sqlml.depends_on(kind, value) AS TABLE
WITH RECURSIVE edges AS (
    SELECT deployment, version, from_kind, from_name, to_kind, to_name, how,
        -- Whoever reads churn.current reads another version's table after each switch.
        regexp_replace(lower(from_name), '\.predictions_v\d+\.', '.predictions_v.') AS read,
        regexp_replace(lower(to_name), '\.predictions_v\d+\.', '.predictions_v.') AS given
    FROM sqlml.lineage
), steps AS (
    SELECT deployment AS of_deployment, version AS of_version, from_kind AS kind_of, lower(from_name) AS name_of, edges.* FROM edges
    UNION ALL
    SELECT '', 0, 'prediction', read, edges.* FROM edges WHERE from_kind = 'column' AND read <> lower(from_name)
), walk AS (
    SELECT deployment, version, to_kind, to_name, given, false AS downstream FROM edges WHERE CASE lower(kind)
        WHEN 'column' THEN from_kind IN ('column', 'file') AND lower(from_name) = lower(value)
        WHEN 'model' THEN from_kind = 'model' AND length(value) >= 6 AND starts_with(from_name, lower(value))
        WHEN 'dataset' THEN from_kind = 'dataset' AND (from_name = value OR how = value
            OR starts_with(from_name, value || ' (') OR ends_with(from_name, ' (' || value || ')'))
        ELSE from_kind = lower(kind) AND from_name = value END
    UNION
    SELECT s.deployment, s.version, s.to_kind, s.to_name, s.given, w.downstream OR w.to_kind = 'prediction'
    FROM walk AS w JOIN steps AS s
        ON s.of_deployment = CASE w.to_kind WHEN 'prediction' THEN '' ELSE w.deployment END
        AND s.of_version = CASE w.to_kind WHEN 'prediction' THEN 0 ELSE w.version END
        AND s.kind_of = w.to_kind
        AND s.name_of = CASE w.to_kind WHEN 'prediction' THEN w.given ELSE lower(w.to_name) END
), reached AS (
    SELECT deployment, version, CASE WHEN bool_and(downstream) THEN 'downstream' ELSE 'directly' END AS depends
    FROM walk WHERE to_kind IN ('version', 'prediction', 'function') GROUP BY ALL
), found AS (
    FROM reached
    UNION ALL
    SELECT v.deployment, v.version, 'not known' FROM sqlml.versions AS v ANTI JOIN reached USING (deployment, version)
    WHERE EXISTS (SELECT 1 FROM edges AS e WHERE e.deployment = v.deployment AND e.version = v.version AND e.from_kind = 'unknown')
        OR lower(kind) IN ('run', 'dataset') AND v.state <> 'failed' AND NOT EXISTS (SELECT 1 FROM edges AS e
            WHERE e.deployment = v.deployment AND e.version = v.version AND e.from_kind = lower(kind))
)
SELECT v.deployment, v.version, v.state, f.depends, v.prediction_table, t.estimated_size AS rows_at_most,
    (SELECT count(*) FROM sqlml.scorings AS s WHERE s.deployment = v.deployment AND s.version = v.version) AS scorings,
    (SELECT min(r.recalled_at) FROM sqlml.recalled AS r WHERE r.deployment = v.deployment AND r.version = v.version
        AND r.scoring_id IS NULL) AS recalled_at
FROM found AS f JOIN sqlml.versions AS v ON v.deployment = f.deployment AND v.version = f.version
LEFT JOIN (SELECT * FROM duckdb_tables() WHERE database_name = current_database()) AS t
    ON t.schema_name = v.deployment AND t.table_name = v.prediction_table"""
