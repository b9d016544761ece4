"""What numbers depend on, without the machine's name."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "duckdb", "numpy", "onnxruntime", "pandas", "pyarrow", "scikit-learn", "lightgbm", "skl2onnx", "onnxmltools",
    "ydf", "treelite", "tl2cgen", "orbital", "shap",
)  # fmt: skip


def cores() -> int:
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """Names the file of results."""
    return f"{platform.system()} {platform.machine()} {cores()} cores".lower()


def about() -> Iterator[str]:
    yield f"{machine()}, {processor()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"
    yield ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)


def processor() -> str:
    """The processor's own name and widest instruction set, where Linux says them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = said.get("flags", "").split()
    widest = next((name for flag, name in (("avx512bw", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    return f"{said.get('model name', platform.processor())} ({widest})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
