"""Ensembles in the settings people choose: what boosting starts from, votes, stacks, and targets on their way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import dummy, ensemble, linear_model, naive_bayes, preprocessing, svm, tree
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline

from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check

pytestmark = pytest.mark.filterwarnings("ignore")

TREE = tree.DecisionTreeClassifier(max_depth=3, random_state=0)
VALUES = tree.DecisionTreeRegressor(max_depth=3, random_state=0)
LABELS = {
    "two": lambda a: np.where(a > 0, "Yes", "No"),
    "three": lambda a: np.digitize(a, [-0.5, 0.5]) * 10 - 3,
}
MEMBERS = [("tree", TREE), ("bayes", naive_bayes.GaussianNB()), ("out", "drop"), ("svc", svm.LinearSVC())]
BOTH: dict[str, Any] = {
    "boosting from a tree": ensemble.GradientBoostingClassifier(n_estimators=3, init=TREE),
    "boosting from bayes": ensemble.GradientBoostingClassifier(n_estimators=3, init=ensemble.RandomForestClassifier(3, random_state=0)),
    "boosting from a dummy": ensemble.GradientBoostingClassifier(n_estimators=3, init=dummy.DummyClassifier(strategy="uniform", random_state=0)),
    "hard votes": ensemble.VotingClassifier(MEMBERS, weights=[1, 2, 7, 2]),
    "stacked": ensemble.StackingClassifier(MEMBERS, final_estimator=TREE, cv=2),
    "stacked labels": ensemble.StackingClassifier(MEMBERS, final_estimator=TREE, cv=2, stack_method="predict", passthrough=True),
    "votes as columns": make_pipeline(ensemble.VotingClassifier(MEMBERS), TREE),
    "shares as columns": make_pipeline(ensemble.VotingClassifier(MEMBERS[:2], voting="soft"), TREE),
    "stack as columns": make_pipeline(ensemble.StackingClassifier(MEMBERS, cv=2), TREE),
    "bagged pipelines": ensemble.BaggingClassifier(make_pipeline(preprocessing.StandardScaler(), TREE), 3, random_state=0),
    "ada boost of shallow trees": ensemble.AdaBoostClassifier(TREE, n_estimators=4, random_state=0),
}  # fmt: skip
MONOTONIC = {"monotonic_cst": [1, -1, 0], "max_depth": 4}
VALUED: dict[str, Any] = {
    "boosting from a tree": ensemble.GradientBoostingRegressor(n_estimators=3, init=VALUES),
    "boosting from zero": ensemble.GradientBoostingRegressor(n_estimators=3, init="zero", loss="huber"),
    "boosting from a dummy": ensemble.GradientBoostingRegressor(n_estimators=3, init=dummy.DummyRegressor(strategy="median")),
    "boosting stopped early": ensemble.GradientBoostingRegressor(n_estimators=20, n_iter_no_change=2, subsample=0.7, random_state=0),
    "monotonic tree": tree.DecisionTreeRegressor(**MONOTONIC),
    "monotonic forest": ensemble.RandomForestRegressor(3, random_state=0, ccp_alpha=0.01, **MONOTONIC),
    "votes": ensemble.VotingRegressor([("a", VALUES), ("out", "drop"), ("b", ensemble.ExtraTreesRegressor(3, random_state=0))], weights=[1, 4, 2]),
    "votes as columns": make_pipeline(ensemble.VotingRegressor([("a", VALUES), ("b", ensemble.ExtraTreesRegressor(3, random_state=0))]), VALUES),
    "stacked": ensemble.StackingRegressor([("a", VALUES), ("out", "drop")], final_estimator=VALUES, passthrough=True, cv=2),
}  # fmt: skip
INVERSES: dict[str, dict[str, Any]] = {
    "log1p": {"func": np.log1p, "inverse_func": np.expm1},
    "square root": {"func": np.sqrt, "inverse_func": np.square},
    "log2": {"func": np.log10, "inverse_func": np.log2, "check_inverse": False},
    "standard": {"transformer": preprocessing.StandardScaler()},
    "robust": {"transformer": preprocessing.RobustScaler()},
    "largest": {"transformer": preprocessing.MaxAbsScaler()},
    "range": {"transformer": preprocessing.MinMaxScaler((-2, 3))},
    "yeo-johnson": {"transformer": preprocessing.PowerTransformer()},
    "box-cox": {"transformer": preprocessing.PowerTransformer("box-cox", standardize=False)},
    "quantiles": {"transformer": preprocessing.QuantileTransformer(n_quantiles=20)},
    "normal quantiles": {"transformer": preprocessing.QuantileTransformer(n_quantiles=20, output_distribution="normal")},
    "pipeline": {"transformer": make_pipeline(preprocessing.MinMaxScaler(), preprocessing.PowerTransformer())},
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {"a": rng.normal(0, 1, 90), "b": rng.normal(1, 2, 90), "c": rng.integers(0, 4, 90).astype(float)}
    )


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", BOTH)
def test_an_ensemble_of_classifiers_is_exact(small: pd.DataFrame, name: str, labels: str) -> None:
    check(BOTH[name].fit(small, LABELS[labels](small.a + small.c / 9)), small, count=12, sums=True)


@pytest.mark.parametrize("name", VALUED)
def test_an_ensemble_of_regressors_is_exact(small: pd.DataFrame, name: str) -> None:
    check(VALUED[name].fit(small, small.a**2 + small.b), small, count=12)


def test_boosting_by_exponential_loss_from_a_tree_is_exact(small: pd.DataFrame) -> None:
    model = ensemble.GradientBoostingClassifier(n_estimators=3, init=TREE, loss="exponential")
    check(model.fit(small, LABELS["two"](small.a)), small, count=12)


@pytest.mark.parametrize("method", ["auto", "predict_proba", "decision_function"])
def test_a_stack_of_fitted_classifiers_keeps_their_labels(small: pd.DataFrame, method: str) -> None:
    labels = LABELS["two"](small.a)
    members = [("logistic", linear_model.LogisticRegression().fit(small, labels))]
    stack = ensemble.StackingClassifier(members, final_estimator=TREE, cv="prefit", stack_method=method)
    check(stack.fit(small, labels), small, count=12, sums=True)


def test_a_forest_that_knows_missing_values_is_exact(small: pd.DataFrame) -> None:
    gaps = small.mask(small > 2)
    check(ensemble.RandomForestRegressor(4, random_state=0).fit(gaps, small.b), gaps, count=20)
    check(ensemble.ExtraTreesClassifier(4, random_state=0).fit(gaps, LABELS["three"](small.a)), gaps, count=20)


@pytest.mark.parametrize(
    "model", [VALUES, ensemble.RandomForestRegressor(3, random_state=0), ensemble.BaggingRegressor(VALUES, 3)]
)
def test_trees_with_several_targets_are_exact(small: pd.DataFrame, model: Any) -> None:
    targets = pd.DataFrame({"up": small.a, "down": small.b - small.a, "other": small.c})
    model.fit(small, targets)
    check(model, small, count=12)


@pytest.mark.parametrize("name", INVERSES)
def test_a_transformed_target_comes_back(small: pd.DataFrame, name: str) -> None:
    model = TransformedTargetRegressor(VALUES, **INVERSES[name])
    check(model.fit(small, np.exp(small.b / 2) + 0.1), small, count=12)
    sums = TransformedTargetRegressor(linear_model.Ridge(), **INVERSES[name])
    check(sums.fit(small[["a"]], np.exp(small.a / 2) + 0.1), small[["a"]], count=30, sums=True)


def test_several_transformed_targets_come_back(small: pd.DataFrame) -> None:
    targets = np.column_stack([np.exp(small.a), small.b**2 + 0.1])
    for transformer in (preprocessing.PowerTransformer(), preprocessing.QuantileTransformer(n_quantiles=30)):
        model = TransformedTargetRegressor(VALUES, transformer=transformer)
        check(model.fit(small, targets), small, count=12)


def test_a_target_through_a_function_of_somebodys_own_is_refused(small: pd.DataFrame) -> None:
    model = TransformedTargetRegressor(VALUES, func=np.log1p, inverse_func=lambda y: np.expm1(y))
    with pytest.raises(Unsupported, match="<lambda>"):
        check(model.fit(small, small.b**2), small)
