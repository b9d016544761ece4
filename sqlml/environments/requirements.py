"""What goes into an environment: the model's pins, and what sqlml's converter needs beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlml.environments.pins import Pin, Pins
from sqlml.errors import ModelEnvironmentRefused

# The oldest versions that the converter works with; which of the newer ones fits is the resolver's to find.
# onnx 1.16 is the first that knows opset 21 and TreeEnsemble of ai.onnx.ml 5, which graphs are written in.
NEEDS: Mapping[str, str] = {
    "numpy": ">=1.22",
    "onnx": ">=1.16,<2",
    "onnxruntime": ">=1.18,!=1.26.0",
    "pandas": ">=1.3",
    "pyarrow": ">=10",
    "pyyaml": ">=5.4",
    "scikit-learn": ">=1.1",
    "scipy": ">=1.7",
}
# The oldest libraries that sqlml converts.
OLDEST: Mapping[str, str] = {"scikit-learn": "1.1", "lightgbm": "3.3", "xgboost": "1.7"}
# MLflow lists itself in every model's requirements. Loading the flavors that sqlml converts needs none of it, and with
# it would come a web server, a database toolkit and a hundred megabytes; who needs it says so (`more`).
LEFT_OUT = ("mlflow", "mlflow-skinny", "mlflow-tracing", "pip", "uv", "sqlml")
# Kept when the others have no solution: what computes, and what its pickles are made of.
ESSENTIAL = (
    "scikit-learn", "lightgbm", "xgboost", "catboost", "torch",
    "numpy", "scipy", "pandas", "cloudpickle", "joblib", "skops",
)  # fmt: skip
# Releases that do not say in their own metadata what breaks them: (library, older than, what must not be newer).
UNDECLARED = (
    ("scikit-learn", "1.4.2", "numpy", "<2"),
    ("pandas", "2.2.2", "numpy", "<2"),
    ("scipy", "1.13", "numpy", "<2"),
    ("lightgbm", "4.4", "numpy", "<2"),
    ("xgboost", "2.1", "numpy", "<2"),
    # scikit-learn 1.6 changed how estimators describe themselves and check their input.
    ("lightgbm", "4.6", "scikit-learn", "<1.6"),
    ("xgboost", "2.1.4", "scikit-learn", "<1.6"),
    ("scikit-learn", "1.5", "pandas", "<3"),
)
# Beside numpy 1: the newest that were seen to work with it. pyarrow 26 refuses it when imported, and says so nowhere else.
BESIDE_NUMPY_1 = {"pyarrow": "<26", "onnx": "<1.24", "onnxruntime": "<1.32"}


@dataclass(frozen=True)
class Wanted:
    """Requirement lines for uv. `fewer` is the second try where `lines` has no solution; None where it is the same."""

    python: str
    lines: tuple[str, ...]
    fewer: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        return tuple(line for line in self.lines if line not in (self.fewer or self.lines))


def wanted(pins: Pins, python: str, more: Iterable[str] = ()) -> Wanted:
    """The environment that `pins` ask for. `more`: requirement lines of sqlml's own, for what else will run there.

    Raises:
        ModelEnvironmentRefused: a library is older than the oldest that sqlml converts.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    for name, oldest in OLDEST.items():
        pin = pins.libraries.get(name)
        if pin is not None and Version(pin.version) < Version(oldest) and _is_used(pins.flavor, name):
            raise ModelEnvironmentRefused(
                f"The model was saved with {name} {pin.version}, and the oldest that sqlml converts is {oldest}.",
                hint="Train and save it with a newer one, or use --model-env current: the difference is then recorded.",
            )
    notes = []
    pinned: dict[str, Pin] = {}
    for name, pin in sorted(pins.libraries.items()):
        if name in LEFT_OUT:
            continue
        if name in NEEDS and not SpecifierSet(NEEDS[name]).contains(pin.version, prereleases=True):
            notes.append(f"{pin} is outside of {NEEDS[name]}, which the conversion needs: another one was taken")
            continue
        pinned[name] = pin
    own = [f"{name}{NEEDS[name]}" for name in NEEDS if name not in pinned]
    own += [
        f"{other}{limit}"
        for name, older, other, limit in UNDECLARED
        if name in pinned and other not in pinned and Version(pinned[name].version) < Version(older)
    ]
    if "numpy<2" in own or ("numpy" in pinned and Version(pinned["numpy"].version) < Version("2")):
        own += [f"{name}{limit}" for name, limit in BESIDE_NUMPY_1.items() if name in NEEDS and name not in pinned]
    own += list(more)
    essential = [str(pin) for name, pin in pinned.items() if name in ESSENTIAL]
    lines = tuple(sorted({*map(str, pinned.values()), *own}))
    fewer = tuple(sorted({*essential, *own}))
    return Wanted(python, lines, None if fewer == lines else fewer, tuple(notes))


def _is_used(flavor: str | None, name: str) -> bool:
    return flavor == "sklearn" or name == flavor or (flavor == "lightgbm" and name == "scikit-learn")
