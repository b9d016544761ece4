"""Runs in a model's own environment, which has neither sqlml nor pytest: trains, saves as MLflow does, and answers.

python inside.py train FOLDER       every model of MODELS that these versions can train, one MLflow directory each
python inside.py ask MODEL ROWS TO  what the model itself says of each row (JSON in and out), alone
"""

from __future__ import annotations

import json
import platform
import sys
import warnings
from importlib import metadata
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import sklearn
from sklearn import ensemble, linear_model, naive_bayes, neural_network, preprocessing, svm, tree
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

ROWS = 300
COLUMNS = {"age": "double", "fee": "double", "visits": "long", "plan": "string"}


def table() -> pd.DataFrame:
    rng = np.random.RandomState(7)
    rows = pd.DataFrame(
        {
            "age": rng.normal(45, 12, ROWS).round(1),
            "fee": rng.gamma(2, 20, ROWS),
            "visits": rng.randint(0, 30, ROWS),
            "plan": rng.choice(np.array(["basic", "plus", "gold"], dtype=object), ROWS, p=[0.6, 0.3, 0.1]),
        }
    )
    rows.loc[::13, "fee"] = np.nan
    rows.loc[::31, "plan"] = np.nan
    return rows


def targets(rows: pd.DataFrame) -> dict:
    score = rows["age"] / 10 + rows["fee"].fillna(20) / 8 - rows["visits"] / 5 + 3 * (rows["plan"] == "gold")
    return {
        "number": score.to_numpy(),
        "yes": np.where(score > score.median(), "it's yes", "no"),
        "three": np.array(["low", "mid", "high"], dtype=object)[pd.qcut(score, 3, labels=False)],
        "whole": (score > score.median()).astype(int).to_numpy(),
    }


def prepared(encoder=None, scaler=None):
    """Numbers imputed and scaled, the plan imputed and encoded."""
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore") if encoder is None else encoder
    scaler = preprocessing.StandardScaler() if scaler is None else scaler
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), scaler), ["age", "fee", "visits"]),
            ("plan", make_pipeline(SimpleImputer(strategy="most_frequent"), encoder), ["plan"]),
        ]
    )


def numbers_only(step):
    return make_pipeline(ColumnTransformer([("numbers", "passthrough", ["age", "fee", "visits"])]), step)


def models() -> dict:
    """Name -> (estimator, which target)."""
    small = {"n_estimators": 15, "max_depth": 5, "random_state": 0}
    codes = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    rare = preprocessing.OneHotEncoder(min_frequency=0.2, handle_unknown="infrequent_if_exist")
    imputed = ColumnTransformer(
        [
            ("mean", SimpleImputer(add_indicator=True), ["fee"]),
            ("constant", SimpleImputer(strategy="constant", fill_value=7), ["age", "visits"]),
            ("text", make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), codes), ["plan"]),
        ]
    )
    logistic = linear_model.LogisticRegression()
    return {
        "logistic": (make_pipeline(prepared(), logistic), "yes"),
        "logistic_three": (make_pipeline(prepared(scaler=preprocessing.MinMaxScaler()), logistic), "three"),
        "logistic_rare": (make_pipeline(prepared(rare), logistic), "yes"),
        "logistic_drop": (make_pipeline(prepared(preprocessing.OneHotEncoder(drop="first")), logistic), "whole"),
        "logistic_refuses": (without_missing(logistic), "yes"),
        "imputers": (make_pipeline(imputed, logistic), "yes"),
        "ridge": (make_pipeline(prepared(scaler=preprocessing.RobustScaler()), linear_model.Ridge()), "number"),
        "lasso": (make_pipeline(prepared(), preprocessing.PolynomialFeatures(2), linear_model.Lasso(0.1)), "number"),
        "sgd": (make_pipeline(prepared(), linear_model.SGDClassifier(random_state=0)), "three"),
        "poisson": (make_pipeline(prepared(), linear_model.PoissonRegressor()), "whole"),
        "tree": (make_pipeline(prepared(codes), tree.DecisionTreeClassifier(max_depth=6, random_state=0)), "three"),
        "tree_numbers": (numbers_only(make_pipeline(SimpleImputer(), tree.DecisionTreeRegressor(max_depth=6))), "number"),
        "forest": (make_pipeline(prepared(), ensemble.RandomForestClassifier(**small)), "yes"),
        "forest_three": (make_pipeline(prepared(codes), ensemble.RandomForestClassifier(**small)), "three"),
        "forest_number": (make_pipeline(prepared(), ensemble.RandomForestRegressor(**small)), "number"),
        "forest_refuses": (without_missing(ensemble.RandomForestClassifier(**small)), "yes"),
        "extra": (make_pipeline(prepared(codes), ensemble.ExtraTreesClassifier(**small)), "whole"),
        "boosting": (make_pipeline(prepared(), ensemble.GradientBoostingClassifier(**small)), "yes"),
        "boosting_three": (make_pipeline(prepared(), ensemble.GradientBoostingClassifier(**small)), "three"),
        "boosting_exponential": (
            make_pipeline(prepared(), ensemble.GradientBoostingClassifier(loss="exponential", **small)), "whole"
        ),
        "boosting_number": (make_pipeline(prepared(), ensemble.GradientBoostingRegressor(**small)), "number"),
        "histogram": (numbers_only(ensemble.HistGradientBoostingClassifier(max_iter=15)), "yes"),
        "histogram_three": (make_pipeline(prepared(), ensemble.HistGradientBoostingClassifier(max_iter=9)), "three"),
        "histogram_number": (numbers_only(ensemble.HistGradientBoostingRegressor(max_iter=15)), "number"),
        "adaboost": (make_pipeline(prepared(), ensemble.AdaBoostClassifier(n_estimators=9, random_state=0)), "yes"),
        "bagging": (make_pipeline(prepared(), ensemble.BaggingClassifier(n_estimators=5, random_state=0)), "three"),
        "voting": (
            make_pipeline(
                prepared(),
                ensemble.VotingClassifier([("a", logistic), ("b", naive_bayes.GaussianNB())], voting="soft"),
            ),
            "yes",
        ),
        "stacking": (
            make_pipeline(prepared(), ensemble.StackingClassifier([("a", logistic), ("b", tree.DecisionTreeClassifier(max_depth=3))])),
            "yes",
        ),
        "calibrated": (make_pipeline(prepared(), CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=3)), "yes"),
        "search": (GridSearchCV(make_pipeline(prepared(), linear_model.Ridge()), {"ridge__alpha": [0.1, 1]}, cv=2), "number"),
        "transformed": (
            TransformedTargetRegressor(make_pipeline(prepared(), linear_model.LinearRegression()), func=np.negative, inverse_func=np.negative),
            "number",
        ),
        "bayes": (make_pipeline(prepared(preprocessing.OneHotEncoder(handle_unknown="ignore", **DENSE)), naive_bayes.GaussianNB()), "three"),
        "discriminant": (make_pipeline(prepared(), LinearDiscriminantAnalysis()), "three"),
        "neural": (make_pipeline(prepared(), neural_network.MLPClassifier((6,), max_iter=40, random_state=0)), "three"),
        "support": (make_pipeline(prepared(), svm.SVC(probability=True, random_state=0)), "yes"),
        "neighbours": (make_pipeline(prepared(), KNeighborsClassifier(3)), "yes"),
    }  # fmt: skip


DENSE = {"sparse_output": False} if "sparse_output" in preprocessing.OneHotEncoder().get_params() else {"sparse": False}


def without_missing(step):
    """On columns without missing values, so that a NULL is a surprise."""
    return make_pipeline(ColumnTransformer([("numbers", "passthrough", ["age", "visits"])]), step)


def boosters(rows: pd.DataFrame, found: dict) -> dict:
    """LightGBM's models: flavor `lightgbm`, as MLflow saves an estimator and a Booster."""
    try:
        import lightgbm
    except ImportError:
        return {}
    numbers = rows[["age", "fee", "visits"]]
    quiet = {"n_estimators": 12, "num_leaves": 7, "verbose": -1, "random_state": 0}
    params = {"objective": "regression", "num_leaves": 7, "verbose": -1, "seed": 0}
    found_here = {
        "lightgbm_classifier": lightgbm.LGBMClassifier(**quiet).fit(numbers, found["three"]),
        "lightgbm_yes": lightgbm.LGBMClassifier(**quiet).fit(numbers, found["yes"]),
        "lightgbm_booster": lightgbm.train(params, lightgbm.Dataset(numbers, found["number"]), num_boost_round=12),
    }
    try:
        import xgboost
    except ImportError:
        return found_here
    small = {"n_estimators": 9, "max_depth": 3, "n_jobs": 1}
    codes = np.unique(found["three"], return_inverse=True)[1]
    return {
        **found_here,
        "xgboost_classifier": xgboost.XGBClassifier(**small).fit(numbers, codes),
        "xgboost_number": xgboost.XGBRegressor(**small).fit(numbers, found["number"]),
    }


def train(folder: Path) -> None:
    warnings.simplefilter("ignore")
    rows = table()
    found = targets(rows)
    for name, (estimator, target) in models().items():
        save(folder / name, estimator.fit(rows, found[target]), "sklearn", COLUMNS)
    three = {name: COLUMNS[name] for name in ("age", "fee", "visits")}
    for name, model in boosters(rows, found).items():
        save(folder / name, model, name.partition("_")[0], three)


def save(folder: Path, model, flavor: str, columns: dict) -> None:
    """The files of mlflow.sklearn.save_model and mlflow.lightgbm.save_model, as MLflow 2.9 writes them."""
    folder.mkdir(parents=True)
    python = platform.python_version()
    inputs = [{"name": n, "type": t, "required": n not in ("fee", "plan")} for n, t in columns.items()]
    general = {"env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}, "python_version": python}
    if flavor == "sklearn":
        about = {
            "pickled_model": "model.pkl",
            "serialization_format": "cloudpickle",
            "sklearn_version": sklearn.__version__,
        }
        general |= {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"}
        (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))
    elif flavor == "xgboost":
        import xgboost

        kind = f"{type(model).__module__}.{type(model).__name__}"
        about = {"data": "model.xgb", "xgb_version": xgboost.__version__, "model_class": kind, "model_format": "xgb"}
        general |= {"loader_module": "mlflow.xgboost", "data": "model.xgb"}
        model.save_model(str(folder / "model.json"))
        (folder / "model.json").rename(folder / "model.xgb")
    else:
        import lightgbm

        kind = f"{type(model).__module__}.{type(model).__name__}"
        booster = isinstance(model, lightgbm.Booster)
        about = {
            "data": "model.lgb" if booster else "model.pkl",
            "lgb_version": lightgbm.__version__,
            "model_class": kind,
        }
        general |= {"loader_module": "mlflow.lightgbm"}
        if booster:
            model.save_model(str(folder / "model.lgb"))
        else:
            (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))
    document = {
        "flavors": {"python_function": general, flavor: {"code": None, **about}},
        "mlflow_version": "2.9.2",
        "signature": {"inputs": json.dumps(inputs), "outputs": None, "params": None},
    }
    (folder / "MLmodel").write_text(json.dumps(document))  # JSON is YAML
    lines = ["mlflow==2.9.2", "cloudpickle", "lightgbm", "numpy", "pandas", "scikit-learn", "scipy", "xgboost"]
    pinned = [line if "==" in line else f"{line}=={metadata.version(line)}" for line in lines if _has(line)]
    (folder / "requirements.txt").write_text("\n".join(pinned))
    (folder / "python_env.yaml").write_text(
        f"python: {python}\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n"
    )


def _has(line: str) -> bool:
    try:
        return "==" in line or bool(metadata.version(line))
    except metadata.PackageNotFoundError:
        return False


def ask(folder: Path, given: Path, to: Path) -> None:
    """Each row alone: its prediction, its probabilities, or null where the model raises."""
    warnings.simplefilter("ignore")
    about = json.loads((folder / "MLmodel").read_text())
    if (folder / "model.lgb").exists():
        import lightgbm

        model = lightgbm.Booster(model_file=str(folder / "model.lgb"))
    else:
        model = cloudpickle.loads((folder / "model.pkl").read_bytes())
    columns = {one["name"]: one["type"] for one in json.loads(about["signature"]["inputs"])}
    answers = []
    for row in json.loads(given.read_text()):
        frame = pd.DataFrame({name: [_value(row[name], kind)] for name, kind in columns.items()})
        try:
            predicted = model.predict(frame)[0]
            scores = model.predict_proba(frame)[0].tolist() if hasattr(model, "predict_proba") else None
            answers.append([predicted.item() if isinstance(predicted, np.generic) else predicted, scores])
        except ValueError:
            answers.append(None)
    to.write_text(json.dumps(answers))


def _value(value, kind: str):
    if kind == "string":
        return np.nan if value is None else value
    return float("nan") if value is None else float(value) if kind == "double" else value


if __name__ == "__main__":
    {"train": train, "ask": ask}[sys.argv[1]](*map(Path, sys.argv[2:]))
