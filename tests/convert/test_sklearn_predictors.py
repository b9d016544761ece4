"""Each predictor alone, on numbers: regressors, classifiers of two and of many classes, text, bool and float labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import discriminant_analysis, dummy, ensemble, linear_model, naive_bayes, neural_network, svm, tree
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tests.convert.sklearn_parity import check

FAST = {"max_iter": 5, "random_state": 0}
# Sums of products: rows with several huge values may overflow or cancel in another order.
SUMS: dict[str, Any] = {
    "logistic": linear_model.LogisticRegression(),
    "logistic cv": linear_model.LogisticRegressionCV(Cs=2, cv=2, l1_ratios=(0,), use_legacy_attributes=False),
    "sgd hinge": linear_model.SGDClassifier(random_state=0),
    "sgd log": linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "sgd huber": linear_model.SGDClassifier(loss="modified_huber", random_state=0),
    "perceptron": linear_model.Perceptron(random_state=0),
    "linear svc": svm.LinearSVC(random_state=0),
    "ridge classifier": linear_model.RidgeClassifier(),
    "ridge classifier cv": linear_model.RidgeClassifierCV(),
    "discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
    "mlp relu": neural_network.MLPClassifier((7, 3), **FAST),
    "mlp tanh": neural_network.MLPClassifier((5,), activation="tanh", **FAST),
    "mlp logistic": neural_network.MLPClassifier((5,), activation="logistic", **FAST),
    "voting soft": ensemble.VotingClassifier(
        [("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=3))], voting="soft", weights=[2, 1]
    ),
}  # fmt: skip
CLASSIFIERS: dict[str, Any] = {
    "gaussian": naive_bayes.GaussianNB(),
    "bernoulli": naive_bayes.BernoulliNB(binarize=0.3),
    "tree": tree.DecisionTreeClassifier(random_state=0),
    "tree stump": tree.DecisionTreeClassifier(max_depth=1),
    "extra tree": tree.ExtraTreeClassifier(random_state=0),
    "forest": ensemble.RandomForestClassifier(5, random_state=0),
    "forest of one": ensemble.RandomForestClassifier(1, random_state=0),
    "shallow forest": ensemble.RandomForestClassifier(6, max_depth=2, random_state=0),
    "extra trees": ensemble.ExtraTreesClassifier(4, random_state=0),
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=5),
    "boosting from zero": ensemble.GradientBoostingClassifier(n_estimators=3, init="zero"),
    "histogram": ensemble.HistGradientBoostingClassifier(max_iter=5),
    "dummy": dummy.DummyClassifier(),
    "dummy most frequent": dummy.DummyClassifier(strategy="most_frequent"),
    "bagging": ensemble.BaggingClassifier(n_estimators=3, max_features=2, random_state=0),
    "bagged voters": ensemble.BaggingClassifier(svm.LinearSVC(), n_estimators=3, random_state=0),
    "ada boost": ensemble.AdaBoostClassifier(n_estimators=4, random_state=0),
    "voting hard": ensemble.VotingClassifier(
        [("a", tree.DecisionTreeClassifier(max_depth=2)), ("b", tree.DecisionTreeClassifier()), ("c", "drop")]
    ),
    "stacking": ensemble.StackingClassifier(
        [("a", tree.DecisionTreeClassifier(max_depth=2)), ("b", linear_model.RidgeClassifier())], cv=2
    ),
    "stacking passthrough": ensemble.StackingClassifier(
        [("a", naive_bayes.GaussianNB())], final_estimator=tree.DecisionTreeClassifier(max_depth=3), passthrough=True, cv=2
    ),
    "grid search": GridSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 3]}, cv=2),
    "random search": RandomizedSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 3]}, n_iter=1, cv=2, random_state=0),
}  # fmt: skip
LABELS = {
    "two texts": lambda a: np.where(a > 0, "Yes", "No"),
    "three numbers": lambda a: np.digitize(a, [-0.5, 0.5]) * 10 - 3,
}
REGRESSOR_SUMS: dict[str, Any] = {
    "linear": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(fit_intercept=False),
    "ridge cv": linear_model.RidgeCV(),
    "lasso": linear_model.Lasso(alpha=0.01),
    "lasso cv": linear_model.LassoCV(cv=2),
    "elastic net": linear_model.ElasticNet(alpha=0.01),
    "elastic net cv": linear_model.ElasticNetCV(cv=2),
    "lars": linear_model.Lars(),
    "lasso lars": linear_model.LassoLars(alpha=0.01),
    "omp": linear_model.OrthogonalMatchingPursuit(),
    "bayesian ridge": linear_model.BayesianRidge(),
    "ard": linear_model.ARDRegression(),
    "huber": linear_model.HuberRegressor(max_iter=10000),
    "quantile": linear_model.QuantileRegressor(alpha=0.01),
    "theil-sen": linear_model.TheilSenRegressor(random_state=0, max_subpopulation=50),
    "sgd": linear_model.SGDRegressor(random_state=0),
    "linear svr": svm.LinearSVR(random_state=0),
    "ransac": linear_model.RANSACRegressor(random_state=0),
    "mlp": neural_network.MLPRegressor("squared_error", (4,), **FAST),
    "voting": ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3))]),
    "scaled target": TransformedTargetRegressor(linear_model.Ridge(), transformer=StandardScaler()),
    "ranged target": TransformedTargetRegressor(linear_model.Ridge(), transformer=MinMaxScaler()),
}
REGRESSORS: dict[str, Any] = {
    "tree": tree.DecisionTreeRegressor(random_state=0),
    "extra tree": tree.ExtraTreeRegressor(random_state=0),
    "absolute tree": tree.DecisionTreeRegressor(criterion="absolute_error", max_depth=3),
    "forest": ensemble.RandomForestRegressor(5, random_state=0),
    "extra trees": ensemble.ExtraTreesRegressor(4, random_state=0),
    "boosting": ensemble.GradientBoostingRegressor(n_estimators=5),
    "boosting huber": ensemble.GradientBoostingRegressor(n_estimators=5, loss="huber"),
    "boosting quantile": ensemble.GradientBoostingRegressor(n_estimators=5, loss="quantile"),
    "boosting absolute": ensemble.GradientBoostingRegressor(n_estimators=5, loss="absolute_error"),
    "histogram": ensemble.HistGradientBoostingRegressor(max_iter=5),
    "histogram absolute": ensemble.HistGradientBoostingRegressor(max_iter=5, loss="absolute_error"),
    "histogram quantile": ensemble.HistGradientBoostingRegressor(max_iter=5, loss="quantile", quantile=0.7),
    "bagging": ensemble.BaggingRegressor(n_estimators=3, max_samples=0.5, random_state=0),
    "stacking": ensemble.StackingRegressor([("a", tree.DecisionTreeRegressor(max_depth=2)), ("b", linear_model.Ridge())], cv=2),
    "dummy": dummy.DummyRegressor(strategy="median"),
    "log target": TransformedTargetRegressor(tree.DecisionTreeRegressor(max_depth=3), func=np.arcsinh, inverse_func=np.expm1, check_inverse=False),
}  # fmt: skip
POSITIVE: dict[str, Any] = {
    "poisson": linear_model.PoissonRegressor(),
    "gamma": linear_model.GammaRegressor(),
    "tweedie": linear_model.TweedieRegressor(power=1.5),
    "normal tweedie": linear_model.TweedieRegressor(power=0),
    "mlp poisson": neural_network.MLPRegressor("poisson", (4,), **FAST),
    "histogram poisson": ensemble.HistGradientBoostingRegressor(max_iter=5, loss="poisson"),
    "histogram gamma": ensemble.HistGradientBoostingRegressor(max_iter=5, loss="gamma"),
    "tree poisson": tree.DecisionTreeRegressor(criterion="poisson", max_depth=3),
}


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"a": rng.normal(0, 1, 90), "b": rng.normal(1, 2, 90), "c": rng.integers(0, 4, 90).astype(float)}
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", SUMS)
def test_a_classifier_that_sums_products_is_exact(small: pd.DataFrame, name: str, labels: str) -> None:
    check(SUMS[name].fit(small, LABELS[labels](small.a)), small, count=15, sums=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_exact(small: pd.DataFrame, name: str, labels: str) -> None:
    sums = name in ("bagged voters", "stacking")
    check(CLASSIFIERS[name].fit(small, LABELS[labels](small.a + small.c / 9)), small, count=15, sums=sums)


def test_estimators_of_two_classes_only_are_exact(small: pd.DataFrame) -> None:
    check(
        linear_model.LogisticRegression(solver="liblinear", fit_intercept=False).fit(small, small.a > 0),
        small,
        sums=True,
    )
    check(
        ensemble.GradientBoostingClassifier(n_estimators=5, loss="exponential").fit(small, small.a > 0), small, count=15
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REGRESSOR_SUMS)
def test_a_regressor_that_sums_products_is_exact(small: pd.DataFrame, name: str) -> None:
    y = 3 * small.a - small.b + np.sin(small.c)
    check(REGRESSOR_SUMS[name].fit(small, y), small, count=15, sums=True, weight=10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_is_exact(small: pd.DataFrame, name: str) -> None:
    check(REGRESSORS[name].fit(small, small.a * small.b + small.c), small, count=15, sums=name == "stacking")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", POSITIVE)
def test_a_regressor_with_a_link_is_exact(small: pd.DataFrame, name: str) -> None:
    check(POSITIVE[name].fit(small, np.exp(small.a / 2)), small, count=15, sums="histogram" not in name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model", [linear_model.LinearRegression(), linear_model.MultiTaskLasso(alpha=0.01), dummy.DummyRegressor()]
)
def test_several_targets_come_in_order(small: pd.DataFrame, model: Any) -> None:
    _, converted = check(model.fit(small, small[["a", "b"]] * 2), small, count=15, sums=True, weight=10)

    assert converted.targets == 2


@pytest.mark.parametrize(
    "model", [naive_bayes.MultinomialNB(), naive_bayes.ComplementNB(), naive_bayes.CategoricalNB()]
)
def test_naive_bayes_of_counts_is_exact(model: Any) -> None:
    rng = np.random.default_rng(5)
    counts = pd.DataFrame({"a": rng.integers(0, 4, 80), "b": rng.integers(0, 3, 80)})
    check(model.fit(counts, rng.integers(0, 3, 80)), counts, count=15, sums=True)
    check(model.fit(counts.astype(float), rng.random(80) < 0.5), counts.astype(float), count=15, sums=True)


@pytest.mark.parametrize("labels", [np.array([True, False]), np.array([1.0, 20.0]), np.array(["", "naïve"])])
def test_labels_keep_their_type(small: pd.DataFrame, labels: np.ndarray) -> None:
    model = FrozenEstimator(tree.DecisionTreeClassifier(max_depth=2).fit(small, labels[(small.a > 0).astype(int)]))

    _, converted = check(model, small, count=15)

    assert converted.classes == tuple(np.unique(labels).tolist())


@pytest.mark.parametrize(
    "model",
    [
        tree.DecisionTreeClassifier(),
        ensemble.RandomForestClassifier(2),
        ensemble.HistGradientBoostingRegressor(max_iter=1),
    ],
)
def test_trees_without_a_split_are_exact(model: Any) -> None:
    same = pd.DataFrame({"a": np.ones(40)})
    check(model.fit(same, np.arange(40) % 2), same, count=5)


def test_many_classes_and_one_column() -> None:
    rng = np.random.default_rng(6)
    one = pd.DataFrame({"a": rng.normal(0, 1, 150)})
    classes = np.array([f"class {i}" for i in range(30)])[rng.integers(0, 30, 150)]
    check(ensemble.RandomForestClassifier(3, max_depth=4, random_state=0).fit(one, classes), one, count=15)
    check(linear_model.LogisticRegression(max_iter=50).fit(one, classes), one, count=15, sums=True)


@pytest.mark.parametrize(
    "model",
    [
        ensemble.RandomForestClassifier(4, random_state=0),
        ensemble.ExtraTreesClassifier(4, random_state=0),
        tree.DecisionTreeClassifier(),
        ensemble.HistGradientBoostingClassifier(max_iter=4),
    ],
)
def test_trees_trained_with_missing_values_are_exact(small: pd.DataFrame, model: Any) -> None:
    gaps = small.mask(np.random.default_rng(1).random(small.shape) < 0.2)

    _, converted = check(model.fit(gaps, small.a > 0), gaps, count=30)

    assert set(converted.nulls) == {"missing"}


@pytest.mark.parametrize(
    "model",
    [
        ensemble.RandomForestRegressor(4, random_state=0),
        ensemble.GradientBoostingRegressor(n_estimators=4),
        ensemble.HistGradientBoostingRegressor(max_iter=4),
    ],
)
def test_trees_on_float32_columns_are_exact(small: pd.DataFrame, model: Any) -> None:
    narrow = small.astype("float32")
    check(model.fit(narrow, small.a * small.b), narrow, count=15)
