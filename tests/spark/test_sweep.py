"""Random pipelines on hostile rows: the graph, the SQL made of it and the reference say what Spark's transform() says."""

from __future__ import annotations

import pytest

from tests.spark.models import drawn
from tests.spark.parity import compare

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.mark.parametrize("seed", range(12))
def test_a_random_pipeline_answers_as_spark_does(spark, tmp_path, seed):
    made = drawn(spark, seed)

    report = compare(spark, made.model, made.base, made.columns, tmp_path / "model", seed=seed, count=20, failing=3)

    assert not report.wrong, f"{made.what}: {len(report.wrong)} of {report.rows} rows:\n" + "\n".join(report.wrong[:3])
    assert report.failed < report.rows, made.what
    assert report.distance < 1e-9
