"""auto, current, or a path: which environment a model gets, and what is recorded of it."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from sqlml import environments
from sqlml.cli import run
from sqlml.environments import choose
from sqlml.errors import ModelEnvironmentRefused
from tests.environments.artifacts import model, wheel

HERE = environments.current()
MINE = {"sklearn": {"sklearn_version": HERE.packages["scikit-learn"]}}
OTHERS = {"sklearn": {"sklearn_version": "1.3.2"}}


def never(*_: object, **__: object) -> None:
    raise AssertionError("nothing is to be built")


def test_a_model_of_these_versions_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlml.environments.choosing.build.build", never)

    found = choose(model(tmp_path, MINE))

    assert (found.environment.origin, found.mismatch) == ("current", ())
    assert found.environment.executable == Path(sys.executable)
    assert found.sentence.endswith(" (current)")


def test_current_stays_here_and_records_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlml.environments.choosing.build.build", never)

    found = choose(model(tmp_path, OTHERS), "current")

    text = f"scikit-learn 1.3.2 and here {HERE.packages['scikit-learn']}"
    assert found.origin["model environment mismatch"] == text
    assert found.sentence.endswith(f"(current); NOT the model's own: {text}")


@pytest.mark.parametrize("flavors", [{"h2o": {}}, {"python_function": {"python_version": "3.9.1"}}])
def test_what_nobody_converts_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flavors: dict[str, object]
) -> None:
    monkeypatch.setattr("sqlml.environments.choosing.build.build", never)

    assert choose(model(tmp_path, flavors)).environment.origin == "current"


@pytest.mark.parametrize("of", [Path, lambda python: Path(python).parents[1]])
def test_a_path_is_an_interpreter_or_a_virtual_environment(tmp_path: Path, of: object) -> None:
    found = choose(model(tmp_path, OTHERS), str(of(sys.executable)))  # type: ignore[operator]

    assert found.environment.origin == "given"
    assert found.environment.python == platform.python_version()
    assert found.environment.packages["scikit-learn"] == HERE.packages["scikit-learn"]
    assert [one.name for one in found.mismatch] == ["scikit-learn"]
    assert "model environment key" not in found.origin


def test_a_path_without_a_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelEnvironmentRefused, match="There is no Python at"):
        choose(model(tmp_path, OTHERS), str(tmp_path / "nothing"))


def test_a_path_that_is_no_python_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)

    with pytest.raises(ModelEnvironmentRefused, match="does not answer as a Python does"):
        choose(model(tmp_path / "model", OTHERS), str(script))


def test_a_path_without_the_conversions_libraries_is_refused(tmp_path: Path, cache: Path, wheels: Path) -> None:
    wheel(wheels, "lightgbm", "4.1.0")
    artifact = model(tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0"}})
    bare = cache / str(choose(artifact).environment.key)

    with pytest.raises(ModelEnvironmentRefused, match=r"lacks numpy, pandas, pyarrow, onnx, pyyaml") as raised:
        choose(artifact, str(bare))
    assert "-m pip install numpy" in str(raised.value.hint)


def test_the_command_line_lists_and_prunes(
    tmp_path: Path, cache: Path, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(wheels, "lightgbm", "4.1.0")
    artifact = model(tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0", "data": "model.lgb"}})
    (artifact / "model.lgb").write_text("tree")

    assert run(["env", "build", str(artifact)]) == 0
    built = capsys.readouterr()
    assert "lightgbm 4.1.0 (built in " in built.out
    assert "building one with Python" in built.err
    assert run(["env", "build", str(artifact), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["origin"], again["mismatch"]) == ("cached", [])
    assert run(["env", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["key"] == again["key"]
    assert listed["packages"] == {"lightgbm": "4.1.0"}
    assert run(["env", "list"]) == 0
    assert "lightgbm 4.1.0" in capsys.readouterr().out
    assert run(["env", "prune"]) == 0
    assert capsys.readouterr().out == "Deleted 0 environments, 0 MB.\n"
    assert run(["env", "prune", "--unused-for", "0"]) == 0
    assert capsys.readouterr().out.startswith("Deleted 1 environments")
