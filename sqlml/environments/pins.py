"""What a model's own files say of the versions it was saved with: read as data, in the parent, and trusted in nothing.

MLflow writes MLmodel (each flavor with its library's version), python_env.yaml, requirements.txt and conda.yaml. Only
`name==version` is taken from them. Addresses, options and paths (`git+https://...`, `--index-url`, `-e .`) would let a
model decide from where something is installed: they are not followed, and named in `notes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlml.errors import ArtifactError

# Any in this module: YAML, checked as it is read.
LARGEST_FILE = 1 << 20
MOST_LINES = 1000
# In this order the worker looks for a flavor that it can load; the key that holds the library's version.
VERSION_KEYS: Mapping[str, tuple[str, str] | None] = {
    "sklearn": ("scikit-learn", "sklearn_version"),
    "lightgbm": ("lightgbm", "lgb_version"),
    "xgboost": ("xgboost", "xgb_version"),
    "catboost": ("catboost", "catboost_version"),
    "spark": ("pyspark", "pyspark_version"),
    "pytorch": ("torch", "pytorch_version"),
    "onnx": ("onnx", "onnx_version"),
    "python_function": None,
}
PYTHON = re.compile(r"3\.[0-9]{1,2}(?:\.[0-9]{1,3})?")
# conda's own grammar: name=version or name==version, perhaps with a build.
CONDA_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)={1,2}([0-9][A-Za-z0-9.!+_]*)(?:=[A-Za-z0-9_.]+)?")


@dataclass(frozen=True)
class Pin:
    """One library at one version, names as PyPI normalises them."""

    name: str
    version: str
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras}=={self.version}"


@dataclass(frozen=True)
class Pins:
    """Everything that is pinned. `flavor` is what sqlml loads the model by, None where it knows none of them.

    `pickled`: loading it unpickles, so that Python's own version matters too.
    """

    flavor: str | None
    pickled: bool = False
    python: str | None = None
    libraries: Mapping[str, Pin] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(artifact: Path) -> Pins:
    """The pins of an MLflow model directory; of a single .onnx file there are none.

    Raises:
        ArtifactError: a file that cannot be what MLflow wrote.
    """
    if not artifact.is_dir():
        return Pins("onnx")
    flavors = _mapping(_yaml(artifact / "MLmodel").get("flavors"))
    flavor = next((name for name in VERSION_KEYS if name in flavors), None)
    found = _Found()
    _take_flavors(found, flavors)
    python = _take_python(found, artifact, flavors)
    for line in _lines(_text(artifact / "requirements.txt")):
        found.take(line, "requirements.txt", python)
    conda = _yaml(artifact / "conda.yaml").get("dependencies")
    for entry in conda if isinstance(conda, list) else ():
        if isinstance(entry, str) and (match := CONDA_PIN.fullmatch(entry.replace(" ", ""))):
            if match[1].lower() not in ("python", "pip"):
                found.take(f"{match[1]}=={match[2]}", "conda.yaml", python)
        elif isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            for line in _lines("\n".join(str(line) for line in entry["pip"][:MOST_LINES])):
                found.take(line, "conda.yaml", python)
    return Pins(flavor, _is_pickled(flavor, flavors), python, found.libraries, tuple(found.notes))


class _Found:
    """Pins as they are met: what was said first stays, for the files are read in the order of their weight."""

    def __init__(self) -> None:
        self.libraries: dict[str, Pin] = {}
        self.notes: list[str] = []

    def take(self, line: str, where: str, python: str | None) -> None:
        """One requirement line."""
        pin, why = _pin(line, python)
        if pin is None:
            if why:
                self._note(f"{where}: {why}")
            return
        known = self.libraries.setdefault(pin.name, pin)
        if known.version != pin.version:
            self._note(f"{where} names {pin}, and {known} was taken")
        elif pin.extras:
            self.libraries[pin.name] = pin

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)


def _pin(line: str, python: str | None) -> tuple[Pin | None, str | None]:
    """The pin in a line, or why the line is not followed; neither where its marker does not apply."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    if line.startswith("-"):
        return None, f"the option {_shown(re.split('[ =]', line)[0])} is not followed"
    bare, hashes, _ = line.partition(" --hash=")
    if hashes:
        line = bare.strip()
    if "://" in line or " @" in line or line.startswith((".", "/", "~")):
        return None, f"an address or path is not followed ({_shown(re.split('[ @:/]', line)[0]) or 'a path'})"
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None, f"a line is no requirement: {_shown(line)}"
    specifiers = list(requirement.specifier)
    if requirement.url or len(specifiers) != 1 or specifiers[0].operator != "==":
        return None, f"{_shown(requirement.name)} is not pinned to one version"
    try:
        if requirement.marker is not None and not requirement.marker.evaluate(_marked(python)):
            return None, None
        # Without a local label: 2.1.0+cpu is a build of 2.1.0, and which builds there are is the index's affair.
        version = Version(specifiers[0].version).public
    except (InvalidVersion, UndefinedComparison, UndefinedEnvironmentName):
        return None, f"{_shown(requirement.name)} is not pinned to one version"
    return Pin(canonicalize_name(requirement.name), version, tuple(sorted(requirement.extras))), None


def _marked(python: str | None) -> dict[str, str]:
    if python is None:
        return {}
    full = python if python.count(".") == 2 else f"{python}.0"
    return {"python_version": ".".join(python.split(".")[:2]), "python_full_version": full}


def _take_flavors(found: _Found, flavors: Mapping[str, Any]) -> None:
    """What the libraries themselves said when the model was saved; it outweighs what a person may have listed."""
    for flavor, keys in VERSION_KEYS.items():
        if keys is not None and (version := _mapping(flavors.get(flavor)).get(keys[1])):
            found.take(f"{keys[0]}=={version}", "MLmodel", None)


def _take_python(found: _Found, artifact: Path, flavors: Mapping[str, Any]) -> str | None:
    conda = _yaml(artifact / "conda.yaml").get("dependencies")
    entries = [entry.replace(" ", "") for entry in conda if isinstance(entry, str)] if isinstance(conda, list) else []
    from_conda = next((e.partition("=")[2].lstrip("=") for e in entries if e.startswith("python=")), None)
    for said in (
        _yaml(artifact / "python_env.yaml").get("python"),
        _mapping(flavors.get("python_function")).get("python_version"),
        from_conda,
    ):
        if said is None:
            continue
        if PYTHON.fullmatch(str(said)):
            return str(said)
        found._note(f"the Python version {_shown(str(said))} is not followed")
    return None


def _is_pickled(flavor: str | None, flavors: Mapping[str, Any]) -> bool:
    about = _mapping(flavors.get(flavor or ""))
    if flavor == "sklearn":
        return str(about.get("serialization_format", "pickle")) != "skops"
    if flavor == "lightgbm":
        return str(about.get("model_class", "lightgbm.basic.Booster")) != "lightgbm.basic.Booster"
    return flavor in ("pytorch", "python_function")


def _lines(text: str) -> Iterator[str]:
    """Requirement lines without comments, continued ones joined."""
    joined = re.sub(r"\\\r?\n", " ", text)
    for line in joined.splitlines()[:MOST_LINES]:
        stripped = re.sub(r"(^|\s)#.*$", "", line).strip()
        if stripped:
            yield stripped


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ArtifactError(f"{path.name} of the model cannot be read: {error.strerror}.") from error
    if len(content) > LARGEST_FILE:
        raise ArtifactError(
            f"{path.name} of the model has more than {LARGEST_FILE} bytes.", hint="MLflow writes a few hundred."
        )
    return content.decode("utf-8", "replace")


def _yaml(path: Path) -> Mapping[str, Any]:
    """A YAML file as a mapping; empty where there is none. Safe loading: no tags, nothing is constructed.

    Not the C loader, which is quicker: measured, it ends the whole process on 100,000 nested lists.
    """
    import yaml

    try:
        return _mapping(yaml.safe_load(_text(path)))
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date that is none
        raise ArtifactError(f"{path.name} of the model is not YAML.", hint="Log the model again.") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _shown(text: str) -> str:
    """A short piece of somebody else's text for a message."""
    return re.sub(r"[^\x21-\x7e]+", " ", text).strip()[:60]
