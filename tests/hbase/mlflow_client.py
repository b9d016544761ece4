"""What a client without sqlml does with an MLflow server that has it: `python mlflow_client.py URI FOLDER`.

Run as a program of its own, in an environment where sqlml cannot be imported. Its last line is a report as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import mlflow
from mlflow.artifacts import download_artifacts, load_dict, load_text
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

NAMES = [
    "with space",
    "a+b",
    "'quoted'",
    ".hidden",
    "été",
    "模型",
    "x" * 255,
]  # others do not get through HTTP as MLflow uses it
TRAINED_ON = [[0.0], [1.0], [2.0], [3.0]]


def plugin() -> dict[str, str]:
    """How sqlml and its store are missing here."""
    found = {}
    for name, use in (
        ("import", lambda: __import__("sqlml")),
        ("store", lambda: get_artifact_repository("hbase://127.0.0.1:9090/t/p")),
    ):
        try:
            use()
            found[name] = "there"
        except Exception as error:
            found[name] = str(error)
    return found


def model(experiment: str) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(TRAINED_ON, [0, 0, 1, 1])
    with mlflow.start_run(experiment_id=experiment) as run:
        logged = mlflow.sklearn.log_model(
            fitted, name="model", serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )
    client = mlflow.MlflowClient()
    version = mlflow.register_model(logged.model_uri, "proxied")
    client.set_registered_model_alias("proxied", "champion", version.version)
    client.transition_model_version_stage("proxied", version.version, "Staging")
    copied = client.copy_model_version(f"models:/proxied/{version.version}", "copied")
    return {
        "run_id": run.info.run_id,
        "location": mlflow.get_logged_model(logged.model_id).artifact_location,
        "predictions": {
            uri: mlflow.pyfunc.load_model(uri).predict(TRAINED_ON).tolist()
            for uri in (logged.model_uri, "models:/proxied@champion", "models:/proxied/Staging", "models:/copied/1")
        },
        "expected": fitted.predict(TRAINED_ON).tolist(),
        "copied": copied.source,
    }


def files(experiment: str, folder: Path) -> dict[str, Any]:
    for number, name in enumerate(NAMES):
        # A folder with one file that has the folder's own name is a file to MLflow's client, and empty.
        for path in (folder / "tree" / "files" / name, folder / "tree" / name / "file"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode() * number)
    large = folder / "large.bin"
    large.write_bytes(bytes(range(256)) * (48 << 10))
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifacts(str(folder / "tree"), "tree")
        mlflow.log_artifact(str(large))
        mlflow.log_text("first", "notes/text.txt")
        mlflow.log_text("second", "notes/text.txt")
        mlflow.log_dict({"a": [1, None]}, "notes/dict.json")
        for number in range(3):
            mlflow.log_table({"number": [number]}, "table.json")
    root = run.info.artifact_uri
    repository = get_artifact_repository(root)
    (folder / "back").mkdir()
    back = Path(repository.download_artifacts("", str(folder / "back")))
    found = {
        "run_id": run.info.run_id,
        "root": root,
        "listed": [(entry.path, entry.is_dir, entry.file_size) for entry in repository.list_artifacts()],
        "of a file": repository.list_artifacts("table.json"),
        "of nothing": repository.list_artifacts("none"),
        "same": all(
            (back / "tree" / path).read_bytes() == name.encode() * number
            for number, name in enumerate(NAMES)
            for path in (f"files/{name}", f"{name}/file")
        ),
        "large is the same": Path(download_artifacts(f"{root}/large.bin")).read_bytes() == large.read_bytes(),
        "text": load_text(f"{root}/notes/text.txt"),
        "dict": load_dict(f"{root}/notes/dict.json"),
        "table": mlflow.MlflowClient().load_table(experiment, "table.json", [run.info.run_id])["number"].tolist(),
        "manifest": json.loads(Path(repository.download_artifacts(".sqlml-manifest.json")).read_bytes()),
    }
    for path in ("large.bin", "tree/été", "tree/files", "none"):
        repository.delete_artifacts(path)
    found["after deleting"] = [entry.path for path in (None, "tree") for entry in repository.list_artifacts(path)]
    return found


def refused(location: str) -> str:
    """The id of a run whose files somebody has put at `location`."""
    client = mlflow.MlflowClient()
    experiment = client.create_experiment(f"at {location}", artifact_location=location)
    return str(client.create_run(experiment).info.run_id)


def main(uri: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"plugin": plugin()}
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("of a client")
    found["model"] = model(experiment)
    found["files"] = files(experiment, folder)
    found["refused"] = {
        location: refused(location)
        for location in ("hbase://evil.example:9090/t/p", "hbase://user:hunter2@192.0.2.1/p")
    }
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
