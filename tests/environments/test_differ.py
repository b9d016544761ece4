"""The rule: which differences call for an environment of the model's own."""

from __future__ import annotations

import pytest

from sqlml.environments.differ import differences
from sqlml.environments.pins import Pin, Pins
from sqlml.environments.requirements import wanted
from sqlml.errors import ModelEnvironmentRefused

HERE = {
    "scikit-learn": "1.9.1",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "pandas": "3.1.1",
    "cloudpickle": "3.1.0",
    "lightgbm": "4.7.0",
}


def pinned(flavor: str, python: str | None = "3.11.7", *, pickled: bool = True, **versions: str) -> Pins:
    libraries = {name.replace("_", "-"): Pin(name.replace("_", "-"), version) for name, version in versions.items()}
    return Pins(flavor, pickled, python, libraries)


@pytest.mark.parametrize(
    ("pins", "decisive", "slight"),
    [
        (pinned("sklearn", scikit_learn="1.9.1", numpy="2.4.6"), [], []),
        (pinned("sklearn", scikit_learn="1.9.0"), ["scikit-learn"], []),
        (pinned("sklearn", scikit_learn="1.9.1+local"), [], []),
        (pinned("sklearn", scikit_learn="1.9.1", cloudpickle="2.0.0", skops="0.9"), [], ["cloudpickle"]),
        (pinned("sklearn", "3.11.2"), [], ["Python"]),
        (pinned("sklearn", "3.10.13"), ["Python"], []),
        (pinned("sklearn", "3.10.13", pickled=False), [], ["Python"]),
        (pinned("sklearn", numpy="2.4.1", pandas="3.1.0"), [], ["numpy", "pandas"]),
        (pinned("sklearn", numpy="2.3.6"), ["numpy"], []),
        (pinned("sklearn", pandas="2.2.3", scipy="1.16.0"), ["scipy", "pandas"], []),
        (pinned("sklearn", xgboost="1.7.6"), ["xgboost"], []),
        (pinned("sklearn", some_package="1.0", mlflow="2.9.2"), [], []),
        (pinned("lightgbm", "3.9.1", pickled=False, lightgbm="4.7.0", scikit_learn="1.2"), [], ["Python"]),
        (pinned("lightgbm", pickled=False, lightgbm="4.1.0", numpy="1.26.4"), ["lightgbm"], ["numpy"]),
        (pinned("lightgbm", lightgbm="4.7.0", scikit_learn="1.2.0"), ["scikit-learn"], []),
        (pinned("xgboost", pickled=False, xgboost="2.0.3"), ["xgboost"], []),
        (pinned("catboost", pickled=False, catboost="1.2.5", numpy="1.26.0"), ["catboost"], ["numpy"]),
        (pinned("onnx", pickled=False, onnx="1.0", onnxruntime="1.10", numpy="1.20"), [], ["numpy"]),
        (pinned("spark", pickled=False, pyspark="3.5.0"), [], []),
        (pinned("python_function", torch="2.1.0", mlflow="2.9.2", psutil="5"), ["torch"], []),
    ],
)
def test_the_rule(pins: Pins, decisive: list[str], slight: list[str]) -> None:
    found = differences(pins, "3.11.7", HERE)

    assert [one.name for one in found.decisive] == decisive
    assert [one.name for one in found.slight] == slight


def test_a_difference_says_both_sides() -> None:
    found = differences(pinned("sklearn", scikit_learn="1.3.2", xgboost="1.7.6"), "3.11.7", HERE)

    assert [str(one) for one in found.decisive] == ["scikit-learn 1.3.2 and here 1.9.1", "xgboost 1.7.6 and here none"]


def test_what_goes_in_is_the_pins_and_what_the_conversion_needs() -> None:
    asked = wanted(pinned("sklearn", scikit_learn="1.3.2", numpy="1.26.4", mlflow="2.9.2", psutil="5.9.0"), "3.10.13")

    assert {"scikit-learn==1.3.2", "numpy==1.26.4", "psutil==5.9.0"} < set(asked.lines)
    assert any(line.startswith("onnx>=") for line in asked.lines)
    assert not any(line.startswith(("mlflow", "numpy>")) for line in asked.lines)
    assert asked.left_out == ("psutil==5.9.0",)


def test_what_old_releases_do_not_say_of_themselves_is_said_for_them() -> None:
    asked = wanted(pinned("lightgbm", lightgbm="3.3.5"), "3.9.18")

    assert {"numpy<2", "scikit-learn<1.6", "pyarrow<26"} < set(asked.lines)


@pytest.mark.parametrize(("numpy", "limited"), [("1.25.2", True), ("2.1.0", False)])
def test_the_conversions_own_libraries_fit_the_models_numpy(numpy: str, limited: bool) -> None:
    asked = wanted(pinned("sklearn", scikit_learn="1.5.2", numpy=numpy), "3.11.7")

    assert ("pyarrow<26" in asked.lines) == limited


def test_a_pin_that_the_conversion_cannot_work_with_is_not_taken() -> None:
    asked = wanted(pinned("sklearn", scikit_learn="1.3.2", onnx="1.12.0"), "3.10.13")

    assert "onnx==1.12.0" not in asked.lines
    assert asked.notes == ("onnx==1.12.0 is outside of >=1.16,<2, which the conversion needs: another one was taken",)


@pytest.mark.parametrize(
    ("pins", "named"),
    [
        (pinned("sklearn", scikit_learn="1.0.2"), "scikit-learn 1.0.2, and the oldest that sqlml converts is 1.1"),
        (pinned("lightgbm", lightgbm="3.2.1"), "lightgbm 3.2.1"),
        (pinned("xgboost", xgboost="1.6.0"), "xgboost 1.6.0"),
    ],
)
def test_a_library_that_is_too_old_is_refused(pins: Pins, named: str) -> None:
    with pytest.raises(ModelEnvironmentRefused, match=named) as raised:
        wanted(pins, "3.9.18")
    assert "--model-env current" in str(raised.value.hint)
