"""Peers that get arrays which are in memory already: onnxruntime and scikit-learn. No scan, no fetch is in their time."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd

from bench.cases import Case, kept_at
from bench.timing import Run, Way
from sqlml.convert.onnx_model import MISSING_TEXT

TARGET = {"": 18, "ai.onnx.ml": 3}
"""What onnxmltools and skl2onnx write unless told otherwise."""


def double_graph(case: Case, sizes: tuple[int, ...], threads: int) -> Way:
    """The graph that sqlml deploys, an array a column."""
    session = open_session(case.onnx.onnx, threads)

    def prepare(rows: int) -> Run:
        part = case.rows.head(rows)
        feeds = {c.name: column(part[c.name], is_text=c.is_text) for c in case.onnx.signature.columns}
        return lambda: session.run(["probabilities"], feeds)[0][:, 1].sum()

    return Way("onnxruntime, our double graph", prepare, sizes)


def float_export(case: Case, sizes: tuple[int, ...], threads: int) -> Way:
    """What skl2onnx (LightGBM: onnxmltools) writes by default: float32, and the numbers as one matrix where there is no text."""
    session = open_session(_kept_export(case), threads)
    wanted = session.get_outputs()[-1].name

    def prepare(rows: int) -> Run:
        part = case.rows.head(rows)
        if case.is_mixed:
            feeds = {port.name: _by_type(part[port.name], port.type) for port in session.get_inputs()}
        else:
            feeds = {session.get_inputs()[0].name: np.ascontiguousarray(part.to_numpy(dtype=np.float32))}
        return lambda: session.run([wanted], feeds)[0][:, 1].sum()

    return Way("onnxruntime, float32 export", prepare, sizes)


def scikit_learn(case: Case, sizes: tuple[int, ...], threads: int) -> Way:
    """predict_proba of the model itself on a DataFrame; OpenMP and BLAS limited to `threads`."""
    from threadpoolctl import threadpool_limits

    jobs = {"n_jobs": threads} if "n_jobs" in case.estimator.get_params() and not case.is_mixed else {}
    case.estimator.set_params(**jobs)

    def prepare(rows: int) -> Run:
        part = case.rows.head(rows)

        def run() -> float:
            with threadpool_limits(threads), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(case.estimator.predict_proba(part)[:, 1].sum())

        return run

    return Way("scikit-learn", prepare, sizes)


def open_session(onnx: bytes, threads: int) -> ort.InferenceSession:
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def column(values: pd.Series, *, is_text: bool) -> Any:
    if is_text:
        return np.array([MISSING_TEXT if v is None else v for v in values], dtype=object).reshape(-1, 1)
    return values.to_numpy(dtype=np.float64).reshape(-1, 1)


def _by_type(values: pd.Series, kind: str) -> Any:
    if "string" in kind:
        return np.array(["" if v is None else str(v) for v in values], dtype=object).reshape(-1, 1)
    return values.to_numpy(dtype=np.float32 if "float" in kind else np.int64).reshape(-1, 1)


def _kept_export(case: Case) -> bytes:
    """What was exported before, beside the fitted model: 20 s of processor time for the 204,000 leaves of a LightGBM model."""
    converter = "onnxmltools" if type(case.estimator).__name__ == "LGBMClassifier" else "skl2onnx"
    path = kept_at(case.name, f"{converter}-{version(converter)}.onnx")
    if not path.exists():
        print(f"  {converter} exports {case.name}, which is done once", file=sys.stderr, flush=True)
        beside = path.with_name(f"{path.name}.part")
        beside.write_bytes(_exported(case))
        beside.replace(path)
    return path.read_bytes()


def _exported(case: Case) -> bytes:
    kind = type(case.estimator).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "LGBMClassifier":
            from onnxmltools import convert_lightgbm
            from onnxmltools.convert.common.data_types import FloatTensorType

            types: Any = [("X", FloatTensorType([None, case.rows.shape[1]]))]
            return bytes(convert_lightgbm(case.estimator, initial_types=types, zipmap=False).SerializeToString())
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType as Float
        from skl2onnx.common.data_types import StringTensorType

        if case.is_mixed:
            types = [
                (c.name, (StringTensorType if c.is_text else Float)([None, 1])) for c in case.onnx.signature.columns
            ]
        else:
            types = [("X", Float([None, case.rows.shape[1]]))]
        made = to_onnx(case.estimator, initial_types=types, options={"zipmap": False}, target_opset=TARGET)
    return bytes(made.SerializeToString())
