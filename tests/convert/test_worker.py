"""Artifacts as MLflow writes them: loaded, converted, and asked for the original's own answers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sqlml.convert import Worker, open_worker
from sqlml.convert.isolated import example, graph, inputs
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.errors import ArtifactError, PolicyRefused, SqlmlError, UnsupportedModel, WorkerError

FRAME = pd.DataFrame(
    {
        "age": [30.0, 40.0, 50.0, 60.0, 35.0, 45.0],
        "visits": [1, 2, 3, 4, 5, 6],
        "plan": ["a", "b", "a", "b", "a", "c"],
    }
)
LABELS = ["no", "yes", "no", "yes", "no", "yes"]
SIGNATURE = [
    {"type": "double", "name": "age", "required": True},
    {"type": "long", "name": "visits", "required": True},
    {"type": "string", "name": "plan", "required": False},
]
DUMP = {"pickle": pickle.dumps, "cloudpickle": cloudpickle.dumps, "skops": skops.io.dumps}


def churn_pipeline(model: object = None) -> object:
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]),
            ("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        ]
    )
    return make_pipeline(encode, LogisticRegression() if model is None else model).fit(FRAME, LABELS)


@pytest.fixture
def save(tmp_path) -> Callable[..., Path]:
    """Writes an artifact the way MLflow does, without MLflow; returns its directory."""

    def write(
        estimator: object, *, signature: object = None, serialization: str = "cloudpickle", **entries: object
    ) -> Path:
        root = tmp_path / "model"
        root.mkdir(exist_ok=True)
        flavor = {
            "pickled_model": "model.bin",
            "serialization_format": serialization,
            "sklearn_version": "1.9.1",
            **entries.pop("flavor", {}),
        }
        model = {"flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn"}}, **entries}
        if signature is not None:
            model["signature"] = {"inputs": json.dumps(signature)}
        (root / "MLmodel").write_text(yaml.safe_dump(model))
        (root / "model.bin").write_bytes(DUMP[serialization](estimator))
        return root

    return write


@contextmanager
def opened(artifact: Path, **options: object) -> Iterator[Worker]:
    with open_worker(artifact, log=options.pop("log", lambda line: None), **options) as worker:
        yield worker


def refused(artifact: Path, kind: type[SqlmlError], **options: object) -> str:
    with pytest.raises(kind) as raised, opened(artifact, **options) as worker:
        worker.convert(options.get("columns"))
    return str(raised.value)


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


# The original's answers -----------------------------------------------------------------------------------------------


def rows(**columns: object) -> pa.Table:
    return pa.table(columns)


def test_the_reference_is_the_model_s_own_answer(save):
    estimator = churn_pipeline()

    with opened(save(estimator, signature=SIGNATURE)) as worker:
        reference = worker.reference(pa.Table.from_pandas(FRAME))

    assert reference.prediction == list(estimator.predict(FRAME))
    np.testing.assert_array_equal(reference.scores, estimator.predict_proba(FRAME))
    assert reference.error == [None] * 6
    assert not reference.unstable.any()
    assert reference.alone_checked == 6


def test_a_missing_integer_does_not_touch_the_other_rows(save):
    with opened(save(churn_pipeline(), signature=SIGNATURE)) as worker:
        whole = worker.reference(rows(age=[30.0, 40.0], visits=[1, 2], plan=["a", "b"]))
        mixed = worker.reference(rows(age=[30.0, 1.0, 40.0], visits=[1, None, 2], plan=["a", "a", "b"]))

    np.testing.assert_array_equal(mixed.scores[[0, 2]], whole.scores)
    assert mixed.error == [None] * 3


def test_rows_that_raise_carry_the_original_s_own_words(save):
    estimator = LogisticRegression().fit(FRAME[["age"]], LABELS)

    with opened(save(estimator)) as worker:
        reference = worker.reference(rows(AGE=[30.0, None, float("inf"), 50.0]))

    assert [error is None for error in reference.error] == [True, False, False, True]
    assert "ValueError: Input X contains NaN" in reference.error[1]
    assert "infinity" in reference.error[2]
    assert reference.prediction[1] is None
    assert np.isnan(reference.scores[1]).all()
    assert reference.prediction[3] == estimator.predict(pd.DataFrame({"age": [50.0]}))[0]


def test_unknown_categories_that_raise_are_found(save):
    encode = ColumnTransformer([("plan", OneHotEncoder(), ["plan"])], remainder="passthrough")
    estimator = make_pipeline(encode, LinearRegression()).fit(FRAME, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    plans = ["a", "zzz", None, "b", "c"]

    with opened(save(estimator, signature=SIGNATURE)) as worker:
        reference = worker.reference(rows(age=[1.0] * 5, visits=[1] * 5, plan=plans))

    assert [error is None for error in reference.error] == [True, False, False, True, True]
    assert "zzz" in reference.error[1]
    assert reference.prediction.shape == (5, 1)
    assert np.isnan(reference.prediction[1, 0])


def test_an_encoder_that_knows_none_is_given_none(save):
    frame = pd.DataFrame({"plan": pd.Series(["a", None, "b", "a"], dtype=object)})
    estimator = make_pipeline(ColumnTransformer([("e", OneHotEncoder(), ["plan"])]), LogisticRegression())
    estimator.fit(frame, ["x", "y", "x", "x"])
    signature = [{"type": "string", "name": "plan", "required": False}]

    with opened(save(estimator, signature=signature)) as worker:
        reference = worker.reference(rows(plan=["a", None]))

    np.testing.assert_array_equal(reference.scores, estimator.predict_proba(frame.iloc[:2]))
    assert reference.error == [None, None]


def test_several_targets_are_columns(save):
    estimator = LinearRegression().fit(FRAME[["age", "visits"]], np.arange(12.0).reshape(6, 2))

    with opened(save(estimator)) as worker:
        model = worker.convert()
        reference = worker.reference(rows(age=[1.0, 2.0, 3.0], visits=[1.0, 2.0, 3.0]))

    assert model.signature.targets == ("target_0", "target_1")
    assert reference.prediction.shape == (3, 2)
    assert reference.scores is None


def test_no_rows_have_no_answers(save):
    with opened(save(churn_pipeline(), signature=SIGNATURE)) as worker:
        reference = worker.reference(pa.Table.from_pandas(FRAME.iloc[:0]))

    assert reference.prediction == []
    assert reference.scores.shape == (0, 2)


def test_rows_of_the_wrong_type_are_refused(save):
    with opened(save(churn_pipeline(), signature=SIGNATURE)) as worker:
        with pytest.raises(SqlmlError, match="no column 'plan'"):
            worker.reference(rows(age=[1.0], visits=[1]))
        with pytest.raises(SqlmlError, match="'plan' is text for the model"):
            worker.reference(rows(age=[1.0], visits=[1], plan=[1.0]))
        assert worker.reference(pa.Table.from_pandas(FRAME)).error == [None] * 6


def test_the_input_example_comes_as_a_table(save):
    about = {"artifact_path": "example.json", "type": "dataframe"}
    artifact = save(churn_pipeline(), signature=SIGNATURE, saved_input_example_info=about)
    content = {"columns": ["plan", "age", "visits"], "data": [["a", 1.5, 2], [None, 2.5, 3]]}
    (artifact / "example.json").write_text(json.dumps(content))

    with opened(artifact) as worker:
        found = worker.input_example()

    assert found.to_pylist() == [{"age": 1.5, "visits": 2, "plan": "a"}, {"age": 2.5, "visits": 3, "plan": None}]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([{"plan": "a", "age": 1.5, "visits": 2}], [{"age": 1.5, "visits": 2, "plan": "a"}]),
        ([[1.5, 2, None]], [{"age": 1.5, "visits": 2, "plan": None}]),
        ({"inputs": [[1.5, 2, "a"]]}, [{"age": 1.5, "visits": 2, "plan": "a"}]),
        ([], None),
        ({"data": [[1]]}, None),
        ([{"age": 1}], None),
        ({"columns": [], "data": [[1]]}, None),
        ([["no number", 2, "a"]], None),
        (3, None),
    ],
)
def test_an_input_example_that_does_not_fit_is_none(tmp_path, content, found):
    (tmp_path / "example.json").write_text(json.dumps(content))
    columns = inputs.Inputs(inputs.declared({"inputs": json.dumps(SIGNATURE)}), "mlflow")

    table = example.read((tmp_path / "example.json", {}), columns)

    assert (table and table.to_pylist()) == found


def test_a_model_that_leaves_while_it_answers_is_told(save, tmp_path):
    artifact = save(churn_pipeline(), flavor={"code": "code"}, signature=SIGNATURE)
    (artifact / "code").mkdir()
    (artifact / "code" / "leaving.py").write_text(
        "import os\nfrom sklearn.linear_model import LogisticRegression\n"
        "def leave(estimator):\n"
        "    LogisticRegression.predict = lambda self, X: os._exit(3)\n"
        "    return estimator\n"
    )

    class Left:
        def __init__(self, estimator: object) -> None:
            self.estimator = estimator

        def __reduce__(self):
            import importlib.util
            import sys

            spec = importlib.util.spec_from_file_location("leaving", artifact / "code" / "leaving.py")
            sys.modules["leaving"] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.leave, (self.estimator,)

    original = LogisticRegression.predict
    try:
        (artifact / "model.bin").write_bytes(pickle.dumps(Left(churn_pipeline())))
    finally:
        LogisticRegression.predict = original

    with opened(artifact) as worker:
        worker.convert()
        with pytest.raises(WorkerError, match="ended by itself with code 3"):
            worker.reference(pa.Table.from_pandas(FRAME))
