"""The parity matrix: every kind of model x every engine x hostile rows; the original model is the expectation."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cloudpickle
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import Matern
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sqlml import parity, sql
from sqlml.compile import NotCompilable
from sqlml.convert import OnnxModel, Reference, Worker, open_worker
from sqlml.database import open_database
from sqlml.engines import native, python
from sqlml.engines.outputs import Engine
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros
from sqlml.errors import UnsupportedModel

ROWS = 400
NUMBERS = ["age", "fee", "visits"]
TEXTS = ["plan", "city"]
ALONE_SECONDS = 0.5


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    made = pd.DataFrame(
        {
            "age": rng.normal(40, 12, ROWS).round(1),
            "fee": rng.exponential(50, ROWS),
            "visits": rng.integers(0, 20, ROWS),
            "vip": rng.random(ROWS) < 0.3,
            "plan": rng.choice(["basic", "it's pro", "naïve"], ROWS),
            "city": rng.choice(["A", "B", "c", "D "], ROWS, p=[0.4, 0.3, 0.2, 0.1]),
        }
    )
    made.loc[rng.random(ROWS) < 0.1, "fee"] = np.nan
    return made


FRAME = frame()
SCORE = (
    FRAME["age"] / 10
    + np.where(FRAME["plan"] == "basic", 2, 0)
    - FRAME["visits"] / 5
    + FRAME["fee"].fillna(60) / 40
    + np.random.default_rng(6).normal(0, 1, ROWS)
)
TRUTH = np.asarray(SCORE > 3.5)
YES_NO = np.where(TRUTH, "Yes", "No")
THREE = np.digitize(SCORE, SCORE.quantile([0.3, 0.7]))


def mixed(model: object, *, scale: object | None = None, text: object | None = None, missing: bool = False) -> object:
    """Imputer and scaler for numbers, an encoder for text, then the model: the pipeline that people write."""
    numbers = [] if missing else [SimpleImputer(strategy="median")]
    numbers.append(StandardScaler() if scale is None else scale)
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(*numbers), [*NUMBERS, "vip"]),
            ("texts", OneHotEncoder(handle_unknown="ignore") if text is None else text, TEXTS),
        ],
        sparse_threshold=0,
    )
    return make_pipeline(encode, model)


def numbers_only(model: object) -> object:
    return make_pipeline(ColumnTransformer([("n", SimpleImputer(), NUMBERS)]), model)


ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
BOOSTED = {"n_estimators": 8, "num_leaves": 6, "n_jobs": 1, "verbose": -1}

# name -> (estimator, target)
MODELS: dict[str, Callable[[], tuple[object, object]]] = {
    "logistic regression": lambda: (mixed(LogisticRegression(max_iter=500)), YES_NO),
    "logistic regression, three integer classes": lambda: (mixed(LogisticRegression(max_iter=500)), THREE),
    "logistic regression, boolean classes": lambda: (mixed(LogisticRegression(max_iter=500)), TRUTH),
    "one-hot that raises on unseen text": lambda: (
        mixed(LogisticRegression(max_iter=500), text=OneHotEncoder()),
        YES_NO,
    ),
    "min-max scaler and polynomial": lambda: (
        mixed(make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=500)), scale=MinMaxScaler()),
        YES_NO,
    ),
    "bins": lambda: (
        mixed(LogisticRegression(max_iter=500), scale=KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")),
        YES_NO,
    ),
    "stochastic gradient descent": lambda: (mixed(SGDClassifier(loss="log_loss", random_state=0)), YES_NO),
    "linear support vectors": lambda: (mixed(LinearSVC()), YES_NO),
    "ridge classifier": lambda: (mixed(RidgeClassifier()), YES_NO),
    "linear regression": lambda: (mixed(LinearRegression()), SCORE),
    "linear regression, two targets": lambda: (mixed(LinearRegression()), np.column_stack([SCORE, -SCORE])),
    "ridge on unscaled numbers": lambda: (numbers_only(Ridge()), SCORE),
    "Poisson regression": lambda: (mixed(PoissonRegressor()), np.exp(SCORE / 5)),
    "regression of a logarithm": lambda: (
        TransformedTargetRegressor(mixed(LinearRegression()), func=np.log1p, inverse_func=np.expm1),
        SCORE - SCORE.min(),
    ),
    "decision tree": lambda: (mixed(DecisionTreeClassifier(max_depth=5, random_state=0)), YES_NO),
    "decision tree of numbers": lambda: (numbers_only(DecisionTreeRegressor(max_depth=6, random_state=0)), SCORE),
    "random forest": lambda: (mixed(RandomForestClassifier(6, max_depth=5, random_state=0)), YES_NO),
    "random forest on codes": lambda: (
        mixed(RandomForestClassifier(6, max_depth=5, random_state=0), text=ORDINAL),
        THREE,
    ),
    "random forest regression": lambda: (mixed(RandomForestRegressor(6, max_depth=5, random_state=0)), SCORE),
    "extra trees": lambda: (mixed(ExtraTreesClassifier(6, max_depth=4, random_state=0)), YES_NO),
    "gradient boosting": lambda: (mixed(GradientBoostingClassifier(n_estimators=12, random_state=0)), YES_NO),
    "gradient boosting, three classes": lambda: (
        numbers_only(GradientBoostingClassifier(n_estimators=8, random_state=0)),
        THREE,
    ),
    "gradient boosting regression": lambda: (mixed(GradientBoostingRegressor(n_estimators=12, random_state=0)), SCORE),
    "histogram gradient boosting": lambda: (
        mixed(HistGradientBoostingClassifier(max_iter=8, random_state=0), missing=True),
        YES_NO,
    ),
    "histogram gradient boosting regression": lambda: (
        mixed(HistGradientBoostingRegressor(max_iter=8, random_state=0), text=ORDINAL),
        SCORE,
    ),
    "LightGBM": lambda: (mixed(LGBMClassifier(**BOOSTED), missing=True), YES_NO),
    "LightGBM, three classes": lambda: (mixed(LGBMClassifier(**BOOSTED), text=ORDINAL, missing=True), THREE),
    "LightGBM of linear trees": lambda: (mixed(LGBMRegressor(linear_tree=True, **BOOSTED)), SCORE),
    "neural network": lambda: (mixed(MLPClassifier((8, 4), max_iter=300, random_state=0)), THREE),
    "neural network regression": lambda: (
        mixed(MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", max_iter=300, random_state=0)),
        SCORE,
    ),
    "Gaussian naive Bayes": lambda: (mixed(GaussianNB()), YES_NO),
    "Bernoulli naive Bayes": lambda: (mixed(BernoulliNB()), YES_NO),
    "clusters": lambda: (mixed(KMeans(4, n_init=1, random_state=0)), None),
    "isolation forest": lambda: (mixed(IsolationForest(n_estimators=6, max_samples=32, random_state=0)), None),
    "mixture": lambda: (mixed(GaussianMixture(2, covariance_type="diag", reg_covar=0.01, random_state=0)), None),
    "neighbours": lambda: (mixed(KNeighborsClassifier(7)), YES_NO),
    "support vectors": lambda: (mixed(SVC(C=0.1)), THREE),
    "calibrated": lambda: (mixed(CalibratedClassifierCV(LogisticRegression(max_iter=500), cv=2)), YES_NO),
    "boosted stumps": lambda: (mixed(AdaBoostClassifier(n_estimators=8, random_state=0)), YES_NO),
}
REFUSED = {
    "Gaussian process of a kernel that needs Bessel functions": (
        lambda: (mixed(GaussianProcessClassifier(Matern(nu=0.7), optimizer=None)), YES_NO),
        "GaussianProcessClassifier",
    ),
}
# What an engine cannot do; the exception says why. Empty is the goal.
IMPOSSIBLE: dict[tuple[str, str], type[Exception]] = {("neighbours", "sql"): NotCompilable}
TOO_LARGE = {("support vectors", "sql")}
"""Exact, and minutes of planning: nobody asks for it."""


class Hurried:
    """The worker, with less time for asking row by row."""

    def __init__(self, worker: Worker) -> None:
        self.input_example = worker.input_example
        self._worker = worker

    def reference(self, rows: pa.Table) -> Reference:
        return self._worker.reference(rows, alone_seconds=ALONE_SECONDS)


def save(folder: Path, estimator: object) -> Path:
    """The files that mlflow.sklearn.log_model writes, without the seconds that it takes."""
    kinds = {"float64": "double", "int64": "long", "bool": "boolean"}
    columns = [
        {"name": name, "type": kinds.get(str(dtype), "string"), "required": name not in ("fee", *TEXTS)}
        for name, dtype in FRAME.dtypes.items()
    ]
    flavor = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle", "sklearn_version": "1"}
    about = {
        "flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": json.dumps(columns), "outputs": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(estimator))
    return folder


def fitted(make: Callable[[], tuple[object, object]]) -> object:
    estimator, target = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence is not what is tested
        return estimator.fit(FRAME, target)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Callable[[str], parity.Questions]:
    @cache
    def ask(name: str) -> parity.Questions:
        folder = save(tmp_path_factory.mktemp("model"), fitted(MODELS[name]))
        with open_worker(folder, log=lambda line: None) as worker:
            return parity.ask(Hurried(worker), worker.convert(), pa.Table.from_pandas(FRAME, preserve_index=False))

    return ask


def sql_engine(con: duckdb.DuckDBPyConnection, model: OnnxModel) -> Engine:
    return SqlEngine(model)


def python_engine(con: duckdb.DuckDBPyConnection, model: OnnxModel) -> Engine:
    python.register(con, model.sha256, model.signature, lambda: model.onnx)
    return python.PythonEngine(model.sha256, model.signature, model.reasons)


def native_engine(con: duckdb.DuckDBPyConnection, model: OnnxModel) -> Engine:
    assert native.why_not(con, model) is None
    # As in a deployment: the functions fetch the bytes from the catalog.
    con.execute("SELECT sqlml_forget(?)", [model.sha256])
    con.execute("CREATE SCHEMA sqlml; CREATE TABLE sqlml.models (sha256 VARCHAR, onnx BLOB)")
    con.execute("INSERT INTO sqlml.models VALUES (?, ?)", [model.sha256, model.onnx])
    return native.NativeEngine.of(model)


ENGINES = {"sql": sql_engine, "native": native_engine, "python": python_engine}


def checked(engine: str, questions: parity.Questions) -> parity.Evidence:
    with open_database(":memory:") as con:
        made = ENGINES[engine](con, questions.model)
        con.execute("CREATE SCHEMA m")
        for macro in macros(questions.model.signature, made):
            con.execute(sql.create_macro(("m", macro.name), sql.macro_text(macro.overloads)))
        return parity.check(con, questions, parity.functions("m", questions.model.signature))


def cases() -> list[object]:
    marks = {"native": pytest.mark.native}
    return [
        pytest.param(name, engine, marks=marks.get(engine, ()))
        for name in MODELS
        for engine in ENGINES
        if (name, engine) not in TOO_LARGE
    ]


@pytest.mark.parametrize(("name", "engine"), cases())
def test_sql_gives_the_models_own_answers(asked, name, engine):
    questions = asked(name)
    if (name, engine) in IMPOSSIBLE:
        with pytest.raises(IMPOSSIBLE[name, engine]):
            checked(engine, questions)
        return
    evidence = checked(engine, questions)
    assert evidence.passed, evidence.summary()
    assert evidence.compared > 0.9 * evidence.rows, evidence.set_aside
    assert evidence.outcomes["the same answer"] > ROWS


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused_by_name(tmp_path, name):
    make, named = REFUSED[name]
    folder = save(tmp_path, fitted(make))
    with open_worker(folder, log=lambda line: None) as worker, pytest.raises(UnsupportedModel, match=named):
        worker.convert()
