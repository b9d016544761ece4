"""Transformers that look at a row's neighbours or fill its gaps from a model; and those that are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import decomposition, ensemble, linear_model, manifold, neighbors, preprocessing, tree
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # scikit-learn's own switch
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.pipeline import make_pipeline
from sklearn.utils import all_estimators

from sqlml.convert.isolated.sklearn import registry
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check, columns_of
from tests.convert.transformer_parity import check_sql

pytestmark = pytest.mark.filterwarnings("ignore")


def frame(gaps: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    n = 50
    made = pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(1, 9, n), "c": rng.integers(0, 4, n).astype(float)})
    return made.mask(rng.random(made.shape) < 0.2) if gaps else made


IMPUTERS: dict[str, Any] = {
    "bayesian": IterativeImputer(random_state=0, max_iter=4),
    "with limits": IterativeImputer(
        random_state=0, max_iter=2, add_indicator=True, min_value=-2, max_value=[1, 60, 3], imputation_order="random"
    ),
    "forest": IterativeImputer(ensemble.RandomForestRegressor(2, max_depth=2, random_state=0), max_iter=2),
    "few neighbours": IterativeImputer(random_state=0, n_nearest_features=1, max_iter=2, skip_complete=True),
}


@pytest.mark.parametrize("name", IMPUTERS)
def test_gaps_filled_by_regressors(name: str) -> None:
    data, y = frame(gaps=True), frame()["a"]
    check(make_pipeline(IMPUTERS[name], linear_model.Ridge()).fit(data, y), data, count=8, sums=True)
    check(make_pipeline(IMPUTERS[name], tree.DecisionTreeRegressor(max_depth=3)).fit(data, y), data, count=8)


def test_gaps_filled_by_regressors_in_sql() -> None:
    data = frame(gaps=True)
    model = make_pipeline(IterativeImputer(random_state=0, max_iter=2), linear_model.Ridge())
    assert check_sql(model.fit(data, frame()["a"]), data, count=3) == "sql"


def test_a_regressor_raises_only_where_it_is_asked() -> None:
    """A forest refuses what is beyond float32, in the rows with a gap only."""
    data = frame(gaps=True)
    model = make_pipeline(IMPUTERS["forest"], linear_model.Ridge()).fit(data, frame()["a"])
    report, converted = check(model, data, count=8, sums=True)
    assert any("float32" in reason for reason in converted.reasons)
    assert report.raised


def test_drawn_values_are_refused() -> None:
    data = frame(gaps=True)
    with pytest.raises(Unsupported, match="sample_posterior"):
        convert_sklearn(IterativeImputer(sample_posterior=True, max_iter=1).fit(data), columns_of(data))


GRAPHS: dict[str, Any] = {
    "distances to the nearest": neighbors.KNeighborsTransformer(n_neighbors=3),
    "the nearest": neighbors.KNeighborsTransformer(n_neighbors=3, mode="connectivity", algorithm="brute"),
    "within a radius": neighbors.RadiusNeighborsTransformer(radius=4),
    "isomap": manifold.Isomap(n_neighbors=4),
    "locally linear": manifold.LocallyLinearEmbedding(n_neighbors=4, random_state=0),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_neighbourhoods(name: str) -> None:
    data = frame()
    model = make_pipeline(preprocessing.MinMaxScaler(clip=True), GRAPHS[name], linear_model.Ridge())
    check(model.fit(data, data["a"]), data, count=8, sums=True)


def test_neighbours_of_what_is_infinitely_far() -> None:
    data = frame()
    for mode in ("connectivity", "distance"):
        model = neighbors.KNeighborsTransformer(n_neighbors=3, mode=mode)
        check(make_pipeline(model, tree.DecisionTreeRegressor()).fit(data, data["a"]), data, count=8)


@pytest.mark.parametrize("given", [{}, {"norm": None, "sublinear_tf": True}, {"norm": "l1", "use_idf": False}], ids=str)
def test_counts_weighted_by_how_rare_they_are(given: Any) -> None:
    data = frame().abs().round()
    check(make_pipeline(TfidfTransformer(**given), linear_model.Ridge()).fit(data, data["a"]), data, count=8, sums=True)


@pytest.mark.parametrize("given", [{}, {"split_sign": True}, {"transform_algorithm": "threshold"}], ids=str)
def test_dictionaries(given: Any) -> None:
    data = frame()
    model = make_pipeline(decomposition.SparseCoder(2 * np.eye(3)[:2], **given), linear_model.Ridge())
    check(model.fit(data, data["a"]), data, count=8, sums=True)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (decomposition.NMF(2, max_iter=5), "other rows"),
        (decomposition.MiniBatchNMF(2, max_iter=5), "other rows"),
        (decomposition.LatentDirichletAllocation(2, max_iter=2), "rounds"),
        (KNNImputer(), "processors"),
    ],
)
def test_what_is_refused_says_why(model: Any, why: str) -> None:
    data = frame().abs()
    with pytest.raises(Unsupported, match=why) as caught:
        convert_sklearn(make_pipeline(model, linear_model.Ridge()).fit(data, data["a"]), columns_of(data))
    assert caught.value.step == type(model).__name__.lower()
    assert caught.value.instead


@pytest.mark.parametrize("words", [CountVectorizer(), HashingVectorizer(n_features=8)])
def test_words_are_refused_with_the_reason(words: Any) -> None:
    data = pd.DataFrame({"note": ["some words", "more words"] * 9})
    model = make_pipeline(ColumnTransformer([("words", words, "note")]), linear_model.LogisticRegression())
    with pytest.raises(Unsupported) as caught:
        convert_sklearn(model.fit(data, [0, 1] * 9), columns_of(data))
    assert caught.value.step == "columntransformer > words"
    assert "regular expression" in str(caught.value)


def test_every_transformer_of_scikit_learn_is_known() -> None:
    """Converted or refused with its own reason: none falls through to "there is no translation"."""
    known = {*registry.transformers(), *registry.wrappers()}
    assert [name for name, cls in all_estimators() if hasattr(cls, "transform") and cls not in known] == []
