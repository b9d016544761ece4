"""What confines the process that loads models: limits, what it may read, and which protections this machine has."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlml import environments
from sqlml.errors import PolicyRefused, WorkerError

# Without these two a model could take data away or change files; the rest limits damage.
REQUIRED = ("network", "writes")
TIMEOUT_S = 120.0
MEMORY_BYTES = 4 << 30
FILE_BYTES = 1 << 30
NO_LIMIT = 1 << 40
WORK_BYTES = 4 << 30


@dataclass(frozen=True)
class Feature:
    """One protection: whether it is in force here, and by what means or why not."""

    name: str
    in_force: bool
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}" if self.in_force else f"{self.name}: NOT in force ({self.why})"


def summary(features: Sequence[Feature]) -> str:
    """One line: what is in force by name (`sqlml doctor` says by what means), and what is not, with the reason."""
    held = ", ".join(feature.name for feature in features if feature.in_force) or "nothing"
    lacking = "; ".join(str(feature) for feature in features if not feature.in_force)
    return f"isolation in force: {held}" + (f"; {lacking}" if lacking else "")


def isolation_in_force() -> list[Feature]:
    """Start a worker without a model and ask what confines it."""
    from sqlml.convert.process import Process  # here, for process.py needs this module

    with tempfile.TemporaryDirectory(prefix="sqlml-worker-") as work:
        process = Process(Path(work), environments.current(), artifact=None, memory_bytes=MEMORY_BYTES, timeout_s=30.0)
        try:
            return process.start()
        finally:
            process.close()


def features_of(reply: Mapping[str, Any]) -> list[Feature]:  # Any: JSON
    """The worker's own report, which it gives before it has seen anything of the model."""
    try:
        return [Feature(str(f["name"]), f["in_force"] is True, str(f["why"])) for f in reply["features"]]
    except (KeyError, TypeError) as error:
        raise WorkerError("The conversion process did not say what confines it.") from error


def require(features: Sequence[Feature]) -> None:
    """Refuse to load a model unless it can neither reach the network nor write outside its own directory."""
    missing = [f for name in REQUIRED for f in features if f.name == name and not f.in_force]
    if missing or not {f.name for f in features}.issuperset(REQUIRED):
        shown = "; ".join(str(feature) for feature in missing) or "the worker does not say"
        raise PolicyRefused(
            f"Full isolation is required (SQLML_REQUIRE_ISOLATION=1) and cannot be had here: {shown}.",
            hint="Use a Linux kernel with Landlock (5.13 or later), or register an .onnx file and drop the requirement.",
        )


def bounds(
    work: Path, readable: Sequence[str], artifact: Path | None, *, memory_bytes: int, cpu_seconds: int | None
) -> dict[str, object]:
    """The worker's limits, as it receives them."""
    return {
        "work": str(work),
        "readable": [*readable, *([] if artifact is None else [str(artifact)])],
        "memory_bytes": memory_bytes,
        # Over all requests of a worker; each of them is bounded by wall time already.
        "cpu_seconds": NO_LIMIT if cpu_seconds is None else cpu_seconds,
        "file_bytes": FILE_BYTES,
    }
