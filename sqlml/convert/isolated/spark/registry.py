"""Spark's classes and the functions that convert them: what is not here is refused by its name."""

from __future__ import annotations

from collections.abc import Callable

from sqlml.convert.isolated.spark.columns import Frame
from sqlml.convert.isolated.spark.reading import Stage
from sqlml.convert.isolated.spark.stages import assembling, classifying, indexing, linear, scaling, trees
from sqlml.convert.isolated.spark.stages.answering import Predict

Transform = Callable[[Frame, Stage], None]

TRANSFORMERS: dict[str, Transform] = {
    "StringIndexerModel": indexing.string_indexer,
    "IndexToString": indexing.index_to_string,
    "OneHotEncoderModel": indexing.one_hot_encoder,
    "Bucketizer": indexing.bucketizer,
    "Binarizer": indexing.binarizer,
    "VectorIndexerModel": indexing.vector_indexer,
    "VectorAssembler": assembling.vector_assembler,
    "VectorSlicer": assembling.vector_slicer,
    "VectorSizeHint": assembling.size_hint,
    "VectorAttributeRewriter": assembling.nothing,
    "ChiSqSelectorModel": assembling.selector,
    "UnivariateFeatureSelectorModel": assembling.selector,
    "VarianceThresholdSelectorModel": assembling.selector,
    "StandardScalerModel": scaling.standard_scaler,
    "MinMaxScalerModel": scaling.min_max_scaler,
    "MaxAbsScalerModel": scaling.max_abs_scaler,
    "RobustScalerModel": scaling.robust_scaler,
    "Normalizer": scaling.normalizer,
    "ElementwiseProduct": scaling.elementwise_product,
    "PolynomialExpansion": scaling.polynomial_expansion,
    "PCAModel": scaling.pca,
    "ImputerModel": scaling.imputer,
}

PREDICTORS: dict[str, Predict] = {
    "LinearRegressionModel": linear.linear_regression,
    "GeneralizedLinearRegressionModel": linear.generalized,
    "AFTSurvivalRegressionModel": linear.survival,
    "IsotonicRegressionModel": linear.isotonic,
    "FMRegressionModel": linear.factorization_regression,
    "DecisionTreeRegressionModel": trees.tree_regressor,
    "RandomForestRegressionModel": trees.forest_regressor,
    "GBTRegressionModel": trees.boosted_regressor,
    "LogisticRegressionModel": linear.logistic_regression,
    "LinearSVCModel": linear.linear_svc,
    "FMClassificationModel": linear.factorization_classifier,
    "DecisionTreeClassificationModel": trees.tree_classifier,
    "RandomForestClassificationModel": trees.forest_classifier,
    "GBTClassificationModel": trees.boosted_classifier,
    "NaiveBayesModel": classifying.naive_bayes,
    "MultilayerPerceptronClassificationModel": classifying.perceptron,
    "KMeansModel": classifying.k_means,
}
PREDICTORS["OneVsRestModel"] = classifying.one_vs_rest(PREDICTORS)

# These predict too, and are refused by name rather than passed over.
OTHER_PREDICTORS = ("BisectingKMeansModel", "GaussianMixtureModel", "LocalLDAModel", "DistributedLDAModel", "ALSModel")
