"""Which differences between a model's pins and what runs here call for an environment of the model's own.

The rule, which docs/operations.md states for people: the library that computes the answers must be the very version
that the model was saved with. What only carries numbers (numpy, scipy, pandas) must agree in its minor version, for
between minors formats of pickles and rules of dtypes change, and within one they do not. Python itself must agree in its
minor version where the model is a pickle, which may hold compiled functions. Everything else (cloudpickle, a patch of
Python) is noted and calls for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlml.environments.pins import Pins

# The libraries whose predict is the reference, by flavor. An ONNX file means the same to every onnxruntime, and a Spark
# model is read from its saved data: neither needs anything of its own.
COMPUTING: Mapping[str, tuple[str, ...]] = {
    "sklearn": ("scikit-learn", "lightgbm", "xgboost", "catboost"),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "catboost": ("catboost",),
    "pytorch": ("torch",),
}
# For a pickle these are part of what is loaded.
PICKLED_WITH: Mapping[str, tuple[str, ...]] = {"lightgbm": ("scikit-learn",)}
CARRYING = ("numpy", "scipy", "pandas")
# MLflow lists what it needs itself.
UNRELATED = ("mlflow", "mlflow-skinny", "mlflow-tracing", "cloudpickle", "psutil", "pip", "setuptools", "wheel", "uv")
NOTED = ("cloudpickle", "skops", "joblib", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Difference:
    """One library: the model's version, and the one that would convert it (None: not installed)."""

    name: str
    trained: str
    here: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.trained} and here {self.here or 'none'}"


@dataclass(frozen=True)
class Differences:
    """`decisive` ones call for the model's own environment, `slight` ones are only noted."""

    decisive: tuple[Difference, ...] = ()
    slight: tuple[Difference, ...] = ()

    @property
    def all(self) -> tuple[Difference, ...]:
        return (*self.decisive, *self.slight)


def differences(pins: Pins, python: str, packages: Mapping[str, str]) -> Differences:
    """`pins` held against an interpreter's version and its packages (names as PyPI normalises them)."""
    computing = COMPUTING.get(pins.flavor or "", ())
    if pins.flavor == "python_function":  # nobody knows which of them computes
        computing = tuple(name for name in pins.libraries if name not in UNRELATED)
    carrying: tuple[str, ...] = CARRYING if pins.flavor == "sklearn" or (computing and pins.pickled) else ()
    if pins.pickled:
        computing = (*computing, *PICKLED_WITH.get(pins.flavor or "", ()))
    decisive: list[Difference] = []
    slight: list[Difference] = []
    if pins.python is not None and pins.python != python:
        same_minor = _minor(pins.python) == _minor(python)
        difference = Difference("Python", pins.python, python)
        (decisive if pins.pickled and not same_minor else slight).append(difference)
    for name in dict.fromkeys((*computing, *carrying, *CARRYING, *NOTED)):
        pin, here = pins.libraries.get(name), packages.get(name)
        if pin is None or (here is not None and _same(pin.version, here)):
            continue
        matters = name in computing or (name in carrying and (here is None or _minor(pin.version) != _minor(here)))
        if matters or here is not None:
            (decisive if matters else slight).append(Difference(name, pin.version, here))
    return Differences(tuple(decisive), tuple(slight))


def _minor(version: str) -> tuple[int, ...]:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release[:2]
    except InvalidVersion:
        return ()


def _same(first: str, second: str) -> bool:
    """Equal but for a local label: 2.1.0+cpu is a build of 2.1.0."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(first).public == Version(second).public
    except InvalidVersion:
        return first == second
