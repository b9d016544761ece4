"""Downloads: whole, hashed, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqlml import registry
from sqlml.errors import ArtifactError
from sqlml.registry.artifacts import DIGEST_TAG


def version_of(store: Any, reference: str = "churn:1") -> registry.ModelVersion:
    return registry.resolve(reference, tracking_uri=store.uri)


def test_every_file_comes_with_its_size_and_hash(registered: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    version = version_of(registered)

    artifact = registry.download(version, tmp_path / "model", lines.append)
    again = registry.download(version, tmp_path / "again")

    assert {"MLmodel", "model.pkl", "input_example.json"} <= {file.path for file in artifact.files}
    files = {path.name: path.stat().st_size for path in (tmp_path / "model").iterdir()}
    files.pop("registered_model_meta", None)  # written by MLflow on the way, no part of the model
    assert artifact.size == sum(files.values())
    assert all(len(file.sha256) == 64 for file in artifact.files)
    assert again.sha256 == artifact.sha256
    assert set(artifact.flavors) == {"python_function", "sklearn"}
    assert artifact.run_id == version.run_id
    assert artifact.sha256[:12] in lines[0]


def test_the_original_is_left_alone(registered: Any, tmp_path: Path) -> None:
    version = version_of(registered)
    artifact = registry.download(version, tmp_path / "model")

    (artifact.directory / "model.pkl").write_bytes(b"overwritten")

    assert Path(version.location, "model.pkl").read_bytes() != b"overwritten"


def test_a_missing_artifact(own_registry: Any, tmp_path: Path) -> None:
    version = version_of(own_registry)
    Path(version.location).rename(tmp_path / "elsewhere")

    with pytest.raises(ArtifactError, match=r"The artifact of churn v1 \(version 1\) is missing: .* does not exist"):
        registry.download(version, tmp_path / "model")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.pkl", None, "is not whole: MLmodel names 'model.pkl', which is missing"),
        ("MLmodel", None, "has no MLmodel file"),
        ("MLmodel", "flavors: [", "cannot be read"),
        ("MLmodel", "- 1", "names no flavor"),
        ("MLmodel", "flavors: {sklearn: {pickled_model: ../../x}}", "names '../../x'"),
    ],
)
def test_an_artifact_that_is_not_whole(
    own_registry: Any, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    version = version_of(own_registry)
    path = Path(version.location, file)
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(ArtifactError) as raised:
        registry.download(version, tmp_path / "model")

    assert message in str(raised.value)


def test_links_out_of_the_artifact_are_refused(own_registry: Any, tmp_path: Path) -> None:
    version = version_of(own_registry)
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    Path(version.location, "notes.txt").symlink_to(tmp_path / "secret")

    with pytest.raises(ArtifactError, match=r"notes.txt .* is a symbolic link"):
        registry.download(version, tmp_path / "model")
    assert not (tmp_path / "model" / "notes.txt").exists()


def test_files_that_changed_since_the_deployment_are_refused(own_registry: Any, tmp_path: Path) -> None:
    first = registry.download(version_of(own_registry), tmp_path / "first")
    assert registry.tag(version_of(own_registry), {DIGEST_TAG: first.sha256}) is None
    registry.download(version_of(own_registry), tmp_path / "same")
    with Path(version_of(own_registry).location, "model.pkl").open("ab") as file:
        file.write(b"!")

    with pytest.raises(ArtifactError, match="is not what was deployed before: its sha256 is"):
        registry.download(version_of(own_registry), tmp_path / "changed")


def test_a_bare_onnx_file_brings_its_external_data(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((300, 1)), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 300])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])],
        [weights],
    )
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "scorer.onnx"
    onnx.save_model(
        helper.make_model(graph), str(path), save_as_external_data=True, location="scorer.bin", size_threshold=0
    )

    artifact = registry.download(registry.resolve(str(path)), tmp_path / "model")

    assert [file.path for file in artifact.files] == ["scorer.bin", "scorer.onnx"]
    assert dict(artifact.flavors) == {"onnx": {"data": "scorer.onnx"}}
    (tmp_path / "source" / "scorer.bin").unlink()
    with pytest.raises(ArtifactError, match=r"keeps data in 'scorer.bin', which is missing"):
        registry.download(registry.resolve(str(path)), tmp_path / "again")


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\xff\xff not a model")

    with pytest.raises(ArtifactError, match="is not an ONNX model"):
        registry.download(registry.resolve(str(path)), tmp_path / "model")
