"""Each transformer before a tree (which takes every bit of it to heart) and, where it matters, before a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import decomposition, ensemble, feature_selection, linear_model, tree
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from tests.convert.sklearn_parity import check

NUMERIC: dict[str, Any] = {
    "standard": StandardScaler(),
    "standard without mean": StandardScaler(with_mean=False),
    "standard without std": StandardScaler(with_std=False),
    "min-max": MinMaxScaler((-1, 3)),
    "min-max clipped": MinMaxScaler(clip=True),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust without centre": RobustScaler(with_centering=False, quantile_range=(10, 90)),
    "normal l1": Normalizer("l1"),
    "normal l2": Normalizer("l2"),
    "normal max": Normalizer("max"),
    "binary": Binarizer(threshold=0.7),
    "squares": PolynomialFeatures(2),
    "interactions": PolynomialFeatures(3, interaction_only=True, include_bias=False),
    "cubes only": PolynomialFeatures((3, 3)),
    "bins": KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    "uniform bins": KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"),
    "sparse bins": KBinsDiscretizer(3, encode="onehot", strategy="kmeans", random_state=0),
    "variance": feature_selection.VarianceThreshold(0.5),
    "best": feature_selection.SelectKBest(feature_selection.f_regression, k=2),
    "percentile": feature_selection.SelectPercentile(feature_selection.f_regression, percentile=40),
    "from model": feature_selection.SelectFromModel(tree.DecisionTreeRegressor(max_depth=1)),
    "recursive": feature_selection.RFE(linear_model.Ridge(), n_features_to_select=2),
    "sequential": feature_selection.SequentialFeatureSelector(linear_model.Ridge(), n_features_to_select=2, cv=2),
    "imputer": SimpleImputer(),
    "imputer of zeros": SimpleImputer(missing_values=0, strategy="median"),
    "constant imputer": SimpleImputer(strategy="constant", fill_value=-5.0, add_indicator=True),
    "indicator": make_union(MissingIndicator(features="all"), SimpleImputer()),
    "identity": FunctionTransformer(),
    "validated identity": FunctionTransformer(validate=True),
    "log1p of abs": make_pipeline(FunctionTransformer(np.abs), FunctionTransformer(np.log1p)),
    "roots": FunctionTransformer(np.sqrt),
    "exp": FunctionTransformer(np.exp),
    "expm1": FunctionTransformer(np.expm1),
    "log": FunctionTransformer(np.log),
    "square": FunctionTransformer(np.square),
    "union": FeatureUnion([("s", StandardScaler()), ("m", MinMaxScaler()), ("p", "passthrough"), ("d", "drop")], transformer_weights={"s": 0.5}),
    "chain": make_pipeline(StandardScaler(), "passthrough", MinMaxScaler(), None),
}  # fmt: skip
WITH_GAPS = ("imputer", "constant imputer", "indicator", "identity", "standard", "min-max", "max-abs", "robust", "exp")
FLOAT32 = (
    "standard", "min-max", "min-max clipped", "max-abs", "robust", "squares", "cubes only", "imputer", "best", "variance", "bins",
    "roots", "square",
)  # fmt: skip


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    """Columns of several sizes, one of them constant."""
    rng = np.random.default_rng(3)
    n = 80
    return pd.DataFrame(
        {
            "a": rng.normal(0, 1, n),
            "b": rng.normal(1, 40, n),
            "c": rng.integers(0, 4, n).astype(float),
            "same": np.full(n, 2.5),
        }
    )


def tame(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Training data that the function takes."""
    if name in ("log", "roots"):
        return frame.abs() + 1
    return frame / 10 if name.startswith("exp") else frame


def target(frame: pd.DataFrame) -> Any:
    return (frame.a.fillna(0) * 2 - frame.b.fillna(1) / 9 + frame.c.fillna(0)).to_numpy()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NUMERIC)
def test_before_a_tree(small: pd.DataFrame, name: str) -> None:
    small = tame(small, name)
    model = make_pipeline(NUMERIC[name], tree.DecisionTreeRegressor(max_depth=5, random_state=0))
    check(model.fit(small, target(small)), small, count=12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NUMERIC)
def test_before_a_linear_model(small: pd.DataFrame, name: str) -> None:
    small = tame(small, name)
    model = make_pipeline(NUMERIC[name], linear_model.LogisticRegression(max_iter=20))
    check(model.fit(small, target(small) > 1), small, count=12, sums=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WITH_GAPS)
def test_with_missing_values(small: pd.DataFrame, name: str) -> None:
    small = tame(small, name)
    gaps = small.mask(np.random.default_rng(1).random(small.shape) < 0.2)
    for last in (ensemble.HistGradientBoostingRegressor(max_iter=4), tree.DecisionTreeRegressor(max_depth=5)):
        check(make_pipeline(NUMERIC[name], last).fit(gaps, target(gaps)), gaps, count=12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FLOAT32)
def test_on_float32_columns(small: pd.DataFrame, name: str) -> None:
    narrow = small.astype("float32")
    model = make_pipeline(NUMERIC[name], tree.DecisionTreeRegressor(max_depth=5, random_state=0))
    check(model.fit(narrow, target(small)), narrow, count=12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "projection", [decomposition.PCA(2), decomposition.PCA(whiten=True), decomposition.TruncatedSVD(2)]
)
def test_projections(small: pd.DataFrame, projection: Any) -> None:
    model = make_pipeline(StandardScaler(), projection, linear_model.LogisticRegression())
    check(model.fit(small, target(small) > 1), small, count=12, sums=True)


@pytest.mark.filterwarnings("ignore")
def test_integer_and_boolean_columns() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"i": rng.integers(0, 9, 80), "j": rng.integers(-3, 3, 80).astype("int32"), "b": rng.random(80) < 0.5}
    )
    for first in (
        StandardScaler(),
        MinMaxScaler(),
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore"),
        KBinsDiscretizer(2),
    ):
        for last in (linear_model.LogisticRegression(), tree.DecisionTreeClassifier(max_depth=4)):
            check(make_pipeline(first, last).fit(frame, frame.i > 4), frame, count=12, sums=True)


TEXT: dict[str, Any] = {
    "one-hot": OneHotEncoder(),
    "one-hot ignoring": OneHotEncoder(handle_unknown="ignore"),
    "one-hot first dropped": OneHotEncoder(drop="first", handle_unknown="ignore"),
    "one-hot strict binary": OneHotEncoder(drop="if_binary", sparse_output=False),
    "one-hot chosen drop": OneHotEncoder(drop=["B", "x", True, 2]),
    "one-hot infrequent": OneHotEncoder(min_frequency=12, handle_unknown="infrequent_if_exist"),
    "one-hot warn": OneHotEncoder(max_categories=3, handle_unknown="warn"),
    "one-hot infrequent ignored": OneHotEncoder(max_categories=2, handle_unknown="ignore", drop="first"),
    "one-hot infrequent strict": OneHotEncoder(max_categories=2),
    "ordinal": OrdinalEncoder(),
    "ordinal unknown": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal unknown nan": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    "ordinal missing": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=99, encoded_missing_value=-7),
    "ordinal infrequent": OrdinalEncoder(max_categories=3, handle_unknown="use_encoded_value", unknown_value=50),
}  # fmt: skip


def categories(gaps: bool, missing: Any = np.nan) -> pd.DataFrame:
    rng = np.random.default_rng(9)
    n = 90
    frame = pd.DataFrame(
        {
            "city": rng.choice(["A", "B", "C", "it's", "", "ü"], n, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.05]),
            "plan": rng.choice(["x", "y"], n),
            "flag": rng.random(n) < 0.5,
            "size": rng.choice([1.0, 2.0, 7.5], n, p=[0.6, 0.3, 0.1]),
        }
    )
    if gaps:
        frame["city"] = frame["city"].astype(object if missing is None else "str").where(rng.random(n) > 0.2, missing)
        frame["size"] = frame["size"].where(rng.random(n) > 0.2)
    return frame


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", TEXT)
def test_encoders(name: str, gaps: bool) -> None:
    frame = categories(gaps)
    y = (frame["city"] == "A") | frame["flag"]
    check(make_pipeline(TEXT[name], tree.DecisionTreeClassifier(max_depth=6)).fit(frame, y), frame, count=12)
    if not name.startswith("ordinal"):
        check(make_pipeline(TEXT[name], linear_model.LogisticRegression()).fit(frame, y), frame, count=12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["one-hot", "one-hot ignoring", "ordinal", "ordinal missing"])
def test_none_as_a_fitted_category(name: str) -> None:
    frame = categories(gaps=True, missing=None)[["city", "plan"]]
    model = make_pipeline(TEXT[name], tree.DecisionTreeClassifier()).fit(frame, frame["city"] == "A")

    _, converted = check(model, frame, count=12)

    assert converted.missing_as["city"] == "none"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value="none given"),
        SimpleImputer(strategy="constant"),
        SimpleImputer(strategy="constant", missing_values="A", fill_value="B"),
    ],
)
def test_imputed_text(imputer: SimpleImputer) -> None:
    frame = categories(gaps=imputer.missing_values != "A")[["city", "plan"]]
    model = make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore"), linear_model.LogisticRegression())
    check(model.fit(frame, frame["plan"] == "x"), frame, count=12)


@pytest.mark.filterwarnings("ignore")
def test_imputed_none() -> None:
    frame = categories(gaps=True, missing=None)[["city", "plan"]]
    model = make_pipeline(
        SimpleImputer(missing_values=None, strategy="most_frequent"), OneHotEncoder(), tree.DecisionTreeClassifier()
    )
    check(model.fit(frame, frame["plan"] == "x"), frame, count=12)


@pytest.mark.filterwarnings("ignore")
def test_text_and_numbers_imputed_together() -> None:
    frame = categories(gaps=True)[["city", "size", "plan"]]
    model = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"), tree.DecisionTreeClassifier()
    )
    check(model.fit(frame, frame["plan"] == "x"), frame, count=12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), linear_model.LinearRegression()),
        make_pipeline(MaxAbsScaler(), linear_model.Ridge()),
        make_pipeline(
            ColumnTransformer([("w", "passthrough", [0])], transformer_weights={"w": 0.1}), linear_model.Ridge()
        ),
        make_pipeline(decomposition.TruncatedSVD(1), MaxAbsScaler(), linear_model.Ridge()),
        make_pipeline(decomposition.PCA(1, whiten=True), linear_model.Ridge()),
        make_pipeline(StandardScaler(), ensemble.AdaBoostClassifier(linear_model.LogisticRegression(), n_estimators=1)),
    ],
)
@pytest.mark.parametrize("columns", [["a"], ["a", "b"]])
def test_onnxruntime_does_not_round_a_factor_beside_a_product_to_float32(
    small: pd.DataFrame, model: Any, columns: list[str]
) -> None:
    frame = small[columns]
    if isinstance(model[0], decomposition.TruncatedSVD | decomposition.PCA) and len(columns) == 1:
        frame = small[["a", "c"]]
    y = (small.a > 0).astype(int) if "ada" in repr(model).lower() else target(small)
    check(model.fit(frame, y), frame, count=12, sums=True)


@pytest.mark.filterwarnings("ignore")
def test_pandas_output_of_a_step_without_names(small: pd.DataFrame) -> None:
    prepare = ColumnTransformer([("abs", FunctionTransformer(np.abs), ["a", "b"]), ("scaled", StandardScaler(), ["c"])])
    model = make_pipeline(
        prepare.set_output(transform="pandas"), StandardScaler(), tree.DecisionTreeRegressor(max_depth=5)
    )
    check(model.fit(small, target(small)), small, count=12)


SELECTORS: dict[str, Any] = {
    "names": ["a", "c"],
    "positions": [2, 0],
    "slice": slice(1, 3),
    "slice of names": slice("a", "c"),
    "mask": [True, False, True, False, False],
    "callable": make_column_selector(dtype_include="number"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("remainder", ["drop", "passthrough", StandardScaler()])
@pytest.mark.parametrize("columns", SELECTORS)
def test_every_way_of_selecting_columns(small: pd.DataFrame, columns: str, remainder: Any) -> None:
    frame = small.assign(flag=small.a > 0)
    model = make_pipeline(
        ColumnTransformer([("scaled", MinMaxScaler(), SELECTORS[columns])], remainder=remainder),
        tree.DecisionTreeRegressor(max_depth=5),
    ).fit(frame, target(frame))
    check(model, frame, count=8)
    check(model, frame[["flag", "c", "same", "b", "a"]], count=8)


@pytest.mark.filterwarnings("ignore")
def test_pandas_output_keeps_names_for_the_next_selection(small: pd.DataFrame) -> None:
    frame = small.assign(flag=small.a > 0)
    first = make_column_transformer(
        (StandardScaler(), ["a", "b"]), remainder="passthrough", verbose_feature_names_out=False
    )
    second = make_column_transformer((MinMaxScaler(), ["b", "c"]), ("passthrough", ["flag"]), ("drop", ["a"]))
    model = make_pipeline(first.set_output(transform="pandas"), second, tree.DecisionTreeRegressor(max_depth=5))
    check(model.fit(frame, target(frame)), frame, count=12)


@pytest.mark.filterwarnings("ignore")
def test_scaling_a_sparse_matrix_multiplies_by_the_reciprocal() -> None:
    frame = categories(gaps=False)
    for scaler in (StandardScaler(with_mean=False), MaxAbsScaler(), Normalizer(), Normalizer("l1")):
        prepare = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]), ("passthrough", ["size"]), sparse_threshold=1
        )
        model = make_pipeline(prepare, scaler, tree.DecisionTreeClassifier(max_depth=6, random_state=0))
        check(model.fit(frame, frame["flag"]), frame, count=12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "last", [linear_model.Lasso(alpha=0.01), linear_model.ElasticNet(alpha=0.01), linear_model.Ridge()]
)
def test_sparse_input_goes_unchecked_where_the_original_does_not_check_it(last: Any) -> None:
    frame = categories(gaps=False)
    prepare = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        (FunctionTransformer(), ["size"]),
        sparse_threshold=1,
    )
    check(make_pipeline(prepare, last).fit(frame, frame["size"]), frame, count=12, sums=True)


@pytest.mark.filterwarnings("ignore")
def test_histogram_boosting_with_categories() -> None:
    rng = np.random.default_rng(2)
    n = 300
    frame = pd.DataFrame(
        {"x": rng.normal(size=n), "code": rng.integers(0, 40, n).astype(float), "city": rng.choice(list("ABCDEFGH"), n)}
    )
    frame.loc[rng.random(n) < 0.1, "code"] = np.nan
    frame["city"] = frame["city"].where(rng.random(n) > 0.1)
    y = frame["x"] + np.sin(frame["code"].fillna(3) * 5) + frame["city"].isin(["A", "D", "H"])
    for model in (
        ensemble.HistGradientBoostingRegressor(max_iter=8, categorical_features=["city", "code"], min_samples_leaf=3),
        ensemble.HistGradientBoostingClassifier(max_iter=5, categorical_features=[2], min_samples_leaf=3),
    ):
        check(model.fit(frame, np.digitize(y, [0, 1]) if "Classifier" in type(model).__name__ else y), frame, count=30)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NUMERIC)
def test_by_itself(small: pd.DataFrame, name: str) -> None:
    small = tame(small, name)
    model = NUMERIC[name].fit(small, target(small))

    _, converted = check(model, small, count=12, sums=True)

    assert converted.method == ("predict" if hasattr(model, "predict") else "transform")
