"""Artifacts as MLflow writes them: loaded and converted, or refused by name."""

from __future__ import annotations

import json

import pytest
import skops.io
import yaml
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from sqlml.convert.isolated import graph, inputs
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.errors import ArtifactError, PolicyRefused, UnsupportedModel
from tests.convert.artifacts import FRAME, LABELS, SIGNATURE, churn_pipeline, opened, refused


def test_the_missing_text_is_the_same_on_both_sides():
    assert graph.MISSING_TEXT == MISSING_TEXT


@pytest.mark.parametrize("serialization", ["cloudpickle", "pickle", "skops"])
def test_a_pipeline_is_converted_with_its_signature(save, serialization):
    flavor = {"skops_trusted_types": ["numpy.dtype"]}

    with opened(save(churn_pipeline(), signature=SIGNATURE, serialization=serialization, flavor=flavor)) as worker:
        model = worker.convert()

    assert [(c.name, c.type) for c in model.signature.columns] == [
        ("age", "DOUBLE"),
        ("visits", "BIGINT"),
        ("plan", "VARCHAR"),
    ]
    assert model.signature.classes == ("no", "yes")
    assert model.signature.prediction == "VARCHAR"
    assert model.signature.origin == "mlflow"
    assert model.origin["serialization"] == serialization
    assert len(model.origin["file sha256"]) == 64
    assert model.precision == "double"


def test_the_job_log_names_and_hashes_a_pickle_and_says_what_isolates_it(save):
    lines = []

    with opened(save(churn_pipeline(), signature=SIGNATURE), log=lines.append) as worker:
        digest = worker.origin["file sha256"]

    assert lines[0].startswith("model environment: Python ")
    assert lines[1].startswith("isolation in force: ")
    assert f"model.bin (sha256 {digest}) is a cloudpickle, loaded in isolation" in lines


def test_skops_needs_no_pickle_permission_when_it_declares_nothing_dangerous(save):
    flavor = {"skops_trusted_types": ["numpy.dtype", "posix.system"]}
    artifact = save(churn_pipeline(), signature=SIGNATURE, serialization="skops", flavor=flavor)

    with opened(artifact, allow_pickle=False) as worker:
        assert worker.convert().signature.is_binary


def test_a_skops_file_that_can_run_code_needs_the_permission(save):
    model = churn_pipeline(GradientBoostingClassifier(n_estimators=2))
    names = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    artifact = save(model, signature=SIGNATURE, serialization="skops", flavor={"skops_trusted_types": names})

    assert "SQLML_ALLOW_PICKLE=0" in refused(artifact, PolicyRefused, allow_pickle=False)
    with opened(artifact) as worker:
        assert worker.convert().signature.is_binary


def test_versions_that_differ_from_the_training_are_recorded(save, monkeypatch):
    monkeypatch.setattr("sklearn.base.__version__", "1.3.0")
    artifact = save(churn_pipeline(), signature=SIGNATURE, flavor={"sklearn_version": "1.3.0"})
    (artifact / "requirements.txt").write_text("mlflow==3.17.2\nnumpy==1.24.0\ncloudpickle==2.0\n")
    lines = []

    with opened(artifact, log=lines.append) as worker:
        origin = worker.convert().origin

    assert any(line.startswith("trained with scikit-learn 1.3.0, converted with ") for line in lines)
    assert any(line.startswith("InconsistentVersionWarning: ") for line in lines)
    assert origin["trained with numpy"] == "1.24.0"
    assert "trained with numpy 1.24.0" in origin["notes"]


# The signature ------------------------------------------------------------------------------------------------------


def test_without_a_signature_the_model_s_own_names_and_categories_give_it(save):
    with opened(save(churn_pipeline())) as worker:
        derived = worker.convert().signature
        bound = worker.convert({"AGE": "DECIMAL(10,2)", "visits": "INTEGER", "plan": "ENUM('a')"}).signature

    assert [(c.name, c.type) for c in derived.columns] == [("age", "DOUBLE"), ("visits", "DOUBLE"), ("plan", "VARCHAR")]
    assert derived.origin == "model"
    assert [c.type for c in bound.columns] == ["DOUBLE", "BIGINT", "VARCHAR"]
    assert bound.origin == "table"


def test_columns_are_put_in_the_order_of_the_training(save):
    with opened(save(churn_pipeline(), signature=SIGNATURE[::-1])) as worker:
        assert [c.name for c in worker.convert().signature.columns] == ["age", "visits", "plan"]


def test_an_array_model_without_a_signature_is_refused_with_the_remedy(save):
    artifact = save(LogisticRegression().fit(FRAME[["age", "visits"]].to_numpy(), LABELS))

    said = refused(artifact, UnsupportedModel)

    assert "2 unnamed columns" in said
    assert "infer_signature" in said


def test_a_tensor_signature_takes_the_model_s_own_names(save):
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
    estimator = LogisticRegression().fit(FRAME[["age", "visits"]], LABELS)

    with opened(save(estimator, signature=tensor)) as worker:
        signature = worker.convert().signature

    assert [(c.name, c.type) for c in signature.columns] == [("age", "DOUBLE"), ("visits", "DOUBLE")]


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ([{"type": "datetime", "name": "age"}], "of type 'datetime'"),
        ([{"type": "binary", "name": "age"}], "of type 'binary'"),
        ([{"type": "array", "name": "age", "items": {"type": "double"}}], "of type 'array'"),
        ([{"type": "object", "name": "age", "properties": {}}], "of type 'object'"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 28, 28]}}], "shape [-1, 28, 28]"),
        ([{"type": "double", "name": "age"}, {"type": "double", "name": "Age"}], "'age', 'Age' differ only in case"),
        ([{"type": "double"}], "Column 1 of the model's signature has no name"),
        ([{"type": "double", "name": "age"}], "trained on 'visits', 'plan', absent from its signature"),
    ],
)
def test_signatures_that_cannot_be_sql_are_refused(signature, said):
    with pytest.raises(Refusal) as raised:
        inputs.of_estimator(churn_pipeline(), inputs.declared({"inputs": json.dumps(signature)}), None)

    assert said in raised.value.message
    assert raised.value.kind == "unsupported"


# Artifacts that are not what they should be ---------------------------------------------------------------------------


@pytest.mark.parametrize("flavor", ["h2o", "keras", "something"])
def test_other_flavors_are_named(tmp_path, flavor):
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {flavor: {}, "python_function": {}}}))

    assert f"is of flavor {flavor}" in refused(tmp_path, UnsupportedModel)


def test_a_python_function_alone_is_refused(tmp_path):
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": {"loader_module": "mine"}}}))

    assert "loaded by mine" in refused(tmp_path, UnsupportedModel)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flavors: {sklearn: {pickled_model: ../secret}}", "outside of its own directory"),
        ("flavors: {sklearn: {pickled_model: /etc/hostname}}", "outside of its own directory"),
        ("flavors: {sklearn: {pickled_model: model.pkl}}", "'model.pkl' is missing"),
        ("flavors: {sklearn: {}}", "does not say where the model is"),
        ("flavors: {}", "names no flavor"),
        ("flavors: [", "not YAML"),
        ("- 1", "not what MLflow writes"),
        ("!!python/object/apply:os.system [true]", "not YAML"),
    ],
)
def test_broken_artifacts_are_refused(tmp_path, text, said):
    (tmp_path / "MLmodel").write_text(text)

    assert said in refused(tmp_path, ArtifactError)


def test_a_directory_without_mlmodel_is_refused(tmp_path):
    assert "no MLmodel file" in refused(tmp_path, ArtifactError)


def test_a_link_out_of_the_artifact_is_refused(save, tmp_path):
    artifact = save(churn_pipeline())
    outside = tmp_path / "outside.bin"
    (artifact / "model.bin").rename(outside)
    (artifact / "model.bin").symlink_to(outside)

    assert "outside of its own directory" in refused(artifact, ArtifactError)


def test_a_module_that_is_not_there_is_named(save):
    artifact = save(churn_pipeline())
    (artifact / "model.bin").write_bytes(b"cnowhere_to_be_found\nModel\n.")

    assert "needs the Python module 'nowhere_to_be_found'" in refused(artifact, UnsupportedModel)


def test_the_model_s_own_code_is_imported_in_the_worker_only(save):
    artifact = save(churn_pipeline(), flavor={"code": "code"})
    (artifact / "code").mkdir()
    (artifact / "code" / "own_code.py").write_text("def model(): raise ValueError('own code ran')")
    (artifact / "model.bin").write_bytes(b"cown_code\nmodel\n(tR.")

    assert "own code ran" in refused(artifact, ArtifactError)


def test_an_unsupported_step_is_named(save):
    from sklearn.neighbors import KNeighborsClassifier

    assert "KNeighborsClassifier" in refused(
        save(churn_pipeline(KNeighborsClassifier(2, metric="cosine")), signature=SIGNATURE), UnsupportedModel
    )
