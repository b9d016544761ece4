"""Asked in its process, a model gives its own answers, row by row."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sqlml.convert.isolated import example, inputs
from sqlml.errors import SqlmlError, WorkerError
from tests.convert.artifacts import FRAME, LABELS, SIGNATURE, churn_pipeline, opened


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
