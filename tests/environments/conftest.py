"""A cache and a place for packages of each test's own: nothing of the machine's configuration is used or changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlml.environments import requirements


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of environments."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SQLML_MODEL_ENV_CACHE", str(folder))
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place packages come from; the conversion needs nothing here."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_NO_CONFIG": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(folder),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_PYTHON_DOWNLOADS": "never",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(requirements, "NEEDS", {})
    monkeypatch.setattr(requirements, "UNDECLARED", ())
    return folder
