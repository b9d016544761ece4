"""ONNX files as MLflow keeps them, with their tensors beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.files import inside, read, sha256
from sqlml.convert.isolated.refusal import unsupported


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    import onnx

    from sqlml.convert.isolated.foreign_onnx import external_files

    file = inside(root, flavor.get("data"), "data")
    if file.is_dir():
        raise unsupported("The ONNX model is a directory.", "Save it as one file.")
    content = read(file, file.name)
    origin = {"file": file.name, "file sha256": sha256(content)}
    # MLflow moves tensors of more than 1024 bytes into files beside it (save_as_external_data, its default).
    beside = external_files(content)
    for name in beside:
        path = inside(file.parent, name, "external data of the ONNX model")
        origin[f"{name} sha256"] = sha256(read(path, name))
    if beside:
        model = onnx.load_model_from_string(content)
        onnx.load_external_data_for_model(model, str(file.parent))
        content = bytes(model.SerializeToString())
    return Artifact("onnx", origin, onnx=content)
