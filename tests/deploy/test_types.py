"""A table as people have them: decimals, enums, collated texts, small integers; the answers are those of pandas' dtypes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn
import yaml
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import sqlml
from sqlml import cli
from sqlml.cli import exits
from sqlml.errors import UnsupportedModel

RNG = np.random.default_rng(3)
ROWS = 500
FRAME = pd.DataFrame(
    {
        "amount": RNG.integers(0, 100_000, ROWS) / 100,
        "visits": RNG.integers(0, 60, ROWS),
        "member": RNG.random(ROWS) < 0.5,
        "rate": RNG.normal(0, 1, ROWS).astype(np.float32),
        "plan": RNG.choice(["basic", "BASIC", "pro", "café"], ROWS),
        "size": RNG.choice(["s", "m", "l"], ROWS),
    }
)
TARGET = (
    FRAME.amount / 500 + FRAME.visits / 60 + FRAME.member + (FRAME["plan"] == "BASIC") * 2 + FRAME.rate > 2.5
).map({True: "Yes", False: "No"})
KINDS = {"float64": "double", "int64": "long", "bool": "boolean", "float32": "float"}


def fitted() -> Any:
    """Trained on `amount`, `visits` with gaps too, so that NULL is a value of theirs."""
    gaps = FRAME.assign(amount=FRAME.amount.where(FRAME.index % 17 != 0))
    encoder = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "visits"]),
        ("passthrough", ["member", "rate"]),
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["size"]),
    )
    return make_pipeline(encoder, GradientBoostingClassifier(n_estimators=25, random_state=0)).fit(gaps, TARGET)


def save(folder: Path, estimator: Any, inputs: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    flavor = {
        "pickled_model": "model.pkl",
        "serialization_format": "cloudpickle",
        "sklearn_version": sklearn.__version__,
    }
    about = {
        "flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": json.dumps(inputs), "outputs": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(estimator))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    inputs = [
        {"name": name, "type": KINDS.get(str(dtype), "string"), "required": name not in ("amount", "visits")}
        for name, dtype in FRAME.dtypes.items()
    ]
    estimator = fitted()
    return save(tmp_path_factory.mktemp("types") / "model", estimator, inputs), estimator


TABLE = """CREATE TABLE people (
    note BLOB, SIZE ENUM('l', 'm', 's', 'xl'), "Plan" VARCHAR COLLATE NOCASE, rate DOUBLE, id INTEGER,
    Member TINYINT, VISITS DECIMAL(10, 2), amount DECIMAL(12, 2), born DATE)"""


def filled(path: Path) -> Any:
    connection = sqlml.connect(path)
    connection.execute(TABLE)
    connection.register("frame", FRAME.assign(id=range(ROWS)))
    connection.execute(
        "INSERT INTO people SELECT NULL, CASE WHEN id % 50 = 7 THEN 'xl' ELSE size END, plan, rate + 1e-9, id, member,"
        " CASE WHEN id % 40 = 3 THEN NULL WHEN id % 40 = 5 THEN visits + 0.5 ELSE visits END,"
        " CASE WHEN id % 30 = 4 THEN NULL ELSE amount END, DATE '1950-01-01' FROM frame"
    )
    connection.unregister("frame")
    connection.execute("UPDATE people SET Member = 2 WHERE id = 11")
    return connection


def test_answers_are_those_of_the_dtypes_that_the_signature_names(model, tmp_path):
    path, estimator = model
    with filled(tmp_path / "people.duckdb") as connection:
        sqlml.deploy_db(connection, str(path), name="m", table="people", key="id")
        rows = connection.execute(
            'SELECT p.id, p.amount, p.visits, p.member, p.rate, p.plan, p.size, c.prediction, c."probability_Yes" AS p, c.error'
            " FROM people p JOIN m.current c USING (id) ORDER BY id"
        ).fetchall()
    refused = {row[0]: row[9] for row in rows if row[9] is not None}
    assert refused[11] == "member is not true or false: 2"
    assert refused[5] == f"visits is not a whole number that fits BIGINT: {FRAME.visits[5]}.50"
    assert set(refused) == {11} | {i for i in range(ROWS) if i % 40 == 5}
    for number, amount, visits, member, rate, plan, size, prediction, probability, error in rows:
        if error is not None:
            assert prediction is None
            continue
        row = pd.DataFrame(
            {
                "amount": [np.nan if amount is None else float(amount)],
                "visits": [np.nan if visits is None else np.int64(visits)],
                "member": [bool(member)],
                "rate": np.array([rate], dtype=np.float32),
                "plan": [plan],
                "size": [size],
            }
        )
        assert probability == pytest.approx(estimator.predict_proba(row)[0, 1], rel=1e-12), number
        assert prediction == estimator.predict(row)[0]


def test_plan_says_for_each_column_what_becomes_of_its_values(model, tmp_path, capsys):
    path, _ = model
    filled(tmp_path / "people.duckdb").close()
    arguments = [
        "plan",
        str(path),
        "--name",
        "m",
        "--table",
        "people",
        "--key",
        "id",
        "--database",
        str(tmp_path / "people.duckdb"),
    ]
    assert cli.run([*arguments, "--json"]) == exits.DONE
    binding = {b["column"]["name"]: b for b in json.loads(capsys.readouterr().out)["binding"]}
    assert binding["amount"]["source_type"] == "DECIMAL(12,2)"
    assert binding["amount"]["how"] == "the nearest DOUBLE, as pandas has it"
    assert binding["amount"]["null"] == "the model's own missing value"
    assert binding["visits"]["misfit"] == "a fraction, or one that BIGINT cannot hold, is an error of its row"
    assert binding["rate"]["how"].startswith("rounded to the nearest FLOAT")
    assert binding["rate"]["null"] == "an error of its row"
    assert binding["size"]["how"] == "its text"
    assert cli.run(arguments) == exits.DONE
    text = capsys.readouterr().out
    assert "a value is" in text
    assert "VISITS: the same number, if it is whole; a fraction" in text


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("datetime", "seconds since 1970"), ("binary", "Decode it"), ("array", "numbers or text")],
)
def test_a_signature_with_a_column_that_sql_has_no_feature_for_is_refused_by_its_name(model, tmp_path, kind, hint):
    inputs = [{"name": "seen", "type": kind, "required": True}]
    folder = save(tmp_path / "model", model[1], inputs)
    with (
        sqlml.connect(tmp_path / "x.duckdb") as connection,
        pytest.raises(UnsupportedModel, match=f"'seen'.*{kind}") as caught,
    ):
        sqlml.deploy_db(connection, str(folder), name="m")
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("dtype", "kind"), [("uint8", "INTEGER"), ("int16", "INTEGER"), ("uint32", "BIGINT"), ("bool", "BOOLEAN")]
)
def test_tensors_of_smaller_integers_are_given_as_the_next_wider_ones(dtype, kind):
    from sqlml.convert.isolated.inputs import Tensor, declared

    spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, 4]}}
    assert declared({"inputs": json.dumps([spec])}) == Tensor(4, kind)


@pytest.mark.parametrize(
    ("dtype", "instead"), [("uint64", "int64"), ("float16", "float32"), ("datetime64[ns]", "seconds since 1970")]
)
def test_tensors_that_lose_values_are_refused_with_what_to_log_instead(dtype, instead):
    from sqlml.convert.isolated.inputs import declared
    from sqlml.convert.isolated.refusal import Refusal

    spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, 4]}}
    with pytest.raises(Refusal, match=dtype.split("[")[0]) as caught:
        declared({"inputs": json.dumps([spec])})
    assert instead in str(caught.value.hint)
