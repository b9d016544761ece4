"""What is read of a saved Spark model: every layout that Spark has written; what is not whole or not known is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqlml.convert.isolated.inputs import Input
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.convert.isolated.spark import library
from sqlml.convert.isolated.spark.convert import SparkModel
from sqlml.convert.isolated.spark.original import asked, inputs_of
from sqlml.convert.isolated.spark.reading import digest, doubles, load, matrix, vector
from sqlml.convert.isolated.spark.reference import number_text
from sqlml.convert.isolated.spark.stages.indexing import java_number
from sqlml.convert.isolated.unsupported import Unsupported

DENSE = {"type": 1, "size": None, "indices": None}


def stage(
    place: Path, kind: str, params: dict[str, Any], rows: list[dict[str, Any]] | None = None, **about: Any
) -> Path:
    """A stage as Spark saves it."""
    (place / "metadata").mkdir(parents=True)
    named = kind if "." in kind else f"org.apache.spark.ml.feature.{kind}"
    written = {
        "class": named,
        "sparkVersion": "3.5.1",
        "uid": f"u{abs(hash(kind)) % 1000}",
        "paramMap": params,
        **about,
    }
    (place / "metadata" / "_SUCCESS").write_text("")
    (place / "metadata" / "part-00000").write_text(json.dumps(written) + "\n")
    if rows is not None:
        (place / "data").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), place / "data" / "part-00000.snappy.parquet")
    return place


def pipeline(place: Path, *stages: tuple[str, dict[str, Any], list[dict[str, Any]] | None]) -> Path:
    uids = [f"s{i}" for i in range(len(stages))]
    stage(place, "org.apache.spark.ml.PipelineModel", {"stageUids": uids})
    for i, (kind, params, rows) in enumerate(stages):
        width = len(str(len(stages)))
        stage(place / "stages" / f"{i:0{width}d}_{uids[i]}", kind, params, rows)
    return place


ASSEMBLE = ("VectorAssembler", {"inputCols": ["a", "b"], "outputCol": "features"}, None)
LINEAR = (
    "org.apache.spark.ml.regression.LinearRegressionModel",
    {"featuresCol": "features", "predictionCol": "prediction"},
    [{"intercept": 0.5, "coefficients": {**DENSE, "values": [2.0, -1.0]}, "scale": 1.0}],
)


def answer(model: SparkModel, frame: pd.DataFrame) -> Any:
    inputs = inputs_of(model, None, {"a": "DOUBLE", "b": "DOUBLE", "c": "VARCHAR"})
    convert_sklearn(model, inputs.columns)
    return asked(model, inputs).predict(frame)


def test_a_pipeline_of_more_than_nine_stages_has_padded_names(tmp_path):
    scalers = [
        ("ElementwiseProduct", {"inputCol": f"v{i}", "outputCol": f"v{i + 1}", "scalingVec": {"type": 1, "values": [1.0, 2.0]}}, None)
        for i in range(9)
    ]  # fmt: skip
    first = ("VectorAssembler", {"inputCols": ["a", "b"], "outputCol": "v0"}, None)
    last = (LINEAR[0], {"featuresCol": "v9", "predictionCol": "prediction"}, LINEAR[2])
    model = SparkModel(load(pipeline(tmp_path / "m", first, *scalers, last)))

    assert answer(model, pd.DataFrame({"a": [1.0], "b": [1.0]})).tolist() == [2.0 - 512.0 + 0.5]


def test_metadata_may_be_one_file_and_data_many_parts(tmp_path):
    place = pipeline(tmp_path / "m", ASSEMBLE, LINEAR)
    folder = place / "metadata"
    text = (folder / "part-00000").read_text()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text(text)
    extra = place / "stages" / "1_s1" / "data"
    table = pq.read_table(extra / "part-00000.snappy.parquet")
    pq.write_table(table.slice(0, 0), extra / "part-00001.snappy.parquet")
    (extra / "._part-00000.crc").write_bytes(b"not parquet")

    assert answer(SparkModel(load(place)), pd.DataFrame({"a": [1.0], "b": [2.0]})).tolist() == [0.5]


def test_an_indexer_of_spark_2_has_one_list_of_labels(tmp_path):
    indexer = (
        "StringIndexerModel",
        {"inputCol": "c", "outputCol": "c2", "handleInvalid": "keep"},
        [{"labels": ["x", "y"]}],
    )
    assemble = ("VectorAssembler", {"inputCols": ["c2", "a"], "outputCol": "features"}, None)
    model = SparkModel(load(pipeline(tmp_path / "m", indexer, assemble, LINEAR)))

    assert model.plan.needs == ("c", "a")
    assert answer(model, pd.DataFrame({"c": ["y", "?"], "a": [0.0, 0.0]})).tolist() == [2.5, 4.5]


def test_a_label_of_the_signature_is_no_input(tmp_path):
    labelled = ("StringIndexerModel", {"inputCol": "label", "outputCol": "l"}, [{"labels": ["x", "y"]}])
    model = SparkModel(load(pipeline(tmp_path / "m", labelled, ASSEMBLE, LINEAR)))
    signature = (Input("label", "VARCHAR"), Input("b", "DOUBLE"), Input("a", "FLOAT"))

    assert inputs_of(model, signature, None).names == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "params", "named"),
    [
        ("SQLTransformer", {"statement": "SELECT * FROM __THIS__"}, "SQLTransformer"),
        ("Interaction", {"inputCols": ["a", "b"], "outputCol": "features"}, "Interaction"),
        ("org.example.Secret", {"inputCol": "a", "outputCol": "z"}, "org.example.Secret"),
        ("VectorSlicer", {"inputCol": "features", "outputCol": "z", "names": ["a"]}, "names"),
    ],
)
def test_what_has_no_exact_translation_is_refused_by_its_name(tmp_path, kind, params, named):
    model = SparkModel(load(pipeline(tmp_path / "m", ASSEMBLE, (kind, params, None), LINEAR)))

    with pytest.raises(Unsupported, match=named):
        convert_sklearn(model, inputs_of(model, None, {"a": "DOUBLE", "b": "DOUBLE"}).columns)


def test_text_where_spark_takes_numbers_is_refused(tmp_path):
    model = SparkModel(load(pipeline(tmp_path / "m", ASSEMBLE, LINEAR)))

    with pytest.raises(Unsupported, match="'b' as string"):
        convert_sklearn(model, inputs_of(model, None, {"a": "DOUBLE", "b": "VARCHAR"}).columns)


def test_a_model_that_is_not_whole_is_refused(tmp_path):
    place = pipeline(tmp_path / "m", ASSEMBLE, LINEAR)
    (place / "stages" / "1_s1" / "metadata" / "part-00000").unlink()
    with pytest.raises(Refusal, match="1_s1/metadata is missing"):
        load(place)
    (place / "stages" / "0_s0" / "metadata" / "part-00000").write_text("{not json")
    with pytest.raises(Refusal, match="0_s0/metadata of the saved Spark model cannot be read"):
        load(place)


def test_data_that_is_no_parquet_is_refused(tmp_path):
    place = pipeline(tmp_path / "m", ASSEMBLE, LINEAR)
    (place / "stages" / "1_s1" / "data" / "part-00000.snappy.parquet").write_bytes(b"\x00" * 100)
    with pytest.raises(Refusal, match="not parquet"):
        load(place)


def test_the_flavor_names_the_folder_and_the_evidence_the_reference(tmp_path):
    pipeline(tmp_path / "sparkml", ASSEMBLE, LINEAR)

    artifact = library.load(tmp_path, {"model_data": "sparkml", "pyspark_version": "3.5.1"}, False)

    assert artifact.origin["saved by Spark"] == "3.5.1"
    assert artifact.origin["file sha256"] == digest(tmp_path / "sparkml")
    assert artifact.notes == (
        "the reference is sqlml's own reading of the saved Spark model; Spark itself was not started",
    )
    assert library.own(artifact.estimator) is artifact.estimator
    with pytest.raises(Refusal, match="outside"):
        library.load(tmp_path, {"model_data": "../elsewhere"}, False)


def test_numbers_of_json_and_matrices_of_parquet():
    assert doubles(["-Inf", 0.5, "Inf"]) == [-math.inf, 0.5, math.inf]
    assert vector({"type": 0, "size": 3, "indices": [1], "values": [2.0]}).values.tolist() == [0.0, 2.0, 0.0]
    columns = {"type": 1, "numRows": 2, "numCols": 3, "values": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "isTransposed": False}
    assert matrix(columns).values.tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    assert matrix({**columns, "isTransposed": True}).values.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    sparse = {
        "type": 0,
        "numRows": 2,
        "numCols": 3,
        "colPtrs": [0, 1, 1, 2],
        "rowIndices": [1, 0],
        "values": [7.0, 8.0],
    }
    assert matrix({**sparse, "isTransposed": False}).values.tolist() == [[0.0, 0.0, 8.0], [7.0, 0.0, 0.0]]
    turned = {**sparse, "colPtrs": [0, 1, 2], "rowIndices": [2, 0], "isTransposed": True}
    assert matrix(turned).stored.tolist() == [[False, False, True], [True, False, False]]


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 1.0, 7.0, 1e7, 9999999.0, 1e-3, 9.99e-4, 1.5e10, 1e21, 1e22, 123456789.125, -2.5e-4, 4.9e-324, 0.1, 100.0, 1e300],
)  # fmt: skip
def test_a_double_is_written_as_java_writes_it_and_found_again(value):
    text = number_text(value, "double")

    found = java_number(text, "double")
    assert found == value
    assert math.copysign(1.0, found) == math.copysign(1.0, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0"), (1e7, "1.0E7"), (1234567.5, "1234567.5"), (0.001, "0.001"), (1e-4, "1.0E-4"), (-0.0, "-0.0"), (1.25e-5, "1.25E-5")],
)  # fmt: skip
def test_texts_of_doubles(value, text):
    assert number_text(value, "double") == text


@pytest.mark.parametrize("text", ["1", "1.", "01.0", "1e7", "10000000.0", "1.0E2", "x", "", "+1.0", "NaN"])
def test_what_java_never_writes_is_no_number_s_text(text):
    assert java_number(text, "double") is None


def test_a_set_of_many_categories_is_asked_as_a_tree():
    from sqlml.convert.isolated.spark.stages.trees import points

    tree = points((0.0, 3.0, 4.0, 9.0), 0)
    for value, expected in (
        (0.0, 1),
        (-0.0, 1),
        (0.5, 0),
        (3.0, 1),
        (3.5, 0),
        (4.0, 1),
        (9.0, 1),
        (9.1, 0),
        (-1.0, 0),
        (math.nan, 0),
    ):
        node = 0
        while tree.left[node] >= 0:
            node = int(tree.left[node] if value <= tree.threshold[node] else tree.right[node])
        assert tree.value[node] == expected, value
    assert isinstance(tree.threshold, np.ndarray)
