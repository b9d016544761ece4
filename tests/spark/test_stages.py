"""Each stage by itself, with every way of handling what is invalid, on rows made to be invalid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml import classification as C
from pyspark.ml import feature as F
from pyspark.ml import regression as R
from pyspark.ml.clustering import KMeans

from tests.spark.models import COLUMNS, TARGETS, made_rows
from tests.spark.parity import compare, frame_of

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore::FutureWarning")]

MODES = ("error", "skip", "keep")
ROWS = made_rows(np.random.default_rng(1), 80)
NEAR_ZERO = [{**ROWS[i], "a": a} for i, a in enumerate((0.0, -0.0, 5e-324, -5e-324, None, 2.0, math.inf, -1.0))]


@pytest.fixture(scope="module")
def table(spark: Any) -> Any:
    return frame_of(spark, ROWS, COLUMNS + TARGETS).drop("row number").cache()


def assemble(*names: str, invalid: str = "keep") -> Any:
    return F.VectorAssembler(inputCols=list(names), outputCol="features", handleInvalid=invalid)


def check(spark: Any, table: Any, place: Any, stages: list[Any], *, rows: list[Any] | None = None) -> Any:
    model = Pipeline(stages=stages).fit(table)
    report = compare(spark, model, ROWS[:25], COLUMNS, place / "model", count=20, rows=rows)
    assert not report.wrong, "\n".join(report.wrong[:3])
    return report


@pytest.mark.parametrize("mode", MODES)
def test_labels_of_text_and_of_numbers_as_java_writes_them(spark, table, tmp_path, mode):
    names = ["c", "k", "q", "f", "i"]
    indexer = F.StringIndexer(inputCols=names, outputCols=[f"{n}_" for n in names], handleInvalid=mode)
    check(spark, table, tmp_path, [indexer, assemble(*(f"{n}_" for n in names))])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("splits", [[-math.inf, 0.0, 1.0, math.inf], [0.0, 1.0, 2.0], [-1.0, -0.0, 0.0000001, 3.0]])
def test_buckets_at_their_bounds_and_at_both_zeros(spark, table, tmp_path, mode, splits):
    bucketizer = F.Bucketizer(inputCol="a", outputCol="bucket", splits=splits, handleInvalid=mode)
    check(spark, table, tmp_path, [bucketizer, assemble("bucket", "k", invalid=mode)], rows=NEAR_ZERO)


def test_an_imputer_keeps_the_sign_of_a_zero(spark, table, tmp_path):
    imputer = F.Imputer(inputCols=["a"], outputCols=["a2"])
    bucketizer = F.Bucketizer(inputCol="a2", outputCol="bucket", splits=[-math.inf, 0.0, math.inf])
    indexer = F.StringIndexer(inputCol="q", outputCol="q2", handleInvalid="keep")
    check(spark, table, tmp_path, [imputer, bucketizer, indexer, assemble("bucket", "q2")], rows=NEAR_ZERO)


@pytest.mark.parametrize("absent", [math.nan, -1.0, 0.0])
def test_what_an_imputer_takes_for_missing_and_the_types_that_it_keeps(spark, table, tmp_path, absent):
    names = ["a", "b", "f", "k", "i"]
    imputer = F.Imputer(inputCols=names, outputCols=[f"{n}_" for n in names], missingValue=absent)
    check(spark, table, tmp_path, [imputer, assemble(*(f"{n}_" for n in names), invalid="error")])


@pytest.mark.parametrize("mode", ["error", "keep"])
@pytest.mark.parametrize("drop", [True, False])
def test_one_hot_of_any_number(spark, table, tmp_path, mode, drop):
    encoder = F.OneHotEncoder(inputCols=["k"], outputCols=["hot"], handleInvalid=mode, dropLast=drop)
    check(spark, table, tmp_path, [encoder, assemble("hot", "a")])


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_indexer_looks_up_no_zero_of_a_sparse_row(spark, table, tmp_path, mode):
    hot = F.OneHotEncoder(inputCols=["k"], outputCols=["hot"], handleInvalid="keep")
    indexer = F.VectorIndexer(inputCol="features", outputCol="indexed", maxCategories=6, handleInvalid=mode)
    stages = [hot, assemble("hot", "q", "i", "flag", "b"), indexer]
    check(spark, table, tmp_path, stages)


@pytest.mark.parametrize("degree", [2, 3])
def test_products_of_infinities_and_zeros(spark, table, tmp_path, degree):
    expand = F.PolynomialExpansion(inputCol="features", outputCol="more", degree=degree)
    check(spark, table, tmp_path, [assemble("a", "b", "i"), expand])


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, math.inf])
def test_norms(spark, table, tmp_path, norm):
    check(spark, table, tmp_path, [assemble("a", "b", "i"), F.Normalizer(inputCol="features", outputCol="n", p=norm)])


def test_scalers_of_columns_that_were_constant(spark, table, tmp_path):
    zero = F.Binarizer(inputCol="b", outputCol="always", threshold=-1.0)
    io = [{"inputCol": a, "outputCol": b} for a, b in (("features", "s1"), ("s1", "s2"), ("s2", "s3"), ("s3", "s4"))]
    scalers = [
        F.MaxAbsScaler(**io[0]),
        F.StandardScaler(withMean=True, **io[1]),
        F.RobustScaler(withCentering=True, **io[2]),
        F.MinMaxScaler(min=-2.0, max=5.0, **io[3]),
    ]
    check(spark, table, tmp_path, [zero, assemble("a", "always", "i"), *scalers])


def test_a_formula_is_its_pipeline(spark, table, tmp_path):
    formula = F.RFormula(formula="t ~ a + c + d", handleInvalid="keep")
    check(spark, table, tmp_path, [formula, R.LinearRegression(maxIter=3)])


def test_text_comes_out_of_a_final_index_to_string(spark, table, tmp_path):
    label = F.StringIndexer(inputCol="three", outputCol="label").fit(table)
    stages = [label, assemble("a", "b", "k"), C.RandomForestClassifier(numTrees=3)]
    fitted = Pipeline(stages=stages).fit(table)
    back = F.IndexToString(inputCol="prediction", outputCol="said", labels=label.labels[:2])
    model = PipelineModel([*fitted.stages, back])

    report = compare(spark, model, ROWS[:25], COLUMNS, tmp_path / "model", count=20)

    assert not report.wrong, "\n".join(report.wrong[:3])
    assert any("no label" in reason for reason in report.reasons)


def test_a_cluster_as_a_feature_of_the_next_model(spark, table, tmp_path):
    near = F.VectorAssembler(inputCols=["a", "b"], outputCol="place", handleInvalid="keep")
    clusters = KMeans(k=3, featuresCol="place", predictionCol="cluster", maxIter=2, seed=1)
    labelled = F.StringIndexer(inputCol="two", outputCol="label")
    stages = [labelled, near, clusters, assemble("cluster", "i"), C.LogisticRegression(maxIter=3)]
    report = check(spark, table, tmp_path, stages)
    assert any("KMeans does not accept" in reason for reason in report.reasons)


def test_categories_by_the_hundred(spark, table, tmp_path):
    many = table.selectExpr("*", "cast(abs(hash(a)) % 300 as string) as code", "double(t > 2) as label")
    rows = [{**row, "code": str(i * 7 % 330)} for i, row in enumerate(ROWS[:60])]
    indexer = F.StringIndexer(inputCol="code", outputCol="code2", handleInvalid="keep")
    forest = C.GBTClassifier(maxIter=4, maxDepth=5, maxBins=400)
    model = Pipeline(stages=[indexer, assemble("code2", "a"), forest]).fit(many)

    report = compare(spark, model, rows, (*COLUMNS, ("code", "VARCHAR")), tmp_path / "model", count=40)

    assert not report.wrong, "\n".join(report.wrong[:3])
