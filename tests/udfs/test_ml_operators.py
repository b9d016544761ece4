"""Every operator of ai.onnx.ml that the extension runs (trees have tests of their own), against onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pytest

import sqlml
from tests.udfs.graphs import ML, Step, check, graph, numbers

pytestmark = pytest.mark.native

FLOATS = [np.float32, np.float64]
TEXTS = np.array(["a", "b", "", "a ", "ß", "unknown", "NaN"], dtype=object)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with sqlml.connect() as connection:
        yield connection


def texts(columns: int = 1) -> Any:
    return np.random.default_rng(1).choice(TEXTS, (200, columns))


def ml(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Step:
    return Step(op, inputs, outputs, ML, attributes)


def values(*shape: int, seed: int = 0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(size=shape).ravel()]


TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]


@pytest.mark.parametrize("kind", [*FLOATS, np.int64])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 2, 4])
def test_linear_classifier(connection: duckdb.DuckDBPyConnection, targets: int, transform: str, kind: Any) -> None:
    if targets == 1 and transform == "PROBIT":
        pytest.skip("onnxruntime leaves the scores of other rows where the second class's score belongs")
    scale = 0.02 if transform == "PROBIT" else 1.0  # probit is of probabilities
    x = (numbers(np.float32, 3, hostile=False) * 4).astype(kind)
    attributes = {
        "coefficients": [scale * value for value in values(targets, 3)],
        "intercepts": [0.5 + scale * value for value in values(targets, seed=1)],
        "multi_class": int(targets > 1),
        "post_transform": transform,
    }
    for labels in [[5, 7]] if targets == 1 else [list(range(targets)), [9, -2, 4, 4][:targets]]:
        step = ml("LinearClassifier", ["x"], ["label", "scores"], classlabels_ints=labels, **attributes)
        model = graph([step], {"x": x}, ["label", "scores"])
        check(connection, model, {"x": x}, 2e-4 if transform == "PROBIT" else 2e-6, floor=30.0)


def test_linear_classifier_with_text_labels(connection: duckdb.DuckDBPyConnection) -> None:
    x = numbers(np.float32, 3, hostile=False)
    steps = [
        ml(
            "LinearClassifier",
            ["x"],
            ["text", "s"],
            classlabels_strings=["a", "", "ß"],
            coefficients=values(3, 3),
            intercepts=values(3),
        ),
        ml("LabelEncoder", ["text"], ["label"], keys_strings=["ß", "a", ""], values_int64s=[1, 2, 3]),
    ]
    check(connection, graph(steps, {"x": x}, ["label"]), {"x": x}, 0)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 3])
def test_linear_regressor(connection: duckdb.DuckDBPyConnection, targets: int, transform: str) -> None:
    scale = 0.02 if transform == "PROBIT" else 1.0
    x = numbers(np.float32, 3, hostile=False)
    coefficients = [scale * value for value in values(targets, 3)]
    for intercepts in ([], [0.5 + scale * value for value in values(targets, seed=1)]):
        if transform == "PROBIT" and not intercepts:
            continue
        step = ml("LinearRegressor", ["x"], ["y"], coefficients=coefficients, targets=targets, post_transform=transform)
        step = Step(
            step.op,
            step.inputs,
            step.outputs,
            ML,
            {**(step.attributes or {}), **({"intercepts": intercepts} if intercepts else {})},
        )
        check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 2e-4 if transform == "PROBIT" else 2e-6, floor=30.0)


def svm(seed: int, kernel: str, vectors: int) -> dict[str, Any]:
    support = values(vectors, 3, seed=seed)
    return {"kernel_type": kernel, "kernel_params": [0.3, 0.7, 3.0], "support_vectors": support}


@pytest.mark.parametrize("probable", [False, True])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_svm_classifier(
    connection: duckdb.DuckDBPyConnection, classes: int, kernel: str, transform: str, probable: bool
) -> None:
    x, per_class = numbers(np.float32, 3, hostile=False), [3, 2, 4, 1, 2][:classes]
    pairs = classes * (classes - 1) // 2
    attributes = {
        **svm(classes, kernel, sum(per_class)),
        "coefficients": values(classes - 1, sum(per_class), seed=7),
        "rho": values(pairs, seed=8),
        "vectors_per_class": per_class,
        "post_transform": transform,
        "classlabels_ints": [4, 1, 0, 9, 2][:classes],
    }
    if probable:
        attributes |= {"prob_a": [-abs(value) for value in values(pairs, seed=9)], "prob_b": values(pairs, seed=10)}
    model = graph([ml("SVMClassifier", ["x"], ["label", "scores"], **attributes)], {"x": x}, ["label", "scores"])
    # The coupling of probabilities stops at an error of 0.005 / classes: onnxruntime's float32 may stop a round earlier.
    check(connection, model, {"x": x}, 2e-3 if probable else 1e-5, floor=100.0 if kernel == "POLY" else 1.0)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_svm_classifier_without_vectors(connection: duckdb.DuckDBPyConnection, classes: int, positive: bool) -> None:
    x, coefficients = numbers(np.float32, 3, hostile=False), values(classes, 3)
    attributes = {
        "coefficients": [abs(value) for value in coefficients] if positive else coefficients,
        "rho": [0.25],
        "kernel_params": [0.0, 0.0, 0.0],
        "classlabels_ints": [4, 1, 7][:classes],
    }
    model = graph([ml("SVMClassifier", ["x"], ["label", "scores"], **attributes)], {"x": x}, ["label", "scores"])
    check(connection, model, {"x": x}, 2e-6, floor=10.0)


@pytest.mark.parametrize("one_class", [0, 1])
@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_svm_regressor(connection: duckdb.DuckDBPyConnection, kernel: str, one_class: int) -> None:
    x = numbers(np.float32, 3, hostile=False)
    attributes = {**svm(3, kernel, 6), "coefficients": values(6), "rho": [0.1], "n_supports": 6, "one_class": one_class}
    model = graph([ml("SVMRegressor", ["x"], ["y"], **attributes)], {"x": x}, ["y"])
    check(connection, model, {"x": x}, 1e-5, floor=1.0)


@pytest.mark.parametrize("kind", [*FLOATS, np.int64])
def test_scaler(connection: duckdb.DuckDBPyConnection, kind: Any) -> None:
    x = numbers(kind, 3) if kind != np.int64 else np.random.default_rng(0).integers(-(2**20), 2**20, (100, 3))
    for width in (1, 3):
        step = ml("Scaler", ["x"], ["y"], offset=values(width), scale=values(width, seed=1))
        check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 0)


@pytest.mark.parametrize("replaced", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("width", [1, 2])
def test_imputer(connection: duckdb.DuckDBPyConnection, width: int, replaced: float) -> None:
    x = numbers(np.float32, 2)
    step = ml("Imputer", ["x"], ["y"], imputed_value_floats=values(width), replaced_value_float=replaced)
    check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 0)


def test_imputer_of_integers(connection: duckdb.DuckDBPyConnection) -> None:
    x = np.random.default_rng(0).integers(-3, 3, (100, 2))
    step = ml("Imputer", ["x"], ["y"], imputed_value_int64s=[2**40, 7], replaced_value_int64=-1)
    check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 0)


@pytest.mark.parametrize("kind", [*FLOATS, np.int64])
@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(connection: duckdb.DuckDBPyConnection, norm: str, kind: Any) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (200, 4)).astype(kind)
    x[:5] = 0
    step = ml("Normalizer", ["x"], ["y"], norm=norm)
    check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 5e-7)


def test_normalizer_of_numbers_whose_squares_overflow(connection: duckdb.DuckDBPyConnection) -> None:
    """onnxruntime squares in float32 and gives NaN."""
    x = np.array([[3e30, 4e30], [3e-30, -4e-30]], dtype=np.float32)
    step = ml("Normalizer", ["x"], ["y"], norm="L2")
    check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 2e-7, np.array([[0.6, 0.8], [0.6, -0.8]]))


def test_binarizer(connection: duckdb.DuckDBPyConnection) -> None:
    x = numbers(np.float32, 2)
    x = x[~np.isnan(x).any(axis=1)]  # for which onnxruntime refuses the whole batch
    for attributes in ({}, {"threshold": 0.5}):
        check(connection, graph([ml("Binarizer", ["x"], ["y"], **attributes)], {"x": x}, ["y"]), {"x": x}, 0)


def test_one_hot_of_texts(connection: duckdb.DuckDBPyConnection) -> None:
    x = texts(2)
    step = ml("OneHotEncoder", ["x"], ["y"], cats_strings=["b", "", "ß", "b"], zeros=1)
    check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 0)


@pytest.mark.parametrize("kind", [*FLOATS, np.int64])
def test_one_hot_of_numbers(connection: duckdb.DuckDBPyConnection, kind: Any) -> None:
    x = np.random.default_rng(0).uniform(-3, 3, (100, 2)).astype(kind)
    if kind != np.int64:
        x[:6, 0] = [0.999, -0.999, np.nan, 1e-310, -0.0, 2.0]
    step = ml("OneHotEncoder", ["x"], ["y"], cats_int64s=[2, -1, 0, 1], zeros=1)
    check(connection, graph([step], {"x": x}, ["y"]), {"x": x}, 0)


def test_an_unknown_category_that_must_fail_is_left_to_onnxruntime(connection: duckdb.DuckDBPyConnection) -> None:
    x = texts()
    model = graph([ml("OneHotEncoder", ["x"], ["y"], cats_strings=list(TEXTS), zeros=0)], {"x": x}, ["y"])
    with pytest.raises((AssertionError, duckdb.Error), match="OneHotEncoder that fails"):
        check(connection, model, {"x": x}, 0)


KEYS: dict[str, Any] = {
    "strings": ["a", "", "b", "a"],
    "int64s": [3, -1, 2**40, 3],
    "floats": [1.5, -0.0, float("nan"), 1.5],
}
INPUTS: dict[str, Any] = {
    "strings": texts(),
    "int64s": np.random.default_rng(0).choice(np.array([3, -1, 2**40, 0, 7]), (100, 1)),
    "floats": np.random.default_rng(0).choice(np.array([1.5, 0, -0.0, np.nan, 7], dtype=np.float32), (100, 1)),
}
DEFAULTS: dict[str, Any] = {
    "strings": {"default_string": "b"},
    "int64s": {"default_int64": -7},
    "floats": {"default_float": 2.5},
}
BACK = ml("LabelEncoder", ["text"], ["y"], keys_strings=["a", "", "b", "_Unused"], values_int64s=[1, 2, 3, 4])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("values_of", sorted(KEYS))
@pytest.mark.parametrize("keys_of", sorted(KEYS))
@pytest.mark.parametrize("version", [2, 4])
def test_label_encoder(
    connection: duckdb.DuckDBPyConnection, version: int, keys_of: str, values_of: str, given: bool
) -> None:
    if version == 2 and keys_of == values_of == "int64s":
        pytest.skip("onnxruntime has no such LabelEncoder of ai.onnx.ml 2")
    to = "text" if values_of == "strings" else "y"
    found = (
        [8, 9, 10, 11]
        if values_of == "int64s"
        else [0.5, -0.25, 4.0, 1.0]
        if values_of == "floats"
        else ["b", "a", "", "a"]
    )
    attributes = {
        f"keys_{keys_of}": KEYS[keys_of],
        f"values_{values_of}": found,
        **(DEFAULTS[values_of] if given else {}),
    }
    steps = [ml("LabelEncoder", ["x"], [to], **attributes)]
    if to == "text":
        steps.append(BACK)
    feeds = {"x": INPUTS[keys_of]}
    check(connection, graph(steps, feeds, ["y"], opsets={ML: version}), feeds, 0)


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_label_encoder_with_tensors(connection: duckdb.DuckDBPyConnection, kind: Any) -> None:
    from onnx import numpy_helper

    def tensor(*of: float) -> Any:
        return numpy_helper.from_array(np.array(of, dtype=kind))

    x = np.random.default_rng(0).integers(-2, 4, (100, 1)).astype(kind)
    attributes = {"keys_tensor": tensor(1, 2, -1), "values_tensor": tensor(10, 20, -5), "default_tensor": tensor(99)}
    model = graph([ml("LabelEncoder", ["x"], ["y"], **attributes)], {"x": x}, ["y"], opsets={ML: 4})
    check(connection, model, {"x": x}, 0)


def test_first_label_encoder_and_category_mapper(connection: duckdb.DuckDBPyConnection) -> None:
    x, places = texts(), np.random.default_rng(0).integers(-1, 5, (100, 1))
    classes = ["b", "a", "", "b"]
    for version, attributes in [
        (1, {"classes_strings": classes}),
        (3, {"cats_strings": classes, "cats_int64s": [3, 1, 0, 2]}),
    ]:
        op = "LabelEncoder" if version == 1 else "CategoryMapper"
        model = graph([ml(op, ["x"], ["y"], **attributes)], {"x": x}, ["y"], opsets={ML: version})
        check(connection, model, {"x": x}, 0)
    back = ml("CategoryMapper", ["text"], ["y"], cats_strings=["a", "b", "", "_Unused"], cats_int64s=[1, 2, 3, 4])
    there = ml("CategoryMapper", ["x"], ["text"], cats_strings=["a", "", "b"], cats_int64s=[0, 1, 2])
    check(connection, graph([there, back], {"x": places}, ["y"]), {"x": places}, 0)


def test_feature_vectorizer(connection: duckdb.DuckDBPyConnection) -> None:
    """Of one type, for onnxruntime takes no other."""
    a, b = numbers(np.float64, 2), numbers(np.float64, 2, seed=1)
    for widths in ([2, 2], [1, 3]):
        step = ml("FeatureVectorizer", ["a", "b"], ["y"], inputdimensions=widths)
        check(connection, graph([step], {"a": a, "b": b}, ["y"]), {"a": a, "b": b}, 0)


def test_array_feature_extractor(connection: duckdb.DuckDBPyConnection) -> None:
    x = numbers(np.float32, 4)
    model = graph([ml("ArrayFeatureExtractor", ["x", "i"], ["y"])], {"x": x}, ["y"], {"i": np.array([3, 0, 3])})
    check(connection, model, {"x": x}, 0)
    steps = [
        Step("ArgMax", ["x"], ["place"], attributes={"axis": 1}),
        ml("ArrayFeatureExtractor", ["labels", "place"], ["label"]),
        Step("Reshape", ["label", "shape"], ["y"]),
    ]
    x = numbers(np.float32, 4, hostile=False)
    constants = {"labels": np.array([7, 5, 1, 3]), "shape": np.array([-1])}
    check(connection, graph(steps, {"x": x}, ["y"], constants), {"x": x}, 0)


def test_zip_map_gives_its_columns(connection: duckdb.DuckDBPyConnection) -> None:
    x = numbers(np.float32, 2)
    model = graph([ml("ZipMap", ["x"], ["y"], classlabels_int64s=[0, 1])], {"x": x}, ["y"])
    check(connection, model, {"x": x}, 0, x.astype(float))
