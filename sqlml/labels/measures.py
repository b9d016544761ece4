"""Metrics as SQL over the canonical rows: texts without a name of anybody's, so that they are written out once, here.

Every one is NULL where it is undefined (no such class among the labels, nothing predicted as it, a constant target), and
never an error. Where scikit-learn has the metric, it is the same number; the sources are named beside each.
"""

from __future__ import annotations

from types import MappingProxyType

EPSILON = "2.220446049250313e-16"
"""scikit-learn's `log_loss` clips probabilities by the machine epsilon of float64."""
BINS = 10
EDGES = (
    "1e-1",
    "2e-1",
    "0.30000000000000004e0",
    "4e-1",
    "5e-1",
    "0.6000000000000001e0",
    "0.7000000000000001e0",
    "8e-1",
    "9e-1",
)
"""The inner edges of ten equal bins, to the last bit those of `numpy.linspace(0, 1, 11)`. A value that is an edge
belongs below it, as in `sklearn.calibration.calibration_curve(strategy="uniform")` and in Guo et al. (2017)."""


def bin_of(column: str) -> str:
    return " + ".join(f"CAST({column} > {edge} AS INTEGER)" for edge in EDGES)


COUNTS = MappingProxyType(
    {
        # Labels against predictions: sklearn.metrics.confusion_matrix.
        "confusion": """
    SELECT version, slot, positive, label, prediction, count(*) AS n FROM labelled
    WHERE label IS NOT NULL AND prediction IS NOT NULL GROUP BY ALL""",
        # Of each class that is a label or a prediction: how often it is which, and how often both.
        "by_class": """
    SELECT version, slot, positive, class, sum(hits) AS hits, sum(support) AS support, sum(predicted) AS predicted
    FROM (
        SELECT version, slot, positive, label AS class, CASE WHEN label = prediction THEN n ELSE 0 END AS hits,
            n AS support, 0 AS predicted FROM confusion
        UNION ALL
        SELECT version, slot, positive, prediction, 0, 0, n FROM confusion
    ) GROUP BY ALL""",
    }
)

RANKS = MappingProxyType(
    {
        # The Mann-Whitney statistic (Hanley and McNeil 1982): the share of pairs of a row of the class and one that is
        # not in which the former has the higher score, ties counting half. In whole numbers, so that it is exact.
        "scores": """
    SELECT version, slot, positive, class, score, CAST(count_if(is_class) AS BIGINT) AS yes,
        CAST(count_if(NOT is_class) AS BIGINT) AS no
    FROM classes WHERE score IS NOT NULL GROUP BY ALL""",
        "ranks": """
    SELECT version, slot, positive, class, yes, no,
        sum(no) OVER (PARTITION BY version, slot, class ORDER BY score ROWS UNBOUNDED PRECEDING) - no AS below
    FROM scores""",
        "areas": """
    SELECT version, slot, positive, class, sum(yes * (2 * below + no)) / nullif(2 * sum(yes) * sum(no), 0) AS auc
    FROM ranks GROUP BY ALL""",
    }
)

METRICS = MappingProxyType(
    {
        **COUNTS,
        **RANKS,
        # Two classes: of the positive one. More: the mean over the classes that are a label or a prediction, in which
        # what is undefined counts 0: sklearn's average="macro" as it is by default (Sokolova and Lapalme 2009).
        "decided": """
    SELECT version, slot, sum(hits) / sum(support) AS accuracy,
        CASE WHEN count(positive) = 0 THEN avg(coalesce(hits / nullif(predicted, 0), 0))
            ELSE sum(hits) FILTER (class = positive) / nullif(sum(predicted) FILTER (class = positive), 0) END AS precision,
        CASE WHEN count(positive) = 0 THEN avg(coalesce(hits / nullif(support, 0), 0))
            ELSE sum(hits) FILTER (class = positive) / nullif(sum(support) FILTER (class = positive), 0) END AS recall,
        CASE WHEN count(positive) = 0 THEN avg(2 * hits / (support + predicted))
            ELSE 2 * sum(hits) FILTER (class = positive)
                / nullif(sum(support + predicted) FILTER (class = positive), 0) END AS f1
    FROM by_class GROUP BY ALL""",
        # More than two classes: the mean of one against the rest, roc_auc_score(multi_class="ovr", average="macro").
        "area": """
    SELECT version, slot, CASE WHEN count(auc) = count(*) THEN avg(auc) END AS auc FROM areas
    WHERE positive IS NULL OR class = positive GROUP BY ALL""",
        # Expected calibration error (Guo et al. 2017), in ten equal bins.
        "bins": f"""
    SELECT version, slot, {bin_of("confidence")} AS bin, count(*) AS n, avg(confidence) AS said,
        avg(CAST(is_so AS INTEGER)) AS so FROM labelled WHERE confidence IS NOT NULL GROUP BY ALL""",  # noqa: S608 - constants
        "calibrated": """
    SELECT version, slot, sum(n * abs(said - so)) / sum(n) AS ece FROM bins GROUP BY ALL""",
        # sklearn's r2_score, NULL for a constant target and for a single row.
        "means": """
    SELECT version, slot, avg(label_number) AS mean FROM labelled
    WHERE label_number IS NOT NULL AND predicted_number IS NOT NULL GROUP BY ALL""",
        "spread": """
    SELECT version, slot, avg(abs(gap)) AS mae, sqrt(avg(gap * gap)) AS rmse, avg(gap) AS bias,
        CASE WHEN count(*) > 1 THEN 1 - sum(gap * gap) / nullif(sum(away * away), 0) END AS r2
    FROM (
        SELECT version, slot, predicted_number - label_number AS gap, label_number - mean AS away
        FROM labelled JOIN means USING (version, slot) WHERE predicted_number IS NOT NULL
    ) GROUP BY ALL""",
        # DuckDB's greatest() passes over a NULL, hence the CASE. Log loss: -mean(ln p) of the label's class (Good 1952), clipped as sklearn does. Brier (1950): the mean square of
        # p - y; over all classes where there are more than two.
        "totals": f"""
    SELECT version, slot, count(*) AS labels, count_if(prediction IS NULL AND predicted_number IS NULL) AS unpredicted,
        -avg(CASE WHEN p_label IS NOT NULL THEN ln(least(greatest(p_label, {EPSILON}), 1 - {EPSILON})) END) AS log_loss, avg(squares) AS brier,
        min(observed_at) AS first_observed_at, max(observed_at) AS last_observed_at
    FROM labelled GROUP BY ALL""",  # noqa: S608 - constants
        "measured": """
    SELECT version, slot, CAST(labels AS BIGINT) AS labels, CAST(unpredicted AS BIGINT) AS unpredicted,
        accuracy, precision, recall, f1, auc, log_loss, brier, ece, mae, rmse, r2, bias,
        first_observed_at, last_observed_at
    FROM totals LEFT JOIN decided USING (version, slot) LEFT JOIN area USING (version, slot)
        LEFT JOIN calibrated USING (version, slot) LEFT JOIN spread USING (version, slot)""",
    }
)

NUMBERS = "* EXCLUDE (version, slot)"
PER_VERSION = f"SELECT version AS deployment_version, {NUMBERS} FROM measured"  # noqa: S608 - constants
PER_DAY = f"SELECT version AS deployment_version, CAST(slot AS DATE) AS day, {NUMBERS} FROM measured"  # noqa: S608
PER_WINDOW = f"SELECT version AS deployment_version, slot AS window_start, {NUMBERS} FROM measured"  # noqa: S608

BY_CLASS = MappingProxyType({**COUNTS, **RANKS})
PER_CLASS = """
    SELECT b.version AS deployment_version, b.class, CAST(b.support AS BIGINT) AS labels,
        CAST(b.predicted AS BIGINT) AS predicted, b.hits / nullif(b.predicted, 0) AS precision,
        b.hits / nullif(b.support, 0) AS recall, 2 * b.hits / nullif(b.support + b.predicted, 0) AS f1, a.auc
    FROM by_class b LEFT JOIN areas a ON a.version = b.version AND a.class = b.class"""

PER_CELL = """
    SELECT version AS deployment_version, label, prediction, n AS labels FROM confusion"""

PER_BIN = f"""
    SELECT version AS deployment_version, class, CAST(bin + 1 AS INTEGER) AS bin, bin / {BINS}e0 AS above,
        (bin + 1) / {BINS}e0 AS up_to, count(*) AS labels, avg(score) AS mean_probability,
        avg(CAST(is_class AS INTEGER)) AS observed_share
    FROM (SELECT version, class, score, is_class, {bin_of("score")} AS bin FROM classes WHERE score IS NOT NULL)
    GROUP BY ALL"""  # noqa: S608 - constants
