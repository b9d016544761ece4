"""Random Spark pipelines: what people put together, with parameters from all over, fitted on small made data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml import classification as C
from pyspark.ml import feature as F
from pyspark.ml import regression as R
from pyspark.ml.clustering import KMeans
from pyspark.sql import SparkSession

from tests.spark.parity import Row, frame_of

COLUMNS = (
    ("a", "DOUBLE"), ("b", "DOUBLE"), ("f", "FLOAT"), ("k", "BIGINT"), ("i", "INTEGER"), ("q", "DOUBLE"),
    ("c", "VARCHAR"), ("d", "VARCHAR"), ("flag", "BOOLEAN"),
)  # fmt: skip
TARGETS = (("two", "VARCHAR"), ("three", "VARCHAR"), ("t", "DOUBLE"), ("positive", "DOUBLE"), ("censor", "DOUBLE"))
VECTORS = ["standard", "minmax", "maxabs", "robust", "normal", "indexer", "variance", "slice", "pca", "poly"]
TEXTS = {"c": ["x", "y", "z", "w w", "Ünï"], "d": ["A", "B"]}


@dataclass(frozen=True)
class Drawn:
    """A fitted pipeline, rows like those it was fitted on, and what it is made of."""

    model: PipelineModel
    base: list[Row]
    columns: tuple[tuple[str, str], ...]
    what: str


def made_rows(rng: np.random.Generator, count: int) -> list[Row]:
    rows = []
    for _ in range(count):
        a, b, k = float(rng.normal()), float(rng.exponential()), int(rng.integers(0, 6))
        c = str(rng.choice(TEXTS["c"]))
        t = 2 * a - b + k + (3.0 if c == "x" else 0.0) + float(rng.normal()) * 0.1
        rows.append(
            {
                "a": a,
                "b": b,
                "f": float(np.float32(rng.choice([0.1, 1.0, 2.5, -7.75, 3e8]))),
                "k": k,
                "i": int(rng.integers(-3, 4)),
                "q": float(rng.choice([0.0, -0.0, 1.0, 2.5, 1e10, 1e-4])),
                "c": c,
                "d": str(rng.choice(TEXTS["d"])),
                "flag": bool(rng.integers(0, 2)),
                "two": "yes" if t > 2 else "no",
                "three": "low" if t < 1 else "mid" if t < 4 else "high",
                "t": t,
                "positive": float(np.exp(t / 6)),
                "censor": float(rng.integers(0, 2)),
            }
        )
    return rows


def drawn(spark: SparkSession, seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    rows = made_rows(rng, 150)
    imputed = rng.random() < 0.6
    train = [dict(row) for row in rows]
    if imputed:
        for row in train[::7]:
            row["a"] = None
        for row in train[::11]:
            row["b"] = -1.0
    table = frame_of(spark, train, COLUMNS + TARGETS).drop("row number").cache()
    stages: list[Any] = []
    kind, name, predictor, label = a_predictor(rng)
    if kind in ("two", "three"):
        stages.append(F.StringIndexer(inputCol=kind, outputCol="label"))
    features = encoded(rng, stages, imputed)
    invalid = str(rng.choice(["error", "skip", "keep"]))
    stages.append(F.VectorAssembler(inputCols=features, outputCol="v0", handleInvalid=invalid))
    last = vector_stages(rng, stages, len(features), name)
    predictor.setFeaturesCol(last)
    if label:
        predictor.setLabelCol(label)
    prepared = Pipeline(stages=stages).fit(table)
    data = prepared.transform(table).cache()
    fitted = prepared.stages + finished(rng, name, predictor, data, last)
    labels = prepared.stages[0].labels if kind in ("two", "three") else []
    if labels and rng.random() < 0.4:
        fitted = [*fitted, F.IndexToString(inputCol="prediction", outputCol="said", labels=list(labels))]
    if rng.random() < 0.2:
        fitted = [PipelineModel(fitted[:2]), *fitted[2:]]
    what = " > ".join(type(stage).__name__ for stage in fitted) + f" ({name}, {invalid})"
    table.unpersist()
    return Drawn(PipelineModel(fitted), made_rows(rng, 25), COLUMNS, what)


def finished(rng: np.random.Generator, name: str, predictor: Any, data: Any, last: str) -> list[Any]:
    """The predictor, fitted; behind a binarizer where it takes nothing but zeros and ones, or none below zero."""
    if name in ("bernoulli", "multinomial", "complement"):
        before = F.Binarizer(inputCol=last, outputCol="ones", threshold=0.3)
        stage = before if name == "bernoulli" or rng.random() < 0.5 else F.MinMaxScaler(inputCol=last, outputCol="ones")
        made = stage if stage is before else stage.fit(data)
        predictor.setFeaturesCol("ones")
        return [made, predictor.fit(made.transform(data))]
    if name == "mlp":
        width = len(data.first()[last])
        predictor.setLayers([width, int(rng.integers(2, 5)), 3])
    return [predictor.fit(data)]


def encoded(rng: np.random.Generator, stages: list[Any], imputed: bool) -> list[str]:
    """Stages that make numbers of columns; returns the columns to assemble."""
    features = []
    texts = [str(v) for v in rng.permutation(["c", "d", "k", "q", "i", "f"])[: int(rng.integers(1, 4))]]
    order = str(rng.choice(["frequencyDesc", "frequencyAsc", "alphabetDesc", "alphabetAsc"]))
    invalid = str(rng.choice(["error", "skip", "keep"]))
    if rng.random() < 0.7:
        named = [f"{name} index" for name in texts]
        stages.append(F.StringIndexer(inputCols=texts, outputCols=named, handleInvalid=invalid, stringOrderType=order))
    else:
        named = [f"{texts[0]} index"]
        stages.append(F.StringIndexer(inputCol=texts[0], outputCol=named[0], handleInvalid=invalid))
    if rng.random() < 0.6:
        hot = [f"{name} hot" for name in named]
        keep = str(rng.choice(["error", "keep"]))
        stages.append(
            F.OneHotEncoder(inputCols=named, outputCols=hot, handleInvalid=keep, dropLast=bool(rng.random() < 0.5))
        )
        features += hot
        named = named[:1] if rng.random() < 0.3 else []
    features += named
    if imputed:
        strategy = str(rng.choice(["mean", "median", "mode"]))
        absent = float(rng.choice([math.nan, -1.0]))
        stages.append(
            F.Imputer(inputCols=["a", "b", "f"], outputCols=["a2", "b2", "f2"], strategy=strategy, missingValue=absent)
        )
        a, b = "a2", "b2"
        features.append("f2" if rng.random() < 0.5 else "f")
    else:
        a, b = "a", "b"
    keep = str(rng.choice(["error", "skip", "keep"]))
    if rng.random() < 0.4:
        splits = [-math.inf, -0.5, 0.0, 0.7, math.inf] if rng.random() < 0.6 else [-5.0, 0.0, 5.0]
        stages.append(F.Bucketizer(inputCol=a, outputCol="bucket", splits=splits, handleInvalid=keep))
        features.append("bucket")
    elif rng.random() < 0.3:
        made = F.QuantileDiscretizer(inputCols=[a, b], outputCols=["qa", "qb"], numBuckets=3, handleInvalid=keep)
        stages.append(made)
        features += ["qa", "qb"]
    if rng.random() < 0.3:
        stages.append(F.Binarizer(inputCol=b, outputCol="big", threshold=0.5))
        features.append("big")
    features += [a, b] if rng.random() < 0.7 else [b]
    if rng.random() < 0.4:
        features.append("flag")
    if rng.random() < 0.4:
        features.append("i")
    return features


def vector_stages(rng: np.random.Generator, stages: list[Any], width: int, predictor: str) -> str:
    """Up to two stages that make vectors of vectors; returns the last column."""
    last = "v0"
    trees = predictor in ("tree", "forest", "boosted", "tree regression", "forest regression", "boosted regression")
    for turn in range(int(rng.integers(0, 3))):
        made = f"v{turn + 1}"
        io = {"inputCol": last, "outputCol": made}
        name = str(rng.choice(["standard", "minmax", "maxabs", "robust", "indexer", "slice"] if trees else VECTORS))
        if name in ("poly", "pca") and (turn or width > 5):
            continue
        if name == "slice" and (turn or width < 3):
            continue
        stages.append(vector_stage(rng, name, io, width))
        last = made
    return last


def vector_stage(rng: np.random.Generator, name: str, io: dict[str, str], width: int) -> Any:
    yes = bool(rng.random() < 0.5)
    if name == "standard":
        return F.StandardScaler(withMean=yes, withStd=bool(rng.random() < 0.8), **io)
    if name == "minmax":
        return F.MinMaxScaler(min=float(rng.choice([0.0, -1.0])), max=2.0, **io)
    if name == "maxabs":
        return F.MaxAbsScaler(**io)
    if name == "robust":
        return F.RobustScaler(withCentering=yes, **io)
    if name == "normal":
        return F.Normalizer(p=float(rng.choice([1.0, 2.0, math.inf, 3.0])), **io)
    if name == "indexer":
        invalid = str(rng.choice(["error", "skip", "keep"]))
        return F.VectorIndexer(maxCategories=int(rng.integers(2, 8)), handleInvalid=invalid, **io)
    if name == "variance":
        named = {"featuresCol": io["inputCol"], "outputCol": io["outputCol"]}
        return F.VarianceThresholdSelector(varianceThreshold=0.01, **named)
    if name == "slice":
        return F.VectorSlicer(indices=[width - 1, 0], **io)
    return F.PCA(k=2, **io) if name == "pca" else F.PolynomialExpansion(degree=2, **io)


def a_predictor(rng: np.random.Generator) -> tuple[str, str, Any, str | None]:
    """(target, name, estimator, label column)"""
    p = rng.random
    seed = int(rng.integers(0, 1000))
    depth = int(rng.integers(2, 6))
    limit = [float(v) for v in rng.dirichlet([1.0] * 3)]
    some = p() < 0.4
    zero = {"thresholds": [0.0, *limit[1:]]} if p() < 0.1 else {"thresholds": limit} if some else {}
    choices: list[tuple[str, str, Any, str | None]] = [
        ("two", "logistic", C.LogisticRegression(maxIter=6, threshold=float(rng.choice([0.5, 0.3, 0.0, 1.0]))), "label"),
        ("two", "lasso", C.LogisticRegression(maxIter=6, regParam=0.1, elasticNetParam=1.0), "label"),
        ("two", "two thresholds", C.LogisticRegression(maxIter=6, thresholds=[0.3, 0.7]), "label"),
        ("two", "multinomial of two", C.LogisticRegression(maxIter=6, family="multinomial"), "label"),
        ("three", "softmax", C.LogisticRegression(maxIter=6, **zero), "label"),
        ("three", "sparse softmax", C.LogisticRegression(maxIter=6, regParam=0.1, elasticNetParam=1.0), "label"),
        ("two", "svc", C.LinearSVC(maxIter=5, threshold=float(rng.choice([0.0, 0.2]))), "label"),
        ("three", "tree", C.DecisionTreeClassifier(maxDepth=depth, seed=seed), "label"),
        ("three", "forest", C.RandomForestClassifier(numTrees=4, maxDepth=depth, seed=seed), "label"),
        ("two", "boosted", C.GBTClassifier(maxIter=4, maxDepth=depth, seed=seed), "label"),
        ("three", "gaussian", C.NaiveBayes(modelType="gaussian"), "label"),
        ("three", "multinomial", C.NaiveBayes(modelType="multinomial"), "label"),
        ("three", "complement", C.NaiveBayes(modelType="complement"), "label"),
        ("three", "bernoulli", C.NaiveBayes(modelType="bernoulli"), "label"),
        ("three", "mlp", C.MultilayerPerceptronClassifier(maxIter=4, seed=seed), "label"),
        ("three", "one vs rest", C.OneVsRest(classifier=C.LogisticRegression(maxIter=4)), "label"),
        ("two", "factors", C.FMClassifier(maxIter=3, factorSize=2, seed=seed), "label"),
        ("t", "linear", R.LinearRegression(maxIter=5, regParam=0.1, elasticNetParam=float(rng.choice([0.0, 1.0]))), "t"),
        ("t", "huber", R.LinearRegression(maxIter=5, loss="huber"), "t"),
        ("t", "tree regression", R.DecisionTreeRegressor(maxDepth=depth, seed=seed), "t"),
        ("t", "forest regression", R.RandomForestRegressor(numTrees=4, maxDepth=depth, seed=seed), "t"),
        ("t", "boosted regression", R.GBTRegressor(maxIter=4, maxDepth=depth, seed=seed), "t"),
        ("t", "glm gaussian", R.GeneralizedLinearRegression(maxIter=4, regParam=0.1), "t"),
        ("positive", "glm gamma", R.GeneralizedLinearRegression(family="gamma", link="log", maxIter=4, regParam=0.1), "positive"),
        ("positive", "glm poisson", R.GeneralizedLinearRegression(family="poisson", link=str(rng.choice(["log", "sqrt", "identity"])), maxIter=3, regParam=0.1), "positive"),
        ("positive", "glm tweedie", R.GeneralizedLinearRegression(family="tweedie", variancePower=1.6, linkPower=float(rng.choice([0.0, 0.5, -0.5, 1.0, 0.3])), maxIter=2, regParam=0.1), "positive"),
        ("censor", "glm binomial", R.GeneralizedLinearRegression(family="binomial", link=str(rng.choice(["logit", "cloglog"])), maxIter=2, regParam=0.1), "censor"),
        ("positive", "survival", R.AFTSurvivalRegression(maxIter=3, censorCol="censor"), "positive"),
        ("t", "isotonic", R.IsotonicRegression(featureIndex=int(rng.integers(0, 2)), isotonic=bool(p() < 0.5)), "t"),
        ("t", "factor regression", R.FMRegressor(maxIter=3, factorSize=2, seed=seed), "t"),
        ("t", "clusters", KMeans(k=3, maxIter=3, seed=seed), None),
    ]  # fmt: skip
    target, name, estimator, label = choices[int(rng.integers(0, len(choices)))]
    if some and name in ("tree", "forest", "gaussian"):
        estimator.setThresholds(limit)
    return target, name, estimator, label
