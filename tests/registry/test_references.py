"""References against a real MLflow: what each form comes to, and what a wrong one is answered with."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from sqlml import registry
from sqlml.errors import ModelNotFound, RegistryError, UsageError


def resolve(store: Any, reference: str) -> registry.ModelVersion:
    return registry.resolve(reference, tracking_uri=store.uri)


@pytest.mark.parametrize(
    ("reference", "description"),
    [
        ("churn:Production", "churn v1 (alias Production)"),
        ("churn@Production", "churn v1 (alias Production)"),
        ("churn:2", "churn v2 (version 2)"),
        ("churn:v2", "churn v2 (version 2)"),
        ("churn:latest", "churn v2 (latest)"),
        ("models:/churn/1", "churn v1 (version 1)"),
        ("models:/churn@Production", "churn v1 (alias Production)"),
        ("models:/churn/Production", "churn v1 (alias Production)"),
        ("models:/churn/latest", "churn v2 (latest)"),
    ],
)
def test_registered_versions(registered: Any, reference: str, description: str) -> None:
    found = resolve(registered, reference)

    assert (found.description, found.reference) == (description, reference)
    assert Path(found.location).joinpath("MLmodel").is_file()
    assert found.run_id
    assert found.model_id == (found.source or "").removeprefix("models:/")


def test_a_stage_is_found_after_the_alias(own_registry: Any) -> None:
    own_registry.execute("UPDATE model_versions SET current_stage = 'Staging' WHERE version = 2")

    assert resolve(own_registry, "churn:staging").description == "churn v2 (stage Staging)"
    assert resolve(own_registry, "models:/churn/Staging").number == 2


def test_an_alias_wins_over_a_stage_of_the_same_name_and_says_so(own_registry: Any) -> None:
    own_registry.execute("UPDATE model_versions SET current_stage = 'Production' WHERE version = 2")

    found = resolve(own_registry, "churn:Production")

    assert found.description == "churn v1 (alias Production; the stage Production is v2)"


def test_runs_and_logged_models(registered: Any) -> None:
    version = resolve(registered, "churn:1")

    of_run = resolve(registered, f"runs:/{version.run_id}/model")
    logged = resolve(registered, f"models:/{version.model_id}")

    assert of_run.description == "model (run logistic regression)"
    assert logged.description == f"model (logged model {version.model_id})"
    assert of_run.location == logged.location == version.location
    assert (of_run.number, of_run.model_id, logged.run_id) == (None, version.model_id, version.run_id)


def test_paths(registered: Any, tmp_path: Path) -> None:
    version = resolve(registered, "churn:1")
    onnx = tmp_path / "scorer.onnx"
    onnx.write_bytes(b"")

    directory = registry.resolve(version.location)
    file = registry.resolve(str(onnx))

    assert (directory.run_id, directory.model_id) == (version.run_id, version.model_id)
    assert (file.name, file.description) == ("scorer", f"scorer (path {onnx})")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("chrun:Production", "There is no model 'chrun' in the registry"),
        ("chrun:Production", "Did you mean 'churn'?"),
        ("churn:Prodution", "churn has no alias, stage or version 'Prodution'. Did you mean 'Production'? Valid: 'Pro"),
        ("churn@champion", "churn has no alias 'champion'. Valid: 'Production'."),
        ("churn:3", "churn has no alias, stage or version '3'. Valid: 'Production', '1', '2'."),
        ("churn:99999999999999999999", "churn has no alias, stage or version"),
        ("churn", "churn has 2 versions: say which. Valid: 'churn:Production', 'churn:1', 'churn:2'."),
        ("models:/m-" + "0" * 32, "not found"),
        ("runs:/0123/model", "Run with id=0123 not found"),
        ("a/b.onnx", "There is no file or directory a/b.onnx"),
        ("x' OR '1'='1:1", "There is no model \"x' OR '1'='1\""),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(registered: Any, reference: str, message: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        resolve(registered, reference)

    assert message in str(raised.value)


def test_a_run_without_that_model_lists_its_models(registered: Any) -> None:
    run_id = resolve(registered, "churn:1").run_id

    with pytest.raises(ModelNotFound, match=r"has no model at 'modle'. Did you mean 'model'"):
        resolve(registered, f"runs:/{run_id}/modle")


def test_a_directory_without_an_mlmodel_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="a directory without an MLmodel file"):
        registry.resolve(str(tmp_path))


@pytest.mark.parametrize("reference", ["", "  ", "churn:", ":1", "@x", "a\x00b"])
def test_no_reference_at_all(registered: Any, reference: str) -> None:
    with pytest.raises(UsageError, match="Forms: NAME:ALIAS"):
        resolve(registered, reference)


@pytest.mark.parametrize("name", ["my model", "naïve 模型", "a'b", 'a"b', "a@b", "DROP TABLE x; --", "x'\"y"])
def test_any_name_that_mlflow_allows(own_registry: Any, name: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(own_registry.uri)
    client.create_registered_model(name)
    client.create_model_version(name, source=resolve(own_registry, "churn:1").location)

    assert resolve(own_registry, name).description == f"{name} v1 (its only version)"
    assert resolve(own_registry, f"{name}:1").number == 1
    with pytest.raises(ModelNotFound, match="Valid: '1'"):
        resolve(own_registry, f"{name}:x")


def test_a_version_that_is_not_ready_is_refused(own_registry: Any) -> None:
    own_registry.execute("UPDATE model_versions SET status = 'PENDING_REGISTRATION' WHERE version = 1")

    with pytest.raises(RegistryError, match="churn v1 is not ready: PENDING_REGISTRATION"):
        resolve(own_registry, "churn:1")


def test_all_versions_of_the_registry(registered: Any) -> None:
    found = list(registry.all_versions(tracking_uri=registered.uri))

    assert [(version.name, version.number) for version in found] == [("churn", 1), ("churn", 2)]


def test_a_missing_store_is_named_and_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("not SQLite at all, whatever its name says", encoding="utf-8")
    (tmp_path / "empty.db").touch()

    for uri, message in (
        ("sqlite:///nowhere.db", "the file nowhere.db does not exist"),
        ("nowhere", "the folder nowhere does not exist"),
        ("sqlite:///text.db", "text.db cannot be read as an MLflow registry"),
        ("sqlite:///empty.db", "empty.db is a SQLite file, but not an MLflow registry"),
        ("carrier-pigeon://x", "carrier-pigeon"),
        (None, "mlflow.db does not exist. Name one with --tracking-uri"),
    ):
        with pytest.raises(RegistryError) as raised:
            registry.resolve("churn:1", tracking_uri=uri)
        assert message in str(raised.value)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "text.db"]


def test_an_unreachable_server_is_said_within_seconds_and_the_environment_stays(unused_port: int) -> None:
    before = dict(os.environ)
    started = time.monotonic()

    with pytest.raises(RegistryError, match="cannot be reached: the connection was refused") as raised:
        registry.resolve("churn:1", tracking_uri=f"http://me:secret@127.0.0.1:{unused_port}")

    assert time.monotonic() - started < 10
    assert "secret" not in str(raised.value)
    assert dict(os.environ) == before
