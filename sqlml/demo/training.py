"""Train two churn models and register them with MLflow: `python -m sqlml.demo.training --tracking-uri URI`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sqlml.demo.customers import CATEGORIES, FEATURES, FLAGS, KEY, LABEL, NUMBERS, SOURCE, customers

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

MODEL = "churn"
ALIAS = "Production"
POSITIVE = "Yes"


@dataclass(frozen=True)
class Trained:
    """A registered version and how well it does on customers it has not seen."""

    version: int
    kind: str
    run_id: str
    metrics: dict[str, float]


def logistic_regression() -> Pipeline:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    columns = ColumnTransformer(
        [
            ("numbers", numbers, NUMBERS),
            ("flags", "passthrough", FLAGS),
            ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        ]
    )
    return Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=1000))])


def gradient_boosting() -> Pipeline:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
            ("flags", "passthrough", FLAGS),
            ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        ]
    )
    return Pipeline([("columns", columns), ("model", GradientBoostingClassifier(n_estimators=60, random_state=0))])


PIPELINES = {"logistic regression": logistic_regression, "gradient boosting": gradient_boosting}


def train(tracking_uri: str, artifacts: Path | str, *, known: int = 7000) -> list[Trained]:
    """Train both pipelines on the first `known` customers, log and register each, and point Production at the first.

    The models' files go to `artifacts`: a folder, or a location that MLflow knows.
    Sets MLflow's process-wide tracking URI: run it in a process of its own.
    """
    import mlflow
    from sklearn.model_selection import train_test_split

    mlflow.set_tracking_uri(tracking_uri)
    if mlflow.get_experiment_by_name(MODEL) is None:
        location = artifacts if isinstance(artifacts, str) else artifacts.absolute().as_uri()
        mlflow.create_experiment(MODEL, artifact_location=location)
    mlflow.set_experiment(MODEL)
    parts = train_test_split(customers().head(known), test_size=0.25, random_state=0)
    trained = [_logged(kind, *parts) for kind in PIPELINES]
    mlflow.MlflowClient().set_registered_model_alias(MODEL, ALIAS, str(trained[0].version))
    return trained


def _logged(kind: str, training: pd.DataFrame, unseen: pd.DataFrame) -> Trained:
    import mlflow
    import sklearn
    from mlflow.data.pandas_dataset import from_pandas

    pipeline = PIPELINES[kind]()
    pipeline.fit(training[FEATURES], training[LABEL])
    metrics = _metrics(pipeline, unseen)
    with warnings.catch_warnings():
        # Hints about integers that might be missing: these never are, and where they are, SQL says so per row.
        warnings.simplefilter("ignore", UserWarning)
        dataset = from_pandas(training.drop(columns=KEY), name="telco customers", targets=LABEL, source=SOURCE)
        signature = mlflow.models.infer_signature(training[FEATURES], pipeline.predict(training[FEATURES]))
        with mlflow.start_run(run_name=kind) as run:
            mlflow.log_params(_params(pipeline.named_steps["model"]))
            mlflow.log_metrics(metrics)
            mlflow.log_input(dataset, context="training")
            model = mlflow.sklearn.log_model(
                pipeline,
                name="model",
                # MLflow's default, skops, refuses trees and one-hot encoders.
                serialization_format="cloudpickle",
                signature=signature,
                input_example=training[FEATURES].head(5),
                pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
            )
    version = mlflow.register_model(model.model_uri, MODEL)
    return Trained(int(version.version), kind, run.info.run_id, metrics)


def _metrics(pipeline: Pipeline, unseen: pd.DataFrame) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, roc_auc_score

    positive = list(pipeline.classes_).index(POSITIVE)
    return {
        "accuracy": float(accuracy_score(unseen[LABEL], pipeline.predict(unseen[FEATURES]))),
        "roc_auc": float(
            roc_auc_score(unseen[LABEL] == POSITIVE, pipeline.predict_proba(unseen[FEATURES])[:, positive])
        ),
    }


def _params(estimator: Any) -> dict[str, Any]:  # Any: scikit-learn ships no types
    return {"estimator": type(estimator).__name__, **estimator.get_params(deep=False)}


@click.command()
@click.option("--tracking-uri", required=True, help="MLflow, such as sqlite:///.demo/mlflow.db")
@click.option("--artifacts", required=True, help="Folder for the model files, or an hbase:// location.")
def main(tracking_uri: str, artifacts: str) -> None:
    """Train two churn models on real data and register them."""
    import contextlib
    import io
    import logging

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)  # MLflow tells at length about tables, pickles and registered versions
        trained = train(tracking_uri, artifacts if "://" in artifacts else Path(artifacts))
    for one in trained:
        measured = ", ".join(f"{name} {value:.3f}" for name, value in one.metrics.items())
        click.echo(f"{MODEL} v{one.version}: {one.kind}, on unseen customers: {measured}")
    click.echo(f"The alias {ALIAS} points at {MODEL} v{trained[0].version}.")


if __name__ == "__main__":
    main()
