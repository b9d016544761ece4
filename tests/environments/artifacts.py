"""Model directories with any pins, and wheels that hold next to nothing, for builds that need no network."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml


def model(folder: Path, flavors: Mapping[str, object], **files: str) -> Path:
    """An MLflow model directory without the model; `files` by name, with _ for the dot (requirements_txt)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": dict(flavors)}), encoding="utf-8")
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem}.{ending}").write_text(text, encoding="utf-8")
    return folder


def wheel(folder: Path, name: str, version: str, **content: str) -> Path:
    """A wheel of pure Python: `content` by file name, with __dot__ for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        **{place.replace("__dot__", "."): text for place, text in content.items()},
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = "".join(f"{place},,\n" for place in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in files.items():
            archive.writestr(place, text)
        archive.writestr(f"{about}/RECORD", listed)
    return path
