"""The entry: a fitted scikit-learn estimator and its input columns -> ONNX in sqlml's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from onnx import TensorProto
from sklearn import compose as sk_compose
from sklearn import (
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    frozen,
    impute,
    linear_model,
    model_selection,
    naive_bayes,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from sqlml.convert.isolated.graph import Graph
from sqlml.convert.isolated.lightgbm.predictors import predictors as lightgbm_predictors
from sqlml.convert.isolated.sklearn import (
    bayes,
    compose,
    encoders,
    ensembles,
    histogram,
    linear,
    neural,
    reshape,
    trees,
)
from sqlml.convert.isolated.sklearn import impute as imputers
from sqlml.convert.isolated.sklearn import preprocessing as scalers
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Label, Predict, Prediction, Transform, Unwrap
from sqlml.convert.isolated.table import BOOL, FLOAT32, FLOAT64, INT64, OBJECT, Feature, Table, beside, table_of
from sqlml.convert.isolated.unsupported import Unsupported

WRAPPERS: dict[type, Unwrap] = {
    model_selection.GridSearchCV: compose.unwrap_search,
    model_selection.RandomizedSearchCV: compose.unwrap_search,
    frozen.FrozenEstimator: compose.unwrap_frozen,
}

TRANSFORMERS: dict[type, Transform] = {
    pipeline.Pipeline: compose.pipeline_transform,
    pipeline.FeatureUnion: compose.feature_union,
    sk_compose.ColumnTransformer: compose.column_transformer,
    impute.SimpleImputer: imputers.simple_imputer,
    impute.MissingIndicator: imputers.missing_indicator,
    preprocessing.StandardScaler: scalers.standard_scaler,
    preprocessing.MinMaxScaler: scalers.min_max_scaler,
    preprocessing.MaxAbsScaler: scalers.max_abs_scaler,
    preprocessing.RobustScaler: scalers.robust_scaler,
    preprocessing.Normalizer: scalers.normalizer,
    preprocessing.Binarizer: scalers.binarizer,
    preprocessing.FunctionTransformer: compose.function_transformer,
    preprocessing.PolynomialFeatures: reshape.polynomial_features,
    preprocessing.KBinsDiscretizer: reshape.k_bins,
    decomposition.PCA: reshape.pca,
    decomposition.TruncatedSVD: reshape.truncated_svd,
    preprocessing.OneHotEncoder: encoders.one_hot_encoder,
    preprocessing.OrdinalEncoder: encoders.ordinal_encoder,
    feature_selection.VarianceThreshold: compose.feature_selector,
    feature_selection.SelectKBest: compose.feature_selector,
    feature_selection.SelectPercentile: compose.feature_selector,
    feature_selection.SelectFpr: compose.feature_selector,
    feature_selection.SelectFdr: compose.feature_selector,
    feature_selection.SelectFwe: compose.feature_selector,
    feature_selection.GenericUnivariateSelect: compose.feature_selector,
    feature_selection.SelectFromModel: compose.feature_selector,
    feature_selection.RFE: compose.feature_selector,
    feature_selection.RFECV: compose.feature_selector,
    feature_selection.SequentialFeatureSelector: compose.feature_selector,
}

PREDICTORS: dict[type, Predict] = {
    pipeline.Pipeline: compose.pipeline_predict,
    linear_model.LogisticRegression: linear.logistic_regression,
    linear_model.LogisticRegressionCV: linear.logistic_regression,
    linear_model.RidgeClassifier: linear.ridge_classifier,
    linear_model.Perceptron: linear.scored,
    svm.LinearSVC: linear.scored,
    linear_model.LinearRegression: linear.linear_regressor,
    linear_model.Ridge: linear.linear_regressor,
    linear_model.Lasso: linear.coordinate_descent,
    linear_model.ElasticNet: linear.coordinate_descent,
    linear_model.RidgeCV: linear.linear_regressor,
    linear_model.LassoCV: linear.linear_regressor,
    linear_model.ElasticNetCV: linear.linear_regressor,
    linear_model.MultiTaskLasso: linear.coordinate_descent,
    linear_model.MultiTaskLassoCV: linear.linear_regressor,
    linear_model.MultiTaskElasticNet: linear.coordinate_descent,
    linear_model.MultiTaskElasticNetCV: linear.linear_regressor,
    linear_model.Lars: linear.linear_regressor,
    linear_model.LarsCV: linear.linear_regressor,
    linear_model.LassoLars: linear.linear_regressor,
    linear_model.LassoLarsCV: linear.linear_regressor,
    linear_model.LassoLarsIC: linear.linear_regressor,
    linear_model.OrthogonalMatchingPursuit: linear.linear_regressor,
    linear_model.OrthogonalMatchingPursuitCV: linear.linear_regressor,
    linear_model.BayesianRidge: linear.linear_regressor,
    linear_model.ARDRegression: linear.linear_regressor,
    linear_model.HuberRegressor: linear.linear_regressor,
    linear_model.TheilSenRegressor: linear.linear_regressor,
    linear_model.QuantileRegressor: linear.linear_regressor,
    linear_model.SGDRegressor: linear.linear_regressor,
    linear_model.PassiveAggressiveRegressor: linear.linear_regressor,
    svm.LinearSVR: linear.linear_regressor,
    linear_model.RidgeClassifierCV: linear.ridge_classifier,
    linear_model.SGDClassifier: linear.sgd_classifier,
    linear_model.PassiveAggressiveClassifier: linear.scored,
    linear_model.PoissonRegressor: linear.generalized,
    linear_model.GammaRegressor: linear.generalized,
    linear_model.TweedieRegressor: linear.generalized,
    linear_model.RANSACRegressor: linear.ransac,
    discriminant_analysis.LinearDiscriminantAnalysis: linear.discriminant,
    neural_network.MLPClassifier: neural.mlp_classifier,
    neural_network.MLPRegressor: neural.mlp_regressor,
    naive_bayes.GaussianNB: bayes.gaussian,
    naive_bayes.MultinomialNB: bayes.multinomial,
    naive_bayes.ComplementNB: bayes.complement,
    naive_bayes.BernoulliNB: bayes.bernoulli,
    naive_bayes.CategoricalNB: bayes.categorical,
    tree.DecisionTreeClassifier: trees.decision_tree_classifier,
    tree.DecisionTreeRegressor: trees.decision_tree_regressor,
    tree.ExtraTreeClassifier: trees.decision_tree_classifier,
    tree.ExtraTreeRegressor: trees.decision_tree_regressor,
    ensemble.RandomForestClassifier: trees.forest_classifier,
    ensemble.RandomForestRegressor: trees.forest_regressor,
    ensemble.ExtraTreesClassifier: trees.forest_classifier,
    ensemble.ExtraTreesRegressor: trees.forest_regressor,
    ensemble.GradientBoostingClassifier: trees.gradient_boosting_classifier,
    ensemble.GradientBoostingRegressor: trees.gradient_boosting_regressor,
    ensemble.HistGradientBoostingClassifier: histogram.hist_classifier,
    ensemble.HistGradientBoostingRegressor: histogram.hist_regressor,
    ensemble.VotingClassifier: ensembles.voting_classifier,
    ensemble.VotingRegressor: ensembles.voting_regressor,
    ensemble.BaggingClassifier: ensembles.bagging_classifier,
    ensemble.BaggingRegressor: ensembles.bagging_regressor,
    ensemble.AdaBoostClassifier: ensembles.ada_boost_classifier,
    ensemble.StackingClassifier: ensembles.stacking_classifier,
    ensemble.StackingRegressor: ensembles.stacking_regressor,
    sk_compose.TransformedTargetRegressor: ensembles.transformed_target,
    dummy.DummyClassifier: ensembles.dummy_classifier,
    dummy.DummyRegressor: ensembles.dummy_regressor,
}

DTYPES = {"DOUBLE": FLOAT64, "FLOAT": FLOAT32, "BIGINT": INT64, "INTEGER": INT64, "BOOLEAN": BOOL, "VARCHAR": OBJECT}


class ColumnLike(Protocol):
    """`sqlml.signature.Column` or anything with its name and type."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...


@dataclass(frozen=True)
class Converted:
    """What `sqlml.convert.onnx_model.OnnxModel` and its signature are made from.

    `nulls` is the policy per input column, in their order: "missing" (NULL reaches the model as its own missing
    value) or "refused" (NULL is certain to be an error). `missing_as` says, per text column, which missing value the
    original must be given where the graph is given MISSING_TEXT: "nan" or "none". `targets` is the number of outputs
    of a regressor.
    """

    onnx: bytes
    kind: Literal["classifier", "regressor"]
    classes: tuple[Label, ...]
    probabilities: bool
    targets: int
    reasons: tuple[str, ...]
    precision: Literal["double", "float"]
    nulls: tuple[Literal["missing", "refused"], ...]
    missing_as: Mapping[str, Literal["nan", "none"]]


def convert_sklearn(estimator: Estimator, columns: Sequence[ColumnLike]) -> Converted:
    """The estimator as ONNX that gives its answers, computing as it computes.

    The original is understood to be called with a DataFrame of these columns: float64 for DOUBLE, float32 for FLOAT,
    int64 or int32 for BIGINT and INTEGER (float64 in a row where one is NULL), bool for BOOLEAN, text for VARCHAR.

    Raises:
        Unsupported: a step has no exact translation; it names the step.
    """
    graph, said = build(estimator, columns, {})
    if graph.wishes and any(value != "nan" for value in graph.wishes.values()):
        graph, said = build(estimator, columns, graph.wishes)
    return finished(graph, said, columns)


def build(
    estimator: Estimator, columns: Sequence[ColumnLike], missing_as: Mapping[str, str]
) -> tuple[Graph, Prediction]:
    names = [c.name for c in columns]
    twice = sorted({n for n in names if names.count(n) > 1} | ({"prediction", "probabilities", "error"} & set(names)))
    if twice:
        why = f"the input columns {', '.join(twice)} share a name with each other or with an output."
        raise Unsupported("", type(estimator).__name__, why, "Rename these columns and train again.")
    graph = Graph()
    graph.missing_as.update(missing_as)
    graph.reserve([*names, "prediction", "probabilities", "error"])
    table = inputs(graph, columns)
    context = Context(graph, TRANSFORMERS, PREDICTORS | lightgbm_predictors(), WRAPPERS)
    return graph, context.predict(estimator, table, "")


def inputs(graph: Graph, columns: Sequence[ColumnLike]) -> Table:
    """One tensor [N, 1] per column."""
    tables = []
    for column in columns:
        text, dtype = column.type == "VARCHAR", DTYPES[column.type]
        tensor = graph.settle(graph.input(column.name, text=text), dtype)
        own = frozenset([column.name])
        low, high = (0.0, 1.0) if dtype == BOOL else (float("-inf"), float("inf"))
        feature = Feature(dtype, text, low, high, True, own, (column.name,), column.name)
        tables.append(table_of(tensor, [feature], frame=True))
    return beside(tables, frame=True)


def finished(graph: Graph, said: Prediction, columns: Sequence[ColumnLike]) -> Converted:
    graph.named(said.values, "prediction")
    kind = TensorProto.INT64 if said.kind == "classifier" else TensorProto.DOUBLE
    outputs = [("prediction", kind, 1 if said.kind == "classifier" else said.targets)]
    if said.probabilities is not None:
        graph.named(said.probabilities, "probabilities")
        outputs.append(("probabilities", TensorProto.DOUBLE, len(said.classes)))
    graph.finish_error()
    outputs.append(("error", TensorProto.INT64, 1))
    return Converted(
        onnx=graph.model(outputs),
        kind=said.kind,
        classes=said.classes,
        probabilities=said.probabilities is not None,
        targets=said.targets,
        reasons=tuple(graph.reasons),
        precision=said.precision,
        nulls=tuple("refused" if c.name in graph.refused else "missing" for c in columns),
        missing_as={
            c.name: "none" if graph.missing_as.get(c.name) == "none" else "nan" for c in columns if c.type == "VARCHAR"
        },
    )
