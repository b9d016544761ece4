"""What is taken from a model's files, and what is not followed: they are somebody else's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlml.convert.isolated import loading
from sqlml.environments import pins
from sqlml.errors import ArtifactError
from tests.environments.artifacts import model

SKLEARN = {"sklearn": {"sklearn_version": "1.3.2", "serialization_format": "cloudpickle"}}
# As MLflow 2.9 writes it.
REQUIREMENTS = """\
mlflow==2.9.2
cloudpickle==3.0.0
numpy==1.26.4
scikit-learn==1.3.2
"""


def read(folder: Path, flavors: dict[str, object] | None = None, **files: str) -> pins.Pins:
    return pins.read(model(folder, flavors or SKLEARN, **files))


def test_what_mlflow_writes_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        requirements_txt=REQUIREMENTS,
        python_env_yaml="python: 3.10.13\nbuild_dependencies:\n- pip==23.3\ndependencies:\n- -r requirements.txt\n",
        conda_yaml="channels: [conda-forge]\ndependencies:\n- python=3.10.13\n- pip<=23.3\n- pip:\n  - mlflow==2.9.2\n",
    )

    assert (found.flavor, found.python, found.pickled) == ("sklearn", "3.10.13", True)
    assert {name: pin.version for name, pin in found.libraries.items()} == {
        "mlflow": "2.9.2",
        "cloudpickle": "3.0.0",
        "numpy": "1.26.4",
        "scikit-learn": "1.3.2",
    }
    assert found.notes == ()


def test_models_that_only_have_a_conda_file(tmp_path: Path) -> None:
    conda = "dependencies:\n- python=3.9.7\n- scikit-learn=1.1.3\n- numpy=1.22.4=py39h1\n- pip\n- pip:\n  - lightgbm==3.3.5\n"

    found = read(tmp_path, {"sklearn": {}}, conda_yaml=conda)

    assert found.python == "3.9.7"
    assert sorted(map(str, found.libraries.values())) == ["lightgbm==3.3.5", "numpy==1.22.4", "scikit-learn==1.1.3"]


def test_the_librarys_own_word_outweighs_a_list_that_a_person_may_have_written(tmp_path: Path) -> None:
    found = read(tmp_path, requirements_txt="scikit_learn==1.2\n")

    assert found.libraries["scikit-learn"].version == "1.3.2"
    assert found.notes == ("requirements.txt names scikit-learn==1.2, and scikit-learn==1.3.2 was taken",)


def test_markers_apply_to_the_models_python(tmp_path: Path) -> None:
    lines = "numpy==1.22.4; python_version < '3.10'\nnumpy==1.26.4; python_version >= '3.10'\n"

    found = read(tmp_path, requirements_txt=lines, python_env_yaml="python: 3.10.13\n")

    assert str(found.libraries["numpy"]) == "numpy==1.26.4"


def test_extras_hashes_comments_and_continued_lines(tmp_path: Path) -> None:
    lines = "# saved by hand\nMy.Package[b,a]==1.0 \\\n    --hash=sha256:00 # why\n\nother == 2.0rc1\n"

    found = read(tmp_path, requirements_txt=lines)

    assert str(found.libraries["my-package"]) == "my-package[a,b]==1.0"
    assert found.libraries["other"].version == "2.0rc1"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://me:secret@index.example/simple",
        "--extra-index-url=https://index.example/simple",
        "-i https://index.example/simple",
        "--find-links /tmp/wheels",
        "--trusted-host index.example",
        "-e .",
        "-r ../../etc/passwd",
        "-c constraints.txt",
        "--no-binary :all:",
        "git+https://host.example/evil.git",
        "git+ssh://git@host.example/evil.git#egg=evil",
        "evil @ https://host.example/evil-1.0-py3-none-any.whl",
        "evil@https://host.example/evil.whl",
        "evil @ file:///tmp/evil.whl",
        "https://host.example/evil-1.0.tar.gz",
        "file:///tmp/evil",
        "./evil",
        "../evil",
        "/tmp/evil",
        "~/evil",
        "evil>=1.0",
        "evil",
        "evil==1.*",
        "evil===1.0",
        "evil==1.0,==2.0",
        "evil~=1.0",
        "evil==1.0 ; os_name == undefined_thing",
        "evil==not a version",
        "evil==1.0; rm -rf /",
        "$(touch /tmp/evil)==1.0",
        "evil\x00==1.0",
        "evil\x1b[2J==1.0",
        "--config-settings=--build-option=x",
    ],
)
def test_only_pins_are_followed(tmp_path: Path, line: str) -> None:
    found = read(tmp_path, requirements_txt=f"numpy==1.26.4\n{line}\npandas==2.1.4\n")

    assert set(found.libraries) == {"scikit-learn", "numpy", "pandas"}
    assert len(found.notes) == 1
    assert found.notes[0].isprintable()
    assert "secret" not in found.notes[0]
    assert "example" not in found.notes[0]


def test_what_is_not_followed_is_named(tmp_path: Path) -> None:
    lines = "--index-url https://index.example/simple\nevil @ https://host.example/x.whl\nrange>=1\n"

    assert read(tmp_path, requirements_txt=lines).notes == (
        "requirements.txt: the option --index-url is not followed",
        "requirements.txt: an address or path is not followed (evil)",
        "requirements.txt: range is not pinned to one version",
    )


@pytest.mark.parametrize("said", ["3.10; rm -rf /", "2.7.18", "../../bin/sh", "3", "[3, 10]", "3.10.13+local"])
def test_a_python_version_is_a_version(tmp_path: Path, said: str) -> None:
    found = read(tmp_path, python_env_yaml=f"python: {said!r}\n")

    assert found.python is None
    assert "is not followed" in found.notes[0]


def test_hostile_yaml_is_refused_and_constructs_nothing(tmp_path: Path) -> None:
    tagged = "python: !!python/object/apply:os.system ['touch owned']\n"
    with pytest.raises(ArtifactError, match=r"python_env.yaml of the model is not YAML"):
        read(tmp_path / "tagged", python_env_yaml=tagged)
    with pytest.raises(ArtifactError, match=r"conda.yaml of the model is not YAML"):
        read(tmp_path / "nested", conda_yaml="[" * 100_000)
    with pytest.raises(ArtifactError, match=r"requirements.txt of the model has more than 1048576 bytes"):
        read(tmp_path / "long", requirements_txt="#" * (pins.LARGEST_FILE + 1))
    assert not Path("owned").exists()


@pytest.mark.parametrize("document", ["- a list", "just text", "", "flavors: 7", "flavors: {sklearn: [1]}", "1: 2"])
def test_files_of_another_shape_pin_nothing(tmp_path: Path, document: str) -> None:
    (tmp_path / "MLmodel").write_text(document, encoding="utf-8")
    (tmp_path / "conda.yaml").write_text("dependencies: {pip: 1}", encoding="utf-8")

    assert dict(pins.read(tmp_path).libraries) == {}


def test_the_number_of_lines_and_notes_is_bounded(tmp_path: Path) -> None:
    lines = "".join(f"package{i}>=1\n" for i in range(5000))

    assert len(read(tmp_path, requirements_txt=lines).notes) == 20


@pytest.mark.parametrize(
    ("flavors", "flavor", "pickled"),
    [
        ({"sklearn": {"serialization_format": "skops"}}, "sklearn", False),
        ({"sklearn": {}}, "sklearn", True),
        ({"lightgbm": {"lgb_version": "4.1.0"}}, "lightgbm", False),
        ({"lightgbm": {"model_class": "lightgbm.sklearn.LGBMClassifier"}}, "lightgbm", True),
        ({"xgboost": {"xgb_version": "1.7.6"}, "python_function": {}}, "xgboost", False),
        ({"python_function": {}}, "python_function", True),
        ({"h2o": {}}, None, False),
    ],
)
def test_what_is_unpickled_is_known(tmp_path: Path, flavors: dict[str, object], flavor: str, pickled: bool) -> None:
    found = read(tmp_path, flavors)

    assert (found.flavor, found.pickled) == (flavor, pickled)


def test_a_flavor_is_chosen_as_the_worker_chooses_it() -> None:
    assert [flavor for flavor in pins.VERSION_KEYS if flavor != "python_function"] == list(loading.FLAVORS)


def test_a_local_label_is_the_indexs_affair(tmp_path: Path) -> None:
    assert str(read(tmp_path, requirements_txt="torch==2.1.0+cpu\n").libraries["torch"]) == "torch==2.1.0"


def test_a_single_onnx_file_has_no_pins(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")

    assert pins.read(tmp_path / "model.onnx") == pins.Pins("onnx")
