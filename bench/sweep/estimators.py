"""How each class of scikit-learn is made where its defaults do not do for a small example, and what data it needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

# Any in this module: scikit-learn ships no types.
Arguments = Mapping[str, Any]

# What is no function of a table's rows, and so has no case.
EXCLUDED: Mapping[str, str] = {
    "LabelBinarizer": "transforms targets",
    "LabelEncoder": "transforms targets",
    "MultiLabelBinarizer": "transforms targets",
    "DictVectorizer": "takes dictionaries",
    "FeatureHasher": "takes dictionaries",
    "PatchExtractor": "takes images",
    "AgglomerativeClustering": "predicts nothing for new rows",
    "ClassicalMDS": "transforms no new rows",
    "DBSCAN": "predicts nothing for new rows",
    "HDBSCAN": "predicts nothing for new rows",
    "MDS": "transforms no new rows",
    "OPTICS": "predicts nothing for new rows",
    "SpectralBiclustering": "predicts nothing for new rows",
    "SpectralClustering": "predicts nothing for new rows",
    "SpectralCoclustering": "predicts nothing for new rows",
    "SpectralEmbedding": "transforms no new rows",
    "TSNE": "transforms no new rows",
    "EmpiricalCovariance": "estimates a covariance",
    "GraphicalLasso": "estimates a covariance",
    "GraphicalLassoCV": "estimates a covariance",
    "LedoitWolf": "estimates a covariance",
    "MinCovDet": "estimates a covariance",
    "OAS": "estimates a covariance",
    "ShrunkCovariance": "estimates a covariance",
    "KernelDensity": "estimates a density",
    "NearestNeighbors": "finds neighbours",
}

POSITIVE = frozenset(
    {"AdditiveChi2Sampler", "ComplementNB", "LatentDirichletAllocation", "MiniBatchNMF", "MultinomialNB", "NMF"}
)
CODES = frozenset({"CategoricalNB"})
ONE_COLUMN = frozenset({"IsotonicRegression"})
GAPS = frozenset({"IterativeImputer", "KNNImputer", "MissingIndicator", "SimpleImputer"})
WORDS = frozenset({"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"})
REVIEWS = frozenset({"CountVectorizer", "HashingVectorizer", "TfidfVectorizer"})
# Of huge inputs they leave rounding only (the cosine of 1e7, sums of 1e30 that cancel): they stand behind a scaler.
BOUNDED = frozenset({"PolynomialCountSketch", "RBFSampler"})
TWO_CLASSES = frozenset({"FixedThresholdClassifier", "TunedThresholdClassifierCV"})
PARTLY_LABELLED = frozenset({"LabelPropagation", "LabelSpreading", "SelfTrainingClassifier"})
# -1 stands among the labels, or they are inputs of the next classifier: there are no text classes.
NUMBERED_CLASSES = frozenset({"ClassifierChain", "LabelPropagation", "LabelSpreading"})
# fit_transform gives two matrices, which no pipeline takes.
ALONE_ONLY = frozenset({"PLSSVD"})
SEVERAL_CLASSES = frozenset({"ClassifierChain", "MultiOutputClassifier"})
SEVERAL_TARGETS = frozenset(
    {
        "CCA", "MultiOutputRegressor", "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV",
        "PLSCanonical", "PLSRegression", "PLSSVD", "RegressorChain",
    }
)  # fmt: skip
POSITIVE_TARGET = frozenset({"GammaRegressor", "PoissonRegressor"})
# They compare and count, and sum no products of their inputs: rows of several huge values have one answer too.
COMPARING = frozenset(
    {
        "AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier", "BaggingRegressor", "Binarizer", "CategoricalNB",
        "DecisionTreeClassifier", "DecisionTreeRegressor", "DummyClassifier", "DummyRegressor", "ExtraTreeClassifier",
        "ExtraTreeRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor", "FixedThresholdClassifier",
        "GradientBoostingClassifier", "GradientBoostingRegressor", "GridSearchCV", "HistGradientBoostingClassifier",
        "HistGradientBoostingRegressor", "IsolationForest", "IsotonicRegression", "KBinsDiscretizer", "MissingIndicator",
        "OrdinalEncoder", "OneHotEncoder", "RandomForestClassifier", "RandomForestRegressor", "RandomizedSearchCV",
        "RandomTreesEmbedding", "SimpleImputer", "TargetEncoder",
    }
)  # fmt: skip


def tree() -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=3, random_state=0)


def value_tree() -> Any:
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(max_depth=3, random_state=0)


def logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def ridge() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge()


def scaler() -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler()


def imputer() -> Any:
    from sklearn.impute import SimpleImputer

    return SimpleImputer()


def halving() -> Arguments:
    return {"param_grid": {"max_depth": [1, 2, 3]}, "min_resources": 30, "cv": 2}


ARGUMENTS: Mapping[str, Callable[[], Arguments]] = {
    "AdaBoostClassifier": lambda: {"n_estimators": 5},
    "AdaBoostRegressor": lambda: {"n_estimators": 6},
    "BaggingClassifier": lambda: {"n_estimators": 4},
    "BaggingRegressor": lambda: {"n_estimators": 4},
    "BernoulliRBM": lambda: {"n_components": 3, "n_iter": 3},
    "BisectingKMeans": lambda: {"n_clusters": 4},
    "CalibratedClassifierCV": lambda: {"cv": 3},
    "CCA": lambda: {"n_components": 1},
    "ClassifierChain": lambda: {"estimator": logistic()},
    "ColumnTransformer": lambda: {"transformers": [("scaled", scaler(), [0, 1])], "remainder": "passthrough"},
    "DictionaryLearning": lambda: {"n_components": 2, "max_iter": 5},
    "ExtraTreesClassifier": lambda: {"n_estimators": 5},
    "ExtraTreesRegressor": lambda: {"n_estimators": 5},
    "FeatureUnion": lambda: {"transformer_list": [("scaled", scaler()), ("filled", imputer())]},
    "FixedThresholdClassifier": lambda: {"estimator": tree(), "threshold": 0.3},
    "FrozenEstimator": lambda: {"estimator": tree()},
    "FunctionTransformer": lambda: {"func": _square()},
    "GaussianMixture": lambda: {"n_components": 2},
    "BayesianGaussianMixture": lambda: {"n_components": 2},
    "GaussianRandomProjection": lambda: {"n_components": 2},
    "GradientBoostingClassifier": lambda: {"n_estimators": 5},
    "GradientBoostingRegressor": lambda: {"n_estimators": 5},
    "GridSearchCV": lambda: {"estimator": tree(), "param_grid": {"max_depth": [1, 3]}, "cv": 2},
    "HalvingGridSearchCV": lambda: {"estimator": tree(), **halving()},
    "HalvingRandomSearchCV": lambda: {
        "estimator": tree(), "param_distributions": {"max_depth": [1, 2, 3]}, "min_resources": 30, "cv": 2
    },
    "HashingVectorizer": lambda: {"n_features": 16},
    "HistGradientBoostingClassifier": lambda: {"max_iter": 5, "min_samples_leaf": 5},
    "HistGradientBoostingRegressor": lambda: {"max_iter": 5, "min_samples_leaf": 5},
    "IsolationForest": lambda: {"n_estimators": 8},
    "IsotonicRegression": lambda: {"out_of_bounds": "clip"},
    "IterativeImputer": lambda: {"max_iter": 3},
    "KBinsDiscretizer": lambda: {"n_bins": 3, "quantile_method": "averaged_inverted_cdf"},
    "KMeans": lambda: {"n_clusters": 3, "n_init": 2},
    "LatentDirichletAllocation": lambda: {"n_components": 2, "max_iter": 3},
    "LocalOutlierFactor": lambda: {"novelty": True},
    "LogisticRegressionCV": lambda: {"Cs": 2, "cv": 2, "l1_ratios": (0,), "use_legacy_attributes": False},
    "MiniBatchDictionaryLearning": lambda: {"n_components": 2, "max_iter": 5},
    "MiniBatchKMeans": lambda: {"n_clusters": 3, "n_init": 2},
    "MiniBatchNMF": lambda: {"n_components": 2, "max_iter": 20},
    "MiniBatchSparsePCA": lambda: {"n_components": 2, "max_iter": 5},
    "MLPClassifier": lambda: {"hidden_layer_sizes": (5,), "max_iter": 20},
    "MLPRegressor": lambda: {"hidden_layer_sizes": (5,), "max_iter": 20},
    "MultiOutputClassifier": lambda: {"estimator": tree()},
    "MultiOutputRegressor": lambda: {"estimator": ridge()},
    "NMF": lambda: {"n_components": 2},
    "NuSVC": lambda: {"nu": 0.3},
    "Nystroem": lambda: {"n_components": 10},
    "OneVsOneClassifier": lambda: {"estimator": logistic()},
    "OneVsRestClassifier": lambda: {"estimator": logistic()},
    "OrdinalEncoder": lambda: {"handle_unknown": "use_encoded_value", "unknown_value": -2, "encoded_missing_value": -1},
    "OutputCodeClassifier": lambda: {"estimator": logistic()},
    "Pipeline": lambda: {"steps": [("scale", scaler()), ("tree", tree())]},
    "PLSCanonical": lambda: {"n_components": 1},
    "PLSSVD": lambda: {"n_components": 1},
    "QuadraticDiscriminantAnalysis": lambda: {"reg_param": 0.1},
    "QuantileTransformer": lambda: {"n_quantiles": 20},
    "RadiusNeighborsClassifier": lambda: {"radius": 2.0, "outlier_label": "most_frequent"},
    "RadiusNeighborsRegressor": lambda: {"radius": 2.0},
    "RandomForestClassifier": lambda: {"n_estimators": 5},
    "RandomForestRegressor": lambda: {"n_estimators": 5},
    "RandomizedSearchCV": lambda: {"estimator": tree(), "param_distributions": {"max_depth": [1, 3]}, "n_iter": 2, "cv": 2},
    "RandomTreesEmbedding": lambda: {"n_estimators": 4, "max_depth": 3},
    "RBFSampler": lambda: {"n_components": 10},
    "RegressorChain": lambda: {"estimator": ridge()},
    "RFE": lambda: {"estimator": logistic(), "n_features_to_select": 2},
    "RFECV": lambda: {"estimator": logistic(), "cv": 2},
    "SelectFdr": lambda: {"alpha": 0.9},
    "SelectFpr": lambda: {"alpha": 0.9},
    "SelectFromModel": lambda: {"estimator": tree()},
    "SelectFwe": lambda: {"alpha": 0.9},
    "SelectKBest": lambda: {"k": 2},
    "SelectPercentile": lambda: {"percentile": 70},
    "SelfTrainingClassifier": lambda: {"estimator": logistic()},
    "SequentialFeatureSelector": lambda: {"estimator": tree(), "n_features_to_select": 2, "cv": 2},
    "SkewedChi2Sampler": lambda: {"n_components": 5, "skewedness": 100.0},
    "SparsePCA": lambda: {"n_components": 2, "max_iter": 5},
    "SparseCoder": lambda: {"dictionary": _dictionary()},
    "SparseRandomProjection": lambda: {"n_components": 2},
    "SplineTransformer": lambda: {"n_knots": 4},
    "StackingClassifier": lambda: {"estimators": [("tree", tree()), ("logistic", logistic())], "cv": 2},
    "StackingRegressor": lambda: {"estimators": [("tree", value_tree()), ("ridge", ridge())], "cv": 2},
    "TargetEncoder": lambda: {"cv": 2},
    "TheilSenRegressor": lambda: {"max_subpopulation": 50},
    "TunedThresholdClassifierCV": lambda: {"estimator": logistic(), "cv": 2},
    "VotingClassifier": lambda: {"estimators": [("tree", tree()), ("logistic", logistic())], "voting": "soft"},
    "VotingRegressor": lambda: {"estimators": [("tree", value_tree()), ("ridge", ridge())]},
}  # fmt: skip


def _square() -> Any:
    import numpy as np

    return np.square


def _dictionary() -> Any:
    import numpy as np

    return np.array([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]])


def public() -> dict[str, type]:
    """The classes of all_estimators() that predict or transform, with those of sklearn.experimental."""
    import sklearn.experimental.enable_halving_search_cv
    import sklearn.experimental.enable_iterative_imputer  # noqa: F401
    from sklearn.utils import all_estimators

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(all_estimators())


def made(name: str, cls: type) -> Any:
    """An estimator of the class, unfitted, with its chance fixed."""
    arguments = dict(ARGUMENTS.get(name, dict)())
    estimator = cls(**arguments)
    own = estimator.get_params(deep=False)
    if "random_state" in own:
        estimator.set_params(random_state=0)
    return estimator
