"""The one question: in which environment is this model loaded?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlml.environments import build, cache, environment, interpreters, pins, requirements
from sqlml.environments.differ import Difference, differences
from sqlml.environments.environment import Environment
from sqlml.environments.uv import Uv

AUTO, CURRENT = "auto", "current"


@dataclass(frozen=True)
class Choice:
    """An environment, and how it differs from what the model was saved with."""

    environment: Environment
    mismatch: tuple[Difference, ...] = ()
    """Differences that would call for another environment, and were accepted by `current` or a path."""
    slight: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For a log: which environment, from where, and what is wrong with it."""
        text = f"model environment: {self.environment.title} ({self.environment.how})"
        if self.mismatch:
            text += f"; NOT the model's own: {_listed(self.mismatch)}"
        return text

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        own = self.environment
        return {
            "origin": own.origin,
            "key": own.key,
            "python": own.python,
            "executable": str(own.executable),
            "packages": dict(own.packages),
            "seconds": round(own.seconds, 1),
            "mismatch": list(map(str, self.mismatch)),
            "notes": list(self.notes),
        }

    @property
    def lines(self) -> tuple[str, ...]:
        """For a log: the sentence, and what of the model's files was not followed to get there."""
        own = self.environment.origin in ("built", "cached")
        return (self.sentence, *(f"model environment: {note}" for note in self.notes if own))

    @property
    def origin(self) -> dict[str, str]:
        """For the record: it stands in the evidence of a deployment."""
        found = {"model environment": f"{self.environment.title} ({self.environment.origin})"}
        if self.environment.key:
            found["model environment key"] = self.environment.key
        if self.mismatch:
            found["model environment mismatch"] = _listed(self.mismatch)
        return found


def choose(
    artifact: Path,
    wanted: str = AUTO,
    *,
    log: Callable[[str], None] = lambda _: None,
    store: Path | None = None,
    more: Iterable[str] = (),
    flavor: str | None = None,
) -> Choice:
    """The environment for a model: found, or built.

    Args:
        artifact: An MLflow model directory, or one .onnx file.
        wanted: "auto" (the model's own where it differs from what runs here), "current", or the path of an interpreter
            or of a virtual environment.
        log: Receives one line for each thing worth showing.
        store: The cache; by default `cache.directory()`.
        more: Requirement lines for what sqlml itself will need there, such as "mlflow==2.9.2".
        flavor: What the model is loaded as, where it is not the first that sqlml converts: "python_function" makes
            every pin count.

    Raises:
        ModelEnvironmentRefused: "auto" needs an environment that can neither be found nor built, or the path has none.
    """
    found = pins.read(artifact)
    if flavor is not None:
        found = replace(found, flavor=flavor, pickled=True)
    if wanted not in (AUTO, CURRENT):
        return _with(environment.given(Path(wanted).expanduser()), found)
    here = environment.current()
    chosen = _with(here, found)
    # What nobody converts needs no environment: the refusal comes without waiting for one.
    converts = flavor is not None or found.flavor not in (None, "python_function")
    if wanted == CURRENT or not converts or not (chosen.mismatch or _lacks(here, more)):
        return chosen
    return _own(found, here, chosen.mismatch, tuple(more), store or cache.directory(), log)


def _with(chosen: Environment, found: pins.Pins) -> Choice:
    differing = differences(found, chosen.python, chosen.packages)
    return Choice(chosen, differing.decisive, differing.slight, (*found.notes, *chosen.notes))


def _own(
    found: pins.Pins,
    here: Environment,
    why: tuple[Difference, ...],
    more: tuple[str, ...],
    store: Path,
    log: Callable[[str], None],
) -> Choice:
    began = time.monotonic()
    python = found.python or here.python
    asked = requirements.wanted(found, python, more)
    key = cache.key(".".join(python.split(".")[:2]), asked.lines)
    own = cache.find(store, key)
    if own is None:
        log(f"model environment: its own is needed: {_listed(why)}")
        uv = Uv()
        build.build(store, key, asked, interpreters.find(python, uv), uv, log)
        own = cache.find(store, key)
        assert own is not None  # internal: build keeps it under this key or raises
        own = replace(own, origin="built", seconds=time.monotonic() - began)
    # A library that could not be had as pinned is a mismatch like any other.
    return _with(own, found)


def _lacks(here: Environment, more: Iterable[str]) -> bool:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    asked = [Requirement(line) for line in more]
    versions = {one.name: here.packages.get(canonicalize_name(one.name)) for one in asked}
    return any((v := versions[one.name]) is None or not one.specifier.contains(v, prereleases=True) for one in asked)


def _listed(differing: tuple[Difference, ...]) -> str:
    return "; ".join(map(str, differing)) or "something is missing here"
