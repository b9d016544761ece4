"""Every split of a model has rows on it, on either side of it, in units of the table, and rows that get there."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import numpy_helper
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sqlml.compile import Probes, probes
from sqlml.compile.aims import NOT_A_CATEGORY
from sqlml.convert import OnnxModel
from sqlml.convert.isolated.inputs import Input
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.parity.rounding import graph_feed
from sqlml.parity.rows import hostile_rows
from sqlml.parity.thresholds import threshold_rows
from sqlml.signature import Column, Signature

RNG = np.random.default_rng(7)
ROWS = 1200
FRAME = pd.DataFrame(
    {
        "fee": RNG.exponential(30, ROWS),
        "tenure": RNG.integers(0, 72, ROWS),
        "rate": RNG.normal(0, 1, ROWS).astype(np.float32),
        "plan": RNG.choice(["basic", "pro", "café"], ROWS),
        "size": RNG.choice(["s", "m", "l", "xl"], ROWS),
    }
)
NUMBERS, TEXTS = ["fee", "tenure", "rate"], ["plan", "size"]
TARGET = (
    FRAME.fee / 30 + FRAME.tenure / 40 + FRAME.rate + (FRAME["plan"] == "pro") + RNG.normal(0, 0.7, ROWS) > 3
).astype(int)
TYPES = {"float64": "DOUBLE", "int64": "BIGINT", "float32": "FLOAT"}
COLUMNS = tuple(Column(name, TYPES.get(str(kind), "VARCHAR"), "missing") for name, kind in FRAME.dtypes.items())


def encoded(*steps: Any, text: Any = None) -> Any:
    """A step per number, in the order of NUMBERS, and one for the texts."""
    parts = [(step, [name]) for step, name in zip(steps, NUMBERS, strict=True)]
    return make_column_transformer(*parts, (text or OneHotEncoder(handle_unknown="ignore"), TEXTS))


MODELS = {
    "scalers and a forest": (
        encoded(StandardScaler(), MinMaxScaler(), RobustScaler()), RandomForestClassifier(12, max_depth=6, random_state=0)
    ),
    "imputed scalers and boosting": (
        encoded(*(make_pipeline(SimpleImputer(strategy="median"), StandardScaler()) for _ in NUMBERS)),
        GradientBoostingRegressor(n_estimators=15, random_state=0),
    ),
    "clipped scaler, double trees": (
        encoded(MinMaxScaler(clip=True), MaxAbsScaler(), "passthrough",
                text=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
        HistGradientBoostingClassifier(max_iter=8, random_state=0),
    ),
    "a falling function": (
        encoded(FunctionTransformer(np.negative), FunctionTransformer(np.negative), StandardScaler()),
        DecisionTreeClassifier(max_depth=7, random_state=0),
    ),
    "twice scaled": (
        encoded(*(make_pipeline(StandardScaler(), MinMaxScaler((-3, 5)), RobustScaler()) for _ in NUMBERS)),
        DecisionTreeRegressor(max_depth=8, random_state=0),
    ),
}  # fmt: skip


def as_model(estimator: Any) -> OnnxModel:
    found = convert_sklearn(estimator, [Input(c.name, c.type) for c in COLUMNS])
    kind: Any = found.kind
    signature = Signature(COLUMNS, kind, "BIGINT", tuple(found.classes), found.probabilities)
    digest = hashlib.sha256(found.onnx).hexdigest()
    return OnnxModel(found.onnx, digest, signature, tuple(found.reasons), found.precision, {})


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[Any, OnnxModel, Any]]:
    made = {}
    for name, (encoder, trees) in MODELS.items():
        pipeline = make_pipeline(encoder, trees).fit(FRAME, TARGET)
        model = as_model(pipeline)
        made[name] = (pipeline, model, hostile_rows(model.signature, probes(model)))
    return made


def splits_of(trees: Any) -> list[tuple[int, float]]:
    """(feature, threshold) of every split of scikit-learn's own trees."""
    if hasattr(trees, "_predictors"):
        nodes = [p.nodes[p.nodes["is_leaf"] == 0] for stage in trees._predictors for p in stage]
        return [(int(n["feature_idx"]), float(n["num_threshold"])) for tree in nodes for n in tree]
    inner = [t.tree_ for t in np.ravel(getattr(trees, "estimators_", [trees]))]
    return [(int(f), float(t)) for tree in inner for f, t in zip(tree.feature, tree.threshold, strict=True) if f >= 0]


@pytest.mark.parametrize("name", MODELS)
def test_every_threshold_of_every_tree_is_met_from_both_sides_by_neighbours_of_the_tables_own_type(fitted, name):
    pipeline, _, rows = fitted[name]
    whole = rows.features.to_pandas().dropna()
    whole = whole[(whole[NUMBERS].abs() < 1e15).all(axis=1)].astype(FRAME.dtypes.to_dict())
    given = np.asarray(pipeline[0].transform(whole), dtype=np.float64)
    if not hasattr(pipeline[-1], "_predictors"):
        with np.errstate(over="ignore"):
            given = given.astype(np.float32).astype(np.float64)
    splits = [(f, t) for f, t in set(splits_of(pipeline[-1])) if f < len(NUMBERS)]
    assert len(splits) > 20
    for feature, threshold in splits:
        values = whole[NUMBERS[feature]].to_numpy()
        left = given[:, feature] <= threshold
        inside, outside = np.unique(values[left]), np.unique(values[~left])
        pairs = [(inside[-1], outside[0]), (outside[-1], inside[0])]  # the second where the function falls
        assert any(_are_neighbours(a, b) for a, b in pairs), (NUMBERS[feature], threshold, pairs)


def _are_neighbours(a: Any, b: Any) -> bool:
    return bool(int(b) - int(a) == 1 if isinstance(a, np.integer) else np.nextafter(a, a.dtype.type(np.inf)) == b)


@pytest.mark.parametrize("name", MODELS)
def test_how_many_thresholds_and_categories_there_are_is_counted(fitted, name):
    pipeline, model, rows = fitted[name]
    found = probes(model)
    at_most = len(set(splits_of(pipeline[-1]))) + 30  # and what encoders and clips compare with
    assert 20 < rows.counts["thresholds"] == rows.counts["thresholds of the model"] <= at_most
    assert rows.counts["thresholds in a row that reaches their split"] >= 0.9 * len(found.aims or ())
    assert rows.counts["float32 neighbours"] == rows.counts["float32 neighbours of all"]
    assert rows.counts["categories"] == rows.counts["categories of the model"] == 7
    assert rows.counts["thresholds that are no value of one column"] == 0


@pytest.mark.parametrize("name", [name for name in MODELS if "double" not in name])
def test_rows_reach_the_splits_they_are_made_for(fitted, name):
    """Each split moved a little, one after the other, is noticed."""
    _, model, rows = fitted[name]
    right = answers(model.onnx, model, rows)
    proto = onnx.load_model_from_string(model.onnx)
    [node] = [n for n in proto.graph.node if n.op_type == "TreeEnsemble"][:1]
    splits = next(a for a in node.attribute if a.name == "nodes_splits")
    ids = next(a.ints for a in node.attribute if a.name == "nodes_featureids")
    before = numpy_helper.to_array(splits.t)
    numeric = [i for i, feature in enumerate(ids) if NUMBERS[feature : feature + 1] == ["fee"]]
    chosen = np.random.default_rng(1).permutation(numeric)[:40]
    missed = []
    for position in chosen.tolist():
        moved = before.copy()
        moved[position] += 4e-7 * abs(moved[position])  # a few float32 numbers further
        splits.t.CopyFrom(numpy_helper.from_array(moved, splits.t.name))
        if np.array_equal(answers(proto.SerializeToString(), model, rows), right, equal_nan=True):
            missed.append((position, ids[position], before[position]))
    assert len(chosen) > 10
    assert len(missed) <= 0.1 * len(chosen), missed  # a twin in another tree may be the one that is reached


def answers(content: bytes, model: OnnxModel, rows: Any) -> Any:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    wanted = ["probabilities"] if model.signature.probabilities else ["prediction"]
    return session.run(wanted, graph_feed(model, rows.features))[0]


def test_past_the_limit_thresholds_are_sampled_evenly_and_always_the_same_ones(fitted):
    _, model, _ = fitted["scalers and a forest"]
    every, some = probes(model), probes(model, limit=100)
    assert some.thresholds_found == every.thresholds_found == every.thresholds_taken > 300
    assert 90 <= some.thresholds_taken <= 100
    for name, values in some.thresholds.items():
        assert set(values) <= set(every.thresholds[name])
        assert (values[0], values[-1]) == (every.thresholds[name][0], every.thresholds[name][-1])
        assert np.array_equal(values, probes(model, limit=100).thresholds[name])
    rows = hostile_rows(model.signature, some)
    assert rows.counts["thresholds"] == some.thresholds_taken
    assert rows.counts["thresholds of the model"] == some.thresholds_found


def test_what_scalers_learned_of_a_column_is_tried(fitted):
    pipeline, _, rows = fitted["clipped scaler, double trees"]
    fees = rows.features.column("fee").drop_null().to_numpy()
    fees = fees[np.isfinite(fees)]
    scaler = pipeline[0].named_transformers_["minmaxscaler"]
    for learned in (scaler.data_min_[0], scaler.data_max_[0]):
        assert np.abs(fees - learned).min() <= 1e-12 * max(1.0, abs(learned))


def test_edges_of_bins_are_met_on_both_sides():
    binned = encoded(*(KBinsDiscretizer(6, encode="ordinal", strategy="quantile") for _ in NUMBERS))
    pipeline = make_pipeline(binned, DecisionTreeClassifier(max_depth=4, random_state=0)).fit(FRAME, TARGET)
    model = as_model(pipeline)
    rows = hostile_rows(model.signature, probes(model))
    fees = np.unique(rows.features.column("fee").to_numpy())
    edges = pipeline[0].named_transformers_["kbinsdiscretizer-1"].bin_edges_[0][1:-1]
    for edge in edges:
        near = fees[np.argsort(np.abs(fees - edge))[:3]]
        assert edge in near
        assert {np.nextafter(edge, np.inf), np.nextafter(edge, -np.inf)} & set(near)


def test_a_single_column_with_more_thresholds_than_rows_are_meant_to_be_has_all_of_them():
    signature = Signature((Column("x", "DOUBLE"),), "regressor", "DOUBLE")
    bounds = np.sort(np.random.default_rng(0).normal(size=20_000))
    found = Probes(thresholds={"x": bounds}, thresholds_found=20_000, trees=100_000)
    rows = threshold_rows(signature, found, [(0.0,)])
    values = rows.columns[0]
    for wanted in (bounds, np.nextafter(bounds, np.inf), np.nextafter(bounds, -np.inf)):
        assert np.isin(wanted, values).all()
    assert len(rows) <= 3 * len(bounds)
    assert rows.singles < rows.singles_found


def test_columns_share_rows():
    columns = tuple(Column(f"c{i}", "DOUBLE") for i in range(40))
    bounds = np.arange(500.0) + 0.1
    found = Probes(thresholds={c.name: bounds for c in columns}, thresholds_found=20_000)
    rows = threshold_rows(Signature(columns, "regressor", "DOUBLE"), found, [(0.0,) * 40])
    assert len(rows) <= 6 * len(bounds)
    assert all(np.isin(np.nextafter(bounds, np.inf), values).all() for values in rows.columns)


def test_a_text_that_no_category_is_leads_where_only_unknown_ones_go(fitted):
    _, model, _ = fitted["scalers and a forest"]
    aims = probes(model).aims
    assert aims is not None
    asked = [texts for block in aims.blocks(10_000) for texts in block.texts if texts]
    assert asked
    known = {"basic", "pro", "café", "s", "m", "l", "xl", NOT_A_CATEGORY}
    assert all(allowed and allowed < known for texts in asked for allowed in texts.values())


def test_integer_columns_stay_within_their_width():
    columns = (Column("i", "INTEGER"), Column("b", "BIGINT"), Column("f", "BOOLEAN"))
    bounds = np.array([-1e300, -(2.0**31) - 0.5, -0.5, 0.5, 127.0, 2.0**31 - 0.5, 2.0**63, 1e300])
    found = Probes(thresholds={c.name: bounds for c in columns}, thresholds_found=len(bounds) * len(columns))
    rows = hostile_rows(Signature(columns, "regressor", "DOUBLE"), found)
    assert {-1, 0, 1, 126, 127, 128, 2**31 - 1, -(2**31)} <= set(rows.features.column("i").to_pylist())
    assert {2**31 - 1, 2**31, -(2**63), 2**63 - 1} <= set(rows.features.column("b").to_pylist())
    assert set(rows.features.column("f").to_pylist()) == {True, False, None}


def test_the_limit_counts_thresholds_of_all_columns_together():
    assert dataclasses.replace(Probes(), thresholds={"a": np.zeros(3), "b": np.zeros(4)}).thresholds_taken == 7
