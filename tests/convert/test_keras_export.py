"""A file that Keras exported by itself, and what Keras predicted: keras_export/make.py says how they were made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa

from sqlml.convert import open_worker
from tests.convert.foreign_models import answers

RECORDED = Path(__file__).parent / "keras_export"


def test_what_keras_exports_gives_what_keras_predicts(tmp_path):
    exported = onnx.parser.parse_model((RECORDED / "mlp.onnxtxt").read_text())
    (tmp_path / "mlp.onnx").write_bytes(exported.SerializeToString())
    said = json.loads((RECORDED / "mlp.json").read_text())
    rows = pa.table({f"f{i}": [row[i] for row in said["rows"]] for i in range(4)})

    with open_worker(tmp_path / "mlp.onnx", log=lambda line: None) as worker:
        converted = worker.convert()
        reference = worker.reference(rows)

    assert converted.signature.kind == "regressor"
    np.testing.assert_allclose(answers(converted, rows)["prediction"], said["predicted"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(reference.prediction, said["predicted"], rtol=1e-6, atol=1e-6)
