"""ONNX graphs written down by hand, and their answers: from onnxruntime, and from SQL in DuckDB."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sqlml import sql
from sqlml.convert.onnx_model import MISSING_TEXT, OnnxModel
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros, staged_select
from sqlml.signature import Column, Label, Signature

HOSTILE = (
    None, math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.25, 1e308, -1e308, 5e-324, 3.5e38, 2.0**24 + 1,
)  # fmt: skip
TEXTS = (None, "", "a", "b", "it's", "unseen", "naïve")

Row = Mapping[str, Any]


def graph(
    columns: Sequence[Column],
    nodes: Sequence[NodeProto],
    constants: Mapping[str, np.ndarray[Any, Any]],
    *,
    classes: Sequence[Label] = (),
    probabilities: bool = False,
    targets: Sequence[str] = (),
    reasons: Sequence[str] = (),
    checked: bool = False,
) -> OnnxModel:
    """A model whose nodes give "prediction" (and "probabilities"; and "error" if `checked`, else there is none)."""
    nodes = list(nodes)
    constants = dict(constants)
    if not checked:
        nodes += [
            helper.make_node("Equal", [columns[0].name] * 2, ["same"]),
            helper.make_node("Cast", ["same"], ["one"], to=TensorProto.INT64),
            helper.make_node("Mul", ["one", "none"], ["error"]),
        ]
        constants["none"] = np.array([[0]])
    kinds = {column.name: TensorProto.STRING if column.is_text else TensorProto.DOUBLE for column in columns}
    outputs = [("prediction", TensorProto.INT64 if classes else TensorProto.DOUBLE), ("error", TensorProto.INT64)]
    if probabilities:
        outputs.insert(1, ("probabilities", TensorProto.DOUBLE))
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, kind, ["N", 1]) for name, kind in kinds.items()],
            [helper.make_tensor_value_info(name, kind, ["N", None]) for name, kind in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)],
        ir_version=10,
    )
    kind = "VARCHAR" if classes and isinstance(classes[0], str) else "BIGINT"
    signature = Signature(
        tuple(columns),
        "classifier" if classes else "regressor",
        kind if classes else "DOUBLE",
        tuple(classes),
        probabilities,
        tuple(targets),
    )
    content = proto.SerializeToString()
    return OnnxModel(content, hashlib.sha256(content).hexdigest(), signature, tuple(reasons), "double", {})


def forest(
    trees: Sequence[Any],
    *,
    given: str = "x",
    output: str = "scores",
    targets: int = 1,
    mode: int = 0,
    missing_true: bool = False,
    real: type = np.float64,
) -> NodeProto:
    """A TreeEnsemble, all of it of type `real`; a tree is a leaf (value, target), or (feature, threshold, tree where true, tree where false)."""
    inner: list[tuple[int, float, Any, Any]] = []
    leaves: list[tuple[float, int]] = []
    roots: list[int] = []

    def add(tree: Any) -> tuple[int, int]:
        if len(tree) == 2:
            leaves.append(tree)
            return len(leaves) - 1, 1
        place = len(inner)
        inner.append((0, 0.0, None, None))
        inner[place] = (tree[0], tree[1], add(tree[2]), add(tree[3]))
        return place, 0

    for tree in trees:
        roots.append(len(inner))
        add(tree if len(tree) == 4 else (0, 0.0, tree, tree))
    return helper.make_node(
        "TreeEnsemble",
        [given],
        [output],
        domain="ai.onnx.ml",
        aggregate_function=1,
        post_transform=0,
        n_targets=targets,
        tree_roots=roots,
        nodes_featureids=[n[0] for n in inner],
        nodes_splits=numpy_helper.from_array(np.array([n[1] for n in inner], dtype=real)),
        nodes_modes=numpy_helper.from_array(np.full(len(inner), mode, dtype=np.uint8)),
        nodes_truenodeids=[n[2][0] for n in inner],
        nodes_trueleafs=[n[2][1] for n in inner],
        nodes_falsenodeids=[n[3][0] for n in inner],
        nodes_falseleafs=[n[3][1] for n in inner],
        nodes_missing_value_tracks_true=[int(missing_true)] * len(inner),
        leaf_targetids=[leaf[1] for leaf in leaves],
        leaf_weights=numpy_helper.from_array(np.array([leaf[0] for leaf in leaves], dtype=real)),
    )


def rows_of(columns: Sequence[Column], values: Sequence[Any] | None = None) -> list[Row]:
    """Every hostile value in each column in turn, the others at an ordinary one; and all columns alike."""
    ordinary: Row = {c.name: "a" if c.is_text else 1.5 for c in columns}
    rows: list[Row] = [ordinary]
    for column in columns:
        rows += [{**ordinary, column.name: v} for v in (TEXTS if column.is_text else values or HOSTILE)]
    for value in values or HOSTILE:
        rows.append({c.name: "b" if c.is_text else value for c in columns})
    return rows


def in_onnxruntime(model: OnnxModel, rows: Sequence[Row]) -> dict[str, np.ndarray[Any, Any]]:
    feeds = {}
    for column in model.signature.columns:
        values = [row[column.name] for row in rows]
        filled = [(MISSING_TEXT if column.is_text else math.nan) if v is None else v for v in values]
        feeds[column.name] = np.array(filled, dtype=object if column.is_text else np.float64).reshape(-1, 1)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # as everywhere in sqlml: several would add trees up in parts
    session = onnxruntime.InferenceSession(model.onnx, options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def in_sql(
    model: OnnxModel, rows: Sequence[Row], connection: duckdb.DuckDBPyConnection | None = None
) -> list[dict[str, Any]]:
    """The staged answers, after checking that the macros give the same."""
    con = connection or duckdb.connect()
    engine = SqlEngine(model)
    types = {c.name: "VARCHAR" if c.is_text else "DOUBLE" for c in model.signature.columns}
    listed = ", ".join(f"{sql.quote(name)} {kind}" for name, kind in types.items())
    con.execute(f"CREATE OR REPLACE TABLE t (i BIGINT, {listed})")
    marks = ", ".join("?" * (len(types) + 1))
    con.executemany(f"INSERT INTO t VALUES ({marks})", [[i, *row.values()] for i, row in enumerate(rows)])
    staged = sql.render(staged_select(model.signature, engine, sql.table("t"), [("i", sql.column("i"))]))
    answers = _dicts(con, f"SELECT * FROM ({staged}) ORDER BY i")
    for macro in macros(model.signature, engine):
        con.execute(sql.create_macro(("main", macro.name), sql.macro_text(macro.overloads), replace=True))
    called = _dicts(con, "SELECT predict(t) AS prediction, error(t) AS error FROM t ORDER BY i")
    for one, other in zip(answers, called, strict=True):
        assert _alike(one["prediction"], other["prediction"]), (one, other)
        assert one["error"] == other["error"]
    return answers


def assert_agree(model: OnnxModel, rows: Sequence[Row], tolerance: float = 1e-12) -> None:
    """SQL gives onnxruntime's prediction, probabilities and error for every row."""
    expected, answers = in_onnxruntime(model, rows), in_sql(model, rows)
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        code = int(expected["error"][i, 0])
        assert answer["error"] == (model.reasons[code - 1] if code else None), (row, answer)
        if code:
            assert answer["prediction"] is None, (row, answer)
            continue
        predicted = expected["prediction"][i]
        if model.signature.classes:
            assert answer["prediction"] == model.signature.classes[int(predicted[0])], (row, answer)
        else:
            values = list(answer["prediction"].values()) if model.signature.targets else [answer["prediction"]]
            for value, wanted in zip(values, predicted, strict=True):
                assert _close(value, float(wanted), tolerance), (row, value, wanted)
        if model.signature.probabilities:
            values = [v for name, v in answer.items() if name.startswith("probability_")]
            for value, wanted in zip(values, expected["probabilities"][i], strict=True):
                assert _close(value, float(wanted), tolerance), (row, value, wanted)


def _dicts(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    cursor = con.execute(query)
    names = [d[0] for d in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _alike(a: Any, b: Any) -> bool:
    return repr(a) == repr(b) or (isinstance(a, float) and isinstance(b, float) and a == b)


def _close(value: float | None, wanted: float, tolerance: float) -> bool:
    if value is None or math.isnan(wanted) or math.isnan(value):
        return value is not None and math.isnan(wanted) and math.isnan(value)
    return value == wanted or abs(value - wanted) <= tolerance * max(1.0, abs(value), abs(wanted))
